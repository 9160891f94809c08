/* Section 1.13: what still works when a process has as many mappings as it may have. */
#include "fact.h"

static void count(void) {
    long n = 0, made = 0;
    area(300000);
    slurp("/proc/sys/vm/max_map_count");
    for (char *at = procbuf; *at >= '0' && *at <= '9'; at++) n = n * 10 + *at - '0';
    V("1.13", "max_map_count", "%ld", n);
    if (n > 70000) return;
    D("1.13", map(200000, 100, RW));
    D("1.13", map(201000, 8, RW));
    D("1.13", map(202000, 2, RW));
    while (made < 99000 && map_at(P(2 * made), PG, RW, PRIV | ANON | MAP_FIXED_NOREPLACE, -1, 0) > 0) made++;
    V("1.13", "about as many as that", "%d", made > n - 60 && made < n);
    F("1.13", map_at(P(210000), PG, RW, PRIV | ANON | FIX, -1, 0));
    F("1.13", map_at(0, PG, RW, PRIV | ANON, -1, 0));
    F("1.13", map_at(P(100), 0, RW, PRIV | ANON, -1, 0));
    F("1.13", map_at(P(100), 2 * TASK, RW, PRIV | ANON, -1, 0));
    F("1.13", map_at(P(100), PG, RW, ANON, -1, 0));
    F("1.13", map(100, 1, RW));
    F("1.13", protect(200010, 10, R));
    F("1.13", protect(200000, 10, R));
    F("1.13", protect(200000, 100, R));
    F("1.13", advise(200010, 10, MADV_DONTFORK));
    F("1.13", advise(200010, 10, MADV_DONTNEED));
    F("1.13", lock(200010, 1));
    F("1.13", seal(200010, 1));
    F("1.13", unmap(200010, 10));
    F("1.13", remap(200010, 10, 10, MREMAP_MAYMOVE | MREMAP_FIXED, 220000));
    F("1.13", remap(200000, 100, 100, MREMAP_MAYMOVE | MREMAP_FIXED, 220000));
    F("1.13", remap(202000, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 220000));
    F("1.13", remap(201000, 8, 7, 0, 0));
    F("1.13", remap(201000, 7, 8, 0, 0));
    F("1.13", unmap(201000, 1));
    F("1.13", unmap(201003, 1));
    F("1.13", unmap(0, 4));
    F("1.13", protect(200010, 10, RW));
    F("1.13", advise(200000, 5, MADV_DONTFORK));
    F("1.13", sc(SYS_brk, sc(SYS_brk, 0) + 4 * PG) == sc(SYS_brk, 0));
}

SHEET(SECTION(count))
