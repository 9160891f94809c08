/* Section 1.18: memory policies on a machine with one node: what is refused, what is told again, which areas stay apart. */
#include "fact.h"

#define MODES 9
#define STATIC (1 << 15)
#define RELATIVE (1 << 14)
#define BALANCING (1 << 13)

static unsigned long one[2] = {1, 0}, two[2] = {2, 0}, both[2] = {3, 0}, none[2] = {0, 0}, far_off[40] = {0};

static const char *policy(void *at, long flags) {
    int mode = 77;
    unsigned long mask[2] = {0x55, 0x55};
    long r = sc(SYS_get_mempolicy, &mode, mask, 64L, at, flags);
    return r ? ename(-r) : text("%#x %lx %lx", mode, mask[0], mask[1]);
}
static long bind_at(double k, double n, long mode, unsigned long *mask, long flags) {
    return sc(SYS_mbind, P(k), (long)(n * PG), mode, mask, 64L, flags);
}
static long set(long mode, unsigned long *mask, long bits) { return sc(SYS_set_mempolicy, mode, mask, bits); }

static void process(void) {
    static unsigned long *masks[] = {none, one, two, both};
    static int extra[] = {0, STATIC, RELATIVE, STATIC | RELATIVE, BALANCING, BALANCING | STATIC};
    area(3);
    map(0, 1, RW), map(2, 1, R);
    K("1.18", policy(0, 0), "at first");
    for (int mode = -1; mode < MODES; mode++)
        for (int m = 0; m < 4; m++)
            for (int e = 0; e < 6; e++) {
                if (mode < 0 && e) continue;
                K("1.18", said(set(mode | extra[e], masks[m], 64)), "set mode %d %#x nodes %lx", mode, extra[e], *masks[m]);
                K("1.18", policy(0, 0), "get mode %d %#x nodes %lx", mode, extra[e], *masks[m]);
                set(0, 0, 0);
            }
    F("1.18", set(2, one, 0));
    F("1.18", set(2, one, 1));
    F("1.18", set(2, one, 2));
    F("1.18", set(2, 0, 64));
    F("1.18", set(2, both, 2));
    F("1.18", set(2, far_off, 4096 * 8 + 1));
    F("1.18", set(2, far_off, 4096 * 8 + 2));
    F("1.18", set(2, (unsigned long *)P(1), 64));
    F("1.18", set(2, (unsigned long *)(P(1) - 8), 65));
    F("1.18", set(2, (unsigned long *)(P(1) - 8), 66));
    F("1.18", set(99, (unsigned long *)P(1), 64));
    far_off[0] = 1, far_off[31] = 1;
    F("1.18", set(2, far_off, 64));
    F("1.18", set(2, far_off, 2000));
    F("1.18", set(3, one, 64));
    K("1.18", policy(0, 1), "the next node");
    F("1.18", set(2, one, 64));
    K("1.18", policy(0, 1), "the next node of no interleaving");
    for (int flags = 0; flags < 10; flags++) {
        K("1.18", policy(0, flags), "flags %d", flags);
        K("1.18", policy(P(0), flags), "flags %d with an address", flags);
        K("1.18", policy(P(1), flags), "flags %d with a hole", flags);
    }
    F("1.18", sc(SYS_get_mempolicy, 0L, 0L, 0L, 0L, 0L));
    F("1.18", sc(SYS_get_mempolicy, 0L, one, 0L, 0L, 0L));
    F("1.18", sc(SYS_get_mempolicy, P(2), 0L, 0L, 0L, 0L));
    F("1.18", sc(SYS_get_mempolicy, 0L, P(2), 64L, 0L, 0L));
    F("1.18", sc(SYS_get_mempolicy, 0L, P(1) - 8, 65L, 0L, 0L));
    F("1.18", sc(SYS_get_mempolicy, 0L, P(1) - 8, 66L, 0L, 0L));
    F("1.18", sc(SYS_get_mempolicy, 0L, P(0), 4096L * 8 + 66, 0L, 0L));
    F("1.18", set(0, one, 64));
    F("1.18", set(0, 0, 0));
}

