/* Section 1.14: what calls do with bad and half bad memory. */
#include "fact.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <time.h>

static int zero, null, fd;

/* Page 0 and 1 writable, 2 without access, 3 read-only, 4 a hole, 5 write only, 6 and 7 a file of one page, 8 guarded, 9 and 10 shared. */
static void layout(void) {
    area(64);
    map(0, 2, RW);
    map(2, 1, NONE);
    map(3, 1, R);
    map(5, 1, W);
    if (!fd) {
        fd = file("data", 1);
        zero = reopen("/dev/zero", O_RDWR);
        null = reopen("/dev/null", O_RDWR);
    }
    memset(procbuf, 'a', PG);
    sc(SYS_pwrite64, fd, procbuf, PG, 0);
    mapf(6, 2, RW, SHAR, fd, 0);
    map(8, 1, RW);
    advise(8, 1, MADV_GUARD_INSTALL);
    mapx(9, 2, RW, SHAR | ANON);
}
static const char *places[] = {"0", "writable", "no access", "read-only", "a hole", "write only", "a file", "beyond end", "a guard", "shared",
                               "end of writable", "end of shared", "end of file", "TASK", "TASK + PG", "-1", "2^63", "1", "last byte"};
#define PLACES 19
static char *place(int i) {
    switch (i) {
        case 0: return 0;
        case 1: return P(0);
        case 10: return P(2) - 3;
        case 11: return P(11) - 3;
        case 12: return P(7) - 3;
        case 13: return (char *)TASK;
        case 14: return (char *)TASK + PG;
        case 15: return (char *)-1L;
        case 16: return (char *)(1UL << 63);
        case 17: return (char *)1;
        case 18: return P(2) - 1;
        default: return P(i);
    }
}

/* A file that the host makes up has no size; the buffer lies in two regions, or in one. */
static void unsized(void) {
    static const char *names[] = {"/proc/interrupts", "/proc/sys/kernel/panic_on_oops", "/proc/zoneinfo"};
    for (int i = 0; i < 3; i++) {
        int at = reopen(names[i], O_RDONLY);
        layout();
        map(16, 2, RW);
        advise(17, 1, MADV_DONTFORK);
        K("1.14", said(sc(SYS_read, at, P(17) - 1, PG) > 0), "read of %s into two regions", names[i]);
        lseek(at, 0, SEEK_SET);
        K("1.14", said(sc(SYS_read, at, P(17), PG) > 0), "read of %s into one region", names[i]);
        close(at);
    }
}

