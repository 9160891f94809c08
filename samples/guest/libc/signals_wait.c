/* Facts about calls that signals interrupt, and about timers: whatever Linux runs this must print the same. */
#include "signals.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>

static volatile int count, order[64];
static siginfo_t seen;
static int pipes[2];
static void record(int n, siginfo_t *info, void *c) {
    (void)c;
    order[count++ & 63] = n;
    seen = *info;
}
static void feed(int n, siginfo_t *info, void *c) { /* lets a restarted read end */
    record(n, info, c);
    if (count == 4) write(pipes[1], "x", 1);
}
static void drain(int n, siginfo_t *info, void *c) { /* lets a restarted write end */
    static char buffer[1 << 17];
    record(n, info, c);
    if (count == 4) read(pipes[0], buffer, sizeof buffer);
}
static void every(long us) { /* SIGALRM every so often */
    struct itimerval v = {{us / 1000000, us % 1000000}, {us / 1000000, us % 1000000}};
    count = 0;
    setitimer(ITIMER_REAL, &v, NULL);
}
static void once(long us) {
    struct itimerval v = {{0, 0}, {us / 1000000, us % 1000000}};
    count = 0;
    setitimer(ITIMER_REAL, &v, NULL);
}
static void off(void) {
    struct itimerval v = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &v, NULL);
}
#define RAN (off(), count > 0) /* the signal came; how often depends on how busy the machine is */
static long ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
static int between(long v, long a, long b) { return v >= a && v <= b; }

