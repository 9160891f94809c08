/* Sections 1.4 and 1.5: munmap, mprotect and protection keys. */
#define TAKE_KEYS 0
#include "fact.h"

static void unmapping(void) {
    area(16);
    F("1.4", sc(SYS_munmap, P(0) + 1, PG));
    F("1.4", sc(SYS_munmap, P(0), 0));
    F("1.4", sc(SYS_munmap, P(0) + 1, 0));
    F("1.4", sc(SYS_munmap, P(0), -1L));
    F("1.4", sc(SYS_munmap, P(0), -PG));
    F("1.4", sc(SYS_munmap, P(0), -PG + 1));
    F("1.4", sc(SYS_munmap, P(0), 1UL << 63));
    F("1.4", sc(SYS_munmap, TASK, PG));
    F("1.4", sc(SYS_munmap, TASK, 0));
    F("1.4", sc(SYS_munmap, TASK, 1));
    F("1.4", sc(SYS_munmap, TASK + PG, PG));
    F("1.4", sc(SYS_munmap, TASK - PG, 2 * PG));
    F("1.4", sc(SYS_munmap, -PG, PG));
    F("1.4", sc(SYS_munmap, 1UL << 63, PG));
    F("1.4", sc(SYS_munmap, 0, PG));
    F("1.4", sc(SYS_munmap, 0, 0));
    F("1.4", sc(SYS_munmap, 0, 1));
    F("1.4", sc(SYS_munmap, P(0), 16 * PG));
    F("1.4", sc(SYS_munmap, P(0), 1));
    D("1.4", map(0, 8, RW));
    C("1.4", sc(SYS_munmap, P(0), 1));
    C("1.4", sc(SYS_munmap, P(1), PG + 1));
    C("1.4", sc(SYS_munmap, P(5), PG - 1));
    C("1.4", sc(SYS_munmap, P(4), 4 * PG));
    D("1.4", map(6, 2, R));
    D("1.4", map(10, 2, RW));
    D("1.4", mapx(12, 2, RW, SHAR | ANON));
    C("1.4", unmap(7, 6));
    C("1.4", unmap(0, 16));
    D("1.4", map(0, 2, RW));
    D("1.4", map(2, 2, R));
    D("1.4", map(4, 2, RW));
    F("1.4", seal(2, 2));
    C("1.4", unmap(1, 4));
    C("1.4", unmap(3, 3));
    C("1.4", unmap(0, 3));
    C("1.4", unmap(0, 6));
    C("1.4", map(1, 4, NONE));
    C("1.4", unmap(0, 2));
    F("1.4", get(4));
}

static void arguments(void) {
    area(16);
    D("1.5", map(0, 4, R));
    F("1.5", sc(SYS_mprotect, P(0) + 1, PG, R));
    F("1.5", sc(SYS_mprotect, P(0) + 1, 0, R));
    F("1.5", sc(SYS_mprotect, P(0), 0, R));
    F("1.5", sc(SYS_mprotect, P(0), 0, -1));
    F("1.5", sc(SYS_mprotect, P(0), 0, PROT_GROWSDOWN));
    F("1.5", sc(SYS_mprotect, P(0), 0, PROT_GROWSDOWN | PROT_GROWSUP));
    F("1.5", sc(SYS_mprotect, P(0), PG, PROT_GROWSDOWN | PROT_GROWSUP));
    F("1.5", sc(SYS_mprotect, P(8), 0, R));
    F("1.5", sc(SYS_mprotect, 0, 0, R));
    F("1.5", sc(SYS_mprotect, -PG, 0, R));
    F("1.5", sc(SYS_mprotect, TASK, 0, R));
    F("1.5", sc(SYS_mprotect, TASK, PG, R));
    F("1.5", sc(SYS_mprotect, TASK - PG, 2 * PG, 1 << 6));
    F("1.5", sc(SYS_mprotect, -PG, PG, R));
    F("1.5", sc(SYS_mprotect, -PG, 1, R));
    F("1.5", sc(SYS_mprotect, -2 * PG, PG, R));
    F("1.5", sc(SYS_mprotect, P(0), -1L, R));
    F("1.5", sc(SYS_mprotect, P(0), -1L, 1 << 6));
    F("1.5", sc(SYS_mprotect, P(0), -PG, R));
    F("1.5", sc(SYS_mprotect, P(0), -PG, 1 << 6));
    F("1.5", sc(SYS_mprotect, P(0) + 1, -1L, 1 << 6));
    F("1.5", sc(SYS_mprotect, P(0), 1UL << 63, R));
    F("1.5", sc(SYS_mprotect, 0, PG, R));
    F("1.5", sc(SYS_mprotect, 0, PG, 1 << 6));
    for (int bit = 3; bit < 32; bit++) {
        K("1.5", said(sc(SYS_mprotect, P(0), PG, R | 1L << bit)), "mprotect of mapped pages with bit %d", bit);
        K("1.5", said(sc(SYS_mprotect, P(8), PG, R | 1L << bit)), "mprotect of a hole with bit %d", bit);
    }
    F("1.5", sc(SYS_mprotect, P(0), PG, R | 1L << 32));
    F("1.5", sc(SYS_mprotect, P(0), PG, -1L));
    F("1.5", sc(SYS_mprotect, P(8), PG, -1L));
    C("1.5", sc(SYS_mprotect, P(0), 1, RW));
    C("1.5", sc(SYS_mprotect, P(1), PG + 1, RW));
    C("1.5", sc(SYS_mprotect, P(0), 4 * PG - 1, R));
    C("1.5", sc(SYS_mprotect, P(1), PG, R));
    C("1.5", sc(SYS_mprotect, P(1), PG, R | 8));
}

