/* Section 1.12: process_vm_readv and process_vm_writev, membarrier, /proc/self/mem. */
#include "fact.h"

static long readv_(void *local, long n, void *remote, long m) {
    struct iovec a = {local, n}, b = {remote, m};
    return sc(SYS_process_vm_readv, getpid(), &a, 1, &b, 1, 0);
}
static long writev_(void *local, long n, void *remote, long m) {
    struct iovec a = {local, n}, b = {remote, m};
    return sc(SYS_process_vm_writev, getpid(), &a, 1, &b, 1, 0);
}

static void vectors(void) {
    area(32);
    static char buffer[8 * PG] __attribute__((aligned(4096)));
    int pid = getpid();
    struct iovec l[3] = {{buffer, PG}, {buffer + PG, PG}, {buffer + 2 * PG, PG}}, r[3] = {{P(0), PG}, {P(1), PG}, {P(2), PG}};
    struct iovec negative = {buffer, -1L}, huge = {buffer, 1UL << 62}, nothing = {0, 0};
    D("1.12", map(0, 3, RW));
    long rd = SYS_process_vm_readv, wr = SYS_process_vm_writev;
    F("1.12", sc(rd, pid, l, 1, r, 1, 1));
    F("1.12", sc(rd, pid, l, 0, r, 0, 1));
    F("1.12", sc(rd, pid, l, 3, r, 3, 0));
    F("1.12", sc(rd, pid, l, 1, r, 3, 0));
    F("1.12", sc(rd, pid, l, 3, r, 1, 0));
    F("1.12", sc(rd, pid, l, 0, r, 3, 0));
    F("1.12", sc(rd, pid, l, 3, r, 0, 0));
    F("1.12", sc(rd, pid, 8, 1, r, 1, 0));
    F("1.12", sc(rd, pid, l, 1, 8, 1, 0));
    F("1.12", sc(rd, pid, 8, 0, r, 1, 0));
    F("1.12", sc(rd, pid, l, 1, 8, 0, 0));
    F("1.12", sc(rd, pid, l, 1025, r, 1, 0));
    F("1.12", sc(rd, pid, l, 1, r, 1025, 0));
    F("1.12", sc(rd, pid, l, -1L, r, 1, 0));
    F("1.12", sc(rd, pid, &negative, 1, r, 1, 0));
    F("1.12", sc(rd, pid, l, 1, &negative, 1, 0));
    F("1.12", sc(rd, pid, &huge, 1, r, 1, 0));
    F("1.12", sc(rd, pid, l, 1, &huge, 1, 0));
    F("1.12", sc(rd, pid, &nothing, 1, r, 1, 0));
    F("1.12", sc(rd, pid, l, 1, &nothing, 1, 0));
    F("1.12", sc(rd, 0x3fffffff, l, 1, r, 1, 0));
    F("1.12", sc(rd, -1, l, 1, r, 1, 0));
    F("1.12", sc(rd, 0, l, 1, r, 1, 0));
    F("1.12", sc(rd, 0x3fffffff, l, 0, r, 1, 0));
    F("1.12", sc(rd, 0x3fffffff, l, 1, r, 0, 0));
    F("1.12", sc(rd, 0x3fffffff, l, 1, r, 1, 1));
    F("1.12", sc(rd, 0x3fffffff, 8, 1, r, 1, 0));
    F("1.12", sc(rd, pid, 8, 1, 8, 1, 1));
    F("1.12", sc(wr, pid, l, 1, r, 1, 1));
    F("1.12", sc(wr, pid, l, 3, r, 3, 0));
    F("1.12", sc(wr, pid, l, 1, r, 3, 0));
    F("1.12", sc(wr, pid, 8, 1, r, 1, 0));
    F("1.12", sc(wr, pid, l, 1025, r, 1, 0));
    F("1.12", sc(wr, 0x3fffffff, l, 1, r, 1, 0));
}

