/* Section 1.7: brk. The heap is a fresh one at the end of the program's data; addresses are told from where it starts. */
#include "fact.h"

static char *start;

static long at(double pages) { return sc(SYS_brk, start + (long)(pages * PG)); }
/* The break that brk answered, in bytes from the start of the sheet. */
static const char *answer(long r) { return r == sc(SYS_brk, 0) ? text("%ld", r - (long)start) : "not the break"; }
#define B(pages) line("1.7", "brk at " #pages, answer(at(pages)))
#define HEAP(name) line("1.7", name, shape_of(start, 2048))

static void moving(void) {
    start = (char *)((sc(SYS_brk, 0) + PG - 1) & -PG); /* the C library has used some of it */
    HEAP("before");
    B(0);
    HEAP("shape");
    B(0.5);
    HEAP("shape");
    B(1);
    HEAP("shape");
    B(1.25);
    HEAP("shape");
    B(3);
    HEAP("shape");
    start[2 * PG] = 7;
    B(2.5);
    HEAP("shape");
    V("1.7", "byte kept", "%d", start[2 * PG]);
    B(2);
    B(3);
    V("1.7", "byte after shrinking and growing", "%d", start[2 * PG]);
    start[2 * PG + 2048] = 9;
    B(2.25);
    B(3);
    V("1.7", "byte above the break in its page", "%d", start[2 * PG + 2048]);
    V("1.7", "brk below the start", "%s", answer(sc(SYS_brk, start - 4096 * PG)));
    V("1.7", "brk 0", "%s", answer(sc(SYS_brk, 0)));
    V("1.7", "brk 1", "%s", answer(sc(SYS_brk, 1)));
    V("1.7", "brk -1", "%s", answer(sc(SYS_brk, -1L)));
    V("1.7", "brk -4096", "%s", answer(sc(SYS_brk, -PG)));
    V("1.7", "brk TASK", "%s", answer(sc(SYS_brk, TASK)));
    V("1.7", "brk TASK - 1", "%s", answer(sc(SYS_brk, TASK - 1)));
    V("1.7", "brk TASK + 1", "%s", answer(sc(SYS_brk, TASK + 1)));
    V("1.7", "brk 2^63", "%s", answer(sc(SYS_brk, 1UL << 63)));
    V("1.7", "flags", "%s", smap(start, "VmFlags"));
    V("1.7", "is the heap", "%s", strstr(shape_of(start, 3), "[heap]") ? "yes" : "no");
}

static void neighbours(void) {
    B(4);
    V("1.7", "a page with no room", "%d", map_at(start + 8 * PG, PG, NONE, PRIV | ANON | FIX, -1, 0) == (long)(start + 8 * PG));
    B(7);
    B(7.5);
    B(8);
    B(9);
    HEAP("shape");
    B(4);
    sc(SYS_munmap, start + 8 * PG, PG);
    V("1.7", "a page that grows down", "%d", map_at(start + 600 * PG, PG, RW, PRIV | ANON | FIX | MAP_GROWSDOWN, -1, 0) == (long)(start + 600 * PG));
    B(344);
    B(343);
    B(343.5);
    B(345);
    B(4);
    sc(SYS_munmap, start + 600 * PG, PG);
    V("1.7", "a writable page behind", "%d", map_at(start + 4 * PG, PG, RW, PRIV | ANON | FIX, -1, 0) == (long)(start + 4 * PG));
    HEAP("shape");
    B(4.5);
    B(5);
    B(3.5);
    HEAP("shape");
    B(2.5);
    HEAP("shape");
    B(4);
    HEAP("shape");
    sc(SYS_munmap, start + 4 * PG, PG);
    B(4);
    HEAP("shape");
    V("1.7", "mmap in the gap behind", "%d", map_at(start + 5 * PG, PG, R, PRIV | ANON | FIX, -1, 0) == (long)(start + 5 * PG));
    B(4);
    HEAP("shape");
    B(4.25);
    sc(SYS_munmap, start + 5 * PG, PG);
    B(4);
}