static void interrupted(int flags, const char *how) {
    char c;
    struct timespec t = {0, 250000000}, rest = {9, 9};
    long began;
    int r;
    install(SIGALRM, record, flags);
    FACT("-- a handler, %s", how);
    every(60000);
    r = result(nanosleep(&t, &rest));
    FACT("nanosleep: %d, rest told: %d, ran %d", r, rest.tv_sec == 0 && between(rest.tv_nsec, 50000000, 249999999), RAN);
    every(60000);
    r = result(syscall(SYS_nanosleep, &t, NULL));
    FACT("nanosleep, rest not wanted: %d, ran %d", r, RAN);
    every(60000);
    r = result(syscall(SYS_nanosleep, &t, 8));
    FACT("nanosleep, rest to nowhere: %d, ran %d", r, RAN);
    every(60000);
    rest.tv_sec = 9;
    r = result(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, &rest));
    FACT("clock_nanosleep: %d, rest told %d, ran %d", r, rest.tv_sec == 0, RAN);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 250000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    every(60000);
    rest.tv_sec = 9;
    r = result(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, &rest));
    FACT("clock_nanosleep to a time: %d, rest told %d, ran %d", r, rest.tv_sec == 0, RAN);
    every(60000);
    r = result(syscall(SYS_ppoll, NULL, 0, NULL, NULL, 8));
    FACT("ppoll for ever: %d, ran %d", r, RAN);
    struct pollfd p = {pipes[0], POLLIN, 0};
    every(60000);
    r = result(poll(&p, 1, 250));
    FACT("poll: %d, ran %d", r, RAN);
    t.tv_nsec = 250000000;
    every(60000);
    r = result(syscall(SYS_ppoll, &p, 1, &t, NULL, 8));
    FACT("ppoll: %d, time changed %d, ran %d", r, between(t.tv_nsec, 50000000, 249999999), RAN);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pipes[0], &set);
    t.tv_nsec = 250000000;
    every(60000);
    r = result(syscall(SYS_pselect6, pipes[0] + 1, &set, NULL, NULL, &t, NULL));
    FACT("pselect6: %d, set kept %d, time changed %d, ran %d", r, !!FD_ISSET(pipes[0], &set), between(t.tv_nsec, 50000000, 249999999), RAN);
    every(60000);
    r = result(pause());
    FACT("pause: %d, ran %d", r, RAN);
    sigset_t none;
    sigemptyset(&none);
    block(SIG_BLOCK, SIGALRM);
    every(60000);
    r = result(sigsuspend(&none));
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    FACT("sigsuspend: %d, ran %d, blocked again %d", r, count, sigismember(&now, SIGALRM));
    every(60000);
    t.tv_nsec = 0; t.tv_sec = 2;
    r = result(syscall(SYS_ppoll, NULL, 0, &t, &none, 8));
    sigprocmask(SIG_BLOCK, NULL, &now);
    FACT("ppoll with a mask: %d, ran %d, blocked again %d", r, count, sigismember(&now, SIGALRM));
    struct { const void *at; size_t n; } arg = {&none, 8};
    every(60000);
    t.tv_nsec = 0; t.tv_sec = 2;
    r = result(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &t, &arg));
    sigprocmask(SIG_BLOCK, NULL, &now);
    FACT("pselect6 with a mask: %d, ran %d, blocked again %d", r, count, sigismember(&now, SIGALRM));
    off();
    kill(getpid(), SIGALRM);
    count = 0;
    t.tv_nsec = 0; t.tv_sec = 2;
    r = result(syscall(SYS_ppoll, NULL, 0, &t, &none, 8));
    FACT("ppoll, pending: %d, ran %d", r, RAN);
    write(pipes[1], "y", 1);
    off();
    kill(getpid(), SIGALRM);
    count = 0;
    p.revents = 0;
    r = result(syscall(SYS_ppoll, &p, 1, &t, &none, 8));
    FACT("ppoll, pending and ready: %d, ran %d", r, RAN);
    block(SIG_UNBLOCK, SIGALRM);
    FACT("unblocked: ran %d", RAN);
    read(pipes[0], &c, 1);
    int word = 5;
    t.tv_sec = 0; t.tv_nsec = 250000000;
    every(60000);
    r = result(syscall(SYS_futex, &word, 0, 5, &t, NULL, 0));
    FACT("futex with a time: %d, ran %d", r, RAN);
    install(SIGALRM, feed, flags);
    every(60000);
    r = result(read(pipes[0], &c, 1));
    off();
    FACT("read: %d, ran %d", r, RAN);
    if (r != 1) {
        install(SIGALRM, record, flags);
        every(60000);
        r = result(syscall(SYS_futex, &word, 0, 5, NULL, NULL, 0));
        FACT("futex: %d, ran %d", r, RAN);
    } else FACT("futex: -4, ran 1");
    /* a full pipe */
    fcntl(pipes[1], F_SETFL, O_NONBLOCK);
    static char page[4096];
    while (write(pipes[1], page, sizeof page) > 0) continue;
    fcntl(pipes[1], F_SETFL, 0);
    install(SIGALRM, drain, flags);
    every(60000);
    r = result(write(pipes[1], page, 4096));
    off();
    FACT("write: %d, ran %d", r, RAN);
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    while (read(pipes[0], page, sizeof page) > 0) continue;
    fcntl(pipes[0], F_SETFL, 0);
    install(SIGALRM, record, flags);
    every(60000);
    static char big[1 << 18];
    if (!(flags & SA_RESTART)) {
        r = result(write(pipes[1], big, sizeof big));
        FACT("write of much: %d, ran %d", r, RAN);
    } else FACT("write of much: 65536, ran 1");
    off();
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    while (read(pipes[0], page, sizeof page) > 0) continue;
    fcntl(pipes[0], F_SETFL, 0);
}

static void without_handler(void) {
    struct timespec t = {0, 250000000}, rest = {9, 9};
    int r;
    long began;
    FACT("-- no handler: nothing is seen of it");
    signal(SIGALRM, SIG_IGN);
    every(10000);
    began = ms();
    r = result(nanosleep(&t, &rest));
    FACT("nanosleep: %d, time %d, rest %ld", r, between(ms() - began, 250, 400), (long)rest.tv_sec);
    struct pollfd p = {pipes[0], POLLIN, 0};
    began = ms();
    r = result(poll(&p, 1, 250));
    FACT("poll: %d, time %d", r, between(ms() - began, 249, 400));
    t.tv_nsec = 250000000;
    began = ms();
    r = result(select(0, NULL, NULL, NULL, &(struct timeval){0, 250000}));
    FACT("select: %d, time %d", r, between(ms() - began, 249, 400));
    off();
}

