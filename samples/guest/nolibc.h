/* Start-up and system calls without a C library, for x86-64 and arm64. Include it in exactly one file; define guest_main. */
#ifndef NOLIBC_H
#define NOLIBC_H
typedef unsigned long word;
typedef unsigned char byte;
#ifdef __x86_64__
enum { SYS_read = 0, SYS_write = 1, SYS_openat = 257, SYS_close = 3, SYS_mmap = 9, SYS_mprotect = 10, SYS_munmap = 11, SYS_brk = 12,
       SYS_mremap = 25, SYS_getppid = 110, SYS_exit = 60, SYS_pipe2 = 293, SYS_uname = 63,
       SYS_readv = 19, SYS_writev = 20, SYS_rt_sigaction = 13, SYS_getrandom = 318, SYS_getcwd = 79 };
static long sys(long n, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long ret;
    __asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return ret;
}
__asm__(".globl _start\n_start:\n xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call guest_start\n");
#else
enum { SYS_read = 63, SYS_write = 64, SYS_openat = 56, SYS_close = 57, SYS_mmap = 222, SYS_mprotect = 226, SYS_munmap = 215, SYS_brk = 214,
       SYS_mremap = 216, SYS_getppid = 173, SYS_exit = 93, SYS_pipe2 = 59, SYS_uname = 160,
       SYS_readv = 65, SYS_writev = 66, SYS_rt_sigaction = 134, SYS_getrandom = 278, SYS_getcwd = 17 };
static long sys(long n, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
__asm__(".globl _start\n_start:\n mov x29,#0\n mov x30,#0\n mov x0,sp\n b guest_start\n");
#endif
#define S0(n) sys(n, 0, 0, 0, 0, 0, 0)
#define S1(n, a) sys(n, (long)(a), 0, 0, 0, 0, 0)
#define S2(n, a, b) sys(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define S3(n, a, b, c) sys(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
enum { PROT_NONE, PROT_READ, PROT_WRITE, PROT_RW, PROT_EXEC, PROT_RX };
enum { PRIVATE = 2, FIXED = 0x10, ANON = 0x20, NORESERVE = 0x4000 };
static int guest_main(int argc, char **argv, char **envp);
__attribute__((used)) void guest_start(word *sp)
{
    S1(SYS_exit, guest_main((int)sp[0], (char **)(sp + 1), (char **)(sp + 2 + sp[0])));
    for (;;)
        ;
}
void *memset(void *to, int value, word n)
{
    for (volatile byte *p = to; n--;)
        *p++ = (byte)value;
    return to;
}
void *memcpy(void *to, const void *from, word n)
{
    const byte *q = from;
    for (volatile byte *p = to; n--;)
        *p++ = *q++;
    return to;
}
__attribute__((unused)) static word length(const char *s) { word n = 0; while (s[n]) n++; return n; }
__attribute__((unused)) static void put(const char *s) { S3(SYS_write, 1, s, length(s)); }
__attribute__((unused)) static void put_num(long v)
{
    char text[24], *p = text + sizeof text;
    word u = v < 0 ? -(word)v : (word)v;
    *--p = 0;
    do *--p = (char)('0' + u % 10); while (u /= 10);
    if (v < 0) *--p = '-';
    put(p);
}
__attribute__((unused)) static void line(const char *name, long v) { put(name); put(" "); put_num(v); put("\n"); }
__attribute__((unused)) static word number(const char *s) { word n = 0; while (*s >= '0' && *s <= '9') n = n * 10 + (word)(*s++ - '0'); return n; }
__attribute__((unused)) static byte *map(word size, int prot, int flags)
{
    return (byte *)sys(SYS_mmap, 0, (long)size, prot, PRIVATE | ANON | flags, -1, 0);
}
#endif
