/* Section 1.2: where mappings go. Big odd sizes, so that the holes between other mappings do not matter. */
#include "fact.h"

#define BIG (769 * PG)
#define M2 (512 * PG)
static char *any(long length) { return (char *)map_at(0, length, RW, PRIV | ANON, -1, 0); }
static char *hint(void *at, long length) { return (char *)map_at(at, length, RW, PRIV | ANON, -1, 0); }

static void hints(void) {
    area(2048);
    F("1.2", hint(P(10), PG));
    F("1.2", hint(P(10), PG) == P(10));
    F("1.2", hint(P(20) + 0x123, PG));
    F("1.2", hint(P(30) + 0xfff, PG));
    F("1.2", hint(P(29), PG));
    F("1.2", hint(P(28), 2 * PG) == P(28));
    F("1.2", hint(P(27), 3 * PG) == P(27));
    F("1.2", hint(P(31), 5 * PG));
    F("1.2", hint(P(2047), 2 * PG) == P(2047));
    F("1.2", hint(P(-1), PG) == P(-1));
    F("1.2", hint((void *)TASK, PG) > (char *)0x10000);
    F("1.2", hint((void *)(TASK + PG), PG) > (char *)0x10000);
    F("1.2", hint((void *)-PG, PG) > (char *)0x10000);
    F("1.2", hint((void *)-1L, PG) > (char *)0x10000);
    F("1.2", (long)hint((void *)-1L, -1L));
    F("1.2", (long)hint((void *)PG, TASK + PG));
    V("1.2", "file with a hint", "%s", said(map_at(P(100) + 7, PG, R, PRIV, file("data", 1), 0)));
    V("1.2", "shared with a hint", "%s", said(map_at(P(102) + 7, PG, R, SHAR | ANON, -1, 0)));
    D("1.2", unmap(0, 2048));
    D("1.2", mapx(1000, 4, RW, PRIV | ANON | MAP_GROWSDOWN));
    F("1.2", hint(P(999), PG) == P(999));
    F("1.2", hint(P(744), PG) == P(744));
    F("1.2", hint(P(743), PG));
    F("1.2", hint(P(742), 2 * PG) == P(742));
    F("1.2", hint(P(741), 2 * PG));
    F("1.2", hint(P(1004), PG));
    D("1.2", map(900, 1, NONE));
    F("1.2", hint(P(899), PG));
    F("1.2", hint(P(800), PG));
    F("1.2", hint(P(901), PG) == P(901));
    F("1.2", map_at(P(950), PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0));
    F("1.2", map(951, 1, RW));
    F("1.2", hint(P(949), PG));
    F("1.2", hint(P(952), PG) == P(952));
    D("1.2", unmap(0, 2048));
    D("1.2", mapx(1000, 4, NONE, PRIV | ANON | MAP_GROWSDOWN));
    F("1.2", hint(P(999), PG) == P(999));
    F("1.2", hint(P(743), PG));
    D("1.2", unmap(0, 2048));
    D("1.2", map(0, 2, RW));
    F("1.2", sc(SYS_mremap, P(0), PG, PG, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, P(100)));
    F("1.2", sc(SYS_mremap, P(0), PG, PG, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, P(100)) == (long)P(100));
    F("1.2", sc(SYS_mremap, P(1), PG, PG, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, P(100) + 5));
    D("1.2", map(1, 1, RW));
    F("1.2", sc(SYS_mremap, P(1), PG, 2 * PG, MREMAP_MAYMOVE, P(200)));
    D("1.2", map(3, 1, R));
    D("1.2", map(4, 1, RW));
    F("1.2", sc(SYS_mremap, P(3), PG, 2 * PG, MREMAP_MAYMOVE, P(200)) == (long)P(200));
}

static void search(void) {
    char *a = any(BIG), *b = any(BIG), *c = any(BIG);
    V("1.2", "second directly below", "%d", b == a - BIG);
    V("1.2", "third directly below", "%d", c == b - BIG);
    V("1.2", "all one", "%s", shape_of(c, 3 * 769));
    sc(SYS_munmap, b, BIG);
    V("1.2", "the hole is used", "%d", any(BIG) == b);
    sc(SYS_munmap, b, BIG);
    char *d = any(BIG + PG);
    V("1.2", "a longer one is not put into it", "%d", d == c - BIG - PG);
    char *e = any(BIG - 100 * PG);
    V("1.2", "a shorter one at the hole's end", "%d", e == b + 100 * PG);
    sc(SYS_munmap, e, BIG - 100 * PG);
    sc(SYS_munmap, d, 700 * PG);
    V("1.2", "the higher of two holes", "%d", any(690 * PG) == b + 79 * PG);
    V("1.2", "then the lower", "%d", any(690 * PG) == d + 10 * PG);
    V("1.2", "shared below too", "%d", (char *)map_at(0, BIG, RW, SHAR | ANON, -1, 0) == d - BIG + 10 * PG);
    char *f = (char *)map_at(0, BIG, NONE, PRIV | ANON, -1, 0);
    V("1.2", "no access below too", "%d", f < d);
    char *g = (char *)map_at(0, BIG, RW, PRIV | ANON | MAP_GROWSDOWN, -1, 0);
    V("1.2", "one that grows down is not apart from what is above", "%d", f - g == BIG);
    char *h = any(BIG);
    V("1.2", "but what follows is 256 pages below", "%ld", (g - h) / PG);
    char *i = any(BIG);
    V("1.2", "directly below that", "%ld", (h - i) / PG);
    char *j = (char *)map_at(0, BIG, RW, PRIV | ANON | MAP_STACK, -1, 0);
    V("1.2", "stack flag", "%ld", (i - j) / PG);
    V("1.2", "moved by mremap", "%ld", (j - (char *)sc(SYS_mremap, i, BIG, BIG + PG, MREMAP_MAYMOVE, 0)) / PG);
    V("1.2", "into what it left", "%d", any(BIG) == i);
    int mem = (int)sc(SYS_memfd_create, "m", 0);
    V("1.2", "memfd", "%d", (char *)map_at(0, BIG, R, SHAR, mem, 0) < j);
}

