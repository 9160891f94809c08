/* Section 1.9: msync and mincore. */
#include "fact.h"

static void syncing(void) {
    static const long lengths[] = {0, 1, PG - 1, PG, PG + 1, 4 * PG, -1L, -PG, -PG + 1, -2 * PG, 1L << 47};
    area(16);
    int fd = file("data", 4);
    D("1.9", map(0, 2, RW));
    for (int flags = 0; flags < 16; flags++) {
        K("1.9", said(sc(SYS_msync, P(0), PG, flags)), "msync flags %d", flags);
        K("1.9", said(sc(SYS_msync, P(0) + 1, PG, flags)), "msync unaligned flags %d", flags);
        K("1.9", said(sc(SYS_msync, P(0), 0, flags)), "msync of nothing flags %d", flags);
        K("1.9", said(sc(SYS_msync, P(8), PG, flags)), "msync of a hole flags %d", flags);
        K("1.9", said(sc(SYS_msync, P(8), 0, flags)), "msync of nothing in a hole flags %d", flags);
    }
    for (int i = 0; i < 11; i++)
        for (int flags = 0; flags < 5; flags++) {
            K("1.9", said(sc(SYS_msync, P(0), lengths[i], flags)), "msync length %d flags %d", i, flags);
            K("1.9", said(sc(SYS_msync, P(0) + 8, lengths[i], flags)), "msync unaligned length %d flags %d", i, flags);
        }
    D("1.9", map(3, 1, RW));
    F("1.9", sc(SYS_msync, P(0), 4 * PG, MS_SYNC));
    F("1.9", sc(SYS_msync, P(0), 4 * PG, MS_ASYNC));
    F("1.9", sc(SYS_msync, P(0), 4 * PG, 0));
    F("1.9", sc(SYS_msync, P(2), 2 * PG, MS_ASYNC));
    F("1.9", sc(SYS_msync, P(2), 2 * PG, MS_SYNC));
    F("1.9", sc(SYS_msync, TASK, PG, MS_SYNC));
    F("1.9", sc(SYS_msync, TASK, 0, MS_SYNC));
    F("1.9", sc(SYS_msync, -PG, PG, MS_SYNC));
    F("1.9", sc(SYS_msync, -PG, PG, MS_ASYNC));
    F("1.9", sc(SYS_msync, -2 * PG, PG, MS_SYNC));
    F("1.9", sc(SYS_msync, 0, PG, MS_SYNC));
    D("1.9", mapx(4, 2, RW, PRIV | ANON | MAP_LOCKED));
    F("1.9", sc(SYS_msync, P(4), PG, MS_SYNC));
    F("1.9", sc(SYS_msync, P(4), PG, MS_INVALIDATE));
    F("1.9", sc(SYS_msync, P(4), PG, MS_INVALIDATE | MS_ASYNC));
    F("1.9", sc(SYS_msync, P(2), 4 * PG, MS_INVALIDATE | MS_SYNC));
    F("1.9", sc(SYS_msync, P(2), 4 * PG, MS_INVALIDATE | MS_ASYNC));
    F("1.9", sc(SYS_msync, P(4), 4 * PG, MS_INVALIDATE | MS_SYNC));
    F("1.9", sc(SYS_msync, P(5), 2 * PG, MS_SYNC));
    D("1.9", mapf(8, 6, RW, SHAR, fd, 0));
    F("1.9", put(8, 'Z'));
    F("1.9", sc(SYS_msync, P(8), 2 * PG, MS_SYNC));
    F("1.9", sc(SYS_msync, P(8), 6 * PG, MS_SYNC));
    F("1.9", sc(SYS_msync, P(12), PG, MS_SYNC));
    F("1.9", sc(SYS_msync, P(8), 8 * PG, MS_SYNC));
    F("1.9", sc(SYS_msync, P(8), 2 * PG, MS_SYNC | MS_INVALIDATE));
    char byte = 0;
    F("1.9", pread(fd, &byte, 1, 0));
    V("1.9", "byte in the file", "%c", byte);
    F("1.9", lock(8, 1));
    F("1.9", sc(SYS_msync, P(8), PG, MS_SYNC));
    F("1.9", sc(SYS_msync, P(8), PG, MS_SYNC | MS_INVALIDATE));
    F("1.9", sc(SYS_msync, P(9), PG, MS_SYNC | MS_INVALIDATE));
}

