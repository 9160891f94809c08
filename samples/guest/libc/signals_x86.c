/* Facts about the signal frame of x86-64, byte by byte: whatever Linux runs this must print the same.
   What depends on the CPU's XSAVE state beyond x87 and SSE is left out. */
#include "signals.h"

#include <sys/auxv.h>
#include <ucontext.h>

#define R(u, name) ((u)->uc_mcontext.gregs[REG_##name])
static volatile int count;
static volatile uintptr_t want;
static sigjmp_buf out;
extern char label_int3[], label_div[], label_hlt[], label_ud[], label_int[];
static uintptr_t base;

static void show(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    count++;
    FACT("  signal %d code %d errno %d; trapno %ld err %ld cr2 %ld flags %lx", n, info->si_code, info->si_errno, (long)R(uc, TRAPNO), (long)R(uc, ERR),
         (unsigned long)R(uc, CR2) < 1 << 20 ? (long)R(uc, CR2) : (long)(R(uc, CR2) - base), (long)R(uc, EFL) & 0x10500);
    FACT("  segments %llx oldmask %llx uc_flags %lx link %d", (unsigned long long)R(uc, CSGSFS), (unsigned long long)R(uc, OLDMASK), uc->uc_flags, uc->uc_link != 0);
    siglongjmp(out, 1);
}
#define TRY(what, ...) do { FACT(what); if (!sigsetjmp(out, 1)) { __VA_ARGS__; FACT("  nothing"); } } while (0)

static void codes(void) {
    int all[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGUSR1};
    for (int i = 0; i < 6; i++) install(all[i], show, 0);
    char *p = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    base = (uintptr_t)p;
    TRY("usr1 first", raise(SIGUSR1));
    munmap(p + 4096, 4096);
    TRY("read nothing", *(volatile char *)(p + 4096 + 3));
    TRY("write nothing", *(volatile char *)(p + 4096 + 3) = 1);
    TRY("execute nothing", ((void (*)(void))(p + 4096))());
    *(volatile char *)p = 1;
    mprotect(p, 4096, PROT_READ);
    TRY("write a page that is there", *(volatile char *)(p + 1) = 1);
    mprotect(p, 4096, PROT_READ | PROT_WRITE);
    TRY("execute a page that is there", ((void (*)(void))(p + 16))());
    mprotect(p, 4096, PROT_NONE);
    TRY("read without any right", *(volatile char *)(p + 2));
    TRY("write without any right", *(volatile char *)(p + 2) = 1);
    mprotect(p + 2 * 4096, 4096, PROT_READ);
    TRY("write a page that was never there", *(volatile char *)(p + 2 * 4096) = 1);
    (void)*(volatile char *)(p + 2 * 4096);
    TRY("write one that was only read", *(volatile char *)(p + 2 * 4096) = 1);
    TRY("execute one that was never there", ((void (*)(void))(p + 3 * 4096))());
    TRY("not canonical", *(volatile char *)0x800000000000);
    TRY("not canonical, write", *(volatile char *)0x4141414141414141 = 1);
    TRY("not canonical, call", ((void (*)(void))0x4141414141414141)());
    base = 0xffff800000000000;
    TRY("kernel half", *(volatile char *)0xffff800000001000);
    base = (uintptr_t)p;
    int fd = memfd_create("x", 0);
    char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    base = (uintptr_t)m;
    TRY("behind a file", *(volatile char *)(m + 8));
    TRY("behind a file, write", *(volatile char *)(m + 4096 + 8) = 1);
    base = (uintptr_t)p;
    TRY("int3", asm volatile("int3"));
    TRY("ud2", asm volatile("ud2"));
    TRY("divide", asm volatile("xor %%edx, %%edx; mov $1, %%eax; xor %%ecx, %%ecx; div %%ecx" ::: "rax", "rcx", "rdx"));
    TRY("divide overflow", asm volatile("mov $0x80000000, %%eax; cltd; mov $-1, %%ecx; idiv %%ecx" ::: "rax", "rcx", "rdx"));
    for (int i = 0; i < 5; i++) TRY("divide again", asm volatile("xor %%edx, %%edx; mov $1, %%eax; xor %%ecx, %%ecx; div %%ecx" ::: "rax", "rcx", "rdx"));
    TRY("and a fault", *(volatile char *)(p + 4096 + 3));
    TRY("hlt", asm volatile("hlt"));
    TRY("int 0x42", asm volatile("int $0x42"));
    TRY("usr1 after all", raise(SIGUSR1));
}

