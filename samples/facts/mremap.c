/* Section 1.6: mremap. */
#include "fact.h"

#define MAY MREMAP_MAYMOVE
#define TO MREMAP_FIXED
#define KEEPOLD MREMAP_DONTUNMAP
#define raw(...) sc(SYS_mremap, __VA_ARGS__)

static void arguments(void) {
    area(32);
    D("1.6", map(0, 4, RW));
    F("1.6", raw(P(0), PG, PG, 8, 0));
    F("1.6", raw(P(0), PG, PG, -1, 0));
    F("1.6", raw(P(0), PG, PG, 1L << 32, 0));
    F("1.6", raw(P(0) + 1, PG, PG, 0, 0));
    F("1.6", raw(P(0), PG, 0, 0, 0));
    F("1.6", raw(P(0), PG, 0, MAY, 0));
    F("1.6", raw(P(0), 0, 0, MAY, 0));
    F("1.6", raw(P(20), PG, 0, MAY, 0));
    F("1.6", raw(P(20), PG, PG, 8, 0));
    F("1.6", raw(P(20), PG, PG, 0, 0));
    F("1.6", raw(P(20) + 1, PG, PG, 0, 0));
    F("1.6", raw(P(20), 0, PG, MAY, 0));
    F("1.6", raw(P(0), PG, -1L, MAY, 0));
    F("1.6", raw(P(0), PG, -PG, MAY, 0));
    F("1.6", raw(P(0), PG, 1UL << 63, MAY, 0));
    F("1.6", raw(P(0), PG, TASK, MAY, 0));
    F("1.6", raw(P(0), PG, TASK, 0, 0));
    F("1.6", raw(P(0), PG, TASK + PG, MAY, 0));
    F("1.6", raw(P(0), PG, TASK - PG, MAY, 0));
    F("1.6", raw(P(0), -1L, PG, 0, 0));
    F("1.6", raw(P(20), PG, TASK + PG, MAY, 0));
    F("1.6", raw(P(0), PG, PG, TO, P(8)));
    F("1.6", raw(P(0), PG, PG, KEEPOLD, P(8)));
    F("1.6", raw(P(0), PG, PG, KEEPOLD | TO, P(8)));
    F("1.6", raw(P(0), PG, 2 * PG, KEEPOLD | MAY, P(8)));
    F("1.6", raw(P(0), 2 * PG, PG, KEEPOLD | MAY, P(8)));
    F("1.6", raw(P(0), 0, PG, KEEPOLD | MAY, P(8)));
    F("1.6", raw(P(0), PG, PG, MAY | TO, P(8) + 1));
    F("1.6", raw(P(0), PG, PG, MAY | TO, TASK));
    F("1.6", raw(P(0), PG, PG, MAY | TO, TASK - PG + 1));
    F("1.6", raw(P(0), 2 * PG, 2 * PG, MAY | TO, TASK - PG));
    F("1.6", raw(P(0), PG, PG, MAY | TO, -PG));
    F("1.6", raw(P(0), PG, PG, MAY | TO, 1UL << 63));
    F("1.6", raw(P(0), PG, PG, MAY | TO, P(0)));
    F("1.6", raw(P(0), 2 * PG, 2 * PG, MAY | TO, P(1)));
    F("1.6", raw(P(1), 2 * PG, 2 * PG, MAY | TO, P(0)));
    F("1.6", raw(P(1), 1 * PG, 2 * PG, MAY | TO, P(0)));
    F("1.6", raw(P(0), 1 * PG, 2 * PG, MAY | TO, P(0)));
    F("1.6", raw(P(0), 2 * PG, 1 * PG, MAY | TO, P(1)));
    F("1.6", raw(P(0), PG, PG, MAY | KEEPOLD | TO, P(0)));
    F("1.6", raw(P(0), PG, PG, MAY | KEEPOLD, P(0)));
    F("1.6", raw(P(20), PG, PG, MAY | TO, P(21)));
    F("1.6", raw(P(20), PG, PG, MAY | TO, P(20)));
    F("1.6", raw(P(20), PG, PG, MAY | TO, P(21) + 1));
    F("1.6", raw(P(20), PG, PG, TO, P(21)));
    F("1.6", raw(P(20), PG, PG, MAY | KEEPOLD, P(21)));
    F("1.6", raw(P(0), PG, PG, 0, P(8) + 1));
    F("1.6", raw(P(0), PG, PG, MAY, TASK));
    F("1.6", raw(TASK, PG, PG, MAY, 0));
    F("1.6", raw(-PG, PG, PG, MAY, 0));
    F("1.6", raw(0, PG, PG, MAY, 0));
    F("1.6", raw(0, PG, 0, MAY, 0));
    C("1.6", raw(P(0), 1, 1, 0, 0));
    C("1.6", raw(P(0), 3 * PG + 1, 3 * PG + 2, 0, 0));
}

