/* Section 1.21: nice values, policies with priorities, priorities of input and output, CPUs that are chosen: set, and told again. */
#define _GNU_SOURCE
#include "fact.h"
#include <sched.h>
#include <stdlib.h>

struct attr { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; uint32_t low, high; };

static const char *attributes(void) {
    struct attr now;
    long r = sc(SYS_sched_getattr, 0, &now, sizeof now, 0);
    return text("%s policy %u flags %lu nice %d priority %u run %lu", said(r), now.policy, now.flags, now.nice, now.priority, now.runtime);
}
static const char *field(int n) { /* of /proc/self/stat */
    slurp("/proc/self/stat");
    char *at = strrchr(procbuf, ')') + 2;
    for (int i = 3; i < n; i++) at = strchr(at, ' ') + 1;
    return text("%.*s", (int)strcspn(at, " "), at);
}
static const char *stat_says(void) {
    const char *priority = field(18), *nice = field(19), *realtime = field(40);
    return text("prio %s nice %s rt %s policy %s", priority, nice, realtime, field(41));
}

static void nices(void) {
    setpgid(0, 0); /* what concerns a group shall concern nobody else */
    static int values[] = {5, 3, -3, -30, 100, 19, 0};
    int me = getpid();
    for (int i = 0; i < 7; i++) {
        K("1.21", said(sc(SYS_setpriority, PRIO_PROCESS, i & 1 ? me : 0, values[i])), "nice value %d", values[i]);
        K("1.21", said(sc(SYS_getpriority, PRIO_PROCESS, 0)), "priority at %d", values[i]);
        K("1.21", stat_says(), "stat at %d", values[i]);
        K("1.21", attributes(), "attributes at %d", values[i]);
    }
    F("1.21", sc(SYS_setpriority, PRIO_PROCESS, 0x3fffffff, 0));
    F("1.21", sc(SYS_getpriority, PRIO_PROCESS, -1));
    F("1.21", sc(SYS_setpriority, 3, 0, 0));
    F("1.21", sc(SYS_setpriority, -1, 0, 0));
}

static void policies(void) {
    struct sched_param parameter = {0};
    struct attr wanted;
    struct timespec round;
    static int chosen[] = {SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_FIFO, SCHED_IDLE, 0};
    for (int i = 0; i < 6; i++) {
        parameter.sched_priority = chosen[i] == SCHED_FIFO || chosen[i] == SCHED_RR ? 2 + i : 0;
        K("1.21", said(sc(SYS_sched_setscheduler, 0, chosen[i] | (i == 1 ? 0x40000000 : 0), &parameter)), "policy %d", chosen[i]);
        K("1.21", text("%#lx", sc(SYS_sched_getscheduler, 0)), "the policy after %d", chosen[i]);
        parameter.sched_priority = 77;
        F("1.21", sc(SYS_sched_getparam, 0, &parameter));
        K("1.21", text("%d", parameter.sched_priority), "the priority of %d", chosen[i]);
        K("1.21", stat_says(), "stat with %d", chosen[i]);
        K("1.21", attributes(), "attributes with %d", chosen[i]);
        parameter.sched_priority = 9;
        K("1.21", said(sc(SYS_sched_setparam, 0, &parameter)), "priority 9 with %d", chosen[i]);
        if (i == 1) K("1.21", text("%ld", sc(SYS_sched_rr_get_interval, 0, &round) ? -1 : round.tv_nsec), "a round");
    }
    for (int policy = -1; policy < 9; policy++)
        for (int priority = 0; priority < 2; priority++) {
            if (policy == SCHED_DEADLINE) continue;
            wanted = (struct attr){sizeof wanted, policy, 0, 3, priority, 0};
            K("1.21", said(sc(SYS_sched_setattr, 0, &wanted, 0)), "attributes of policy %d, priority %d", policy, priority);
            K("1.21", attributes(), "attributes with policy %d, priority %d", policy, priority);
        }
    for (int flag = 1; flag < 32; flag *= 2) {
        wanted = (struct attr){sizeof wanted, SCHED_BATCH, flag, flag, 0, 0};
        K("1.21", said(sc(SYS_sched_setattr, 0, &wanted, 0)), "attributes with flag %d", flag);
        K("1.21", attributes(), "attributes after flag %d", flag);
        wanted = (struct attr){sizeof wanted, 0, 0, 0, 0, 0};
        sc(SYS_sched_setattr, 0, &wanted, 0);
    }
    static uint64_t runs[] = {1, 100000, 5000000, 1000000000, 0};
    for (int i = 0; i < 5; i++) {
        wanted = (struct attr){sizeof wanted, 0, 0, 0, 0, runs[i]};
        K("1.21", said(sc(SYS_sched_setattr, 0, &wanted, 0)), "a slice of %lu", runs[i]);
        K("1.21", attributes(), "attributes with a slice of %lu", runs[i]);
    }
    static uint32_t sizes[] = {0, 1, 47, 48, 52, 56, 57, 64, 4096, 4097};
    static char big[5000];
    for (int i = 0; i < 10; i++)
        for (int rest = 0; rest < 2; rest++) {
            memset(big, 0, sizeof big);
            if (rest) big[60] = 1;
            *(uint32_t *)big = sizes[i];
            K("1.21", said(sc(SYS_sched_setattr, 0, big, 0)), "attributes of %u bytes, rest %d", sizes[i], rest);
            K("1.21", text("%u", *(uint32_t *)big), "size told for %u", sizes[i]);
        }
    area(2);
    map(0, 1, RW);
    wanted = (struct attr){sizeof wanted};
    F("1.21", sc(SYS_sched_setattr, 0, 0L, 0));
    F("1.21", sc(SYS_sched_setattr, 0, P(1), 0));
    F("1.21", sc(SYS_sched_setattr, 0, P(1) - 4, 0));
    F("1.21", sc(SYS_sched_setattr, 0, &wanted, 1));
    F("1.21", sc(SYS_sched_setattr, -1, &wanted, 0));
    F("1.21", sc(SYS_sched_setattr, 0x3fffffff, &wanted, 0));
    wanted.flags = 0x100;
    F("1.21", sc(SYS_sched_setattr, 0, &wanted, 0));
    wanted.policy = 77;
    F("1.21", sc(SYS_sched_setattr, 0x3fffffff, &wanted, 0));
}

