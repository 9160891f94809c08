/* A write to a pipe that nobody can read: with an argument SIGPIPE is ignored and the write fails, without one it ends the program. */
#include "nolibc.h"
static int guest_main(int argc, char **argv, char **envp)
{
    (void)argv, (void)envp;
    int ends[2];
    word ignore[4] = {1, 0, 0, 0};
    S2(SYS_pipe2, ends, 0);
    if (argc > 1)
        line("ignore", sys(SYS_rt_sigaction, 13, (long)ignore, 0, 8, 0, 0));
    line("write", S3(SYS_write, ends[1], "x", 1));
    S1(SYS_close, ends[0]);
    line("write to nobody", S3(SYS_write, ends[1], "x", 1));
    line("nothing to nobody", S3(SYS_write, ends[1], "x", 0));
    return 0;
}
