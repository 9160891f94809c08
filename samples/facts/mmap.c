/* Section 1.1: what mmap refuses, in which order, and what it makes. */
#include "fact.h"

static int fd, ro, wo;

static void arguments(void) {
    area(16);
    fd = file("data", 4);
    ro = reopen("data", O_RDONLY);
    wo = reopen("data", O_WRONLY);
    int path = reopen("data", O_PATH), folder = reopen(".", O_RDONLY), null = reopen("/dev/null", O_RDWR), pipes[2];
    pipe(pipes);
    F("1.1", map_at(0, 0, RW, PRIV | ANON, -1, 0));
    F("1.1", map_at(0, 0, RW, PRIV | ANON, -1, 1));
    F("1.1", map_at(0, 0, RW, PRIV, -1, 0));
    F("1.1", map_at(0, 0, RW, PRIV, 999, 0));
    F("1.1", map_at(0, PG, RW, PRIV, 999, 1));
    F("1.1", map_at(0, PG, RW, PRIV, 999, 0));
    F("1.1", map_at(0, PG, RW, 0, 999, 0));
    F("1.1", map_at(0, PG, RW, MAP_HUGETLB | PRIV, 999, 0));
    F("1.1", map_at(0, PG, RW, MAP_HUGETLB | PRIV, fd, 0));
    F("1.1", map_at(0, 0, RW, MAP_HUGETLB | PRIV, fd, 0));
    F("1.1", map_at(0, PG, RW, MAP_HUGETLB | PRIV | ANON, -1, 0));
    F("1.1", map_at(0, PG, RW, MAP_HUGETLB | PRIV | ANON | 21 << 26, -1, 0));
    F("1.1", map_at(0, PG, RW, MAP_HUGETLB | PRIV | ANON | 20 << 26, -1, 0));
    F("1.1", map_at(0, PG, RW, MAP_HUGETLB | PRIV | ANON | 13 << 26, -1, 0));
    F("1.1", map_at(0, 0, RW, MAP_HUGETLB | PRIV | ANON, -1, 0));
    F("1.1", map_at(0, 0, RW, MAP_HUGETLB | PRIV | ANON | 20 << 26, -1, 0));
    F("1.1", map_at(0, PG, R, PRIV, path, 0));
    F("1.1", map_at(0, 0, R, PRIV, path, 0));
    F("1.1", map_at(0, PG, R, PRIV, folder, 0));
    F("1.1", map_at(0, PG, R, SHAR, folder, 0));
    F("1.1", map_at(0, 0, R, PRIV, folder, 0));
    F("1.1", map_at(0, PG, RW, SHAR, folder, 0));
    F("1.1", map_at(0, PG, R, 0, folder, 0));
    F("1.1", map_at(0, PG, R, PRIV, null, 0));
    F("1.1", map_at(0, PG, RW, SHAR, null, 0));
    F("1.1", map_at(0, PG, R, PRIV, pipes[0], 0));
    F("1.1", map_at(0, PG, R, PRIV, pipes[1], 0));
    F("1.1", map_at(0, PG, RW, SHAR, pipes[0], 0));
    F("1.1", map_at(0, PG, W, SHAR, pipes[1], 0));
    F("1.1", map_at(0, PG, RW, PRIV | MAP_GROWSDOWN, pipes[0], 0));
    for (int type = 0; type < 16; type++) {
        K("1.1", said(map_at(P(1), PG, RW, type | ANON | FIX, -1, 0)), "anonymous type %d", type);
        K("1.1", said(map_at(P(2), PG, RW, type | FIX, fd, 0)), "file type %d", type);
        K("1.1", said(map_at(P(2), PG, R, type | FIX, ro, 0)), "file for reading type %d", type);
        K("1.1", said(map_at(P(2), 0, R, type | FIX, ro, 0)), "of length 0 type %d", type);
        K("1.1", said(map_at(P(2), 0, R, type | FIX, -1, 0)), "of a bad fd type %d", type);
    }
    F("1.1", map_at(P(1), PG, RW, PRIV | ANON | FIX, 999, 7 * PG));
    F("1.1", map_at(P(1), PG, RW, PRIV | ANON | FIX, -1, 1));
    F("1.1", map_at(P(1), PG, RW, PRIV | ANON | FIX, path, 0));
    F("1.1", map_at(P(1), PG, RW, PRIV | ANON | FIX, -1, -PG));
    F("1.1", map_at(P(1), 2 * PG, RW, PRIV | ANON | FIX, -1, -PG));
    F("1.1", map_at(P(1), 2 * PG, R, PRIV | FIX, fd, -PG));
    F("1.1", map_at(P(1), PG, R, PRIV | FIX, fd, -PG));
    F("1.1", map_at(P(1), PG, R, PRIV | FIX, fd, 0x7ffffffffffff000));
    F("1.1", map_at(P(1), PG, R, PRIV | FIX, fd, 0x7fffffffffffe000));
    F("1.1", map_at(P(1), 2 * PG, R, PRIV | FIX, fd, 0x7fffffffffffe000));
    F("1.1", map_at(P(1), PG, R, PRIV | FIX, fd, (long)0x8000000000000000));
    F("1.1", map_at(P(1), PG, RW, SHAR | FIX, ro, 0x7ffffffffffff000));
    F("1.1", map_at(P(1), PG, R, 0 | FIX, fd, 0x7ffffffffffff000));
    unmap(0, 16);
}

