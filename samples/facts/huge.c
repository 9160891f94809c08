/* Section 1.1: huge pages on a machine that has none. They can be mapped without a reservation, and cannot be touched. */
#include "fact.h"
#include <sys/ipc.h>
#include <sys/shm.h>
#define H (2L << 20)
#define HUGE (MAP_HUGETLB | MAP_NORESERVE)
#define RF(size, page) sc(SYS_remap_file_pages, P(0), size, 0L, page, 0L)

/* An area whose page 0 is aligned to huge pages; its own huge pages are at 0, 512, ... */
static void huge_area(long n) {
    area(n * 512 + 1024);
    sc(SYS_munmap, A - PG, (N + 2) * PG);
    A = (char *)(((long)A + H - 1) & -H);
    N = n * 512;
    map_at(A - PG, PG, NONE, SHAR | ANON | MAP_NORESERVE | FIX, -1, 0);
    map_at(A + N * PG, PG, NONE, SHAR | ANON | MAP_NORESERVE | FIX, -1, 0);
}
static long huge(long k, long n, long prot, long flags) { return map_at(P(k * 512), n * H, prot, flags | HUGE | ANON | FIX, -1, 0); }
static long give(long r) { /* unmap what a call mapped elsewhere; its place among huge pages */
    if (r < 0 && r > -4096) return r;
    sc(SYS_munmap, r, 2 * H);
    return r & (H - 1);
}

static void mapping(void) {
    huge_area(16);
    F("1.1", give(map_at(0, H, RW, PRIV | ANON | HUGE, -1, 0)));
    F("1.1", give(map_at(0, 1, RW, PRIV | ANON | HUGE, -1, 0)));
    F("1.1", give(map_at(0, H + 1, NONE, SHAR | ANON | HUGE, -1, 0)));
    F("1.1", give(map_at(0, H, RW, PRIV | ANON | HUGE | 21 << 26, -1, 0)));
    F("1.1", give(map_at(0, H, RW, PRIV | ANON | HUGE | 20 << 26, -1, 0)));
    F("1.1", give(map_at(0, H, RW, PRIV | ANON | HUGE | MAP_LOCKED, -1, 0)));
    F("1.1", give(map_at(0, H, RW, PRIV | ANON | HUGE | MAP_POPULATE, -1, 0)));
    F("1.1", give(map_at(0, H, RW, PRIV | ANON | HUGE | MAP_GROWSDOWN, -1, 0)));
    F("1.1", give(map_at(0, H, RW, PRIV | ANON | HUGE | MAP_STACK, -1, 0)));
    F("1.1", give(map_at(0, H, RW | X, PRIV | ANON | HUGE, -1, 0)));
    F("1.1", give(map_at(0, H, RW, SHAR | PRIV | ANON | HUGE, -1, 0)));
    F("1.1", give(map_at(0, H, RW, ANON | HUGE, -1, 0)));
    F("1.1", give(map_at(0, H, RW, PRIV | ANON | HUGE, -1, PG)));
    F("1.1", give(map_at(0, H, RW, PRIV | ANON | HUGE, -1, H)));
    F("1.1", give(map_at(0, 0, RW, PRIV | ANON | HUGE, -1, 0)));
    C("1.1", map_at(P(1), H, RW, PRIV | ANON | HUGE, -1, 0));
    F("1.1", give(map_at(P(512), H, RW, PRIV | ANON | HUGE, -1, 0)));
    C("1.1", map_at(P(1025), H, RW, PRIV | ANON | HUGE | FIX, -1, 0));
    C("1.1", map_at(P(2048), H, R, SHAR | ANON | HUGE | FIX, -1, 0));
    C("1.1", map_at(P(2048), H, R, SHAR | ANON | HUGE | MAP_FIXED_NOREPLACE, -1, 0));
    C("1.1", map(2048, 1, RW));
    C("1.1", map(2049, 1, RW));
    C("1.1", map(2048, 512, RW));
    V("1.1", "flags of private", "%s", vmflags(512));
    D("1.1", huge(5, 1, R, SHAR));
    V("1.1", "flags of shared", "%s", vmflags(2560));
    V("1.1", "sizes", "%s %s %s, rss %s", smap(P(512), "Size"), smap(P(512), "KernelPageSize"), smap(P(512), "MMUPageSize"), smap(P(512), "Rss"));
    D("1.1", huge(6, 4, RW, PRIV));
    C("1.1", map_at(P(3072), H, RW, PRIV | ANON | MAP_HUGETLB | FIX, -1, 0));
}

