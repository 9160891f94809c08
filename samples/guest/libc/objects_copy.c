/* Moving data between files, pipes and memory that is partly not there: facts that do not depend on the machine. */
#include "objects.h"

#include <dirent.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

static char b[65536] __attribute__((aligned(4096)));
static char *m; /* three pages: accessible, none, accessible; then one read-only, and one of a file behind its end */
#define NONE (m + 4096)
#define RO (m + 3 * 4096)
#define BEHIND (m + 4 * 4096)
#define HIGH ((char *)0xffff800000000000)
static int p[2], q[2], f;

static void files(void) {
    puts("-- splice");
    loff_t z = 0;
    int fa = open("ff", O_RDWR | O_APPEND), fw = open("ff", O_WRONLY);
    F(splice(-1, 0, -1, 0, 0, 0xff));
    F(splice(-1, 0, -1, 0, 1, 0xff));
    F(splice(-1, (void *)8, -1, 0, 1, 0));
    F(splice(f, (void *)8, p[1], 0, 1, 0));
    F(splice(f, 0, p[1], &z, 1, 0));
    F(splice(f, 0, f, 0, 1, 0));
    F(splice(p[0], 0, p[1], 0, 1, 0));
    F(splice(p[0], 0, fa, 0, 1, 0));
    F(splice(fw, 0, p[1], 0, 1, 0));
    F(splice(p[1], 0, q[1], 0, 1, 0));
    z = -1;
    F(splice(f, &z, p[1], 0, 1, 0));
    z = 100;
    F(splice(f, &z, p[1], 0, 100000, 0));
    printf("%ld\n", (long)z);
    F(lseek(f, 0, 0));
    F(tee(-1, -1, 0, 0xff));
    F(tee(-1, -1, 0, 0));
    F(tee(-1, -1, 1, 0));
    F(tee(p[0], p[1], 1, 0));
    F(tee(f, p[1], 1, 0));
    F(tee(p[0], q[1], 5000, 0));
    F(read(q[0], b, 65536));
    F(tee(p[0], q[1], -1, 0));
    F(read(q[0], b, 65536));
    F(read(p[0], b, 65536));
    puts("-- vmsplice");
    struct iovec v[2] = {{b, 5000}, {b + 6000, 100}}, w[1] = {{m, 8192}}, many[20];
    F(vmsplice(-1, v, 2, 0x100));
    F(vmsplice(-1, v, 2, 0));
    F(vmsplice(f, v, 2, 0));
    F(vmsplice(p[1], (void *)8, 2, 0));
    F(vmsplice(p[1], v, 2000, 0));
    F(vmsplice(p[1], v, 0, 0));
    F(vmsplice(f, v, 0, 0));
    F(vmsplice(p[1], v, 2, 0));
    F(vmsplice(p[0], v, 1, 0));
    F(vmsplice(p[0], v, 2, 0));
    F(vmsplice(p[0], v, 2, SPLICE_F_NONBLOCK));
    F(vmsplice(p[1], w, 1, 0));
    F(read(p[0], b, 65536));
    w[0] = (struct iovec){NONE, 10};
    F(vmsplice(p[1], w, 1, 0));
    F(write(p[1], b, 100));
    F(vmsplice(p[0], w, 1, 0));
    F(read(p[0], b, 65536));
    w[0] = (struct iovec){b, 65536};
    F(vmsplice(p[1], w, 1, 0));
    F(read(p[0], b, 65536));
    w[0] = (struct iovec){b + 100, 65436};
    F(vmsplice(p[1], w, 1, 0));
    F(vmsplice(p[1], w, 1, SPLICE_F_NONBLOCK));
    F(read(p[0], b, 65536));
    for (int i = 0; i < 20; i++) many[i] = (struct iovec){b + i * 100, 10};
    F(vmsplice(p[1], many, 20, 0));
    F(read(p[0], b, 65536));
    puts("-- copy_file_range, sendfile");
    F(copy_file_range(-1, 0, -1, 0, 1, 1));
    F(copy_file_range(f, (void *)8, f, 0, 1, 1));
    F(copy_file_range(f, 0, f, 0, 1, 1));
    F(copy_file_range(fw, 0, f, 0, 1, 0));
    F(copy_file_range(f, 0, fa, 0, 1, 0));
    F(copy_file_range(f, 0, p[1], 0, 1, 0));
    z = -1;
    F(copy_file_range(f, &z, fw, 0, 1, 0));
    loff_t y = 100;
    z = 0;
    F(copy_file_range(f, &z, f, &y, 1000, 0));
    F(copy_file_range(f, &z, f, &y, 100, 0));
    F(copy_file_range(f, &z, f, &y, 0, 0));
    printf("%ld %ld\n", (long)z, (long)y);
    off_t o = -1;
    F(sendfile(f, -1, &o, 1));
    F(sendfile(-1, f, &o, 1));
    o = 0;
    F(sendfile(-1, f, &o, -1));
    F(sendfile(-1, f, (void *)8, 1));
    F(sendfile(fa, f, &o, 1));
    F(sendfile(f, p[0], &o, 1));
    F(sendfile(f, p[0], 0, 1));
    int g = open("gg", O_RDWR | O_CREAT | O_TRUNC, 0600);
    o = 8000;
    F(sendfile(g, f, &o, 5000));
    printf("%ld\n", (long)o);
    F(sendfile(g, f, (void *)RO, 10));
    F(lseek(g, 0, 1));
    F(sendfile(-1, f, (void *)RO, 10));
    puts("-- RWF");
    F(pwritev2(g, v, 1, -1, 0x40));
    F(pwritev2(g, v, 1, 4000, RWF_APPEND));
    F(lseek(g, 0, SEEK_END));
    F(pwritev2(g, v, 1, 0, 0x1000));
    F(pwritev2(g, v, 1, 0, RWF_SYNC));
    F(preadv2(g, v, 1, 0, RWF_APPEND));
    F(preadv2(g, v, 1, 0, RWF_NOWAIT));
    F(preadv2(-1, v, 1, 0, 0x1000));
    F(preadv2(g, v, 1, -2, 0x1000));
    F(pwritev2(fw, v, 1, 0, 0x30));
    F(preadv2(p[0], v, 1, 0, RWF_NOWAIT));
    F(preadv2(p[0], v, 1, -1, RWF_NOWAIT));
    close(g), close(fa), close(fw);
}

