/* Section 1.11: memfd_create and seals. */
#include "fact.h"

#define SEALS(fd) (sc(SYS_fcntl, fd, F_GET_SEALS, 0))
#define ADD(fd, seals) (sc(SYS_fcntl, fd, F_ADD_SEALS, seals))

static int memfd(const char *name, unsigned flags, long pages) {
    int fd = (int)sc(SYS_memfd_create, name, flags);
    if (pages) ftruncate(fd, pages * PG);
    return fd;
}
static long opened(const char *name, unsigned flags) { /* not the number of the descriptor */
    long fd = sc(SYS_memfd_create, name, flags);
    if (fd >= 0) close((int)fd);
    return fd >= 0 ? 1 : fd;
}

static void creation(void) {
    area(16);
    char name[300];
    F("1.11", opened("", 0));
    F("1.11", opened(0, 0));
    F("1.11", opened((char *)8, 0));
    F("1.11", opened((char *)8, 0x100));
    F("1.11", opened(0, 0x18));
    for (int bit = 0; bit < 32; bit++)
        if (bit != 2) K("1.11", said(opened("x", 1u << bit)), "memfd_create flag bit %d", bit);
    F("1.11", opened("x", 0x18));
    F("1.11", opened("x", 0x1b));
    F("1.11", opened("x", 0x13));
    F("1.11", opened("x", 0xb));
    memset(name, 'n', sizeof name);
    for (int length = 247; length < 253; length++) {
        name[length] = 0;
        K("1.11", said(opened(name, 0)), "memfd_create name of %d", length);
        name[length] = 'n';
    }
    D("1.11", map(0, 1, RW));
    memset(P(1) - 4, 'n', 4);
    F("1.11", opened(P(1) - 4, 0));
    P(1)[-1] = 0;
    F("1.11", opened(P(1) - 4, 0));
    for (int i = 0; i < 5; i++) {
        static const unsigned flags[] = {0, MFD_CLOEXEC, MFD_ALLOW_SEALING, 8, 0x10};
        int fd = memfd("x", flags[i], 0);
        struct stat s;
        fstat(fd, &s);
        K("1.11", text("%o links %ld size %ld", s.st_mode, (long)s.st_nlink, (long)s.st_size), "mode with flags %u", flags[i]);
        K("1.11", said(SEALS(fd)), "seals with flags %u", flags[i]);
        K("1.11", said(sc(SYS_fcntl, fd, F_GETFD, 0)), "descriptor flags with flags %u", flags[i]);
        K("1.11", text("%lo", sc(SYS_fcntl, fd, F_GETFL, 0) & ~(0100000L | 0400000L)), "status flags with flags %u", flags[i]);
        K("1.11", said(ADD(fd, F_SEAL_SHRINK)), "adding a seal with flags %u", flags[i]);
        K("1.11", said(fchmod(fd, 0600)), "chmod 600 with flags %u", flags[i]);
        K("1.11", said(fchmod(fd, 0700)), "chmod 700 with flags %u", flags[i]);
        close(fd);
    }
    int fd = memfd("a name/with \"things\"", 0, 2);
    D("1.11", mapf(4, 2, RW, SHAR, fd, 1));
    V("1.11", "maps", "%s", shape_of(P(4), 2));
    char path[64], target[300];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    long n = readlink(path, target, sizeof target);
    V("1.11", "link", "%.*s", (int)(n < 0 ? 0 : n), target);
    close(fd);
}

