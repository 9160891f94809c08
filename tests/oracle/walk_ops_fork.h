/* Operations that make another process. The parent waits for it, so that what both of them tell has an order. */
#ifndef WALK_OPS_FORK_H
#define WALK_OPS_FORK_H
#include "walk_ops_use.h"

static void (*fork_visits)(void); /* what a child does that does not stay */
static word forks_left = 6;
static int visiting;

static long waited(long pid)
{
    int status = 0;
    sys(SYS_wait4, pid, (long)&status, 0, 0, 0, 0);
    return status & 127 ? 128 + (status & 127) : status >> 8 & 255;
}

/* The walk goes on in the child; or the child does a few things, and it goes on in the parent. */
static void op_fork(void)
{
    int stays = (int)pick(2);
    if (!forks_left || visiting) {
        say("no more forks");
        return;
    }
    forks_left--;
    say(stays ? "fork, and be the child" : "fork, and be the parent");
    flush();
    long pid = sys(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
    if (failed(pid)) {
        say(" fails");
        return;
    }
    if (!pid && !stays) {
        visiting = 1;
        fork_visits();
        flush();
        S1(SYS_exit, 7);
    }
    if (pid) {
        long status = waited(pid);
        if (stays)
            S1(SYS_exit, status);
        say(" ");
        say_number(status);
    }
}
#endif
