/* System calls whose lines under --strace must be those of strace(8). Run in an empty directory; every result is the same on
   any host. Build: gcc -static -D_GNU_SOURCE */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define S syscall

static char buf[5000];

static void files(void)
{
    struct stat st;
    struct statx sx;
    int fd = open("new", O_CREAT | O_RDWR | O_TRUNC | O_EXCL, 0640), p[2];
    write(fd, "abc\0def\x80\xff" "1\n\t\v\f\r\"\\~", 18);
    write(fd, "0123456789012345678901234567890123456789", 40);
    write(fd, "01234567890123456789012345678901", 32);
    write(fd, (void *)5, 10);
    write(fd, "", 0);
    write(99, "abc", 3);
    lseek(fd, 0, SEEK_SET), lseek(fd, -5, SEEK_SET), lseek(fd, 0, 77), lseek(fd, -1, SEEK_END);
    read(fd, buf, 10), read(fd, buf, 10), read(fd, (void *)1, 5), read(-1, buf, 5);
    pread(fd, buf, 100, 3), pwrite(fd, "zz", 2, 5);
    fstat(fd, &st), stat(".", &st), lstat("no\n\t\1\1772\"\\", &st), fstatat(AT_FDCWD, "/dev/null", &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
    S(SYS_stat, "new", &st), S(SYS_lstat, "new", 8), S(SYS_fstat, 99, &st), S(SYS_newfstatat, -100, "", buf, 0x1ffff);
    statx(AT_FDCWD, "new", AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MODE, &sx), statx(AT_FDCWD, "no", AT_STATX_FORCE_SYNC, STATX_ALL, &sx);
    S(SYS_statx, -100, 0, 0, 0, 0);
    struct statfs sf;
    statfs("/none", &sf);
    pipe2(p, O_CLOEXEC | O_NONBLOCK), S(SYS_pipe2, 1, 0);
    struct iovec v[3] = {{"hello", 5}, {"world world world world world world world world", 47}, {NULL, 0}}, w[2] = {{buf, 3}, {buf + 10, 1000}};
    writev(p[1], v, 3), readv(p[0], w, 2), readv(p[0], w, 2), writev(p[1], v, 0), writev(p[1], (void *)8, 3);
    v[0].iov_base = (void *)16, writev(p[1], v, 2), S(SYS_preadv, fd, w, 2, 1, 0), S(SYS_pwritev, fd, v + 1, 1, 7, 0);
    fcntl(fd, F_GETFD), fcntl(fd, F_SETFD, FD_CLOEXEC), fcntl(fd, F_GETFD), fcntl(fd, F_GETFL), fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK);
    fcntl(fd, F_DUPFD, 40), fcntl(fd, F_DUPFD_CLOEXEC, 40), fcntl(99, F_GETFL), S(SYS_fcntl, fd, 4711, 5), S(SYS_fcntl, -1, F_SETLK, 1);
    struct flock lock = {F_RDLCK, SEEK_SET, 0, 10, 0};
    fcntl(fd, F_SETLK, &lock), fcntl(fd, F_GETLK, &lock);
    flock(fd, LOCK_SH | LOCK_NB), flock(fd, LOCK_UN);
    int n = 0;
    ioctl(fd, TIOCGWINSZ, buf), ioctl(p[0], FIONREAD, &n), ioctl(p[0], FIONBIO, &n), ioctl(fd, 0x12345678, 7), ioctl(-1, 0xc0045430, 1);
    dup(fd), dup2(fd, 50), dup3(fd, 51, O_CLOEXEC), dup3(fd, fd, 0), close_range(60, 70, 4), close(50), close(999);
    mkdir("d", 0755), mkdirat(AT_FDCWD, "d", 01777), ftruncate(fd, 100), posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    chmod("new", 0600), fchmod(fd, 04711), fstat(fd, &st), fchmodat(AT_FDCWD, "new", 0644, 0), chown("new", -1, getuid()), fchown(fd, getuid(), -1);
    fchownat(AT_FDCWD, "new", -1, -1, AT_SYMLINK_NOFOLLOW);
    link("new", "l1"), symlink("new", "l2"), readlink("l2", buf, 100), readlink("new", buf, 100), readlinkat(AT_FDCWD, "l2", buf, 2);
    lstat("l2", &st), rename("l1", "l3"), renameat2(AT_FDCWD, "l3", AT_FDCWD, "l4", 1), linkat(AT_FDCWD, "l4", AT_FDCWD, "l5", AT_SYMLINK_FOLLOW);
    unlink("l2"), unlinkat(AT_FDCWD, "l4", 0), unlink("l5"), unlinkat(AT_FDCWD, "none", AT_REMOVEDIR), unlinkat(AT_FDCWD, "d", AT_REMOVEDIR);
    rmdir("d"), truncate("new", 5), S(SYS_creat, "new", 0600), access(".", R_OK | X_OK), access("none", F_OK);
    struct timespec t[2] = {{1, 2}, {0, UTIME_OMIT}};
    utimensat(AT_FDCWD, "new", t, 0), utimensat(fd, NULL, NULL, 0), t[0].tv_nsec = UTIME_NOW, utimensat(AT_FDCWD, "new", t, AT_SYMLINK_NOFOLLOW);
    mkfifo("f", 0600), S(SYS_mknod, "", 0170777, 5), S(SYS_mknod, "", 0, 5), S(SYS_mknod, "", 0100644, 5);
    off_t at = 0;
    write(fd, "0123456789", 10), lseek(fd, 0, SEEK_SET), S(SYS_sendfile, p[1], fd, &at, 5), S(SYS_sendfile, p[1], fd, NULL, 5);
    open(".", O_RDONLY | O_DIRECTORY), openat(fd, "x", O_PATH), openat(AT_FDCWD, "", O_WRONLY | O_SYNC), open((char *)1, 0);
    S(SYS_openat, -100, 0, 3 | O_DSYNC | O_NOCTTY), S(SYS_open, "", 0x7fffffff, 0777);
    S(SYS_getdents64, fd, buf, 4096), getcwd(buf, 1), umask(022), umask(0777), umask(0), umask(022), chdir("none"), fchdir(fd);
    int d = open(".", O_RDONLY);
    S(SYS_getdents64, d, buf, 4096), S(SYS_getdents64, d, buf, 4096), S(SYS_getdents64, d, buf, 4096);
    uint64_t how[3] = {O_CREAT | O_RDWR, 0644, 0};
    S(SYS_openat2, -1, "", buf, 3), how[0] = how[1] = 0, S(SYS_openat2, -100, "", how, 24);
}

