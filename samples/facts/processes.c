/* Sections 1.17: a process and its files as seen by pidfd_send_signal, pidfd_getfd, kcmp, cachestat. */
#include "fact.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define SEND(fd, signal, info, flags) sc(424, fd, signal, info, flags)
#define GETFD(pid, fd, flags) sc(438, pid, fd, flags)
#define CACHE(fd, range, to, flags) sc(451, fd, range, to, flags)

static siginfo_t last;
static void on_signal(int signal, siginfo_t *info, void *context) { last = *info; fault_sig++; }

static const char *came(void) {
    const char *shown = text("%d times, signal %d code %d pid %d value %lx", fault_sig, last.si_signo, last.si_code, last.si_pid == getpid(), (long)last.si_ptr);
    fault_sig = 0;
    memset(&last, 0, sizeof last);
    return shown;
}

static void sending(void) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    siginfo_t info = {0}, small = {0};
    int pid = (int)sc(434, getpid(), 0), count = eventfd(0, 0), folder = reopen(text("/proc/%d", getpid()), O_RDONLY | O_DIRECTORY);
    int self = reopen("/proc/self", O_RDONLY | O_DIRECTORY), other = reopen("/proc", O_RDONLY), path = reopen(text("/proc/%d", getpid()), O_PATH);
    area(2);
    sigaction(SIGUSR1, &action, 0);
    sigaction(SIGRTMIN, &action, 0);
    fault_sig = 0;
    F("1.17", SEND(pid, SIGUSR1, 0L, 0));
    V("1.17", "by a pidfd", "%s", came());
    for (int flags = 0; flags < 9; flags++) {
        if (flags == 4) continue; /* everybody's */
        K("1.17", said(SEND(pid, SIGUSR1, 0L, flags)), "with flags %d", flags);
        K("1.17", came(), "came with flags %d", flags);
    }
    F("1.17", SEND(pid, 0, 0L, 0));
    F("1.17", SEND(pid, 65, 0L, 0));
    F("1.17", SEND(pid, -1, 0L, 0));
    F("1.17", SEND(99, SIGUSR1, 0L, 0));
    F("1.17", SEND(99, 65, 0L, 16));
    F("1.17", SEND(count, SIGUSR1, 0L, 0));
    F("1.17", SEND(folder, SIGUSR1, 0L, 0));
    F("1.17", SEND(self, SIGUSR1, 0L, 0));
    F("1.17", SEND(other, SIGUSR1, 0L, 0));
    F("1.17", SEND(path, SIGUSR1, 0L, 0));
    V("1.17", "by a folder", "%s", came());
    info.si_signo = SIGRTMIN, info.si_code = SI_QUEUE, info.si_pid = 1, info.si_ptr = (void *)0x1234;
    F("1.17", SEND(pid, SIGRTMIN, &info, 0));
    V("1.17", "with more", "%s", came());
    F("1.17", SEND(pid, SIGUSR1, &info, 0));
    F("1.17", SEND(pid, SIGRTMIN, P(0), 0));
    F("1.17", SEND(pid, 99, P(0), 0));
    info.si_code = SI_USER;
    F("1.17", SEND(pid, SIGRTMIN, &info, 0));
    V("1.17", "as by kill", "%s", came());
    info.si_code = SI_TKILL;
    F("1.17", SEND(pid, SIGRTMIN, &info, 0));
    info.si_code = 5;
    F("1.17", SEND(pid, SIGRTMIN, &info, 0));
    V("1.17", "as by the kernel", "%s", came());
    memset(&info, 0x55, sizeof info);
    info.si_signo = SIGRTMIN, info.si_code = -77;
    F("1.17", SEND(pid, SIGRTMIN, &info, 0));
    F("1.17", SEND(pid, SIGUSR1, &info, 0));
    info.si_code = SI_QUEUE;
    F("1.17", SEND(pid, SIGRTMIN, &info, 0));
    small.si_signo = 0;
    F("1.17", SEND(pid, 0, &small, 0));
    fault_sig = 0;
    F("1.17", SEND(-10000, SIGUSR1, 0L, 0));
    V("1.17", "to the thread itself", "%s", came());
    F("1.17", SEND(-10001, SIGUSR1, 0L, 0));
    V("1.17", "to the process itself", "%s", came());
    F("1.17", SEND(-10000, SIGUSR1, 0L, 2));
    V("1.17", "to the thread's process", "%s", came());
    F("1.17", SEND(-20000, SIGUSR1, 0L, 0));
    F("1.17", sc(SYS_process_madvise, -10000, 0L, 0L, MADV_COLD, 0));
    F("1.17", sc(SYS_process_madvise, -10001, 0L, 0L, MADV_COLD, 0));
    F("1.17", sc(SYS_process_madvise, -10002, 0L, 0L, MADV_COLD, 0));
    F("1.17", sc(SYS_process_madvise, -20000, 0L, 0L, MADV_COLD, 0));
    F("1.17", read(pid, procbuf, 8));
    F("1.17", sc(SYS_pread64, pid, procbuf, 8L, 0L));
}