static void adding(void) {
    int fd = memfd("x", MFD_ALLOW_SEALING, 2), plain = memfd("x", 0, 2), regular = file("data", 1);
    area(16);
    int pipes[2];
    pipe(pipes);
    F("1.11", SEALS(fd));
    F("1.11", SEALS(plain));
    F("1.11", SEALS(regular));
    F("1.11", SEALS(pipes[0]));
    F("1.11", SEALS(-1));
    F("1.11", ADD(regular, F_SEAL_WRITE));
    F("1.11", ADD(regular, 0x100));
    F("1.11", ADD(pipes[1], F_SEAL_WRITE));
    F("1.11", ADD(plain, F_SEAL_WRITE));
    F("1.11", ADD(plain, 0));
    F("1.11", ADD(plain, 0x100));
    F("1.11", ADD(fd, 0));
    for (int bit = 0; bit < 32; bit++)
        if (bit > 5) K("1.11", said(ADD(fd, 1u << bit)), "adding seal bit %d", bit);
    F("1.11", SEALS(fd));
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int ro = reopen(path, O_RDONLY);
    F("1.11", SEALS(ro));
    F("1.11", ADD(ro, F_SEAL_GROW));
    F("1.11", ADD(ro, 0x100));
    F("1.11", ADD(fd, F_SEAL_GROW | 0x100));
    F("1.11", SEALS(fd));
    F("1.11", ADD(fd, F_SEAL_GROW));
    F("1.11", ADD(fd, F_SEAL_GROW));
    F("1.11", SEALS(fd));
    F("1.11", ADD(fd, F_SEAL_SHRINK | F_SEAL_SEAL));
    F("1.11", SEALS(fd));
    F("1.11", SEALS(ro));
    F("1.11", ADD(fd, F_SEAL_SHRINK));
    F("1.11", ADD(fd, 0));
    F("1.11", ADD(fd, F_SEAL_WRITE));
    F("1.11", ADD(ro, F_SEAL_WRITE));
    F("1.11", ADD(fd, 0x100));
}

/* What works under each set of seals. */
static void effects(void) {
    area(64);
    for (int seals = 0; seals < 64; seals += seals >= 32 ? 8 : 1) {
        if (seals & F_SEAL_SEAL) continue;
        int fd = memfd("x", MFD_ALLOW_SEALING, 2);
        pwrite(fd, "abc", 3, 0);
        K("1.11", said(ADD(fd, seals)), "seals %d added", seals);
        K("1.11", said(SEALS(fd)), "seals %d there", seals);
        K("1.11", said(pwrite(fd, "x", 1, 0) < 0 ? -errno : 1), "seals %d write", seals);
        K("1.11", said(pwrite(fd, "x", 1, 2 * PG) < 0 ? -errno : 1), "seals %d write at end", seals);
        K("1.11", said(pwrite(fd, P(0), 2, 2 * PG - 1) < 0 ? -errno : 1), "seals %d write from a hole", seals);
        K("1.11", said(sysresult(write(fd, "", 0))), "seals %d write of nothing", seals);
        K("1.11", said(sysresult(ftruncate(fd, PG))), "seals %d shrink", seals);
        K("1.11", said(sysresult(ftruncate(fd, 4 * PG))), "seals %d grow", seals);
        K("1.11", said(sysresult(fallocate(fd, 0, 0, 8 * PG))), "seals %d fallocate", seals);
        K("1.11", said(sysresult(fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, PG))), "seals %d punch", seals);
        K("1.11", said(sysresult(fchmod(fd, 0666))), "seals %d chmod", seals);
        K("1.11", said(mapf(0, 1, RW, SHAR, fd, 0)), "seals %d shared writable", seals);
        unmap(0, 1);
        K("1.11", said(mapf(0, 1, R, SHAR, fd, 0)), "seals %d shared read-only", seals);
        K("1.11", vmflags(0), "seals %d flags", seals);
        K("1.11", said(protect(0, 1, RW)), "seals %d made writable", seals);
        K("1.11", said(protect(0, 1, RX)), "seals %d made executable", seals);
        unmap(0, 1);
        K("1.11", said(mapf(0, 1, RW, PRIV, fd, 0)), "seals %d private", seals);
        K("1.11", vmflags(0), "seals %d private flags", seals);
        K("1.11", said(touch(0)), "seals %d private written", seals);
        K("1.11", said(advise(0, 1, MADV_REMOVE)), "seals %d private removed", seals);
        unmap(0, 1);
        K("1.11", said(mapf(0, 1, RX, PRIV, fd, 0)), "seals %d private executable", seals);
        unmap(0, 1);
        close(fd);
    }
}

