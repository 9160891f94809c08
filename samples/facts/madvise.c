/* Section 1.8: madvise, every advice on every kind of mapping, guard pages, names and process_madvise. */
#include "fact.h"

static int fd, ro;
static const struct { const char *name; int value; } advices[] = {
    {"NORMAL", 0}, {"RANDOM", 1}, {"SEQUENTIAL", 2}, {"WILLNEED", 3}, {"DONTNEED", 4}, {"FREE", 8}, {"REMOVE", 9}, {"DONTFORK", 10},
    {"DOFORK", 11}, {"MERGEABLE", 12}, {"UNMERGEABLE", 13}, {"HUGEPAGE", 14}, {"NOHUGEPAGE", 15}, {"DONTDUMP", 16}, {"DODUMP", 17},
    {"WIPEONFORK", 18}, {"KEEPONFORK", 19}, {"COLD", 20}, {"PAGEOUT", 21}, {"POPULATE_READ", 22}, {"POPULATE_WRITE", 23},
    {"DONTNEED_LOCKED", 24}, {"COLLAPSE", 25}, {"GUARD_INSTALL", 102}, {"GUARD_REMOVE", 103}};
#define ADVICES 25

static const char *kinds[] = {"anonymous", "read-only", "no access", "write only", "shared", "private file", "shared file", "read-only file",
                              "locked", "growsdown", "noreserve", "droppable", "sealed", "sealed read-only", "guarded", "private read-only file",
                              "written file", "memfd", "beyond end"};
#define KINDS 19

static void make(int kind, int where) {
    static int mem = -1;
    if (mem < 0) mem = (int)sc(SYS_memfd_create, "m", 0), ftruncate(mem, 4 * PG);
    switch (kind) {
        case 0: map(where, 2, RW); break;
        case 1: map(where, 2, R); break;
        case 2: map(where, 2, NONE); break;
        case 3: map(where, 2, W); break;
        case 4: mapx(where, 2, RW, SHAR | ANON); break;
        case 5: mapf(where, 2, RW, PRIV, fd, 0); break;
        case 6: mapf(where, 2, RW, SHAR, fd, 0); break;
        case 7: mapf(where, 2, R, SHAR, ro, 0); break;
        case 8: mapx(where, 2, RW, PRIV | ANON | MAP_LOCKED); break;
        case 9: mapx(where, 2, RW, PRIV | ANON | MAP_GROWSDOWN); break;
        case 10: mapx(where, 2, RW, PRIV | ANON | MAP_NORESERVE); break;
        case 11: mapx(where, 2, RW, MAP_DROPPABLE | ANON); break;
        case 12: map(where, 2, RW); seal(where, 2); break;
        case 13: map(where, 2, R); seal(where, 2); break;
        case 14: map(where, 2, RW); touch(where); advise(where, 2, MADV_GUARD_INSTALL); break;
        case 15: mapf(where, 2, R, PRIV, ro, 0); break;
        case 16: mapf(where, 2, RW, PRIV, fd, 0); touch(where); break;
        case 17: mapf(where, 2, RW, SHAR, mem, 0); break;
        case 18: mapf(where, 2, RW, SHAR, fd, 20); break;
    }
}

static void matrix(void) {
    area(512); /* sealed mappings stay */
    fd = file("data", 4);
    ro = reopen("data", O_RDONLY);
    int place = 0;
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < ADVICES; i++) {
            if (kind != 12 && kind != 13) place = 0;
            else place += 3;
            if (place > 500) place = 3;
            make(kind, place);
            long r = advise(place, 2, advices[i].value);
            const char *result = said(r);
            K("1.8", text("%s | %s", result, smap(P(place), "VmFlags")), "%s of %s", advices[i].name, kinds[kind]);
            if (kind != 12 && kind != 13) unmap(place, 2);
        }
}