static void rights(void) {
    area(16);
    fd = file("data", 4);
    ro = reopen("data", O_RDONLY);
    wo = reopen("data", O_WRONLY);
    int append = reopen("data", O_RDWR | O_APPEND);
    int fds[] = {fd, ro, wo, append};
    const char *names[] = {"rdwr", "rdonly", "wronly", "append"};
    for (int f = 0; f < 4; f++)
        for (int prot = 0; prot < 8; prot++) {
            K("1.1", result_and_shape(mapf(0, 1, prot, PRIV, fds[f], 0)), "private of %s prot %d", names[f], prot);
            for (int to = 1; to < 8; to++) K("1.1", said(protect(0, 1, to)), "then mprotect %s %d %d", names[f], prot, to);
            unmap(0, 1);
            K("1.1", result_and_shape(mapf(0, 1, prot, SHAR, fds[f], 0)), "shared of %s prot %d", names[f], prot);
            for (int to = 1; to < 8; to++) K("1.1", said(protect(0, 1, to)), "then mprotect %s %d %d", names[f], prot, to);
            unmap(0, 1);
        }
    F("1.1", mapf(0, 1, RW, SHAR | MAP_GROWSDOWN, ro, 0));
    F("1.1", mapf(0, 1, RW, PRIV | MAP_GROWSDOWN, fd, 0));
    F("1.1", mapf(0, 1, R, SHAR | MAP_GROWSDOWN, fd, 0));
    F("1.1", mapf(0, 1, R, MAP_SHARED_VALIDATE | MAP_GROWSDOWN, fd, 0));
    F("1.1", mapf(0, 1, RW, PRIV | MAP_GROWSDOWN, wo, 0));
    F("1.1", mapx(0, 1, RW, SHAR | ANON | MAP_GROWSDOWN));
    F("1.1", mapx(0, 1, RW, MAP_DROPPABLE | ANON | MAP_GROWSDOWN));
    F("1.1", mapx(0, 1, RW, MAP_DROPPABLE | ANON | MAP_LOCKED));
    C("1.1", mapx(0, 1, RW, MAP_DROPPABLE | ANON));
    V("1.1", "flags of droppable", "%s", vmflags(0));
    F("1.1", advise(0, 1, MADV_DODUMP));
    F("1.1", advise(0, 1, MADV_KEEPONFORK));
    F("1.1", advise(0, 1, MADV_WIPEONFORK));
    F("1.1", lock(0, 1));
    V("1.1", "flags of droppable", "%s", vmflags(0));
}