static void disks(void) {
    for (int which = 0; which < 5; which++) {
        if (which != 3) K("1.21", said(sc(SYS_ioprio_get, which, 0)), "ioprio of %d", which);
        K("1.21", said(sc(SYS_ioprio_get, which, 0x3fffffff)), "ioprio of another %d", which);
    }
    for (int class = 0; class < 9; class++)
        for (int level = 0; level < 18; level += 3) {
            K("1.21", said(sc(SYS_ioprio_set, 1, 0, class << 13 | level)), "ioprio class %d level %d", class, level);
            K("1.21", said(sc(SYS_ioprio_get, 1, getpid())), "ioprio after class %d level %d", class, level);
        }
    F("1.21", sc(SYS_ioprio_set, 0, 0, 2 << 13));
    F("1.21", sc(SYS_ioprio_set, 1, 0x3fffffff, 2 << 13));
    F("1.21", sc(SYS_ioprio_set, 9, 0x3fffffff, 7 << 13));
}

static const char *processors(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    long r = sc(SYS_sched_getaffinity, 0, sizeof set, &set);
    slurp("/proc/self/status");
    char *at = strstr(procbuf, "Cpus_allowed:"), *list = strstr(procbuf, "Cpus_allowed_list:");
    return text("%d, %.*s, %.*s", r < 0 ? -1 : CPU_COUNT(&set), (int)strcspn(at, "\n") - 14, at + 14, (int)strcspn(list, "\n") - 19, list + 19);
}

static void chosen(void) {
    unsigned long mask[16] = {0}, before[16] = {0};
    unsigned cpu = 99;
    sc(SYS_sched_getaffinity, 0, sizeof before, before);
    int first = __builtin_ctzl(before[0]);
    K("1.21", processors(), "all");
    mask[0] = 1UL << first;
    F("1.21", sc(SYS_sched_setaffinity, 0, 8L, mask));
    K("1.21", processors(), "one");
    for (long size = 0; size < 260; size += size < 24 ? 4 : 40) K("1.21", said(sc(SYS_sched_getaffinity, 0, size, procbuf)), "a mask of %ld bytes", size);
    F("1.21", sc(SYS_getcpu, &cpu, 0L, 0L));
    V("1.21", "is it there", "%d", cpu == (unsigned)first);
    mask[0] = 0, mask[1] = 1;
    F("1.21", sc(SYS_sched_setaffinity, 0, 8L, mask));
    F("1.21", sc(SYS_sched_setaffinity, 0, 16L, mask));
    F("1.21", sc(SYS_sched_setaffinity, 0, 0L, before));
    F("1.21", sc(SYS_sched_setaffinity, 0x3fffffff, 8L, before));
    F("1.21", sc(SYS_sched_setaffinity, 0, 8L, 0L));
    K("1.21", processors(), "one still");
    memset(mask, 255, sizeof mask);
    F("1.21", sc(SYS_sched_setaffinity, getpid(), sizeof mask, mask));
    mask[0] = before[0];
    F("1.21", sc(SYS_sched_setaffinity, getpid(), 1L, mask));
    F("1.21", sc(SYS_sched_setaffinity, 0, sizeof before, before));
    K("1.21", processors(), "as before");
}

SHEET(SECTION(nices), SECTION(policies), SECTION(disks), SECTION(chosen))