static void partial(void) {
    area(16);
    close(file("data", 4));
    int ro = reopen("data", O_RDONLY);
    D("1.5", map(0, 4, R));
    C("1.5", protect(2, 4, RW));
    C("1.5", protect(4, 2, RW));
    C("1.5", protect(5, 8, RW));
    D("1.5", map(6, 2, R));
    C("1.5", protect(2, 6, RX));
    C("1.5", protect(3, 4, NONE));
    C("1.5", protect(8, 1, NONE));
    D("1.5", unmap(0, 16));
    D("1.5", map(0, 2, R));
    D("1.5", mapf(2, 2, R, SHAR, ro, 0));
    D("1.5", map(4, 2, R));
    C("1.5", protect(1, 4, RW));
    C("1.5", protect(1, 4, RX));
    C("1.5", protect(1, 4, NONE));
    F("1.5", seal(2, 1));
    C("1.5", protect(1, 4, R));
    C("1.5", protect(2, 1, NONE));
    C("1.5", protect(2, 1, RW));
    C("1.5", protect(2, 2, X));
    C("1.5", protect(0, 6, RW));
    D("1.5", map(8, 2, RW));
    D("1.5", map(10, 2, R));
    F("1.5", seal(8, 1));
    C("1.5", protect(8, 4, R));
    C("1.5", protect(9, 4, R));
    C("1.5", protect(8, 1, RW));
    F("1.5", sc(SYS_pkey_mprotect, P(8), PG, RW, -1));
    F("1.5", sc(SYS_pkey_mprotect, P(8), PG, R, -1));
}

static void grows(void) {
    area(64);
    D("1.5", mapx(32, 4, RW, PRIV | ANON | MAP_GROWSDOWN));
    D("1.5", map(40, 4, RW));
    C("1.5", protect(34, 1, R | PROT_GROWSDOWN));
    C("1.5", protect(33, 1, RW | PROT_GROWSDOWN));
    C("1.5", protect(34, 1, RW | PROT_GROWSDOWN));
    C("1.5", protect(30, 1, R | PROT_GROWSDOWN));
    C("1.5", protect(30, 3, R | PROT_GROWSDOWN));
    C("1.5", protect(30, 3, RW));
    C("1.5", protect(40, 1, R | PROT_GROWSDOWN));
    C("1.5", protect(37, 4, R | PROT_GROWSDOWN));
    C("1.5", protect(34, 1, R | PROT_GROWSUP));
    C("1.5", protect(40, 1, R | PROT_GROWSUP));
    C("1.5", protect(60, 1, R | PROT_GROWSUP));
    C("1.5", protect(60, 1, R | PROT_GROWSDOWN));
    C("1.5", protect(34, 3, RX | PROT_GROWSDOWN));
    V("1.5", "flags", "%s", vmflags(34));
}

/* The flags of each kind of mapping after mprotect from each protection to each. */
static void kinds(void) {
    area(16);
    int fd = file("data", 2);
    for (int kind = 0; kind < 4; kind++)
        for (int from = 0; from < 8; from++)
            for (int to = 0; to < 8; to++) {
                static const char *names[] = {"private", "shared", "file", "noreserve"};
                if ((from & 4 && from != 5) || (to & 4 && to != 5)) continue;
                if (kind == 0) map(0, 2, from);
                if (kind == 1) mapx(0, 2, from, SHAR | ANON);
                if (kind == 2) mapf(0, 2, from, PRIV, fd, 0);
                if (kind == 3) mapx(0, 2, from, PRIV | ANON | MAP_NORESERVE);
                protect(0, 1, to);
                K("1.5", shape(), "%s from %d to %d", names[kind], from, to);
                K("1.5", text("%s / %s", vmflags(0), vmflags(1)), "flags of %s from %d to %d", names[kind], from, to);
            }
}

static void keys(void) {
    area(16);
    D("1.5", map(0, 4, R));
    F("1.5", sc(SYS_pkey_free, -1));
    F("1.5", sc(SYS_pkey_free, 16));
    F("1.5", sc(SYS_pkey_free, 99));
    F("1.5", sc(SYS_pkey_alloc, 1, 0));
    F("1.5", sc(SYS_pkey_alloc, 0, 4));
    F("1.5", sc(SYS_pkey_alloc, 1, 4));
    F("1.5", sc(SYS_pkey_mprotect, P(0), PG, RW, 16));
    F("1.5", sc(SYS_pkey_mprotect, P(0), PG, RW, -2));
    F("1.5", sc(SYS_pkey_mprotect, P(0), PG, RW, 7));
    F("1.5", sc(SYS_pkey_mprotect, P(0), 0, RW, 16));
    F("1.5", sc(SYS_pkey_mprotect, P(0) + 1, PG, RW, 16));
    F("1.5", sc(SYS_pkey_mprotect, P(0), -PG, RW, 16));
    F("1.5", sc(SYS_pkey_mprotect, P(8), PG, RW, 16));
    F("1.5", sc(SYS_pkey_mprotect, P(8), PG, RW, -1));
    F("1.5", sc(SYS_pkey_mprotect, P(0), PG, 1 << 6, -1));
    C("1.5", sc(SYS_pkey_mprotect, P(0), PG, RW, -1));
}

SHEET(SECTION(unmapping), SECTION(arguments), SECTION(partial), SECTION(grows), SECTION(kinds), SECTION(keys))
