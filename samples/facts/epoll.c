/* Section 1.16: epoll: what can be watched, levels and edges, what is told once, nesting, closing, where events are stored. */
#include "fact.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <time.h>

#ifndef EPOLLEXCLUSIVE
#define EPOLLEXCLUSIVE (1u << 28)
#endif
#define CTL(ep, op, fd, bits, value) ({ struct epoll_event e_ = {.events = bits, .data.u64 = value}; sc(SYS_epoll_ctl, ep, op, fd, &e_); })
#define ADD(ep, fd, bits, value) CTL(ep, EPOLL_CTL_ADD, fd, bits, value)
#define MOD(ep, fd, bits, value) CTL(ep, EPOLL_CTL_MOD, fd, bits, value)
#define DEL(ep, fd) sc(SYS_epoll_ctl, ep, EPOLL_CTL_DEL, fd, 0L)

static long pwait(int ep, void *to, int count, int ms) { return sc(SYS_epoll_pwait, ep, to, count, ms, 0L, 8L); }

/* What is ready now, by its data: "1:0x1 2:0x4". */
static const char *now(int ep) {
    struct epoll_event found[8];
    long count = pwait(ep, found, 8, 0);
    if (count < 0) return ename(-count);
    char *start = text(""), *out = start;
    for (int done = 0; done < 200; done++) /* in the order of their numbers */
        for (long i = 0; i < count; i++)
            if (found[i].data.u64 == (uint64_t)done) out += sprintf(out, "%s%d:%#x", out == start ? "" : " ", done, found[i].events);
    return count ? start : "nothing";
}
#define NOW(what) K("1.16", now(ep), what)

static void targets(void) {
    struct epoll_event one = {.events = EPOLLIN};
    int ep = epoll_create1(EPOLL_CLOEXEC), other = epoll_create1(0), ends[2];
    F("1.16", fcntl(ep, F_GETFD));
    F("1.16", fcntl(other, F_GETFD));
    V("1.16", "status flags", "%#x", fcntl(ep, F_GETFL));
    F("1.16", sc(SYS_epoll_create1, 1));
    F("1.16", sc(SYS_epoll_create1, O_NONBLOCK));
    F("1.16", epoll_create(0));
    F("1.16", epoll_create(-1));
    F("1.16", close(epoll_create(7)));
    static const char *paths[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "data", ".", "/proc/self/maps", "/proc/self/status",
                                  "/proc/meminfo", "/proc/mounts", "/proc/self/mountinfo", "/proc/sys/kernel/ostype", "/proc/self/fd"};
    close(file("data", 1));
    for (int i = 0; i < 13; i++) {
        int fd = reopen(paths[i], O_RDONLY);
        K("1.16", said(ADD(ep, fd, EPOLLIN, 1)), "add %s", paths[i]);
        K("1.16", said(MOD(ep, fd, EPOLLOUT, 1)), "modify %s", paths[i]);
        K("1.16", said(DEL(ep, fd)), "remove %s", paths[i]);
        close(fd);
    }
    int path = reopen("data", O_PATH), memory = (int)sc(SYS_memfd_create, "m", 0), pid = (int)sc(434, getpid(), 0);
    pipe(ends);
    area(2);
    map(0, 1, R);
    F("1.16", ADD(ep, path, EPOLLIN, 1));
    F("1.16", ADD(path, ends[0], EPOLLIN, 1));
    F("1.16", ADD(ep, memory, EPOLLIN, 1));
    F("1.16", ADD(ep, pid, EPOLLIN, 1));
    F("1.16", ADD(ep, 99, EPOLLIN, 1));
    F("1.16", ADD(99, ends[0], EPOLLIN, 1));
    F("1.16", ADD(ends[1], ends[0], EPOLLIN, 1));
    F("1.16", ADD(memory, ends[0], EPOLLIN, 1));
    F("1.16", ADD(ep, ep, EPOLLIN, 1));
    F("1.16", ADD(ends[1], ends[1], EPOLLIN, 1));
    F("1.16", sc(SYS_epoll_ctl, 99, EPOLL_CTL_ADD, ends[0], 0L));
    F("1.16", sc(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, ends[0], P(1)));
    F("1.16", sc(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, ends[0], P(0)));
    F("1.16", DEL(ep, ends[0]));
    F("1.16", DEL(ep, ends[0]));
    F("1.16", sc(SYS_epoll_ctl, ep, 0, ends[0], &one));
    F("1.16", sc(SYS_epoll_ctl, ep, 4, ends[0], &one));
    F("1.16", sc(SYS_epoll_ctl, ep, -1, ends[0], 0L));
    F("1.16", MOD(ep, ends[0], EPOLLIN, 1));
    F("1.16", ADD(ep, ends[0], EPOLLIN, 1));
    F("1.16", ADD(ep, ends[0], EPOLLOUT, 2));
    F("1.16", ADD(ep, ends[1], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 2));
    F("1.16", ADD(ep, ends[1], EPOLLPRI | EPOLLEXCLUSIVE, 2));
    F("1.16", ADD(ep, other, EPOLLIN | EPOLLEXCLUSIVE, 2));
    F("1.16", MOD(ep, ends[0], EPOLLIN | EPOLLEXCLUSIVE, 2));
    F("1.16", ADD(ep, ends[1], EPOLLOUT | EPOLLEXCLUSIVE | EPOLLET, 2));
    F("1.16", MOD(ep, ends[1], EPOLLOUT, 2));
    F("1.16", read(ep, procbuf, 10));
    F("1.16", sc(SYS_read, ep, 0L, 0L));
    F("1.16", sc(SYS_read, ep, TOP, 10L));
    F("1.16", sc(SYS_write, ep, procbuf, 10L));
    F("1.16", sc(SYS_pread64, ep, procbuf, 10L, 0L));
    F("1.16", sc(SYS_pwrite64, ep, procbuf, 10L, 0L));
    F("1.16", sc(SYS_lseek, ep, 5L, 0));
    F("1.16", sc(SYS_ftruncate, ep, 5L));
    F("1.16", map_at(0, PG, R, SHAR, ep, 0));
    struct stat status;
    fstat(ep, &status);
    V("1.16", "mode", "%o", status.st_mode);
    long n = sc(SYS_readlinkat, AT_FDCWD, text("/proc/self/fd/%d", ep), procbuf, 100L);
    procbuf[n > 0 ? n : 0] = 0;
    V("1.16", "name", "%s", procbuf);
    close(pid);
    close(memory);
}