static void memory(void)
{
    char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int i;
    mmap(0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK | MAP_GROWSDOWN, -1, 0), S(SYS_mmap, 1, 0, 0, 0, -1, 1);
    S(SYS_mmap, -1L, -1L, 8, 0xf, -1, -4096L), S(SYS_mmap, 1, 0, 0, 0x4000000, -1, 1), mmap(0, 4096, 3, MAP_SHARED, 77, 4096);
    mprotect(m, 8192, PROT_READ | PROT_EXEC), mprotect(m, 8192, PROT_READ | PROT_WRITE), S(SYS_mprotect, 1, -1L, 0xf0), S(SYS_mprotect, 1, -1L, 0x3000010);
    m = mremap(m, 8192, 16384, MREMAP_MAYMOVE), S(SYS_mremap, m, 4096, 1, 0x10), S(SYS_mremap, 1, 2, 3, 0xff, 5);
    for (i = 0; i <= 25; i++)
        S(SYS_madvise, 1, -1L, i);
    madvise(m + 4096, 4096, MADV_DONTNEED), S(SYS_msync, 1, 2, 0xff), S(SYS_msync, 1, 2, 0xf8), msync(m, 4096, MS_SYNC), S(SYS_mincore, 1, 2, 3);
    mlock(m, 100), munlock(m, 100), S(SYS_mlock2, 1, 1, 6), S(SYS_mlockall, 0xff), S(SYS_mlockall, 0);
    munmap(m, 16384), munmap((void *)1, 5), S(SYS_brk, 0), S(SYS_brk, 0x1000);
    S(SYS_pkey_mprotect, 1, 4096, 3, -1), S(SYS_membarrier, -1, 0, 0);
}

static void handler(int signal) { (void)signal; }

