/* What every sheet shares: lines "NAME: value", an area of pages with known neighbours, its shape in /proc/self/maps, accesses that may
   fault. Nothing printed depends on where things lie. No malloc: a sheet knows every mapping it makes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PG 4096L
#define FAULT -5000
#define KEEP __attribute__((unused)) static
#define NONE PROT_NONE
#define R PROT_READ
#define W PROT_WRITE
#define X PROT_EXEC
#define RW (PROT_READ | PROT_WRITE)
#define RX (PROT_READ | PROT_EXEC)
#define PRIV MAP_PRIVATE
#define SHAR MAP_SHARED
#define ANON MAP_ANONYMOUS
#define FIX MAP_FIXED
#define TOP 0x7ffffffff000UL /* user addresses of x86-64 end here; those of arm64 at TASK */
#ifdef __aarch64__
#define TASK 0x1000000000000UL
#else
#define TASK TOP
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 8
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

KEEP char *A;          /* the area: nothing is mapped in its pages 0 to N-1 unless the sheet does it; shared PROT_NONE pages on both sides */
KEEP long N;           /* its pages */
#define P(k) (A + (long)((k) * PG))

/* ------------------------------------------------------------------ output */
KEEP char *text(const char *format, ...) { /* one of some rotating buffers */
    static char buffers[32][4096];
    static int next;
    char *at = buffers[next++ % 32];
    va_list list;
    va_start(list, format);
    vsnprintf(at, sizeof buffers[0], format, list);
    va_end(list);
    return at;
}

KEEP void line(const char *section, const char *name, const char *value) {
    static char out[6000];
    int n = snprintf(out, sizeof out, "%s %s: %s\n", section, name, value);
    if (syscall(SYS_write, 1, out, n) != n) _exit(99);
}

KEEP const char *ename(long number) { return !number ? "0" : strerrorname_np((int)number) ? strerrorname_np((int)number) : "no errno"; }

/* A result: an errno name, a place in the area as @page, a small number, or "elsewhere". */
KEEP const char *said(long r) {
    if (r == FAULT) return "fault";
    if (r < 0 && r > -4096) return ename(-r);
    if (A && r >= (long)A - 2048 * PG && r <= (long)A + (N + 2048) * PG) {
        long off = r - (long)A;
        long page = off >= 0 ? off / PG : -((-off + PG - 1) / PG);
        return off - page * PG ? text("@%ld+%ld", page, off - page * PG) : text("@%ld", page);
    }
    if (r >= 0 && r < 1L << 31) return text("%ld", r);
    return "elsewhere";
}

#define sc(...) sysresult(syscall(__VA_ARGS__))
KEEP long sysresult(long r) { return r == -1 ? -(long)errno : r; }

/* ------------------------------------------------------------------ /proc/self */
KEEP char procbuf[1 << 18];
KEEP long slurp(const char *path) {
    long n = 0, got;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
    if (fd < 0) return -1;
    while ((got = syscall(SYS_read, fd, procbuf + n, sizeof procbuf - 1 - n)) > 0) n += got;
    syscall(SYS_close, fd);
    procbuf[n] = 0;
    return n;
}

KEEP char *hex(char *at, unsigned long *value) {
    *value = 0;
    for (;; at++) {
        if (*at >= '0' && *at <= '9') *value = *value * 16 + (*at - '0');
        else if (*at >= 'a' && *at <= 'f') *value = *value * 16 + (*at - 'a' + 10);
        else return at;
    }
}

/* The mappings that overlap n pages from `base`, e.g. "rw-p 0+2 | r--s 2+1 @5 data". One that begins lower is told as beginning at base. */
KEEP const char *shape_of(char *base, long n) {
    char *start = text(""), *out = start, *end = start + 4000;
    if (slurp("/proc/self/maps") < 0) return "no maps";
    for (char *at = procbuf; *at;) {
        unsigned long from, to, off, major, minor, ino = 0;
        char *perm, *next = strchr(at, '\n');
        if (!next) break;
        *next = 0;
        at = hex(at, &from) + 1;
        at = hex(at, &to) + 1;
        perm = at;
        at = hex(at + 5, &off) + 1;
        at = hex(at, &major) + 1;
        at = hex(at, &minor) + 1;
        while (*at >= '0' && *at <= '9') ino = ino * 10 + (*at++ - '0');
        while (*at == ' ') at++;
        if (from < (unsigned long)(base + n * PG) && to > (unsigned long)base && end - out > 200) {
            char *slash = strrchr(at, '/');
            if (from < (unsigned long)base) off += (unsigned long)base - from, from = (unsigned long)base;
            out += sprintf(out, "%s%.4s %ld+%ld", out == start ? "" : " | ", perm, ((long)from - (long)base) / PG, (long)(to - from) / PG);
            if (*at == '[') out += sprintf(out, " %s", at);
            else if (ino || *at) out += sprintf(out, " @%ld %.80s", off / PG, slash ? slash + 1 : at);
        }
        at = next + 1;
    }
    return out == start ? "nothing" : start;
}
#define shape() shape_of(A, N)