static void flags(void) {
    area(16);
    fd = file("data", 4);
    ro = reopen("data", O_RDONLY);
    wo = reopen("data", O_WRONLY);
    for (int bit = 2; bit < 32; bit++) {
        long flag = 1L << bit;
        if (flag == ANON || flag == FIX || flag == MAP_HUGETLB) continue;
        if (flag == 0x40) continue; /* MAP_32BIT is x86's: placement.c */
        unmap(0, 4);
        if (bit != 3) K("1.1", result_and_shape(mapx(0, 1, RW, flag | PRIV | ANON)), "private anonymous with bit %d", bit);
        if (bit != 3) K("1.1", vmflags(0), "flags of it %d", bit);
        unmap(0, 4);
        K("1.1", result_and_shape(mapf(0, 1, R, flag | PRIV, fd, 0)), "private file with bit %d", bit);
        K("1.1", vmflags(0), "flags of it %d", bit);
        unmap(0, 4);
        K("1.1", said(mapf(0, 1, R, flag | SHAR, fd, 0)), "shared file with bit %d", bit);
        K("1.1", vmflags(0), "flags of it %d", bit);
        unmap(0, 4);
        K("1.1", said(mapf(0, 1, R, flag | MAP_SHARED_VALIDATE, fd, 0)), "validated file with bit %d", bit);
        unmap(0, 4);
        K("1.1", said(mapf(0, 1, RW, flag | MAP_SHARED_VALIDATE, ro, 0)), "validated file for writing of a read-only fd with bit %d", bit);
        unmap(0, 4);
    }
    F("1.1", mapf(0, 1, R, MAP_SHARED | MAP_SYNC, fd, 0));
    F("1.1", mapf(0, 1, R, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0));
    F("1.1", mapf(0, 1, R, MAP_PRIVATE | MAP_SYNC, fd, 0));
    F("1.1", mapf(0, 1, RW, MAP_SHARED | MAP_SYNC, ro, 0));
    F("1.1", map_at(P(0), PG, R, MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE, fd, 0));
    for (int bit = 3; bit < 64; bit++) {
        unmap(0, 4);
        K("1.1", result_and_shape(mapx(0, 1, R | 1L << bit, PRIV | ANON)), "anonymous with prot bit %d", bit);
    }
    unmap(0, 4);
    for (int bit = 32; bit < 64; bit++) K("1.1", said(mapx(0, 1, R, PRIV | ANON | 1L << bit)), "flag bit %d", bit);
    for (int prot = 0; prot < 8; prot++) {
        mapx(0, 1, prot, PRIV | ANON);
        K("1.1", vmflags(0), "flags of private prot %d", prot);
        mapx(0, 1, prot, SHAR | ANON);
        K("1.1", vmflags(0), "flags of shared prot %d", prot);
        mapf(0, 1, prot, PRIV, fd, 0);
        K("1.1", vmflags(0), "flags of private file prot %d", prot);
        mapf(0, 1, prot, PRIV, ro, 0);
        K("1.1", vmflags(0), "flags of private read-only file prot %d", prot);
        mapf(0, 1, prot, SHAR, fd, 0);
        K("1.1", vmflags(0), "flags of shared file prot %d", prot);
        unmap(0, 1);
        if (!(prot & W)) mapf(0, 1, prot, SHAR, ro, 0);
        K("1.1", vmflags(0), "flags of shared read-only file prot %d", prot);
    }
}