static void holes(void) {
    B(6);
    sc(SYS_munmap, start + 2 * PG, PG);
    HEAP("shape");
    B(7);
    HEAP("shape");
    B(2);
    HEAP("shape");
    B(8);
    HEAP("shape");
    sc(SYS_munmap, start + 4 * PG, 4 * PG);
    B(7);
    B(5);
    HEAP("shape");
    B(4);
    B(3);
    HEAP("shape");
    B(8);
    sc(SYS_munmap, start + 4 * PG, 4 * PG);
    B(9);
    HEAP("shape");
    B(8.5);
    B(8);
    HEAP("shape");
    B(9);
    B(3);
    HEAP("shape");
    B(6);
    sc(SYS_mprotect, start + 5 * PG, PG, R);
    HEAP("shape");
    B(7);
    HEAP("shape");
    B(6);
    B(6.5);
    HEAP("shape");
    B(6);
    map_at(start + 5 * PG, PG, RW, SHAR | ANON | FIX, -1, 0);
    HEAP("shape");
    B(7);
    HEAP("shape");
    B(5);
    HEAP("shape");
    B(7);
    sc(SYS_madvise, start + 5 * PG, 2 * PG, MADV_DONTFORK);
    HEAP("shape");
    B(8);
    HEAP("shape");
    B(2);
    B(4);
    HEAP("shape");
    V("1.7", "sealed", "%s", said(sc(SYS_mseal, start + 3 * PG, PG, 0)));
    B(3);
    B(2);
    HEAP("shape");
    B(5);
    HEAP("shape");
    B(4);
    HEAP("shape");
    B(3.5);
    B(3);
}

static void locked(void) {
    B(4);
    V("1.10", "mlockall future", "%s", said(sc(SYS_mlockall, MCL_FUTURE)));
    B(6);
    HEAP("shape");
    V("1.10", "flags", "%s", smap(start + 5 * PG, "VmFlags"));
    V("1.10", "locked", "%s", smap(start + 5 * PG, "Locked"));
    V("1.10", "resident", "%s", smap(start + 5 * PG, "Rss"));
    V("1.10", "munlockall", "%s", said(sc(SYS_munlockall)));
    HEAP("shape");
    B(7);
    HEAP("shape");
    B(4);
}

static void limits(void) {
    struct rlimit old;
    getrlimit(RLIMIT_DATA, &old);
    V("1.7", "data limit of 16 MiB", "%s", said(limit(RLIMIT_DATA, 16L << 20)));
    B(4096);
    B(5000);
    B(2000);
    B(4);
    V("1.7", "data limit of a page", "%s", said(limit(RLIMIT_DATA, PG)));
    B(4.5);
    B(5);
    B(4);
    V("1.7", "data limit of 0", "%s", said(limit(RLIMIT_DATA, 0)));
    B(5);
    B(4);
    V("1.7", "data limit back", "%s", said(limit(RLIMIT_DATA, old.rlim_cur)));
    B(5);
    getrlimit(RLIMIT_AS, &old);
    V("1.7", "address space limit of a page", "%s", said(limit(RLIMIT_AS, PG)));
    B(5.5);
    B(6);
    B(4);
    B(5);
    V("1.7", "address space limit back", "%s", said(limit(RLIMIT_AS, old.rlim_cur)));
    B(5);
    B(4);
}

static void grown(void) {
    B(4);
    V("1.7", "grown by mremap", "%s", sc(SYS_mremap, start, PG, PG, 0, 0) == (long)start ? "same" : "moved");
    V("1.7", "the heap's end grown by mremap", "%s", sc(SYS_mremap, start + 3 * PG, PG, 2 * PG, 0, 0) == (long)start + 3 * PG ? "grown" : "not");
    HEAP("shape");
    B(4.5);
    B(5);
    HEAP("shape");
    B(4);
    V("1.7", "the heap moved away", "%s", sc(SYS_mremap, start + 4 * PG, PG, PG, MREMAP_MAYMOVE, 0) > 0 ? "moved" : "not");
    sc(SYS_munmap, start + 4 * PG, PG);
    B(5);
    HEAP("shape");
}

SHEET(SECTION(moving), SECTION(neighbours), SECTION(holes), SECTION(limits), SECTION(grown), SECTION(locked))
