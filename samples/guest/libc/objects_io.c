/* Calls on descriptors with arguments at the edge: facts that do not depend on the machine. */
#include "objects.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/personality.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/wait.h>

static char b[10000];

static void arguments(void) {
    struct iovec v[2] = {{b, 10}, {b + 10, 20}};
    int f = open("t", O_RDWR | O_CREAT | O_TRUNC, 0600);
    int p[2];
    pipe(p);
    F(pwrite(f, "hello world", 11, 0));
    F(pread(p[0], b, 1, 0));
    F(pwrite(p[1], b, 1, 0));
    F(pread(f, b, -1, 0));
    F(read(f, b, -1));
    F(write(f, b, -1));
    F(read(-1, b, -1));
    F(read(p[1], b, 1));
    F(write(p[0], b, 1));
    F(read(f, (void *)-1, 1));
    F(read(f, (void *)-1, 0));
    F(preadv(f, v, 2, -1));
    F(preadv(p[0], v, 2, 0));
    F(pwritev(p[1], v, 2, 0));
    F(preadv(-1, v, 2, -1));
    F(readv(f, v, 0));
    F(readv(p[0], v, 0));
    F(writev(p[1], v, 0));
    F(readv(f, 0, 0));
    v[0].iov_len = 0;
    F(readv(f, v, 2));
    v[1].iov_len = 0;
    F(readv(p[0], v, 2));
    F(writev(p[1], v, 2));
    F(syscall(SYS_preadv2, f, v, 2, -1, -1, 0));
    F(syscall(SYS_preadv2, f, v, 2, 0, 0, 0xff));
    F(syscall(SYS_pwritev2, f, v, 2, 0, 0, 0xff));
    F(syscall(SYS_pwritev2, f, v, 1025, 0, 0, 0));
    int e = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
    F(read(e, b, 8));
    F(read(e, b, 100));
    F(read(e, b, 8));
    F(read(e, b, 8));
    long q = -1;
    F(write(e, &q, 8));
    q = 5;
    F(write(e, &q, 16));
    F(write(e, &q, 8));
    F(pread(e, b, 8, 0));
    F(lseek(e, 0, 0));
    struct iovec w[2] = {{b, 4}, {b + 100, 4}};
    F(readv(e, w, 2));
    F(readv(e, w, 1));
    F(writev(e, w, 1));
    F(read(e, b, 0));
    F(write(e, b, 0));
    F(lseek(f, -1, 0));
    F(lseek(f, 0, 9));
    F(lseek(p[0], 0, 9));
    F(lseek(-1, 0, 9));
    F(lseek(f, 100, SEEK_DATA));
    F(lseek(f, 0, SEEK_HOLE));
    F(lseek(f, 1L << 62, 0));
    F(lseek(f, 0x7fffffffffffffff, 0));
    F(read(f, b, 1));
    F(write(f, b, 1));
    F(lseek(f, 0, 0));
    F(getrandom(b, 300, 2));
    F(getrandom(b, 300, 6));
    F(getrandom(b, -1, 8));
    F(getrandom(0, 0, 0));
    F(getrandom(b, 0, 0));
    F(copy_file_range(f, 0, f, 0, -1, 0));
    F(read(f, b, 0x7fffffff));
    F(pread(f, b, 100, 11));
    F(pread(f, b, 100, 1L << 62));
    F(pwrite(f, b, 1, 0x7fffffffffffffff));
    F(pwrite(f, b, 0, -5));
    F(read(open(".", 0), b, 1));
    F(pread(open(".", 0), b, 0, 0));
    F(read(open("t", O_PATH), b, 0));
    F(readahead(f, 0, 10));
    F(readahead(p[0], 0, 10));
    F(posix_fadvise(p[0], 0, 0, 0));
    F(posix_fadvise(f, 0, 0, 9));
    F(posix_fadvise(-1, 0, 0, 9));
    F(fsync(p[0]));
    F(fdatasync(f));
    F(sync_file_range(f, 0, 0, 0));
    F(sync_file_range(f, 0, 0, 9));
    F(sync_file_range(p[0], 0, 0, 1));
    F(sync_file_range(f, -1, 5, 1));
    F(sync_file_range(f, 0, -1, 1));
    F(sync_file_range(f, 5, 0, 7));
    v[0].iov_len = 0;
    v[1].iov_len = 5;
    lseek(f, 0, 0);
    F(readv(f, v, 2));
    F(syncfs(f));
    F(syncfs(-1));
}