/* A line of the smaps entry that holds the address, without the label. */
KEEP const char *smap(const void *address, const char *label) {
    int inside = 0;
    if (slurp("/proc/self/smaps") < 0) return "no smaps";
    for (char *at = procbuf; *at;) {
        char *next = strchr(at, '\n');
        if (!next) break;
        *next = 0;
        if (!(*at >= 'A' && *at <= 'Z')) {
            unsigned long from, to;
            hex(hex(at, &from) + 1, &to);
            inside = (unsigned long)address >= from && (unsigned long)address < to;
        } else if (inside && !strncmp(at, label, strlen(label)) && at[strlen(label)] == ':') {
            at += strlen(label) + 1;
            while (*at == ' ') at++;
            char *copy = text("%s", at);
            while (*copy && copy[strlen(copy) - 1] == ' ') copy[strlen(copy) - 1] = 0;
            return copy;
        }
        at = next + 1;
    }
    return "no such";
}
#define vmflags(k) smap(P(k), "VmFlags")

/* A number of /proc/self/status in kB, or -1. */
KEEP long status(const char *label) {
    if (slurp("/proc/self/status") < 0) return -1;
    char *at = strstr(procbuf, label);
    if (!at) return -1;
    at += strlen(label) + 1;
    while (*at == ' ' || *at == '\t') at++;
    long n = 0;
    while (*at >= '0' && *at <= '9') n = n * 10 + (*at++ - '0');
    return n;
}

/* ------------------------------------------------------------------ facts */
#define F(section, call) line(section, #call, said((long)(call)))                     /* a result */
#define C(section, call) line(section, #call, result_and_shape((long)(call)))         /* a result and the area's shape after it */
#define V(section, name, ...) line(section, name, text(__VA_ARGS__))                  /* a value */
#define K(section, value, ...) line(section, text(__VA_ARGS__), value)                 /* a value, under a name that is made */
#define D(section, call) (void)(call)                                                 /* preparation */
KEEP const char *result_and_shape(long r) {
    const char *result = said(r);
    return text("%s | %s", result, shape());
}
KEEP const char *shape_and_flags(long r, const void *at) {
    const char *result = result_and_shape(r);
    return text("%s | %s", result, smap(at, "VmFlags"));
}

/* ------------------------------------------------------------------ the area */
KEEP long map_at(void *at, unsigned long length, long prot, long flags, long fd, long off) {
    return sc(SYS_mmap, at, length, prot, flags, fd, off);
}
KEEP void area(long pages) {
    if (A) sc(SYS_munmap, A - PG, (N + 2) * PG);
    A = (char *)map_at(0, (pages + 2) * PG, NONE, SHAR | ANON | MAP_NORESERVE, -1, 0) + PG;
    N = pages;
    sc(SYS_munmap, A, pages * PG);
}
KEEP long map(double k, double n, long prot) { return map_at(P(k), (long)(n * PG), prot, PRIV | ANON | FIX, -1, 0); }
KEEP long mapx(double k, double n, long prot, long flags) { return map_at(P(k), (long)(n * PG), prot, flags | FIX, -1, 0); }
KEEP long mapf(double k, double n, long prot, long flags, int fd, double off) {
    return map_at(P(k), (long)(n * PG), prot, flags | FIX, fd, (long)(off * PG));
}
KEEP long unmap(double k, double n) { return sc(SYS_munmap, P(k), (long)(n * PG)); }
KEEP long protect(double k, double n, long prot) { return sc(SYS_mprotect, P(k), (long)(n * PG), prot); }
KEEP long advise(double k, double n, long advice) { return sc(SYS_madvise, P(k), (long)(n * PG), advice); }
KEEP long remap(double k, double n, double to, long flags, double dest) {
    return sc(SYS_mremap, P(k), (long)(n * PG), (long)(to * PG), flags, P(dest));
}
KEEP long lock(double k, double n) { return sc(SYS_mlock, P(k), (long)(n * PG)); }
KEEP long unlock(double k, double n) { return sc(SYS_munlock, P(k), (long)(n * PG)); }
KEEP long seal(double k, double n) { return sc(SYS_mseal, P(k), (long)(n * PG), 0); }

/* mincore of n pages: its result and the bits. */
KEEP const char *resident(double k, long n) {
    unsigned char bits[64];
    memset(bits, 7, sizeof bits);
    char *out = text("%s ", said(sc(SYS_mincore, P(k), n * PG, bits))), *at = out + strlen(out);
    for (long i = 0; i < n; i++) *at++ = bits[i] == 7 ? '-' : (char)('0' + bits[i]);
    *at = 0;
    return out;
}

