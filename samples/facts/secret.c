/* Section 1.11: memfd_secret: a file whose pages only the program itself sees. */
#include "fact.h"
#include <sys/ioctl.h>
#include <poll.h>

static int secret(void) { return (int)sc(447, 0); }

static void file_itself(void) {
    int fd = secret(), ends[2];
    struct stat status;
    struct pollfd polled = {fd, POLLIN | POLLOUT, 0};
    pipe(ends);
    F("1.11", fd > 0);
    F("1.11", sc(447, 1));
    F("1.11", sc(447, 0x800));
    int closing = (int)sc(447, O_CLOEXEC);
    F("1.11", fcntl(closing, F_GETFD));
    F("1.11", fcntl(fd, F_GETFD));
    V("1.11", "secret flags", "%#x", fcntl(fd, F_GETFL) & ~O_LARGEFILE & ~0x28000);
    fstat(fd, &status);
    V("1.11", "secret mode", "%o %ld %ld", status.st_mode, (long)status.st_size, (long)status.st_nlink);
    long n = sc(SYS_readlinkat, AT_FDCWD, text("/proc/self/fd/%d", fd), procbuf, 100L);
    procbuf[n > 0 ? n : 0] = 0;
    V("1.11", "secret name", "%s", procbuf);
    F("1.11", sc(SYS_read, fd, procbuf, 10L));
    F("1.11", sc(SYS_write, fd, procbuf, 10L));
    F("1.11", sc(SYS_pread64, fd, procbuf, 10L, 0L));
    F("1.11", sc(SYS_pwrite64, fd, procbuf, 10L, 0L));
    F("1.11", sc(SYS_lseek, fd, 0L, SEEK_END));
    F("1.11", sc(SYS_fallocate, fd, 0, 0L, PG));
    F("1.11", sc(SYS_fcntl, fd, F_GET_SEALS));
    F("1.11", sc(SYS_fcntl, fd, F_ADD_SEALS, 1));
    F("1.11", sc(SYS_splice, fd, 0L, ends[1], 0L, 10L, 0));
    F("1.11", poll(&polled, 1, 0));
    F("1.11", sc(SYS_fsync, fd));
    F("1.11", sc(SYS_ftruncate, fd, -1L));
    F("1.11", sc(SYS_ftruncate, fd, 0L));
    F("1.11", sc(SYS_ftruncate, fd, 2 * PG + 5));
    F("1.11", sc(SYS_ftruncate, fd, 4 * PG));
    F("1.11", sc(SYS_ftruncate, fd, 2 * PG + 5));
    F("1.11", sc(SYS_ftruncate, fd, 0L));
    fstat(fd, &status);
    V("1.11", "secret size", "%ld", (long)status.st_size);
    F("1.11", sc(SYS_fchmod, fd, 0644));
    F("1.11", reopen(text("/proc/self/fd/%d", fd), O_RDWR) > 0);
    close(fd), close(closing), close(ends[0]), close(ends[1]);
}

static void mappings(void) {
    int fd = secret(), memory = (int)sc(SYS_memfd_create, "m", 0);
    area(8);
    F("1.11", mapf(0, 1, RW, PRIV, fd, 0));
    C("1.11", mapf(0, 2, RW, SHAR, fd, 0));
    T("1.11", LOAD(P(0)));
    F("1.11", sc(SYS_ftruncate, fd, 2 * PG));
    T("1.11", STORE(P(0)));
    F("1.11", got(0) != 0);
    K("1.11", vmflags(0), "secret flags");
    C("1.11", mapf(2, 3, RW, SHAR, fd, 0));
    K("1.11", got(2), "seen by another mapping");
    T("1.11", LOAD(P(4)));
    C("1.11", mapf(5, 1, RX, SHAR, fd, 1));
    C("1.11", unlock(0, 2));
    K("1.11", vmflags(0), "secret flags, unlocked");
    C("1.11", lock(0, 2));
    C("1.11", protect(0, 1, R));
    C("1.11", protect(0, 1, RW));
    C("1.11", advise(0, 1, MADV_DODUMP));
    K("1.11", vmflags(0), "secret flags, dumped");
    C("1.11", advise(1, 1, MADV_DONTNEED));
    C("1.11", advise(1, 1, MADV_DONTNEED_LOCKED));
    C("1.11", advise(1, 1, MADV_POPULATE_READ));
    C("1.11", advise(1, 1, MADV_REMOVE));
    C("1.11", advise(1, 1, MADV_COLD));
    C("1.11", sc(SYS_msync, P(0), PG, MS_SYNC));
    K("1.11", resident(0, 2), "secret pages");
    C("1.11", remap(0, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 6));
    K("1.11", got(6), "moved");
    C("1.11", unmap(6, 2));
    K("1.11", got(2), "after unmapping");
    T("1.11", STORE(P(3)));
    strcpy(P(3), "words");
    F("1.11", pwrite(memory, P(3), 5, 0));
    F("1.11", pread(memory, P(3) + 10, 5, 0));
    F("1.11", P(3)[12] == 'r');
    struct iovec here = {procbuf, 5}, there = {P(3), 5};
    F("1.11", sc(SYS_process_vm_readv, getpid(), &here, 1L, &there, 1L, 0L));
    F("1.11", sc(SYS_process_vm_writev, getpid(), &here, 1L, &there, 1L, 0L));
    int mem = reopen("/proc/self/mem", O_RDWR);
    F("1.11", sc(SYS_pread64, mem, procbuf, 5L, P(3)));
    F("1.11", sc(SYS_pwrite64, mem, procbuf, 5L, P(3)));
    F("1.11", sc(SYS_futex, P(3), 1, 1));
    F("1.11", sc(SYS_futex, P(3), 129, 1));
    int ends[2];
    pipe(ends);
    F("1.11", sc(SYS_write, ends[1], P(3), 5L));
    F("1.11", sc(SYS_vmsplice, ends[1], &there, 1L, 0));
    limit(RLIMIT_MEMLOCK, status("VmLck") * 1024);
    F("1.11", mapf(6, 1, RW, SHAR, fd, 0));
    limit(RLIMIT_MEMLOCK, status("VmLck") * 1024 + PG);
    F("1.11", mapf(6, 1, RW, SHAR, fd, 0));
    close(fd);
    K("1.11", got(2), "closed");
}

SHEET(SECTION(file_itself), SECTION(mappings))
