/* What the signals*.c sheets share. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FACT(...) (printf(__VA_ARGS__), putchar('\n'))
static inline int result(long r) { return r < 0 ? -errno : (int)r; }

static inline void install(int n, void (*f)(int, siginfo_t *, void *), int flags) {
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_sigaction = f;
    sa.sa_flags = flags | SA_SIGINFO;
    sigaction(n, &sa, NULL);
}

static inline void block(int how, int n) {
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, n);
    sigprocmask(how, &s, NULL);
}