/* -- the layout ------------------------------------------------------------------------------------------------- */
static void layout(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    char *frame = (char *)uc - 8;
    uint32_t *sw = (uint32_t *)((char *)uc->uc_mcontext.fpregs + 464);
    uint64_t *header = (uint64_t *)((char *)uc->uc_mcontext.fpregs + 512);
    struct { void *h; unsigned long flags; void *restorer; unsigned long mask; } k;
    syscall(SYS_rt_sigaction, n, NULL, &k, 8);
    count++;
    FACT("siginfo at %ld, alignment %ld, restorer %d", (long)((char *)info - frame), (long)frame & 15, *(void **)frame == k.restorer);
    FACT("fpstate alignment %ld, above by at least %d", (long)uc->uc_mcontext.fpregs & 63, (char *)uc->uc_mcontext.fpregs - frame >= 440);
    FACT("magic %x, extended size is size + 4: %d, magic2 %x", sw[0], sw[1] == sw[4] + 4, *(uint32_t *)((char *)uc->uc_mcontext.fpregs + sw[4]));
    FACT("features x87 and SSE: %d, header %d, compacted %lx", (sw[2] & 3) == 3, (header[0] & 3) == 3, header[1]);
    FACT("below the red zone: %d", (char *)uc->uc_mcontext.fpregs + sw[1] <= (char *)R(uc, RSP) - 128);
    FACT("fcw %x fsw %x tag %x mxcsr %x", uc->uc_mcontext.fpregs->cwd, uc->uc_mcontext.fpregs->swd, uc->uc_mcontext.fpregs->ftw, uc->uc_mcontext.fpregs->mxcsr);
    FACT("flags of a call: rcx is pc %d, r11 is flags %d", R(uc, RCX) == R(uc, RIP), R(uc, R11) == R(uc, EFL));
}
static void fresh_fpu(int n, siginfo_t *info, void *context) {
    unsigned short cw;
    unsigned mx;
    unsigned char x[16];
    asm volatile("movups %%xmm9, %2; fnstcw %0; stmxcsr %1" : "=m"(cw), "=m"(mx), "=m"(x));
    ucontext_t *uc = context;
    static unsigned char zero[16];
    count++;
    FACT("in the handler: fcw %x mxcsr %x xmm9 is zero %d", cw, mx, !memcmp(x, zero, 16));
    FACT("in the frame: fcw %x mxcsr %x xmm9 %x st0 %lx", uc->uc_mcontext.fpregs->cwd, uc->uc_mcontext.fpregs->mxcsr, uc->uc_mcontext.fpregs->_xmm[9].element[0], *(long *)uc->uc_mcontext.fpregs->_st[0].significand);
    uc->uc_mcontext.fpregs->_xmm[9].element[0] = 0x55;
    uc->uc_mcontext.fpregs->mxcsr ^= 0x2000;
}
static void without(int n) {
    unsigned long ax;
    count++;
}
static void set_regs(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    R(uc, RBX) = 1; R(uc, R12) = 2; R(uc, R13) = 3; R(uc, R14) = 4; R(uc, R15) = 5; R(uc, RSI) = 6; R(uc, RDX) = 7; R(uc, R8) = 8;
    R(uc, R9) = 9; R(uc, R10) = 10; R(uc, RDI) = 11; R(uc, RCX) = 12; R(uc, R11) = 13; R(uc, RAX) = 14;
    R(uc, EFL) = (R(uc, EFL) & ~0x40) | 1 | 0x400 | 0x3000; /* DF; IOPL is not taken */
}
static void layouts(void) {
    install(SIGUSR1, layout, 0);
    raise(SIGUSR1);
    install(SIGUSR1, fresh_fpu, 0);
    unsigned short cw = 0x27f;
    unsigned mx = 0x1f80 | 0x4000, x[4] = {0x77, 1, 2, 3}, y[4], my;
    int pid = getpid();
    long r;
    asm volatile("fldcw %4; ldmxcsr %5; movups %6, %%xmm9; fld1; syscall; fstp %%st(0); movups %%xmm9, %2; stmxcsr %3; fninit"
                 : "=a"(r), "+D"(pid), "=m"(y), "=m"(my) : "m"(cw), "m"(mx), "m"(x), "0"(SYS_kill), "S"(SIGUSR1) : "rcx", "r11", "xmm9", "memory");
    FACT("after it: xmm9 %x %x %x %x mxcsr %x", y[0], y[1], y[2], y[3], my);
    mx = 0x1f80;
    asm volatile("ldmxcsr %0" :: "m"(mx));
    install(SIGUSR1, set_regs, 0);
    static long g[15];
    long flags;
    pid = getpid();
    asm volatile("push %%rbx; push %%r12; push %%r13; push %%r14; push %%r15; push %%rbp; sub $256, %%rsp; syscall;"
                 "pushf; cld; mov %%rax, g0(%%rip);pop %%rax; mov %%rax, gf(%%rip); mov %%rbx, g0+8(%%rip); mov %%r12, g0+16(%%rip); mov %%r13, g0+24(%%rip); mov %%r14, g0+32(%%rip);"
                 "mov %%r15, g0+40(%%rip); mov %%rsi, g0+48(%%rip); mov %%rdx, g0+56(%%rip); mov %%r8, g0+64(%%rip); mov %%r9, g0+72(%%rip); mov %%r10, g0+80(%%rip);"
                 "mov %%rdi, g0+88(%%rip); mov %%rcx, g0+96(%%rip); mov %%r11, g0+104(%%rip);"
                 "add $256, %%rsp; pop %%rbp; pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbx"
                 : "=a"(r), "+D"(pid) : "0"(SYS_kill), "S"(SIGUSR1) : "rcx", "r11", "rdx", "r8", "r9", "r10", "memory", "cc");
    extern long g0[], gf[];
    printf("registers:");
    for (int i = 0; i < 14; i++) printf(" %ld", g0[i]);
    printf(" flags %lx\n", gf[0] & 0x3fd1);
}
asm(".lcomm g0, 120\n.lcomm gf, 8\n");

