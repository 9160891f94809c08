/* Reserves N MiB without access rights, and touches nothing. */
#include "nolibc.h"
static int guest_main(int argc, char **argv, char **envp)
{
    (void)envp;
    word size = (argc > 1 ? number(argv[1]) : 1 << 20) << 20;
    long at = size ? (long)map(size, PROT_NONE, NORESERVE) : 1;
    line("reserved", at > 0);
    return 0;
}