static void areas(void) {
    int fd = file("data", 8);
    area(10);
    map(0, 8, RW);
    C("1.18", bind_at(2, 2, 2, one, 0));
    K("1.18", policy(P(1), 2), "before it");
    K("1.18", policy(P(3), 2), "in it");
    C("1.18", bind_at(4, 1, 2, one, 0));
    C("1.18", bind_at(5, 1, 5, one, 0));
    C("1.18", bind_at(5, 1, 3, one, 0));
    C("1.18", bind_at(5, 1, 2 | STATIC, one, 0));
    C("1.18", bind_at(5, 1, 2 | STATIC, both, 0));
    C("1.18", bind_at(5, 1, 2, both, 0));
    C("1.18", protect(3, 1, R));
    C("1.18", protect(3, 1, RW));
    C("1.18", advise(3, 1, MADV_RANDOM));
    C("1.18", advise(3, 1, MADV_NORMAL));
    C("1.18", unmap(3, 1));
    C("1.18", map(3, 1, RW));
    K("1.18", policy(P(3), 2), "mapped anew");
    C("1.18", bind_at(3, 1, 2, one, 0));
    C("1.18", remap(2, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 8));
    K("1.18", policy(P(9), 2), "moved");
    C("1.18", bind_at(0, 10, 0, 0, 0));
    C("1.18", bind_at(4, 2, 0, 0, 0));
    C("1.18", bind_at(2, 1, 0, 0, 0));
    C("1.18", bind_at(2, 3, 0, 0, 0));
    C("1.18", bind_at(2, 1, 2, one, 0));
    C("1.18", bind_at(1, 2, 2, one, 0));
    C("1.18", bind_at(9, 2, 2, one, 0));
    C("1.18", bind_at(8, 2, 2, one, 0));
    C("1.18", bind_at(8, 2, 0, one, 0));
    C("1.18", bind_at(8, 2, 2, two, 0));
    C("1.18", bind_at(8, 2, 4, 0, 0));
    C("1.18", bind_at(8, 2, 1, 0, 0));
    K("1.18", policy(P(8), 2), "preferred nowhere");
    C("1.18", bind_at(0, 0, 2, one, 0));
    C("1.18", bind_at(0, 0, 2, two, 0));
    C("1.18", bind_at(0.5, 1, 2, one, 0));
    C("1.18", bind_at(0, 0.5, 2, one, 0));
    for (int flags = 0; flags < 10; flags++) K("1.18", said(bind_at(0, 1, 2, one, flags)), "bind with flags %d", flags);
    F("1.18", sc(SYS_mbind, P(0), -1L, 2, one, 64L, 0));
    F("1.18", sc(SYS_mbind, P(0), -PG, 2, one, 64L, 0));
    F("1.18", sc(SYS_mbind, P(0), -PG * 2, 2, one, 64L, 0));
    F("1.18", sc(SYS_mbind, TOP, PG, 2, one, 64L, 0));
    F("1.18", sc(SYS_mbind, P(0), PG, 2, P(3), 64L, 99));
    F("1.18", sc(SYS_mbind, P(0), PG, 99, P(3), 64L, 99));
    F("1.18", sc(SYS_mbind, P(0), PG, 2, one, 64L, 99));
    area(6);
    mapf(0, 4, R, SHAR, fd, 0);
    C("1.18", bind_at(1, 1, 2, one, 0));
    K("1.18", policy(P(1), 2), "a file");
    C("1.18", bind_at(1, 1, 0, 0, 0));
    area(6);
    mapx(0, 4, RW, SHAR | ANON);
    C("1.18", bind_at(1, 1, 2, one, 0));
    K("1.18", policy(P(1), 2), "shared memory");
    K("1.18", policy(P(0), 2), "shared memory beside it");
    C("1.18", bind_at(1, 1, 0, 0, 0));
    C("1.18", bind_at(0, 4, 3, one, 0));
    area(6);
    map(0, 2, RW), map(2, 2, R);
    F("1.18", sc(450, P(0), 4 * PG, 0L, 0L));
    C("1.18", bind_at(1, 2, 2, one, 0));
    C("1.18", sc(450, P(0), 2 * PG, 0L, 0L));
    C("1.18", sc(450, P(1), 2 * PG, 0L, 0L));
    C("1.18", bind_at(1, 1, 2, one, 0));
    C("1.18", bind_at(0, 1, 3, one, 0));
    F("1.18", sc(450, P(0), 2 * PG, 0L, 0L));
    F("1.18", sc(450, P(1), PG, 1L, 0L));
    F("1.18", sc(450, P(1), PG, 5000L, 0L));
    F("1.18", sc(450, P(1), PG, 0L, 1L));
    F("1.18", sc(450, P(1) + 1, PG, 0L, 0L));
    F("1.18", sc(450, P(1), 0L, 0L, 0L));
    F("1.18", sc(450, P(4), PG, 0L, 0L));
    F("1.18", sc(450, P(1), -PG, 0L, 0L));
}

