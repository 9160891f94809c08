/* getppid N times. */
#include "nolibc.h"
static int guest_main(int argc, char **argv, char **envp)
{
    (void)envp;
    word n = argc > 1 ? number(argv[1]) : 1000;
    for (word i = 0; i < n; i++)
        S0(SYS_getppid);
    line("calls", (long)n);
    return 0;
}
