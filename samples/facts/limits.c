/* Sections 1.0 and 1.13: limits and accounting. */
#include "fact.h"

static struct rlimit old;
static unsigned long size(void) { return (unsigned long)status("VmSize") * 1024; }

static void address_space(void) {
    area(64);
    getrlimit(RLIMIT_AS, &old);
    D("1.13", map(0, 8, RW));
    V("1.13", "address space limit, 4 pages more", "%s", said(limit(RLIMIT_AS, size() + 4 * PG)));
    F("1.13", map(10, 5, RW));
    F("1.13", map(10, 5, NONE));
    F("1.13", mapx(10, 5, NONE, PRIV | ANON | MAP_NORESERVE));
    F("1.13", mapx(10, 5, R, SHAR | ANON));
    F("1.13", mapf(10, 5, R, PRIV, file("data", 1), 0));
    F("1.13", map(10, 4, NONE));
    F("1.13", map(20, 1, NONE));
    C("1.13", map(0, 8, R));
    C("1.13", map(4, 5, RW));
    C("1.13", map(8, 3, RW));
    C("1.13", map(10, 6, RW));
    F("1.13", map_at(P(4), PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    F("1.13", map_at(P(20), PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    C("1.13", remap(0, 4, 5, 0, 0));
    C("1.13", remap(0, 4, 5, MREMAP_MAYMOVE, 0));
    C("1.13", remap(0, 4, 5, MREMAP_MAYMOVE | MREMAP_FIXED, 30));
    C("1.13", remap(0, 4, 4, MREMAP_MAYMOVE | MREMAP_FIXED, 30));
    C("1.13", remap(30, 4, 4, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, 40));
    C("1.13", remap(30, 4, 3, MREMAP_MAYMOVE | MREMAP_FIXED, 50));
    C("1.13", remap(50, 3, 4, 0, 0));
    C("1.13", remap(50, 4, 5, 0, 0));
    F("1.13", sc(SYS_brk, sc(SYS_brk, 0) + 4 * PG) == sc(SYS_brk, 0));
    F("1.13", protect(10, 4, RW));
    V("1.13", "limit of 0", "%s", said(limit(RLIMIT_AS, 0)));
    F("1.13", map(10, 1, RW));
    F("1.13", map(20, 1, RW));
    C("1.13", remap(10, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED, 20));
    F("1.13", unmap(20, 1));
    F("1.13", map(20, 1, RW));
    F("1.13", protect(10, 2, R));
    F("1.13", advise(10, 2, MADV_DONTFORK));
    V("1.13", "limit back", "%s", said(limit(RLIMIT_AS, old.rlim_cur)));
}

static void data(void) {
    area(64);
    getrlimit(RLIMIT_DATA, &old);
    D("1.13", map(0, 8, R));
    D("1.13", map(8, 2, RW));
    unsigned long now = (unsigned long)status("VmData") * 1024;
    V("1.13", "data limit, 4 pages more", "%s", said(limit(RLIMIT_DATA, now + 4 * PG)));
    F("1.13", map(20, 5, RW));
    F("1.13", map(20, 5, W));
    F("1.13", map(20, 5, R));
    F("1.13", map(20, 5, NONE));
    F("1.13", map(20, 5, RX));
    F("1.13", mapx(20, 5, RW, SHAR | ANON));
    F("1.13", mapx(20, 5, RW, PRIV | ANON | MAP_NORESERVE));
    F("1.13", mapx(20, 5, RW, PRIV | ANON | MAP_GROWSDOWN));
    F("1.13", mapx(20, 5, RW, PRIV | ANON | MAP_STACK));
    F("1.13", mapf(20, 5, RW, PRIV, file("data", 1), 0));
    F("1.13", mapf(20, 5, RW, SHAR, file("data", 1), 0));
    C("1.13", protect(0, 5, RW));
    C("1.13", protect(0, 4, RW));
    C("1.13", protect(4, 1, RW));
    C("1.13", protect(0, 8, RW));
    C("1.13", protect(0, 4, RX));
    C("1.13", protect(0, 4, RW | X));
    C("1.13", protect(0, 4, RW));
    C("1.13", map(8, 2, RW));
    C("1.13", map(8, 3, RW));
    C("1.13", remap(8, 2, 3, 0, 0));
    C("1.13", remap(0, 4, 5, MREMAP_MAYMOVE | MREMAP_FIXED, 30));
    C("1.13", remap(0, 4, 4, MREMAP_MAYMOVE | MREMAP_FIXED, 30));
    C("1.13", remap(30, 4, 4, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, 40));
    F("1.13", map(50, 1, RW));
    V("1.13", "limit lower than what is used", "%s", said(limit(RLIMIT_DATA, PG)));
    C("1.13", protect(30, 4, R));
    C("1.13", protect(30, 4, RW));
    C("1.13", map(40, 4, RW));
    C("1.13", unmap(40, 4));
    C("1.13", map(40, 1, RW));
    V("1.13", "limit of 0", "%s", said(limit(RLIMIT_DATA, 0)));
    C("1.13", map(40, 1, RW));
    C("1.13", protect(0, 1, RW));
    V("1.13", "limit back", "%s", said(limit(RLIMIT_DATA, old.rlim_cur)));
}

static void totals(void) {
    static const struct { const char *name; long prot, flags; } kinds[] = {
        {"none", NONE, PRIV | ANON}, {"r", R, PRIV | ANON}, {"w", W, PRIV | ANON}, {"rw", RW, PRIV | ANON}, {"rx", RX, PRIV | ANON},
        {"rwx", RW | X, PRIV | ANON}, {"x", X, PRIV | ANON}, {"shared rw", RW, SHAR | ANON}, {"shared rx", RX, SHAR | ANON},
        {"grows", RW, PRIV | ANON | MAP_GROWSDOWN}, {"grows r", R, PRIV | ANON | MAP_GROWSDOWN}, {"grows rx", RX, PRIV | ANON | MAP_GROWSDOWN},
        {"locked", RW, PRIV | ANON | MAP_LOCKED}, {"noreserve", RW, PRIV | ANON | MAP_NORESERVE}};
    static const char *labels[] = {"VmSize", "VmData", "VmExe", "VmLib", "VmStk", "VmLck", "VmPTE"};
    area(64);
    for (int i = 0; i < 14; i++) {
        long before[6], after[6];
        for (int k = 0; k < 6; k++) before[k] = status(labels[k]);
        mapx(0, 16, kinds[i].prot, kinds[i].flags);
        for (int k = 0; k < 6; k++) after[k] = status(labels[k]);
        K("1.0", text("size %ld data %ld exe %ld lib %ld stack %ld locked %ld", after[0] - before[0], after[1] - before[1], after[2] - before[2],
                      after[3] - before[3], after[4] - before[4], after[5] - before[5]), "kB of 16 pages %s", kinds[i].name);
        unmap(0, 16);
    }
    long before = status("VmData");
    D("1.0", map(0, 16, RW));
    D("1.0", protect(0, 8, R));
    V("1.0", "data after mprotect", "%ld", status("VmData") - before);
    D("1.0", remap(8, 8, 4, 0, 0));
    V("1.0", "data after shrinking", "%ld", status("VmData") - before);
    D("1.0", remap(8, 4, 4, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, 20));
    V("1.0", "data after dontunmap", "%ld", status("VmData") - before);
    D("1.0", map(0, 16, NONE));
    V("1.0", "data after overmapping", "%ld", status("VmData") - before);
    D("1.0", unmap(0, 64));
    V("1.0", "data after munmap", "%ld", status("VmData") - before);
    long rss = status("RssAnon");
    D("1.0", map(0, 64, RW));
    for (int i = 0; i < 64; i++) touch(i);
    V("1.0", "anonymous resident grew by 256 kB", "%d", status("RssAnon") - rss >= 200 && status("RssAnon") - rss <= 320);
    V("1.0", "in smaps", "%s", smap(P(0), "Rss"));
    V("1.0", "anonymous in smaps", "%s", smap(P(0), "Anonymous"));
    D("1.0", advise(0, 32, MADV_DONTNEED));
    V("1.0", "in smaps", "%s", smap(P(0), "Rss"));
    V("1.0", "size in smaps", "%s", smap(P(0), "Size"));
    V("1.0", "private dirty in smaps", "%s", smap(P(0), "Private_Dirty"));
    for (int i = 0; i < 32; i++) get(i);
    V("1.0", "with the zero page in smaps", "%s", smap(P(0), "Rss"));
}

static void overcommit(void) {
    area(16);
    unsigned long tera = 1UL << 40;
    char *big;
    F("1.0", map_at(0, 16 * tera, RW, PRIV | ANON, -1, 0));
    F("1.0", map_at(0, tera, RW, PRIV | ANON, -1, 0));
    F("1.0", map_at(0, tera, W, PRIV | ANON, -1, 0));
    F("1.0", map_at(0, tera, RW, SHAR | ANON, -1, 0));
    F("1.0", map_at(0, tera, R, SHAR | ANON, -1, 0));
    F("1.0", map_at(0, tera, RW, SHAR | ANON | MAP_NORESERVE, -1, 0) > 0);
    F("1.0", map_at(0, tera, RW, PRIV | ANON | MAP_NORESERVE, -1, 0) > 0);
    F("1.0", map_at(0, tera, R, PRIV | ANON, -1, 0) > 0);
    F("1.0", map_at(0, tera, RX, PRIV | ANON, -1, 0) > 0);
    F("1.0", map_at(0, tera, RW, PRIV | ANON | MAP_GROWSDOWN, -1, 0));
    F("1.0", map_at(0, tera, RW, MAP_DROPPABLE | ANON, -1, 0) > 0);
    F("1.0", map_at(0, tera, RW, PRIV | ANON | MAP_STACK, -1, 0));
    F("1.0", map_at(0, tera, RW, PRIV, file("data", 1), 0));
    F("1.0", map_at(0, tera, RW, SHAR, file("data", 1), 0) > 0);
    F("1.0", map_at(0, tera, R, PRIV, file("data", 1), 0) > 0);
    big = (char *)map_at(0, tera, NONE, PRIV | ANON, -1, 0);
    F("1.0", (long)big > 0);
    F("1.0", sc(SYS_mprotect, big, tera, R));
    F("1.0", sc(SYS_mprotect, big, tera, RW));
    F("1.0", sc(SYS_mprotect, big, PG, RW));
    F("1.0", sc(SYS_mprotect, big, tera, RW));
    F("1.0", sc(SYS_mprotect, big + PG, tera - PG, RW));
    V("1.0", "flags", "%s", smap(big + PG, "VmFlags"));
    V("1.0", "flags", "%s", smap(big, "VmFlags"));
    F("1.0", sc(SYS_mprotect, big, PG, NONE));
    V("1.0", "flags", "%s", smap(big, "VmFlags"));
    F("1.0", sc(SYS_mprotect, big, PG, RW));
    F("1.0", put_at(big, 1));
    F("1.0", sc(SYS_mprotect, big, PG, NONE));
    V("1.0", "flags", "%s", smap(big, "VmFlags"));
    F("1.0", sc(SYS_munmap, big, tera));
    big = (char *)map_at(0, tera, RW, PRIV | ANON | MAP_NORESERVE, -1, 0);
    F("1.0", put_at(big + tera / 2, 7));
    F("1.0", get_at(big + tera / 2));
    F("1.0", get_at(big + tera / 3));
    F("1.0", sc(SYS_mremap, big, tera, 2 * tera, MREMAP_MAYMOVE, 0) > 0);
    D("1.0", map(0, 4, RW));
    F("1.0", sc(SYS_mremap, P(0), 4 * PG, tera, MREMAP_MAYMOVE, 0));
    D("1.0", map(0, 4, R));
    F("1.0", sc(SYS_mremap, P(0), 4 * PG, tera, MREMAP_MAYMOVE, 0) > 0);
    F("1.0", sc(SYS_brk, sc(SYS_brk, 0) + tera) == sc(SYS_brk, 0));
}

SHEET(SECTION(address_space), SECTION(data), SECTION(totals), SECTION(overcommit))
