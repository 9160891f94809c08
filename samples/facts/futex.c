/* Section 1.19: futexes of one thread: what is refused, what is changed, how waiting ends. */
#include "fact.h"
#include <linux/futex.h>
#include <sys/time.h>
#include <time.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif
#define futex(at, op, value, timeout, second, third) sc(SYS_futex, at, op, value, timeout, second, third)
#define REALTIME FUTEX_CLOCK_REALTIME
#define LITTLE 2 /* FUTEX2_SIZE_U32 */

static int word[4];
static struct timespec *soon(int clock) { /* a moment later, or 1 ms if there is no clock */
    static struct timespec at;
    at = (struct timespec){0, 0};
    if (clock >= 0) clock_gettime(clock, &at);
    if ((at.tv_nsec += 1000000) >= 1000000000) at.tv_sec++, at.tv_nsec -= 1000000000;
    return &at;
}

static void operating(void) {
    static const unsigned operands[] = {0, 5, 0x7ff, 0x800, 0xfff, 31, 32};
    area(4);
    map(0, 1, RW), map(1, 1, R);
    for (unsigned op = 0; op < 16; op++)
        for (unsigned i = 0; i < 7; i++) {
            word[1] = 0xf0f;
            long r = futex(word, FUTEX_WAKE_OP, 1, 1L, word + 1, op << 28 | operands[i] << 12 | 3);
            K("1.19", text("%s %x", said(r), word[1]), "operation %u with %x", op, operands[i]);
        }
    for (unsigned compare = 0; compare < 16; compare++) {
        word[1] = 3;
        long r = futex(word, FUTEX_WAKE_OP, 1, 1L, word + 1, 1u << 28 | compare << 24 | 1 << 12 | 3);
        K("1.19", text("%s %x", said(r), word[1]), "comparison %u", compare);
    }
    F("1.19", futex(P(0), FUTEX_WAKE_OP, 1, 1L, P(1), 0));
    F("1.19", futex(P(1), FUTEX_WAKE_OP, 1, 1L, P(0), 0));
    F("1.19", futex(P(1), FUTEX_WAKE_OP | 128, 1, 1L, P(0), 0));
    F("1.19", futex(P(0), FUTEX_WAKE_OP | 128, 1, 1L, P(1), 0));
    F("1.19", futex(P(0), FUTEX_WAKE_OP | 128, 1, 1L, P(2), 0));
    F("1.19", futex(P(0), FUTEX_WAKE_OP | 128, 1, 1L, P(1), 5 << 28));
    F("1.19", futex(P(2), FUTEX_WAKE_OP | 128, 1, 1L, P(0), 0));
    F("1.19", futex(P(0), FUTEX_WAKE_OP | 128, 1, 1L, P(0) + 2, 0));
    F("1.19", futex(P(0), FUTEX_WAKE_OP | 128, -1, -1L, P(0), 0));
    F("1.19", futex(P(0), FUTEX_WAKE_OP | 128 | REALTIME, 1, 1L, P(0), 0));
}

static void moving(void) {
    area(4);
    map(0, 1, RW), map(1, 1, R);
    for (int op = 3; op < 13; op++) {
        if (op != FUTEX_REQUEUE && op != FUTEX_CMP_REQUEUE && op != FUTEX_CMP_REQUEUE_PI) continue;
        word[0] = 7;
        K("1.19", said(futex(word, op, 1, 1L, word + 1, 7)), "move by %d", op);
        K("1.19", said(futex(word, op, 1, 1L, word + 1, 8)), "move by %d, another value", op);
        K("1.19", said(futex(word, op, 1, 1L, word, 7)), "move by %d to itself", op);
        K("1.19", said(futex(word, op, 0, 1L, word + 1, 7)), "move by %d, none woken", op);
        K("1.19", said(futex(word, op, -1, 1L, word + 1, 7)), "move by %d, less than none woken", op);
        K("1.19", said(futex(word, op, 1, -1L, word + 1, 7)), "move by %d, less than none", op);
        K("1.19", said(futex(word, op, 1, 1L, (char *)word + 5, 7)), "move by %d to the middle", op);
        K("1.19", said(futex(word, op, 1, 1L, P(1), 7)), "move by %d to memory to be read", op);
        K("1.19", said(futex(word, op, 1, 1L, P(2), 7)), "move by %d to no memory", op);
        K("1.19", said(futex(P(2), op | 128, 1, 1L, word, 7)), "move by %d from no memory", op);
        K("1.19", said(futex(P(1), op | 128, 1, 1L, word, 0)), "move by %d from memory to be read", op);
        K("1.19", said(futex(word, op | REALTIME, 1, 1L, word + 1, 7)), "move by %d with a clock", op);
    }
}