/* What pages hold afterwards: first a page that was written (or a file's), then one that was not. */
static void contents(void) {
    static const int which[] = {4, 8, 9, 20, 21, 24, 102, 103, 18, 14, 22, 23};
    area(16);
    for (int kind = 0; kind < 9; kind++) {
        if (kind == 1 || kind == 2 || kind == 7) continue;
        for (int i = 0; i < 12; i++) {
            fd = file("data", 4);
            make(kind, 0);
            put(0, 77);
            long r = advise(0, 2, which[i]);
            const char *bits = which[i] == MADV_PAGEOUT ? "" : resident(0, 2);
            K("1.8", text("%s, bytes %s %s, resident %s", said(r), which[i] == MADV_FREE && kind < 4 ? "any" : got(0), got(1), bits), "advice %d of written %s", which[i], kinds[kind]);
            unmap(0, 2);
            close(fd);
        }
    }
    fd = file("data", 4);
    D("1.8", mapf(0, 4, RW, PRIV, fd, 0));
    F("1.8", put(0, 77));
    F("1.8", advise(0, 4, MADV_DONTNEED));
    F("1.8", get(0));
    D("1.8", mapf(4, 4, RW, SHAR, fd, 0));
    F("1.8", put(4, 66));
    F("1.8", get(0));
    F("1.8", advise(5, 2, MADV_REMOVE));
    F("1.8", get(0));
    F("1.8", get(1));
    F("1.8", get(5));
    F("1.8", get(7));
    char byte = 0;
    V("1.8", "file under the hole", "%s %d", said(pread(fd, &byte, 1, PG)), byte);
    D("1.8", mapx(8, 4, RW, SHAR | ANON));
    F("1.8", put(8, 5));
    C("1.8", remap(8, 0, 4, MREMAP_MAYMOVE | MREMAP_FIXED, 12));
    F("1.8", get(12));
    F("1.8", advise(8, 1, MADV_DONTNEED));
    F("1.8", get(8));
    F("1.8", advise(8, 1, MADV_REMOVE));
    F("1.8", get(12));
}

static void arguments(void) {
    static const long lengths[] = {0, 1, PG - 1, PG, 2 * PG, -1L, -PG, -PG + 1};
    area(16);
    D("1.8", map(0, 2, RW));
    for (int advice = -2; advice < 110; advice++) {
        K("1.8", said(sc(SYS_madvise, P(0), 0, advice)), "advice %d of length 0", advice);
        K("1.8", said(sc(SYS_madvise, P(0) + 1, PG, advice)), "advice %d unaligned", advice);
        K("1.8", said(sc(SYS_madvise, P(8), PG, advice)), "advice %d of a hole", advice);
    }
    for (int i = 0; i < 8; i++) {
        K("1.8", said(sc(SYS_madvise, P(0), lengths[i], MADV_NORMAL)), "NORMAL of length %ld", lengths[i]);
        K("1.8", said(sc(SYS_madvise, P(0) + 1, lengths[i], MADV_NORMAL)), "NORMAL unaligned of length %ld", lengths[i]);
        K("1.8", said(sc(SYS_madvise, P(0), lengths[i], 99)), "bad advice of length %ld", lengths[i]);
        K("1.8", said(sc(SYS_madvise, P(0), lengths[i], MADV_POPULATE_READ)), "POPULATE_READ of length %ld", lengths[i]);
        K("1.8", said(sc(SYS_madvise, P(8), lengths[i], MADV_DONTNEED)), "DONTNEED of a hole of length %ld", lengths[i]);
    }
    F("1.8", sc(SYS_madvise, TASK, PG, MADV_NORMAL));
    F("1.8", sc(SYS_madvise, TASK, 0, MADV_NORMAL));
    F("1.8", sc(SYS_madvise, -PG, PG, MADV_NORMAL));
    F("1.8", sc(SYS_madvise, -PG, 1, MADV_NORMAL));
    F("1.8", sc(SYS_madvise, -2 * PG, PG, MADV_NORMAL));
    F("1.8", sc(SYS_madvise, -2 * PG, PG, MADV_POPULATE_READ));
    F("1.8", sc(SYS_madvise, TASK - PG, 2 * PG, MADV_POPULATE_READ));
    F("1.8", sc(SYS_madvise, 0, PG, MADV_DONTNEED));
    F("1.8", sc(SYS_madvise, 0, 0, MADV_DONTNEED));
    C("1.8", sc(SYS_madvise, P(0), 1, MADV_DONTFORK));
    C("1.8", sc(SYS_madvise, P(0), PG + 1, MADV_DONTFORK));
    C("1.8", sc(SYS_madvise, P(0), PG - 1, MADV_DOFORK));
}