static void signals(void)
{
    static struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigset_t s, o;
    sigaddset(&sa.sa_mask, SIGINT), sigaddset(&sa.sa_mask, SIGTERM);
    sigaction(SIGUSR1, &sa, NULL), sigaction(SIGUSR1, &sa, &sa), signal(SIGPIPE, SIG_IGN), sigaction(SIGINT, NULL, &sa), sigaction(40, &sa, &sa);
    S(SYS_rt_sigaction, 99, &sa, &sa, 8), S(SYS_rt_sigaction, 9, &sa, 0, 8), S(SYS_rt_sigaction, 0, 1, 5, 8);
    sigemptyset(&s), sigaddset(&s, SIGUSR1), sigaddset(&s, SIGRTMIN + 1), sigaddset(&s, 64), sigprocmask(SIG_BLOCK, &s, &o);
    sigprocmask(SIG_SETMASK, &o, NULL), sigfillset(&s), sigprocmask(SIG_BLOCK, &s, &o), sigdelset(&s, SIGHUP), sigprocmask(SIG_BLOCK, &s, &o);
    sigpending(&s), sigprocmask(SIG_UNBLOCK, &o, &s), S(SYS_rt_sigprocmask, 55, &o, &s, 8), sigprocmask(0, NULL, &s);
    S(SYS_rt_sigprocmask, 0, &s, 0, 4);
    stack_t ss = {.ss_sp = buf, .ss_size = 4096};
    sigaltstack(&ss, NULL), ss.ss_flags = SS_DISABLE, sigaltstack(&ss, &ss), sigaltstack(NULL, &ss), S(SYS_sigaltstack, 1, 2);
    kill(getpid(), 0), S(SYS_kill, 0x7fffffffL, 64), S(SYS_kill, 0x7fffffffL, 32), S(SYS_kill, 0x7fffffffL, 34), S(SYS_tgkill, -1, 5, 9);
}

static void waiting(void)
{
    int p[2];
    struct pollfd f[3] = {{0, POLLIN | POLLOUT}, {-1, 0}, {77, POLLPRI}};
    struct timeval tv = {0, 1000};
    struct timespec ts = {0, 1000};
    fd_set r;
    pipe(p), f[0].fd = p[1];
    poll(f, 3, 0), poll(f, 1, 100), poll(NULL, 0, 1), f[0].events = 0, poll(f, 1, 1), S(SYS_poll, 0, 1, -5);
    FD_ZERO(&r);
    FD_SET(p[0], &r), S(SYS_select, 20, &r, NULL, NULL, &tv);
    FD_ZERO(&r);
    FD_SET(p[1], &r), S(SYS_select, 20, NULL, &r, NULL, NULL), S(SYS_select, 1, 1, 0, 0, 0), S(SYS_select, 0, 0, 0, 0, 1);
    S(SYS_pselect6, 20, 0, &r, 0, 0, 0), S(SYS_pselect6, 0, 0, 0, 0, &ts, 0), S(SYS_ppoll, 1, 1, 1, 1, 8);
    S(SYS_nanosleep, &ts, NULL), S(SYS_nanosleep, &ts, &ts), clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts), ts.tv_nsec = -1, S(SYS_nanosleep, &ts, 1);
    wait4(-1, 0, WNOHANG | WUNTRACED, NULL), waitpid(5, 0, 0);
}

