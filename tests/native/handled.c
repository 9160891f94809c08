/* Faults that a handler answers, many ways and many times, for x86-64 and arm64. Writes every frame as it is, raw, and what is in the
 * registers after each return. See test_handled.py. */
#include "nolibc.h"
#ifdef __x86_64__
enum { SYS_mask = 14, SYS_kill = 62, SYS_altstack = 131, SYS_getpid = 39, SYS_mincore = 27, LENGTH = 1036 };
enum { PC = 168, KEPT = 40 + 12 * 8 /* rdx */, MASK = 296, FP = 448 + 160 /* xmm0 */, FLAGS = 40 + 17 * 8, FPSTATE_AT = 224 };
#define FRAME(info, context) ((context) - 8)
#define STORE(at) __asm__ volatile("mov %0,(%0)" : : "r"(at) : "memory")
#define ZERO_FPSTATE(context) (*(word *)((context) + FPSTATE_AT) = 0)
#else
enum { SYS_mask = 135, SYS_kill = 129, SYS_altstack = 132, SYS_getpid = 172, SYS_mincore = 232, LENGTH = 1144 };
enum { PC = 440, KEPT = 184 + 8 * 10 /* x10 */, MASK = 40, FP = 464 + 16 /* v0 */, FLAGS = 448 };
#define FRAME(info, context) ((context) - 128)
#define STORE(at) __asm__ volatile("str %0,[%0]" : : "r"(at) : "memory")
#define ZERO_FPSTATE(context) (*(volatile byte *)((context) + FP))
#endif
enum { PAGE = 4096, SIGSEGV = 11, SIGUSR1 = 10, SA_SIGINFO = 4, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000, SA_NODEFER = 0x40000000 };
#define SA_RESETHAND 0x80000000UL
enum { SHOW_REGISTERS = 40 };
struct action { void *handler; word flags; void *restorer; word mask; };
struct stack { void *sp; int flags; word size; };
static volatile word round_number, how, depth, at_page;
static byte alternate[3 * PAGE] __attribute__((aligned(4096)));

