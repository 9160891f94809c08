/* Sections 1.1 and 2.1: file mappings and what happens to the file under them. */
#include "fact.h"

static char byte_at(int fd, long at) {
    char byte = '?';
    sc(SYS_pread64, fd, &byte, 1, at);
    return byte;
}
static void poke(int fd, long at, const char *what) { sc(SYS_pwrite64, fd, what, strlen(what), at); }

static void sharing(void) {
    area(32);
    int fd = file("data", 4), again = reopen("data", O_RDWR);
    D("1.1", mapf(0, 4, RW, SHAR, fd, 0));
    D("1.1", mapf(4, 4, RW, PRIV, fd, 0));
    D("1.1", mapf(8, 2, R, SHAR, again, 1));
    D("1.1", mapf(12, 2, RW, PRIV, again, 1));
    F("1.1", get(1));
    F("1.1", put(1, 'S'));
    F("1.1", get(5));
    F("1.1", get(8));
    F("1.1", get(12));
    V("1.1", "file", "%c", byte_at(fd, PG));
    F("1.1", put(5, 'P'));
    F("1.1", get(1));
    F("1.1", get(12));
    F("1.1", put(1, 'T'));
    F("1.1", get(5));
    F("1.1", get(12));
    F("1.1", get_at(P(5) + 1));
    D("1.1", poke(fd, PG, "WX"));
    F("1.1", get(1));
    F("1.1", get(5));
    F("1.1", get_at(P(5) + 1));
    F("1.1", get(12));
    F("1.1", get(8));
    F("1.1", advise(5, 1, MADV_DONTNEED));
    F("1.1", get(5));
    F("1.1", protect(0, 4, R));
    F("1.1", put(1, 'U'));
    F("1.1", protect(0, 4, RW));
    F("1.1", put(1, 'U'));
    F("1.1", get(8));
    F("1.1", sc(SYS_pread64, fd, P(0), PG, PG));
    F("1.1", get(0));
    V("1.1", "file", "%c", byte_at(again, 0));
    F("1.1", sc(SYS_pwrite64, fd, P(1), PG, 2 * PG));
    F("1.1", get(2));
    F("1.1", unmap(1, 1));
    F("1.1", put(0, 'V'));
    F("1.1", unmap(0, 4));
    V("1.1", "file", "%c", byte_at(again, 0));
    F("1.1", close(fd));
    F("1.1", get(4));
    F("1.1", put(4, 1));
    C("1.1", remap(4, 4, 4, MREMAP_MAYMOVE | MREMAP_FIXED, 20));
    F("1.1", get(20));
    F("1.1", close(again));
    F("1.1", get(8));
    F("1.1", get(12));
}

static void sizes(void) {
    area(32);
    int fd = file("data", 0);
    D("2.1", mapf(0, 4, RW, SHAR, fd, 0));
    D("2.1", mapf(8, 4, RW, PRIV, fd, 0));
    F("2.1", get(0));
    F("2.1", sysresult(ftruncate(fd, 1)));
    F("2.1", get(0));
    F("2.1", get(1));
    F("2.1", put_at(P(0) + 100, 'x'));
    F("2.1", sysresult(ftruncate(fd, 200)));
    V("2.1", "byte beyond the old end", "%d", byte_at(fd, 100));
    F("2.1", get_at(P(0) + 100));
    F("2.1", put_at(P(0) + 100, 'y'));
    V("2.1", "byte within", "%c", byte_at(fd, 100));
    D("2.1", poke(fd, 3 * PG, "far"));
    F("2.1", get(3));
    F("2.1", get(2));
    F("2.1", get(10));
    F("2.1", put(10, 'p'));
    F("2.1", sysresult(fallocate(fd, 1 | 2, 0, 4 * PG)));
    F("2.1", get(3));
    F("2.1", get(10));
    F("2.1", get(11));
    F("2.1", sysresult(ftruncate(fd, 2 * PG)));
    F("2.1", get(10));
    F("2.1", put(9, 'q'));
    F("2.1", get(1));
    F("2.1", sysresult(fallocate(fd, 0, 0, 4 * PG)));
    F("2.1", get(10));
    F("2.1", get(9));
    F("2.1", mapf(16, 1, R, SHAR, fd, 100));
    F("2.1", get(16));
    F("2.1", sysresult(ftruncate(fd, 101 * PG)));
    F("2.1", get(16));
    int trunc = reopen("data", O_RDWR | O_TRUNC);
    F("2.1", get(0));
    F("2.1", get(9));
    F("2.1", sysresult(ftruncate(trunc, 4 * PG)));
    F("2.1", get(0));
    F("2.1", get(9));
    F("2.1", sc(SYS_write, trunc, P(16), 1));
    F("2.1", sc(SYS_read, fd, P(16), 1));
    F("2.1", sc(SYS_pread64, fd, P(0), 1, 100 * PG));
    F("2.1", advise(0, 4, MADV_POPULATE_READ));
    F("2.1", advise(16, 1, MADV_POPULATE_READ));
    F("2.1", advise(0, 4, MADV_WILLNEED));
    F("2.1", advise(16, 1, MADV_WILLNEED));
}

