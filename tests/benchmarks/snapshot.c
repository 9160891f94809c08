/* A run to go back from, for x86-64 and arm64: snapshot MIB PAGES LAYOUT. Fills MIB MiB, makes the call that means "here" (sched_yield),
   stores to PAGES pages of them, spread out, changes the layout LAYOUT times, and ends. See snapshot.py. */
#include "nolibc.h"
#ifdef __x86_64__
enum { SYS_here = 24 };
#else
enum { SYS_here = 124 };
#endif
enum { PAGE = 4096 };

static int guest_main(int argc, char **argv, char **envp)
{
    (void)envp;
    word mib = argc > 1 ? number(argv[1]) : 1, pages = argc > 2 ? number(argv[2]) : 16, layout = argc > 3 ? number(argv[3]) : 0;
    word total = mib << 20 >> 12, step = pages ? total / pages : 1;
    byte *at = map(mib << 20, PROT_RW, 0);
    for (word i = 0; i < total; i++)
        at[i * PAGE] = (byte)i;
    S0(SYS_here);
    for (word i = 0; i < pages; i++)
        at[i * step * PAGE + 8] = 1;
    for (word i = 0; i < layout; i++) {
        byte *more = map(4 * PAGE, PROT_RW, 0);
        *more = 1;
        if (i % 2)
            S2(SYS_munmap, more + PAGE, PAGE);
        else
            S3(SYS_mprotect, at + i * 7 * PAGE, PAGE, PROT_READ);
    }
    return 0;
}