static void mapped(void) {
    area(64);
    int fd = memfd("x", MFD_ALLOW_SEALING, 4);
    D("1.11", mapf(0, 2, RW, SHAR, fd, 0));
    F("1.11", ADD(fd, F_SEAL_WRITE));
    F("1.11", ADD(fd, F_SEAL_GROW | F_SEAL_WRITE));
    F("1.11", SEALS(fd));
    F("1.11", protect(0, 2, R));
    F("1.11", ADD(fd, F_SEAL_WRITE));
    F("1.11", ADD(fd, F_SEAL_FUTURE_WRITE));
    F("1.11", SEALS(fd));
    F("1.11", protect(0, 2, RW));
    F("1.11", put(0, 5));
    F("1.11", sysresult(pwrite(fd, "x", 1, 0)));
    F("1.11", get(0));
    F("1.11", mapf(4, 1, RW, SHAR, fd, 0));
    C("1.11", mapf(4, 1, R, SHAR, fd, 0));
    F("1.11", protect(4, 1, RW));
    F("1.11", ADD(fd, F_SEAL_WRITE));
    C("1.11", remap(0, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED, 8));
    F("1.11", put(8, 6));
    F("1.11", get(4));
    F("1.11", remap(8, 0, 1, MREMAP_MAYMOVE | MREMAP_FIXED, 10));
    F("1.11", put(10, 7));
    F("1.11", unmap(10, 1));
    F("1.11", advise(8, 1, MADV_REMOVE));
    F("1.11", advise(4, 1, MADV_REMOVE));
    F("1.11", unmap(8, 1));
    F("1.11", ADD(fd, F_SEAL_WRITE));
    F("1.11", unmap(0, 8));
    F("1.11", ADD(fd, F_SEAL_WRITE));
    F("1.11", SEALS(fd));
    close(fd);
    fd = memfd("x", MFD_ALLOW_SEALING, 4);
    D("1.11", mapf(0, 2, RW, PRIV, fd, 0));
    D("1.11", mapf(2, 2, R, PRIV, fd, 0));
    F("1.11", touch(0));
    F("1.11", ADD(fd, F_SEAL_WRITE));
    F("1.11", touch(1));
    F("1.11", protect(2, 2, RW));
    F("1.11", touch(2));
    F("1.11", advise(0, 2, MADV_DONTNEED));
    F("1.11", get(0));
    F("1.11", ADD(fd, F_SEAL_SHRINK));
    F("1.11", sysresult(ftruncate(fd, PG)));
    F("1.11", ADD(fd, F_SEAL_SEAL));
    F("1.11", ADD(fd, F_SEAL_GROW));
    close(fd);
    fd = memfd("x", MFD_ALLOW_SEALING, 4);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int ro = reopen(path, O_RDONLY);
    D("1.11", unmap(0, 16));
    D("1.11", mapf(0, 2, R, SHAR, ro, 0));
    F("1.11", ADD(fd, F_SEAL_WRITE));
    F("1.11", protect(0, 2, RW));
    V("1.11", "flags", "%s", vmflags(0));
    D("1.11", mapf(0, 2, R, SHAR, fd, 0));
    V("1.11", "flags", "%s", vmflags(0));
    C("1.11", mapf(2, 2, R, SHAR, fd, 2));
    F("1.11", mapf(4, 2, R, MAP_SHARED_VALIDATE, fd, 2));
    F("1.11", mapf(4, 2, RW, MAP_SHARED_VALIDATE, fd, 2));
    F("1.11", mapf(4, 2, RW, SHAR, ro, 2));
    F("1.11", mapf(4, 2, X, SHAR, fd, 2));
    close(fd);
    fd = memfd("x", MFD_ALLOW_SEALING | 8, 1);
    F("1.11", SEALS(fd));
    F("1.11", fchmod(fd, 0755) ? -errno : 0);
    F("1.11", fchmod(fd, 0644) ? -errno : 0);
    C("1.11", mapf(4, 1, RX, PRIV, fd, 0));
    F("1.11", ADD(fd, F_SEAL_WRITE));
    fd = memfd("x", MFD_ALLOW_SEALING, 1);
    F("1.11", ADD(fd, 0x20));
    F("1.11", SEALS(fd));
    fd = memfd("x", MFD_ALLOW_SEALING, 1);
    fchmod(fd, 0600);
    F("1.11", ADD(fd, 0x20));
    F("1.11", SEALS(fd));
    F("1.11", fchmod(fd, 0700) ? -errno : 0);
}

SHEET(SECTION(creation), SECTION(adding), SECTION(effects), SECTION(mapped))
