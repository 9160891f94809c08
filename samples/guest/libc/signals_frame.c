/* Facts about what handlers see of the interrupted program and may change in it: whatever Linux runs this must print the same. */
#include "signals.h"

#include <sys/auxv.h>
#include <sys/wait.h>
#include <ucontext.h>

#ifdef __x86_64__
#define PC(u) (u)->uc_mcontext.gregs[REG_RIP]
#define SP(u) (u)->uc_mcontext.gregs[REG_RSP]
#define RESULT(u) (u)->uc_mcontext.gregs[REG_RAX]
#define SKIP 2
#define ILLEGAL "ud2"
#define OPCODE 0x0b0f
#define TRAP "int3"
#define AFTER_TRAP 0
#define BAD_FAULT_ADDRESS(u) (u)->uc_mcontext.gregs[REG_CR2]
#else
#define PC(u) (u)->uc_mcontext.pc
#define SP(u) (u)->uc_mcontext.sp
#define RESULT(u) (u)->uc_mcontext.regs[0]
#define SKIP 4
#define ILLEGAL "udf #0"
#define OPCODE 0
#define TRAP "brk #0"
#define AFTER_TRAP 4
#define BAD_FAULT_ADDRESS(u) (u)->uc_mcontext.fault_address
#endif
enum { NEAREST, DOWN, UP };
static void set_rounding(int mode) {
#ifdef __x86_64__
    unsigned m;
    asm volatile("stmxcsr %0" : "=m"(m));
    m = (m & ~0x6000u) | (unsigned)mode << 13;
    asm volatile("ldmxcsr %0" ::"m"(m));
#else
    asm volatile("msr fpcr, %0" ::"r"((long)(mode == UP ? 1 : mode == DOWN ? 2 : 0) << 22));
#endif
}
static int rounding(void) {
#ifdef __x86_64__
    unsigned m;
    asm volatile("stmxcsr %0" : "=m"(m));
    return m >> 13 & 3;
#else
    long m;
    asm volatile("mrs %0, fpcr" : "=r"(m));
    m = m >> 22 & 3;
    return m == 1 ? UP : m == 2 ? DOWN : (int)m;
#endif
}
static volatile int count;
static volatile uintptr_t low, high, pc_seen, address_seen, at_seen, sp_seen;
static siginfo_t seen;

/* -- skipping instructions ------------------------------------------------------------------------------------- */
static void skip(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    (void)n;
    seen = *info;
    count++;
    pc_seen = PC(uc);
    PC(uc) += SKIP;
}
static void after_trap(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    (void)n;
    seen = *info;
    count++;
    pc_seen = PC(uc);
    PC(uc) += AFTER_TRAP;
}
static void traps(void) {
    install(SIGILL, skip, 0);
    install(SIGTRAP, after_trap, 0);
    asm volatile(ILLEGAL);
    FACT("illegal: %d signal %d at the instruction %d, address %d", count, seen.si_signo, *(uint16_t *)pc_seen == OPCODE, (uintptr_t)seen.si_addr == pc_seen);
    asm volatile(TRAP);
    FACT("trap: %d signal %d", count, seen.si_signo);
    count = 0;
    for (int i = 0; i < 1000; i++) asm volatile(ILLEGAL);
    FACT("a thousand: %d", count);
}