static void lengths(void) {
    area(16);
    fd = file("data", 4);
    C("1.1", map_at(P(1), 1, RW, PRIV | ANON | FIX, -1, 0));
    C("1.1", map_at(P(3), PG - 1, RW, PRIV | ANON | FIX, -1, 0));
    C("1.1", map_at(P(5), PG + 1, RW, PRIV | ANON | FIX, -1, 0));
    C("1.1", map_at(P(8), 1, R, PRIV | FIX, fd, 3 * PG));
    C("1.1", map_at(P(10), 3 * PG, R, SHAR | FIX, fd, 9 * PG));
    unsigned long lengths[] = {-1UL, -PG, -PG + 1, -PG - 1, 1UL << 63, (1UL << 63) - 1, 1UL << 47, 1UL << 48, 1UL << 52, TASK, TASK - PG, TASK + 1};
    for (int i = 0; i < 12; i++) {
        K("1.1", said(map_at(0, lengths[i], NONE, PRIV | ANON, -1, 0)), "mmap of length number %d", i);
        K("1.1", said(map_at(P(0), lengths[i], NONE, PRIV | ANON | FIX, -1, 0)), "fixed in the area number %d", i);
        K("1.1", said(map_at(P(0) + 1, lengths[i], NONE, PRIV | ANON | FIX, -1, 0)), "fixed unaligned number %d", i);
        K("1.1", said(map_at(0, lengths[i], R, PRIV, fd, 0)), "of a file number %d", i);
        K("1.1", said(map_at(0, lengths[i], R, PRIV, 999, 0)), "of a bad file number %d", i);
        K("1.1", said(map_at(0, lengths[i], R, ANON, -1, 0)), "of no type number %d", i);
    }
}

