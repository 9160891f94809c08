/* Section 1.16: timerfd and signalfd: arguments, what is read, what poll and epoll say, what fdinfo shows. */
#include "fact.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

static const char *events(int fd) {
    struct pollfd one = {fd, POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM, 0};
    poll(&one, 1, 0);
    return text("%#x", one.revents);
}

static void nap(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, 0);
}

static long settimer(int fd, int flags, long value, long interval, struct itimerspec *old) { /* in milliseconds */
    struct itimerspec new = {{interval / 1000, interval % 1000 * 1000000}, {value / 1000, value % 1000 * 1000000}};
    return sc(SYS_timerfd_settime, fd, flags, &new, old);
}

static void kinds(int fd, const char *what) {
    struct stat status;
    int ep = epoll_create1(0);
    fstat(fd, &status);
    K("1.16", text("%o", status.st_mode), "mode of %s", what);
    long n = sc(SYS_readlinkat, AT_FDCWD, text("/proc/self/fd/%d", fd), procbuf, 100L);
    procbuf[n > 0 ? n : 0] = 0;
    K("1.16", text("%s", procbuf), "name of %s", what);
    K("1.16", text("%#x %d", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD)), "flags of %s", what);
    K("1.16", said(sc(SYS_write, fd, procbuf, 200L)), "write to %s", what);
    K("1.16", said(sc(SYS_read, fd, procbuf, 0L)), "read of nothing of %s", what);
    K("1.16", said(sc(SYS_read, fd, procbuf, 7L)), "read of 7 bytes of %s", what);
    K("1.16", said(sc(SYS_read, fd, procbuf, 127L)), "read of 127 bytes of %s", what);
    K("1.16", said(sc(SYS_pread64, fd, procbuf, 200L, 0L)), "pread of %s", what);
    K("1.16", said(sc(SYS_pwrite64, fd, procbuf, 200L, 0L)), "pwrite to %s", what);
    K("1.16", said(sc(SYS_lseek, fd, 5L, SEEK_SET)), "lseek of %s", what);
    K("1.16", said(sc(SYS_ftruncate, fd, 5L)), "ftruncate of %s", what);
    K("1.16", said(sc(SYS_fsync, fd)), "fsync of %s", what);
    K("1.16", said(map_at(0, PG, R, SHAR, fd, 0)), "mmap of %s", what);
    K("1.16", said(sc(SYS_ioctl, fd, 0x541b, procbuf)), "FIONREAD of %s", what);
    K("1.16", said(sc(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){EPOLLIN})), "epoll of %s", what);
    K("1.16", said(sc(SYS_sendfile, 1, fd, 0L, 8L)), "sendfile of %s", what);
    int ends[2];
    pipe(ends);
    K("1.16", said(sc(SYS_splice, fd, 0L, ends[1], 0L, 8L, 0)), "splice of %s", what);
    close(ends[0]), close(ends[1]), close(ep);
}

