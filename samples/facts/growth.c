/* Section 1.13: mappings that grow down. */
#include "fact.h"

static void growing(void) {
    area(2048);
    static const int below[] = {1, 2, 120, 255, 256, 257, 500};
    for (int i = 0; i < 7; i++) {
        unmap(0, 2048);
        mapx(1000, 2, RW, PRIV | ANON | MAP_GROWSDOWN);
        K("1.13", said(touch(1000 - below[i])), "touch %d pages below", below[i]);
        K("1.13", shape(), "after a touch %d pages below", below[i]);
        K("1.13", resident(1000 - below[i], below[i] > 50 ? 2 : below[i] + 2), "resident after a touch %d pages below", below[i]);
        unmap(0, 2048);
        mapx(1000, 2, RW, PRIV | ANON | MAP_GROWSDOWN);
        K("1.13", said(get(1000 - below[i])), "read %d pages below", below[i]);
        K("1.13", shape(), "after a read %d pages below", below[i]);
    }
    unmap(0, 2048);
    mapx(1000, 2, RW, PRIV | ANON | MAP_GROWSDOWN);
    T("1.13", STORE(P(1000) - 1));
    T("1.13", STORE(P(999)));
    T("1.13", STORE(P(999) - PG));
    V("1.13", "shape", "%s", shape());
    V("1.13", "flags", "%s", vmflags(998));
    D("1.13", unmap(0, 2048));
    D("1.13", mapx(1000, 2, R, PRIV | ANON | MAP_GROWSDOWN));
    T("1.13", LOAD(P(999)));
    T("1.13", STORE(P(990)));
    V("1.13", "read-only", "%s", shape());
    D("1.13", mapx(1000, 2, NONE, PRIV | ANON | MAP_GROWSDOWN));
    T("1.13", LOAD(P(980)));
    V("1.13", "no access", "%s", shape());
    D("1.13", unmap(0, 2048));
    D("1.13", mapx(1000, 2, NONE, PRIV | ANON | MAP_GROWSDOWN));
    T("1.13", STORE(P(999)));
    V("1.13", "no access", "%s", shape());
    D("1.13", protect(1001, 1, RW));
    T("1.13", STORE(P(998)));
    V("1.13", "no access first", "%s", shape());
    D("1.13", protect(998, 1, RW));
    T("1.13", STORE(P(990)));
    V("1.13", "first page writable", "%s", shape());
    D("1.13", unmap(0, 2048));
    D("1.13", mapx(1000, 4, RW, PRIV | ANON | MAP_GROWSDOWN));
    D("1.13", unmap(1000, 1));
    T("1.13", STORE(P(1000)));
    V("1.13", "head unmapped", "%s", shape());
    D("1.13", unmap(1001, 1));
    T("1.13", STORE(P(1001)));
    V("1.13", "hole in it", "%s", shape());
    D("1.13", unmap(1002, 1));
    T("1.13", STORE(P(1001)));
    T("1.13", STORE(P(1002)));
    V("1.13", "two holes", "%s", shape());
    D("1.13", unmap(0, 2048));
    D("1.13", mapx(1000, 2, RW, PRIV | ANON | MAP_GROWSDOWN));
    T("1.13", STORE(P(1000)));
    C("1.13", remap(1000, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 600));
    T("1.13", STORE(P(599)));
    V("1.13", "moved", "%s", shape());
    T("1.13", STORE(P(999)));
    D("1.13", mapx(900, 2, RW, PRIV | ANON | MAP_GROWSDOWN | MAP_STACK));
    T("1.13", STORE(P(899)));
    V("1.13", "with stack", "%s", vmflags(899));
    F("1.13", protect(899, 1, R | PROT_GROWSDOWN));
    T("1.13", STORE(P(898)));
    V("1.13", "shape", "%s", shape());
}

