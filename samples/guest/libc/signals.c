/* Facts about signals, one a line, without addresses: whatever Linux runs this must print the same. */
#include "signals.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/auxv.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#define NR(name) syscall(SYS_##name)
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif
#define sigaltstack(new, old) syscall(SYS_sigaltstack, new, old)

static volatile int count, order[64];
static siginfo_t seen;
static volatile uintptr_t sp_in, altlow, althigh;
static ucontext_t *seen_context;
static sigset_t mask_in, mask_saved;
static stack_t stack_saved;
static sigjmp_buf back;

static void record(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    order[count++ & 63] = n;
    seen = *info;
    sp_in = (uintptr_t)&uc;
    mask_saved = uc->uc_sigmask;
    stack_saved = uc->uc_stack;
    sigprocmask(SIG_BLOCK, NULL, &mask_in);
}
static void escape(int n, siginfo_t *info, void *context) {
    record(n, info, context);
    siglongjmp(back, 1);
}
static void plain(int n) { order[count++ & 63] = n; }

static char *fresh(size_t pages, int prot) { return mmap(NULL, pages * 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

/* -- faults ------------------------------------------------------------------------------------------------- */
static void fault(const char *what, char *address, int kind, size_t size) {
    memset(&seen, 0, sizeof seen);
    if (!sigsetjmp(back, 1)) {
        if (kind == 0 && size == 8) *(volatile uint64_t *)address;
        else if (kind == 0) *(volatile char *)address;
        else if (kind == 1 && size == 8) *(volatile uint64_t *)address = 0x1122334455667788;
        else if (kind == 1) *(volatile char *)address = 1;
        else ((void (*)(void))address)();
        FACT("%s: no fault", what);
        return;
    }
    FACT("%s: signal %d code %d errno %d at %+ld", what, seen.si_signo, seen.si_code, seen.si_errno, (long)((char *)seen.si_addr - address));
}

static void faults(void) {
    install(SIGSEGV, escape, 0);
    install(SIGBUS, escape, 0);
    char *p = fresh(8, PROT_READ | PROT_WRITE);
    munmap(p + 4 * 4096, 4096);
    mprotect(p + 4096, 4096, PROT_READ);
    mprotect(p + 2 * 4096, 4096, PROT_NONE);
    mprotect(p + 5 * 4096, 4096, PROT_WRITE);
    mprotect(p + 6 * 4096, 4096, PROT_EXEC);
    fault("read nothing", p + 4 * 4096 + 5, 0, 1);
    fault("write nothing", p + 4 * 4096 + 5, 1, 1);
    fault("execute nothing", p + 4 * 4096 + 8, 2, 1);
    fault("read NULL", NULL, 0, 1);
    fault("write NULL", NULL, 1, 8);
    fault("read only, read", p + 4096 + 100, 0, 1);
    fault("read only, write", p + 4096 + 100, 1, 1);
    fault("no right, read", p + 2 * 4096 + 7, 0, 1);
    fault("no right, write", p + 2 * 4096 + 7, 1, 1);
    fault("no right, execute", p + 2 * 4096 + 8, 2, 1);
    fault("data, execute", p + 16, 2, 1);
    fault("write only, read", p + 5 * 4096 + 9, 0, 1);
    fault("write only, write", p + 5 * 4096 + 9, 1, 1);
    fault("straddle rw to ro, write", p + 4096 - 3, 1, 8);
    FACT("nothing stored: %d", memcmp(p + 4096 - 3, "\0\0\0", 3));
    fault("straddle ro to none, read", p + 2 * 4096 - 3, 0, 8);
    fault("straddle hole", p + 4 * 4096 - 3, 0, 8);
    fault("straddle hole, write", p + 4 * 4096 - 3, 1, 8);
    FACT("nothing stored: %d", memcmp(p + 4 * 4096 - 3, "\0\0\0", 3));
    fault("high canonical", (char *)0xffff800000001000, 0, 1);
    fault("highest", (char *)0xffffffffffffff00, 1, 1);
    char name[] = "/tmp/emuvm-signals-XXXXXX";
    int fd = memfd_create("facts", 0);
    ftruncate(fd, 5000);
    char *m = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    fault("file, last page behind the end", m + 5001, 0, 1);
    fault("file, behind the last page, read", m + 2 * 4096 + 1, 0, 1);
    fault("file, behind the last page, write", m + 3 * 4096 + 77, 1, 1);
    fault("file, straddle the end, write", m + 2 * 4096 - 2, 1, 8);
    char *q = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    fault("private file, behind the last page", q + 2 * 4096 + 3, 1, 1);
    close(fd);
    (void)name;
    /* a stack area that may grow, read only */
    char *area = mmap(NULL, 256 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(area, 256 * 4096);
    char *top = area + 255 * 4096;
    char *g = mmap(top, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    FACT("grows down area: %d", g == top);
    fault("below a read-only stack, write", top - 3 * 4096 + 8, 1, 8);
    fault("again", top - 3 * 4096 + 8, 1, 8);
    fault("below a read-only stack, read", top - 5 * 4096 + 8, 0, 8);
    /* blocked fault signals kill; ignored ones too: seen from outside only. Counting works: */
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
}

/* -- actions and masks --------------------------------------------------------------------------------------- */
static void actions(void) {
    struct sigaction sa, old;
    memset(&sa, 0, sizeof sa);
    FACT("SIGKILL action: %d", result(sigaction(SIGKILL, &sa, NULL)));
    FACT("SIGSTOP action: %d", result(sigaction(SIGSTOP, &sa, NULL)));
    FACT("SIGKILL query: %d", result(syscall(SYS_rt_sigaction, SIGKILL, NULL, &old, 8)));
    FACT("signal 65: %d", result(syscall(SYS_rt_sigaction, 65, NULL, &old, 8)));
    FACT("signal 0: %d", result(syscall(SYS_rt_sigaction, 0, NULL, NULL, 8)));
    FACT("size 4: %d", result(syscall(SYS_rt_sigaction, 10, NULL, NULL, 4)));
    FACT("bad new: %d", result(syscall(SYS_rt_sigaction, 10, 8, NULL, 8)));
    FACT("bad old: %d", result(syscall(SYS_rt_sigaction, 10, NULL, 8, 8)));
    struct { void *h; unsigned long flags; void *restorer; unsigned long mask; } k = {plain, ~0UL & ~SA_ONSTACK, 0, ~0UL}, o;
    FACT("all flags: %d", result(syscall(SYS_rt_sigaction, 10, &k, NULL, 8)));
    syscall(SYS_rt_sigaction, 10, NULL, &o, 8);
    FACT("flags that stay: %lx mask %lx", o.flags, o.mask);
    signal(SIGUSR1, SIG_DFL);

    install(SIGUSR1, record, 0);
    count = 0;
    raise(SIGUSR1);
    FACT("raise: %d code %d pid %d uid %d", count, seen.si_code, seen.si_pid == getpid(), seen.si_uid == getuid());
    FACT("blocked in the handler: %d, before: %d", sigismember(&mask_in, SIGUSR1), sigismember(&mask_saved, SIGUSR1));
    kill(getpid(), SIGUSR1);
    FACT("kill: code %d pid %d", seen.si_code, seen.si_pid == getpid());
    install(SIGUSR1, record, SA_NODEFER);
    raise(SIGUSR1);
    FACT("SA_NODEFER: blocked %d", sigismember(&mask_in, SIGUSR1));
    install(SIGUSR1, record, SA_RESETHAND);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &old);
    FACT("SA_RESETHAND: %d flags %x", old.sa_handler == SIG_DFL, old.sa_flags & ~0x04000000);
    memset(&sa, 0, sizeof sa);
    sa.sa_sigaction = record;
    sa.sa_flags = SA_SIGINFO;
    sigfillset(&sa.sa_mask);
    sigaction(SIGUSR2, &sa, NULL);
    raise(SIGUSR2);
    FACT("full mask: HUP %d KILL %d STOP %d USR2 %d", sigismember(&mask_in, SIGHUP), sigismember(&mask_in, SIGKILL), sigismember(&mask_in, SIGSTOP), sigismember(&mask_in, SIGUSR2));
    sigprocmask(SIG_BLOCK, NULL, &mask_in);
    FACT("after it: HUP %d", sigismember(&mask_in, SIGHUP));

    /* pending and blocked */
    sigset_t pending;
    install(SIGUSR1, record, 0);
    count = 0;
    block(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1); raise(SIGUSR1); raise(SIGUSR1);
    sigpending(&pending);
    FACT("blocked: ran %d, pending %d", count, sigismember(&pending, SIGUSR1));
    block(SIG_UNBLOCK, SIGUSR1);
    sigpending(&pending);
    FACT("unblocked: ran %d, pending %d", count, sigismember(&pending, SIGUSR1));
    block(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    sigpending(&pending);
    FACT("ignored while pending: %d", sigismember(&pending, SIGUSR1));
    raise(SIGUSR1);
    sigpending(&pending);
    FACT("sent while blocked and ignored: %d", sigismember(&pending, SIGUSR1));
    signal(SIGUSR1, SIG_DFL);
    sigpending(&pending);
    FACT("default again: %d", sigismember(&pending, SIGUSR1));
    signal(SIGUSR1, SIG_IGN);
    block(SIG_UNBLOCK, SIGUSR1);
    block(SIG_BLOCK, SIGCHLD);
    raise(SIGCHLD);
    sigpending(&pending);
    FACT("SIGCHLD blocked: %d", sigismember(&pending, SIGCHLD));
    signal(SIGCHLD, SIG_DFL);
    sigpending(&pending);
    FACT("SIGCHLD default set: %d", sigismember(&pending, SIGCHLD));
    block(SIG_UNBLOCK, SIGCHLD);
    raise(SIGCHLD); raise(SIGURG); raise(SIGWINCH); raise(SIGCONT);
    FACT("ignored by default: alive");
    block(SIG_BLOCK, SIGTSTP);
    raise(SIGTSTP);
    raise(SIGCONT);
    sigpending(&pending);
    FACT("SIGCONT drops SIGTSTP: %d", sigismember(&pending, SIGTSTP));
    block(SIG_BLOCK, SIGCONT);
    raise(SIGCONT);
    raise(SIGTSTP);
    sigpending(&pending);
    FACT("SIGTSTP drops SIGCONT: %d, is pending %d", sigismember(&pending, SIGCONT), sigismember(&pending, SIGTSTP));
    signal(SIGTSTP, SIG_IGN);
    block(SIG_UNBLOCK, SIGTSTP);
    block(SIG_UNBLOCK, SIGCONT);

    FACT("how 9: %d", result(syscall(SYS_rt_sigprocmask, 9, &pending, NULL, 8)));
    FACT("how 9 without set: %d", result(syscall(SYS_rt_sigprocmask, 9, NULL, NULL, 8)));
    FACT("set size: %d", result(syscall(SYS_rt_sigprocmask, 0, NULL, NULL, 16)));
    FACT("pending size 16: %d", result(syscall(SYS_rt_sigpending, &pending, 16)));
    FACT("pending size 4: %d", result(syscall(SYS_rt_sigpending, &pending, 4)));
    sigset_t all, now;
    sigfillset(&all);
    unsigned long raw = ~0UL, got = 0, none = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &raw, NULL, 8);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, &got, 8);
    FACT("all blocked: %lx", got);
    FACT("bad set: %d", result(syscall(SYS_rt_sigprocmask, 0, 8, NULL, 8)));
}

/* -- order and queues ------------------------------------------------------------------------------------------ */
static void show_order(const char *what) {
    printf("%s:", what);
    for (int i = 0; i < count; i++) printf(" %d", order[i]);
    putchar('\n');
    count = 0;
}
static int values[16];
static void queued(int n, siginfo_t *info, void *c) {
    (void)c;
    values[count & 15] = info->si_value.sival_int;
    seen = *info;
    order[count++ & 63] = n;
}
static void queues(void) {
    int all[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGHUP, SIGSEGV, SIGRTMIN + 1, SIGRTMIN + 3, SIGALRM};
    sigset_t set, old;
    sigfillset(&set);
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        struct sigaction sa;
        memset(&sa, 0, sizeof sa);
        sa.sa_sigaction = queued;
        sa.sa_flags = SA_SIGINFO;
        sigfillset(&sa.sa_mask);
        sigaction(all[i], &sa, NULL);
    }
    sigprocmask(SIG_SETMASK, &set, &old);
    count = 0;
    kill(getpid(), SIGTERM); kill(getpid(), SIGUSR2); kill(getpid(), SIGUSR1); kill(getpid(), SIGHUP); kill(getpid(), SIGTERM);
    sigprocmask(SIG_SETMASK, &old, NULL);
    show_order("by number, the mask full in each handler");
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        struct sigaction sa;
        memset(&sa, 0, sizeof sa);
        sa.sa_sigaction = queued;
        sa.sa_flags = SA_SIGINFO;
        sigaction(all[i], &sa, NULL);
    }
    sigprocmask(SIG_SETMASK, &set, NULL);
    kill(getpid(), SIGTERM); kill(getpid(), SIGUSR2); kill(getpid(), SIGUSR1); kill(getpid(), SIGHUP);
    sigprocmask(SIG_SETMASK, &old, NULL);
    show_order("frames on frames: the last made runs first");
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        struct sigaction sa;
        memset(&sa, 0, sizeof sa);
        sa.sa_sigaction = queued;
        sa.sa_flags = SA_SIGINFO;
        sigfillset(&sa.sa_mask);
        sigaction(all[i], &sa, NULL);
    }
    sigprocmask(SIG_SETMASK, &set, NULL);
    kill(getpid(), SIGTERM); kill(getpid(), SIGHUP); kill(getpid(), SIGSEGV);
    sigprocmask(SIG_SETMASK, &old, NULL);
    show_order("synchronous first");
    sigprocmask(SIG_SETMASK, &set, NULL);
    kill(getpid(), SIGHUP); syscall(SYS_tkill, getpid(), SIGTERM); kill(getpid(), SIGUSR1);
    sigprocmask(SIG_SETMASK, &old, NULL);
    show_order("the thread's first");
    sigprocmask(SIG_SETMASK, &set, NULL);
    for (int i = 0; i < 5; i++) sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 100 + i});
    for (int i = 0; i < 3; i++) sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 200 + i});
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 300});
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 301});
    sigprocmask(SIG_SETMASK, &old, NULL);
    printf("values:");
    for (int i = 0; i < count; i++) printf(" %d", values[i]);
    putchar('\n');
    show_order("real-time order");
    FACT("SI_QUEUE: code %d pid %d uid %d", seen.si_code, seen.si_pid == getpid(), seen.si_uid == getuid());
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_code = -7;
    info.si_value.sival_int = 77;
    FACT("queueinfo: %d", result(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &info)));
    FACT("code %d value %d signo %d", seen.si_code, seen.si_value.sival_int, seen.si_signo);
    info.si_code = SI_USER;
    FACT("queueinfo SI_USER to oneself: %d", result(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &info)));
    FACT("tgqueueinfo: %d", result(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGUSR2, &info)));
    FACT("queueinfo signal 0: %d", result(syscall(SYS_rt_sigqueueinfo, getpid(), 0, &info)));
    FACT("queueinfo signal 65: %d", result(syscall(SYS_rt_sigqueueinfo, getpid(), 65, &info)));
    FACT("queueinfo bad pointer: %d", result(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, 8)));
    FACT("tgkill 0: %d", result(syscall(SYS_tgkill, getpid(), getpid(), 0)));
    FACT("tgkill bad: %d %d", result(syscall(SYS_tgkill, 0, getpid(), 0)), result(syscall(SYS_tgkill, getpid(), -1, 0)));
    FACT("tgkill other: %d", result(syscall(SYS_tgkill, getpid(), 1 << 22, 0)));
    FACT("kill 65: %d, kill 0: %d", result(kill(getpid(), 65)), result(kill(getpid(), 0)));
    FACT("kill nobody: %d", result(kill(1 << 29, 0)));
    count = 0;
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) signal(all[i], SIG_DFL);
}