static void touching(void) {
    unsigned char bits[8];
    int zeros = reopen("/dev/zero", O_RDWR), null = reopen("/dev/null", O_WRONLY), mem = reopen("/proc/self/mem", O_RDWR), p[2];
    struct iovec here = {procbuf, 8};
    pipe(p);
    huge_area(8);
    for (int kind = 0; kind < 2; kind++) {
        const char *what = kind ? "shared" : "private";
        struct iovec there = {P(9), 8};
        huge(0, 2, RW, kind ? SHAR : PRIV);
        huge(2, 1, R, kind ? SHAR : PRIV);
        huge(3, 1, NONE, kind ? SHAR : PRIV);
        K("1.1", ATTEMPT(LOAD(P(0))), "load from %s huge pages", what);
        K("1.1", ATTEMPT(STORE(P(1) + 5)), "store to %s huge pages", what);
        K("1.1", ATTEMPT(STORE(P(1024))), "store to read-only %s huge pages", what);
        K("1.1", ATTEMPT(LOAD(P(1024) + 9)), "load from read-only %s huge pages", what);
        K("1.1", ATTEMPT(LOAD(P(1536))), "load from %s huge pages without rights", what);
        K("1.1", said(sc(SYS_read, zeros, P(7), 16)), "read into %s huge pages", what);
        K("1.1", said(sc(SYS_read, zeros, P(-1) + PG - 8, 16)), "read up to %s huge pages", what);
        K("1.1", said(sc(SYS_write, null, P(7), 16)), "write of %s huge pages", what);
        K("1.1", said(sc(SYS_write, p[1], P(7), 16)), "write of %s huge pages to a pipe", what);
        K("1.1", said(sc(SYS_pread64, mem, procbuf, 16, P(7))), "read of mem in %s huge pages", what);
        K("1.1", said(sc(SYS_pwrite64, mem, procbuf, 16, P(7))), "write to mem in %s huge pages", what);
        K("1.1", said(sc(SYS_process_vm_readv, getpid(), &here, 1L, &there, 1L, 0L)), "process_vm_readv of %s huge pages", what);
        K("1.1", said(sc(SYS_mincore, P(0), 3 * PG, bits)), "mincore of %s huge pages", what);
        K("1.1", resident(511, 2), "pages of %s huge pages in memory", what);
        K("1.1", said(lock(0, 1)), "mlock of %s huge pages", what);
        K("1.1", said(lock(0, 512)), "mlock of a whole one of %s huge pages", what);
        K("1.1", said(unlock(3, 1)), "munlock of %s huge pages", what);
        K("1.1", said(sc(SYS_msync, P(1), PG, MS_SYNC)), "msync of %s huge pages", what);
        K("1.1", text("%s | %s", shape(), vmflags(0)), "shape of %s huge pages then", what);
        unmap(0, 2048);
    }
}

static void changing(void) {
    huge_area(16);
    for (int kind = 0; kind < 2; kind++) {
        K("1.1", said(huge(0, 6, RW, kind ? SHAR : PRIV)), "huge pages, %s", kind ? "shared" : "private");
        C("1.1", protect(0, 1, R));
        C("1.1", protect(1, 511, R));
        C("1.1", protect(0, 512, R));
        C("1.1", protect(512, 512, R));
        C("1.1", protect(1536, 513, R));
        C("1.1", protect(512, 1024, RW));
        C("1.1", unmap(0, 1));
        C("1.1", unmap(1, 511));
        C("1.1", unmap(511, 513));
        C("1.1", unmap(512, 512));
        C("1.1", map(4, 0.5, RW));
        C("1.1", map(2560, 1, RW));
        C("1.1", seal(2048, 1));
        C("1.1", remap(0, 512, 1, 0, 0));
        C("1.1", remap(0, 512, 1, 0, 1));
        C("1.1", remap(0, 512, 1024, MREMAP_MAYMOVE, 0));
        C("1.1", remap(0, 0, 512, MREMAP_MAYMOVE, 0));
        C("1.1", remap(0, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED, 4096));
        C("1.1", remap(4096, 512, 512, MREMAP_MAYMOVE | MREMAP_FIXED, 0));
        C("1.1", remap(0, 512, 512, MREMAP_MAYMOVE | MREMAP_FIXED, 4097));
        C("1.1", remap(1, 512, 512, MREMAP_MAYMOVE | MREMAP_FIXED, 4096));
        C("1.1", remap(0, 512, 512, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, 4096));
        C("1.1", remap(1024, 1024, 512, 0, 0));
        C("1.1", remap(1536, 1024, 1024, MREMAP_MAYMOVE | MREMAP_FIXED, 5120));
        if (kind) {
            C("1.1", huge(8, 2, RW, SHAR));
            A += 4096 * PG;
            F("1.1", RF(PG, 0));
            F("1.1", RF(H, 0));
            A -= 4096 * PG;
            C("1.1", 0);
        }
        unmap(-1, N + 1);
        map(-1, 2, RW);
        unmap(0, 1);
    }
    /* what was cut before the refusal stays so */
    D("1.1", map(0, 512, RW));
    D("1.1", huge(1, 2, RW, PRIV));
    C("1.1", unmap(2, 600));
    C("1.1", mapx(2, 600, R, SHAR | ANON));
    C("1.1", protect(2, 600, R));
    C("1.1", advise(4, 600, MADV_DONTDUMP));
}