static void levels(void) {
    int ep = epoll_create1(0), ends[2], count = eventfd(0, EFD_NONBLOCK);
    uint64_t one = 1;
    pipe2(ends, O_NONBLOCK);
    F("1.16", ADD(ep, ends[0], EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLPRI, 1));
    F("1.16", ADD(ep, ends[1], EPOLLIN | EPOLLOUT | EPOLLWRNORM, 2));
    NOW("an empty pipe");
    write(ends[1], "ab", 2);
    NOW("a pipe with bytes");
    NOW("a pipe with bytes still");
    F("1.16", MOD(ep, ends[0], EPOLLIN | EPOLLET, 3));
    NOW("an edge after it is asked for");
    NOW("no edge again");
    write(ends[1], "c", 1);
    NOW("an edge with each write");
    read(ends[0], procbuf, 1);
    NOW("no edge with a read");
    F("1.16", MOD(ep, ends[0], EPOLLIN | EPOLLONESHOT, 4));
    NOW("once");
    NOW("not twice");
    write(ends[1], "d", 1);
    NOW("not after a write");
    F("1.16", MOD(ep, ends[0], EPOLLIN | EPOLLONESHOT, 5));
    NOW("once more");
    F("1.16", MOD(ep, ends[0], 0, 6));
    NOW("nothing asked for");
    close(ends[1]);
    NOW("hung up");
    F("1.16", DEL(ep, ends[1]));
    F("1.16", DEL(ep, ends[0]));
    NOW("nothing watched");
    F("1.16", ADD(ep, count, EPOLLIN | EPOLLOUT | EPOLLET, 7));
    NOW("a counter");
    write(count, &one, 8);
    NOW("a counter after a write");
    write(count, &one, 8);
    NOW("a counter after another");
    read(count, &one, 8);
    NOW("a counter after a read");
    one = ~1UL;
    write(count, &one, 8);
    NOW("a full counter");
    F("1.16", MOD(ep, count, EPOLLIN | EPOLLOUT, 8));
    NOW("a full counter by level");
}