static void partial(void) {
    static const int which[] = {MADV_SEQUENTIAL, MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_DONTFORK, MADV_WIPEONFORK, MADV_DONTDUMP, MADV_WILLNEED,
                                MADV_COLD, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_DONTNEED_LOCKED, MADV_GUARD_INSTALL, MADV_GUARD_REMOVE, MADV_HUGEPAGE};
    area(32);
    fd = file("data", 4);
    for (int i = 0; i < 15; i++)
        for (int middle = 0; middle < 6; middle++) {
            static const char *names[] = {"a hole", "a locked page", "a shared page", "a file", "no access", "read-only"};
            unmap(0, 32);
            map(0, 2, RW);
            touch(1);
            map(3, 2, RW);
            touch(3);
            if (middle == 1) mapx(2, 1, RW, PRIV | ANON | MAP_LOCKED);
            if (middle == 2) mapx(2, 1, RW, SHAR | ANON);
            if (middle == 3) mapf(2, 1, RW, PRIV, fd, 0);
            if (middle == 4) map(2, 1, NONE);
            if (middle == 5) map(2, 1, R);
            K("1.8", result_and_shape(advise(1, 3, which[i])), "advice %d over %s", which[i], names[middle]);
            const char *before = text("%s", vmflags(1));
            K("1.8", text("%s / %s, bytes %s %s", before, vmflags(3), which[i] == MADV_FREE ? "any" : got(1), which[i] == MADV_FREE ? "any" : got(3)), "flags of advice %d over %s", which[i], names[middle]);
        }
    D("1.8", unmap(0, 32));
    D("1.8", map(0, 4, RW));
    F("1.8", seal(2, 2));
    D("1.8", protect(0, 2, R));
    D("1.8", map(4, 2, R));
    F("1.8", touch(2));
    C("1.8", advise(0, 6, MADV_DONTNEED));
    F("1.8", get(2));
    C("1.8", advise(0, 6, MADV_DONTFORK));
    D("1.8", map(8, 2, R));
    F("1.8", seal(8, 1));
    C("1.8", advise(7, 3, MADV_DONTNEED));
    C("1.8", advise(8, 2, MADV_SEQUENTIAL));
    C("1.8", advise(8, 2, MADV_DONTFORK));
    C("1.8", advise(8, 1, MADV_DOFORK));
    C("1.8", advise(8, 1, MADV_GUARD_INSTALL));
    C("1.8", advise(8, 1, MADV_GUARD_REMOVE));
    C("1.8", advise(8, 1, MADV_COLD));
}