static void incore(void) {
    static const long lengths[] = {0, 1, PG - 1, PG, PG + 1, 2 * PG, -1L, -PG, -PG + 1, 1L << 47, 1L << 62};
    unsigned char vec[64];
    area(32);
    int fd = file("data", 4), mem = (int)sc(SYS_memfd_create, "m", 0);
    F("1.9", ftruncate(mem, 4 * PG));
    D("1.9", map(0, 2, RW));
    for (int i = 0; i < 11; i++) {
        K("1.9", said(sc(SYS_mincore, P(0), lengths[i], vec)), "mincore length %d", i);
        K("1.9", said(sc(SYS_mincore, P(0) + 1, lengths[i], vec)), "mincore unaligned length %d", i);
        K("1.9", said(sc(SYS_mincore, P(8), lengths[i], vec)), "mincore of a hole length %d", i);
        K("1.9", said(sc(SYS_mincore, P(0), lengths[i], 0)), "mincore to 0 length %d", i);
        K("1.9", said(sc(SYS_mincore, P(0), lengths[i], -8L)), "mincore to -8 length %d", i);
        K("1.9", said(sc(SYS_mincore, P(8), lengths[i], P(20))), "mincore of a hole to a hole length %d", i);
        K("1.9", said(sc(SYS_mincore, P(8), lengths[i], TASK)), "mincore of a hole to TASK length %d", i);
        K("1.9", said(sc(SYS_mincore, P(8) + 1, lengths[i], TASK)), "mincore unaligned to TASK length %d", i);
    }
    F("1.9", sc(SYS_mincore, TASK, PG, vec));
    F("1.9", sc(SYS_mincore, TASK, 0, vec));
    F("1.9", sc(SYS_mincore, TASK - PG, 2 * PG, vec));
    F("1.9", sc(SYS_mincore, -PG, PG, vec));
    F("1.9", sc(SYS_mincore, 0, PG, vec));
    F("1.9", sc(SYS_mincore, 0, 0, 0));
    V("1.9", "untouched", "%s", resident(0, 2));
    F("1.9", get(0));
    V("1.9", "read", "%s", resident(0, 2));
    F("1.9", touch(1));
    V("1.9", "written", "%s", resident(0, 2));
    D("1.9", protect(0, 2, NONE));
    V("1.9", "no access", "%s", resident(0, 2));
    D("1.9", map(2, 2, NONE));
    V("1.9", "never accessible", "%s", resident(0, 4));
    memset(vec, 7, sizeof vec);
    F("1.9", sc(SYS_mincore, P(0), 6 * PG, vec));
    V("1.9", "up to the hole", "%d%d%d%d%d%d", vec[0], vec[1], vec[2], vec[3], vec[4], vec[5]);
    D("1.9", mapx(4, 4, RW, SHAR | ANON));
    V("1.9", "shared", "%s", resident(4, 4));
    F("1.9", touch(5));
    F("1.9", get(6));
    V("1.9", "shared touched", "%s", resident(4, 4));
    F("1.9", advise(4, 4, MADV_DONTNEED));
    V("1.9", "shared discarded", "%s", resident(4, 4));
    F("1.9", advise(4, 4, MADV_REMOVE));
    V("1.9", "shared removed", "%s", resident(4, 4));
    D("1.9", mapf(8, 6, R, PRIV, fd, 0));
    V("1.9", "file", "%s", resident(8, 6));
    D("1.9", mapf(14, 4, RW, SHAR, mem, 0));
    V("1.9", "memfd", "%s", resident(14, 4));
    F("1.9", pwrite(mem, "x", 1, 2 * PG));
    V("1.9", "memfd written", "%s", resident(14, 4));
    D("1.9", mapf(18, 4, R, PRIV, mem, 0));
    V("1.9", "memfd private", "%s", resident(18, 4));
    F("1.9", ftruncate(mem, PG));
    V("1.9", "memfd cut", "%s", resident(14, 4));
    F("1.9", ftruncate(mem, 4 * PG));
    V("1.9", "memfd longer", "%s", resident(14, 4));
    D("1.9", map(0, 4, RW));
    V("1.9", "fresh", "%s", resident(0, 4));
    F("1.9", advise(0, 2, MADV_POPULATE_READ));
    F("1.9", advise(2, 1, MADV_POPULATE_WRITE));
    V("1.9", "populated", "%s", resident(0, 4));
    F("1.9", advise(0, 4, MADV_DONTNEED));
    V("1.9", "discarded", "%s", resident(0, 4));
    F("1.9", lock(0, 4));
    V("1.9", "locked", "%s", resident(0, 4));
    F("1.9", unlock(0, 4));
    V("1.9", "unlocked", "%s", resident(0, 4));
    C("1.9", remap(0, 4, 4, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, 22));
    V("1.9", "moved from", "%s", resident(0, 4));
    V("1.9", "moved to", "%s", resident(22, 4));
    F("1.9", sc(SYS_read, reopen("/dev/zero", O_RDONLY), P(0), PG));
    F("1.9", sc(SYS_write, reopen("/dev/null", O_WRONLY), P(1), PG));
    V("1.9", "read into", "%s", resident(0, 4));
    F("1.9", sc(SYS_write, fd, P(1), PG));
    V("1.9", "written from", "%s", resident(0, 4));
    D("1.9", map(26, 2, RW));
    F("1.9", sc(SYS_mincore, P(26), 2 * PG, P(27)));
    V("1.9", "into its own page", "%s", resident(26, 2));
    D("1.9", map(28, 2, R));
    F("1.9", sc(SYS_mincore, P(26), 2 * PG, P(28)));
    F("1.9", sc(SYS_mincore, P(26), 0, P(28)));
    F("1.9", sc(SYS_mincore, P(26), 2 * PG, P(28) - 1));
}

SHEET(SECTION(syncing), SECTION(incore))