/* What lies below decides how near it may come. */
static void neighbours(void) {
    static const char *names[] = {"writable", "read-only", "no access", "executable", "growsdown", "shared", "shared no access", "file", "growsdown no access"};
    area(2048);
    int fd = file("data", 4);
    for (int kind = 0; kind < 9; kind++)
        for (int distance = 0; distance < 6; distance++) {
            static const int gaps[] = {0, 1, 2, 255, 256, 257};
            unmap(0, 2048);
            long prot = kind == 1 ? R : kind == 2 || kind == 6 || kind == 8 ? NONE : kind == 3 ? X : RW;
            if (kind == 7) mapf(500, 4, R, PRIV, fd, 0);
            else mapx(500, 4, prot, (kind == 5 || kind == 6 ? SHAR : PRIV) | ANON | (kind == 4 || kind == 8 ? MAP_GROWSDOWN : 0));
            mapx(1000, 4, RW, PRIV | ANON | MAP_GROWSDOWN);
            K("1.13", said(touch(504 + gaps[distance])), "touch %d pages above %s", gaps[distance], names[kind]);
            K("1.13", shape(), "after a touch %d pages above %s", gaps[distance], names[kind]);
        }
    D("1.13", unmap(0, 2048));
    D("1.13", mapx(1000, 4, RW, PRIV | ANON | MAP_GROWSDOWN));
    C("1.13", map(999, 1, RW));
    T("1.13", STORE(P(998)));
    C("1.13", map(900, 1, R));
    C("1.13", map(899, 1, NONE));
    C("1.13", unmap(999, 1));
    T("1.13", STORE(P(999)));
    C("1.13", unmap(900, 1));
    T("1.13", STORE(P(999)));
    T("1.13", STORE(P(901)));
    V("1.13", "shape", "%s", shape());
}

static void kernel(void) {
    area(2048);
    int zero = reopen("/dev/zero", O_RDONLY), null = reopen("/dev/null", O_WRONLY), fd = file("data", 1);
    D("1.13", mapx(1000, 2, RW, PRIV | ANON | MAP_GROWSDOWN));
    F("1.13", sc(SYS_read, zero, P(999), 10));
    V("1.13", "shape", "%s", shape());
    F("1.13", sc(SYS_write, fd, P(998), 10));
    V("1.13", "shape", "%s", shape());
    F("1.13", sc(SYS_write, null, P(997), 10));
    V("1.13", "shape", "%s", shape());
    F("1.13", sc(SYS_getcwd, P(997), 100) > 0);
    V("1.13", "shape", "%s", shape());
    F("1.13", sc(SYS_read, zero, P(990), 3 * PG));
    V("1.13", "shape", "%s", shape());
    F("1.13", sc(SYS_pread64, reopen("/proc/self/mem", O_RDONLY), procbuf, 1, P(980)));
    V("1.13", "shape", "%s", shape());
    F("1.13", advise(980, 1, MADV_POPULATE_WRITE));
    F("1.13", lock(980, 1));
    F("1.13", protect(980, 1, R));
    F("1.13", sc(SYS_mincore, P(980), PG, procbuf));
    V("1.13", "shape", "%s", shape());
    unsigned long word = 0;
    F("1.13", sc(SYS_futex, P(970), 1 /* FUTEX_WAKE */, 1, 0, 0, 0));
    F("1.13", sc(SYS_futex, P(970), 0 /* FUTEX_WAIT */, 1, 0, 0, 0));
    V("1.13", "shape", "%s", shape());
    (void)word;
    F("1.13", sc(SYS_uname, P(960)));
    F("1.13", sc(SYS_rt_sigprocmask, 0, 0, P(950), 8));
    F("1.13", sc(SYS_clock_gettime, 0, P(940)));
    V("1.13", "shape", "%s", shape());
}

