/* Recursion that takes 6 MiB of stack. */
#include <stdio.h>
static __attribute__((noinline)) long down(long n)
{
    volatile char frame[1024];
    frame[0] = (char)n;
    return n ? down(n - 1) + (frame[0] == (char)n) : 0;
}
int main(void)
{
    printf("depth %ld\n", down(6000));
    return 0;
}
