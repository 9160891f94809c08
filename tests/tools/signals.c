/* Signals whose lines under --strace must be those of strace(8): sent, queued, by timers, by faults; interrupted calls; ignored ones. */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int left = 2;

static void handler(int signal)
{
    if (signal == SIGSEGV && !--left) {
        struct sigaction none = {.sa_handler = SIG_DFL};
        sigaction(SIGSEGV, &none, 0);
    }
}

int main(void)
{
    struct sigaction act = {.sa_handler = handler}, ignore = {.sa_handler = SIG_IGN};
    sigset_t set;
    int timer = 0;
    sigaction(SIGSEGV, &act, 0), sigaction(SIGALRM, &act, 0), sigaction(SIGUSR2, &act, 0), sigaction(SIGTRAP, &act, 0);
    sigaction(SIGUSR1, &ignore, 0);
    raise(SIGUSR1), raise(SIGCHLD);
    sigemptyset(&set), sigaddset(&set, SIGTERM), sigprocmask(SIG_BLOCK, &set, 0), raise(SIGTERM);
    kill(getpid(), SIGALRM);
    alarm(1), pause();
    sigset_t waiting = set;
    sigaddset(&set, SIGUSR2); /* so that it cannot come before the program waits for it */
    union sigval value = {.sival_int = 42};
    sigqueue(getpid(), SIGUSR2, value);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    struct itimerspec soon = {{0, 0}, {0, 50000000}};
    sigprocmask(SIG_SETMASK, &set, 0), syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer);
    syscall(SYS_timer_settime, timer, 0, &soon, 0), sigsuspend(&waiting);
    __asm__("int3");
    mmap((void *)0x10000000, 4096, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *(volatile int *)0x10000000 = 1;
    return 0;
}