/* ------------------------------------------------------------------ accesses that may fault */
KEEP sigjmp_buf fault_jump;
KEEP volatile int fault_sig, fault_code;
KEEP char *volatile fault_addr;
KEEP void on_fault(int sig, siginfo_t *info, void *context) {
    (void)context;
    fault_sig = sig;
    fault_code = info->si_code;
    fault_addr = info->si_addr;
    siglongjmp(fault_jump, 1);
}
KEEP void catch_faults(void) {
    static char stack[65536];
    static int done;
    if (done++) return;
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    sigaltstack(&alt, 0);
    int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    for (int i = 0; i < 5; i++) sigaction(signals[i], &action, 0);
}
KEEP const char *fault_text(void) {
    const char *code = text("%d", fault_code);
    if (fault_code == SI_KERNEL) code = "SI_KERNEL";
    else if (fault_sig == SIGSEGV) code = fault_code == 1 ? "MAPERR" : fault_code == 2 ? "ACCERR" : code;
    else if (fault_sig == SIGBUS) code = fault_code == 1 ? "ADRALN" : fault_code == 2 ? "ADRERR" : code;
    const char *where = fault_addr ? said((long)fault_addr) : "0";
    return text("SIG%s %s %s", sigabbrev_np(fault_sig), code, where);
}
/* "ok", or the signal, its code and address, of `code` run with faults caught. */
#define ATTEMPT(code) ({ catch_faults(); const char *volatile r_ = "ok"; if (sigsetjmp(fault_jump, 0)) r_ = fault_text(); else { code; } r_; })
#define LOAD(at) ((void)*(volatile char *)(at))
#define STORE(at) (*(volatile char *)(at) = 1)
#define T(section, code) line(section, #code, ATTEMPT(code))
/* The byte at page k, FAULT when it cannot be read; got() is it in words. */
KEEP int get_at(volatile char *at) {
    catch_faults();
    if (sigsetjmp(fault_jump, 0)) return FAULT;
    return *at & 255;
}
KEEP int put_at(volatile char *at, int value) {
    catch_faults();
    if (sigsetjmp(fault_jump, 0)) return FAULT;
    *at = (char)value;
    return 0;
}
#define get(k) get_at(P(k))
#define put(k, value) put_at(P(k), value)
#define got(k) said(get(k))
#define touch(k) put_at(P(k), 1)

/* ------------------------------------------------------------------ files, capabilities, limits */
/* A fresh file of n pages in the current folder whose page i is filled with 'a'+i. */
KEEP int file(const char *name, double n) {
    static char page[PG];
    int fd = (int)sc(SYS_openat, AT_FDCWD, name, O_RDWR | O_CREAT | O_TRUNC, 0644);
    for (long i = 0; i * PG < n * PG; i++) {
        long left = (long)(n * PG) - i * PG;
        memset(page, 'a' + (int)i, sizeof page);
        sc(SYS_pwrite64, fd, page, left < PG ? left : PG, i * PG);
    }
    return fd;
}
KEEP int reopen(const char *name, int flags) { return (int)sc(SYS_openat, AT_FDCWD, name, flags, 0); }
KEEP void drop_capabilities(void) {
    struct { uint32_t version; int pid; } head = {0x20080522, 0};
    uint32_t data[6] = {0};
    syscall(SYS_capset, &head, data);
}
KEEP long limit(int which, unsigned long soft) { /* the soft limit; the hard one stays */
    struct rlimit both;
    getrlimit(which, &both);
    both.rlim_cur = soft;
    return sysresult(setrlimit(which, &both));
}

/* Where the CPU has protection keys, execute-only memory cannot be read; with all keys taken it can, as on a CPU without. */
KEEP void take_keys(void) {
    while (syscall(SYS_pkey_alloc, 0, 0) >= 0) continue;
}

/* ------------------------------------------------------------------ main: all sections, or those whose names are given */
struct section { const char *name; void (*run)(void); };
#ifndef TAKE_KEYS
#define TAKE_KEYS 1
#endif
#define SECTION(f) {#f, f}
#define SHEET(...) \
    int main(int argc, char **argv) { \
        static const struct section all[] = {__VA_ARGS__}; \
        if (TAKE_KEYS) take_keys(); \
        for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) { \
            int wanted = argc < 2; \
            for (int k = 1; k < argc; k++) wanted |= !strcmp(argv[k], all[i].name); \
            if (wanted) { \
                all[i].run(); \
                V("--", all[i].name, "done"); \
            } \
        } \
        return 0; \
    }
