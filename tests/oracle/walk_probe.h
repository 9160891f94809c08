/* Touching memory that may fault: accesses from assembly, and a signal handler that leaves them. A fault is described in `fault`. */
#ifndef WALK_PROBE_H
#define WALK_PROBE_H
#include "walk_abi.h"

struct fault { int armed, signal, code; word address; };
static volatile struct fault fault;
word probe_kept; /* the stack pointer (x86-64) or the return address (arm64) of the probe that runs */
long probe_load(word at), probe_load8(word at), probe_store(word at, word value), probe_store8(word at, word value);
long probe_add8(word at, word value), probe_call(word at);
void probe_left(void), probe_restorer(void);

#ifdef __x86_64__
enum { CONTEXT_PC = 168 };
#define PROBE(name, code) ".globl " name "\n" name ": mov %rsp, probe_kept(%rip)\n" code "\n ret\n"
__asm__(PROBE("probe_load", "movzbl (%rdi), %eax")
        PROBE("probe_load8", "mov (%rdi), %rax")
        PROBE("probe_store", "mov %sil, (%rdi)\n xor %eax, %eax")
        PROBE("probe_store8", "mov %rsi, (%rdi)\n xor %eax, %eax")
        PROBE("probe_add8", "lock xadd %rsi, (%rdi)\n mov %rsi, %rax")
        PROBE("probe_call", "call *%rdi")
        ".globl probe_left\nprobe_left: mov probe_kept(%rip), %rsp\n mov $-1, %rax\n ret\n"
        ".globl probe_restorer\nprobe_restorer: mov $15, %eax\n syscall\n");
/* mov eax, VALUE; ret; nops. The value is in the middle of the first word. */
static word code_first(word value) { return 0xC300000000B8 | value << 8 | 0x9090ul << 48; }
enum { CODE_SECOND_LOW = 0x90909090u };
static void code_written(word at) { (void)at; }
#else
enum { CONTEXT_PC = 440 };
#define PROBE(name, code) ".globl " name "\n" name ": adrp x9, probe_kept\n str x30, [x9, :lo12:probe_kept]\n" code "\n ret\n"
__asm__(PROBE("probe_load", "ldrb w0, [x0]")
        PROBE("probe_load8", "ldr x0, [x0]")
        PROBE("probe_store", "strb w1, [x0]\n mov x0, #0")
        PROBE("probe_store8", "str x1, [x0]\n mov x0, #0")
        PROBE("probe_add8", "mov x2, x0\n 1: ldaxr x0, [x2]\n add x3, x0, x1\n stlxr w4, x3, [x2]\n cbnz w4, 1b")
        PROBE("probe_call", "blr x0\n adrp x9, probe_kept\n ldr x30, [x9, :lo12:probe_kept]")
        ".globl probe_left\nprobe_left: adrp x9, probe_kept\n ldr x30, [x9, :lo12:probe_kept]\n mov x0, #-1\n ret\n"
        ".globl probe_restorer\nprobe_restorer: mov x8, #139\n svc 0\n");
/* mov w0, #VALUE; ret; nops. */
static word code_first(word value) { return 0xD65F03C052800000 | value << 5; }
enum { CODE_SECOND_LOW = 0xD503201Fu };
static void code_written(word at) { __asm__ volatile("dc cvau, %0\n dsb ish\n ic ivau, %0\n dsb ish\n isb" : : "r"(at) : "memory"); }
#endif
static word code_second(void) { return (word)CODE_SECOND_LOW << 32 | CODE_SECOND_LOW; }

/* Leaves the probe: the program goes on at probe_left, which returns -1 from it. A fault of anything else ends the walk. */
static void on_fault(int signal, byte *info, byte *context)
{
    if (!fault.armed) {
        put("the walker itself faulted\n");
        S1(SYS_exit, 99);
    }
    fault.armed = 0;
    fault.signal = signal;
    fault.code = *(int *)(info + 8);
    fault.address = *(word *)(info + 16);
    *(word *)(context + CONTEXT_PC) = (word)probe_left;
}

static void catch_faults(void)
{
    struct { void *handler; word flags; void *restorer; word mask; } action = {(void *)on_fault, 0x4000004, (void *)probe_restorer, 0};
    sys(SYS_rt_sigaction, SIGSEGV, (long)&action, 0, 8, 0, 0);
    sys(SYS_rt_sigaction, SIGBUS, (long)&action, 0, 8, 0, 0);
}

/* 1 and the probe's value, or 0 and `fault`. */
#define TRY(value, probe) (fault.armed = 1, fault.signal = 0, *(value) = (probe), fault.armed = 0, !fault.signal)
#endif