static void names(void) {
    area(32);
    int fd = file("a name with spaces", 2);
    C("4", mapf(0, 1, R, PRIV, fd, 1));
    int two = file("two\nlines", 1), back = file("back\\slash", 1), tab = file("tab\there", 1);
    C("4", mapf(2, 1, R, PRIV, two, 0));
    C("4", mapf(4, 1, R, PRIV, back, 0));
    C("4", mapf(6, 1, R, PRIV, tab, 0));
    D("4", unmap(2, 6));
    F("4", sysresult(rename("a name with spaces", "renamed")));
    V("4", "renamed", "%s", shape());
    F("4", sysresult(link("renamed", "other")));
    F("4", sysresult(unlink("renamed")));
    V("4", "unlinked but linked", "%s", shape());
    F("4", get(0));
    F("4", sysresult(unlink("other")));
    V("4", "unlinked", "%s", shape());
    C("4", mapf(1, 1, R, PRIV, fd, 0));
    F("4", get(0));
    F("4", close(fd));
    F("4", get(0));
    int next = file("a name with spaces", 2);
    C("4", mapf(2, 1, R, PRIV, next, 0));
    D("4", unmap(0, 32));
    int plain = file("data", 4);
    C("4", mapf(0, 1, R, PRIV, plain, 3));
    C("4", mapf(1, 1, R, PRIV, plain, 0x7fffffff));
    C("4", mapf(2, 1, R, PRIV, plain, 0x100000000));
    F("4", sysresult(symlink("data", "sym")));
    C("4", mapf(3, 1, R, PRIV, reopen("sym", O_RDONLY), 0));
    F("4", sysresult(mkdir("folder", 0700)));
    F("4", sysresult(rename("data", "folder/data")));
    V("4", "in a folder", "%s", shape());
    V("4", "whole path", "%s", slurp("/proc/self/maps") > 0 && strstr(procbuf, "/folder/data\n") ? "there" : "not there");
}

static void readers(void) {
    area(32);
    int fd = file("data", 3), ro = reopen("data", O_RDONLY);
    D("1.1", mapf(0, 3, R, SHAR, ro, 0));
    D("1.1", mapf(4, 3, RW, PRIV, ro, 0));
    D("1.1", mapf(8, 3, RW, SHAR, fd, 0));
    F("1.1", put(8, 'Z'));
    F("1.1", get(0));
    F("1.1", get(4));
    F("1.1", put(4, 'p'));
    F("1.1", put(8, 'Y'));
    F("1.1", get(4));
    F("1.1", get(0));
    F("1.1", protect(0, 3, RW));
    F("1.1", protect(4, 3, R));
    F("1.1", protect(4, 3, RX));
    F("1.1", protect(4, 3, RW));
    F("1.1", sc(SYS_read, ro, P(0), 10));
    F("1.1", sc(SYS_read, ro, P(4), 10));
    F("1.1", get(4));
    F("1.1", sc(SYS_pwrite64, fd, P(0), 3 * PG, PG));
    F("1.1", get(1));
    F("1.1", sc(SYS_pread64, fd, P(8), PG, PG));
    F("1.1", get(8));
    F("1.1", sc(SYS_copy_file_range, fd, &(long){0}, fd, &(long){PG}, PG, 0) >= 0);
    F("1.1", get(9) == get(8));
    struct stat s;
    fstat(fd, &s);
    V("1.1", "size", "%ld", (long)s.st_size);
    V("1.1", "smaps of private", "%s", smap(P(4), "Private_Dirty"));
    V("1.1", "smaps anonymous of private", "%s", smap(P(4), "Anonymous"));
    V("1.1", "smaps size", "%s", smap(P(4), "Size"));
    V("1.1", "smaps rss of shared", "%s", smap(P(20), "Rss"));
}

SHEET(SECTION(sharing), SECTION(sizes), SECTION(names), SECTION(readers))
