/* Section 1.10: locking memory. Without CAP_IPC_LOCK. */
#include "fact.h"

static long locked(void) { return status("VmLck"); }
static struct rlimit hard;

static void arguments(void) {
    static const long lengths[] = {0, 1, PG, PG + 1, -1L, -PG, -PG + 1, 1L << 46, 1L << 62};
    area(32);
    drop_capabilities();
    D("1.10", map(0, 4, RW));
    V("1.10", "limit", "%s", said(limit(RLIMIT_MEMLOCK, 64 << 10)));
    for (int flags = -1; flags < 5; flags++) {
        K("1.10", said(sc(SYS_mlock2, P(0), PG, flags)), "mlock2 flags %d", flags);
        K("1.10", said(sc(SYS_mlock2, P(8), PG, flags)), "mlock2 of a hole flags %d", flags);
        K("1.10", said(sc(SYS_mlock2, P(0), 0, flags)), "mlock2 of nothing flags %d", flags);
    }
    for (int i = 0; i < 9; i++) {
        K("1.10", said(sc(SYS_mlock, P(0), lengths[i])), "mlock length %d", i);
        K("1.10", said(sc(SYS_mlock, P(0) + 1, lengths[i])), "mlock unaligned length %d", i);
        K("1.10", said(sc(SYS_munlock, P(0), lengths[i])), "munlock length %d", i);
        K("1.10", said(sc(SYS_munlock, P(0) + 1, lengths[i])), "munlock unaligned length %d", i);
        K("1.10", said(sc(SYS_mlock, P(8), lengths[i])), "mlock of a hole length %d", i);
        K("1.10", said(sc(SYS_munlock, P(8), lengths[i])), "munlock of a hole length %d", i);
        K("1.10", said(sc(SYS_mlock, -PG, lengths[i])), "mlock at -PG length %d", i);
    }
    F("1.10", unlock(0, 4));
    V("1.10", "no limit", "%s", said(limit(RLIMIT_MEMLOCK, 0)));
    F("1.10", lock(0, 1));
    F("1.10", sc(SYS_mlock, P(0), 0));
    F("1.10", lock(8, 1));
    F("1.10", sc(SYS_mlock2, P(0), PG, 8));
    F("1.10", sc(SYS_mlock2, P(0), PG, 1));
    F("1.10", unlock(0, 1));
    F("1.10", unlock(8, 1));
    F("1.10", sc(SYS_mlockall, MCL_CURRENT));
    F("1.10", sc(SYS_mlockall, MCL_FUTURE));
    F("1.10", sc(SYS_mlockall, 0));
    F("1.10", sc(SYS_mlockall, MCL_ONFAULT));
    F("1.10", sc(SYS_mlockall, 8));
    F("1.10", sc(SYS_mlockall, -1));
    F("1.10", sc(SYS_munlockall));
    F("1.10", mapx(4, 1, RW, PRIV | ANON | MAP_LOCKED));
    F("1.10", mapx(4, 1, RW, MAP_LOCKED | ANON));
    F("1.10", mapx(4, 0, RW, MAP_LOCKED | ANON | PRIV));
    F("1.10", map_at(P(1), PG, RW, MAP_LOCKED | ANON | PRIV | MAP_FIXED_NOREPLACE, -1, 0));
    V("1.10", "limit back", "%s", said(limit(RLIMIT_MEMLOCK, 64 << 10)));
}