static void transfers(void) {
    layout();
    int out = file("out", 0), in = file("in", 3), pipes[2];
    pipe2(pipes, O_NONBLOCK);
    for (int i = 0; i < PLACES; i++) {
        char *at = place(i);
        struct iovec one[2] = {{P(0), 4}, {at, 8}}, two[2] = {{at, 8}, {P(0), 4}};
        static const long lengths[] = {0, 1, 8, PG, 2 * PG, 3 * PG};
        for (int k = 0; k < 6; k++) {
            if (i == 15 && k == 1) continue;
            lseek(out, 0, SEEK_SET);
            lseek(in, 0, SEEK_SET);
            layout();
            at = place(i);
            K("1.14", said(sc(SYS_read, zero, at, lengths[k])), "read of /dev/zero, %ld bytes at %s", lengths[k], places[i]);
            K("1.14", said(sc(SYS_write, null, at, lengths[k])), "write to /dev/null, %ld bytes at %s", lengths[k], places[i]);
            K("1.14", said(sc(SYS_read, null, at, lengths[k])), "read of /dev/null, %ld bytes at %s", lengths[k], places[i]);
            K("1.14", said(sc(SYS_write, zero, at, lengths[k])), "write to /dev/zero, %ld bytes at %s", lengths[k], places[i]);
            K("1.14", said(sc(SYS_read, in, at, lengths[k])), "read of a file, %ld bytes at %s", lengths[k], places[i]);
            K("1.14", said(sc(SYS_lseek, in, 0, SEEK_CUR)), "file position after %ld bytes at %s", lengths[k], places[i]);
            K("1.14", said(sc(SYS_write, out, at, lengths[k])), "write to a file, %ld bytes at %s", lengths[k], places[i]);
            K("1.14", said(sc(SYS_lseek, out, 0, SEEK_CUR)), "file position after writing %ld bytes at %s", lengths[k], places[i]);
            K("1.14", said(sc(SYS_pread64, in, at, lengths[k], 100)), "pread of a file, %ld bytes at %s", lengths[k], places[i]);
            K("1.14", said(sc(SYS_pread64, in, at, lengths[k], 3 * PG)), "pread at the end of a file, %ld bytes at %s", lengths[k], places[i]);
            K("1.14", said(sc(SYS_getrandom, at, lengths[k], 0)), "getrandom of %ld bytes at %s", lengths[k], places[i]);
        }
        layout();
        at = place(i);
        one[0].iov_base = two[1].iov_base = P(0), one[1].iov_base = two[0].iov_base = at;
        K("1.14", said(sc(SYS_readv, zero, one, 2)), "readv of /dev/zero, second at %s", places[i]);
        K("1.14", said(sc(SYS_readv, zero, two, 2)), "readv of /dev/zero, first at %s", places[i]);
        K("1.14", said(sc(SYS_writev, out, one, 2)), "writev, second at %s", places[i]);
        K("1.14", said(sc(SYS_writev, out, two, 2)), "writev, first at %s", places[i]);
        K("1.14", said(sc(SYS_preadv, in, one, 2, 0, 0)), "preadv, second at %s", places[i]);
        K("1.14", said(sc(SYS_pwritev, out, two, 2, 0, 0)), "pwritev, first at %s", places[i]);
        K("1.14", said(sc(SYS_readv, zero, at, 1)), "readv with the vector at %s", places[i]);
        K("1.14", said(sc(SYS_readv, zero, at, 0)), "readv with no vector at %s", places[i]);
        K("1.14", said(sc(SYS_write, pipes[1], at, 8)), "write to a pipe at %s", places[i]);
        K("1.14", said(sc(SYS_read, pipes[0], P(0), 64)), "what the pipe held after %s", places[i]);
        write(pipes[1], "12345678", 8);
        K("1.14", said(sc(SYS_read, pipes[0], at, 8)), "read of a pipe at %s", places[i]);
        K("1.14", said(sc(SYS_read, pipes[0], P(1), 64)), "what the pipe still held after %s", places[i]);
    }
}

static void pipes(void) {
    int p[2];
    layout();
    pipe2(p, O_NONBLOCK);
    memset(P(0), 'p', 2 * PG);
    F("1.14", sc(SYS_write, p[1], P(1) + 100, PG));
    F("1.14", sc(SYS_read, p[0], P(9), 2 * PG));
    F("1.14", sc(SYS_write, p[1], P(0) + 100, 2 * PG));
    F("1.14", sc(SYS_read, p[0], P(9), 2 * PG));
    F("1.14", sc(SYS_write, p[1], P(1), 2 * PG));
    F("1.14", sc(SYS_read, p[0], P(9), 2 * PG));
    F("1.14", sc(SYS_write, p[1], P(0), PG));
    F("1.14", sc(SYS_read, p[0], P(1) + 100, PG));
    F("1.14", sc(SYS_read, p[0], P(9), 2 * PG));
    F("1.14", sc(SYS_write, p[1], P(0), 2 * PG));
    F("1.14", sc(SYS_read, p[0], P(1), 2 * PG));
    F("1.14", sc(SYS_read, p[0], P(9), 2 * PG));
    struct iovec v[2] = {{P(0), 10}, {P(2), 10}};
    F("1.14", sc(SYS_writev, p[1], v, 2));
    F("1.14", sc(SYS_read, p[0], P(9), 2 * PG));
    F("1.14", sc(SYS_write, p[1], "0123456789abcdefghij", 20));
    F("1.14", sc(SYS_readv, p[0], v, 2));
    F("1.14", sc(SYS_read, p[0], P(9), 2 * PG));
    int e = eventfd(0, EFD_NONBLOCK);
    F("1.14", sc(SYS_write, e, P(2), 8));
    F("1.14", sc(SYS_write, e, P(2), 4));
    F("1.14", sc(SYS_write, e, P(2) - 4, 8));
    D("1.14", write(e, "\1\0\0\0\0\0\0", 8));
    F("1.14", sc(SYS_read, e, P(2) - 4, 8));
    F("1.14", sc(SYS_read, e, P(2) - 8, 8));
    F("1.14", sc(SYS_read, e, P(2) - 8, 8));
}