static void getting(void) {
    int pid = (int)sc(434, getpid(), 0), data = file("data", 1), path = reopen("data", O_PATH), got;
    F("1.17", (got = GETFD(pid, data, 0)) == path + 1);
    F("1.17", fcntl(got, F_GETFD));
    F("1.17", lseek(data, 5, SEEK_SET));
    F("1.17", lseek(got, 0, SEEK_CUR));
    F("1.17", GETFD(pid, data, 1));
    F("1.17", GETFD(99, data, 1));
    F("1.17", GETFD(pid, 98, 0));
    F("1.17", GETFD(pid, -1, 0));
    F("1.17", GETFD(data, data, 0));
    F("1.17", GETFD(98, data, 0));
    F("1.17", GETFD(-10000, data, 0));
    F("1.17", GETFD(-10001, data, 0));
    got = (int)GETFD(pid, path, 0);
    F("1.17", fcntl(got, F_GETFL) & O_PATH);
}

static void comparing(void) {
    int me = getpid(), data = file("data", 1), again = reopen("data", O_RDONLY), copy = dup(data), path = reopen("data", O_PATH), ends[2];
    pipe(ends);
    for (int kind = -1; kind < 10; kind++) K("1.17", said(sc(SYS_kcmp, me, me, kind, (long)data, kind == 7 ? 0L : (long)copy)), "kcmp of kind %d", kind);
    F("1.17", sc(SYS_kcmp, me, me, 0, (long)data, (long)data));
    F("1.17", sc(SYS_kcmp, me, me, 0, (long)data, (long)again) > 0);
    F("1.17", sc(SYS_kcmp, me, me, 0, (long)data, (long)again) + sc(SYS_kcmp, me, me, 0, (long)again, (long)data));
    F("1.17", sc(SYS_kcmp, me, me, 0, (long)path, (long)path));
    F("1.17", sc(SYS_kcmp, me, me, 0, 99L, (long)data));
    F("1.17", sc(SYS_kcmp, me, me, 0, (long)data, 99L));
    F("1.17", sc(SYS_kcmp, me, me, 0, -1L, (long)data));
    F("1.17", sc(SYS_kcmp, me, me, 0, (long)data | 1L << 32, (long)data));
    F("1.17", sc(SYS_kcmp, me, 0, 0, (long)data, (long)data));
    F("1.17", sc(SYS_kcmp, -1, me, 0, (long)data, (long)data));
    F("1.17", sc(SYS_kcmp, me, 0x3fffffff, 88, (long)data, (long)data));
    int ep = epoll_create1(0), same = dup(ends[0]);
    struct epoll_event one = {EPOLLIN};
    struct { uint32_t epoll, target, which; } slot = {ep, ends[0], 0};
    area(2);
    epoll_ctl(ep, EPOLL_CTL_ADD, ends[0], &one);
    F("1.17", sc(SYS_kcmp, me, me, 7, (long)ends[0], &slot));
    F("1.17", sc(SYS_kcmp, me, me, 7, (long)same, &slot));
    F("1.17", sc(SYS_kcmp, me, me, 7, (long)ends[1], &slot) > 0);
    slot.which = 1;
    F("1.17", sc(SYS_kcmp, me, me, 7, (long)ends[0], &slot));
    slot.which = 0, slot.target = same;
    F("1.17", sc(SYS_kcmp, me, me, 7, (long)ends[0], &slot));
    slot.epoll = data;
    F("1.17", sc(SYS_kcmp, me, me, 7, (long)ends[0], &slot));
    slot.epoll = 99;
    F("1.17", sc(SYS_kcmp, me, me, 7, (long)ends[0], &slot));
    F("1.17", sc(SYS_kcmp, me, me, 7, 99L, &slot));
    F("1.17", sc(SYS_kcmp, me, me, 7, 99L, P(0)));
}

static const char *cached(int fd, uint64_t offset, uint64_t length) {
    uint64_t range[2] = {offset, length}, counts[5] = {77, 77, 77, 77, 77};
    long r = CACHE(fd, range, counts, 0);
    return r ? ename(-r) : text("%lu cached, %lu evicted", counts[0], counts[3]);
}

