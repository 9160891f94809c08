/* Section 2.2: frames that rt_sigreturn refuses because of what they say of the FPU. The registers are those of the frame by then. */
#include "fact.h"
#include <ucontext.h>

#ifdef __x86_64__
#define RESULT(c) (c)->uc_mcontext.gregs[REG_RAX]
#define STACK(c) (c)->uc_mcontext.gregs[REG_RSP]
#define PLACE(c) (c)->uc_mcontext.gregs[REG_RIP]
#else
#define RESULT(c) (c)->uc_mcontext.regs[0]
#define STACK(c) (c)->uc_mcontext.sp
#define PLACE(c) (c)->uc_mcontext.pc
#endif

static volatile int kind, refused;
static volatile unsigned long stack, place;

static void segv(int signal, siginfo_t *info, void *context) {
    ucontext_t *now = context;
    refused++;
    V("2.2", text("%d: what the handler of SIGSEGV sees", kind), "result %ld, sp %s, pc %s, mask %d", (long)RESULT(now), STACK(now) == stack ? "of the frame" : "another",
      PLACE(now) == place ? "of the frame" : "another", sigismember(&now->uc_sigmask, SIGUSR2));
    if (refused > 1) _exit(1);
}

static void spoil(int signal, siginfo_t *info, void *context) {
    ucontext_t *frame = context;
    RESULT(frame) = 0x1234, stack = STACK(frame), place = PLACE(frame), sigaddset(&frame->uc_sigmask, SIGUSR2);
#ifdef __x86_64__
    char *fpu = (char *)frame->uc_mcontext.fpregs;
    uint64_t *header = (uint64_t *)(fpu + 512);
    if (kind == 1) header[2] = 1;
    if (kind == 2) header[1] = 1;
    if (kind == 3) *(uint32_t *)(fpu + 24) = ~0U;
#else
    uint32_t *record = (uint32_t *)frame->uc_mcontext.__reserved;
    if (kind == 1) record[0] = 7;
    if (kind == 2) record[1] = 4;
    if (kind == 3) record[0] = 0, record[1] = 1;
#endif
}

static void frames(void) {
    static char other[1 << 16];
    stack_t alternate = {.ss_sp = other, .ss_size = sizeof other};
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK, .sa_sigaction = segv};
    sigset_t mask;
    sigaltstack(&alternate, 0);
    sigaction(SIGSEGV, &action, 0);
    action = (struct sigaction){.sa_flags = SA_SIGINFO, .sa_sigaction = spoil};
    sigaction(SIGUSR1, &action, 0);
    for (kind = 0; kind < 4; kind++) {
        refused = 0;
        sc(SYS_tgkill, getpid(), getpid(), SIGUSR1);
        sigprocmask(SIG_SETMASK, 0, &mask);
        V("2.2", text("%d: and then", kind), "refused %d times, mask %d", refused, sigismember(&mask, SIGUSR2));
        sigemptyset(&mask);
        sigprocmask(SIG_SETMASK, &mask, 0);
    }
}

SHEET(SECTION(frames))
