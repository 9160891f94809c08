/* Copies that run into a page that is forbidden, read-only or not there: counts, errors, and what a pipe still holds. FILE: 10 000 bytes. */
#include "nolibc.h"
struct vec {
    void *base;
    word size;
};
static byte *edge(int kind)
{
    byte *p = map(4 * 4096, PROT_RW, 0);
    if (kind == 0)
        S3(SYS_mprotect, p + 8192, 4096, PROT_NONE);
    else if (kind == 1)
        S2(SYS_munmap, p + 8192, 4096);
    else
        S3(SYS_mprotect, p + 8192, 4096, PROT_READ);
    return p + 8192;
}
static void fill(byte *p, word n)
{
    for (word i = 0; i < n; i++)
        p[i] = (byte)('a' + i % 23);
}
static long sum(const byte *p, word n)
{
    long total = 0;
    for (word i = 0; i < n; i++)
        total = (total * 31 + p[i]) & 0xffffff;
    return total;
}
static void pipes(byte *e)
{
    int ends[2];
    byte *good = map(65536, PROT_RW, 0);
    struct vec two[2] = {{good, 10}, {e - 6, 20}};
    fill(e - 8192, 8192);
    fill(good, 8192);
    S2(SYS_pipe2, ends, 0);
    line("pipe write into the edge", S3(SYS_write, ends[1], e - 6, 20));
    line("pipe write a page before it", S3(SYS_write, ends[1], e - 5000, 5100));
    line("pipe write beyond it", S3(SYS_write, ends[1], e, 4));
    line("pipe writev second one bad", S3(SYS_writev, ends[1], two, 2));
    line("pipe write", S3(SYS_write, ends[1], good, 100));
    line("pipe read into the edge", S3(SYS_read, ends[0], e - 6, 100));
    line("pipe read beyond it", S3(SYS_read, ends[0], e, 4));
    line("pipe readv second one bad", S3(SYS_readv, ends[0], two, 2));
    S3(SYS_write, ends[1], "end", 3);
    S1(SYS_close, ends[1]);
    memset(good, 0, 65536);
    for (long n; (n = S3(SYS_read, ends[0], good, 500)) > 0;) {
        line("pipe still holds", n);
        line("with the sum", sum(good, (word)n));
    }
    S1(SYS_close, ends[0]);
}
static void files(byte *e, const char *path)
{
    struct vec two[2] = {{e - 40, 10}, {e - 6, 20}};
    long fd = S3(SYS_openat, -100, path, 0);
    line("file open", fd >= 0);
    line("file read into the edge", S3(SYS_read, fd, e - 6, 20));
    line("file went on at", sum(e - 6, 6));
    line("file read beyond it", S3(SYS_read, fd, e, 4));
    line("file read two pages", S3(SYS_read, fd, e - 8000, 9000));
    line("file bytes", sum(e - 8000, 8000));
    S1(SYS_close, fd);
    fd = S3(SYS_openat, -100, path, 0);
    line("file readv second one bad", S3(SYS_readv, fd, two, 2));
    line("file bytes", sum(e - 40, 40));
    line("file the rest", S3(SYS_read, fd, e - 8192, 8192));
    S1(SYS_close, fd);
}
static int guest_main(int argc, char **argv, char **envp)
{
    (void)envp;
    for (int kind = 0; kind < 3; kind++) {
        byte *e = edge(kind);
        line("edge", kind);
        pipes(e);
        if (argc > 1)
            files(edge(kind), argv[1]);
        line("uname into the edge", S1(SYS_uname, e - 8));
        line("pipe2 into the edge", S2(SYS_pipe2, e - 4, 0));
        line("getcwd into the edge", S2(SYS_getcwd, e - 1, 100));
        line("getrandom into the edge", S3(SYS_getrandom, e - 100, 200, 0));
        line("getrandom beyond it", S3(SYS_getrandom, e, 10, 0));
        fill(e - 8, 8);
        line("open with a name at the edge", S3(SYS_openat, -100, e - 3, 0));
        line("write from it to stdout", S3(SYS_write, 1, e - 8192, 0));
    }
    return 0;
}