static volatile int got;
static void caught(int signal) { got = signal; }

static void sizes(void) {
    puts("-- RLIMIT_FSIZE");
    struct rlimit l = {5000, RLIM_INFINITY}, before;
    int g = open("gg", O_RDWR | O_CREAT | O_TRUNC, 0600), mf = memfd_create("a", 0);
    signal(SIGXFSZ, SIG_IGN);
    F(getrlimit(RLIMIT_FSIZE, &before));
    F(setrlimit(RLIMIT_FSIZE, &l));
    F(write(g, b, 4000));
    F(write(g, b, 4000));
    F(write(g, b, 0));
    F(write(g, b, 1));
    F(pwrite(g, b, 10, 4998));
    F(pwrite(g, b, 10, 5000));
    F(pwrite(g, (void *)8, 10, 5000));
    F(ftruncate(g, 5000));
    F(ftruncate(g, 5001));
    F(fallocate(g, 0, 0, 6000));
    F(write(mf, b, 6000));
    F(ftruncate(mf, 6000));
    F(fallocate(mf, 0, 0, 6000));
    F(write(q[1], b, 6000));
    off_t o = 0;
    F(ftruncate(g, 0));
    F(lseek(g, 4000, 0));
    F(sendfile(g, f, &o, 5000));
    F(sendfile(g, f, &o, 5000));
    loff_t z = 0, y = 0;
    F(copy_file_range(f, &z, g, &y, 6000, 0));
    F(copy_file_range(f, &z, g, &y, 6000, 0));
    z = 4000;
    F(splice(q[0], 0, g, &z, 6000, 0));
    F(splice(q[0], 0, g, &z, 6000, 0));
    F(read(q[0], b, 65536));
    F(ftruncate(f, 8000));
    F(pwrite(f, b, 10, 7000));
    signal(SIGXFSZ, caught);
    F(pwrite(f, b, 10, 7000));
    printf("%d\n", got == SIGXFSZ);
    got = 0;
    F(lseek(f, 6000, 0));
    long done = syscall(SYS_write, f, b, 1);
    int when = got;
    printf("%ld %d\n", done, when == SIGXFSZ);
    signal(SIGXFSZ, SIG_IGN);
    F(truncate("gg", 5001));
    F(truncate("gg", 4999));
    F(open("/dev/null", 1) > 0);
    struct iovec v[1] = {{b, 10}};
    F(pwritev2(g, v, 1, 4000, RWF_APPEND));
    F(setrlimit(RLIMIT_FSIZE, &before));
    F(ftruncate(g, 9000));
    F(pwrite(f, b, 1000, 8000));
}