static void others(void)
{
    struct timespec ts;
    struct rlimit rl = {1000 * 1024, RLIM_INFINITY};
    struct utsname un;
    int i;
    for (i = 0; i < 12; i++)
        if (i != 8 && i != 9)
            S(SYS_clock_gettime, i, 1);
    S(SYS_clock_gettime, 77, &ts), S(SYS_clock_getres, CLOCK_MONOTONIC, &ts), S(SYS_clock_getres, CLOCK_MONOTONIC, NULL);
    for (i = 0; i < 17; i++)
        S(SYS_getrlimit, i, 1);
    getrlimit(RLIMIT_STACK, &rl), S(SYS_getrlimit, RLIMIT_STACK, &rl), prlimit(0, RLIMIT_CORE, NULL, (void *)1), S(SYS_getrusage, 5, 1);
    uname(&un), S(SYS_uname, -1L), S(SYS_sysinfo, 1), prctl(PR_SET_NAME, "a name that is too long"), prctl(PR_GET_NAME, buf), prctl(PR_GET_DUMPABLE);
    prctl(PR_SET_DUMPABLE, 1), prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), S(SYS_prctl, 777, 1, 2, 3, 4);
    S(SYS_prctl, 15, 1), S(SYS_arch_prctl, 0x1003, buf), S(SYS_arch_prctl, 0x1001, 0), S(SYS_arch_prctl, 0x5001, 1);
    int f = 5;
    S(SYS_futex, &f, 128, 4, NULL), S(SYS_futex, &f, 1, 1), S(SYS_futex, &f, 10 | 128, 4, 0, 0, 0xff), S(SYS_futex, &f, 3, 1, 2, &i);
    S(SYS_getrandom, 1, 3, 0xff), S(SYS_getrandom, buf, 8, 1), S(SYS_getrandom, buf, 40, 0), getuid(), getpid(), getppid(), getpgrp(), getpgid(0), getsid(0);
    uid_t a, b, c;
    getresuid(&a, &b, &c), sched_yield(), S(SYS_getpriority, 3, 0), getpriority(PRIO_PROCESS, 0), S(SYS_personality, 0xffffffff);
    execve("none", (char *[]){"a", "b c", NULL}, (char *[]){"A=1", "B=2", NULL}), execve("none", NULL, NULL), S(SYS_execve, 3, 5, 7);
    S(SYS_set_robust_list, buf, 24), S(SYS_set_tid_address, &i), S(499, 1L, 2L, 3L, 4L, 5L, 6L), S(SYS_getgroups, -1, 1);
    S(SYS_setresgid, -1, -1, -1), S(SYS_getitimer, 9, 1);
}