static void timers(void) {
    struct itimerspec old = {{7, 7}, {7, 7}}, bad = {{0, 1000000000}, {0, 1}}, bad2 = {{0, 0}, {-1, 0}};
    uint64_t ticks = 77;
    for (int clock = -3; clock < 13; clock++)
        if (clock != 8 && clock != 9) {
            int fd = (int)sc(SYS_timerfd_create, clock, 0);
            K("1.16", said(fd < 0 ? fd : 0), "timer on clock %d", clock);
            if (fd >= 0) close(fd);
        }
    F("1.16", sc(SYS_timerfd_create, 1, 1));
    F("1.16", sc(SYS_timerfd_create, 55, 1));
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), wait = timerfd_create(CLOCK_REALTIME, 0), count = eventfd(0, 0);
    kinds(fd, "a timer");
    area(3);
    map(0, 1, RW);
    map(2, 1, R);
    F("1.16", sc(SYS_timerfd_settime, 99, 0, &old, 0L));
    F("1.16", sc(SYS_timerfd_settime, count, 0, &old, 0L));
    F("1.16", sc(SYS_timerfd_settime, 99, 4, &old, 0L));
    F("1.16", sc(SYS_timerfd_settime, 99, 0, &bad, 0L));
    F("1.16", sc(SYS_timerfd_settime, fd, 0, &bad2, 0L));
    F("1.16", sc(SYS_timerfd_settime, 99, 4, P(1), 0L));
    F("1.16", sc(SYS_timerfd_settime, fd, 0, P(1) - 24, 0L));
    F("1.16", sc(SYS_timerfd_settime, fd, 0, 0L, 0L));
    F("1.16", sc(SYS_timerfd_gettime, 99, P(1)));
    F("1.16", sc(SYS_timerfd_gettime, count, P(1)));
    F("1.16", sc(SYS_timerfd_gettime, fd, P(1)));
    F("1.16", sc(SYS_timerfd_gettime, fd, P(2)));
    F("1.16", sc(SYS_timerfd_gettime, fd, &old));
    V("1.16", "a stopped timer", "%ld %ld %ld %ld", old.it_interval.tv_sec, old.it_interval.tv_nsec, old.it_value.tv_sec, old.it_value.tv_nsec);
    F("1.16", sc(SYS_read, fd, &ticks, 8L));
    K("1.16", events(fd), "a stopped timer, polled");
    F("1.16", settimer(fd, 0, 100000, 5000, &old));
    F("1.16", sc(SYS_timerfd_settime, fd, 0, &(struct itimerspec){{3, 4}, {200, 0}}, P(1)));
    F("1.16", sc(SYS_timerfd_gettime, fd, &old));
    V("1.16", "a running timer", "%ld %ld %d", old.it_interval.tv_sec, old.it_interval.tv_nsec, old.it_value.tv_sec == 199);
    F("1.16", settimer(fd, 0, 1, 0, &old));
    nap(5);
    K("1.16", events(fd), "polled after its time");
    F("1.16", sc(SYS_timerfd_gettime, fd, &old));
    V("1.16", "after its time", "%ld %ld %ld %ld", old.it_interval.tv_sec, old.it_interval.tv_nsec, old.it_value.tv_sec, old.it_value.tv_nsec);
    F("1.16", sc(SYS_read, fd, P(1), 8L));
    F("1.16", sc(SYS_read, fd, &ticks, 8L));
    F("1.16", settimer(fd, TFD_TIMER_ABSTIME, 1, 0, 0));
    nap(2);
    F("1.16", sc(SYS_read, fd, P(1) - 4, 8L));
    F("1.16", sc(SYS_read, fd, &ticks, 8L));
    F("1.16", settimer(fd, TFD_TIMER_ABSTIME, 1, 0, 0));
    nap(2);
    F("1.16", sc(SYS_read, fd, P(1) - 8, 20L));
    F("1.16", settimer(fd, 0, 1, 0, 0));
    nap(5);
    F("1.16", settimer(fd, 0, 1000000, 0, 0));
    F("1.16", sc(SYS_read, fd, &ticks, 8L));
    F("1.16", settimer(fd, TFD_TIMER_ABSTIME, 1, 1000000000, 0));
    nap(2);
    F("1.16", sc(SYS_read, fd, &ticks, 8L));
    V("1.16", "ticks of a long interval", "%lu", ticks);
    F("1.16", settimer(fd, 0, 5, 5, 0));
    nap(60);
    F("1.16", sc(SYS_read, fd, &ticks, 8L));
    V("1.16", "several ticks", "%d", ticks > 5);
    F("1.16", settimer(wait, 0, 10, 0, 0));
    F("1.16", sc(SYS_read, wait, &ticks, 8L));
    V("1.16", "waited for", "%lu", ticks);
    struct iovec two[2] = {{&ticks, 4}, {(char *)&ticks + 4, 90}}, small = {&ticks, 4};
    F("1.16", settimer(wait, 0, 10, 0, 0));
    F("1.16", sc(SYS_readv, wait, two, 2L));
    V("1.16", "in two parts", "%lu", ticks);
    F("1.16", sc(SYS_readv, wait, &small, 1L));
    F("1.16", sc(SYS_readv, wait, &small, 0L));
    F("1.16", settimer(wait, TFD_TIMER_CANCEL_ON_SET | TFD_TIMER_ABSTIME, 1, 0, 0));
    F("1.16", sc(SYS_read, wait, &ticks, 8L));
    F("1.16", settimer(wait, 0, 0, 0, 0));
    int ep = epoll_create1(0);
    struct epoll_event one = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
    F("1.16", epoll_ctl(ep, EPOLL_CTL_ADD, wait, &one));
    F("1.16", epoll_wait(ep, &one, 1, 0));
    F("1.16", settimer(wait, 0, 10, 10, 0));
    F("1.16", epoll_wait(ep, &one, 1, 2000));
    F("1.16", epoll_wait(ep, &one, 1, 2000));
    V("1.16", "events of a timer", "%#x", one.events);
    F("1.16", settimer(wait, 0, 0, 3000, 0));
    slurp(text("/proc/self/fdinfo/%d", wait));
    for (char *at = strstr(procbuf, "clockid"), *end; at && (end = strchr(at, '\n')); at = end + 1) V("1.16", "shown of a timer", "%.*s", (int)(end - at), at);
}

