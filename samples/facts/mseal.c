/* Section 1.11: mseal, and every call on sealed memory. */
#include "fact.h"

static void arguments(void) {
    static const long lengths[] = {0, 1, PG - 1, PG, PG + 1, -1L, -PG, -PG + 1, -2 * PG, 1L << 47, 1L << 62};
    area(64);
    D("1.11", map(0, 8, RW));
    F("1.11", sc(SYS_mseal, P(0), PG, 1));
    F("1.11", sc(SYS_mseal, P(0), 0, 1));
    F("1.11", sc(SYS_mseal, P(0) + 1, PG, 0));
    F("1.11", sc(SYS_mseal, P(0) + 1, 0, 0));
    F("1.11", sc(SYS_mseal, P(0), PG, -1));
    F("1.11", sc(SYS_mseal, TASK, PG, 0));
    F("1.11", sc(SYS_mseal, TASK, 0, 0));
    F("1.11", sc(SYS_mseal, -PG, PG, 0));
    F("1.11", sc(SYS_mseal, -PG, 1, 0));
    F("1.11", sc(SYS_mseal, -2 * PG, PG, 0));
    F("1.11", sc(SYS_mseal, 0, PG, 0));
    F("1.11", sc(SYS_mseal, 0, 0, 0));
    for (int i = 0; i < 11; i++) K("1.11", said(sc(SYS_mseal, P(20), lengths[i], 0)), "mseal of a hole length %d", i);
    C("1.11", seal(6, 3));
    C("1.11", seal(9, 2));
    F("1.11", protect(7, 1, R));
    D("1.11", unmap(4, 1));
    C("1.11", seal(2, 4));
    F("1.11", protect(2, 1, R));
    C("1.11", sc(SYS_mseal, P(1), 1, 0));
    C("1.11", sc(SYS_mseal, P(1), 1, 0));
    C("1.11", sc(SYS_mseal, P(0), PG + 1, 0));
    V("1.11", "flags", "%s", vmflags(0));
}

static void calls(void) {
    area(128);
    int fd = file("data", 4);
    D("1.11", map(0, 8, RW));
    F("1.11", touch(3));
    C("1.11", seal(2, 4));
    C("1.11", unmap(2, 1));
    C("1.11", unmap(0, 8));
    C("1.11", unmap(6, 2));
    C("1.11", map(5, 1, RW));
    C("1.11", map(1, 2, RW));
    C("1.11", map_at(P(2), PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    C("1.11", protect(2, 1, R));
    C("1.11", protect(2, 1, RW));
    C("1.11", protect(0, 4, R));
    C("1.11", protect(2, 0, R));
    C("1.11", remap(2, 1, 1, 0, 0));
    C("1.11", remap(2, 1, 2, 0, 0));
    C("1.11", remap(2, 2, 1, 0, 0));
    C("1.11", remap(2, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 20));
    C("1.11", remap(5, 1, 2, MREMAP_MAYMOVE, 20));
    C("1.11", remap(0, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED, 3));
    C("1.11", remap(0, 1, 2, 0, 0));
    C("1.11", lock(2, 2));
    C("1.11", sc(SYS_mlock2, P(2), 2 * PG, 1));
    C("1.11", unlock(2, 2));
    C("1.11", sc(SYS_msync, P(2), PG, MS_SYNC));
    V("1.11", "resident", "%s", resident(2, 4));
    C("1.11", seal(2, 4));
    F("1.11", put(3, 9));
    F("1.11", get(3));
    for (int advice = 0; advice < 26; advice++) {
        K("1.11", said(advise(2, 2, advice)), "advice %d of sealed writable", advice);
        K("1.11", got(3), "byte after advice %d of sealed writable", advice);
    }
    V("1.11", "shape", "%s", shape());
    D("1.11", map(10, 4, R));
    D("1.11", seal(10, 4));
    D("1.11", map(20, 4, NONE));
    D("1.11", seal(20, 4));
    D("1.11", mapf(30, 4, R, PRIV, fd, 0));
    D("1.11", seal(30, 4));
    D("1.11", mapf(40, 4, R, SHAR, fd, 0));
    D("1.11", seal(40, 4));
    D("1.11", mapx(50, 4, R, SHAR | ANON));
    D("1.11", seal(50, 4));
    D("1.11", mapf(60, 4, RW, PRIV, fd, 0));
    F("1.11", touch(60));
    D("1.11", protect(60, 4, R));
    D("1.11", seal(60, 4));
    D("1.11", map(70, 4, RW));
    F("1.11", touch(70));
    D("1.11", advise(70, 4, MADV_DONTFORK));
    D("1.11", protect(70, 4, R));
    D("1.11", seal(70, 4));
    D("1.11", mapx(80, 4, RW, PRIV | ANON | MAP_LOCKED));
    D("1.11", protect(80, 4, R));
    D("1.11", seal(80, 4));
    for (int kind = 1; kind < 9; kind++) {
        static const char *names[] = {"", "read-only", "no access", "private file", "shared file", "shared", "written private file", "dontfork", "locked"};
        static const int which[] = {4, 8, 9, 10, 11, 18, 19, 16, 17, 14, 20, 21, 22, 23, 24, 102, 103, 2, 12};
        for (int i = 0; i < 19; i++) {
            K("1.11", said(advise(kind * 10, 1, which[i])), "advice %d of sealed %s", which[i], names[kind]);
        }
        K("1.11", vmflags(kind * 10), "flags of sealed %s", names[kind]);
        K("1.11", said(protect(kind * 10, 1, RW)), "mprotect of sealed %s", names[kind]);
        K("1.11", said(unmap(kind * 10, 1)), "munmap of sealed %s", names[kind]);
        K("1.11", said(sc(SYS_remap_file_pages, P(kind * 10), PG, 0, 1, 0)), "remap_file_pages of sealed %s", names[kind]);
    }
    V("1.11", "shape", "%s", shape());
}

static void others(void) {
    area(1200);
    D("1.11", mapx(1000, 4, RW, PRIV | ANON | MAP_GROWSDOWN));
    D("1.11", seal(1000, 4));
    F("1.11", touch(998));
    V("1.11", "grown", "%s", shape());
    V("1.11", "flags", "%s", vmflags(998));
    F("1.11", protect(999, 1, R | PROT_GROWSDOWN));
    F("1.11", unmap(998, 1));
    D("1.11", map(0, 4, RW));
    F("1.11", seal(1, 1));
    int zero = reopen("/dev/zero", O_RDONLY), mem = reopen("/proc/self/mem", O_RDWR);
    F("1.11", sc(SYS_read, zero, P(1), 16));
    F("1.11", sc(SYS_pwrite64, mem, "x", 1, P(1)));
    F("1.11", get(1));
    F("1.11", sc(SYS_mlockall, MCL_CURRENT | MCL_ONFAULT));
    V("1.11", "flags", "%s", vmflags(1));
    F("1.11", sc(SYS_munlockall));
    V("1.11", "flags", "%s", vmflags(1));
    D("1.11", map(10, 2, RW));
    D("1.11", map(13, 2, RW));
    F("1.11", seal(10, 2));
    C("1.11", map(12, 1, RW));
    C("1.11", seal(13, 2));
    C("1.11", seal(12, 1));
    F("1.11", touch(10));
    C("1.11", remap(0, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, 11));
}

SHEET(SECTION(arguments), SECTION(calls), SECTION(others))