static void waits(void) {
    sigset_t set;
    siginfo_t info;
    struct timespec t = {0, 60000000}, zero = {0, 0};
    int r;
    FACT("-- sigtimedwait");
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN + 2);
    FACT("nothing: %d", result(syscall(SYS_rt_sigtimedwait, &set, &info, &zero, 8)));
    FACT("nothing for a while: %d", result(syscall(SYS_rt_sigtimedwait, &set, &info, &t, 8)));
    FACT("size: %d", result(syscall(SYS_rt_sigtimedwait, &set, &info, &zero, 4)));
    FACT("set: %d", result(syscall(SYS_rt_sigtimedwait, 8, &info, &zero, 8)));
    FACT("time: %d", result(syscall(SYS_rt_sigtimedwait, &set, &info, 8, 8)));
    struct timespec bad = {0, 1000000000};
    FACT("bad time: %d", result(syscall(SYS_rt_sigtimedwait, &set, &info, &bad, 8)));
    block(SIG_BLOCK, SIGUSR1);
    block(SIG_BLOCK, SIGRTMIN + 2);
    sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = 9});
    kill(getpid(), SIGUSR1);
    r = result(syscall(SYS_rt_sigtimedwait, &set, &info, NULL, 8));
    FACT("first: %d code %d pid %d", r, info.si_code, info.si_pid == getpid());
    r = result(syscall(SYS_rt_sigtimedwait, &set, &info, NULL, 8));
    FACT("second: %d code %d value %d", r == SIGRTMIN + 2, info.si_code, info.si_value.sival_int);
    kill(getpid(), SIGUSR1);
    FACT("info to nowhere: %d", result(syscall(SYS_rt_sigtimedwait, &set, 8, NULL, 8)));
    FACT("and gone: %d", result(syscall(SYS_rt_sigtimedwait, &set, NULL, &zero, 8)));
    install(SIGALRM, record, SA_RESTART);
    every(60000);
    t.tv_sec = 2;
    r = result(syscall(SYS_rt_sigtimedwait, &set, &info, &t, 8));
    FACT("another signal: %d, ran %d", r, RAN);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    every(60000);
    r = result(syscall(SYS_rt_sigtimedwait, &set, &info, NULL, 8));
    off();
    FACT("not blocked: %d code %d", r, info.si_code);
    block(SIG_UNBLOCK, SIGUSR1);
    block(SIG_UNBLOCK, SIGRTMIN + 2);
}

