/* Section 1.15: clocks, also those of processes and threads, and what is remembered of scheduling. */
#include "fact.h"
#include <sched.h>
#include <sys/timex.h>
#include <time.h>

static struct timespec at[] = {{0, 1}, {0, 1000000000}, {-1, 0}};

static void clocks(void) {
    area(4);
    map(0, 1, NONE);
    for (int clock = -8; clock < 20; clock++) {
        if (clock == 8 || clock == 9) continue; /* those of a machine that can be woken */
        struct timespec now;
        int cpu = clock == CLOCK_PROCESS_CPUTIME_ID || (clock < 0 && clock != -5 && clock != -1), id = 77;
        K("1.15", said(sc(SYS_clock_gettime, clock, &now)), "clock_gettime of %d", clock);
        K("1.15", said(sc(SYS_clock_gettime, clock, P(0))), "clock_gettime of %d to no memory", clock);
        K("1.15", said(sc(SYS_clock_getres, clock, 0L)), "clock_getres of %d", clock);
        K("1.15", said(sc(SYS_clock_settime, clock, P(0))), "clock_settime of %d from no memory", clock);
        for (int i = 0; i < 3; i++) {
            if (clock || i) K("1.15", said(sc(SYS_clock_settime, clock, at + i)), "clock_settime of %d to %ld s %ld ns", clock, at[i].tv_sec, at[i].tv_nsec);
            if (i || !cpu) K("1.15", said(sc(SYS_clock_nanosleep, clock, 0, at + i, 0L)), "clock_nanosleep of %d for %ld s %ld ns", clock, at[i].tv_sec, at[i].tv_nsec);
        }
        if (!cpu) K("1.15", said(sc(SYS_clock_nanosleep, clock, TIMER_ABSTIME, at, 0L)), "clock_nanosleep of %d until 1", clock);
        K("1.15", said(sc(SYS_clock_nanosleep, clock, 0, P(0), 0L)), "clock_nanosleep of %d from no memory", clock);
        K("1.15", said(sc(SYS_timer_create, clock, 0L, &id)), "timer_create on %d", clock);
        K("1.15", said(id != 77), "is there a number for a timer on %d", clock);
        if (id != 77) sc(SYS_timer_delete, id);
        K("1.15", said(sc(SYS_timer_create, clock, 0L, P(0))), "timer_create on %d to no memory", clock);
    }
    clockid_t mine = (clockid_t)(~getpid() << 3 | 2), others = (clockid_t)(~1 << 3 | 2);
    F("1.15", sc(SYS_clock_gettime, mine, at));
    F("1.15", sc(SYS_clock_gettime, mine | 4, at));
    F("1.15", sc(SYS_clock_gettime, (clockid_t)(~999999 << 3 | 2), at));
    F("1.15", sc(SYS_clock_nanosleep, mine | 4, 0, &(struct timespec){0, 1}, 0L));
    struct { long seconds, micro; } late = {0, 1000000};
    int zone[2] = {1000, 0};
    F("1.15", sc(SYS_settimeofday, P(0), 0L));
    F("1.15", sc(SYS_settimeofday, &late, 0L));
    F("1.15", sc(SYS_settimeofday, 0L, P(0)));
    F("1.15", sc(SYS_settimeofday, 0L, zone));
    F("1.15", sc(SYS_settimeofday, 0L, 0L));
}