static void copies(void) {
    puts("-- reading into what is partly there");
    char c[200];
    F(lseek(f, 0, 0));
    F(read(f, NONE, 10));
    F(read(f, m + 4000, 4096));
    F(lseek(f, 0, 1));
    F(read(f, RO, 10));
    F(read(f, BEHIND, 10));
    F(read(f, HIGH, 10));
    F(read(f, HIGH, 0));
    F(read(f, NONE, 0));
    F(pread(f, m, 3 * 4096, 100));
    F(pread(f, NONE, 10, 9000));
    F(pread(f, m, 10, -1));
    struct iovec v[3] = {{b, 100}, {NONE, 100}, {b, 100}};
    F(readv(f, v, 3));
    F(preadv(f, v, 3, 8950));
    F(readv(f, v + 1, 2));
    F(writev(q[1], v, 3));
    F(writev(f, v, 3));
    F(pwritev(f, v + 1, 2, 0));
    F(readv(f, v, -1));
    F(readv(f, v, 1025));
    F(readv(f, (void *)NONE, 1));
    F(readv(f, (void *)NONE, 0));
    v[2].iov_len = -1;
    F(readv(f, v, 3));
    v[2] = (struct iovec){HIGH, 1};
    F(readv(f, v, 3));
    F(writev(1000, (void *)NONE, 1));
    int zero = open("/dev/zero", O_RDWR), null = open("/dev/null", O_RDWR), full = open("/dev/full", O_RDWR);
    F(read(zero, m, 8192));
    F(read(zero, NONE, 10));
    F(read(null, NONE, 10));
    F(read(null, HIGH, 10));
    F(write(null, NONE, 10));
    F(write(null, HIGH, 10));
    F(write(zero, NONE, 10));
    F(write(full, NONE, 10));
    F(write(full, b, 10));
    F(getrandom(m, 8192, 0));
    F(getrandom(NONE, 10, 0));
    F(getrandom(NONE, 0, 0));
    F(getrandom(m, 1, 8));
    puts("-- pipes lose nothing");
    F(write(p[1], b, 100));
    F(read(p[0], NONE, 10));
    F(read(p[0], m + 4090, 100));
    F(poll(&(struct pollfd){p[0], POLLIN}, 1, 0));
    F(read(p[0], b, 65536));
    F(write(p[1], m + 4000, 200));
    F(write(p[1], NONE, 10));
    F(write(p[1], m, 8192));
    F(read(p[0], b, 65536));
    F(write(p[1], b, 6000));
    F(read(p[0], m, 8192));
    F(read(p[0], b, 65536));
    int e = eventfd(5, EFD_NONBLOCK);
    F(read(e, NONE, 8));
    F(read(e, b, 7));
    F(read(e, b, 8));
    F(write(e, NONE, 8));
    F(write(e, b, 7));
    puts("-- structures");
    memset(m + 4000, 'x', 96);
    F(fstat(f, (void *)(m + 4090)));
    F(fstat(f, (void *)RO));
    F(statfs("/", (void *)(m + 4090)));
    F(uname((void *)(m + 4090)));
    F(sysinfo((void *)(m + 4090)));
    F(syscall(SYS_getcwd, m + 4095, 4096));
    F(syscall(SYS_getcwd, NONE, 1));
    F(syscall(SYS_clock_gettime, CLOCK_REALTIME, m + 4088));
    F(syscall(SYS_gettimeofday, m + 4088, 0));
    F(syscall(SYS_getrusage, RUSAGE_SELF, m + 4090));
    F(syscall(SYS_times, m + 4090));
    F(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, m + 4090));
    F(syscall(SYS_getitimer, ITIMER_REAL, m + 4090));
    F(syscall(SYS_rt_sigaction, SIGUSR1, 0, m + 4090, 8));
    F(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, m + 4092, 8));
    F(syscall(SYS_pipe2, m + 4092, 0));
    F(syscall(SYS_statx, f, "", AT_EMPTY_PATH, 0xfff, m + 4090));
    F(syscall(SYS_getgroups, 65536, NONE) <= 0);
    int kept = 4000;
    while (kept < 4096 && m[kept] == 'x') kept++;
    printf("%d\n", kept);
    int d = open(".", O_RDONLY);
    F(syscall(SYS_getdents64, d, NONE, 4096));
    F(syscall(SYS_getdents64, d, m + 4096 - 24, 100));
    F(syscall(SYS_getdents64, d, m + 4096 - 24, 10));
    F(syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", m + 4095, 2));
    F(syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", NONE, 0));
    F(open(NONE, 0));
    memset(m + 4000, 'n', 96);
    F(open(m + 4000, 0));
    F(syscall(SYS_ppoll, NONE, 1, 0, 0, 0));
    F(syscall(SYS_ppoll, RO, 0, NONE, 0, 0));
    F(syscall(SYS_pselect6, 1, NONE, 0, 0, 0, 0));
    close(e), close(d), close(zero), close(null), close(full);
}

static void guards(void) {
    puts("-- guarded pages");
    char *g = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(g, 'g', 4 * 4096);
    F(madvise(g + 4096, 4096, 102));
    F(pread(f, g + 4000, 200, 0));
    F(pread(f, g + 4096, 200, 0));
    F(pread(f, g, 4 * 4096, 0));
    F(pwrite(f, g + 4000, 200, 0));
    F(pwrite(f, g + 5000, 200, 0));
    F(pwrite(f, g + 8000, 200, 0));
    F(pwrite(f, g + 8192, 200, 0));
    F(write(p[1], g + 4090, 10));
    F(write(p[1], g + 4096, 10));
    struct iovec v[2] = {{g + 4000, 96}, {g + 4096, 10}}, l = {b, 100};
    F(writev(f, v, 2));
    F(writev(f, v + 1, 1));
    F(readv(f, v + 1, 1));
    v[0].iov_len = 97;
    F(process_vm_readv(getpid(), &l, 1, v, 1, 0));
    F(process_vm_readv(getpid(), &l, 1, v + 1, 1, 0));
    F(process_vm_writev(getpid(), &l, 1, v + 1, 1, 0));
    F(uname((void *)(g + 4095)));
    F(open(g + 4096, 0));
    F(getrandom(g + 4090, 10, 0));
    F(mprotect(g + 4096, 4096, PROT_READ));
    F(pwrite(f, g + 4096, 1, 0));
    F(madvise(g, 4 * 4096, 103));
    F(pwrite(f, g + 4096, 1, 0));
    F(pread(f, g + 8192, 4096, 0));
    printf("%d %d\n", g[4096], g[8191]);
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 4096);
    m = mmap(0, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    f = open("ff", O_RDWR | O_CREAT | O_TRUNC, 0600);
    F(write(f, b, 9000));
    int empty = open("empty", O_RDWR | O_CREAT | O_TRUNC, 0600);
    mprotect(NONE, 4096, PROT_NONE);
    mprotect(RO, 4096, PROT_READ);
    mmap(BEHIND, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, empty, 0);
    F(pipe(p));
    F(pipe(q));
    files();
    sizes();
    copies();
    guards();
    return 0;
}
