/* A block that grows to 64 MiB with mremap, doubling, as realloc does; every page keeps its mark. */
#include "nolibc.h"
static int guest_main(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    word size = 64 << 10, bad = 0;
    byte *p = map(size, PROT_RW, 0);
    for (word i = 0; i < size; i += 4096)
        p[i] = (byte)(i >> 12);
    while (size < 64 << 20) {
        map(4096, PROT_RW, 0);
        p = (byte *)sys(SYS_mremap, (long)p, (long)size, (long)size * 2, 1, 0, 0);
        for (word i = 0; i < 2 * size; i += 4096) {
            if (i < size)
                bad += p[i] != (byte)(i >> 12);
            else
                bad += p[i] != 0, p[i] = (byte)(i >> 12);
        }
        size *= 2;
    }
    line("bytes", (long)size);
    line("bad pages", (long)bad);
    line("shrink", (byte *)sys(SYS_mremap, (long)p, (long)size, 4096, 0, 0, 0) == p);
    line("beyond the shrunk", S3(SYS_write, 1, p + 8192, 1));
    return 0;
}