static void effects(void) {
    area(64);
    drop_capabilities();
    V("1.10", "limit", "%s", said(limit(RLIMIT_MEMLOCK, 64 << 10)));
    D("1.10", map(0, 8, RW));
    C("1.10", lock(0, 1));
    C("1.10", sc(SYS_mlock, P(1) + 100, PG));
    V("1.10", "locked kB", "%ld", locked());
    C("1.10", sc(SYS_mlock, P(2) + 100, PG - 100));
    C("1.10", unlock(1, 1));
    V("1.10", "locked kB", "%ld", locked());
    C("1.10", unlock(0, 8));
    C("1.10", sc(SYS_mlock2, P(2), 2 * PG, 1));
    V("1.10", "flags", "%s", vmflags(2));
    V("1.10", "resident", "%s", resident(0, 8));
    C("1.10", lock(3, 2));
    V("1.10", "flags", "%s / %s", text("%s", vmflags(2)), text("%s", vmflags(3)));
    V("1.10", "resident", "%s", resident(0, 8));
    C("1.10", sc(SYS_mlock2, P(2), 4 * PG, 1));
    C("1.10", lock(2, 4));
    C("1.10", unlock(0, 8));
    D("1.10", unmap(4, 1));
    C("1.10", lock(2, 6));
    V("1.10", "locked kB", "%ld", locked());
    C("1.10", lock(4, 2));
    C("1.10", unlock(3, 3));
    C("1.10", unlock(0, 4));
    V("1.10", "locked kB", "%ld", locked());
    D("1.10", unmap(0, 16));
    D("1.10", map(0, 2, RW));
    D("1.10", map(2, 2, NONE));
    D("1.10", map(4, 2, RW));
    C("1.10", lock(0, 6));
    V("1.10", "flags", "%s", vmflags(2));
    V("1.10", "resident", "%s", resident(0, 6));
    C("1.10", sc(SYS_mlock2, P(2), 2 * PG, 1));
    V("1.10", "flags", "%s", vmflags(2));
    C("1.10", protect(2, 2, RW));
    V("1.10", "resident", "%s", resident(0, 6));
    C("1.10", protect(0, 6, NONE));
    V("1.10", "locked kB", "%ld", locked());
    C("1.10", unmap(0, 3));
    V("1.10", "locked kB", "%ld", locked());
    C("1.10", map(4, 1, RW));
    V("1.10", "locked kB", "%ld", locked());
    D("1.10", unmap(0, 16));
    V("1.10", "locked kB", "%ld", locked());
    int fd = file("data", 2);
    D("1.10", mapf(0, 4, RW, PRIV, fd, 0));
    C("1.10", lock(0, 4));
    V("1.10", "flags", "%s", vmflags(0));
    V("1.10", "private after lock", "%s", smap(P(0), "Anonymous"));
    D("1.10", mapf(4, 4, R, SHAR, fd, 0));
    C("1.10", lock(4, 2));
    C("1.10", lock(4, 4));
    D("1.10", map(8, 2, R));
    C("1.10", lock(8, 2));
    V("1.10", "resident", "%s", resident(8, 2));
    V("1.10", "rss", "%s", smap(P(8), "Rss"));
    D("1.10", mapx(10, 2, W, PRIV | ANON));
    C("1.10", lock(10, 1));
    D("1.10", mapx(12, 2, X, PRIV | ANON));
    C("1.10", lock(12, 1));
    D("1.10", mapx(14, 2, RW, SHAR | ANON));
    C("1.10", lock(14, 1));
    V("1.10", "resident", "%s", resident(14, 2));
    V("1.10", "locked kB", "%ld", locked());
}

