/* Every call on the kinds of mapping from FIRST to LAST: the middle two of six pages, of which page 2 was touched. What it answers, and what is there then. */
#include "fact.h"
#include <time.h>

static int fd, ro, mem, zero;

static const char *kinds[] = {"private", "untouched", "read-only", "no access", "shared", "private file", "shared file", "read-only file", "memfd", "locked",
                              "locked on fault", "growsdown", "noreserve", "stack", "droppable", "sealed", "dontfork", "guarded", "made read-only"};

static void make(int kind) {
    area(16); /* a fresh one: what was sealed stays */
    pwrite(fd, "file", 4, 2 * PG);
    pwrite(mem, "memfd", 5, 2 * PG);
    switch (kind) {
        case 2: map(0, 6, R); get(2); return;
        case 3: map(0, 6, NONE); return;
        case 4: mapx(0, 6, RW, SHAR | ANON); break;
        case 5: mapf(0, 6, RW, PRIV, fd, 0); break;
        case 6: mapf(0, 6, RW, SHAR, fd, 0); break;
        case 7: mapf(0, 6, R, SHAR, ro, 0); get(2); return;
        case 8: mapf(0, 6, RW, SHAR, mem, 0); break;
        case 9: mapx(0, 6, RW, PRIV | ANON | MAP_LOCKED); break;
        case 10: map(0, 6, RW); sc(SYS_mlock2, P(0), 6 * PG, 1); break;
        case 11: mapx(0, 6, RW, PRIV | ANON | MAP_GROWSDOWN); break;
        case 12: mapx(0, 6, RW, PRIV | ANON | MAP_NORESERVE); break;
        case 13: mapx(0, 6, RW, PRIV | ANON | MAP_STACK); break;
        case 14: mapx(0, 6, RW, MAP_DROPPABLE | ANON); break;
        case 15: map(0, 6, RW); put(2, 50); seal(0, 6); return;
        case 16: map(0, 6, RW); advise(0, 6, MADV_DONTFORK); break;
        default: map(0, 6, RW);
    }
    if (kind != 1) put(2, 50);
    if (kind == 17) advise(2, 1, MADV_GUARD_INSTALL);
    if (kind == 18) protect(0, 6, R);
}