static void waits(void) {
    static const int kinds[] = {FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_WAKE, FUTEX_WAKE_BITSET, 2, 14, 99};
    struct timespec bad = {0, 1000000000}, past = {0, 0};
    area(3);
    map(0, 1, RW), map(2, 1, R);
    for (int i = 0; i < 10; i++)
        for (int clock = 0; clock < 2; clock++) {
            int op = kinds[i] | (clock ? REALTIME : 0), pi = kinds[i] == FUTEX_LOCK_PI || kinds[i] == FUTEX_LOCK_PI2;
            word[0] = pi ? 1 : 5; /* process 1 has the lock */
            if (!pi || !clock) K("1.19", said(futex(word, op, 5, &past, word + 1, 1)), "operation %d %d in the past", kinds[i], clock);
            K("1.19", text("%x", word[0]), "the word after operation %d %d", kinds[i], clock);
            word[0] = 5;
            K("1.19", said(futex(word, op, 4, &past, word + 1, 1) == -EAGAIN), "operation %d %d, another value", kinds[i], clock);
            word[0] = 5;
            K("1.19", said(futex(word, op, 4, &bad, word + 1, 0)), "operation %d %d with no time", kinds[i], clock);
            K("1.19", said(futex(word, op, 4, P(1), word + 1, 0)), "operation %d %d with no memory for a time", kinds[i], clock);
            K("1.19", said(futex((char *)word + 1, op, 4, &past, word + 1, 1)), "operation %d %d in the middle", kinds[i], clock);
            K("1.19", said(futex(P(1), op, 4, &past, word + 1, 1)), "operation %d %d in no memory", kinds[i], clock);
            K("1.19", said(futex(P(2), op | 128, 4, &past, word + 1, 1)), "operation %d %d in memory to be read", kinds[i], clock);
        }
    word[0] = 5;
    F("1.19", futex(word, FUTEX_WAIT, 5, soon(-1), 0L, 0));
    F("1.19", futex(word, FUTEX_WAIT_BITSET, 5, soon(CLOCK_MONOTONIC), 0L, 1));
    F("1.19", futex(word, FUTEX_WAIT_BITSET | REALTIME, 5, soon(CLOCK_REALTIME), 0L, 1));
    F("1.19", futex(word, FUTEX_WAIT_BITSET, 5, soon(CLOCK_MONOTONIC), 0L, 0));
    F("1.19", futex(word, FUTEX_WAKE_BITSET, 5, 0L, 0L, 0));
    F("1.19", futex(word, FUTEX_WAIT_REQUEUE_PI, 5, soon(CLOCK_MONOTONIC), word + 1, 0));
    F("1.19", futex(word, FUTEX_WAIT_REQUEUE_PI, 5, soon(CLOCK_MONOTONIC), word, 0));
    F("1.19", futex(word, FUTEX_WAIT_REQUEUE_PI, 5, soon(CLOCK_MONOTONIC), P(2), 0));
}