static const char *placed(long r, int *status, int count) {
    char *start = text("%s", said(r)), *out = start + strlen(start);
    for (int i = 0; i < count; i++) out += sprintf(out, " %s", status[i] < 0 ? ename(-status[i]) : text("%d", status[i]));
    return start;
}

static void pages(void) {
    int fd = file("data", 2), status[8], nodes[8] = {0};
    void *at[8];
    area(8);
    map(0, 2, RW), map(2, 1, RW), mapf(3, 2, R, SHAR, fd, 0), map(6, 1, NONE), mapx(7, 1, RW, SHAR | ANON);
    touch(0);
    get(1);
    get(3);
    touch(7);
    for (int i = 0; i < 8; i++) at[i] = P(i) + 5;
    memset(status, 0x55, sizeof status);
    K("1.18", placed(sc(SYS_move_pages, 0, 8L, at, 0L, status, 0), status, 8), "where pages are");
    memset(status, 0x55, sizeof status);
    K("1.18", placed(sc(SYS_move_pages, 0, 8L, at, nodes, status, 2), status, 8), "where pages are to go");
    nodes[3] = 1;
    memset(status, 0, sizeof status);
    K("1.18", said(sc(SYS_move_pages, 0, 8L, at, nodes, status, 2)), "to a node that is not there");
    nodes[3] = -1;
    K("1.18", said(sc(SYS_move_pages, 0, 8L, at, nodes, status, 2)), "to no node");
    for (int flags = 0; flags < 9; flags++) K("1.18", said(sc(SYS_move_pages, 0, 0L, at, 0L, status, flags)), "move no pages, flags %d", flags);
    F("1.18", sc(SYS_move_pages, getpid(), 1L, at, 0L, status, 0));
    F("1.18", sc(SYS_move_pages, 0x3fffffff, 1L, at, 0L, status, 0));
    F("1.18", sc(SYS_move_pages, -1, 1L, at, 0L, status, 0));
    F("1.18", sc(SYS_move_pages, 0, 1L, P(5), 0L, status, 0));
    F("1.18", sc(SYS_move_pages, 0, 1L, at, 0L, P(5), 0));
    F("1.18", sc(SYS_move_pages, 0, 1L, at, P(5), status, 0));
    K("1.18", policy(P(2), 3), "the node of a page never touched");
    K("1.18", policy(P(6), 3), "the node of a page that cannot be read");
    K("1.18", resident(2, 1), "touched by that");
    F("1.18", sc(SYS_migrate_pages, 0, 64L, one, one));
    F("1.18", sc(SYS_migrate_pages, 0, 64L, one, two));
    F("1.18", sc(SYS_migrate_pages, 0, 64L, one, both));
    F("1.18", sc(SYS_migrate_pages, 0, 64L, two, one));
    F("1.18", sc(SYS_migrate_pages, 0, 64L, one, none));
    F("1.18", sc(SYS_migrate_pages, 0, 1L, one, one));
    F("1.18", sc(SYS_migrate_pages, getpid(), 64L, one, one));
    F("1.18", sc(SYS_migrate_pages, 0x3fffffff, 64L, one, one));
    F("1.18", sc(SYS_migrate_pages, 0, 64L, P(5), one));
    F("1.18", sc(SYS_migrate_pages, 0, 64L, one, P(5)));
    F("1.18", sc(SYS_migrate_pages, 0, 100000L, one, one));
    F("1.18", sc(SYS_migrate_pages, 0x3fffffff, 100000L, one, one));
}

SHEET(SECTION(process), SECTION(areas), SECTION(pages))
