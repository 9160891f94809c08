/* What an arm64 kernel says in the signal frame about faults: fault address and ESR_EL1. Addresses are told from the start of an area. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

static sigjmp_buf out;
static char *area;
static long from(uint64_t a) { return a - (uint64_t)area < 1 << 20 ? (long)(a - (uint64_t)area) : (long)a; }
static void show(int n, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    unsigned char *p = (void *)uc->uc_mcontext.__reserved;
    uint64_t esr = 0;
    for (; ((uint32_t *)p)[0]; p += ((uint32_t *)p)[1]) {
        if (((uint32_t *)p)[0] == 0x45535201) esr = ((uint64_t *)p)[1];
        else printf("record %x of %u bytes, ", ((uint32_t *)p)[0], ((uint32_t *)p)[1]);
    }
    printf("signal %d code %d", n, info->si_code);
    if (n == SIGSEGV || n == SIGBUS) printf(" at %lx", from((uint64_t)info->si_addr));
    printf(", fault %lx esr %lx\n", from(uc->uc_mcontext.fault_address), esr);
    siglongjmp(out, 1);
}
#define TRY(x) \
    if (!sigsetjmp(out, 1)) { \
        x; \
        puts("nothing"); \
    }
int main(void) {
    struct sigaction sa;
    int all[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGUSR1, SIGSEGV};
    memset(&sa, 0, sizeof sa);
    sa.sa_sigaction = show;
    sa.sa_flags = SA_SIGINFO;
    for (int i = 0; i < 6; i++) sigaction(all[i], &sa, NULL);
    char *p = area = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[0] = 1;
    TRY(raise(SIGUSR1));
    TRY(*(volatile char *)8);
    TRY(*(volatile char *)8 = 1);
    TRY(raise(SIGUSR1));
    mprotect(p, 4096, PROT_READ);
    TRY(*(volatile char *)(p + 1) = 1);
    mprotect(p, 4096, PROT_NONE);
    TRY(*(volatile char *)(p + 1));
    mprotect(p, 4096, PROT_READ | PROT_WRITE);
    TRY(((void (*)(void))p)());
    munmap(p + 4096, 4096);
    TRY(*(volatile char *)(p + 4096 + 5) = 1);
    TRY(*(volatile char *)0xffff800000001000);
    TRY(*(volatile char *)0x4141414141414141);
    TRY(asm volatile("udf #0"));
    TRY(asm volatile("brk #0"));
    TRY(((void (*)(void))(p + 2))());
    TRY(asm volatile("ldxr x1, [%0]" ::"r"(p + 1) : "x1"));
    mprotect(p, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    TRY(((void (*)(void))(p + 6))()); /* there is something to decode */
    return 0;
}
