/* The vsyscall page of x86-64: its three calls, and what else a program may try there. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define PAGE 0xffffffffff600000
static sigjmp_buf back;
static siginfo_t last;

static void handler(int signal, siginfo_t *info, void *context)
{
    last = *info;
    siglongjmp(back, signal);
}

#define TRY(name, expression)                                                                                       \
    do {                                                                                                            \
        int signal = sigsetjmp(back, 1);                                                                            \
        if (!signal) {                                                                                              \
            expression;                                                                                             \
            printf(name ": no signal\n");                                                                           \
        } else {                                                                                                    \
            printf(name ": signal %d code %d address %lx\n", signal, last.si_code, (unsigned long)last.si_addr);    \
        }                                                                                                           \
    } while (0)

int main(void)
{
    long (*day)(struct timeval *, void *) = (void *)PAGE, (*seconds)(long *) = (void *)(PAGE + 0x400);
    long (*cpu)(unsigned *, unsigned *, void *) = (void *)(PAGE + 0x800), x = 0, r;
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct timeval before, now;
    unsigned number = 9999, node = 9999;
    char line[200];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (!strncmp(line, "ffffffffff600000", 16)) {
            printf("%s", line);
            if (!strstr(line, " --xp "))
                return 1;
            x = 1;
        }
    if (!x)
        return 1;
    sigaction(SIGSEGV, &action, NULL);
    gettimeofday(&before, NULL);
    r = day(&now, NULL);
    printf("gettimeofday %ld %d\n", r, now.tv_sec - before.tv_sec < 10);
    r = seconds(&x);
    printf("time %d %d\n", r == x, x - before.tv_sec < 10);
    r = seconds(NULL);
    printf("time %d\n", r - before.tv_sec < 10);
    r = cpu(&number, &node, NULL);
    printf("getcpu %ld %d %d\n", r, number < 4096, node < 4096);
    TRY("reading", x = *(volatile long *)PAGE);
    TRY("writing", *(volatile long *)PAGE = 1);
    TRY("the page behind", ((long (*)(void))(PAGE + 0x1000))());
    TRY("a call that is none", ((long (*)(void))(PAGE + 0x10))());
    TRY("a fourth call", ((long (*)(void))(PAGE + 0xc00))());
    TRY("a bad pointer", seconds((long *)8));
    TRY("a pointer into the kernel", seconds((long *)PAGE));
    fflush(stdout);
    return 0;
}