#define CALLS 62
static long call(int which, const char **name) {
    static char out[16];
    switch (which) {
#define X_(number, code) case number: *name = #code; return (long)(code);
        X_(0, unmap(2, 2))
        X_(1, map(2, 2, RW))
        X_(2, map(2, 2, NONE))
        X_(3, mapx(2, 2, RW, SHAR | ANON))
        X_(4, mapf(2, 2, R, PRIV, fd, 2))
        X_(5, protect(2, 2, NONE))
        X_(6, protect(2, 2, R))
        X_(7, protect(2, 2, RW))
        X_(8, protect(2, 2, RX))
        X_(9, protect(2, 2, W))
        X_(10, protect(0, 6, R))
        X_(11, protect(2, 2, R | PROT_GROWSDOWN))
        X_(12, remap(2, 2, 2, 0, 0))
        X_(13, remap(2, 4, 6, 0, 0))
        X_(14, remap(2, 2, 1, 0, 0))
        X_(15, remap(2, 2, 3, 0, 0))
        X_(16, remap(2, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 10))
        X_(17, remap(2, 2, 4, MREMAP_MAYMOVE | MREMAP_FIXED, 10))
        X_(18, remap(2, 2, 1, MREMAP_MAYMOVE | MREMAP_FIXED, 10))
        X_(19, remap(2, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, 10))
        X_(20, remap(2, 0, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 10))
        X_(21, remap(2, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 4))
        X_(22, remap(0, 6, 6, MREMAP_MAYMOVE | MREMAP_FIXED, 9))
        X_(23, lock(2, 2))
        X_(24, sc(SYS_mlock2, P(2), 2 * PG, 1))
        X_(25, unlock(2, 2))
        X_(26, seal(2, 2))
        X_(27, sc(SYS_msync, P(2), 2 * PG, MS_SYNC))
        X_(28, sc(SYS_msync, P(2), 2 * PG, MS_ASYNC | MS_INVALIDATE))
        X_(29, sc(SYS_remap_file_pages, P(2), 2 * PG, 0, 0, 0))
        X_(30, advise(2, 2, MADV_RANDOM))
        X_(31, advise(2, 2, MADV_WILLNEED))
        X_(32, advise(2, 2, MADV_DONTNEED))
        X_(33, advise(2, 2, MADV_REMOVE))
        X_(34, advise(2, 2, MADV_DONTFORK))
        X_(35, advise(2, 2, MADV_DOFORK))
        X_(36, advise(2, 2, MADV_MERGEABLE))
        X_(37, advise(2, 2, MADV_HUGEPAGE))
        X_(38, advise(2, 2, MADV_NOHUGEPAGE))
        X_(39, advise(2, 2, MADV_DONTDUMP))
        X_(40, advise(2, 2, MADV_DODUMP))
        X_(41, advise(2, 2, MADV_WIPEONFORK))
        X_(42, advise(2, 2, MADV_KEEPONFORK))
        X_(43, advise(2, 2, MADV_COLD))
        X_(44, advise(2, 2, MADV_POPULATE_READ))
        X_(45, advise(2, 2, MADV_POPULATE_WRITE))
        X_(46, advise(2, 2, MADV_DONTNEED_LOCKED))
        X_(47, advise(2, 2, MADV_GUARD_INSTALL))
        X_(48, advise(2, 2, MADV_GUARD_REMOVE))
        X_(49, sc(SYS_read, zero, P(2), 2 * PG))
        X_(50, sc(SYS_pwrite64, fd, P(2), 2 * PG, 8 * PG))
        X_(51, sc(SYS_pwrite64, reopen("/proc/self/mem", O_WRONLY), "!", 1, P(2)))
        X_(52, sc(SYS_pread64, reopen("/proc/self/mem", O_RDONLY), out, 1, P(2)))
        X_(53, put(3, 7))
        X_(54, get(3))
        X_(55, sc(SYS_futex, P(2), 128, 1, &(struct timespec){0, 0}, 0, 0))
        X_(56, sc(SYS_mlockall, MCL_CURRENT | MCL_ONFAULT))
        X_(57, sc(SYS_munlockall))
        X_(58, map(6, 1, RW))
        X_(59, sysresult(ftruncate(fd, 3 * PG)))
        X_(60, lock(0, 6) + unlock(2, 2) + protect(2, 1, R) + protect(2, 1, RW))
        X_(61, protect(2, 2, R) + remap(2, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 10) + protect(10, 2, RW) + remap(10, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 2))
    }
    return -1;
}

static void every(void) {
    fd = file("data", 6);
    ro = reopen("data", O_RDONLY);
    mem = (int)sc(SYS_memfd_create, "m", 0);
    ftruncate(mem, 6 * PG);
    zero = reopen("/dev/zero", O_RDONLY);
    for (int kind = FIRST; kind <= LAST; kind++)
        for (int which = 0; which < CALLS; which++) {
            const char *name = "";
            ftruncate(fd, 6 * PG);
            make(kind);
            const char *result = result_and_shape(call(which, &name));
            K("every", result, "%s of %s", name, kinds[kind]);
            result = text("%s", vmflags(2));
            const char *moved = "";
            if (which >= 16 && which <= 20) {
                const char *there = resident(10, 2);
                moved = text(" moved %s byte %s resident %s", vmflags(10), got(10), there);
            }
            const char *bits = which == 31 ? "" : resident(0, 6), *bytes = text("%s %s", got(2), got(3));
            if (kind == 14) bits = bytes = moved = "any"; /* the kernel may drop them */
            K("every", text("%s resident %s bytes %s%s", result, bits, bytes, moved), "then, after %s of %s", name, kinds[kind]);
            sc(SYS_munlockall);
        }
}

SHEET(SECTION(every))