static void scheduling(void) {
    struct sched_param parameter;
    struct timespec interval;
    unsigned attributes[20];
    char *head;
    long length;
    area(4);
    map(0, 1, NONE);
    for (int policy = -2; policy < 9; policy++) {
        K("1.15", said(sc(SYS_sched_get_priority_max, policy)), "highest priority of policy %d", policy);
        K("1.15", said(sc(SYS_sched_get_priority_min, policy)), "lowest priority of policy %d", policy);
        for (int priority = -1; priority < 3; priority++) {
            if (priority > 0 && (policy == SCHED_FIFO || policy == SCHED_RR)) continue;
            parameter.sched_priority = priority;
            K("1.15", said(sc(SYS_sched_setscheduler, 0, policy, &parameter)), "policy %d with priority %d", policy, priority);
            K("1.15", said(sc(SYS_sched_getscheduler, 0)), "policy after %d with priority %d", policy, priority);
            K("1.15", said(sc(SYS_sched_setparam, 0, &parameter)), "priority %d of policy %d", priority, policy);
        }
        parameter.sched_priority = 0;
        sc(SYS_sched_setscheduler, 0, 0, &parameter);
    }
    F("1.15", sc(SYS_sched_setscheduler, 0, 0x40000000 | SCHED_BATCH, &parameter));
    F("1.15", sc(SYS_sched_getscheduler, 0) == (0x40000000 | SCHED_BATCH));
    F("1.15", sc(SYS_sched_setscheduler, 0, 0, &parameter));
    for (int pid = -1; pid < 2; pid++) {
        int who = pid == 1 ? 999999 : pid;
        parameter.sched_priority = 7;
        K("1.15", said(sc(SYS_sched_getscheduler, who)), "sched_getscheduler of %d", who);
        K("1.15", said(sc(SYS_sched_getparam, who, &parameter)), "sched_getparam of %d", who);
        K("1.15", said(parameter.sched_priority), "priority of %d", who);
        K("1.15", said(sc(SYS_sched_getparam, who, 0L)), "sched_getparam of %d to nothing", who);
        K("1.15", said(sc(SYS_sched_getparam, who, P(0))), "sched_getparam of %d to no memory", who);
        K("1.15", said(sc(SYS_sched_setparam, who, 0L)), "sched_setparam of %d from nothing", who);
        K("1.15", said(sc(SYS_sched_setparam, who, P(0))), "sched_setparam of %d from no memory", who);
        K("1.15", said(sc(SYS_sched_setscheduler, who, 0, P(0))), "sched_setscheduler of %d from no memory", who);
        K("1.15", said(sc(SYS_sched_rr_get_interval, who, &interval)), "sched_rr_get_interval of %d", who);
        K("1.15", said(sc(SYS_sched_rr_get_interval, who, P(0))), "sched_rr_get_interval of %d to no memory", who);
        for (int size = 40; size <= 72; size += 8) {
            memset(attributes, 0xee, sizeof attributes);
            K("1.15", said(sc(SYS_sched_getattr, who, attributes, size, 0)), "sched_getattr of %d, %d bytes", who, size);
            K("1.15", text("%x %x %x %x %x", attributes[0], attributes[1], attributes[4], attributes[14], attributes[17]), "attributes of %d, %d bytes", who, size);
        }
        K("1.15", said(sc(SYS_sched_getattr, who, attributes, 48, 1)), "sched_getattr of %d with flags", who);
        K("1.15", said(sc(SYS_sched_getattr, who, P(0), 48, 0)), "sched_getattr of %d to no memory", who);
        K("1.15", said(sc(SYS_get_robust_list, who, &head, &length)), "get_robust_list of %d", who);
    }
    V("1.15", "length of the robust list's head", "%ld", (sc(SYS_get_robust_list, 0, &head, &length), length));
    setpgid(0, 0); /* what concerns a group shall concern nobody else */
    for (int which = -1; which < 4; which++) {
        K("1.15", said(sc(SYS_setpriority, which, -1, 0)), "setpriority %d of nobody", which);
        if (which != PRIO_USER) /* that would be every process of the user */
            K("1.15", said(sc(SYS_setpriority, which, 0, sc(SYS_getpriority, which, 0) < 0 ? 0 : 20 - (int)sc(SYS_getpriority, which, 0))), "setpriority %d to what it is", which);
    }
}

static long allowed(char *set) { /* what /proc/self/status says; the set as numbers in text */
    char status[8192] = "", *at;
    int file = open("/proc/self/status", O_RDONLY);
    read(file, status, sizeof status - 1), close(file);
    at = strstr(status, "Cpus_allowed_list:");
    return at ? sscanf(at + 18, "%60s", set) : 0;
}