static void inplace(void) {
    area(32);
    D("1.6", map(0, 4, RW));
    C("1.6", raw(P(0), 4 * PG, 4 * PG, 0, 0));
    C("1.6", raw(P(0), 9 * PG, 9 * PG, 0, 0));
    C("1.6", raw(P(2), 9 * PG, 9 * PG, MAY, 0));
    C("1.6", raw(P(0), 4 * PG, 3 * PG, 0, 0));
    C("1.6", raw(P(0), 2 * PG, 1 * PG, 0, 0));
    D("1.6", unmap(0, 32));
    D("1.6", map(0, 4, RW));
    D("1.6", map(6, 2, R));
    D("1.6", map(9, 4, RW));
    C("1.6", raw(P(0), 10 * PG, 2 * PG, 0, 0));
    C("1.6", raw(P(0), 2 * PG, 4 * PG, 0, 0));
    C("1.6", raw(P(0), 3 * PG, 5 * PG, 0, 0));
    C("1.6", raw(P(2), 2 * PG, 5 * PG, 0, 0));
    C("1.6", raw(P(2), 2 * PG, 9 * PG, 0, 0));
    C("1.6", raw(P(1), 20 * PG, 21 * PG, 0, 0));
    C("1.6", raw(P(1), 20 * PG, 21 * PG, MAY, 0));
    C("1.6", raw(P(1), 20 * PG, 19 * PG, 0, 0));
    D("1.6", unmap(0, 32));
    D("1.6", map(0, 2, RW));
    D("1.6", map(4, 2, RW));
    C("1.6", raw(P(0), 2 * PG, 4 * PG, 0, 0));
    C("1.6", raw(P(0), 6 * PG, 8 * PG, 0, 0));
    C("1.6", raw(P(4), 4 * PG, 6 * PG, 0, 0));
    C("1.6", raw(P(4), PG, 2 * PG, 0, 0));
    C("1.6", raw(P(4), 0, 2 * PG, 0, 0));
    C("1.6", raw(P(0), 10 * PG, 32 * PG, 0, 0));
    C("1.6", raw(P(0), 32 * PG, 33 * PG, 0, 0));
    D("1.6", unmap(0, 32));
    D("1.6", mapx(20, 4, RW, PRIV | ANON | MAP_GROWSDOWN));
    D("1.6", map(4, 2, RW));
    C("1.6", raw(P(4), 2 * PG, 16 * PG, 0, 0));
    C("1.6", raw(P(20), 4 * PG, 6 * PG, 0, 0));
    V("1.6", "flags", "%s", vmflags(24));
    D("1.6", unmap(0, 32));
    D("1.6", map(0, 2, RW));
    F("1.6", put(1, 5));
    D("1.6", raw(P(0), 2 * PG, 3 * PG, 0, 0));
    F("1.6", get(1));
    F("1.6", get(2));
    D("1.6", raw(P(0), 3 * PG, 1 * PG, 0, 0));
    D("1.6", raw(P(0), 1 * PG, 3 * PG, 0, 0));
    F("1.6", get(1));
}