static void locks(void) {
    int me = getpid();
    area(3);
    map(0, 1, RW), map(2, 1, R);
    static const int kinds[] = {FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_TRYLOCK_PI};
    for (int i = 0; i < 3; i++) {
        word[0] = 0;
        K("1.19", said(futex(word, kinds[i], 0, 0L, 0L, 0)), "lock %d", kinds[i]);
        K("1.19", said(word[0] == me), "is it ours by %d", kinds[i]);
        K("1.19", said(futex(word, kinds[i], 0, 0L, 0L, 0)), "lock %d again", kinds[i]);
        K("1.19", said(futex(word, FUTEX_UNLOCK_PI, 0, 0L, 0L, 0)), "unlock %d", kinds[i]);
        K("1.19", text("%x", word[0]), "unlocked %d", kinds[i]);
        K("1.19", said(futex(word, FUTEX_UNLOCK_PI, 0, 0L, 0L, 0)), "unlock %d again", kinds[i]);
        word[0] = 0x40000000;
        K("1.19", said(futex(word, kinds[i], 0, 0L, 0L, 0)), "lock %d of one who died", kinds[i]);
        K("1.19", said(word[0] == (me | 0x40000000)), "is it ours then by %d", kinds[i]);
        K("1.19", said(futex(word, FUTEX_UNLOCK_PI, 0, 0L, 0L, 0)), "unlock %d then", kinds[i]);
        word[0] = 0x3fffffff;
        K("1.19", said(futex(word, kinds[i], 0, 0L, 0L, 0)), "lock %d of nobody", kinds[i]);
        K("1.19", text("%x", word[0]), "the lock %d of nobody", kinds[i]);
        word[0] = 1;
        K("1.19", said(futex(word, kinds[i], 0, kinds[i] == FUTEX_LOCK_PI ? soon(CLOCK_REALTIME) : soon(CLOCK_MONOTONIC), 0L, 0)), "lock %d of another", kinds[i]);
        K("1.19", said(futex(P(1), kinds[i] | 128, 0, 0L, 0L, 0)), "lock %d in no memory", kinds[i]);
        K("1.19", said(futex(P(2), kinds[i] | 128, 0, 0L, 0L, 0)), "lock %d in memory to be read", kinds[i]);
        K("1.19", said(futex(P(2), kinds[i], 0, 0L, 0L, 0)), "shared lock %d in memory to be read", kinds[i]);
        K("1.19", said(futex(P(0) + 2, kinds[i], 0, 0L, 0L, 0)), "lock %d in the middle", kinds[i]);
    }
    F("1.19", futex(P(1), FUTEX_UNLOCK_PI, 0, 0L, 0L, 0));
    F("1.19", futex(P(2), FUTEX_UNLOCK_PI, 0, 0L, 0L, 0));
    F("1.19", futex(P(0) + 2, FUTEX_UNLOCK_PI, 0, 0L, 0L, 0));
}

static struct waiter { uint64_t value, address; uint32_t flags, reserved; } waiters[130];