void back(void);
word access(byte *at, word seed, word load);
#ifdef __x86_64__
__asm__("back: mov $15,%eax\n syscall\n");
/* Registers from the seed, an access, and a sum of the registers behind it. */
__asm__("access: push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "movq %rsi,%xmm0\n movq %rsi,%xmm7\n paddq %xmm0,%xmm7\n movq %xmm7,%xmm15\n mov %rdx,%rcx\n mov %rsi,%rax\n"
        "lea 1(%rsi),%rbx\n lea 2(%rsi),%rbp\n lea 3(%rsi),%r12\n lea 4(%rsi),%r13\n lea 5(%rsi),%r14\n lea 6(%rsi),%r15\n"
        "lea 7(%rsi),%r8\n lea 8(%rsi),%r9\n lea 9(%rsi),%r10\n lea 10(%rsi),%r11\n lea 11(%rsi),%rdx\n"
        "test $2,%cl\n jz 2f\n fldpi\n ldmxcsr exact(%rip)\n2: test $1,%cl\n jnz 1f\n cmp %rsi,%rax\n stc\n movb $1,(%rdi)\n jmp 3f\n"
        "1: stc\n addb $1,(%rdi)\n"
        "3: adc %rbx,%rax\n add %rbp,%rax\n imul $3,%rax\n add %r12,%rax\n imul $3,%rax\n add %r13,%rax\n add %r14,%rax\n imul $3,%rax\n"
        "add %r15,%rax\n add %r8,%rax\n imul $3,%rax\n add %r9,%rax\n add %r10,%rax\n imul $3,%rax\n add %r11,%rax\n imul $3,%rax\n"
        "add %rdx,%rax\n movq %xmm0,%rdx\n imul $3,%rax\n add %rdx,%rax\n movq %xmm15,%rdx\n imul $3,%rax\n add %rdx,%rax\n"
        "test $2,%cl\n jz 4f\n push %rax\n fstpl (%rsp)\n pop %rdx\n add %rdx,%rax\n stmxcsr -8(%rsp)\n movl -8(%rsp),%edx\n add %rdx,%rax\n"
        "ldmxcsr usual(%rip)\n4:"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n usual: .long 0x1f80\n exact: .long 0x3f80\n");
#else
__asm__("back: mov x8,#139\n svc #0\n");
__asm__("access: fmov d0,x1\n fmov d7,x1\n add d31,d0,d7\n add x9,x1,#1\n add x10,x1,#2\n add x11,x1,#3\n add x12,x1,#4\n add x13,x1,#5\n"
        "add x14,x1,#6\n add x15,x1,#7\n mov x3,#3\n add x17,x1,#8\n cmp x1,#7\n tbnz x2,#0,1f\n strb wzr,[x0]\n b 2f\n"
        "1: ldrb w4,[x0]\n add x9,x9,x4\n"
        "2: cset x4,hi\n madd x4,x4,x3,x9\n madd x4,x4,x3,x10\n madd x4,x4,x3,x11\n madd x4,x4,x3,x12\n madd x4,x4,x3,x13\n madd x4,x4,x3,x14\n"
        "madd x4,x4,x3,x15\n madd x4,x4,x3,x17\n fmov x9,d0\n madd x4,x4,x3,x9\n fmov x9,d31\n madd x0,x4,x3,x9\n ret\n");
#endif

static byte *const memory = (byte *)0x10000000;

static void handler(int number, byte *info, byte *context)
{
    if (context != 0 && how != 5)
        S3(SYS_write, 1, FRAME(info, context), LENGTH);
    if (how == 6) {
        byte present[2];
        S3(SYS_mincore, at_page, 2 * PAGE, present);
        line("present", (present[0] & 1) * 10 + (present[1] & 1));
    }
    word page = how == 5 ? at_page : *(word *)(info + 16) & -(word)PAGE;
    word mask = 0;
    sys(SYS_mask, 0, 0, (long)&mask, 8, 0, 0);
    line("handler", number + (long)mask);
    if (depth == 1 && page == at_page) {
        depth = 2;
        access(memory + 60 * PAGE + 9, 3, 0); /* a fault in the handler of a fault */
    }
    if (how == 2) {
        *(word *)(context + KEPT) += 1000;
        *(word *)(context + FP) += 5000;
        *(word *)(context + MASK) |= 1 << (SIGUSR1 - 1) | 1 << 8;
        *(word *)(context + FLAGS) ^= 0x400 << 20;
    }
    if (how == 3 && round_number % 2)
        (void)ZERO_FPSTATE(context);
    if (how == 4)
        S2(SYS_kill, S0(SYS_getpid), SIGUSR1);
    S3(SYS_mprotect, page, PAGE, PROT_RW);
}

static void other(int number)
{
    line("other", number);
}

static void install(int signal, void *function, word flags, word mask)
{
    struct action action = { function, flags | SA_RESTORER, back, mask };
    sys(SYS_rt_sigaction, signal, (long)&action, 0, 8, 0, 0);
}

static void faults(const char *name, word loads, int prot)
{
    word none = 0;
    put(name), put("\n");
    S3(SYS_mprotect, memory, 64 * PAGE, prot);
    for (round_number = 0; round_number < 8; round_number++) {
        at_page = (word)memory + round_number * 3 * PAGE;
        line("sum", (long)access((byte *)at_page + 16 + round_number, round_number * 0x1234567, round_number % 2 ? loads : loads & 2));
    }
    sys(SYS_mask, 2, (long)&none, 0, 8, 0, 0);
}

/* A store into two pages, of which the second refuses, makes the first present; one that only follows another does not. */
static void borders(void)
{
    how = 6;
    for (round_number = 0; round_number < 12; round_number++) {
        byte *at = (byte *)0x20000000 + round_number * 4 * PAGE;
        sys(SYS_mmap, (long)at, 2 * PAGE, PROT_RW, PRIVATE | ANON | FIXED, -1, 0);
        at[PAGE] = 1;
        S3(SYS_mprotect, at + PAGE, PAGE, round_number & 1 ? PROT_READ : PROT_NONE);
        at_page = (word)at;
        word from = round_number / 2 % 3;
        for (word i = from; i < 3; i++) /* 0: the page before is written to first; 1: across the border; 2: neither */
            STORE(at + (i == 2 ? PAGE : i ? PAGE - 4 : 8));
    }
}

/* A fault of another kind (the stack grows), when the handler of the first is gone. */
__attribute__((noinline)) static void deep(void)
{
    volatile byte room[1 << 18];
    room[0] = 1;
    line("sum", room[0]);
}

static void once(void)
{
    install(SIGSEGV, handler, SA_SIGINFO | SA_RESETHAND, 0);
    S3(SYS_mprotect, memory, PAGE, PROT_READ);
    access(memory, 5, 0);
    deep();
}

static int guest_main(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    sys(SYS_mmap, (long)memory, 64 * PAGE, PROT_RW, PRIVATE | ANON | FIXED, -1, 0);
    for (word i = 0; i < 64; i++)
        memory[i * PAGE] = (byte)(i | 1);
    once();
    install(SIGSEGV, handler, SA_SIGINFO, 0);
    install(SIGUSR1, other, 0, 0);
    faults("plain", 0, PROT_READ);
    faults("loads", 1, PROT_NONE);
    faults("other registers", 3, PROT_READ);
    how = 2;
    faults("the frame is changed", 0, PROT_READ);
    how = 3;
    faults("some frames are not plain", 0, PROT_READ);
    how = 4;
    install(SIGSEGV, handler, SA_SIGINFO, 1 << (SIGUSR1 - 1));
    faults("others come", 0, PROT_READ);
    how = 5;
    install(SIGSEGV, handler, 0, 0);
    faults("no siginfo", 0, PROT_READ);
    how = 0;
    struct stack stack = { alternate, 0, sizeof alternate };
    S2(SYS_altstack, &stack, 0);
    install(SIGSEGV, handler, SA_SIGINFO | SA_ONSTACK | SA_NODEFER, 1 << 4);
    faults("alternate stack", 0, PROT_READ);
    borders();
    how = 0;
    for (int i = 0; i < 3; i++) {
        depth = 1;
        faults("nested", 0, PROT_READ);
    }
    return 0;
}