static void nested(void) {
    int ep = epoll_create1(0), inner = epoll_create1(0), ends[2], deep[8];
    pipe(ends);
    F("1.16", ADD(inner, ends[0], EPOLLIN, 1));
    F("1.16", ADD(ep, inner, EPOLLIN, 2));
    F("1.16", ADD(inner, ep, EPOLLIN, 3));
    NOW("nothing inside");
    write(ends[1], "x", 1);
    NOW("something inside");
    K("1.16", now(inner), "the inner one");
    NOW("something inside still");
    F("1.16", MOD(ep, inner, EPOLLIN | EPOLLET, 4));
    NOW("an edge inside");
    NOW("no edge inside");
    read(ends[0], procbuf, 1);
    NOW("nothing inside again");
    for (int i = 0; i < 8; i++) deep[i] = epoll_create1(0);
    for (int i = 0; i < 7; i++) K("1.16", said(ADD(deep[i + 1], deep[i], EPOLLIN, 1)), "depth %d", i + 1);
    for (int i = 0; i < 8; i++) close(deep[i]);
}

static void closing(void) {
    int ep = epoll_create1(0), ends[2], copy, more;
    pipe(ends);
    copy = dup(ends[0]);
    F("1.16", ADD(ep, ends[0], EPOLLIN, 1));
    F("1.16", ADD(ep, copy, EPOLLIN, 2));
    F("1.16", ADD(ep, copy, EPOLLIN, 2));
    write(ends[1], "x", 1);
    NOW("both");
    close(ends[0]);
    NOW("both after one is closed");
    F("1.16", DEL(ep, ends[0]));
    more = dup(ends[1]);
    K("1.16", said(more == ends[0]), "is the number used again");
    F("1.16", MOD(ep, more, EPOLLOUT, 3));
    F("1.16", ADD(ep, more, EPOLLOUT, 4));
    NOW("three");
    close(copy);
    NOW("one");
    close(ends[1]);
    NOW("one still");
    F("1.16", dup2(1, more) == more);
    NOW("none");
    F("1.16", ADD(ep, more, EPOLLOUT, 5) == 0 || errno == EPERM);
    pipe(ends);
    F("1.16", ADD(ep, ends[1], EPOLLOUT, 6));
    copy = dup(ep);
    close(ep);
    K("1.16", strstr(now(copy), "6:0x4") ? "yes" : "no", "a duplicate knows the same");
    close(copy);
    write(ends[1], "y", 1);
    close(ends[1]);
    F("1.16", read(ends[0], procbuf, 10));
    F("1.16", read(ends[0], procbuf, 10));
}

static void storing(void) {
    static int few[3];
    static struct epoll_event found[4];
    int ep = epoll_create1(0);
    unsigned long mask = 0;
    struct timespec wait = {0, 1000000}, bad = {0, 1000000000};
    area(3);
    map(0, 1, RW);
    map(2, 1, R);
    for (int i = 0; i < 3; i++) F("1.16", ADD(ep, few[i] = eventfd(1, 0), EPOLLIN | EPOLLONESHOT, i));
    F("1.16", pwait(ep, P(1), 4, 0));
    F("1.16", pwait(ep, P(2), 4, 0));
    F("1.16", pwait(ep, P(1) - 4, 4, 0));
    F("1.16", pwait(ep, P(1) - sizeof *found, 4, 0));
    F("1.16", pwait(ep, found, 4, 0));
    F("1.16", pwait(ep, found, 4, 0));
    F("1.16", pwait(ep, P(1), 4, 0));
    F("1.16", pwait(ep, P(1), 4, 1));
    F("1.16", pwait(ep, found, 0, 0));
    F("1.16", pwait(ep, found, -1, 0));
    F("1.16", pwait(ep, found, 0x7fffffff / (int)sizeof *found, 0));
    F("1.16", pwait(ep, found, 0x7fffffff / (int)sizeof *found + 1, 0));
    F("1.16", pwait(ep, (void *)(TASK - 4), 1, 0));
    F("1.16", pwait(ep, (void *)(TASK - 4), 0, 0));
    F("1.16", pwait(99, found, 0, 0));
    F("1.16", pwait(99, found, 1, 0));
    F("1.16", pwait(few[0], found, 0, 0));
    F("1.16", pwait(few[0], found, 1, 0));
    F("1.16", pwait(few[0], (void *)(TASK - 4), 1, 0));
    F("1.16", pwait(ep, found, 1, 3));
    F("1.16", sc(SYS_epoll_pwait, ep, found, 1, 0, &mask, 4L));
    F("1.16", sc(SYS_epoll_pwait, ep, found, 1, 0, P(1), 8L));
    F("1.16", sc(SYS_epoll_pwait, 99, found, 0, 0, P(1), 8L));
    F("1.16", sc(SYS_epoll_pwait, ep, found, 1, 0, &mask, 8L));
    F("1.16", sc(441, ep, found, 1, &wait, 0L, 0L));
    F("1.16", sc(441, ep, found, 1, &bad, 0L, 0L));
    F("1.16", sc(441, ep, found, 1, P(1), 0L, 0L));
    F("1.16", sc(441, ep, found, 0, &wait, 0L, 0L));
    F("1.16", sc(441, 99, found, 0, &bad, P(1), 3L));
    F("1.16", MOD(ep, few[1], EPOLLIN, 9));
    F("1.16", sc(441, ep, found, 1, &wait, &mask, 8L));
    V("1.16", "data", "%d", (int)found[0].data.u64);
}

