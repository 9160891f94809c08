/* Section 1.15: restartable sequences: what rseq takes and refuses, and that a signal aborts a sequence. */
#include "fact.h"
#include <sys/rseq.h>
#include <sys/auxv.h>
#include <ucontext.h>

#define MINE 0x1234abcd
#define MARK ".long 0x1234abcd\n"

struct area { uint32_t start, cpu; uint64_t sequence; uint32_t flags, node, id, more[9]; };
struct sequence { uint32_t version, flags; uint64_t start, length, abort; };

/* long in_sequence(area, sequence, place): 1 when *place can be read, 2 when the sequence was aborted. The sequence ends after the load and a move. */
long in_sequence(struct area *, struct sequence *, void *);
extern char begins[], ends[], aborts[];
#ifdef __x86_64__
asm(".globl in_sequence, begins, ends, aborts\nin_sequence: mov %rsi, 8(%rdi)\nbegins: mov (%rdx), %rcx\nmov $1, %eax\nends: ret\n" MARK "aborts: mov $2, %eax\nret\n");
#else
asm(".globl in_sequence, begins, ends, aborts\nin_sequence: str x1, [x0, #8]\nbegins: ldr x3, [x2]\nmov x0, #1\nends: ret\n" MARK "aborts: mov x0, #2\nret\n");
#endif

static sigjmp_buf out;
static char *handled_at;
static void handler(int signal, siginfo_t *info, void *context) {
#ifdef __x86_64__
    handled_at = (char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#else
    handled_at = (char *)((ucontext_t *)context)->uc_mcontext.pc;
#endif
    if (handled_at != aborts) siglongjmp(out, 1);
}

static void trial(const char *name, struct area *area, struct sequence *sequence, void *place) {
    handled_at = 0;
    long result = sigsetjmp(out, 1) ? -1 : in_sequence(area, sequence, place);
    V("1.15", name, "%ld, handler %s, the area has %s", result, !handled_at ? "not run" : handled_at == aborts ? "at the abort" : handled_at == begins ? "in the sequence" : "elsewhere",
      area->sequence ? "a sequence" : "none");
    area->sequence = 0;
}

static void sequences(void) {
    static struct area area __attribute__((aligned(64))), other __attribute__((aligned(64)));
    struct area *old = (struct area *)((char *)__builtin_thread_pointer() + __rseq_offset);
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_NODEFER, .sa_sigaction = handler};
    struct sigaction before;
    V("1.15", "bytes and alignment told", "%lu %lu", getauxval(27), getauxval(28));
    V("1.15", "the area of glibc has a CPU", "%d", old->start == old->cpu);
    unsigned sign =
#ifdef __x86_64__
        0x53053053;
#else
        0xd428bc00;
#endif
    V("1.15", "again", "%s", said(sc(SYS_rseq, old, 32, 0, sign)));
    V("1.15", "another signature", "%s", said(sc(SYS_rseq, old, 32, 0, MINE)));
    V("1.15", "another length", "%s", said(sc(SYS_rseq, old, 64, 0, sign)));
    V("1.15", "another area", "%s", said(sc(SYS_rseq, &other, 32, 0, sign)));
    V("1.15", "unregister another", "%s", said(sc(SYS_rseq, &other, 32, 1, sign)));
    V("1.15", "unregister with another signature", "%s", said(sc(SYS_rseq, old, 32, 1, MINE)));
    V("1.15", "unregister with another length", "%s", said(sc(SYS_rseq, old, 64, 1, sign)));
    V("1.15", "unregister with flags", "%s", said(sc(SYS_rseq, old, 32, 3, sign)));
    V("1.15", "unregister", "%s", said(sc(SYS_rseq, old, 32, 1, sign)));
    V("1.15", "the area then", "%u %d %u %u", old->start, (int)old->cpu, old->node, old->id);
    V("1.15", "and once more", "%s", said(sc(SYS_rseq, old, 32, 1, sign)));
    for (int length = 0; length <= 128; length += 8) {
        long result = sc(SYS_rseq, &other, length, 0, MINE);
        K("1.15", said(result), "register %d bytes", length);
        if (!result) sc(SYS_rseq, &other, length, 1, MINE);
    }
    V("1.15", "misaligned", "%s %s", said(sc(SYS_rseq, (char *)&other + 16, 32, 0, MINE)), said(sc(SYS_rseq, (char *)&other + 4, 64, 0, MINE)));
    V("1.15", "flags", "%s", said(sc(SYS_rseq, &other, 32, 2, MINE)));
    area.sequence = 99, area.cpu = 77, area.id = 5;
    V("1.15", "register", "%s", said(sc(SYS_rseq, &area, 32, 0, MINE)));
    unsigned cpu = 999;
    sc(SYS_getcpu, &cpu, 0L, 0L);
    V("1.15", "the area then", "%d %d %lu %u", area.cpu == cpu, area.start == cpu, area.sequence, area.id);
    sigaction(SIGSEGV, &action, &before);
    struct sequence good = {0, 0, (uint64_t)begins, ends - begins, (uint64_t)aborts}, bad;
    trial("nothing happens", &area, &good, &area);
    trial("a fault in the sequence", &area, &good, (void *)8);
    bad = good, bad.length = 1;
    trial("a fault in a sequence of one byte", &area, &bad, (void *)8);
    bad = good, bad.start = (uint64_t)ends, bad.length = 1;
    trial("a fault before the sequence", &area, &bad, (void *)8);
    area.sequence = 0;
    int twice = handled_at == begins;
    V("1.15", "seen there", "%d", twice);
    sigaction(SIGSEGV, &before, 0);
    V("1.15", "unregister", "%s", said(sc(SYS_rseq, &area, 32, 1, MINE)));
}

SHEET(SECTION(sequences))