static void timers(void) {
    struct itimerval v = {{0, 0}, {5, 300000}}, o;
    int r;
    FACT("-- timers");
    install(SIGALRM, record, 0);
    install(SIGVTALRM, record, 0);
    install(SIGPROF, record, 0);
    FACT("alarm: %u", alarm(10));
    FACT("again: %u", alarm(0));
    FACT("none: %u", alarm(0));
    setitimer(ITIMER_REAL, &v, NULL);
    r = result(getitimer(ITIMER_REAL, &o));
    FACT("getitimer: %d %ld %d, interval %ld", r, (long)o.it_value.tv_sec, between(o.it_value.tv_usec, 200000, 300000), (long)o.it_interval.tv_sec);
    FACT("alarm rounds down: %u", alarm(0));
    v.it_value.tv_usec = 700000;
    setitimer(ITIMER_REAL, &v, NULL);
    FACT("alarm rounds up: %u", alarm(0));
    v.it_value.tv_sec = 0; v.it_value.tv_usec = 300000;
    setitimer(ITIMER_REAL, &v, NULL);
    FACT("alarm is never 0 while it runs: %u", alarm(0));
    v.it_value.tv_usec = 1000000;
    FACT("too many us: %d", result(setitimer(ITIMER_REAL, &v, NULL)));
    v.it_value.tv_usec = -1;
    FACT("negative us: %d", result(setitimer(ITIMER_REAL, &v, NULL)));
    v.it_value.tv_usec = 0;
    FACT("which 3: %d %d", result(syscall(SYS_setitimer, 3, &v, NULL)), result(syscall(SYS_getitimer, 3, &o)));
    FACT("bad pointers: %d %d", result(syscall(SYS_setitimer, 0, 8, NULL)), result(syscall(SYS_getitimer, 0, 8)));
    FACT("NULL stops: %d", result(syscall(SYS_setitimer, 0, NULL, NULL)));
    once(5000);
    long began = ms();
    while (!count && ms() - began < 2000) continue;
    FACT("while computing with calls: ran %d signal %d code %d", count, order[0], seen.si_code);
    once(5000);
    for (volatile long i = 0; !count && i < 4000000000; i++) continue;
    FACT("while computing: ran %d", count);
    every(5000);
    for (volatile long i = 0; count < 4 && i < 4000000000; i++) continue;
    off();
    FACT("periodic: ran %d", count >= 4);
    block(SIG_BLOCK, SIGALRM);
    every(5000);
    usleep(40000);
    off();
    block(SIG_UNBLOCK, SIGALRM);
    int ran = count;
    FACT("blocked meanwhile: ran %d", ran);
    count = 0;
    struct itimerval w = {{0, 0}, {0, 20000}};
    setitimer(ITIMER_VIRTUAL, &w, NULL);
    for (volatile long i = 0; !count && i < 4000000000; i++) continue;
    FACT("virtual: ran %d signal %d code %d", count, order[0], seen.si_code);
    count = 0;
    setitimer(ITIMER_PROF, &w, NULL);
    for (volatile long i = 0; !count && i < 4000000000; i++) continue;
    FACT("prof: ran %d signal %d code %d", count, order[0], seen.si_code);

    FACT("-- POSIX timers");
    int id = 77;
    struct sigevent e;
    memset(&e, 0, sizeof e);
    struct itimerspec s = {{0, 0}, {0, 10000000}}, old;
    r = result(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id));
    FACT("create: %d, id %d", r, id);
    count = 0;
    FACT("settime: %d", result(syscall(SYS_timer_settime, id, 0, &s, NULL)));
    while (!count) usleep(1000);
    FACT("default: signal %d code %d value %d id %d overrun %d", seen.si_signo, seen.si_code, seen.si_value.sival_int == id, seen.si_timerid == id, seen.si_overrun);
    e.sigev_notify = SIGEV_SIGNAL;
    e.sigev_signo = SIGRTMIN + 1;
    e.sigev_value.sival_int = 4711;
    install(SIGRTMIN + 1, record, 0);
    r = result(syscall(SYS_timer_create, CLOCK_REALTIME, &e, &id));
    FACT("second: %d, id %d", r, id);
    count = 0;
    syscall(SYS_timer_settime, id, 0, &s, NULL);
    while (!count) usleep(1000);
    FACT("signal: %d code %d value %d", seen.si_signo == SIGRTMIN + 1, seen.si_code, seen.si_value.sival_int);
    s.it_interval.tv_nsec = s.it_value.tv_nsec = 50000000;
    block(SIG_BLOCK, SIGRTMIN + 1);
    syscall(SYS_timer_settime, id, 0, &s, NULL);
    usleep(275000);
    count = 0;
    block(SIG_UNBLOCK, SIGRTMIN + 1);
    FACT("overruns: ran %d, %d, getoverrun the same %d", count, between(seen.si_overrun, 3, 8), seen.si_overrun == syscall(SYS_timer_getoverrun, id));
    r = result(syscall(SYS_timer_gettime, id, &old));
    FACT("gettime: %d interval %ld left %d", r, old.it_interval.tv_nsec, between(old.it_value.tv_nsec, 1, 50000000));
    memset(&s, 0, sizeof s);
    r = result(syscall(SYS_timer_settime, id, 0, &s, &old));
    FACT("stop: %d old interval %ld", r, old.it_interval.tv_nsec);
    syscall(SYS_timer_gettime, id, &old);
    FACT("stopped: %ld %ld interval %ld", (long)old.it_value.tv_sec, old.it_value.tv_nsec, old.it_interval.tv_nsec);
    s.it_value.tv_nsec = 5000000;
    block(SIG_BLOCK, SIGRTMIN + 1);
    syscall(SYS_timer_settime, id, 0, &s, NULL);
    usleep(60000);
    count = 0;
    FACT("delete: %d", result(syscall(SYS_timer_delete, id)));
    block(SIG_UNBLOCK, SIGRTMIN + 1);
    FACT("its pending signal: ran %d", count);
    FACT("gone: %d %d %d %d", result(syscall(SYS_timer_delete, id)), result(syscall(SYS_timer_gettime, id, &old)), result(syscall(SYS_timer_getoverrun, id)), result(syscall(SYS_timer_settime, id, 0, &s, NULL)));
    e.sigev_notify = SIGEV_NONE;
    e.sigev_signo = 0;
    r = result(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id));
    s.it_interval.tv_nsec = 0;
    s.it_value.tv_nsec = 5000000;
    syscall(SYS_timer_settime, id, 0, &s, NULL);
    usleep(60000);
    syscall(SYS_timer_gettime, id, &old);
    FACT("SIGEV_NONE: %d id %d left %ld", r, id, old.it_value.tv_nsec);
    e.sigev_notify = SIGEV_THREAD_ID;
    e.sigev_signo = SIGUSR2;
    ((int *)&e)[4] = getpid();
    install(SIGUSR2, record, 0);
    r = result(syscall(SYS_timer_create, CLOCK_BOOTTIME, &e, &id));
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    s.it_value = now;
    count = 0;
    FACT("to the thread: %d, at a time past: %d", r, result(syscall(SYS_timer_settime, id, TIMER_ABSTIME, &s, NULL)));
    for (long b = ms(); !count && ms() - b < 1000;) continue;
    FACT("came: %d code %d", count, seen.si_code);
    ((int *)&e)[4] = 1;
    FACT("another thread: %d", result(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id)));
    e.sigev_notify = SIGEV_SIGNAL;
    e.sigev_signo = 0;
    FACT("signal 0: %d", result(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id)));
    e.sigev_signo = 65;
    FACT("signal 65: %d", result(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id)));
    e.sigev_signo = 10;
    e.sigev_notify = 99;
    FACT("notify 99: %d", result(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id)));
    FACT("clock 99: %d, raw: %d, coarse: %d", result(syscall(SYS_timer_create, 99, NULL, &id)), result(syscall(SYS_timer_create, CLOCK_MONOTONIC_RAW, NULL, &id)), result(syscall(SYS_timer_create, CLOCK_MONOTONIC_COARSE, NULL, &id)));
    FACT("bad pointers: %d %d", result(syscall(SYS_timer_create, 1, 8, &id)), result(syscall(SYS_timer_create, 1, NULL, 8)));
    FACT("settime NULL: %d", result(syscall(SYS_timer_settime, 0, 0, NULL, NULL)));
    s.it_value.tv_nsec = 1000000000;
    FACT("settime bad: %d", result(syscall(SYS_timer_settime, 0, 0, &s, NULL)));
    r = result(syscall(SYS_timer_create, CLOCK_PROCESS_CPUTIME_ID, NULL, &id));
    memset(&s, 0, sizeof s);
    s.it_value.tv_nsec = 20000000;
    count = 0;
    syscall(SYS_timer_settime, id, 0, &s, NULL);
    for (volatile long i = 0; !count && i < 4000000000; i++) continue;
    FACT("CPU clock: %d, ran %d code %d", r, count, seen.si_code);
}

static void pipe_signal(void) {
    int p[2];
    FACT("-- SIGPIPE");
    install(SIGPIPE, record, 0);
    pipe(p);
    close(p[0]);
    count = 0;
    int r = result(write(p[1], "x", 1));
    FACT("write: %d, ran %d code %d pid %d", r, count, seen.si_code, seen.si_pid == getpid());
    signal(SIGPIPE, SIG_IGN);
    FACT("ignored: %d", result(write(p[1], "x", 1)));
    close(p[1]);
}

int main(void) {
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    pipe(pipes);
    interrupted(0, "plain");
    interrupted(SA_RESTART, "SA_RESTART");
    without_handler();
    waits();
    timers();
    pipe_signal();
    FACT("restart_syscall: %d", result(syscall(SYS_restart_syscall)));
    return 0;
}