static void moves(void) {
    area(64);
    D("1.6", map(0, 4, RW));
    F("1.6", put(0, 10));
    F("1.6", put(1, 11));
    F("1.6", put(3, 13));
    C("1.6", remap(0, 4, 4, MAY | TO, 8));
    F("1.6", get(8));
    F("1.6", get(9));
    F("1.6", get(10));
    F("1.6", get(11));
    C("1.6", remap(9, 1, 1, MAY | TO, 0));
    F("1.6", get(0));
    C("1.6", remap(8, 1, 3, MAY | TO, 20));
    F("1.6", get(20));
    F("1.6", get(21));
    C("1.6", remap(20, 3, 1, MAY | TO, 30));
    C("1.6", remap(10, 2, 1, MAY | TO, 10));
    C("1.6", remap(10, 2, 1, MAY | TO, 12));
    C("1.6", remap(10, 1, 1, MAY | TO, 12));
    D("1.6", unmap(0, 64));
    /* several mappings and holes */
    D("1.6", map(0, 2, RW));
    D("1.6", map(3, 2, R));
    D("1.6", mapx(5, 1, RW, SHAR | ANON));
    D("1.6", map(8, 2, RW));
    C("1.6", remap(0, 10, 10, MAY | TO, 20));
    C("1.6", remap(22, 8, 8, MAY | TO, 40));
    C("1.6", remap(20, 12, 12, MAY | TO, 40));
    C("1.6", remap(19, 10, 10, MAY | TO, 0));
    C("1.6", remap(40, 10, 9, MAY | TO, 0));
    C("1.6", remap(40, 10, 11, MAY | TO, 0));
    C("1.6", remap(41, 10, 10, MAY | TO, 1));
    C("1.6", remap(40, 10, 10, MAY, 0));
    C("1.6", remap(40, 10, 10, MAY | KEEPOLD | TO, 0));
    D("1.6", unmap(0, 64));
    /* onto others */
    D("1.6", map(0, 2, RW));
    D("1.6", map(10, 8, R));
    C("1.6", remap(0, 2, 2, MAY | TO, 12));
    C("1.6", remap(12, 2, 4, MAY | TO, 14));
    C("1.6", remap(10, 1, 4, MAY | TO, 30));
    C("1.6", remap(30, 5, 4, MAY | TO, 40));
    C("1.6", remap(30, 5, 6, MAY | TO, 40));
    D("1.6", map(40, 4, RW));
    C("1.6", remap(30, 5, 6, MAY | TO, 40));
    D("1.6", map(40, 4, RW));
    C("1.6", remap(50, 1, 1, MAY | TO, 40));
    C("1.6", remap(50, 1, 2, MAY | TO, 40));
    D("1.6", unmap(0, 64));
    /* a sealed page in between, at the target, at the source */
    D("1.6", map(0, 2, RW));
    D("1.6", map(2, 2, R));
    D("1.6", map(4, 2, RW));
    F("1.6", seal(2, 2));
    C("1.6", remap(0, 6, 6, MAY | TO, 20));
    C("1.6", remap(2, 1, 1, MAY | TO, 30));
    C("1.6", remap(2, 2, 1, 0, 0));
    C("1.6", remap(2, 2, 2, 0, 0));
    C("1.6", remap(2, 1, 1, 0, 0));
    C("1.6", remap(3, 1, 2, 0, 0));
    C("1.6", remap(4, 2, 2, MAY | TO, 1));
    C("1.6", remap(4, 2, 2, MAY | TO, 3));
    C("1.6", remap(20, 1, 1, MAY | TO, 3));
    C("1.6", remap(20, 1, 2, MAY | TO, 3));
    C("1.6", remap(2, 0, 2, MAY, 3));
    C("1.6", remap(2, 1, 1, MAY | KEEPOLD, 3));
    C("1.6", remap(0, 3, 1, 0, 3));
}

static void duplicate(void) {
    area(32);
    int fd = file("data", 8), ro = reopen("data", O_RDONLY);
    D("1.6", map(0, 2, RW));
    F("1.6", raw(P(0), 0, PG, MAY, 0));
    F("1.6", remap(0, 0, 1, MAY | TO, 10));
    F("1.6", raw(P(0), 0, PG, 0, 0));
    D("1.6", mapx(4, 4, RW, SHAR | ANON));
    F("1.6", put(5, 55));
    C("1.6", remap(4, 0, 2, MAY | TO, 10));
    C("1.6", remap(5, 0, 1, MAY | TO, 14));
    F("1.6", get(14));
    F("1.6", put(14, 66));
    F("1.6", get(5));
    F("1.6", get(11));
    C("1.6", remap(4, 0, 2, 0, 0));
    C("1.6", remap(4, 0, 8, MAY | TO, 16));
    F("1.6", get(17));
    T("1.6", LOAD(P(20)));
    D("1.6", unmap(0, 32));
    D("1.6", mapf(0, 4, RW, SHAR, fd, 2));
    C("1.6", remap(1, 0, 2, MAY | TO, 10));
    F("1.6", get(10));
    C("1.6", remap(1, 0, 2, MAY | TO, 12));
    D("1.6", mapf(20, 2, R, SHAR, ro, 1));
    C("1.6", remap(20, 0, 2, MAY | TO, 24));
    F("1.6", protect(24, 1, RW));
    C("1.6", remap(20, 0, 2, MAY | KEEPOLD | TO, 26));
    C("1.6", remap(20, 0, 0, MAY | KEEPOLD | TO, 26));
    D("1.6", mapf(28, 2, R, PRIV, fd, 1));
    C("1.6", remap(28, 0, 2, MAY | TO, 26));
    C("1.6", remap(3, 0, 2, MAY | TO, 3));
    C("1.6", remap(3, 0, 2, MAY | TO, 2));
}

