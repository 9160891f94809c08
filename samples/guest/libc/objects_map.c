/* What files allow to be mapped, and mappings of files that change: facts that do not depend on the machine. */
#include "objects.h"

#include <setjmp.h>
#include <sys/stat.h>
#include <sys/uio.h>

static sigjmp_buf back;
static void *fault;
static void caught(int signal, siginfo_t *info, void *context) {
    fault = info->si_addr;
    siglongjmp(back, signal == SIGBUS ? 100 + info->si_code : info->si_code);
}
static int load(char *at) {
    int s = sigsetjmp(back, 1);
    if (!s) { volatile char c = *(volatile char *)at; (void)c; }
    return s && fault != at ? -s : s;
}
static int store(char *at) {
    int s = sigsetjmp(back, 1);
    if (!s) *(volatile char *)at = 's';
    return s && fault != at ? -s : s;
}

static void shown(char *at) {
    char line[500], name[300] = "", rights[8];
    unsigned long start, offset;
    FILE *f = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, f)) {
        sscanf(line, "%lx-%*x %7s %lx %*s %*s %299[^\n]", &start, rights, &offset, name);
        if ((char *)start == at) {
            char *end = strrchr(name, '/');
            printf("  %s %lx %s\n", rights, offset, strncmp(name + strspn(name, " "), "/dev", 4) ? end ? end : "" : name + strspn(name, " "));
        }
    }
    fclose(f);
}

static void try(const char *path, int flags, int prot, int kind, off_t offset) {
    int fd = open(path, flags);
    errno = 0;
    char *a = mmap(0, PAGE, prot, kind, fd, offset);
    printf("%s open %x prot %d kind %d offset %lx: %s", path, flags & 3, prot, kind, (long)offset, a == MAP_FAILED ? strerrorname_np(errno) : "ok");
    if (a != MAP_FAILED) {
        if (prot & 1) printf(" load %d", load(a));
        printf(" write right %d", mprotect(a, PAGE, prot | 2) ? errno : 0);
        mprotect(a, PAGE, prot);
        puts("");
        shown(a);
        munmap(a, PAGE);
    } else puts("");
    close(fd);
}