static void fixed(void) {
    area(16);
    C("1.1", map(2, 4, RW));
    C("1.1", map(3, 1, R));
    C("1.1", map(1, 2, NONE));
    C("1.1", map(0, 16, R));
    D("1.1", unmap(0, 16));
    D("1.1", map(4, 2, RW));
    F("1.1", map_at(P(4), PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    F("1.1", map_at(P(3), 2 * PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    F("1.1", map_at(P(5), 2 * PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    F("1.1", map_at(P(5), 2 * PG, RW, PRIV | ANON | MAP_FIXED | MAP_FIXED_NOREPLACE, -1, 0));
    F("1.1", map_at(P(0), 16 * PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    C("1.1", map_at(P(6), 1 * PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    C("1.1", map_at(P(8), 1 * PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    F("1.1", map_at(P(9) + 1, PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    F("1.1", map_at(P(4) + 1, PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    F("1.1", map_at(P(4), PG, RW, MAP_FIXED_NOREPLACE | ANON, -1, 0));
    F("1.1", map_at(P(4), PG, RW, MAP_FIXED_NOREPLACE | PRIV, 999, 0));
    F("1.1", map_at(P(4), 0, RW, MAP_FIXED_NOREPLACE | PRIV | ANON, -1, 0));
    F("1.1", map_at(P(9) + 1, PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at(P(9) + 2048, PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at((void *)TASK, PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at((void *)(TASK + 1), PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at((void *)(TASK - PG + 1), PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at((void *)(TASK - PG), 2 * PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at((void *)-PG, PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at((void *)-1L, PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at((void *)(1L << 63), PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at((void *)(1L << 63), PG, RW, FIX | ANON, -1, 0));
    F("1.1", map_at((void *)TASK, PG, RW, PRIV | FIX, 999, 0));
    drop_capabilities();
    F("1.1", map_at(0, PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at((void *)1, PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at(0, PG, RW, ANON | FIX, -1, 0));
    F("1.1", map_at(0, 0, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at(0, 2 * PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.1", map_at(0, PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    F("1.1", map_at(0, PG, RW, PRIV | FIX, 999, 0));
    for (long at = -40; at < 0; at++) K("1.1", said(map_at((void *)at, PG, RW, PRIV | ANON | FIX, -1, 0)), "fixed at %ld", at);
    V("1.1", "at 64 KiB", "%lx", map_at((void *)0x10000, PG, RW, PRIV | ANON | FIX, -1, 0));
    V("1.1", "hint 1", "%d", map_at((void *)1, PG, RW, PRIV | ANON, -1, 0) > 0x20000);
    sc(SYS_munmap, 0x10000, PG);
    V("1.1", "hint 0x1234", "%lx", map_at((void *)0x1234, PG, RW, PRIV | ANON, -1, 0));
    sc(SYS_munmap, 0x10000, PG);
    V("1.1", "hint 0xffff", "%lx", map_at((void *)0xffff, PG, RW, PRIV | ANON, -1, 0));
    sc(SYS_munmap, 0x10000, PG);
    V("1.1", "hint 0x10fff", "%lx", map_at((void *)0x10fff, PG, RW, PRIV | ANON, -1, 0));
    V("1.1", "hint taken", "%d", map_at((void *)0x10000, PG, RW, PRIV | ANON, -1, 0) > 0x20000);
    sc(SYS_munmap, 0x10000, PG);
}

static void populate(void) {
    area(16);
    fd = file("data", 2);
    C("1.1", mapx(0, 4, RW, PRIV | ANON | MAP_POPULATE));
    V("1.1", "resident", "%s", resident(0, 4));
    C("1.1", mapx(0, 4, RW, PRIV | ANON | MAP_POPULATE | MAP_NONBLOCK));
    V("1.1", "resident", "%s", resident(0, 4));
    C("1.1", mapx(0, 4, NONE, PRIV | ANON | MAP_POPULATE));
    V("1.1", "resident", "%s", resident(0, 4));
    C("1.1", mapx(0, 4, R, PRIV | ANON | MAP_POPULATE));
    V("1.1", "resident", "%s", resident(0, 4));
    C("1.1", mapf(0, 4, RW, PRIV | MAP_POPULATE, fd, 0));
    C("1.1", mapf(0, 4, RW, SHAR | MAP_POPULATE, fd, 0));
    C("1.1", mapf(0, 4, R, SHAR | MAP_POPULATE, fd, 7));
    C("1.1", mapx(0, 4, RW, PRIV | ANON | MAP_LOCKED));
    V("1.1", "resident", "%s", resident(0, 4));
    V("1.1", "flags", "%s", vmflags(0));
    C("1.1", mapx(0, 4, NONE, PRIV | ANON | MAP_LOCKED));
    C("1.1", mapf(0, 4, R, SHAR | MAP_LOCKED, fd, 0));
    V("1.1", "flags", "%s", vmflags(0));
}

static void zero(void) {
    area(16);
    int dev = reopen("/dev/zero", O_RDWR), rodev = reopen("/dev/zero", O_RDONLY);
    C("1.1", mapf(0, 2, RW, PRIV, dev, 3));
    F("1.1", put(0, 7));
    F("1.1", get(0));
    F("1.1", get(1));
    V("1.1", "flags", "%s", vmflags(0));
    C("1.1", mapf(2, 2, RW, PRIV, dev, 5));
    C("1.1", mapf(4, 2, RW, PRIV, dev, 9));
    C("1.1", mapf(6, 2, RW, SHAR, dev, 9));
    V("1.1", "flags", "%s", vmflags(6));
    C("1.1", mapf(8, 2, RW, SHAR, dev, 11));
    C("1.1", mapf(10, 2, R, SHAR, rodev, 0));
    F("1.1", mapf(10, 2, RW, SHAR, rodev, 0));
    F("1.1", protect(10, 2, RW));
    F("1.1", get(10));
    C("1.1", remap(0, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 12));
    F("1.1", get(12));
    F("1.1", advise(12, 1, MADV_DONTNEED));
    F("1.1", get(12));
    F("1.1", advise(6, 1, MADV_REMOVE));
    F("1.1", advise(12, 1, MADV_REMOVE));
    F("1.1", advise(12, 1, MADV_FREE));
    F("1.1", advise(12, 1, MADV_WIPEONFORK));
    F("1.1", sc(SYS_msync, P(6), PG, MS_SYNC));
    F("1.1", lock(12, 1));
    V("1.1", "flags", "%s", vmflags(12));
}

SHEET(SECTION(arguments), SECTION(rights), SECTION(flags), SECTION(lengths), SECTION(fixed), SECTION(populate), SECTION(zero))