/* Writes to a pipe that may take less than all: what it took, what of that was x, what of the memory was looked at, did the stack grow. */
static void room(void) {
    static const struct { const char *what; struct { double at; long length; } v[3]; } from[] = {
        {"100 bytes", {{10, 100}}},
        {"4 pages", {{10, 4 * PG}}},
        {"3 pages, not aligned", {{10.25, 3 * PG}}},
        {"4 pages and a hole", {{10, 5 * PG}}},
        {"2 pages up to a hole", {{12.25, 2 * PG}}},
        {"half a page and a hole", {{13.5, PG}}},
        {"half a page, a hole, a page", {{13.5, PG}, {10, PG}}},
        {"a page, half a page and a hole", {{10, PG}, {13.5, PG}}},
        {"a growing stack", {{599.5, PG}}},
        {"100 bytes, a growing stack", {{10, 100}, {599.25, PG}}},
        {"4 pages, a growing stack", {{10, 4 * PG}, {599.25, 2 * PG}}},
        {"4 pages, a bit of a growing stack", {{10, 4 * PG}, {599.5, PG / 2}}},
        {"4 pages, a growing stack, a hole", {{10, 4 * PG}, {599.5, PG / 2}, {14, 100}}},
    };
    static const int taken[] = {0, 11, 13, 15, 16};
    static char page[PG];
    area(700);
    for (unsigned i = 0; i < sizeof from / sizeof from[0]; i++)
        for (int k = 0; k < 5; k++) {
            int p[2];
            struct iovec v[3];
            unmap(0, 700);
            map(10, 4, RW);
            memset(P(12), 'x', PG);
            mapx(600, 2, RW, PRIV | ANON | MAP_GROWSDOWN);
            memset(P(600), 'x', PG);
            for (int n = 0; n < 3; n++) v[n] = (struct iovec){P(from[i].v[n].at), from[i].v[n].length};
            pipe2(p, O_NONBLOCK);
            for (int n = 0; n < taken[k]; n++) write(p[1], page, PG);
            const char *result = said(sc(SYS_writev, p[1], v, 3)), *there = resident(10, 4);
            long got = sc(SYS_read, p[0], procbuf, sizeof procbuf), x = 0;
            for (long n = 0; n < got; n++) x += procbuf[n] == 'x';
            K("1.14", text("%s, %ld of %ld x, %s, %s", result, x, got, there, shape_of(P(598), 4)),
              "a pipe with %d pages gets %s", taken[k], from[i].what);
            close(p[0]);
            close(p[1]);
        }
}

