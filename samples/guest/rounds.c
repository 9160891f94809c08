/* ROUNDS of mmap 64 KiB, mprotect of its middle page, munmap; with LIVE other mappings, none of which can merge with its neighbour. */
#include "nolibc.h"
static int guest_main(int argc, char **argv, char **envp)
{
    (void)envp;
    word rounds = argc > 1 ? number(argv[1]) : 100, live = argc > 2 ? number(argv[2]) : 0;
    for (word i = 0; i < live; i++)
        map(4096, i & 1 ? PROT_READ : PROT_RW, 0);
    for (word i = 0; i < rounds; i++) {
        byte *p = map(65536, PROT_RW, 0);
        p[0] = 1;
        if (S3(SYS_mprotect, p + 32768, 4096, PROT_READ) || S2(SYS_munmap, p, 65536))
            return 1;
    }
    line("rounds", (long)rounds);
    return 0;
}