static void caching(void) {
    int data = file("data", 5), memory = (int)sc(SYS_memfd_create, "m", 0), path = reopen("data", O_PATH), ends[2], read_only = reopen("data", O_RDONLY);
    uint64_t range[2] = {0, 0}, counts[5];
    pipe(ends);
    area(4);
    map(0, 1, RW), map(2, 1, R);
    ftruncate(memory, 8 * PG);
    pwrite(memory, "x", 1, 2 * PG), pwrite(memory, "x", 1, 5 * PG);
    K("1.17", cached(data, 0, 0), "a file");
    K("1.17", cached(read_only, 0, 0), "a file to be read");
    K("1.17", cached(data, PG, 1), "a byte");
    K("1.17", cached(data, PG - 1, 2), "two bytes of two pages");
    K("1.17", cached(data, 3 * PG, 100 * PG), "beyond the end");
    K("1.17", cached(data, 100 * PG, 0), "behind the end");
    K("1.17", cached(data, 10, -1UL), "all there may be");
    K("1.17", cached(memory, 0, 0), "a memfd");
    K("1.17", cached(memory, 3 * PG, 2 * PG), "a hole of a memfd");
    K("1.17", cached(memory, 2 * PG, 4 * PG), "around a hole");
    K("1.17", cached(path, 0, 0), "a path");
    K("1.17", cached(ends[0], 0, 0), "a pipe");
    K("1.17", cached(eventfd(0, 0), 0, 0), "an eventfd");
    K("1.17", cached(99, 0, 0), "nothing open");
    K("1.17", cached(reopen("/proc/self/maps", O_RDONLY), 0, 0), "a made-up file");
    K("1.17", cached(reopen(".", O_RDONLY), 0, 0)[0] == 'E' ? "failed" : "done", "a folder");
    F("1.17", CACHE(data, range, counts, 1));
    F("1.17", CACHE(99, P(1), counts, 1));
    F("1.17", CACHE(data, P(1), counts, 1));
    F("1.17", CACHE(data, P(1) - 8, counts, 0));
    F("1.17", CACHE(data, range, P(1), 1));
    F("1.17", CACHE(data, range, P(1), 0));
    F("1.17", CACHE(data, range, P(2), 0));
    F("1.17", CACHE(data, range, P(1) - 8, 0));
    F("1.17", CACHE(data, 0L, 0L, 0));
    F("1.17", posix_fadvise(data, 0, 0, POSIX_FADV_DONTNEED));
}

static void others(void) {
    int pid = (int)sc(434, getpid(), 0);
    F("1.17", sc(SYS_kill, 1, 0));
    F("1.17", sc(SYS_kill, getppid(), 0));
    F("1.17", sc(SYS_kill, 1, 65));
    F("1.17", sc(SYS_waitid, 3, 0, 0L, 4, 0L));
    F("1.17", sc(SYS_waitid, 3, 99, 0L, 4, 0L));
    F("1.17", sc(SYS_waitid, 3, -1, 0L, 4, 0L));
    F("1.17", sc(SYS_waitid, 3, pid, 0L, 4, 0L));
    static const char *settings[] = {"osrelease", "ostype", "hostname", "cap_last_cap", "ngroups_max", "pid_max"};
    for (int i = 0; i < 6; i++)
        for (int mode = 1; mode < 7; mode++)
            if (!(mode & 2) || (i != 2 && i != 5)) K("1.17", said(sc(SYS_faccessat, AT_FDCWD, text("/proc/sys/kernel/%s", settings[i]), mode)), "access %d of %s", mode, settings[i]);
    static const char *made[] = {"timens_offsets", "ksm_merging_pages"};
    for (int i = 0; i < 2; i++) {
        slurp(text("/proc/self/%s", made[i]));
        for (char *at = procbuf; *at; at++) *at = *at == '\n' ? '|' : *at;
        V("1.17", made[i], "%s", procbuf);
    }
}

/* Who leads: the numbers are this process, its first group, its first session, or another. */
static int group_then, session_then;
static const char *who(long pid) {
    return pid == getpid() ? "me" : pid == group_then ? "the first group" : pid == session_then ? "the first session" : pid < 0 ? ename(-pid) : "another";
}
static void tell(const char *when) {
    long stat_group = -1, stat_session = -1;
    slurp("/proc/self/stat");
    sscanf(strrchr(procbuf, ')') + 2, "%*c %*d %ld %ld", &stat_group, &stat_session);
    K("1.17", text("%s, %s, %s, %s", who(sc(SYS_getpgid, 0)), who(sc(SYS_getsid, 0)), who(stat_group), who(stat_session)), "group and session %s", when);
    const char *group = who(status("NSpgid")), *session = who(status("NSsid"));
    K("1.17", text("%s, %s", group, session), "status %s", when);
}
static void groups(void) {
    group_then = (int)sc(SYS_getpgid, 0), session_then = (int)sc(SYS_getsid, 0);
    tell("at first");
    F("1.17", sc(SYS_setpgid, 0, -1));
    F("1.17", sc(SYS_setpgid, -1, 0));
    F("1.17", sc(SYS_setpgid, 0x3fffffff, 0));
    F("1.17", sc(SYS_setpgid, 0, 0x3fffffff));
    F("1.17", sc(SYS_setpgid, 0, group_then));
    if (group_then == getpid()) return; /* a leader has no way back */
    F("1.17", sc(SYS_setpgid, 0, 0));
    tell("on its own");
    F("1.17", sc(SYS_setpgid, getpid(), getpid()));
    F("1.17", sc(SYS_setsid));
    F("1.17", sc(SYS_kill, 0, 0));
    F("1.17", sc(SYS_kill, -getpid(), 0));
    F("1.17", sc(SYS_setpgid, 0, group_then));
    tell("back again");
    K("1.17", who(sc(SYS_setsid)), "a session");
    tell("in a session");
    F("1.17", sc(SYS_setsid));
    F("1.17", sc(SYS_setpgid, 0, 0));
    F("1.17", sc(SYS_setpgid, 0, group_then));
}

SHEET(SECTION(sending), SECTION(getting), SECTION(comparing), SECTION(caching), SECTION(others), SECTION(groups))