static void guards(void) {
    area(32);
    fd = file("data", 4);
    char buffer[16];
    D("1.8", map(0, 6, RW));
    F("1.8", put(1, 5));
    F("1.8", advise(1, 2, MADV_GUARD_INSTALL));
    V("1.8", "shape", "%s", shape());
    V("1.8", "flags", "%s", vmflags(0));
    T("1.8", LOAD(P(1)));
    T("1.8", STORE(P(2) + 7));
    T("1.8", STORE(P(3)));
    F("1.8", advise(1, 1, MADV_GUARD_INSTALL));
    F("1.8", protect(1, 1, R));
    T("1.8", LOAD(P(1) + 3));
    T("1.8", STORE(P(1) + 3));
    F("1.8", protect(1, 1, NONE));
    T("1.8", LOAD(P(1) + 3));
    F("1.8", protect(1, 1, RW));
    F("1.8", advise(1, 1, MADV_DONTNEED));
    F("1.8", get(1));
    F("1.8", advise(1, 1, MADV_FREE));
    F("1.8", get(1));
    F("1.8", advise(1, 1, MADV_COLD));
    F("1.8", advise(1, 1, MADV_PAGEOUT));
    F("1.8", advise(1, 1, MADV_WILLNEED));
    F("1.8", advise(1, 1, MADV_POPULATE_READ));
    F("1.8", advise(1, 1, MADV_POPULATE_WRITE));
    F("1.8", get(1));
    F("1.8", sc(SYS_read, reopen("/dev/zero", O_RDONLY), P(1), 16));
    F("1.8", sc(SYS_read, reopen("/dev/zero", O_RDONLY), P(0), 3 * PG));
    F("1.8", sc(SYS_write, fd, P(1), 16));
    F("1.8", sc(SYS_write, fd, P(0) + PG - 8, 16));
    int mem = reopen("/proc/self/mem", O_RDWR);
    F("1.8", sc(SYS_pread64, mem, buffer, 16, P(1)));
    F("1.8", sc(SYS_pwrite64, mem, buffer, 16, P(1)));
    F("1.8", sc(SYS_pread64, mem, buffer, 16, P(1) - 8));
    F("1.8", lock(1, 1));
    V("1.8", "flags", "%s", vmflags(1));
    F("1.8", unlock(1, 1));
    F("1.8", lock(0, 3));
    F("1.8", advise(1, 1, MADV_GUARD_INSTALL));
    F("1.8", advise(1, 1, MADV_GUARD_REMOVE));
    F("1.8", get(1));
    F("1.8", get(2));
    F("1.8", unlock(0, 6));
    C("1.8", advise(4, 1, MADV_GUARD_INSTALL));
    V("1.8", "resident", "%s", resident(0, 6));
    F("1.8", sc(SYS_msync, P(0), 6 * PG, MS_SYNC));
    C("1.8", remap(4, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 10));
    F("1.8", get(10));
    F("1.8", get(11));
    C("1.8", remap(10, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, 20));
    F("1.8", get(10));
    F("1.8", get(20));
    F("1.8", advise(20, 1, MADV_GUARD_REMOVE));
    F("1.8", put(20, 9));
    F("1.8", get(20));
    F("1.8", advise(20, 1, MADV_GUARD_REMOVE));
    F("1.8", get(20));
    C("1.8", map(4, 2, RW));
    F("1.8", get(4));
    F("1.8", advise(4, 1, MADV_GUARD_INSTALL));
    C("1.8", map(4, 1, RW));
    F("1.8", get(4));
    /* other kinds */
    D("1.8", mapf(12, 2, RW, SHAR, fd, 0));
    F("1.8", advise(12, 1, MADV_GUARD_INSTALL));
    T("1.8", LOAD(P(12)));
    F("1.8", get(13));
    F("1.8", advise(12, 1, MADV_GUARD_REMOVE));
    F("1.8", get(12) >= 0);
    D("1.8", mapf(12, 2, RW, PRIV, fd, 0));
    F("1.8", put(12, 1));
    F("1.8", advise(12, 1, MADV_GUARD_INSTALL));
    T("1.8", LOAD(P(12)));
    F("1.8", advise(12, 1, MADV_GUARD_REMOVE));
    F("1.8", get(12) == 1);
    D("1.8", mapx(12, 2, RW, SHAR | ANON));
    F("1.8", put(12, 1));
    F("1.8", advise(12, 1, MADV_GUARD_INSTALL));
    T("1.8", LOAD(P(12)));
    F("1.8", advise(12, 1, MADV_GUARD_REMOVE));
    F("1.8", get(12));
    D("1.8", map(14, 2, NONE));
    F("1.8", advise(14, 1, MADV_GUARD_INSTALL));
    T("1.8", LOAD(P(14)));
    F("1.8", protect(14, 1, RW));
    T("1.8", LOAD(P(14)));
    F("1.8", protect(14, 1, NONE));
    F("1.8", protect(14, 2, R));
    F("1.8", get(15));
    C("1.8", unmap(14, 1));
    F("1.8", advise(14, 2, MADV_GUARD_INSTALL));
    F("1.8", get(15));
    F("1.8", advise(13, 3, MADV_GUARD_REMOVE));
    F("1.8", get(15));
    D("1.8", mapf(16, 2, RW, SHAR, fd, 20));
    F("1.8", advise(16, 1, MADV_GUARD_INSTALL));
    T("1.8", LOAD(P(16)));
    T("1.8", LOAD(P(17)));
    /* merging around guards */
    D("1.8", map(20, 2, RW));
    F("1.8", advise(20, 1, MADV_GUARD_INSTALL));
    C("1.8", map(22, 2, RW));
    C("1.8", protect(21, 2, R));
    C("1.8", protect(20, 4, R));
    D("1.8", unmap(24, 8));
    D("1.8", map(24, 2, RW));
    F("1.8", advise(24, 1, MADV_GUARD_INSTALL));
    C("1.8", remap(24, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 28));
    C("1.8", map(30, 2, RW));
}

static void names(void) {
    area(16);
    D("1.8", map(0, 2, RW));
    long set = 0x53564d41;
    F("1.8", sc(SYS_prctl, set, 0, P(0), PG, "name"));
    F("1.8", sc(SYS_prctl, set, 0, P(0), PG, 0));
    F("1.8", sc(SYS_prctl, set, 0, P(0) + 1, PG, "name"));
    F("1.8", sc(SYS_prctl, set, 0, P(8), PG, "name"));
    F("1.8", sc(SYS_prctl, set, 0, P(0), 0, "name"));
    F("1.8", sc(SYS_prctl, set, 1, P(0), PG, "name"));
    F("1.8", sc(SYS_prctl, set, 0, P(0), PG, "na[me"));
    C("1.8", sc(SYS_prctl, set, 0, P(0), PG, "name"));
}