static void several(void) {
    struct timespec past = {0, 0}, bad = {0, -1};
    area(3);
    map(0, 1, RW), map(2, 1, R);
    word[0] = word[1] = 5;
    for (int i = 0; i < 130; i++) waiters[i] = (struct waiter){5, (uint64_t)word, LITTLE, 0};
    F("1.19", sc(449, waiters, 2, 0, &past, 1));
    F("1.19", sc(449, waiters, 128, 0, &past, 0));
    F("1.19", sc(449, waiters, 129, 0, &past, 1));
    F("1.19", sc(449, waiters, 0, 0, &past, 1));
    F("1.19", sc(449, 0L, 1, 0, &past, 1));
    F("1.19", sc(449, P(1), 1, 0, &past, 1));
    F("1.19", sc(449, waiters, 1, 1, &past, 1));
    F("1.19", sc(449, waiters, 1, 0, &past, 2));
    F("1.19", sc(449, waiters, 1, 0, &bad, 1));
    F("1.19", sc(449, P(1), 1, 0, &past, 7));
    F("1.19", sc(449, waiters, 1, 0, soon(1), 1));
    for (unsigned flags = 0; flags < 256; flags += flags < 4 ? 1 : flags < 128 ? 60 : 65) {
        if (flags & 12) continue;
        waiters[0].flags = flags;
        K("1.19", said(sc(449, waiters, 1, 0, &past, 1)), "wait for several with flags %x", flags);
        K("1.19", said(sc(454, word, 1L, 1, flags)), "futex_wake with flags %x", flags);
        K("1.19", said(sc(455, word, 5L, 1L, flags, &past, 1)), "futex_wait with flags %x", flags);
        K("1.19", said(sc(456, waiters, 0, 1, 1)), "futex_requeue with flags %x", flags);
    }
    waiters[0] = (struct waiter){5, (uint64_t)word, LITTLE, 1};
    F("1.19", sc(449, waiters, 1, 0, &past, 1));
    waiters[0] = (struct waiter){1UL << 32 | 5, (uint64_t)word, LITTLE, 0};
    F("1.19", sc(449, waiters, 1, 0, &past, 1));
    waiters[0] = (struct waiter){6, (uint64_t)word, LITTLE, 0};
    F("1.19", sc(449, waiters, 2, 0, &past, 1));
    waiters[1].address = (uint64_t)P(1);
    F("1.19", sc(449, waiters, 2, 0, &past, 1));
    waiters[1].address = (uint64_t)word + 1;
    F("1.19", sc(449, waiters, 2, 0, &past, 1));
    F("1.19", sc(454, word, 0L, 1, LITTLE));
    F("1.19", sc(454, word, 1L << 32, 1, LITTLE));
    F("1.19", sc(454, word, 1L, 0, LITTLE));
    F("1.19", sc(454, word, 1L, -1, LITTLE));
    F("1.19", sc(454, P(1), 1L, 1, LITTLE));
    F("1.19", sc(454, P(1), 1L, 1, LITTLE | 128));
    F("1.19", sc(454, P(0) + 1, 1L, 1, LITTLE));
    F("1.19", sc(455, word, 5L, 1L, LITTLE, soon(1), 1));
    F("1.19", sc(455, word, 5L, 1L, LITTLE, soon(0), 0));
    F("1.19", sc(455, word, 6L, 1L, LITTLE, 0L, 1));
    F("1.19", sc(455, word, 6L, 0L, LITTLE, 0L, 1));
    F("1.19", sc(455, word, 5L, 0L, LITTLE, &bad, 1));
    F("1.19", sc(455, word, 1L << 32 | 5, 1L, LITTLE, &past, 1));
    F("1.19", sc(455, word, 5L, 1L << 32, LITTLE, &past, 1));
    F("1.19", sc(455, word, 5L, 1L, LITTLE, P(1), 1));
    F("1.19", sc(455, P(1), 5L, 1L, LITTLE | 128, &past, 1));
    waiters[0] = waiters[1] = (struct waiter){5, (uint64_t)word, LITTLE, 0};
    waiters[1].address += 4;
    F("1.19", sc(456, waiters, 0, 1, 1));
    F("1.19", sc(456, waiters, 1, 1, 1));
    F("1.19", sc(456, waiters, 0, -1, 1));
    F("1.19", sc(456, waiters, 0, 1, -1));
    F("1.19", sc(456, 0L, 0, 1, 1));
    F("1.19", sc(456, P(1), 0, 1, 1));
    waiters[0].value = 6;
    F("1.19", sc(456, waiters, 0, 1, 1));
    waiters[1].address = (uint64_t)P(1);
    F("1.19", sc(456, waiters, 0, 1, 1));
}

static void on_alarm(int signal) { fault_sig++; }
static void interrupted(void) {
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval soon_ = {{0, 0}, {0, 20000}};
    struct timespec late = {5, 0};
    waiters[0] = (struct waiter){5, (uint64_t)word, LITTLE, 0};
    word[0] = 5, fault_sig = 0;
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &soon_, 0);
    F("1.19", futex(word, FUTEX_WAIT, 5, &late, 0L, 0));
    setitimer(ITIMER_REAL, &soon_, 0);
    F("1.19", futex(word, FUTEX_WAIT, 5, 0L, 0L, 0));
    setitimer(ITIMER_REAL, &soon_, 0);
    F("1.19", sc(449, waiters, 1, 0, 0L, 1));
    setitimer(ITIMER_REAL, &soon_, 0);
    F("1.19", sc(455, word, 5L, 1L, LITTLE, 0L, 1));
    V("1.19", "handled", "%d", fault_sig);
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, 0);
    struct timespec end;
    setitimer(ITIMER_REAL, &soon_, 0);
    clock_gettime(1, &end);
    end.tv_nsec += 60000000;
    if (end.tv_nsec >= 1000000000) end.tv_sec++, end.tv_nsec -= 1000000000;
    F("1.19", sc(449, waiters, 1, 0, &end, 1));
    setitimer(ITIMER_REAL, &soon_, 0);
    F("1.19", futex(word, FUTEX_WAIT, 5, &late, 0L, 0));
    V("1.19", "handled", "%d", fault_sig);
}

SHEET(SECTION(operating), SECTION(moving), SECTION(waits), SECTION(locks), SECTION(several), SECTION(interrupted))
