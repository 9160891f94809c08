/* Section 1.22: processes that a process makes: what of its memory and of itself a child has, how it ends, signals between them. */
#define _GNU_SOURCE
#include "fact.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static volatile int *shared; /* a page that all of them see */

static int forked(void) { return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
static const char *word(int status) {
    if (WIFEXITED(status)) return text("exit %d", WEXITSTATUS(status));
    if (WIFSIGNALED(status)) return text("killed by %d", WTERMSIG(status));
    if (WIFSTOPPED(status)) return text("stopped by %d", WSTOPSIG(status));
    return WIFCONTINUED(status) ? "continued" : text("%#x", status);
}
static const char *ended(int pid) {
    int status = -1;
    long r = sc(SYS_wait4, pid, &status, 0, 0);
    return r == pid ? word(status) : said(r);
}
/* Run `code` in a child that ends with 0 after it, and wait for it. */
#define CHILD(name, code) do { int pid_ = forked(); if (!pid_) { code; _exit(0); } K("1.22", ended(pid_), "%s", name); } while (0)

static void endings(void) {
    int status, me = getpid();
    F("1.22", sc(SYS_wait4, -1, &status, 0, 0));
    F("1.22", sc(SYS_wait4, -1, &status, WNOHANG, 0));
    CHILD("nothing", (void)0);
    CHILD("exit 7", _exit(7));
    CHILD("exit 256 + 9", sc(SYS_exit_group, 256 + 9));
    CHILD("exit of the thread", sc(SYS_exit, 3));
    CHILD("a parent", _exit(getppid() == me && getpid() != me && syscall(SYS_gettid) == getpid()));
    int deadly[] = {SIGTERM, SIGKILL, SIGSEGV, SIGPIPE, SIGINT, SIGUSR1, SIGALRM, SIGRTMIN + 3, 33, SIGXCPU};
    for (int i = 0; i < 10; i++) CHILD(text("signal %d", deadly[i]), (raise(deadly[i]), syscall(SYS_kill, getpid(), deadly[i])));
    CHILD("a write to nowhere", ({ signal(SIGSEGV, SIG_DFL); *(volatile int *)8 = 1; }));
    CHILD("a division", ({ signal(SIGFPE, SIG_DFL); volatile int zero = 0; shared[9] = 1 / zero; raise(SIGFPE); }));
    shared[0] = 0;
    int pid = forked();
    if (!pid) { raise(SIGSTOP); for (int n = 0; n < 5000 && !shared[0]; n++) poll(0, 0, 1); _exit(4); }
    K("1.22", said(sc(SYS_wait4, pid, &status, WUNTRACED, 0) == pid), "a child that stops");
    K("1.22", word(status), "it");
    F("1.22", sc(SYS_wait4, pid, &status, WNOHANG | WUNTRACED, 0));
    F("1.22", sc(SYS_kill, pid, SIGCONT));
    K("1.22", said(sc(SYS_wait4, pid, &status, WCONTINUED, 0) == pid), "a child that goes on");
    K("1.22", word(status), "it");
    shared[0] = 1;
    K("1.22", ended(pid), "its end");
    F("1.22", sc(SYS_wait4, pid, &status, 0, 0));
    /* Of several, those that are meant. */
    int first = forked();
    if (!first) _exit(1);
    int second = forked();
    if (!second) _exit(2);
    K("1.22", ended(second), "the second");
    K("1.22", ended(first), "the first");
    siginfo_t info;
    pid = forked();
    if (!pid) _exit(5);
    memset(&info, 0xee, sizeof info);
    K("1.22", said(sc(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, 0)), "waitid that leaves it");
    V("1.22", "its siginfo", "%d %d %d %d %d %d", info.si_signo, info.si_errno, info.si_code, info.si_pid == pid, info.si_status, (int)info.si_uid);
    K("1.22", said(sc(SYS_waitid, P_ALL, 0, &info, WEXITED, 0)), "waitid");
    V("1.22", "its siginfo again", "%d %d %d %d", info.si_signo, info.si_code, info.si_pid == pid, info.si_status);
    memset(&info, 0xee, sizeof info);
    K("1.22", said(sc(SYS_waitid, P_ALL, 0, &info, WEXITED, 0)), "waitid without children");
    V("1.22", "what it tells", "%x %x %x %x %x", info.si_signo, info.si_errno, info.si_code, info.si_pid, info.si_status);
    memset(&info, 0xee, sizeof info);
    F("1.22", sc(SYS_waitid, 9, 0, &info, WEXITED, 0));
    V("1.22", "what that tells", "%x %x", info.si_signo, info.si_status);
    pid = forked();
    if (!pid) raise(SIGKILL);
    K("1.22", said(sc(SYS_waitid, P_PID, pid, &info, WEXITED, 0)), "waitid for one that is killed");
    V("1.22", "its siginfo", "%d %d", info.si_code, info.si_status);
    F("1.22", sc(SYS_wait4, 0x7fffffff, &status, 0, 0));
    F("1.22", sc(SYS_wait4, 0x80000000, &status, 0, 0));
    F("1.22", sc(SYS_wait4, -1, &status, 0x40, 0));
    pid = forked();
    if (!pid) pause();
    F("1.22", sc(SYS_wait4, -1, &status, WNOHANG, 0));
    memset(&info, 0xee, sizeof info);
    F("1.22", sc(SYS_waitid, P_ALL, 0, &info, WEXITED | WNOHANG, 0));
    V("1.22", "nothing yet", "%x %x %x", info.si_signo, info.si_pid, info.si_code);
    F("1.22", sc(SYS_wait4, -getpgrp() - 1, &status, WNOHANG, 0));
    sc(SYS_kill, pid, SIGTERM);
    K("1.22", said(sc(SYS_wait4, pid, (void *)8, 0, 0)), "a status that cannot be stored");
    F("1.22", sc(SYS_wait4, -1, &status, WNOHANG, 0));
}

static const char *flags_of(char *at) {
    const char *flags = smap(at, "VmFlags");
    return flags ? flags : "none";
}

static void memory(void) {
    area(24);
    mmap(P(0), 2 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
    mmap(P(4), 2 * PG, PROT_READ | PROT_WRITE, MAP_SHARED | ANON | FIX, -1, 0);
    put(0, 1), put(4, 2);
    CHILD("writing", (put(0, 11), put(4, 22), put(1, 33), put(5, 44)));
    V("1.22", "afterwards", "%d %d %d %d", get(0), get(1), get(4), get(5));
    /* What is kept from it. */
    mmap(P(8), 2 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
    put(8, 5), put(9, 6);
    F("1.22", sc(SYS_madvise, P(9), PG, MADV_DONTFORK));
    mmap(P(12), 2 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
    put(12, 7), put(13, 8);
    F("1.22", sc(SYS_madvise, P(13), PG, MADV_WIPEONFORK));
    F("1.22", sc(SYS_mlock, P(12), PG));
    F("1.22", sc(SYS_madvise, P(1), PG, MADV_GUARD_INSTALL));
    CHILD("what it has", ({
        K("1.22", text("%s %s %s %s %s", got(8), got(9), got(12), got(13), got(1)), "in the child");
        K("1.22", shape(), "the child's map");
        K("1.22", flags_of(P(12)), "flags of what was locked");
        K("1.22", flags_of(P(13)), "flags of what was wiped");
        V("1.22", "locked", "%s", smap(P(12), "Locked"));
        put(13, 9);
        CHILD("a grandchild", K("1.22", text("%s %s", got(9), got(13)), "in the grandchild"));
    }));
    K("1.22", flags_of(P(12)), "flags of the parent");
    K("1.22", shape(), "the parent's map");
}

static void merging(void) {
    for (int child = 0; child < 2; child++) {
        area(24);
        mmap(P(0), 2 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
        put(0, 1);
        mmap(P(8), 2 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
        mmap(P(12), 3 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
        put(12, 1);
        mprotect(P(13), PG, PROT_READ);
        const char *who = child ? "child" : "parent";
        int pid = child ? forked() : 0;
        if (!pid) {
            mmap(P(2), PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
            K("1.22", shape(), "%s: next to what was written", who);
            mmap(P(10), PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
            K("1.22", shape(), "%s: next to what was not", who);
            mprotect(P(13), PG, PROT_READ | PROT_WRITE);
            K("1.22", shape(), "%s: rights as before", who);
            put(2, 1);
            mmap(P(3), PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
            K("1.22", shape(), "%s: next to what is its own", who);
            mprotect(P(1), PG, PROT_READ);
            mprotect(P(1), PG, PROT_READ | PROT_WRITE);
            K("1.22", shape(), "%s: cut and whole again", who);
            K("1.22", said(sc(SYS_mremap, P(0), PG, 2 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, P(17))), "%s: moved", who);
            mmap(P(19), PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
            K("1.22", shape(), "%s: next to what moved", who);
            if (child) _exit(0);
        } else K("1.22", ended(pid), "the child");
    }
    char *top = sbrk(2 * PG);
    *top = 1;
    CHILD("the heap of a child", ({
        sbrk(2 * PG);
        *(char *)((char *)sbrk(0) - 1) = 1;
        int areas = 0;
        slurp("/proc/self/maps");
        for (char *at = procbuf; (at = strstr(at, "[heap]")); at++) areas++;
        V("1.22", "areas of its heap", "%d", areas);
    }));
}

static volatile int seen, seen_pid, seen_code, seen_status, seen_value;
static void on_signal(int number, siginfo_t *info, void *context) {
    (void)context;
    seen = number, seen_pid = info->si_pid, seen_code = info->si_code;
    seen_status = number == SIGCHLD ? info->si_status : 0;
    seen_value = info->si_code == SI_QUEUE ? info->si_value.sival_int : 0;
}
static void handle(int number, int flags) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags};
    sigaction(number, &action, 0);
}
static void wait_until(int value) {
    for (int n = 0; n < 5000 && shared[0] != value; n++) poll(0, 0, 1);
}

static void signals(void) {
    int pid, status, me = getpid();
    sigset_t set, before;
    handle(SIGUSR1, 0);
    handle(SIGCHLD, SA_RESTART);
    shared[0] = 0;
    pid = forked();
    if (!pid) {
        shared[0] = 1;
        while (!seen) poll(0, 0, 1);
        _exit(seen == SIGUSR1 && seen_pid == me && seen_code == SI_USER ? 9 : 1);
    }
    wait_until(1);
    F("1.22", sc(SYS_kill, pid, 0));
    F("1.22", sc(SYS_kill, pid, SIGUSR1));
    K("1.22", ended(pid), "a signal that is caught");
    V("1.22", "SIGCHLD", "%d %d %d %d", seen == SIGCHLD, seen_pid == pid, seen_code, seen_status);
    /* A value, and what a blocked signal is when it is looked at. */
    sigemptyset(&set), sigaddset(&set, SIGUSR2), sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, &before);
    shared[0] = 0;
    pid = forked();
    if (!pid) {
        siginfo_t info;
        union sigval value = {.sival_int = 77};
        F("1.22", sigqueue(me, SIGRTMIN + 1, value));
        value.sival_int = 78;
        sigqueue(me, SIGRTMIN + 1, value);
        F("1.22", sc(SYS_kill, me, SIGUSR2));
        F("1.22", sc(SYS_tgkill, me, me, SIGUSR2));
        memset(&info, 0, sizeof info);
        info.si_code = SI_TKILL;
        F("1.22", sc(SYS_rt_sigqueueinfo, me, SIGUSR2, &info));
        info.si_code = 0;
        F("1.22", sc(SYS_rt_sigqueueinfo, me, SIGUSR2, &info));
        sigpending(&set);
        _exit(sigismember(&set, SIGUSR2));
    }
    K("1.22", ended(pid), "who sends");
    sigpending(&set);
    V("1.22", "pending", "%d %d", sigismember(&set, SIGUSR2), sigismember(&set, SIGRTMIN + 1));
    CHILD("nothing is pending for a child", ({ sigpending(&set); _exit(sigismember(&set, SIGUSR2) + 2 * sigismember(&set, SIGRTMIN + 1)); }));
    for (int i = 0; i < 4; i++) {
        siginfo_t info;
        struct timespec none = {0, 0};
        sigemptyset(&set), sigaddset(&set, SIGUSR2), sigaddset(&set, SIGRTMIN + 1);
        long got = sysresult(sigtimedwait(&set, &info, &none));
        V("1.22", "taken", "%ld %d %d %d", got, info.si_code, info.si_pid == pid, info.si_code == SI_QUEUE ? info.si_value.sival_int : 0);
        if (got < 0) break;
    }
    sigprocmask(SIG_SETMASK, &before, 0);
    /* Interrupted, and not. */
    handle(SIGUSR1, 0);
    shared[0] = 0;
    pid = forked();
    if (!pid) { poll(0, 0, 300); kill(me, SIGUSR1); wait_until(1); _exit(2); }
    seen = 0;
    long got = sc(SYS_wait4, pid, &status, 0, 0);
    K("1.22", said(got), "waiting, and a signal");
    shared[0] = 1;
    handle(SIGUSR1, SA_RESTART);
    K("1.22", ended(pid), "waiting again");
    /* Who does not want to know. */
    signal(SIGCHLD, SIG_IGN);
    pid = forked();
    if (!pid) _exit(3);
    K("1.22", said(sc(SYS_wait4, pid, &status, 0, 0)), "a child that nobody waits for");
    struct sigaction quiet = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NOCLDWAIT};
    sigaction(SIGCHLD, &quiet, 0);
    seen = 0;
    pid = forked();
    if (!pid) _exit(3);
    do got = sc(SYS_wait4, pid, &status, 0, 0); while (got == -EINTR);
    K("1.22", said(got), "SA_NOCLDWAIT");
    V("1.22", "the signal all the same", "%d", seen == SIGCHLD);
    for (int stops = 0; stops < 2; stops++) {
        handle(SIGCHLD, stops ? SA_NOCLDSTOP | SA_RESTART : SA_RESTART);
        seen = 0;
        pid = forked();
        if (!pid) { raise(SIGSTOP); _exit(0); }
        sc(SYS_wait4, pid, &status, WUNTRACED, 0);
        V("1.22", "told of a stop", "%d %d %d", stops, seen, seen ? seen_code : 0);
        kill(pid, SIGCONT);
        ended(pid);
    }
    signal(SIGCHLD, SIG_DFL);
    /* What a child has of it. */
    signal(SIGHUP, SIG_IGN);
    alarm(100);
    struct itimerval timer = {{0, 0}, {50, 0}};
    setitimer(ITIMER_VIRTUAL, &timer, 0);
    CHILD("timers", ({ getitimer(ITIMER_VIRTUAL, &timer); _exit(alarm(0) + timer.it_value.tv_sec); }));
    V("1.22", "the parent's alarm", "%d", alarm(0) > 90);
    CHILD("handlers", ({ struct sigaction old; sigaction(SIGUSR1, 0, &old); int a = old.sa_sigaction == on_signal; sigaction(SIGHUP, 0, &old); _exit(a + 2 * (old.sa_handler == SIG_IGN)); }));
    shared[0] = 0;
    pid = forked();
    if (!pid) { signal(SIGINT, SIG_DFL), shared[0] = 1, pause(); }
    wait_until(1);
    F("1.22", sc(SYS_kill, pid, SIGINT));
    K("1.22", ended(pid), "interrupted");
    shared[0] = 0;
    pid = forked();
    if (!pid) { signal(SIGSEGV, SIG_IGN), shared[0] = 1; for (int n = 0; n < 5000 && shared[0] == 1; n++) poll(0, 0, 1); _exit(4); }
    wait_until(1);
    F("1.22", sc(SYS_kill, pid, SIGSEGV));
    shared[0] = 2;
    K("1.22", ended(pid), "who does not mind");
    /* Who may. */
    shared[0] = 0;
    pid = forked();
    if (!pid) { sc(SYS_setresuid, 1, 1, 2), shared[0] = 1, pause(); }
    wait_until(1);
    CHILD("others", ({
        sc(SYS_setresuid, 3, 3, 3);
        K("1.22", said(sc(SYS_kill, me, 0)), "a parent who is somebody else");
        K("1.22", said(sc(SYS_kill, pid, SIGTERM)), "a sibling who is");
        K("1.22", said(sc(SYS_tgkill, pid, pid, SIGTERM)), "its thread");
        K("1.22", said(sc(SYS_process_vm_readv, pid, 0, 0, 0, 0, 0)), "nothing of its memory");
    }));
    CHILD("the same", ({
        sc(SYS_setresuid, 1, 2, 2);
        K("1.22", said(sc(SYS_kill, pid, SIGTERM)), "a sibling who was");
    }));
    K("1.22", ended(pid), "it");
    F("1.22", sc(SYS_kill, 0x3fffffff, 0));
    F("1.22", sc(SYS_kill, -0x3fffffff, 0));
    F("1.22", sc(SYS_kill, 0x80000000, 0));
    pid = forked();
    if (!pid) _exit(0);
    siginfo_t info;
    sc(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, 0);
    K("1.22", said(sc(SYS_kill, pid, SIGTERM)), "a signal to one that has ended");
    ended(pid);
    K("1.22", said(sc(SYS_kill, pid, SIGTERM)), "a signal to one that is gone");
}

/* What `lending` has run in a child: it waits for its parent, which goes on as soon as this program runs. */
static void reading(void) {
    struct pollfd input = {77, POLLIN, 0};
    if (fcntl(77, F_GETFD) < 0) return;
    _exit(poll(&input, 1, 5000) == 1 ? 5 : 9);
}
static void lending(void) {
    static volatile char page[PG] __attribute__((aligned(PG)));
    volatile int mine = 1;
    page[0] = 1;
    int pid = vfork();
    if (!pid) { mine = 5; shared[3] = 6; page[0] = 7; page[PG - 1] = 8; _exit(2); }
    V("1.22", "what a child of vfork wrote", "%d %d %d %d", mine, shared[3], page[0], page[PG - 1]);
    K("1.22", ended(pid), "it");
    pid = vfork();
    if (!pid) { char *none[] = {0}; mine = (int)sc(SYS_execve, "/there/is/no/such/file", none, none); _exit(3); }
    K("1.22", said(mine), "execve in a child of vfork");
    shared[3] = 0;
    K("1.22", ended(pid), "it");
    shared[3] = 0;
    pid = vfork();
    if (!pid) {
        if (!forked()) { for (int n = 0; n < 2000 && !shared[3]; n++) poll(0, 0, 1); shared[4] = 1 + shared[3]; _exit(0); }
        _exit(6);
    }
    shared[3] = 1;
    K("1.22", ended(pid), "a child of vfork that has a child");
    for (int n = 0; n < 5000 && !shared[4]; n++) poll(0, 0, 1);
    V("1.22", "which lives on", "%d", shared[4]);
    int ends[2];
    pipe(ends), dup2(ends[0], 77);
    pid = vfork();
    if (!pid) {
        char *words[] = {"family", "reading", 0}, *none[] = {0};
        sc(SYS_execve, "/proc/self/exe", words, none);
        _exit(1);
    }
    write(ends[1], "x", 1);
    K("1.22", ended(pid), "another program in a child of vfork");
    close(77), close(ends[0]), close(ends[1]);
    shared[3] = 0;
    pid = (int)syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
    if (!pid) { mine = 9; shared[3] = 7; _exit(1); }
    V("1.22", "only waited for", "%d %d", mine != 9, shared[3]);
    K("1.22", ended(pid), "it");
}

static void groups(void) {
    int pid, group = getpgrp(), status;
    setpgid(0, 0);
    V("1.22", "a group of its own", "%d", getpgrp() == getpid());
    shared[0] = 0;
    pid = forked();
    if (!pid) { shared[0] = 1; pause(); }
    wait_until(1);
    V("1.22", "a child's group", "%d", getpgid(pid) == getpgrp());
    F("1.22", setpgid(pid, pid));
    V("1.22", "its own", "%d %d", getpgid(pid) == pid, getsid(pid) == getsid(0));
    F("1.22", sc(SYS_wait4, 0, &status, WNOHANG, 0));
    K("1.22", said(sc(SYS_wait4, -pid, &status, WNOHANG, 0)), "by its group");
    K("1.22", said(sc(SYS_kill, -pid, SIGTERM)), "to its group");
    K("1.22", said(sc(SYS_wait4, -pid, &status, 0, 0) == pid), "the end of its group");
    K("1.22", word(status), "it");
    F("1.22", sysresult(setpgid(pid, 0)));
    handle(SIGUSR1, 0);
    shared[0] = seen = 0;
    pid = forked();
    if (!pid) { shared[0] = 1; while (!seen) poll(0, 0, 1); _exit(8); }
    wait_until(1);
    F("1.22", sc(SYS_kill, 0, SIGUSR1));
    V("1.22", "to itself, too", "%d", seen == SIGUSR1);
    K("1.22", ended(pid), "a child in the group");
    CHILD("a session", ({ int r = (int)sysresult(setsid()); _exit(r == getpid() && getsid(0) == r && getpgrp() == r ? 1 : 0); }));
    CHILD("a leader again", ({ setsid(); _exit(sysresult(setsid()) == -EPERM); }));
    CHILD("the old group", ({ _exit(sysresult(setpgid(0, group)) == 0); }));
}

static void clones(void) {
    int tid = 0, pid, pidfd = -1;
    F("1.22", sc(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0));
    F("1.22", sc(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0));
    F("1.22", sc(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0));
    F("1.22", sc(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0, &tid, 0, 0));
    static uint64_t wanted[16];
    F("1.22", sc(SYS_clone3, wanted, 56));
    F("1.22", sc(SYS_clone3, wanted, 5000));
    F("1.22", sc(SYS_clone3, (void *)8, 64));
    wanted[4] = 65;
    F("1.22", sc(SYS_clone3, wanted, 64));
    wanted[4] = 256;
    F("1.22", sc(SYS_clone3, wanted, 64));
    wanted[4] = SIGCHLD, wanted[5] = 4096;
    F("1.22", sc(SYS_clone3, wanted, 64));
    wanted[5] = 0, wanted[0] = 1;
    F("1.22", sc(SYS_clone3, wanted, 64));
    wanted[0] = CLONE_DETACHED;
    F("1.22", sc(SYS_clone3, wanted, 64));
    wanted[0] = 0, wanted[12] = 1;
    F("1.22", sc(SYS_clone3, wanted, 104));
    wanted[12] = 0, wanted[8] = (uint64_t)&tid;
    F("1.22", sc(SYS_clone3, wanted, 80));
    wanted[8] = 0, wanted[9] = 33;
    F("1.22", sc(SYS_clone3, wanted, 80));
    wanted[9] = 0, wanted[0] = CLONE_PARENT;
    F("1.22", sc(SYS_clone3, wanted, 64));
    wanted[0] = CLONE_PIDFD | CLONE_PARENT_SETTID, wanted[1] = wanted[3] = (uint64_t)&tid;
    F("1.22", sc(SYS_clone3, wanted, 64));
    wanted[0] = CLONE_PIDFD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID, wanted[1] = (uint64_t)&pidfd, wanted[2] = (uint64_t)&shared[5], wanted[3] = (uint64_t)&tid;
    pid = (int)sc(SYS_clone3, wanted, 64);
    if (!pid) { poll(0, 0, 20); _exit(shared[5] == getpid() ? 6 : 0); }
    struct pollfd ready = {pidfd, POLLIN, 0};
    V("1.22", "clone3", "%d %d %d", pid > 0, tid == pid, fcntl(pidfd, F_GETFD));
    int polled = poll(&ready, 1, 10000);
    V("1.22", "poll", "%d %d", polled, ready.revents);
    siginfo_t info;
    F("1.22", sc(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED, 0));
    V("1.22", "by its descriptor", "%d %d", info.si_pid == pid, info.si_status);
    F("1.22", sc(SYS_pidfd_send_signal, pidfd, 0, 0, 0));
    close(pidfd);
    pid = (int)syscall(SYS_clone, CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID | SIGCHLD, 0, &tid, &shared[6], &shared[6]);
    if (!pid) _exit(shared[6] == getpid());
    K("1.22", ended(pid), "clone with numbers");
    V("1.22", "numbers", "%d %d", tid == pid, shared[6] == pid);
    pid = forked();
    if (!pid) pause();
    pidfd = (int)sc(SYS_pidfd_open, pid, O_NONBLOCK);
    K("1.22", said(pidfd > 0), "pidfd_open");
    F("1.22", sc(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED, 0));
    F("1.22", sc(SYS_pidfd_send_signal, pidfd, SIGTERM, 0, 0));
    K("1.22", ended(pid), "by its descriptor");
}

static void things(void) {
    int status, ends[2];
    char byte = 0;
    int fd = file("family", 2);
    lseek(fd, 10, SEEK_SET);
    CHILD("an offset", lseek(fd, 5, SEEK_CUR));
    V("1.22", "the common offset", "%d", (int)lseek(fd, 0, SEEK_CUR));
    CHILD("a flag", fcntl(fd, F_SETFL, O_APPEND));
    V("1.22", "the common flag", "%d", (fcntl(fd, F_GETFL) & O_APPEND) != 0);
    CHILD("descriptors of its own", ({ close(fd); fcntl(1, F_SETFD, FD_CLOEXEC); }));
    V("1.22", "still open", "%d %d", fcntl(fd, F_GETFD), fcntl(1, F_GETFD));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
    F("1.22", fcntl(fd, F_SETLK, &lock));
    int me = getpid();
    CHILD("a lock", ({
        struct flock asked = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 10};
        K("1.22", said(sysresult(fcntl(fd, F_SETLK, &asked))), "locking what the parent has");
        fcntl(fd, F_GETLK, &asked);
        V("1.22", "who has it", "%d %d", asked.l_type, asked.l_pid == me);
        close(fd);
    }));
    CHILD("flock", K("1.22", said(sysresult(flock(fd, LOCK_EX | LOCK_NB))), "a lock of the open file"));
    F("1.22", sysresult(pipe(ends)));
    int pid = forked();
    if (!pid) { close(ends[0]); syscall(SYS_write, ends[1], "x", 1); _exit(0); }
    close(ends[1]);
    int length = (int)read(ends[0], &byte, 1);
    V("1.22", "through a pipe", "%d %c", length, byte);
    V("1.22", "its end", "%d", (int)read(ends[0], &byte, 1));
    K("1.22", ended(pid), "who wrote");
    pipe(ends);
    close(ends[0]);
    CHILD("nobody reads", ({ signal(SIGPIPE, SIG_DFL); syscall(SYS_write, ends[1], "x", 1); }));
    close(ends[1]);
    /* The rest of a process. */
    prctl(PR_SET_NAME, "parent");
    umask(027);
    prctl(PR_SET_PDEATHSIG, SIGUSR2);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    limit(RLIMIT_NOFILE, 77);
    nice(3);
    CHILD("what it is", ({
        char name[16] = "";
        int death = -1, reaper = -1;
        struct rlimit files;
        prctl(PR_GET_NAME, name), prctl(PR_GET_PDEATHSIG, &death), prctl(PR_GET_CHILD_SUBREAPER, &reaper), getrlimit(RLIMIT_NOFILE, &files);
        V("1.22", "name, mask, signal, reaper, limit, nice", "%s %o %d %d %d %d", name, umask(0), death, reaper, (int)files.rlim_cur, nice(0));
        prctl(PR_SET_NAME, "child");
        sc(SYS_chdir, "/");
        limit(RLIMIT_NOFILE, 55);
    }));
    char name[16];
    struct rlimit files;
    prctl(PR_GET_NAME, name), getrlimit(RLIMIT_NOFILE, &files);
    V("1.22", "and the parent", "%s %o %d", name, umask(022), (int)files.rlim_cur);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    prctl(PR_SET_PDEATHSIG, 0);
    struct sched_param none = {0};
    sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none);
    CHILD("a policy", _exit(sched_getscheduler(0)));
    sched_setscheduler(0, SCHED_OTHER, &none);
    struct tms now;
    struct rusage usage;
    CHILD("work", ({ for (volatile long n = 0; n < 3000000; n++) continue; }));
    times(&now), getrusage(RUSAGE_CHILDREN, &usage);
    V("1.22", "time of children", "%d %d", usage.ru_utime.tv_sec + usage.ru_utime.tv_usec > 0, usage.ru_maxrss > 0);
    pid = forked();
    if (!pid) _exit(0);
    memset(&usage, 0xee, sizeof usage);
    sc(SYS_wait4, pid, &status, 0, &usage);
    V("1.22", "usage of one", "%d %d", usage.ru_maxrss > 0 && usage.ru_maxrss < 1L << 40, usage.ru_utime.tv_sec == 0);
    /* Orphans. */
    shared[0] = 0;
    pid = forked();
    if (!pid) {
        int mine = getpid();
        if (!forked()) { while (getppid() == mine) poll(0, 0, 1); shared[0] = getppid() != mine; _exit(0); }
        _exit(0);
    }
    ended(pid);
    wait_until(1);
    V("1.22", "an orphan lives", "%d", shared[0]);
}

static void waking(void) {
    struct timespec soon = {5, 0};
    shared[0] = shared[1] = 0;
    int pid = forked();
    if (!pid) {
        shared[0] = 1;
        long r = sc(SYS_futex, &shared[1], FUTEX_WAIT, 0, &soon, 0, 0);
        _exit(r ? 99 : 42);
    }
    wait_until(1);
    long woken = 0;
    for (int n = 0; n < 500 && !woken; n++) woken = sc(SYS_futex, &shared[1], FUTEX_WAKE, 1, 0, 0, 0), poll(0, 0, woken ? 0 : 1);
    K("1.22", ended(pid), "a futex in common memory");
    V("1.22", "woken", "%ld", woken);
    shared[1] = 0;
    pid = forked();
    if (!pid) { struct timespec short_time = {0, 20000000}; _exit(sc(SYS_futex, &shared[1], FUTEX_WAIT, 0, &short_time, 0, 0) == -ETIMEDOUT); }
    K("1.22", ended(pid), "nobody wakes it");
}

static const char *pages_of(int n) { /* of a buffer, the bytes at its pages */
    char *out = text(""), *at = out;
    for (int i = 0; i < n; i++) at += sprintf(at, "%x ", get(16 + i));
    return out;
}
static void looking(void) {
    int pid;
    mmap(P(0), 4 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
    mmap(P(16), 20 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
    for (int i = 0; i < 4; i++) put(i, i + 1);
    shared[0] = 0;
    pid = forked();
    if (!pid) {
        for (int i = 0; i < 4; i++) put(i, i + 0x11);
        mprotect(P(1), PG, PROT_NONE);
        mmap(P(8), 6 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | ANON | FIX, -1, 0);
        munmap(P(3), PG);
        mprotect(P(2), PG, PROT_READ);
        shared[0] = 1;
        while (shared[0] == 1) continue; /* it computes, and is asked all the same */
        K("1.22", resident(8, 6), "pages of who was looked into");
        V("1.22", "and that are its own", "%s", smap(P(8), "Anonymous"));
        _exit(get(0));
    }
    wait_until(1);
    struct iovec near = {P(16), 4 * PG}, far = {P(0), PG};
    F("1.22", sc(SYS_process_vm_readv, pid, &near, 1, &far, 1, 0));
    K("1.22", pages_of(4), "what a child has");
    far.iov_len = 2 * PG;
    F("1.22", sc(SYS_process_vm_readv, pid, &near, 1, &far, 1, 0));
    far.iov_base = P(1), far.iov_len = PG;
    F("1.22", sc(SYS_process_vm_readv, pid, &near, 1, &far, 1, 0));
    far.iov_base = P(2) + 8, far.iov_len = PG;
    F("1.22", sc(SYS_process_vm_readv, pid, &near, 1, &far, 1, 0));
    F("1.22", sc(SYS_process_vm_writev, pid, &near, 1, &far, 1, 0));
    far.iov_base = P(0) + 100, far.iov_len = 200;
    put(16, 0x33);
    F("1.22", sc(SYS_process_vm_writev, pid, &near, 1, &far, 1, 0));
    far.iov_base = P(0), far.iov_len = 1;
    struct iovec parts[3] = {{P(16), 0}, {P(40), 4}, {P(17), 4}}, places[3] = {{P(0), 3}, {P(2), 5}, {P(3), 8}};
    F("1.22", sc(SYS_process_vm_readv, pid, parts, 1, places, 3, 0));
    F("1.22", sc(SYS_process_vm_readv, pid, parts, 2, places, 3, 0));
    F("1.22", sc(SYS_process_vm_readv, pid, parts + 2, 1, places, 3, 0));
    struct iovec gaps[3] = {{P(0), 3}, {P(30), 0}, {P(2), 5}};
    parts[2].iov_len = 40;
    F("1.22", sc(SYS_process_vm_readv, pid, parts + 2, 1, gaps, 3, 0));
    F("1.22", sc(SYS_process_vm_readv, getpid(), parts + 2, 1, gaps, 3, 0));
    F("1.22", sc(SYS_process_vm_readv, pid, parts + 2, 1, places, 3, 0));
    F("1.22", sc(SYS_process_vm_writev, pid, &near, 1, &far, 1, 0));
    far.iov_base = P(8), far.iov_len = PG + 1;
    F("1.22", sc(SYS_process_vm_readv, pid, &near, 1, &far, 1, 0));
    far.iov_base = P(11) + 4000, far.iov_len = 200;
    F("1.22", sc(SYS_process_vm_writev, pid, &near, 1, &far, 1, 0));
    far.iov_base = P(0), far.iov_len = 1;
    struct iovec big = {P(16), 20 * PG}, all = {P(16), 20 * PG};
    F("1.22", sc(SYS_process_vm_readv, pid, &big, 1, &all, 1, 0));
    F("1.22", sc(SYS_process_vm_readv, pid, &near, 1, &far, 1, 1));
    F("1.22", sc(SYS_process_vm_readv, 0x3fffffff, &near, 1, &far, 1, 0));
    int fd = (int)sc(SYS_pidfd_open, pid, 0);
    F("1.22", sc(SYS_process_madvise, fd, &far, 1, MADV_DONTNEED, 0));
    shared[0] = 2;
    K("1.22", ended(pid), "who was looked into");
    F("1.22", sc(SYS_process_vm_readv, pid, &near, 1, &far, 1, 0));
    pid = forked();
    if (!pid) {
        K("1.22", said(sc(SYS_process_vm_readv, getppid(), &near, 1, &far, 1, 0)), "a parent that waits");
        _exit(0);
    }
    ended(pid);
    pid = forked();
    if (!pid) _exit(0);
    siginfo_t info;
    sc(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, 0);
    K("1.22", said(sc(SYS_process_vm_readv, pid, &near, 1, &far, 1, 0)), "one that has ended");
    ended(pid);
}

static void all(void (*run)(void)) {
    shared = mmap(0, PG, PROT_READ | PROT_WRITE, MAP_SHARED | ANON, -1, 0);
    run();
}
static void of_endings(void) { all(endings); }
static void of_signals(void) { all(signals); }
static void of_lending(void) { all(lending); }
static void of_groups(void) { all(groups); }
static void of_clones(void) { all(clones); }
static void of_things(void) { all(things); }
static void of_waking(void) { all(waking); }
static void of_looking(void) { area(40), all(looking); }

SHEET(SECTION(of_endings), SECTION(memory), SECTION(merging), SECTION(of_signals), SECTION(of_lending), SECTION(reading), SECTION(of_groups), SECTION(of_clones),
      SECTION(of_things), SECTION(of_waking), SECTION(of_looking))