static void absent(void) {
    static const int which[] = {MADV_DONTNEED, MADV_FREE, MADV_COLD, 102};
    area(16);
    for (int i = 0; i < 4; i++) {
        D("1.8", mapx(0, 3, RW, SHAR | ANON));
        F("1.8", put(0, 9));
        K("1.8", said(advise(0, 1, which[i])), "advice %d of written shared memory", which[i]);
        K("1.8", smap(P(0), "Rss"), "rss after advice %d", which[i]);
        F("1.8", which[i] == 102 ? 0 : get(0));
        K("1.8", smap(P(0), "Rss"), "rss after advice %d and a look", which[i]);
        unmap(0, 3);
    }
}

/* Pages that may be freed go at MADV_PAGEOUT, unless they were written to again. */
static void freed(void) {
    static const char *touches[] = {"nothing", "a store", "a load", "a read", "no store of a call", "a lock", "no right", "no right and back", "cold"};
    int zeros = reopen("/dev/zero", O_RDONLY);
    area(16);
    for (int i = 0; i < 9; i++) {
        map(0, 4, RW);
        for (int k = 0; k < 4; k++) put(k, 'a' + k);
        F("1.8", advise(0, 3, MADV_FREE));
        K("1.8", text("%s, rss %s", resident(0, 4), smap(P(0), "Rss")), "resident after MADV_FREE, round %d", i);
        if (i == 1) put(1, 'z');
        if (i == 2) get(1);
        if (i == 3) sc(SYS_read, zeros, P(1) + 5, 2);
        if (i == 4) sc(SYS_write, reopen("/dev/null", O_WRONLY), P(1), 2);
        if (i == 5) lock(1, 1), unlock(1, 1);
        if (i == 6) protect(1, 1, R);
        if (i == 7) protect(1, 1, NONE), protect(1, 1, RW);
        if (i == 8) advise(0, 4, MADV_COLD);
        K("1.8", said(advise(0, 1, MADV_PAGEOUT)), "MADV_PAGEOUT of one after MADV_FREE and %s", touches[i]);
        K("1.8", resident(0, 4), "resident then, after MADV_FREE and %s", touches[i]);
        K("1.8", said(advise(0, 4, MADV_PAGEOUT)), "MADV_PAGEOUT after MADV_FREE and %s", touches[i]);
        K("1.8", text("%s, rss %s", resident(0, 4), smap(P(0), "Rss")), "resident after MADV_FREE, MADV_PAGEOUT and %s", touches[i]);
        K("1.8", text("%s %s %s %s", got(0), got(1), got(2), got(3)), "bytes after MADV_FREE, MADV_PAGEOUT and %s", touches[i]);
        K("1.8", resident(0, 4), "resident after a look at them, %s", touches[i]);
        unmap(0, 4);
    }
}

static void other(void) {
    area(16);
    D("1.8", map(0, 2, RW));
    D("1.8", map(4, 2, RW));
    int pidfd = (int)sc(434 /* pidfd_open */, getpid(), 0);
    struct iovec vectors[3] = {{P(0), 2 * PG}, {P(4), PG}, {P(8), PG}};
    long call = 440; /* process_madvise */
    F("1.8", sc(call, pidfd, vectors, 2, MADV_COLD, 0));
    F("1.8", sc(call, pidfd, vectors, 3, MADV_COLD, 0));
    F("1.8", sc(call, pidfd, vectors + 2, 1, MADV_COLD, 0));
    F("1.8", sc(call, pidfd, vectors, 2, MADV_COLD, 1));
    F("1.8", sc(call, pidfd, vectors, 0, MADV_COLD, 0));
    F("1.8", sc(call, pidfd, vectors, 2000, MADV_COLD, 0));
    F("1.8", sc(call, pidfd, 8, 1, MADV_COLD, 0));
    F("1.8", sc(call, -1, vectors, 2, MADV_COLD, 0));
    F("1.8", sc(call, 0, vectors, 2, MADV_COLD, 0));
    F("1.8", sc(call, pidfd, vectors, 2, 99, 0));
    F("1.8", sc(call, pidfd, vectors, 2, MADV_WILLNEED, 0));
    F("1.8", sc(call, pidfd, vectors, 2, MADV_DONTNEED, 0));
    F("1.8", sc(call, pidfd, vectors, 2, MADV_GUARD_INSTALL, 0));
    F("1.8", get(0));
    F("1.8", sc(call, pidfd, vectors, 2, MADV_GUARD_REMOVE, 0));
    F("1.8", get(0));
    F("1.8", sc(call, pidfd, vectors, 2, MADV_DONTFORK, 0));
    V("1.8", "shape", "%s", shape());
}

SHEET(SECTION(matrix), SECTION(contents), SECTION(arguments), SECTION(partial), SECTION(guards), SECTION(names), SECTION(absent), SECTION(freed), SECTION(other))
