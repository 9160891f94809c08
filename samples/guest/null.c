/* Writes to address 0. */
#include "nolibc.h"
static int guest_main(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    put("before\n");
    volatile char *volatile p = 0;
    *p = 1;
    put("after\n");
    return 0;
}