static void count_signal(int signal) { fault_sig++; }

static void signals(void) {
    int ep = epoll_create1(0);
    struct epoll_event found[4];
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
    struct itimerval soon = {{0, 0}, {0, 20000}};
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    sigaction(SIGALRM, &action, 0);
    fault_sig = 0;
    setitimer(ITIMER_REAL, &soon, 0);
    F("1.16", pwait(ep, found, 4, 2000));
    V("1.16", "handled", "%d", fault_sig);
    sigprocmask(SIG_BLOCK, &blocked, 0);
    raise(SIGALRM);
    F("1.16", pwait(ep, found, 4, 1));
    F("1.16", sc(SYS_epoll_pwait, ep, found, 4, 0, &none, 8L));
    V("1.16", "handled after a look", "%d", fault_sig);
    raise(SIGALRM);
    F("1.16", sc(SYS_epoll_pwait, ep, found, 4, 2000, &none, 8L));
    V("1.16", "handled after a wait", "%d", fault_sig);
    int count = eventfd(1, 0);
    F("1.16", ADD(ep, count, EPOLLIN, 1));
    raise(SIGALRM);
    F("1.16", sc(SYS_epoll_pwait, ep, found, 4, 2000, &none, 8L));
    V("1.16", "handled after an event", "%d", fault_sig);
    sigpending(&none);
    F("1.16", sigismember(&none, SIGALRM));
    sigprocmask(SIG_SETMASK, 0, &none);
    F("1.16", sigismember(&none, SIGALRM));
    signal(SIGALRM, SIG_IGN);
    sigprocmask(SIG_UNBLOCK, &blocked, 0);
    F("1.16", DEL(ep, count));
    setitimer(ITIMER_REAL, &soon, 0);
    F("1.16", pwait(ep, found, 4, 50));
}

static void shown(void) {
    int ep = epoll_create1(0), ends[2];
    pipe(ends);
    ADD(ep, ends[0], EPOLLIN | EPOLLET, 0x123456789a);
    ADD(ep, ends[1], EPOLLOUT | EPOLLONESHOT, 7);
    for (int i = 0; i < 4; i++) { /* twice for each end */
        slurp(text("/proc/self/fdinfo/%d", ep));
        char *at = strstr(procbuf, text("tfd: %8d", ends[i % 2])), *pos = at ? strstr(at, "pos:") : 0;
        V("1.16", text("watched end %d", i % 2), "%.*s", pos ? (int)(pos - at - 13) : 2, pos ? at + 13 : "no");
        now(ep);
    }
    slurp(text("/proc/self/fdinfo/%d", eventfd(0x1234, EFD_SEMAPHORE)));
    char *at = strstr(procbuf, "eventfd-count");
    V("1.16", "an eventfd", "%.31s", at ? at : "no");
}

SHEET(SECTION(targets), SECTION(levels), SECTION(nested), SECTION(closing), SECTION(storing), SECTION(signals), SECTION(shown))