static void ranges(void) {
    area(32);
    static char buffer[8 * PG] __attribute__((aligned(4096)));
    int fd = file("data", 2);
    D("1.12", map(0, 2, RW));
    D("1.12", map(2, 1, NONE));
    D("1.12", map(3, 1, R));
    D("1.12", map(5, 1, W));
    D("1.12", map(6, 1, X));
    D("1.12", mapf(8, 4, RW, SHAR, fd, 0));
    D("1.12", mapf(12, 2, R, SHAR, fd, 0));
    D("1.12", map(20, 2, RW));
    D("1.12", mapx(30, 2, RW, PRIV | ANON | MAP_GROWSDOWN));
    for (int k = 0; k < 14; k++) {
        K("1.12", said(readv_(buffer, PG, P(k), PG)), "read of page %d", k);
        K("1.12", said(writev_(buffer, PG, P(k), PG)), "write of page %d", k);
    }
    F("1.12", readv_(buffer, 3 * PG, P(0), 3 * PG));
    F("1.12", readv_(buffer, 3 * PG, P(1), 3 * PG));
    F("1.12", readv_(buffer, 3 * PG, P(1) + 100, 3 * PG));
    F("1.12", readv_(buffer, PG, P(2) - 1, PG));
    F("1.12", readv_(buffer, 3 * PG, P(8), 3 * PG));
    F("1.12", writev_(buffer, 3 * PG, P(1), 3 * PG));
    F("1.12", writev_(buffer, 2 * PG, P(3), 2 * PG));
    F("1.12", readv_(buffer, 2 * PG, P(3), 2 * PG));
    F("1.12", readv_(P(2), PG, P(0), PG));
    F("1.12", readv_(P(1), 2 * PG, P(20), 2 * PG));
    F("1.12", readv_(P(2) - 10, 20, P(20), 20));
    F("1.12", readv_(P(4), PG, P(0), PG));
    F("1.12", readv_(P(3), PG, P(0), PG));
    F("1.12", readv_((void *)-8L, PG, P(0), PG));
    F("1.12", readv_((void *)TASK, PG, P(0), PG));
    F("1.12", readv_(buffer, PG, (void *)-8L, PG));
    F("1.12", readv_(buffer, PG, (void *)TASK, PG));
    F("1.12", writev_(P(2), PG, P(0), PG));
    F("1.12", writev_(P(1), 2 * PG, P(20), 2 * PG));
    F("1.12", writev_(P(2) - 10, 20, P(20), 20));
    F("1.12", writev_((void *)-8L, PG, P(0), PG));
    F("1.12", writev_(buffer, PG, (void *)TASK, PG));
    F("1.12", readv_(buffer, 100, P(20), 50));
    F("1.12", readv_(buffer, 50, P(20), 100));
    F("1.12", readv_(buffer, PG, P(28), PG));
    F("1.12", writev_(buffer, PG, P(28), PG));
    V("1.12", "not grown", "%s", shape_of(P(26), 6));
    F("1.12", put(20, 5));
    F("1.12", writev_(P(20), 1, P(12) , 1));
    F("1.12", writev_(P(20), 1, P(8) , 1));
    F("1.12", get(8));
    F("1.12", get(12));
    F("1.12", readv_(P(21), PG, P(20), PG));
    F("1.12", get(21));
    F("1.12", readv_(P(20) + 1, 100, P(20), 100));
    F("1.12", advise(20, 1, MADV_GUARD_INSTALL));
    F("1.12", readv_(buffer, PG, P(20), PG));
    F("1.12", writev_(buffer, PG, P(20), PG));
    struct iovec l[2] = {{buffer, 2 * PG}, {P(2), PG}}, r[3] = {{P(0), PG}, {P(2), PG}, {P(0), PG}};
    F("1.12", sc(SYS_process_vm_readv, getpid(), l, 1, r, 2, 0));
    F("1.12", sc(SYS_process_vm_readv, getpid(), l, 1, r, 3, 0));
    F("1.12", sc(SYS_process_vm_readv, getpid(), l, 1, r + 1, 2, 0));
    F("1.12", sc(SYS_process_vm_readv, getpid(), l + 1, 1, r, 1, 0));
    r[0].iov_len = 3 * PG, l[0].iov_len = PG;
    F("1.12", sc(SYS_process_vm_readv, getpid(), l, 2, r, 1, 0));
    F("1.12", sc(SYS_process_vm_writev, getpid(), l, 2, r, 1, 0));
}

static void barrier(void) {
    for (int i = -1; i < 11; i++) {
        long command = i < 0 ? -1 : i == 0 ? 0 : 1L << (i - 1);
        K("1.12", said(sc(SYS_membarrier, command, 0, 0)), "membarrier %ld", command);
        K("1.12", said(sc(SYS_membarrier, command, 1, 0)), "membarrier %ld with a flag", command);
        K("1.12", said(sc(SYS_membarrier, command, 2, 0)), "membarrier %ld with another flag", command);
        K("1.12", said(sc(SYS_membarrier, 512, 0, 0)), "registrations after %ld", command);
    }
    for (int i = 1; i < 11; i++) {
        long command = 1L << (i - 1);
        K("1.12", said(sc(SYS_membarrier, command, 0, 0)), "membarrier %ld again", command);
    }
    F("1.12", sc(SYS_membarrier, 3, 0, 0));
    F("1.12", sc(SYS_membarrier, 1024, 0, 0));
    F("1.12", sc(SYS_membarrier, 1L << 32, 0, 0));
}

