/* Section 2.2: timers whose signals are ignored, blocked or wait beside others of their kind; and section 1.15: real-time priorities.
   Times are of the wall clock: what is printed leaves room for a slow machine. */
#include "fact.h"
#include <sched.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static volatile int got, over;
static timer_t timer;

static void handler(int signal, siginfo_t *info, void *context) {
    if (!got++) over = info->si_overrun;
}

static void act(int kind) { /* SIG_IGN, SIG_DFL or the handler */
    struct sigaction action = {.sa_flags = SA_SIGINFO, .sa_sigaction = handler};
    if (kind < 2) action = (struct sigaction){.sa_handler = kind ? SIG_DFL : SIG_IGN};
    sigaction(SIGCONT, &action, 0);
}

static void start(int first, int every) { /* milliseconds */
    struct itimerspec when = {{0, every * 1000000L}, {0, first * 1000000L}};
    timer_settime(timer, 0, &when, 0);
}

static void nap(int milliseconds) {
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    while (nanosleep(&left, &left)) {}
}

static const char *many(int count) { return count >= 20 ? "many" : "few"; }

static void show(const char *when) {
    struct itimerspec now;
    timer_gettime(timer, &now);
    V("2.2", when, "%s%s, %s overruns then, %s told of, %s", got ? "taken" : "not taken", got == 1 ? " once" : "", many(over), many(timer_getoverrun(timer)),
      now.it_value.tv_sec || now.it_value.tv_nsec ? "goes on" : "stands");
    got = over = 0;
}

static void timers(void) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT};
    sigset_t cont, before;
    sigemptyset(&cont);
    sigaddset(&cont, SIGCONT);
    F("2.2", timer_create(CLOCK_MONOTONIC, &event, &timer));
    act(0), start(5, 1), nap(60), show("ignored by SIG_IGN");
    act(2), nap(1), start(0, 0), V("2.2", "then there is a handler", "%d %s", got > 0, many(over)), got = over = 0;
    act(0), start(5, 0), nap(20), show("once, ignored");
    act(2), nap(1), show("once, then there is a handler");
    act(1), start(5, 1), nap(60), show("ignored by default");
    act(2), nap(20), start(0, 0), show("by default, then there is a handler");
    act(0), start(5, 1), nap(20), start(0, 0), act(2), nap(1), show("ignored, stopped, then there is a handler");
    sigprocmask(SIG_BLOCK, &cont, &before);
    act(1), start(5, 1), nap(60), show("blocked, by default ignored");
    sigprocmask(SIG_SETMASK, &before, 0), show("unblocked, by default ignored");
    nap(30), show("a while later"), start(0, 0);
    sigprocmask(SIG_BLOCK, &cont, 0);
    act(2), start(5, 1), nap(20), act(0), nap(40), act(2), V("2.2", "ignored meanwhile: pending again", "%d", (sigpending(&cont), sigismember(&cont, SIGCONT)));
    sigprocmask(SIG_SETMASK, &before, 0), start(0, 0), V("2.2", "and taken", "%d %s", got > 0, many(over)), got = over = 0;
    sigprocmask(SIG_BLOCK, &cont, 0);
    kill(getpid(), SIGCONT), start(5, 0), nap(20), kill(getpid(), SIGCONT), sigprocmask(SIG_SETMASK, &before, 0);
    V("2.2", "a timer's signal beside one that is pending already", "%d times", got), got = 0;
    sigprocmask(SIG_BLOCK, &cont, 0);
    start(5, 0), nap(20), kill(getpid(), SIGCONT), sigprocmask(SIG_SETMASK, &before, 0);
    V("2.2", "one that is sent while a timer's is pending", "%d times", got), got = 0;
    act(0), start(5, 1), nap(20);
    F("2.2", timer_delete(timer));
    act(2), nap(5), V("2.2", "deleted while it was ignored", "%d", got);
}

static void intervals(void) {
    static const long values[][4] = {{0, 0, 5, 20}, {30, 40, 0x1ffffffffL, 20}, {0x1ffffffffL, 999999, 7, 8}, {9223372036L, 854775, 9223372036L, 0}, {9223372037L, 0, 1L << 62, 5}, {0, 0, 0, 0}};
    for (int which = 0; which < 3; which++)
        for (int i = 0; i < 6; i++) {
            struct itimerval to = {{values[i][2], values[i][3]}, {values[i][0], values[i][1]}}, old = {{7, 7}, {7, 7}};
            struct itimerval none = {0};
            K("2.2", said(sc(SYS_setitimer, which, &to, 0L)), "setitimer %d, %d", which, i);
            sc(SYS_setitimer, which, &none, &old);
            K("2.2", text("%ld.%06ld, %s", old.it_interval.tv_sec, old.it_interval.tv_usec, which && i > 2 ? "some" : old.it_value.tv_sec > 1000 ? "long" : old.it_value.tv_sec ? "short" : "none"), "then, %d %d", which, i);
        }
}