static void limits(void) {
    struct rlimit old;
    area(2048);
    getrlimit(RLIMIT_STACK, &old);
    D("1.13", mapx(1000, 2, RW, PRIV | ANON | MAP_GROWSDOWN));
    V("1.13", "stack limit of 100 pages", "%s", said(limit(RLIMIT_STACK, 100 * PG)));
    T("1.13", STORE(P(1002 - 101)));
    T("1.13", STORE(P(1002 - 100)));
    V("1.13", "shape", "%s", shape());
    T("1.13", STORE(P(1002 - 101)));
    V("1.13", "stack limit of 100 pages and a byte", "%s", said(limit(RLIMIT_STACK, 100 * PG + 1)));
    T("1.13", STORE(P(1002 - 101)));
    V("1.13", "stack limit of a page", "%s", said(limit(RLIMIT_STACK, PG)));
    T("1.13", STORE(P(1002 - 101)));
    C("1.13", mapx(200, 10, RW, PRIV | ANON | MAP_GROWSDOWN));
    T("1.13", STORE(P(199)));
    T("1.13", STORE(P(209)));
    V("1.13", "stack limit back", "%s", said(limit(RLIMIT_STACK, old.rlim_cur)));
    T("1.13", STORE(P(1002 - 101)));
    getrlimit(RLIMIT_AS, &old);
    V("1.13", "address space limit", "%s", said(limit(RLIMIT_AS, (unsigned long)status("VmSize") * 1024 + 8 * PG)));
    T("1.13", STORE(P(800)));
    T("1.13", STORE(P(892)));
    T("1.13", STORE(P(893)));
    T("1.13", STORE(P(892)));
    V("1.13", "shape", "%s", shape());
    V("1.13", "address space limit back", "%s", said(limit(RLIMIT_AS, old.rlim_cur)));
    getrlimit(RLIMIT_DATA, &old);
    V("1.13", "data limit", "%s", said(limit(RLIMIT_DATA, 4 * PG)));
    T("1.13", STORE(P(890)));
    C("1.13", mapx(400, 10, RW, PRIV | ANON | MAP_GROWSDOWN));
    C("1.13", mapx(410, 10, RW, PRIV | ANON));
    V("1.13", "data limit back", "%s", said(limit(RLIMIT_DATA, old.rlim_cur)));
    drop_capabilities();
    D("1.13", unmap(0, 2048));
    D("1.13", mapx(1000, 2, RW, PRIV | ANON | MAP_GROWSDOWN));
    F("1.13", lock(1000, 2));
    V("1.13", "lock limit", "%s", said(limit(RLIMIT_MEMLOCK, 4 * PG)));
    T("1.13", STORE(P(997)));
    T("1.13", STORE(P(998)));
    V("1.13", "shape", "%s", shape());
    V("1.13", "flags", "%s", vmflags(998));
    V("1.13", "resident", "%s", resident(998, 4));
    T("1.13", STORE(P(997)));
}

static void stack(void) {
    char here;
    char *page = (char *)((uintptr_t)&here & -PG);
    V("1.13", "flags", "%s", smap(&here, "VmFlags"));
    V("1.13", "name", "%s", strstr(shape_of(page, 1), "[stack]") ? "stack" : "another");
    char *low = page - 100 * PG;
    long before = status("VmStk");
    T("1.13", STORE(low));
    V("1.13", "grown by more than 60 pages", "%d", status("VmStk") - before >= 240);
    V("1.13", "no gap", "%s", smap(low + PG, "VmFlags"));
    V("1.13", "resident", "%s %s", smap(low, "Size")[0] ? "a size" : "none", said(sc(SYS_mincore, low, PG, procbuf)));
    T("1.13", STORE(page - 2040 * PG));
    V("1.13", "stack limit of 1 MiB", "%s", said(limit(RLIMIT_STACK, 1 << 20)));
    V("1.13", "an rlimit does not shrink it", "%d", get_at(page - 100 * PG) >= 0);
    F("1.13", protect(0, 0, R));
    V("1.13", "mprotect growsdown", "%s", said(sc(SYS_mprotect, page, PG, RW | PROT_GROWSDOWN)));
    V("1.13", "executable", "%s", said(sc(SYS_mprotect, page, PG, RW | X | PROT_GROWSDOWN)));
    V("1.13", "flags", "%s", smap(low, "VmFlags"));
}

SHEET(SECTION(growing), SECTION(neighbours), SECTION(kernel), SECTION(limits), SECTION(stack))
