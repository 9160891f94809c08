/* mmap, mprotect, munmap, mremap, brk: results that do not depend on the layout. */
#include "nolibc.h"
static int guest_main(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    byte *p = map(3 * 4096, PROT_RW, 0);
    int ends[2];
    line("zeroed", p[0] + p[3 * 4096 - 1]);
    p[0] = 'a', p[4096] = 'b';
    line("protect", S3(SYS_mprotect, p + 4096, 4096, PROT_NONE));
    line("write from none", S3(SYS_write, 1, p + 4096, 1));
    line("protect unaligned", S3(SYS_mprotect, p + 1, 4096, PROT_RW));
    line("munmap middle", S2(SYS_munmap, p + 4096, 4096));
    line("munmap hole again", S2(SYS_munmap, p + 4096, 4096));
    line("protect over hole", S3(SYS_mprotect, p, 3 * 4096, PROT_READ));
    line("munmap nothing", S2(SYS_munmap, p, 0));
    line("mmap nothing", (long)map(0, PROT_RW, 0));
    line("mmap fixed unaligned", sys(SYS_mmap, (long)p + 1, 4096, PROT_RW, PRIVATE | ANON | FIXED, -1, 0));
    line("pipe", sys(SYS_pipe2, (long)ends, 0, 0, 0, 0, 0));
    p = map(2 * 4096, PROT_RW, 0);
    S2(SYS_munmap, p + 4096, 4096);
    line("write across the end", S3(SYS_write, ends[1], p + 4090, 100));
    byte *q = map(4096, PROT_RW, 0);
    q[7] = 'q';
    q = (byte *)sys(SYS_mremap, (long)q, 4096, 16 * 4096, 1, 0, 0);
    line("mremap keeps", q[7] == 'q' && q[15 * 4096] == 0);
    byte *top = (byte *)S1(SYS_brk, 0);
    line("brk grows", (byte *)S1(SYS_brk, top + 9000) == top + 9000);
    top[8999] = 1;
    line("brk holds", top[8999]);
    line("brk shrinks", (byte *)S1(SYS_brk, top) == top);
    line("reserve", (long)map(1UL << 40, PROT_NONE, NORESERVE) > 0);
    return 0;
}