/* ------------------------------------------------------------------ signals */
static sigset_t set_of(int a, int b) {
    sigset_t set;
    sigemptyset(&set);
    if (a) sigaddset(&set, a);
    if (b) sigaddset(&set, b);
    return set;
}

static const char *taken(int fd) {
    struct signalfd_siginfo info;
    memset(&info, 0x55, sizeof info);
    long r = sc(SYS_read, fd, &info, sizeof info);
    if (r < 0) return ename(-r);
    int clean = 1;
    for (char *at = info.__pad; at < (char *)(&info + 1); at++) clean &= !*at;
    return text("%ld: %u errno %d code %d pid %d uid %u fd %d tid %u band %u overrun %u trap %u status %d int %d ptr %#lx times %lu %lu addr %#lx lsb %u %s",
                r, info.ssi_signo, info.ssi_errno, info.ssi_code, info.ssi_pid == (unsigned)getpid() ? 1 : (int)info.ssi_pid, info.ssi_uid, info.ssi_fd,
                info.ssi_tid, info.ssi_band, info.ssi_overrun, info.ssi_trapno, info.ssi_status, info.ssi_int, (unsigned long)info.ssi_ptr,
                (unsigned long)info.ssi_utime, (unsigned long)info.ssi_stime, (unsigned long)info.ssi_addr, info.ssi_addr_lsb, clean ? "clean" : "dirty");
}

static void on_signal(int signal) { fault_sig++; }

static void arguments(void) {
    sigset_t usr = set_of(SIGUSR1, SIGUSR2), all;
    sigfillset(&all);
    area(2);
    map(0, 1, RW);
    int count = eventfd(0, 0), fd = (int)sc(SYS_signalfd4, -1, &usr, 8L, SFD_NONBLOCK | SFD_CLOEXEC);
    kinds(fd, "a signalfd");
    F("1.16", sc(SYS_signalfd4, -1, &usr, 4L, 0));
    F("1.16", sc(SYS_signalfd4, -1, &usr, 16L, 0));
    F("1.16", sc(SYS_signalfd4, -1, P(1), 8L, 0));
    F("1.16", sc(SYS_signalfd4, -1, P(1), 8L, 1));
    F("1.16", sc(SYS_signalfd4, -1, &usr, 8L, 1));
    F("1.16", sc(SYS_signalfd4, -2, &usr, 8L, 0));
    F("1.16", sc(SYS_signalfd4, 99, &usr, 8L, 0));
    F("1.16", sc(SYS_signalfd4, 99, &usr, 8L, 1));
    F("1.16", sc(SYS_signalfd4, count, &usr, 8L, 0));
    F("1.16", sc(SYS_signalfd4, fd, &all, 8L, 0) == fd);
    slurp(text("/proc/self/fdinfo/%d", fd));
    V("1.16", "mask", "%s", strstr(procbuf, "sigmask"));
    F("1.16", sc(SYS_signalfd4, fd, &usr, 8L, SFD_CLOEXEC) == fd);
    slurp(text("/proc/self/fdinfo/%d", fd));
    V("1.16", "mask again", "%s", strstr(procbuf, "sigmask"));
    V("1.16", "flags still", "%#x", fcntl(fd, F_GETFL));
    close(fd), close(count);
}