static void affinity(void) {
    unsigned long set[16], before[16];
    char list[64];
    area(2), map(0, 1, NONE);
    sc(SYS_sched_getaffinity, 0, sizeof before, before);
    for (int length = 0; length <= 64; length += 4) K("1.15", text("%ld", sc(SYS_sched_getaffinity, 0, length, set)), "sched_getaffinity into %d bytes", length);
    F("1.15", sc(SYS_sched_getaffinity, 0, 128, P(0)));
    F("1.15", sc(SYS_sched_getaffinity, -1, 128, set));
    for (int cpu = 0; cpu < 3; cpu++)
        for (int length = 0; length < 12; length += 4) {
            unsigned here = 99;
            memset(set, 0, sizeof set), set[0] = 1UL << cpu;
            K("1.15", said(sc(SYS_sched_setaffinity, 0, length, set)), "sched_setaffinity to CPU %d, %d bytes", cpu, length);
            sc(SYS_sched_getaffinity, 0, sizeof set, set), sc(SYS_getcpu, &here, 0L, 0L), allowed(list);
            K("1.15", text("%lx, on %s, %s", set[0], set[0] >> here & 1 ? "one of them" : "another", list), "then, %d %d", cpu, length);
            sc(SYS_sched_setaffinity, 0, sizeof before, before);
        }
    F("1.15", sc(SYS_sched_setaffinity, 0, 8, P(0)));
    F("1.15", sc(SYS_sched_setaffinity, 999999, 8, before));
}


static void adjusting(void) {
    static struct timex now;
    area(2);
    map(0, 1, R);
    for (int clock = -7; clock < 14; clock++) {
        if (clock == 8 || clock == 9) continue;
        memset(&now, 0, sizeof now);
        K("1.15", said(sc(SYS_clock_adjtime, clock, &now) < 0 ? -errno : 0), "clock_adjtime of %d", clock);
        K("1.15", said(sc(SYS_clock_adjtime, clock, P(1))), "clock_adjtime of %d from no memory", clock);
    }
    memset(&now, 0, sizeof now);
    F("1.15", sc(SYS_adjtimex, &now) >= 0);
    V("1.15", "a clock's tick", "%ld %d", (long)now.tick, now.time.tv_sec > 1000000000);
    now.modes = 0xa001;
    F("1.15", sc(SYS_adjtimex, &now) >= 0);
    now.modes = 0x8000;
    F("1.15", sc(SYS_adjtimex, &now));
    now.modes = 0x2000;
    F("1.15", sc(SYS_adjtimex, P(1)));
    F("1.15", sc(SYS_adjtimex, P(0)));
    F("1.15", sc(SYS_unshare, 0L));
    F("1.15", sc(SYS_unshare, 1L));
    F("1.15", sc(SYS_unshare, 1L << 33));
    F("1.15", sc(SYS_unshare, 0x200L | 0x400 | 0x40000));
    F("1.15", sc(SYS_unshare, 0x100L | 0x800 | 0x10000));
}

static void on_limit(int signal) { fault_sig = signal; }
static void cpu_limit(void) {
    struct rlimit both, old;
    struct timespec used;
    getrlimit(RLIMIT_CPU, &old);
    sc(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &used);
    both = (struct rlimit){used.tv_sec + 1, old.rlim_max};
    signal(SIGXCPU, on_limit);
    fault_sig = 0;
    F("1.15", sysresult(setrlimit(RLIMIT_CPU, &both)));
    while (!fault_sig) sc(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &used);
    V("1.15", "the signal of a CPU limit", "%d", fault_sig);
    long before = (long)both.rlim_cur;
    getrlimit(RLIMIT_CPU, &both);
    V("1.15", "the limit then", "%ld", (long)both.rlim_cur - before);
    fault_sig = 0;
    F("1.15", sysresult(setrlimit(RLIMIT_CPU, &old)));
    signal(SIGXCPU, SIG_DFL);
}

SHEET(SECTION(cpu_limit), SECTION(adjusting), SECTION(clocks), SECTION(scheduling), SECTION(affinity))