static void views(void) {
    puts("-- what can be mapped");
    static const char *const names[] = {"/dev/zero", "/dev/null", "/dev/full", "/dev/urandom", ".", "file", "/proc/self/maps", "/proc/cpuinfo", "/proc"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        for (int flags = 0; flags < 3; flags++) {
            if (flags && (i == 4 || i > 5)) continue;
            for (int kind = 1; kind < 4; kind++) {
                if (kind == 3 && i != 5) continue;
                try(names[i], flags, 1, kind, 0);
                try(names[i], flags, 3, kind, 0);
                try(names[i], flags, 0, kind, 0);
            }
            if (i != 5) try(names[i], flags, 5, MAP_PRIVATE, 0);
        }
    try("/dev/zero", O_RDWR, 3, MAP_SHARED, PAGE);
    try("/dev/zero", O_RDWR, 3, MAP_PRIVATE, PAGE);
    try("/dev/zero", O_RDONLY, 1, MAP_SHARED, 5 * PAGE);
    static const unsigned long offsets[] = {1, 0x7ffffffffffff000, 0x7fffffffffffe000, 0xfffffffffffff000, 0xffffffffffffe000};
    for (int i = 0; i < 5; i++) {
        try("file", O_RDWR, 1, MAP_PRIVATE, offsets[i]);
        try("/dev/zero", O_RDWR, 1, MAP_PRIVATE, offsets[i]);
        try("/dev/null", O_WRONLY, 1, MAP_PRIVATE, offsets[i]);
    }
    puts("-- order");
    int p[2], file = open("file", O_RDWR), read = open("file", O_RDONLY), path = open("file", O_PATH), null = open("/dev/null", O_RDWR);
    F(pipe(p));
#define M(length, prot, flags, fd) F(mmap(0, length, prot, flags, fd, 0))
    M(PAGE, 1, MAP_PRIVATE, p[0]);
    M(PAGE, 1, MAP_PRIVATE, p[1]);
    M(PAGE, 3, MAP_SHARED, p[0]);
    M(PAGE, 1, MAP_PRIVATE, path);
    M(0, 1, MAP_PRIVATE, path);
    M(0, 1, MAP_PRIVATE, -1);
    M(0, 1, MAP_PRIVATE, null);
    M(PAGE, 1, 0, file);
    M(PAGE, 1, 4, file);
    M(PAGE, 3, MAP_SHARED, read);
    M(PAGE, 3, 3 | MAP_FIXED_NOREPLACE, read);
    M(PAGE, 3, 3 | 0x4000000, read);
    M(PAGE, 1, MAP_PRIVATE | MAP_GROWSDOWN, file);
    M(PAGE, 1, MAP_PRIVATE | MAP_GROWSDOWN, null);
    M(PAGE, 1, MAP_PRIVATE | MAP_GROWSDOWN, p[1]);
    M(PAGE, 1, MAP_PRIVATE | MAP_HUGETLB, file);
    M(PAGE, 1, MAP_PRIVATE | MAP_HUGETLB, -1);
    int ev = syscall(SYS_eventfd2, 0, 0);
    M(PAGE, 1, MAP_PRIVATE, ev);
    M(PAGE, 3, MAP_SHARED, ev);
    close(ev), close(p[0]), close(p[1]), close(file), close(read), close(path), close(null);
}

static void sizes(void) {
    puts("-- files that change their size");
    int f = open("file", O_RDWR), p[2];
    F(pipe(p));
    F(ftruncate(f, 3 * PAGE));
    char *s = mmap(0, 4 * PAGE, 3, MAP_SHARED, f, 0), *q = mmap(0, 4 * PAGE, 3, MAP_PRIVATE, f, 0), c[100];
    memset(s, 'a', 3 * PAGE);
    q[2 * PAGE] = 'p';
    printf("%c%c%c\n", q[0], q[2 * PAGE], q[2 * PAGE + 1]);
    F(load(s + 3 * PAGE - 1));
    F(load(s + 3 * PAGE));
    F(store(q + 3 * PAGE + 5));
    F(ftruncate(f, PAGE + 10));
    F(load(s + PAGE + 10));
    F(load(s + 2 * PAGE));
    F(load(q + 2 * PAGE));
    F(store(s + 2 * PAGE + 7));
    printf("%d %d\n", s[PAGE + 9], s[PAGE + 10]);
    F(write(p[1], s + 2 * PAGE, 10));
    F(write(p[1], s + 2 * PAGE - 5, 10));
    F(write(p[1], q + 2 * PAGE, 10));
    F(pread(f, s + 2 * PAGE, 10, 0));
    F(pread(f, s + 2 * PAGE - 5, 10, 0));
    F(open(s + 3 * PAGE, 0));
    F(stat("file", (void *)(s + 2 * PAGE)));
    struct iovec v = {c, 10}, r = {s + 2 * PAGE, 10};
    F(process_vm_readv(getpid(), &v, 1, &r, 1, 0));
    r.iov_base = s + 2 * PAGE - 4;
    F(process_vm_readv(getpid(), &v, 1, &r, 1, 0));
    F(madvise(s, 4 * PAGE, MADV_POPULATE_READ));
    s[PAGE + 20] = 'z';
    F(pread(f, c, 100, PAGE));
    F(ftruncate(f, 3 * PAGE));
    printf("%d %d %d\n", s[PAGE + 20], s[2 * PAGE], q[2 * PAGE]);
    F(load(s + 3 * PAGE - 1));
    puts("-- reads, writes and maps see the same");
    F(pwrite(f, "hello", 5, 2 * PAGE - 2));
    printf("%.5s %.5s\n", s + 2 * PAGE - 2, q + 2 * PAGE - 2);
    memcpy(s + PAGE, "mapped", 6);
    F(pread(f, c, 6, PAGE));
    printf("%.6s\n", c);
    F(pwrite(f, s + 2 * PAGE - 2, 5, 4 * PAGE));
    F(pread(f, s, 5, 4 * PAGE));
    printf("%.5s\n", s);
    F(load(s + 4 * PAGE - 1));
    int again = open("file", O_RDONLY);
    char *t = mmap(0, PAGE, 1, MAP_SHARED, again, PAGE);
    printf("%.6s\n", t);
    F(fallocate(f, 3, PAGE, PAGE));
    printf("%d %d\n", t[0], s[PAGE]);
    F(close(open("file", O_RDWR | O_TRUNC)));
    F(load(t));
    F(load(s));
    F(write(f, s, 1));
    F(write(p[1], s, 1));
    F(truncate("file", 1));
    F(load(s + 100));
    F(load(s + PAGE));
    int d = open("direct", O_RDWR | O_CREAT | O_DIRECT, 0600);
    F(d >= 0);
    close(f), close(p[0]), close(p[1]), close(again), close(d);
}

static void shared(void) {
    puts("-- shared memory without a file");
    int z = open("/dev/zero", O_RDWR), p[2];
    F(pipe(p));
    char *a = mmap(0, 2 * PAGE, 3, MAP_SHARED, z, PAGE), *b = mmap(0, 2 * PAGE, 3, MAP_SHARED, z, 0);
    F(store(a));
    F(store(a + PAGE));
    F(write(p[1], a + PAGE - 1, 2));
    F(store(b + PAGE));
    printf("%d %d\n", a[0], b[0]);
    char *c = mmap(0, 2 * PAGE, 3, MAP_PRIVATE, z, 0);
    F(store(c + PAGE));
    F(madvise(c, 2 * PAGE, MADV_DONTNEED));
    printf("%d\n", c[PAGE]);
    F(munmap(c, PAGE));
    shown(c + PAGE);
    F(mprotect(c + PAGE, PAGE, 7));
    shown(c + PAGE);
    char *d = mremap(b, 0, 2 * PAGE, MREMAP_MAYMOVE);
    d[5] = 'd';
    printf("%c\n", b[5]);
    shown(d);
    F(ftruncate(z, 100));
    close(z), close(p[0]), close(p[1]);
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 4096);
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, 0);
    sigaction(SIGBUS, &action, 0);
    int f = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    F(write(f, "0123456789", 10));
    close(f);
    views();
    sizes();
    shared();
    return 0;
}