static void reading(void) {
    sigset_t usr = set_of(SIGUSR1, SIGUSR2), one = set_of(SIGUSR1, 0), rt = set_of(SIGRTMIN, SIGALRM), pending;
    union sigval value = {.sival_ptr = (void *)0x1234567890ab};
    struct signalfd_siginfo many[4];
    sigprocmask(SIG_BLOCK, &usr, 0);
    sigprocmask(SIG_BLOCK, &rt, 0);
    int fd = signalfd(-1, &usr, SFD_NONBLOCK), timed = signalfd(-1, &rt, SFD_NONBLOCK);
    K("1.16", events(fd), "polled, none pending");
    K("1.16", taken(fd), "none");
    kill(getpid(), SIGUSR1);
    K("1.16", events(fd), "polled, one pending");
    K("1.16", events(timed), "polled for others");
    K("1.16", taken(timed), "others");
    K("1.16", taken(fd), "one by kill");
    K("1.16", events(fd), "polled, none left");
    raise(SIGUSR2);
    K("1.16", taken(fd), "one by tgkill");
    sigqueue(getpid(), SIGRTMIN, value);
    value.sival_int = -5;
    sigqueue(getpid(), SIGRTMIN, value);
    K("1.16", taken(timed), "one that was queued");
    K("1.16", taken(timed), "the next that was queued");
    K("1.16", taken(timed), "no more");
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value = {.sival_int = 99}};
    struct itimerspec soon = {{0, 0}, {0, 1000000}};
    F("1.16", timer_create(CLOCK_MONOTONIC, &event, &timer));
    timer_settime(timer, 0, &soon, 0);
    nap(10);
    const char *seen = taken(timed), *at = strstr(seen, "band");
    V("1.16", "a timer's", "%.20s %s", seen, at ? at : "");
    struct itimerval alarm = {{0, 0}, {0, 1000}};
    setitimer(ITIMER_REAL, &alarm, 0);
    nap(10);
    K("1.16", taken(timed), "an alarm");
    raise(SIGUSR2), kill(getpid(), SIGUSR1), raise(SIGUSR1);
    F("1.16", sc(SYS_read, fd, many, sizeof many));
    V("1.16", "in order", "%d %d %d", many[0].ssi_signo, many[1].ssi_signo, many[2].ssi_signo);
    raise(SIGUSR2), raise(SIGUSR1);
    F("1.16", sc(SYS_read, fd, many, 200L));
    sigpending(&pending);
    V("1.16", "pending after a short read", "%d %d", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2));
    F("1.16", signalfd(fd, &one, 0) == fd);
    K("1.16", events(fd), "polled with another mask");
    F("1.16", signalfd(fd, &usr, 0) == fd);
    K("1.16", events(fd), "polled with the old mask");
    area(3);
    map(0, 1, RW);
    raise(SIGUSR1);
    F("1.16", sc(SYS_read, fd, P(1) - 200, 256L));
    K("1.16", taken(fd), "after a fault at the second");
    raise(SIGUSR1);
    F("1.16", sc(SYS_read, fd, P(1) - 100, 128L));
    K("1.16", taken(fd), "after a fault at the first");
    signal(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    K("1.16", taken(fd), "ignored and blocked");
    signal(SIGUSR1, SIG_DFL);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    K("1.16", events(fd), "polled after it is ignored");
    K("1.16", taken(fd), "pending, then ignored");
    signal(SIGUSR1, on_signal);
    fault_sig = 0;
    raise(SIGUSR1);
    sigprocmask(SIG_UNBLOCK, &one, 0);
    V("1.16", "handled", "%d", fault_sig);
    K("1.16", taken(fd), "after it was handled");
    raise(SIGUSR1);
    V("1.16", "handled, not blocked", "%d", fault_sig);
    K("1.16", events(fd), "not blocked");
    sigprocmask(SIG_BLOCK, &one, 0);
}

static void waiting(void) {
    sigset_t usr = set_of(SIGUSR1, SIGALRM);
    struct itimerval soon = {{0, 0}, {0, 20000}};
    struct epoll_event one = {.events = EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLET};
    struct sigaction action = {.sa_handler = on_signal};
    sigprocmask(SIG_BLOCK, &usr, 0);
    int fd = signalfd(-1, &usr, 0), ep = epoll_create1(0);
    setitimer(ITIMER_REAL, &soon, 0);
    K("1.16", taken(fd), "waited for an alarm");
    setitimer(ITIMER_REAL, &soon, 0);
    struct pollfd polled = {fd, POLLIN, 0};
    F("1.16", poll(&polled, 1, 2000));
    F("1.16", poll(&polled, 1, 0));
    K("1.16", taken(fd), "after a poll");
    F("1.16", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &one));
    F("1.16", epoll_wait(ep, &one, 1, 0));
    raise(SIGUSR1);
    F("1.16", epoll_wait(ep, &one, 1, 0));
    V("1.16", "events", "%#x", one.events);
    F("1.16", epoll_wait(ep, &one, 1, 0));
    setitimer(ITIMER_REAL, &soon, 0);
    F("1.16", epoll_wait(ep, &one, 1, 2000));
    F("1.16", epoll_wait(ep, &one, 1, 0));
    K("1.16", taken(fd), "the first");
    K("1.16", taken(fd), "the second");
    F("1.16", epoll_wait(ep, &one, 1, 0));
    sigset_t none;
    sigemptyset(&none);
    sigaction(SIGALRM, &action, 0);
    sigprocmask(SIG_UNBLOCK, &usr, 0);
    fault_sig = 0;
    setitimer(ITIMER_REAL, &soon, 0);
    K("1.16", taken(fd), "interrupted by a signal that is not blocked");
    V("1.16", "handled then", "%d", fault_sig);
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, 0);
    sigset_t first = set_of(SIGUSR1, 0);
    sigprocmask(SIG_BLOCK, &first, 0);
    setitimer(ITIMER_REAL, &soon, 0);
    F("1.16", epoll_wait(ep, &one, 1, 1000));
    V("1.16", "handled at last", "%d", fault_sig);
    signal(SIGALRM, SIG_DFL);
    close(fd), close(ep);
}

SHEET(SECTION(timers), SECTION(arguments), SECTION(reading), SECTION(waiting))