static void huge(void) {
    char *a = any(BIG), *b = any(M2), *c = any(M2 + PG), *d = any(2 * M2), *e = any(M2 - PG), *f = (char *)map_at(0, M2, RW, SHAR | ANON, -1, 0);
    V("1.2", "2 MiB aligned", "%ld %d", (long)b % M2, b < a);
    V("1.2", "2 MiB and a page directly below", "%d", c == b - M2 - PG);
    V("1.2", "4 MiB aligned", "%ld", (long)d % M2);
    V("1.2", "less than 2 MiB", "%d", e < a);
    V("1.2", "shared", "%d", f < a);
    char *g = any(3 * M2);
    V("1.2", "6 MiB aligned", "%ld", (long)g % M2);
    char *h = any(3 * M2);
    V("1.2", "the next directly below", "%d", h == g - 3 * M2);
    char *i = (char *)map_at(0, 2 * M2, NONE, PRIV | ANON | MAP_NORESERVE, -1, 0);
    V("1.2", "no access, 4 MiB aligned", "%ld", (long)i % M2);
    char *j = (char *)map_at(0, 2 * M2, RW, PRIV | ANON | MAP_STACK, -1, 0);
    V("1.2", "stack, 4 MiB aligned", "%ld", (long)j % M2);
    sc(SYS_mmap, 0, PG, R, PRIV | ANON, -1, 0);
    any(PG);
    char *l = (char *)sc(SYS_mremap, any(PG), PG, 2 * M2, MREMAP_MAYMOVE, 0);
    V("1.2", "mremap to 4 MiB", "%ld", (long)l % M2);
    long dev = map_at(0, 2 * M2, RW, PRIV, reopen("/dev/zero", O_RDWR), 0);
    V("1.2", "/dev/zero private, 4 MiB", "%ld", dev % M2);
}

static void low(void) { /* flags that only x86 has */
#ifdef __x86_64__
    char *a = (char *)map_at(0, BIG, RW, PRIV | ANON | MAP_32BIT, -1, 0);
    V("x86", "below 2 GiB", "%d", (unsigned long)a >= 1UL << 30 && (unsigned long)a + BIG <= 1UL << 31);
    V("x86", "a hint for it", "%lx", map_at((void *)0x12345678, PG, RW, PRIV | ANON | MAP_32BIT, -1, 0));
    V("x86", "a hint that ends at 2 GiB", "%lx", map_at((void *)0x7fffe000, 2 * PG, RW, PRIV | ANON | MAP_32BIT, -1, 0));
    V("x86", "a hint that does not", "%d", map_at((void *)0x7fffc000, 8 * PG, RW, PRIV | ANON | MAP_32BIT, -1, 0) < 1L << 31);
    V("x86", "too long", "%s", said(map_at(0, 1L << 30, NONE, PRIV | ANON | MAP_32BIT, -1, 0)));
    V("x86", "longer than 2 GiB", "%s", said(map_at(0, 1L << 31, NONE, PRIV | ANON | MAP_32BIT, -1, 0)));
    V("x86", "fixed beyond 2 GiB", "%s", text("%lx", map_at((void *)0x600000000000, PG, NONE, PRIV | ANON | MAP_32BIT | FIX, -1, 0)));
    V("x86", "above 4 GiB", "%d", map_at(0, PG, RW, PRIV | ANON | 0x80, -1, 0) >= 1L << 32);
    V("x86", "above 4 GiB with a low hint", "%lx", map_at((void *)0x23450000, PG, RW, PRIV | ANON | 0x80, -1, 0));
    V("x86", "both", "%d", map_at(0, PG, RW, PRIV | ANON | 0x80 | MAP_32BIT, -1, 0) > 0);
#endif
}

SHEET(SECTION(search), SECTION(huge), SECTION(low), SECTION(hints))