static void more(void)
{
    unsigned head[2] = {0x20080522, 0}, caps[6];
    char status[500];
    struct iovec v[2] = {{"first", 5}, {"second", 6}}, w[2] = {{buf, 3}, {buf + 10, 1000}};
    struct timespec now = {0, 0};
    struct itimerspec later = {{0, 0}, {1000, 0}};
    siginfo_t info;
    sigset_t set;
    int id = S(SYS_shmget, 0, 4096, 0600 | 01000), timer = 0;
    void *at = (void *)S(SYS_shmat, id, 0, 0);
    S(SYS_shmat, id, at, 010000 | 020000), S(SYS_shmdt, at), S(SYS_shmctl, id, 2, status), S(SYS_shmctl, id, 0, 0), S(SYS_shmget, 0x123456, 100, 0);
    S(SYS_shmdt, 1);
    S(SYS_process_vm_readv, getpid(), w, 2, v, 2, 0), S(SYS_process_vm_writev, getpid(), v, 1, w, 1, 0), S(SYS_process_vm_readv, 1 << 30, w, 2, v, 2, 0);
    S(SYS_capget, head, caps), S(SYS_capget, head, 0), head[0] = 1, S(SYS_capget, head, caps);
    S(SYS_timer_create, CLOCK_MONOTONIC, 0, &timer), S(SYS_timer_settime, timer, 0, &later, NULL), S(SYS_timer_settime, timer, 0, &(struct itimerspec){0}, 0);
    S(SYS_timer_gettime, timer, &later), S(SYS_timer_getoverrun, timer), S(SYS_timer_delete, timer), S(SYS_timer_delete, 77);
    S(SYS_timer_create, CLOCK_REALTIME, &(struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1}, &timer);
    sigemptyset(&set), sigaddset(&set, SIGUSR2), sigprocmask(SIG_BLOCK, &set, 0), raise(SIGUSR2), S(SYS_rt_sigtimedwait, &set, &info, &now, 8);
    S(SYS_rt_sigtimedwait, &set, &info, &now, 8), S(SYS_rt_sigtimedwait, &set, 0, 1, 8);
    at = mmap((void *)0x20000000, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    *(volatile char *)at = 1, S(SYS_mincore, at, 8 * 4096, buf), S(SYS_mincore, at, 0, buf), S(SYS_mincore, at, 40 * 4096, buf);
    S(SYS_remap_file_pages, at, 4096, 0, 1, 0), S(SYS_remap_file_pages, 1, 2, 3, 4, 0x10000), madvise(at, 4096, MADV_HUGEPAGE);
    prctl(0x53564d41, 0, at, 4096, "a name"), prctl(0x53564d41, 0, at, 4096, 0), S(SYS_mremap, at, 4096, 4096, 3, (char *)at + 65536);
    memfd_create("memory", 3), fcntl(memfd_create("second", 2), F_ADD_SEALS, 1), S(SYS_memfd_create, "x", 0x40000000), fcntl(99, F_GET_SEALS);
    prctl(PR_SET_PDEATHSIG, SIGKILL), prctl(PR_GET_PDEATHSIG, &timer), prctl(PR_GET_KEEPCAPS), prctl(PR_GET_SECCOMP), prctl(PR_CAPBSET_READ, 3);
    S(SYS_pidfd_open, -1, 0), S(SYS_process_madvise, -1, 0, 1, 20, 0);
}

static void events(void)
{
    struct epoll_event one = {EPOLLIN | EPOLLOUT | EPOLLET | 0x4000000, {.u64 = 0x1234567890}}, found[2];
    struct itimerspec later = {{1, 2}, {3, 4}};
    int ep = epoll_create1(EPOLL_CLOEXEC), ends[2], timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGUSR2);
    S(SYS_epoll_create1, 0x41), S(SYS_epoll_create1, 0), pipe(ends);
    S(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, ends[1], &one), one.events = EPOLLIN | EPOLLONESHOT, S(SYS_epoll_ctl, ep, EPOLL_CTL_MOD, ends[1], &one);
    S(SYS_epoll_ctl, ep, EPOLL_CTL_DEL, ends[0], &one), S(SYS_epoll_ctl, ep, EPOLL_CTL_DEL, ends[0], 0), S(SYS_epoll_ctl, ep, 7, ends[0], &one);
    S(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, ends[0], 0), S(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, ends[0], 8), S(SYS_epoll_pwait, ep, found, 2, 0, 0, 8);
    one.events = EPOLLOUT, S(SYS_epoll_ctl, ep, EPOLL_CTL_MOD, ends[1], &one), S(SYS_epoll_pwait, ep, found, 2, -1, &set, 8);
    S(SYS_epoll_pwait, ep, 0, 2, 0, 8, 4), S(SYS_epoll_pwait, 99, found, 2, 0, 0, 8);
    S(SYS_timerfd_create, 77, 4), S(SYS_timerfd_settime, timer, 0, &later, 0), S(SYS_timerfd_settime, timer, 3, &(struct itimerspec){0}, 0);
    S(SYS_timerfd_gettime, timer, &later), S(SYS_timerfd_gettime, 99, &later), S(SYS_timerfd_settime, 99, 5, 8, &later);
    unsigned long nodes[2] = {1, 0};
    void *places[2] = {memory, (void *)8};
    int status[2] = {0, 0};
    S(SYS_set_mempolicy, 2 | 1 << 15, nodes, 65), S(SYS_get_mempolicy, status, nodes, 64, 0, 4), S(SYS_set_mempolicy, 0, 0, 0), S(SYS_set_mempolicy, 99, 8, 1);
    S(SYS_mbind, 0x30000000, 4096, 2, nodes, 64, 3), S(SYS_mbind, 0x30000000, 4096, 3 | 1 << 14, nodes, 128, 8), S(SYS_migrate_pages, 0, 64, nodes, nodes);
    S(SYS_move_pages, 0, 2, places, status, status, 2), S(SYS_move_pages, 0, 0, places, 0, 0, 9), S(SYS_set_mempolicy_home_node, 4096, 1, 2, 3);
    S(SYS_kcmp, 0, 0, 0, 1, 1), S(SYS_kcmp, 0, 0, 1, 1, 1), S(SYS_kcmp, 0, 0, 7, 1, status), S(SYS_kcmp, 0, 0, 9, 1, 1), S(SYS_pidfd_getfd, 99, 1, 1);
    S(SYS_signalfd4, -1, &set, 8, 0x80800), S(SYS_signalfd4, 99, &set, 8, 1), S(SYS_signalfd4, -1, 8, 8, 0);
}

int main(void)
{
    files(), memory(), signals(), waiting(), others(), more(), events();
    return 3;
}