static void advising(void) {
    static const int which[] = {0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 102, 103};
    huge_area(4);
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < 25; i++)
            for (int k = 0; k < 4; k++) {
                static const double from[] = {0, 0, 512, 1}, pages[] = {512, 1, 513, 511};
                huge(0, 3, RW, kind ? SHAR : PRIV);
                long r = advise(from[k], pages[k], which[i]);
                K("1.1", shape_and_flags(r, P(from[k])), "advice %d for pages %g+%g, %s", which[i], from[k], pages[k], kind ? "shared" : "private");
                unmap(0, 1536);
            }
}

static void memfd(void) {
    struct stat status;
    huge_area(8);
    int fd = (int)sc(SYS_memfd_create, "huge", 4 /* MFD_HUGETLB */), reading = reopen(text("/proc/self/fd/%d", fd), O_RDONLY);
    C("1.1", map_at(P(0), H, RW, SHAR | FIX, fd, 0));
    C("1.1", map_at(P(0), H, R, SHAR | MAP_NORESERVE | FIX, fd, 0));
    D("1.1", fstat(fd, &status));
    V("1.1", "size after a mapping to read", "%ld", (long)status.st_size);
    C("1.1", map_at(P(512), PG, RW, SHAR | MAP_NORESERVE | FIX, fd, H));
    D("1.1", fstat(fd, &status));
    V("1.1", "size after a mapping to write", "%ld", (long)status.st_size);
    V("1.1", "flags of a memfd's", "%s", vmflags(512));
    T("1.1", LOAD(P(512)));
    C("1.1", map_at(P(1024), 2 * H, RW, PRIV | MAP_NORESERVE | FIX, fd, 0));
    C("1.1", map_at(P(2048), H, R, PRIV | MAP_NORESERVE | FIX, fd, PG));
    C("1.1", map_at(P(2048), H, RW, SHAR | MAP_NORESERVE | FIX, reading, 0));
    C("1.1", map_at(P(2048), H, R, SHAR | MAP_NORESERVE | FIX, reading, 0));
    V("1.1", "flags of a read-only memfd's", "%s", vmflags(2048));
    T("1.1", STORE(P(1024)));
}

static void segments(void) {
    struct shmid_ds status;
    huge_area(8);
    F("1.1", sc(SYS_shmget, 0, PG, SHM_HUGETLB | 0600));
    F("1.1", sc(SYS_shmget, 0, PG, SHM_HUGETLB | SHM_NORESERVE | 20 << 26 | 0600));
    F("1.1", sc(SYS_shmget, 0, 0, SHM_HUGETLB | SHM_NORESERVE | 0600));
    int id = (int)sc(SYS_shmget, 0, PG, SHM_HUGETLB | SHM_NORESERVE | 0600);
    F("1.1", id < 0 ? id : 0);
    C("1.1", sc(SYS_shmat, id, P(1), 0));
    C("1.1", sc(SYS_shmat, id, P(1), SHM_RND));
    C("1.1", sc(SYS_shmat, id, P(512), 0));
    V("1.1", "flags of a segment", "%s %s", vmflags(512), smap(P(512), "KernelPageSize"));
    T("1.1", LOAD(P(512)));
    T("1.1", STORE(P(600)));
    C("1.1", sc(SYS_shmat, id, P(1024), SHM_RDONLY));
    V("1.1", "flags of a segment to be read", "%s", vmflags(1024));
    C("1.1", sc(SYS_shmat, id, P(1024), 0));
    C("1.1", sc(SYS_shmat, id, P(1024), SHM_REMAP));
    F("1.1", give(sc(SYS_shmat, id, 0L, 0)));
    C("1.1", protect(512, 1, R));
    C("1.1", protect(512, 512, R));
    C("1.1", unmap(513, 1));
    F("1.1", advise(512, 512, MADV_DONTNEED));
    F("1.1", advise(512, 512, MADV_REMOVE));
    F("1.1", lock(512, 1));
    V("1.1", "resident", "%s", resident(512, 2));
    C("1.1", remap(512, 1024, 1024, MREMAP_MAYMOVE | MREMAP_FIXED, 2048));
    C("1.1", remap(512, 512, 512, MREMAP_MAYMOVE | MREMAP_FIXED, 3072));
    D("1.1", sc(SYS_shmctl, id, IPC_STAT, &status));
    V("1.1", "segment", "%ld bytes, attached %ld, mode %o", (long)status.shm_segsz, (long)status.shm_nattch, status.shm_perm.mode);
    C("1.1", sc(SYS_shmdt, P(2048)));
    C("1.1", sc(SYS_shmdt, P(2560)));
    F("1.1", sc(SYS_shmctl, id, IPC_RMID, 0L));
    C("1.1", sc(SYS_shmdt, P(3072)));
    F("1.1", sc(SYS_shmctl, id, IPC_STAT, &status));
}

SHEET(SECTION(mapping), SECTION(touching), SECTION(changing), SECTION(advising), SECTION(memfd), SECTION(segments))