static void keepold(void) {
    area(64);
    int fd = file("data", 8), ro = reopen("data", O_RDONLY);
    D("1.6", map(0, 4, RW));
    F("1.6", put(1, 11));
    C("1.6", remap(0, 4, 4, MAY | KEEPOLD | TO, 10));
    F("1.6", get(11));
    F("1.6", get(1));
    F("1.6", put(1, 22));
    F("1.6", get(11));
    C("1.6", remap(10, 2, 2, MAY | KEEPOLD | TO, 20));
    C("1.6", remap(20, 2, 2, MAY | KEEPOLD, 30));
    C("1.6", remap(20, 2, 2, MAY | KEEPOLD | TO, 22));
    C("1.6", remap(20, 2, 2, MAY | KEEPOLD | TO, 23));
    D("1.6", unmap(0, 64));
    D("1.6", map(0, 4, RW));
    C("1.6", remap(1, 1, 1, MAY | KEEPOLD | TO, 10));
    C("1.6", map(11, 1, RW));
    F("1.6", touch(0));
    C("1.6", remap(1, 1, 1, MAY | KEEPOLD | TO, 12));
    C("1.6", map(13, 1, RW));
    D("1.6", unmap(0, 64));
    D("1.6", mapx(0, 4, RW, SHAR | ANON));
    F("1.6", put(1, 11));
    C("1.6", remap(1, 2, 2, MAY | KEEPOLD | TO, 10));
    F("1.6", get(1));
    F("1.6", get(10));
    C("1.6", remap(10, 2, 2, MAY | KEEPOLD | TO, 3));
    D("1.6", unmap(0, 64));
    D("1.6", mapf(0, 4, RW, PRIV, fd, 0));
    F("1.6", put(1, 'X'));
    C("1.6", remap(1, 2, 2, MAY | KEEPOLD | TO, 10));
    F("1.6", get(1));
    F("1.6", get(10));
    D("1.6", mapf(20, 4, R, SHAR, ro, 0));
    C("1.6", remap(20, 2, 2, MAY | KEEPOLD | TO, 30));
    F("1.6", get(21));
    D("1.6", mapf(24, 4, RW, SHAR, fd, 0));
    C("1.6", remap(24, 4, 4, MAY | KEEPOLD | TO, 40));
    F("1.6", put(40, 'Y'));
    F("1.6", get(24));
    D("1.6", unmap(0, 64));
    D("1.6", map(0, 4, RW));
    F("1.6", lock(0, 4));
    C("1.6", remap(0, 2, 2, MAY | KEEPOLD | TO, 10));
    V("1.6", "flags left", "%s", vmflags(0));
    V("1.6", "flags moved", "%s", vmflags(10));
    V("1.6", "flags rest", "%s", vmflags(2));
    V("1.6", "locked", "%ld", status("VmLck"));
    D("1.6", unmap(0, 64));
    V("1.6", "locked", "%ld", status("VmLck"));
    D("1.6", mapx(0, 4, RW, PRIV | ANON | MAP_GROWSDOWN));
    C("1.6", remap(0, 2, 2, MAY | KEEPOLD | TO, 10));
    V("1.6", "flags moved", "%s", vmflags(10));
    V("1.6", "flags left", "%s", vmflags(0));
    D("1.6", unmap(0, 64));
    D("1.6", map(0, 4, R));
    C("1.6", remap(0, 4, 4, MAY | KEEPOLD | TO, 10));
    D("1.6", map(20, 4, NONE));
    C("1.6", remap(20, 4, 4, MAY | KEEPOLD | TO, 30));
    V("1.6", "flags", "%s / %s", vmflags(20), vmflags(30));
    D("1.6", mapx(40, 4, RW, PRIV | ANON | MAP_NORESERVE));
    D("1.6", advise(40, 4, MADV_DONTFORK));
    C("1.6", remap(40, 4, 4, MAY | KEEPOLD | TO, 50));
    V("1.6", "flags", "%s / %s", vmflags(40), vmflags(50));
    /* what begins as a piece of the middle */
    D("1.6", unmap(0, 64));
    D("1.6", map(0, 8, RW));
    F("1.6", touch(0));
    F("1.6", put(3, 33));
    C("1.6", remap(3, 2, 2, MAY | KEEPOLD | TO, 20));
    F("1.6", get(20));
    F("1.6", get(3));
    C("1.6", unmap(3, 2));
    C("1.6", remap(20, 2, 2, MAY | TO, 3));
    F("1.6", get(3));
}