static void small(void) {
    int p[2];
    pipe(p);
    F(dup(-1));
    F(dup2(0, -1));
    F(dup2(-1, 5));
    F(dup3(0, 0, 0));
    F(dup3(0, 50, 1));
    F(dup3(-1, -1, O_CLOEXEC));
    F(dup2(0, 1<<20));
    F(fcntl(0, F_DUPFD, -1));
    F(fcntl(0, F_DUPFD, 1<<20));
    F(fcntl(-1, F_GETFD));
    F(fcntl(0, 9999));
    F(fcntl(p[0], F_GETPIPE_SZ));
    F(fcntl(p[0], F_SETPIPE_SZ, 5000));
    F(fcntl(p[0], F_SETPIPE_SZ, 0));
    F(fcntl(p[0], F_SETPIPE_SZ, -1));
    F(fcntl(0, F_SETFD, 7));
    F(fcntl(0, F_GETFD));
    F(fcntl(0, F_SETFD, 0));
    F(syscall(SYS_pipe2, b, 0x12345));
    F(syscall(SYS_pipe2, 8, 0));
    F(syscall(SYS_close_range, 5, 4, 0));
    F(syscall(SYS_close_range, 100, 200, 8));
    F(syscall(SYS_close_range, 100, -1, 4));
    F(getpriority(0, 0));
    F(getpriority(5, 0));
    F(getpriority(0, 99999999));
    F(sched_yield());
    F(syscall(SYS_sched_getaffinity, 0, 8, b));
    F(syscall(SYS_sched_getaffinity, 0, 7, b));
    F(syscall(SYS_sched_getaffinity, 0, 0, b));
    F(syscall(SYS_sched_getaffinity, 99999999, 8, b));
    F(syscall(SYS_sched_getaffinity, 0, 128, 8));
    F(syscall(SYS_getrusage, 0, 8));
    F(syscall(SYS_getrusage, 5, 8));
    F(syscall(SYS_times, 0)>0);
    F(syscall(SYS_times, 8));
    F(wait4(-1, 0, 0, 0));
    F(waitid(P_ALL, 0, 0, WEXITED));
    F(waitid(P_ALL, 0, 0, 0));
    F(waitid(9, 0, 0, WEXITED));
    F(syscall(SYS_wait4, -1, 0, 0x12345, 0));
    F(getpgid(0)>0);
    F(getpgid(-1));
    F(getpgid(99999999));
    F(getsid(-1));
    F(setpgid(-1, 0));
    F(setpgid(0, -1));
    F(setpgid(99999999, 0));
    F(syscall(SYS_set_robust_list, 0, 24));
    F(syscall(SYS_set_robust_list, 0, 25));
    F(syscall(SYS_futex, b+1, 0, 0, 0, 0, 0));
    F(syscall(SYS_futex, 8, 1, 1, 0, 0, 0));
    F(syscall(SYS_futex, 8, 0, 1, 0, 0, 0));
    F(syscall(SYS_futex, b, 0, 1, 0, 0, 0));
    F(syscall(SYS_futex, b, 99, 1, 0, 0, 0));
    F(syscall(SYS_getgroups, -1, b));
    F(syscall(SYS_setgroups, -1, b));
    F(syscall(SYS_uname, 8));
    F(syscall(SYS_sysinfo, 8));
    F(syscall(SYS_getcpu, 8, 0, 0));
    F(syscall(SYS_getcpu, 0, 0, 0));
    F(syscall(SYS_sched_setaffinity, 0, 8, 8));
    F(syscall(SYS_sched_setaffinity, 0, 0, b));
    F(setpriority(0, 0, 0));
    F(syscall(SYS_flock, 0, 99));
    F(syscall(SYS_flock, -1, 99));
    F(syscall(SYS_mlock2, b, 1, 8));
    F(personality(0x12345));
}

static void storage(void) {
    int e = memfd_create("x", 2);
    ftruncate(e, 8192);
    char *m = mmap(0, 8192, 3, 1, e, 0);
    m[0] = 'a';
    m[4096] = 'b';
    F(fcntl(e, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    F(madvise(m, 4096, MADV_REMOVE));
    printf("%c\n",m[0]);
    e = memfd_create("y", 2);
    ftruncate(e, 8192);
    m = mmap(0, 8192, 3, 1, e, 0);
    m[0] = 'a';
    F(fcntl(e, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK));
    F(madvise(m, 4096, MADV_REMOVE));
    printf("%d\n",m[0]);
    char *z = mmap(0, 8192, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    F(madvise(z, 4096, MADV_REMOVE));
    F(memfd_create("big", 0) > 0);
    F(ftruncate(e, 1L << 62));
    int b = memfd_create("b", 0);
    F(ftruncate(b, 1L << 62));
    F(ftruncate(b, -1));
    F(ftruncate(b, 1L << 46));
    F(lseek(b, 0, SEEK_END) > 0);
    char *h = mmap(0, 1L << 40, 3, MAP_SHARED, b, 0);
    F(h!=MAP_FAILED);
    h[1L << 39] = 1;
    F(lseek(b, 0, SEEK_DATA));
    F(pwrite(b, "x", 1, (1L << 46)-1));
    struct stat s;
    fstat(b, &s);
    printf("%ld\n",(long)s.st_blocks);
    F(fallocate(b, 3, 0, 1L << 46));
    fstat(b, &s);
    printf("%ld\n",(long)s.st_blocks);
    printf("%d\n",h[1L<<39]);
    F(fallocate(e, 0, 0, 1L << 50));
    F(fallocate(e, 0, -1, 1));
    F(fallocate(e, 0, 0, 0));
    int p[2];
    pipe(p);
    F(fallocate(p[1], 0, 0, 1));
    F(fallocate(p[1], 0x80000, 0, 1));
    F(ftruncate(p[1], 1));
    F(ftruncate(p[1], -1));
    F(ftruncate(-1, -1));
    int d = open(".", 0);
    F(fallocate(d, 0, 0, 1));
    F(ftruncate(d, 0));
    F(fallocate(-1, 0, -1, 1));
}

int main(void) {
    small();
    arguments();
    storage();
    return 0;
}
