/* Waits or computes while others send signals, and says which came. A second SIGTERM ends it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void note(int n, siginfo_t *info, void *context) {
    char text[40];
    sigset_t pending;
    (void)info; (void)context;
    sigpending(&pending);
    if (n == SIGTERM) signal(SIGTERM, SIG_DFL);
    write(1, text, sprintf(text, "signal %d, SIGALRM pending %d\n", n, sigismember(&pending, SIGALRM)));
}
int main(int argc, char **argv) {
    int caught[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGWINCH, SIGHUP, SIGCONT};
    struct sigaction sa;
    sigset_t blocked;
    char c;
    memset(&sa, 0, sizeof sa);
    sa.sa_sigaction = note;
    sa.sa_flags = SA_SIGINFO;
    for (unsigned i = 0; i < sizeof caught / sizeof *caught; i++) sigaction(caught[i], &sa, NULL);
    signal(SIGQUIT, SIG_IGN);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    puts("ready");
    fflush(stdout);
    for (volatile int i = 0;; i++) {
        switch (argc > 1 ? argv[1][0] : 'c') {
        case 'p': pause(); break;
        case 'r': read(0, &c, 1); break;
        case 's': sleep(1000); break;
        default: break;
        }
    }
}