static void keeps(void) {
    static const struct { const char *name; long prot, flags; int advice; } kinds[] = {
        {"plain", RW, PRIV | ANON, 0}, {"read-only", R, PRIV | ANON, 0}, {"none", NONE, PRIV | ANON, 0}, {"shared", RW, SHAR | ANON, 0},
        {"noreserve", RW, PRIV | ANON | MAP_NORESERVE, 0}, {"growsdown", RW, PRIV | ANON | MAP_GROWSDOWN, 0}, {"stack", RW, PRIV | ANON | MAP_STACK, 0},
        {"dontfork", RW, PRIV | ANON, MADV_DONTFORK}, {"wipeonfork", RW, PRIV | ANON, MADV_WIPEONFORK}, {"dontdump", RW, PRIV | ANON, MADV_DONTDUMP},
        {"sequential", RW, PRIV | ANON, MADV_SEQUENTIAL}, {"hugepage", RW, PRIV | ANON, MADV_HUGEPAGE}, {"mergeable", RW, PRIV | ANON, MADV_MERGEABLE},
        {"droppable", RW, MAP_DROPPABLE | ANON, 0}, {"locked", RW, PRIV | ANON | MAP_LOCKED, 0}};
    area(64);
    for (int i = 0; i < 15; i++)
        for (int touched = 0; touched < 2; touched++) {
            unmap(0, 64);
            mapx(0, 4, kinds[i].prot, kinds[i].flags);
            if (kinds[i].advice) advise(0, 4, kinds[i].advice);
            if (touched) touch(1);
            K("1.6", shape_and_flags(remap(1, 2, 2, MAY | TO, 20), P(20)), "%s touched %d moved", kinds[i].name, touched);
            K("1.6", shape_and_flags(remap(20, 2, 4, 0, 0), P(22)), "%s touched %d grown", kinds[i].name, touched);
            K("1.6", shape_and_flags(remap(20, 4, 6, MAY | TO, 30), P(34)), "%s touched %d moved and grown", kinds[i].name, touched);
            K("1.6", shape_and_flags(remap(30, 6, 1, MAY | TO, 40), P(40)), "%s touched %d moved and shrunk", kinds[i].name, touched);
            K("1.6", shape_and_flags(remap(40, 1, 1, MAY | TO | KEEPOLD, 50), P(40)), "%s touched %d kept", kinds[i].name, touched);
            K("1.6", result_and_shape(mapx(51, 1, kinds[i].prot, kinds[i].flags)), "%s touched %d mapped behind", kinds[i].name, touched);
            K("1.6", result_and_shape(remap(50, 0, 1, MAY | TO, 60)), "%s touched %d old length 0", kinds[i].name, touched);
        }
}

static void offsets(void) {
    area(64);
    int fd = file("data", 8);
    D("1.6", mapf(0, 4, R, PRIV, fd, 2));
    C("1.6", remap(1, 2, 2, MAY | TO, 10));
    C("1.6", remap(10, 2, 5, MAY | TO, 20));
    C("1.6", remap(20, 5, 8, 0, 0));
    T("1.6", LOAD(P(24)));
    T("1.6", LOAD(P(25)));
    T("1.6", STORE(P(25)));
    C("1.6", remap(0, 1, 1, MAY | TO, 19));
    C("1.6", remap(3, 1, 1, MAY | TO, 28));
    C("1.6", mapf(30, 2, R, PRIV, fd, 7));
    C("1.6", raw(P(30), 2 * PG, 1UL << 62, MAY, 0));
    C("1.6", mapf(40, 1, R, PRIV, fd, (double)(0x7ffffffffffff - 2)));
    C("1.6", raw(P(40), PG, 2 * PG, MAY, 0));
}

SHEET(SECTION(arguments), SECTION(inplace), SECTION(moves), SECTION(duplicate), SECTION(keepold), SECTION(keeps), SECTION(offsets))