struct attributes { unsigned size, policy; unsigned long flags; int nice; unsigned priority; unsigned long runtime, deadline, period; unsigned low, high, more[6]; };

static void level(const char *when) {
    struct sched_param now = {77};
    struct attributes seen = {0};
    struct timespec turn = {7, 7};
    char stat[1024] = "", *at = stat;
    int file = open("/proc/self/stat", O_RDONLY), field = 1, shown[42] = {0};
    if (read(file, stat, sizeof stat - 1) > 0)
        for (at = strrchr(stat, ')') + 1, field = 2; *at && field < 41; at++)
            if (*at == ' ' && ++field) shown[field] = atoi(at + 1);
    close(file);
    int policy = (int)sc(SYS_sched_getscheduler, 0);
    sc(SYS_sched_getparam, 0, &now), sc(SYS_sched_getattr, 0, &seen, 48, 0), sc(SYS_sched_rr_get_interval, 0, &turn);
    V("1.15", when, "policy %x priority %d; attributes %u %x %d %u; turn %ld; stat %d %d %d", policy, now.sched_priority, seen.policy, (int)seen.flags, policy & 3 ? seen.nice : 0,
      seen.priority, policy & 3 ? turn.tv_nsec : 0, policy & 3 ? shown[18] : 0, shown[40], shown[41]);
}

static void priorities(void) {
    area(2);
    static int policies[] = {1, 2, 0, 3, 5, 1, 6, 7, 4, 0x40000001, 0x40000002, 0};
    static int priorities[] = {0, 1, 50, 99, 100, -1};
    for (int i = 0; i < 12; i++)
        for (int j = 0; j < 6; j++) {
            struct sched_param to = {priorities[j]};
            K("1.15", said(sc(SYS_sched_setscheduler, 0, policies[i], &to)), "%d: policy %x, priority %d", i, policies[i], priorities[j]);
            K("1.15", said(sc(SYS_sched_setparam, 0, &to)), "%d: then the priority", i * 6 + j);
            level(text("%d: it is", i * 6 + j));
        }
    for (int policy = -1; policy < 4; policy++)
        for (unsigned flags = 0; flags < 0x100; flags = flags ? flags << 1 : 1)
            for (unsigned priority = 0; priority < 101; priority += 50) {
                if (flags & 0x60) continue; /* not every kernel has clamps */
                struct attributes to = {56, (unsigned)policy, flags, (int)sc(SYS_getpriority, 0, 0) < 0 ? 0 : 20 - (int)sc(SYS_getpriority, 0, 0), priority};
                K("1.15", said(sc(SYS_sched_setattr, 0, &to, 0)), "sched_setattr: policy %d, flags %x, priority %u", policy, flags, priority);
                level(text("then, %d %x %u", policy, flags, priority));
            }
    struct attributes odd = {40};
    F("1.15", sc(SYS_sched_setattr, 0, &odd, 0)), V("1.15", "size told", "%u", odd.size);
    odd.size = 80;
    F("1.15", sc(SYS_sched_setattr, 0, &odd, 0)), V("1.15", "size told", "%u", odd.size);
    odd.size = 80, odd.more[1] = 1;
    F("1.15", sc(SYS_sched_setattr, 0, &odd, 0)), V("1.15", "size told", "%u", odd.size);
    odd = (struct attributes){0};
    F("1.15", sc(SYS_sched_setattr, 0, &odd, 0));
    F("1.15", sc(SYS_sched_setattr, 0, &odd, 1));
    F("1.15", sc(SYS_sched_setattr, -1, &odd, 0));
    F("1.15", sc(SYS_sched_setattr, 999999, &odd, 0));
    F("1.15", sc(SYS_sched_setattr, 0, 0L, 0));
    F("1.15", sc(SYS_sched_setattr, 0, P(0), 0));
    sc(SYS_sched_setscheduler, 0, 0, &(struct sched_param){0});
    level("at the end");
}

SHEET(SECTION(timers), SECTION(intervals), SECTION(priorities))
