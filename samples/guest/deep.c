/* Recursion that takes 6 MiB of stack. */
#include "nolibc.h"
static __attribute__((noinline)) long down(long n)
{
    volatile char frame[1024];
    frame[0] = (char)n;
    return n ? down(n - 1) + (frame[0] == (char)n) : 0;
}
static int guest_main(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    line("depth", down(6200));
    return 0;
}