/* Calls that copy a structure out or in, at each place. */
static void structures(void) {
    layout();
    int p[2];
    struct timespec none = {0, 0};
    for (int i = 0; i < PLACES; i++) {
        layout();
        char *at = place(i);
        int folder = reopen(".", O_RDONLY);
        pipe2(p, O_NONBLOCK);
#define S(what, call) do { layout(); at = place(i); K("1.14", said((long)(call)), what " at %s", places[i]); } while (0)
        S("fstat", sc(SYS_fstat, fd, at));
        S("newfstatat", sc(SYS_newfstatat, AT_FDCWD, "data", at, 0));
        S("newfstatat of a path", sc(SYS_newfstatat, AT_FDCWD, at, procbuf, 0) == 0 ? 0 : -errno);
        S("statx", sc(SYS_statx, AT_FDCWD, "data", 0, 0xfff, at));
        S("statfs", sc(SYS_statfs, ".", at));
        S("uname", sc(SYS_uname, at));
        S("getcwd", sc(SYS_getcwd, at, PG) > 0 ? 1 : -errno);
        S("getcwd of 1", sc(SYS_getcwd, at, 1));
        S("readlinkat", sc(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", at, 8));
        S("pipe2", sc(SYS_pipe2, at, 0));
        S("clock_gettime", sc(SYS_clock_gettime, 0, at));
        S("clock_gettime of a bad clock", sc(SYS_clock_gettime, 999, at));
        S("clock_getres", sc(SYS_clock_getres, 0, at));
        S("gettimeofday", sc(SYS_gettimeofday, at, 0));
        S("gettimeofday zone", sc(SYS_gettimeofday, 0, at));
        S("times", sc(SYS_times, at) >= 0 ? 1 : -errno);
        S("getrusage", sc(SYS_getrusage, 0, at));
        S("sysinfo", sc(SYS_sysinfo, at));
        S("getrlimit", sc(SYS_getrlimit, 0, at));
        S("prlimit64 old", sc(SYS_prlimit64, 0, 4, 0, at));
        S("setrlimit", i == 10 || i == 12 || i == 11 || i >= 13 || i == 0 || i == 2 || i == 4 || i == 7 || i == 8 ? sc(SYS_setrlimit, 4, at) : -1);
        S("getresuid", sc(SYS_getresuid, at, P(0) + 100, P(0) + 200));
        S("getresuid third", sc(SYS_getresuid, P(0) + 100, P(0) + 200, at));
        S("rt_sigprocmask set", sc(SYS_rt_sigprocmask, SIG_UNBLOCK, at, 0, 8));
        S("rt_sigprocmask old", sc(SYS_rt_sigprocmask, SIG_BLOCK, 0, at, 8));
        S("rt_sigprocmask how", sc(SYS_rt_sigprocmask, 99, at, 0, 8));
        S("rt_sigprocmask size", sc(SYS_rt_sigprocmask, SIG_UNBLOCK, at, 0, 4));
        S("rt_sigpending", sc(SYS_rt_sigpending, at, 8));
        S("rt_sigaction old", sc(SYS_rt_sigaction, SIGUSR1, 0, at, 8));
        S("rt_sigaction new", sc(SYS_rt_sigaction, SIGUSR2, at, 0, 8));
        S("rt_sigaction of a bad signal", sc(SYS_rt_sigaction, 99, at, 0, 8));
        S("rt_sigaction of SIGKILL", sc(SYS_rt_sigaction, SIGKILL, at, 0, 8));
        S("sigaltstack old", sc(SYS_sigaltstack, 0, at));
        S("rt_sigtimedwait set", sc(SYS_rt_sigtimedwait, at, 0, &none, 8));
        S("nanosleep", sc(SYS_nanosleep, at, 0));
        S("clock_nanosleep", sc(SYS_clock_nanosleep, 1, 0, at, 0));
        S("clock_nanosleep of a bad clock", sc(SYS_clock_nanosleep, 999, 0, at, 0));
        S("poll of none", sc(SYS_ppoll, at, 0, &none, 0, 8));
        S("poll of one", sc(SYS_ppoll, at, 1, &none, 0, 8) >= 0 ? 1 : -errno);
        S("ppoll time", i == 0 ? 0 : sc(SYS_ppoll, 0, 0, at, 0, 8));
        S("ppoll mask", sc(SYS_ppoll, 0, 0, &none, at, 8));
        S("pselect6 set", sc(SYS_pselect6, 1, at, 0, 0, &none, 0) >= 0 ? 1 : -errno);
        S("futex wake", sc(SYS_futex, at, 1, 1, 0, 0, 0));
        S("futex private wake", sc(SYS_futex, at, 129, 1, 0, 0, 0));
        S("futex wait for 1", sc(SYS_futex, at, 0, 0x7f, &none, 0, 0));
        S("futex wait time", sc(SYS_futex, P(0), 0, 0x7f, at, 0, 0));
        S("set_robust_list", sc(SYS_set_robust_list, at, 24));
        S("sched_getaffinity", sc(SYS_sched_getaffinity, 0, 128, at) > 0 ? 1 : -errno);
        S("getgroups", sc(SYS_getgroups, 0, at) >= 0 ? 1 : -errno);
        S("openat", sc(SYS_openat, AT_FDCWD, at, O_PATH | O_DIRECTORY, 0));
        S("faccessat", sc(SYS_faccessat, AT_FDCWD, at, 0));
        S("unlinkat", sc(SYS_unlinkat, AT_FDCWD, at, 0));
        S("renameat2 new name", sc(SYS_renameat2, AT_FDCWD, "nothing", AT_FDCWD, at, 0));
        S("memfd_create", sc(SYS_memfd_create, at, 0) >= 0 ? 1 : -errno);
        S("getdents64", sc(SYS_getdents64, folder, at, 4096) > 0 ? 1 : -errno);
        S("prctl PR_SET_NAME", sc(SYS_prctl, 15, at, 0, 0, 0));
        S("prctl PR_GET_NAME", sc(SYS_prctl, 16, at, 0, 0, 0));
        S("ioctl FIONREAD", sc(SYS_ioctl, p[0], 0x541b, at));
        S("sendfile offset", sc(SYS_sendfile, p[1], fd, at, 1));
        S("capget header", sc(SYS_capget, at, 0));
        S("setitimer old", sc(SYS_getitimer, 0, at));
        S("mincore", sc(SYS_mincore, P(0), PG, at));
        S("process_vm_readv", sc(SYS_process_vm_readv, getpid(), at, 1, at, 1, 0));
        close(p[0]);
        close(p[1]);
        close(folder);
    }
}

/* Structures that end exactly at, or cross, the end of the readable memory. */
static void edges(void) {
    static char low[2]; /* far below TASK, as the area is not */
    layout();
    for (int back = 0; back < 160; back += back < 24 ? 4 : 16) {
        char *at = P(2) - back;
        struct timespec none = {0, 0};
        memset(P(1), 0, PG);
        K("1.14", said(sc(SYS_clock_gettime, 0, at)), "clock_gettime %d before the end", back);
        memset(P(1), 0, PG);
        K("1.14", said(sc(SYS_nanosleep, at, 0)), "nanosleep %d before the end", back);
        K("1.14", said(sc(SYS_pipe2, at, 0)), "pipe2 %d before the end", back);
        K("1.14", said(sc(SYS_fstat, fd, at)), "fstat %d before the end", back);
        K("1.14", said(sc(SYS_rt_sigprocmask, 0, 0, at, 8)), "sigprocmask %d before the end", back);
        K("1.14", said(sc(SYS_rt_sigaction, SIGUSR1, 0, at, 8)), "sigaction %d before the end", back);
        memset(P(1), 0, PG);
        K("1.14", said(sc(SYS_futex, at, 0, 1, &none, 0, 0)), "futex wait %d before the end", back);
        K("1.14", said(sc(SYS_getrandom, at, 200, 0)), "getrandom %d before the end", back);
        if (back <= 8) K("1.14", said(sc(SYS_getcwd, at, 4096) > 0 ? 1 : -errno), "getcwd %d before the end", back);
        for (int k = 0; k < back; k++) at[k] = 'n';
        K("1.14", said(sc(SYS_openat, AT_FDCWD, at, O_RDONLY, 0)), "open of a name %d before the end", back);
        if (back) at[back - 1] = 0;
        K("1.14", said(sc(SYS_openat, AT_FDCWD, at, O_RDONLY, 0)), "open of a name that ends %d before the end", back);
        K("1.14", said(sc(SYS_prctl, 15, at, 0, 0, 0)), "PR_SET_NAME %d before the end", back);
    }
    F("1.14", sc(SYS_futex, P(0) + 1, 0, 1, 0, 0, 0));
    F("1.14", sc(SYS_futex, P(2) + 1, 0, 1, 0, 0, 0));
    F("1.14", sc(SYS_futex, -1L, 0, 1, 0, 0, 0));
    F("1.14", sc(SYS_futex, P(3), 1, 1, 0, 0, 0));
    F("1.14", sc(SYS_futex, P(3), 129, 1, 0, 0, 0));
    F("1.14", sc(SYS_futex, P(4), 129, 1, 0, 0, 0));
    F("1.14", sc(SYS_read, zero, low, -1L));
    F("1.14", sc(SYS_read, zero, low, 1UL << 63));
    F("1.14", sc(SYS_write, null, low, -1L));
    F("1.14", sc(SYS_write, null, low, 1L << 40));
    F("1.14", sc(SYS_write, null, low, 1UL << 62));
    F("1.14", sc(SYS_write, null, 0, 1L << 40));
    struct iovec v[2] = {{low, 1UL << 62}, {low, 1UL << 62}};
    F("1.14", sc(SYS_writev, null, v, 1));
    F("1.14", sc(SYS_writev, null, v, 2));
    v[1].iov_len = -1L;
    F("1.14", sc(SYS_writev, null, v, 2));
    F("1.14", sc(SYS_writev, -1, v, 2));
    F("1.14", sc(SYS_writev, null, v, -1L));
    F("1.14", sc(SYS_writev, null, v, 1025));
    F("1.14", sc(SYS_writev, null, 8, 1025));
    F("1.14", sc(SYS_read, -1, 8, 8));
    F("1.14", sc(SYS_read, null, -1L, 8));
    F("1.14", sc(SYS_read, null, -1L, 0));
    F("1.14", sc(SYS_pread64, fd, P(0), 8, -1L));
    F("1.14", sc(SYS_pread64, fd, 8, 8, -1L));
    F("1.14", sc(SYS_pread64, -1, 8, 8, -1L));
    F("1.14", sc(SYS_read, reopen(".", O_RDONLY), 8, 8));
    F("1.14", sc(SYS_read, reopen(".", O_RDONLY), -1L, 8));
    F("1.14", sc(SYS_read, reopen("data", O_WRONLY), -1L, 8));
    F("1.14", sc(SYS_read, reopen("data", O_PATH), -1L, 8));
}

/* Kernel writes to memory behave like stores: copy on write, zero pages, end of file. */
static void effects(void) {
    layout();
    int in = file("in", 2);
    D("1.14", mapf(20, 2, RW, PRIV, fd, 0));
    F("1.14", sc(SYS_pread64, in, P(20), 10, PG));
    F("1.14", get(20));
    F("1.14", sc(SYS_pread64, in, P(21), 10, PG));
    F("1.14", sc(SYS_pread64, in, P(21) - 5, 10, PG));
    F("1.14", get_at(P(21) - 1));
    F("1.14", sc(SYS_pread64, in, P(6), 10, PG));
    F("1.14", get(6));
    F("1.14", sc(SYS_pread64, fd, procbuf, 10, 0));
    V("1.14", "through the shared mapping", "%.10s", procbuf);
    D("1.14", map(30, 2, RW));
    D("1.14", map(33, 2, RW));
    F("1.14", sc(SYS_read, zero, P(30), 1));
    F("1.14", sc(SYS_read, zero, P(33), 1));
    C("1.14", map(32, 1, RW));
    D("1.14", map(40, 2, RW));
    D("1.14", map(43, 2, RW));
    F("1.14", sc(SYS_write, fd, P(40), 1));
    F("1.14", sc(SYS_write, fd, P(43), 1));
    C("1.14", map(42, 1, RW));
    D("1.14", map(50, 2, RW));
    V("1.14", "resident", "%s", resident(50, 2));
    F("1.14", sc(SYS_write, fd, P(50), 1));
    V("1.14", "read by the kernel", "%s", resident(50, 2));
    F("1.14", sc(SYS_read, zero, P(51), 1));
    V("1.14", "written by the kernel", "%s", resident(50, 2));
    F("1.14", sc(SYS_read, fd, P(50), 0));
    F("1.14", sc(SYS_pread64, in, P(1) - 8, PG, 0));
    F("1.14", get_at(P(1) - 8));
    F("1.14", sc(SYS_pread64, in, P(2) - 8, PG, PG));
    F("1.14", get_at(P(2) - 8));
    F("1.14", sc(SYS_pread64, in, P(0), 4 * PG, 0));
    F("1.14", sc(SYS_pread64, in, P(0) + 10, 4 * PG, 0));
    F("1.14", sc(SYS_pread64, in, P(1), 4 * PG, 0));
    F("1.14", sc(SYS_pwrite64, in, P(20), 2 * PG, 0));
    F("1.14", sc(SYS_pwrite64, in, P(6), 2 * PG, 0));
    F("1.14", sc(SYS_pread64, fd, P(6), PG, 0));
    F("1.14", sc(SYS_pwrite64, fd, P(6), PG, 0));
}

static volatile int exceeded;
static void count_exceeded(int signal) { exceeded++; }

static const char *made[] = {
    "/proc/self/maps", "/proc/self/status", "/proc/self/stat", "/proc/self/mem", "/proc/self/pagemap", "/proc/self/cmdline", "/proc/self/comm",
    "/proc/self/limits", "/proc/self/mounts", "/proc/self/mountinfo", "/proc/version", "/proc/meminfo", "/proc/cpuinfo", "/proc/swaps",
    "/proc/sys/vm/max_map_count", "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/pid_max", "/proc/sys/kernel/printk", "/proc/sys/kernel/ostype",
    "/proc/sys/kernel/osrelease", "/dev/zero", "/dev/null", "/dev/urandom", "data"};
#define MADE (int)(sizeof made / sizeof *made)

/* Made-up files and devices that are moved from: which can be, and where their positions are then. */
static void moves(void) {
    layout();
    for (int i = 0; i < MADE; i++) {
        int from = reopen(made[i], O_RDONLY), to = memfd_create("to", 0), folder = reopen(".", O_RDONLY), p[2];
        long at = 2;
        pipe2(p, O_NONBLOCK);
        K("1.14", said(sc(SYS_sendfile, to, from, 0, 3)), "sendfile of %s", made[i]);
        K("1.14", said(sc(SYS_sendfile, to, from, 0, 0)), "sendfile of nothing of %s", made[i]);
        K("1.14", said(sc(SYS_sendfile, to, from, &at, 2)), "sendfile of %s at 2", made[i]);
        K("1.14", said(at), "position after sendfile of %s", made[i]);
        K("1.14", said(sc(SYS_sendfile, p[1], from, 0, 2)), "sendfile of %s to a pipe", made[i]);
        K("1.14", said(sc(SYS_splice, from, 0, p[1], 0, 1, SPLICE_F_NONBLOCK)), "splice of %s", made[i]);
        K("1.14", said(sc(SYS_splice, from, &at, p[1], 0, 1, SPLICE_F_NONBLOCK)), "splice of %s at it", made[i]);
        K("1.14", said(at), "position after splice of %s", made[i]);
        K("1.14", said(sc(SYS_copy_file_range, from, 0, p[1], 0, 1, 0)), "copy_file_range of %s to a pipe", made[i]);
        K("1.14", said(sc(SYS_copy_file_range, from, 0, folder, 0, 1, 0)), "copy_file_range of %s to a folder", made[i]);
        K("1.14", said(sc(SYS_copy_file_range, from, 0, from, 0, 1, 0)), "copy_file_range of %s to what is read only", made[i]);
        K("1.14", said(sc(SYS_copy_file_range, from, 0, to, 0, 1, 0)), "copy_file_range of %s", made[i]);
        sc(SYS_fcntl, to, F_SETFL, O_APPEND);
        K("1.14", said(sc(SYS_copy_file_range, from, 0, to, 0, 1, 0)), "copy_file_range of %s to the end", made[i]);
        K("1.14", said(sc(SYS_pread64, from, procbuf, 1, 1)), "pread of %s at 1", made[i]);
        K("1.14", said(sc(SYS_lseek, from, 0, SEEK_CUR)), "position of %s", made[i]);
        close(from), close(to), close(folder), close(p[0]), close(p[1]);
    }
    struct rlimit limit = {24, RLIM_INFINITY};
    signal(SIGXFSZ, count_exceeded);
    for (int length = 16; length <= 32; length += 8) {
        int from = reopen("/proc/version", O_RDONLY), to = memfd_create("to", 0);
        long first = (D("1.14", setrlimit(RLIMIT_FSIZE, &limit)), sc(SYS_sendfile, to, from, 0, length));
        int signals = exceeded;
        long second = sc(SYS_sendfile, to, from, 0, length), left = sc(SYS_lseek, from, 0, SEEK_CUR);
        struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
        setrlimit(RLIMIT_FSIZE, &none);
        K("1.14", text("%ld with %d signals, %ld with %d, at %ld", first, signals, second, exceeded, left), "sendfile of %d to a limited file", length);
        exceeded = 0;
        close(from), close(to);
    }
}

/* What is asked of them, and has to do with their kind. */
static void controls(void) {
    for (int i = 0; i < MADE; i++) {
        int at = reopen(made[i], O_RDONLY);
        K("1.14", said(sc(SYS_fcntl, at, F_SETFL, O_DIRECT)), "O_DIRECT of %s", made[i]);
        K("1.14", said(sc(SYS_fcntl, at, F_GETPIPE_SZ)), "F_GETPIPE_SZ of %s", made[i]);
        K("1.14", said(sc(SYS_fcntl, at, F_SETPIPE_SZ, PG)), "F_SETPIPE_SZ of %s", made[i]);
        K("1.14", said(sc(SYS_fcntl, at, F_GET_SEALS)), "F_GET_SEALS of %s", made[i]);
        K("1.14", said(sc(SYS_fcntl, at, F_ADD_SEALS, 0)), "F_ADD_SEALS of %s", made[i]);
        K("1.14", said(sc(SYS_fcntl, at, F_GETSIG)), "F_GETSIG of %s", made[i]);
        K("1.14", said(sc(SYS_readahead, at, 0L, 10L)), "readahead of %s", made[i]);
        K("1.14", said(sc(SYS_sync_file_range, at, 0L, 0L, 0)), "sync_file_range of %s", made[i]);
        close(at);
    }
    int at = reopen("/proc/self/comm", O_RDWR);
    F("1.14", sc(SYS_fcntl, at, F_ADD_SEALS, 0));
}

SHEET(SECTION(transfers), SECTION(unsized), SECTION(pipes), SECTION(room), SECTION(structures), SECTION(edges), SECTION(effects), SECTION(moves), SECTION(controls))