/* -- registers ---------------------------------------------------------------------------------------------------- */
static char *page;
static void allow(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    (void)n;
    count++;
    seen = *info;
    address_seen = BAD_FAULT_ADDRESS(uc);
    set_rounding(UP); /* a handler's own FPU state, gone when it returns */
    mprotect((char *)((uintptr_t)info->si_addr & -4096), 4096, PROT_READ | PROT_WRITE);
}
static double third(double a) { return a / 3; }
static void lazy(void) {
    install(SIGSEGV, allow, 0);
    size_t pages = 64;
    page = mmap(NULL, pages * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    count = 0;
    double d = third(1);
    set_rounding(DOWN);
    long sum = 0;
    for (size_t i = 0; i < pages; i++) {
        page[i * 4096 + i] = (char)i;
        sum += page[i * 4096 + i];
    }
    FACT("lazy pages: %d faults, sum %ld, address told %d", count, sum, address_seen == (uintptr_t)page + 63 * 4096 + 63);
    int kept = rounding() == DOWN;
    volatile double one = 1, down = third(one);
    set_rounding(NEAREST);
    FACT("rounding kept: %d, third %.20g", kept, down);
    (void)d;
    double a[8] = {1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5};
    mprotect(page, 4096, PROT_READ);
    double t = a[0] * a[1] + a[2];
    *(volatile char *)page = 1;
    FACT("doubles: %g %g", t, a[3] * a[4] + a[5] - a[6] * a[7]);
}

static void set_result(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    (void)n; (void)info;
    RESULT(uc) = 4242;
    sigaddset(&uc->uc_sigmask, SIGUSR2);
    count++;
}
static long raw_kill(int n) {
    long r, pid = getpid();
#ifdef __x86_64__
    asm volatile("syscall" : "=a"(r) : "0"(SYS_kill), "D"(pid), "S"(n) : "rcx", "r11", "memory");
#else
    register long x8 asm("x8") = SYS_kill, x0 asm("x0") = pid, x1 asm("x1") = n;
    asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
    r = x0;
#endif
    return r;
}
static void changed(void) {
    sigset_t now;
    install(SIGUSR1, set_result, 0);
    FACT("a result changed by the handler: %ld", raw_kill(SIGUSR1));
    sigprocmask(SIG_BLOCK, NULL, &now);
    FACT("a mask changed by the handler: %d %d", sigismember(&now, SIGUSR2), sigismember(&now, SIGUSR1));
    sigemptyset(&now);
    sigprocmask(SIG_SETMASK, &now, NULL);
}

/* -- jumping out ----------------------------------------------------------------------------------------------------- */
static sigjmp_buf out;
static void jump(int n, siginfo_t *info, void *context) {
    (void)info; (void)context;
    count++;
    siglongjmp(out, n);
}
static void jumps(void) {
    install(SIGSEGV, jump, 0);
    install(SIGUSR1, jump, 0);
    volatile int i;
    count = 0;
    for (i = 0; i < 200; i++)
        if (!sigsetjmp(out, 1)) *(volatile char *)(uintptr_t)i = 1;
    FACT("jumped out %d times", count);
    if (!sigsetjmp(out, 0)) raise(SIGUSR1);
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    FACT("without the mask: blocked %d", sigismember(&now, SIGUSR1));
    sigemptyset(&now);
    sigprocmask(SIG_SETMASK, &now, NULL);
}

/* -- stacks ---------------------------------------------------------------------------------------------------------- */
static char alt[1 << 16];
static volatile int depth;
static int dive(int n) {
    volatile char room[256];
    room[n & 255] = 1;
    depth = n;
    return dive(n + 1) + room[3];
}
static void overflow(void) {
    stack_t s = {alt, 0, sizeof alt};
    sigaltstack(&s, NULL);
    install(SIGSEGV, jump, SA_ONSTACK);
    count = 0;
    if (!sigsetjmp(out, 1)) dive(0);
    FACT("a stack that is full: handled %d, deep %d", count, depth > 10000);
    if (!sigsetjmp(out, 1)) dive(0);
    FACT("again: %d", count);
    s.ss_flags = SS_DISABLE;
    sigaltstack(&s, NULL);
}

/* -- nesting ----------------------------------------------------------------------------------------------------------- */
static void nest(int n, siginfo_t *info, void *context) {
    (void)info; (void)context;
    volatile int local = count++;
    if (count < 100) raise(n);
    if (local == 0) depth = count;
}
static void second(int n, siginfo_t *info, void *context) {
    (void)info; (void)context;
    count += 1000;
}
static void first(int n, siginfo_t *info, void *context) {
    (void)info; (void)context;
    raise(SIGUSR2);
    count = count * 2 + 1;
}
static void nesting(void) {
    install(SIGUSR1, nest, SA_NODEFER);
    count = 0;
    raise(SIGUSR1);
    FACT("nested: %d, %d", count, depth);
    install(SIGUSR1, first, 0);
    install(SIGUSR2, second, 0);
    count = 0;
    raise(SIGUSR1);
    FACT("a handler in a handler: %d", count);
}

/* -- the red zone, alignment ---------------------------------------------------------------------------------------------- */
static void look(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    (void)n; (void)info;
    count++;
    at_seen = (uintptr_t)__builtin_frame_address(0);
    sp_seen = SP(uc);
}
static void frames(void) {
    install(SIGUSR1, look, 0);
    raise(SIGUSR1);
    FACT("alignment %d, below %d", (int)(at_seen & 15), at_seen < sp_seen - 128);
    int all = 0;
    for (int i = 0; i < 64; i++) {
        char *room = __builtin_alloca(i * 8 + 1);
        room[0] = 1;
        raise(SIGUSR1);
        all |= at_seen & 15;
    }
    FACT("always: %d", all);
}

int main(void) {
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    traps();
    lazy();
    changed();
    jumps();
    overflow();
    nesting();
    frames();
    return 0;
}