/* -- bad frames ---------------------------------------------------------------------------------------------------- */
static volatile int how;
static void spoil(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    char *fp = (char *)uc->uc_mcontext.fpregs;
    uint32_t *sw = (uint32_t *)(fp + 464);
    switch (how) {
    case 0: *(uint32_t *)(fp + 24) = 0xffff0000; break;
    case 1: *(uint64_t *)(fp + 520) = 1; break;
    case 2: *(uint64_t *)(fp + 544) = 1; break;
    case 3: uc->uc_mcontext.fpregs = (void *)8; break;
    case 4: uc->uc_mcontext.fpregs = NULL; break;
    case 5: R(uc, CSGSFS) &= ~0xffffL; break;
    case 6: R(uc, CSGSFS) &= 0xffffffffffffL; break;
    case 7: R(uc, CSGSFS) &= 0xffffffffffffL; uc->uc_flags &= ~4UL; break;
    case 8: sw[0] = 0; break;
    case 9: *(uint32_t *)(fp + sw[4]) = 0; break;
    case 10: R(uc, RIP) = 0x4141414141414141; break;
    case 11: R(uc, RSP) = 1; break;
    case 12: *(uint64_t *)(fp + 512) = 0; break;
    case 13: *(uint64_t *)(fp + 472) &= ~3UL; break;
    case 14: R(uc, CSGSFS) = (R(uc, CSGSFS) & ~3L); break;
    case 16: *(uint64_t *)(fp + 528) = 1; break;
    case 15: *(uint64_t *)(fp + 512) |= 1UL << 40; break;
    }
}
static void bad(void) {
    install(SIGSEGV, show, SA_ONSTACK);
    static char alt[1 << 16];
    stack_t s = {alt, 0, sizeof alt};
    sigaltstack(&s, NULL);
    install(SIGUSR1, spoil, 0);
    for (how = 0; how < 17; how++) {
        FACT("spoiled %d", how);
        if (!sigsetjmp(out, 1)) {
            unsigned mx = 0x1f80, my, x[4] = {0x77, 1, 2, 3}, y[4];
            int pid = getpid();
            long r;
            asm volatile("movups %4, %%xmm9; syscall; movups %%xmm9, %2; stmxcsr %3"
                 : "=a"(r), "+D"(pid), "=m"(y), "=m"(my) : "m"(x), "0"(SYS_kill), "S"(SIGUSR1) : "rcx", "r11", "xmm9", "memory");
            FACT("  came back: %ld xmm9 %x %x mxcsr %x", r, y[0], y[3], my);
        }
    }
    /* no place for the frame */
    FACT("a stack pointer that leads nowhere");
    if (!sigsetjmp(out, 1)) {
        install(SIGUSR1, spoil, 0);
        long r;
        int pid = getpid();
        asm volatile("mov %%rsp, %%rbx; mov $4096, %%rsp; syscall; mov %%rbx, %%rsp" : "=a"(r), "+D"(pid) : "0"(SYS_kill), "S"(SIGUSR1) : "rbx", "rcx", "r11", "memory");
        FACT("  came back");
    }
    FACT("no restorer");
    struct { void *h; unsigned long flags; void *restorer; unsigned long mask; } k = {spoil, SA_SIGINFO, 0, 0};
    syscall(SYS_rt_sigaction, SIGUSR1, &k, NULL, 8);
    if (!sigsetjmp(out, 1)) raise(SIGUSR1);
    FACT("sigreturn from nowhere");
    if (!sigsetjmp(out, 1)) asm volatile("mov $0x1000, %%rsp; mov $15, %%eax; syscall" ::: "memory", "rax", "rcx", "r11");
    FACT("two alternate stacks' worth");
}

int main(void) {
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    codes();
    layouts();
    bad();
    FACT("AT_MINSIGSTKSZ %d", getauxval(51) >= 1216 - 4);
    return 0;
}
