/* Faults that a handler answers, N times, for x86-64 and arm64: faults MODE N [PAGES]. See faults.py. */
#include "nolibc.h"
#ifdef __x86_64__
enum { SYS_return = 15 };
#define PC 168
#define STORE(at) __asm__ volatile("movb $1,(%0)" : : "D"(at) : "memory")
#define STORE_LENGTH 3
#else
enum { SYS_return = 139 };
#define PC 440
#define STORE(at) __asm__ volatile("strb wzr,[%0]" : : "r"(at) : "memory")
#define STORE_LENGTH 4
#endif
enum { PAGE = 4096, SIGSEGV = 11, SA_SIGINFO = 4, SA_RESTORER = 0x04000000 };
struct action { void *handler; word flags; void *restorer; word mask; };
static volatile word faults;
static int skip;

#ifdef __x86_64__
void back(void);
__asm__("back: mov $15,%eax\n syscall\n");
#else
void back(void);
__asm__("back: mov x8,#139\n svc #0\n");
#endif

static void handler(int number, byte *info, byte *context)
{
    (void)number;
    faults++;
    if (skip)
        *(word *)(context + PC) += STORE_LENGTH;
    else
        S3(SYS_mprotect, *(word *)(info + 16) & -(word)PAGE, PAGE, PROT_RW);
}

static int guest_main(int argc, char **argv, char **envp)
{
    (void)envp;
    char mode = argc > 1 ? argv[1][0] : 'b';
    word n = argc > 2 ? number(argv[2]) : 1000, pages = argc > 3 ? number(argv[3]) : 256;
    struct action action = { handler, SA_SIGINFO | SA_RESTORER, back, 0 };
    sys(SYS_rt_sigaction, SIGSEGV, (long)&action, 0, 8, 0, 0);
    byte *at = map(pages * PAGE, mode == 'l' ? PROT_NONE : PROT_RW, NORESERVE);
    for (word i = 0; mode != 'l' && i < pages; i++)
        at[i * PAGE] = 1;
    switch (mode) {
    case 'b': /* barrier: all pages are protected, then written to in order */
        for (word i = 0; i < n; i++) {
            if (!(i % pages))
                S3(SYS_mprotect, at, pages * PAGE, PROT_READ);
            STORE(at + i % pages * PAGE);
        }
        break;
    case 'l': /* lazy: a reservation without rights, filled in order */
        for (word i = 0; i < n; i++) {
            if (i && !(i % pages)) {
                S2(SYS_munmap, at, pages * PAGE);
                at = map(pages * PAGE, PROT_NONE, NORESERVE);
            }
            STORE(at + i % pages * PAGE);
        }
        break;
    case 'o': /* one page, protected again each time: two calls a fault */
        at += pages / 2 * PAGE;
        for (word i = 0; i < n; i++) {
            S3(SYS_mprotect, at, PAGE, PROT_READ);
            STORE(at);
        }
        break;
    case 's': /* skip: the handler only steps over the store */
        skip = 1;
        S3(SYS_mprotect, at, pages * PAGE, PROT_READ);
        for (word i = 0; i < n; i++)
            STORE(at);
        break;
    case 'g': /* for comparison: that many getppid */
        for (word i = 0; i < n; i++)
            S0(SYS_getppid);
        faults = n;
        break;
    }
    line("faults", (long)faults);
    return faults != n;
}