/* -- the alternate stack ---------------------------------------------------------------------------------------- */
static int errno_inside, flags_inside, changed_inside;
static void on_alt(int n, siginfo_t *info, void *context) {
    stack_t now;
    record(n, info, context);
    sigaltstack(NULL, &now);
    flags_inside = now.ss_flags;
    errno_inside = result(sigaltstack(&now, NULL));
}
static void deep(int n, siginfo_t *info, void *c) {
    volatile char room[1 << 13];
    room[0] = 1;
    (void)n; (void)info; (void)c;
    count++;
    if (count < 20) raise(n);
}
static void change_stack(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    (void)n; (void)info;
    uc->uc_stack.ss_size -= 4096;
}
#ifdef __aarch64__
#define SMALLEST 5120
#else
#define SMALLEST 2048
#endif
static char alt[1 << 16];
static int inside(void) { return sp_in > (uintptr_t)alt && sp_in <= (uintptr_t)alt + sizeof alt; }
static void altstack(void) {
    stack_t s = {0}, o;
    int r = result(sigaltstack(NULL, &o));
    FACT("first: %d flags %d size %ld", r, o.ss_flags, (long)o.ss_size);
    s.ss_sp = alt; s.ss_size = sizeof alt;
    s.ss_flags = 5;
    FACT("flags 5: %d", result(sigaltstack(&s, NULL)));
    s.ss_flags = 0; s.ss_size = 2000;
    FACT("too small: %d", result(sigaltstack(&s, NULL)));
    s.ss_size = SMALLEST;
    FACT("just enough: %d", result(sigaltstack(&s, NULL)));
    s.ss_size = SMALLEST - 1;
    FACT("not enough: %d", result(syscall(SYS_sigaltstack, &s, NULL)));
    s.ss_size = sizeof alt;
    s.ss_flags = SS_ONSTACK;
    FACT("SS_ONSTACK given: %d", result(sigaltstack(&s, &o)));
    FACT("before: size %d", o.ss_size == SMALLEST);
    sigaltstack(NULL, &o);
    FACT("told: flags %d size %ld sp %d", o.ss_flags, (long)o.ss_size, o.ss_sp == alt);
    install(SIGUSR1, on_alt, SA_ONSTACK);
    raise(SIGUSR1);
    FACT("on it: %d flags %d change %d", inside(), flags_inside, errno_inside);
    FACT("in the frame: flags %d size %ld sp %d", stack_saved.ss_flags, (long)stack_saved.ss_size, stack_saved.ss_sp == alt);
    install(SIGUSR1, on_alt, 0);
    raise(SIGUSR1);
    FACT("not on it: %d flags %d change %d", inside(), flags_inside, errno_inside);
    s.ss_flags = SS_AUTODISARM;
    FACT("SS_AUTODISARM: %d", result(sigaltstack(&s, NULL)));
    sigaltstack(NULL, &o);
    FACT("told: flags %x", (unsigned)o.ss_flags);
    install(SIGUSR1, on_alt, SA_ONSTACK);
    raise(SIGUSR1);
    FACT("on it: %d flags %x change %d", inside(), (unsigned)flags_inside, errno_inside);
    FACT("in the frame: flags %x", (unsigned)stack_saved.ss_flags);
    sigaltstack(NULL, &o);
    FACT("armed again: flags %x size %ld", (unsigned)o.ss_flags, (long)o.ss_size);
    s.ss_flags = 0;
    sigaltstack(&s, NULL);
    install(SIGUSR1, change_stack, 0);
    raise(SIGUSR1);
    sigaltstack(NULL, &o);
    FACT("changed in the frame: size %ld", (long)o.ss_size);
    sigaltstack(&s, NULL);
    install(SIGUSR1, change_stack, SA_ONSTACK);
    raise(SIGUSR1);
    sigaltstack(NULL, &o);
#ifdef __aarch64__ /* looks at sp when it has been restored, x86 before */
    o.ss_size += 4096;
#endif
    FACT("changed in the frame, on it: size %ld", (long)o.ss_size);
    /* an overflowing main stack is handled on the other one */
    install(SIGSEGV, escape, SA_ONSTACK);
    char *small = fresh(16, PROT_READ | PROT_WRITE);
    (void)small;
    s.ss_flags = SS_DISABLE;
    s.ss_size = 1;
    FACT("disable: %d", result(sigaltstack(&s, &o)));
    sigaltstack(NULL, &o);
    FACT("told: flags %d size %ld sp %d", o.ss_flags, (long)o.ss_size, o.ss_sp == NULL);
    FACT("bad pointers: %d %d", result(syscall(SYS_sigaltstack, 8, NULL)), result(syscall(SYS_sigaltstack, NULL, 8)));
    install(SIGUSR1, on_alt, SA_ONSTACK);
    raise(SIGUSR1);
    FACT("SA_ONSTACK without a stack: flags %d", flags_inside);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGSEGV, SIG_DFL);
}

int main(void) {
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    faults();
    actions();
    queues();
    altstack();
    return 0;
}