static void memory(void) {
    area(32);
    static char buffer[4 * PG];
    int fd = file("data", 2), mem = reopen("/proc/self/mem", O_RDWR), ro = reopen("/proc/self/mem", O_RDONLY);
    D("1.12", map(0, 2, RW));
    D("1.12", map(2, 1, NONE));
    D("1.12", map(3, 1, R));
    D("1.12", map(5, 1, W));
    D("1.12", map(6, 1, X));
    D("1.12", mapf(8, 4, RW, SHAR, fd, 0));
    D("1.12", mapf(12, 2, R, SHAR, fd, 0));
    D("1.12", mapf(14, 2, R, PRIV, fd, 0));
    D("1.12", mapf(16, 2, NONE, PRIV, fd, 0));
    D("1.12", mapf(18, 2, R, SHAR, reopen("data", O_RDONLY), 0));
    D("1.12", mapx(30, 2, RW, PRIV | ANON | MAP_GROWSDOWN));
    memset(buffer, 'm', sizeof buffer);
    for (int k = 0; k < 20; k++) {
        K("1.12", said(sc(SYS_pread64, mem, buffer + PG, 10, P(k))), "mem read of page %d", k);
        K("1.12", said(sc(SYS_pwrite64, mem, buffer, 1, P(k))), "mem write of page %d", k);
        K("1.12", got(k), "byte of page %d after it", k);
        K("1.12", said(sc(SYS_pwrite64, ro, buffer, 1, P(k))), "mem opened for reading, write of page %d", k);
    }
    V("1.12", "shape", "%s", shape());
    F("1.12", get(14));
    F("1.12", protect(2, 1, R));
    F("1.12", get(2));
    F("1.12", protect(16, 1, R));
    F("1.12", get(16));
    F("1.12", sc(SYS_pread64, mem, buffer, 3 * PG, P(3)));
    F("1.12", sc(SYS_pread64, mem, buffer, 3 * PG, P(3) + 10));
    F("1.12", sc(SYS_pwrite64, mem, buffer, 3 * PG, P(3)));
    F("1.12", sc(SYS_pwrite64, mem, buffer, 3 * PG, P(13)));
    F("1.12", sc(SYS_pread64, mem, buffer, 0, P(4)));
    F("1.12", sc(SYS_pwrite64, mem, buffer, 0, P(4)));
    F("1.12", sc(SYS_pread64, mem, P(4), 10, P(0)));
    F("1.12", sc(SYS_pwrite64, mem, P(4), 10, P(0)));
    F("1.12", sc(SYS_pread64, mem, P(4), 10, P(4)));
    F("1.12", sc(SYS_pread64, mem, P(4) - 5, 10, P(0)));
    F("1.12", sc(SYS_pread64, mem, buffer, 1, 0));
    F("1.12", sc(SYS_pread64, mem, buffer, 1, TASK));
    F("1.12", sc(SYS_pread64, mem, buffer, 1, -1L));
    F("1.12", sc(SYS_pread64, mem, buffer, 1, 1UL << 62));
    F("1.12", sc(SYS_read, mem, buffer, 1));
    F("1.12", sc(SYS_lseek, mem, 0, SEEK_END));
    F("1.12", sc(SYS_lseek, mem, P(0), SEEK_SET));
    F("1.12", sc(SYS_read, mem, buffer, 10));
    F("1.12", sc(SYS_lseek, mem, 0, SEEK_CUR));
    F("1.12", sc(SYS_lseek, mem, 10, SEEK_CUR));
    F("1.12", sc(SYS_write, mem, buffer, 10));
    F("1.12", sc(SYS_lseek, mem, 0, SEEK_CUR));
    F("1.12", sc(SYS_lseek, mem, -1L, SEEK_SET) == -1);
    F("1.12", sc(SYS_lseek, mem, 0, 3));
    F("1.12", sc(SYS_pread64, mem, buffer, 1, P(28)));
    F("1.12", sc(SYS_pwrite64, mem, buffer, 1, P(28)));
    V("1.12", "not grown", "%s", shape_of(P(26), 6));
    F("1.12", sysresult(ftruncate(mem, 0)));
    F("1.12", map_at(0, PG, R, PRIV, mem, 0));
    F("1.12", map_at(0, PG, RW, SHAR, mem, 0));
    struct stat s;
    F("1.12", fstat(mem, &s));
    V("1.12", "stat", "%o %ld", s.st_mode, (long)s.st_size);
    F("1.12", reopen("/proc/self/mem", O_WRONLY) >= 0);
    F("1.12", reopen("/proc/self/mem", O_RDWR | O_TRUNC) >= 0);
    struct iovec two[2] = {{buffer, PG}, {buffer + PG, PG}};
    F("1.12", sc(SYS_preadv, mem, two, 2, P(0), 0));
    F("1.12", sc(SYS_preadv, mem, two, 2, P(3), 0));
    F("1.12", sc(SYS_pwritev, mem, two, 2, P(0), 0));
    F("1.12", sc(SYS_pwritev, mem, two, 2, P(3), 0));
    D("1.12", map(20, 1, R));
    F("1.12", sc(SYS_pwrite64, mem, buffer, 1, P(20)));
    V("1.12", "written read-only page joins", "%s", (map(21, 1, R), shape_of(P(20), 2)));
    D("1.12", map(23, 1, R));
    F("1.12", sc(SYS_pwrite64, mem, buffer, 1, P(23)));
    V("1.12", "two written ones do not", "%s", (map(22, 1, R), shape_of(P(20), 4)));
}

SHEET(SECTION(vectors), SECTION(ranges), SECTION(barrier), SECTION(memory))