static void limits(void) {
    area(64);
    drop_capabilities();
    getrlimit(RLIMIT_MEMLOCK, &hard);
    V("1.10", "limit", "%s", said(limit(RLIMIT_MEMLOCK, 4 * PG)));
    D("1.10", map(0, 16, RW));
    F("1.10", lock(0, 5));
    F("1.10", lock(0, 4));
    F("1.10", lock(4, 1));
    F("1.10", lock(2, 2));
    F("1.10", lock(2, 3));
    F("1.10", lock(0, 4));
    F("1.10", sc(SYS_mlock, P(0), 4 * PG + 1));
    F("1.10", lock(40, 1));
    F("1.10", lock(3, 40));
    F("1.10", sc(SYS_mlock2, P(4), PG, 1));
    F("1.10", unlock(3, 1));
    F("1.10", lock(4, 1));
    F("1.10", lock(5, 1));
    F("1.10", mapx(20, 1, RW, PRIV | ANON | MAP_LOCKED));
    F("1.10", unlock(4, 1));
    F("1.10", mapx(20, 2, RW, PRIV | ANON | MAP_LOCKED));
    F("1.10", mapx(20, 1, RW, PRIV | ANON | MAP_LOCKED));
    F("1.10", mapx(20, 1, RW, PRIV | ANON | MAP_LOCKED));
    F("1.10", mapx(20, 1, RW, SHAR | ANON | MAP_LOCKED));
    C("1.10", remap(20, 1, 2, 0, 0));
    C("1.10", remap(20, 1, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 30));
    C("1.10", remap(20, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED, 30));
    D("1.10", unlock(0, 3));
    C("1.10", remap(30, 1, 2, 0, 0));
    C("1.10", remap(30, 2, 4, MREMAP_MAYMOVE | MREMAP_FIXED, 20));
    C("1.10", remap(20, 4, 5, 0, 0));
    C("1.10", remap(20, 0, 1, MREMAP_MAYMOVE | MREMAP_FIXED, 32));
    V("1.10", "locked kB", "%ld", locked());
    C("1.10", unlock(0, 16));
    C("1.10", unlock(20, 4));
    F("1.10", sc(SYS_mlockall, MCL_CURRENT));
    F("1.10", sc(SYS_mlockall, MCL_CURRENT | MCL_ONFAULT));
    V("1.10", "locked kB", "%ld", locked());
    F("1.10", sc(SYS_mlockall, MCL_FUTURE));
    V("1.10", "locked kB", "%ld", locked());
    F("1.10", map(40, 2, RW));
    V("1.10", "flags", "%s", vmflags(40));
    V("1.10", "resident", "%s", resident(40, 2));
    F("1.10", map(42, 3, RW));
    F("1.10", map(42, 3, NONE));
    F("1.10", mapx(42, 3, R, SHAR | ANON));
    F("1.10", map(42, 2, NONE));
    V("1.10", "flags", "%s", vmflags(42));
    F("1.10", sc(SYS_mlockall, MCL_FUTURE | MCL_ONFAULT));
    F("1.10", map(40, 2, RW));
    V("1.10", "flags", "%s", vmflags(40));
    V("1.10", "resident", "%s", resident(40, 2));
    F("1.10", sc(SYS_munlock, P(40), 4 * PG));
    F("1.10", map(40, 1, RW));
    V("1.10", "flags", "%s", vmflags(40));
    F("1.10", sc(SYS_mlockall, MCL_CURRENT));
    F("1.10", map(41, 1, RW));
    V("1.10", "flags", "%s", vmflags(41));
    F("1.10", sc(SYS_munlockall));
    F("1.10", map(46, 1, RW));
    V("1.10", "flags", "%s", vmflags(46));
    V("1.10", "locked kB", "%ld", locked());
    V("1.10", "limit back", "%s", said(limit(RLIMIT_MEMLOCK, hard.rlim_cur)));
}

static void everything(void) {
    area(32);
    drop_capabilities();
    V("1.10", "limit", "%s", said(limit(RLIMIT_MEMLOCK, 8 << 20)));
    for (int flags = -1; flags < 9; flags++) {
        long r = sc(SYS_mlockall, flags & ~MCL_CURRENT);
        K("1.10", said(r), "mlockall %d", flags & ~MCL_CURRENT);
        K("1.10", result_and_shape(map(0, 2, RW)), "mmap after mlockall %d", flags & ~MCL_CURRENT);
        K("1.10", vmflags(0), "flags after mlockall %d", flags & ~MCL_CURRENT);
        K("1.10", resident(0, 2), "resident after mlockall %d", flags & ~MCL_CURRENT);
        sc(SYS_munlockall);
    }
    D("1.10", map(4, 2, RW));
    F("1.10", sc(SYS_mlockall, MCL_CURRENT));
    V("1.10", "flags", "%s", vmflags(4));
    V("1.10", "resident", "%s", resident(4, 2));
    F("1.10", sc(SYS_mlockall, MCL_CURRENT | MCL_ONFAULT));
    V("1.10", "flags", "%s", vmflags(4));
    F("1.10", map(6, 2, RW));
    V("1.10", "flags", "%s", vmflags(6));
    F("1.10", sc(SYS_mlockall, MCL_FUTURE));
    V("1.10", "flags", "%s", vmflags(4));
    F("1.10", mapx(8, 2, RW, PRIV | ANON | MAP_POPULATE));
    F("1.10", mapf(10, 2, R, PRIV, file("data", 2), 0));
    V("1.10", "flags", "%s", vmflags(10));
    F("1.10", mapx(12, 2, RW, MAP_DROPPABLE | ANON));
    V("1.10", "flags", "%s", vmflags(12));
    F("1.10", mapx(14, 2, RW, PRIV | ANON | MAP_GROWSDOWN));
    V("1.10", "flags", "%s", vmflags(14));
    F("1.10", sc(SYS_munlockall));
    V("1.10", "flags", "%s", vmflags(4));
    V("1.10", "locked kB", "%ld", locked());
    V("1.10", "shape", "%s", shape());
}

SHEET(SECTION(arguments), SECTION(effects), SECTION(limits), SECTION(everything))
