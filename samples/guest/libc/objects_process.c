/* What a process may ask, set and give up about itself: facts that do not depend on the machine. */
#include "objects.h"

#include <linux/capability.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/utsname.h>

static char b[65536] __attribute__((aligned(4096)));
static char *m; /* rw, none, rw, ro, behind the end of a file, write-only, nothing */

static void sweep(void) {
    puts("-- prctl");
    static const long rows[][4] = {{0}, {1}, {2}, {3}, {-1}, {0, 1}, {1, 1}, {1, 2}, {0, 0, 0, 1}, {1, 0, 0, 1}, {1, 0, 1}, {64}, {65}, {100000}};
    /* What stops or kills the program, or tells of hardware, is left out. */
    static const char skip[128] = {[5] = 1, [6] = 1, [9] = 1, [10] = 1, [11] = 1, [12] = 1, [19] = 1, [20] = 1, [22] = 1, [25] = 1, [26] = 1,
                                   [45] = 1, [46] = 1, [50] = 1, [51] = 1, [52] = 1, [53] = 1, [54] = 1, [55] = 1, [56] = 1, [59] = 1, [60] = 1, [61] = 1, [62] = 1,
                                   [63] = 1, [64] = 1, [65] = 1, [24] = 1, [28] = 1, [38] = 1, [8] = 1};
    for (int option = 0; option < 100; option++) {
        if (skip[option]) continue;
        printf("%d:", option);
        for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
            errno = 0;
            long r = syscall(SYS_prctl, option, rows[i][0], rows[i][1], rows[i][2], rows[i][3]);
            printf(r < 0 ? " %s" : "%.0s %ld", r < 0 ? strerrorname_np(errno) : "", r);
        }
        puts("");
    }
    int v = 77;
    P(PR_SET_DUMPABLE, 1);
    P(PR_SET_PDEATHSIG, 9);
    P(PR_GET_PDEATHSIG, &v);
    P(PR_SET_CHILD_SUBREAPER, 5);
    printf("%d\n", v);
    P(PR_GET_CHILD_SUBREAPER, &v);
    printf("%d\n", v);
    P(PR_SET_TIMERSLACK, 1234);
    P(PR_GET_TIMERSLACK);
    P(PR_SET_TIMERSLACK, 0);
    P(PR_GET_TIMERSLACK);
    P(PR_SET_NAME, "abcdefghijklmnopqrstuvwxyz");
    P(PR_GET_NAME, b);
    puts(b);
    P(PR_SET_NAME, m + PAGE - 3);
    P(PR_SET_NAME, m + PAGE);
    P(PR_GET_NAME, m + PAGE - 8);
    P(PR_SET_THP_DISABLE, 1, 2);
    P(PR_GET_THP_DISABLE);
    P(PR_SET_THP_DISABLE, 1);
    P(PR_GET_THP_DISABLE);
    P(PR_SET_THP_DISABLE, 0);
    P(PR_GET_THP_DISABLE);
    P(67, 1);
    P(68);
    P(67, 0);
    P(PR_MCE_KILL, 1, 1);
    P(PR_MCE_KILL_GET);
    P(PR_MCE_KILL, 0, 0);
    P(PR_MCE_KILL_GET);
    P(PR_SET_VMA, 0, b, PAGE, "name");
    P(PR_SET_VMA, 1, b, PAGE, 0);
    for (int option = 1; option < 18; option++)
        if (option != 14) P(PR_SET_MM, option, b);
    P(PR_SET_MM, 15, m + PAGE);
    P(PR_SET_MM, 6, b, 1);
    memset(b, 0xff, 1000);
    long size = syscall(SYS_prctl, 0x41555856, b, sizeof b, 0, 0);
    printf("auxv %d, ends %d, past %d\n", size == 448 || size == 432, ((long *)b)[size / 8 - 2] == 0, (b[size] & 0xff) == 0xff);
    P(0x41555856, 8, 8, 0, 0);
    P(0x41555856, b, 8, 1, 0);
    P(PR_GET_TSC, &v);
    P(PR_SET_TSC, 3);
    P(PR_SET_NO_NEW_PRIVS, 2, 0, 0, 0);
    P(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 1);
    P(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    long address = 0;
    P(PR_GET_TID_ADDRESS, &address);
    printf("%d\n", address != 0);
    P(53, 0, 1, 0, 0);
    P(53, 0, 2, 1, 0);
    P(53, 3, 2, 0, 0);
    P(53, 2, 2, 0, 0);
    P(52, 3, 0, 0, 0);
}

static void limit(int which) {
    struct rlimit l = {1, 2};
    int r = getrlimit(which, &l);
    printf("  %d: %d %lx %lx\n", which, r, l.rlim_cur, l.rlim_max);
}
static int set(int which, unsigned long soft, unsigned long hard) {
    struct rlimit l = {soft, hard};
    return syscall(SYS_setrlimit, which, &l);
}

static void limits(void) {
    puts("-- limits");
    struct rlimit l, before[17];
    for (int i = -1; i < 18; i++) limit(i);
    for (int i = 0; i < 16; i++) getrlimit(i, &before[i]);
    F(set(RLIMIT_CORE, 5, 4));
    F(set(16, 5, 6));
    F(set(16, 6, 5));
    F(set(-1, 5, 6));
    F(set(RLIMIT_NOFILE, 100, 2000000));
    F(set(RLIMIT_NOFILE, 2000000, 100));
    F(syscall(SYS_setrlimit, RLIMIT_CORE, 8));
    F(syscall(SYS_setrlimit, 77, 8));
    F(syscall(SYS_getrlimit, 77, 8));
    F(syscall(SYS_getrlimit, 7, m + PAGE - 8));
    F(syscall(SYS_prlimit64, 0, 7, 8, 0));
    F(syscall(SYS_prlimit64, 0, 7, 0, 8));
    F(syscall(SYS_prlimit64, 0, 77, 8, 8));
    F(syscall(SYS_prlimit64, 0, 77, 0, 8));
    F(syscall(SYS_prlimit64, 0, 7, 0, 0));
    F(syscall(SYS_prlimit64, getpid(), 7, 0, &l));
    F(syscall(SYS_prlimit64, -1, 7, 0, 0));
    F(syscall(SYS_prlimit64, 99999999, 7, 0, 0));
    F(syscall(SYS_prlimit64, 99999999, 7, 8, 0));
    F(set(RLIMIT_NOFILE, 10, before[7].rlim_max));
    F(dup2(0, 10));
    F(dup2(0, 9));
    F(fcntl(0, F_DUPFD, 10));
    int n = 0;
    while (open("/dev/null", 0) >= 0) n++;
    printf("%d\n", n);
    F(set(RLIMIT_NOFILE, before[7].rlim_cur, before[7].rlim_max));
    for (int i = 3; i < 20; i++)
        if (i != 4) close(i);
    puts("-- memory");
    F(set(RLIMIT_AS, 1 << 30, before[9].rlim_max));
    F(mmap(0, 2L << 30, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    F(set(RLIMIT_AS, before[9].rlim_cur, before[9].rlim_max));
    F(mmap(0, 2L << 30, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    F(set(RLIMIT_DATA, 16 << 20, before[2].rlim_max));
    F(mmap(0, 32L << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    F(mmap(0, 32L << 20, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    F(set(RLIMIT_DATA, before[2].rlim_cur, before[2].rlim_max));
    F(mmap(0, 32L << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    puts("-- hard limits only go down without CAP_SYS_RESOURCE");
    F(set(RLIMIT_CPU, 5000, 6000));
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    F(syscall(SYS_capget, &h, d));
    d[0].effective &= ~(1 << CAP_SYS_RESOURCE);
    F(syscall(SYS_capset, &h, d));
    F(set(RLIMIT_CPU, 5000, 7000));
    F(set(RLIMIT_CPU, 6000, 6000));
    F(set(RLIMIT_CPU, 100, 200));
    limit(RLIMIT_CPU);
}

static void locking(void) {
    puts("-- locking without CAP_IPC_LOCK");
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2], keep[2];
    struct rlimit before;
    getrlimit(RLIMIT_MEMLOCK, &before);
    F(syscall(SYS_capget, &h, d));
    memcpy(keep, d, sizeof d);
    d[0].effective &= ~(1 << CAP_IPC_LOCK);
    F(syscall(SYS_capset, &h, d));
    F(set(RLIMIT_MEMLOCK, 8 * PAGE, before.rlim_max));
    F(mlock(b, 8 * PAGE));
    F(mlock(b + 8 * PAGE, PAGE));
    F(mmap(0, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
    F(munlock(b, 8 * PAGE));
    F(set(RLIMIT_MEMLOCK, 0, before.rlim_max));
    F(mlock(b, 0));
    F(mmap(0, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
    if (geteuid() == 0) {
        F(syscall(SYS_capset, &h, keep));
        F(mlock(b, PAGE));
        F(munlock(b, PAGE));
    }
    F(set(RLIMIT_MEMLOCK, before.rlim_cur, before.rlim_max));
}

static void vm(void) {
    puts("-- process_vm_readv, process_vm_writev");
    pid_t me = getpid();
    struct iovec l[3] = {{b, 3 * PAGE}, {b + 20000, 100}}, r[3] = {{m, 3 * PAGE}, {m + 2 * PAGE, PAGE}};
#define RV(...) F(process_vm_readv(__VA_ARGS__))
#define WV(...) F(process_vm_writev(__VA_ARGS__))
    memset(m, 'm', PAGE), memset(m + 2 * PAGE, 'n', PAGE), memset(b, 'b', 30000);
    RV(me, l, 1, r, 1, 1);
    RV(me, l, 1, r, 1, 0);
    printf("%c%c\n", b[0], b[PAGE]);
    RV(me, l, 2, r + 1, 1, 0);
    RV(me, l, 0, r, 1, 0);
    RV(me, l, 1, r, 0, 0);
    RV(-1, l, 0, r, 1, 0);
    RV(-1, l, 1, r, 0, 0);
    RV(-1, l, 1, r, 1, 0);
    RV(0, l, 1, r, 1, 0);
    RV(99999999, l, 1, r, 1, 0);
    RV(me, l, 1025, r, 1, 0);
    RV(me, l, 1, r, 1025, 0);
    RV(me, (void *)8, 1, r, 1, 0);
    RV(me, l, 1, (void *)8, 1, 0);
    r[0] = (struct iovec){m + PAGE, 10};
    RV(me, l, 1, r, 1, 0);
    r[0] = (struct iovec){m + PAGE - 10, 20}, r[1] = (struct iovec){m, 10};
    RV(me, l, 1, r, 2, 0);
    r[0] = (struct iovec){m + 4 * PAGE, 10};
    RV(me, l, 1, r, 1, 0);
    r[0] = (struct iovec){m + 5 * PAGE, 10};
    RV(me, l, 1, r, 1, 0);
    WV(me, l, 1, r, 1, 0);
    r[0] = (struct iovec){m + 3 * PAGE, 10};
    RV(me, l, 1, r, 1, 0);
    WV(me, l, 1, r, 1, 0);
    r[0] = (struct iovec){m + 6 * PAGE, 10};
    WV(me, l, 1, r, 1, 0);
    r[0] = (struct iovec){(void *)-4096L, 10};
    WV(me, l, 1, r, 1, 0);
    r[0] = (struct iovec){m, -1};
    WV(me, l, 1, r, 1, 0);
    r[0] = (struct iovec){m, 2 * PAGE};
    WV(me, l, 2, r, 1, 0);
    printf("%c\n", m[PAGE - 1]);
    r[0] = (struct iovec){m, 100}, r[1] = (struct iovec){m + 2 * PAGE, 50};
    l[0] = (struct iovec){b, 30}, l[1] = (struct iovec){b + 100, 90};
    memset(b, '1', 100), memset(b + 100, '2', 100), memset(m, '-', PAGE), memset(m + 2 * PAGE, '-', PAGE);
    WV(me, l, 2, r, 2, 0);
    printf("%.110s %.30s\n", m, m + 2 * PAGE);
    l[0] = (struct iovec){m + PAGE - 5, 10}, r[0] = (struct iovec){b, 100};
    RV(me, l, 1, r, 1, 0);
    WV(me, l, 1, r, 1, 0);
    l[0] = (struct iovec){m + PAGE, 10};
    RV(me, l, 1, r, 1, 0);
    l[0] = (struct iovec){(void *)-4096L, 10};
    RV(me, l, 1, r, 1, 0);
    l[0] = (struct iovec){m, -1};
    RV(me, l, 1, r, 1, 0);
    l[0] = (struct iovec){m + 5 * PAGE, 10};
    puts("-- pidfd, process_madvise");
    int fd = F(syscall(SYS_pidfd_open, me, 0)) > 0 ? 3 : -1;
    F(fcntl(fd, F_GETFD));
    F(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK));
    F(read(fd, b, 1));
    F(mmap(0, PAGE, 1, MAP_PRIVATE, fd, 0));
    F(syscall(SYS_pidfd_open, me, 1));
    F(syscall(SYS_pidfd_open, 0, 0));
    F(syscall(SYS_pidfd_open, -1, 0));
    F(syscall(SYS_pidfd_open, 99999999, 0));
    struct iovec v[3] = {{m, PAGE}, {m + 2 * PAGE, PAGE}, {m + 6 * PAGE, PAGE}};
    m[0] = 'x', m[2 * PAGE] = 'y';
    F(syscall(SYS_process_madvise, fd, v, 2, MADV_COLD, 0));
    F(syscall(SYS_process_madvise, fd, v, 2, MADV_COLD, 1));
    F(syscall(SYS_process_madvise, 0, v, 2, MADV_COLD, 0));
    F(syscall(SYS_process_madvise, -1, v, 2, MADV_COLD, 0));
    F(syscall(SYS_process_madvise, fd, (void *)8, 2, MADV_COLD, 0));
    F(syscall(SYS_process_madvise, fd, v, 3, MADV_WILLNEED, 0));
    F(syscall(SYS_process_madvise, fd, v + 2, 1, MADV_WILLNEED, 0));
    F(syscall(SYS_process_madvise, fd, v, 2, 12345, 0));
    F(syscall(SYS_process_madvise, fd, v, 2, MADV_DONTNEED, 0));
    printf("%d %d\n", m[0], m[2 * PAGE]);
    F(syscall(SYS_process_madvise, fd, v, 0, MADV_DONTNEED, 0));
    F(close(fd));
    puts("-- membarrier");
    for (int i = 0; i < 12; i++) F(syscall(SYS_membarrier, i ? 1 << (i - 1) : 0, 0, 0));
    F(syscall(SYS_membarrier, 8, 0, 0));
    F(syscall(SYS_membarrier, 32, 0, 0));
    F(syscall(SYS_membarrier, 128, 0, 0));
    F(syscall(SYS_membarrier, 128, 1, 0));
    F(syscall(SYS_membarrier, 128, 2, 0));
    F(syscall(SYS_membarrier, 8, 1, 0));
    F(syscall(SYS_membarrier, 3, 0, 0));
    F(syscall(SYS_membarrier, -1, 0, 0));
    F(syscall(SYS_membarrier, 512, 0, 0));
}

static void modes(void) {
    puts("-- personality");
    struct utsname u, w;
    F(personality(0xffffffff));
    F(personality(UNAME26 | ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT));
    F(uname(&u));
    printf("%.4s\n", u.release);
    F(personality(0x12345678));
    F(personality(0));
    F(uname(&w));
    printf("%d\n", strcmp(u.release, w.release) != 0);
    F(personality(READ_IMPLIES_EXEC));
    void *p = mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char line[300];
    for (int i = 0; i < 3; i++) {
        FILE *f = fopen("/proc/self/maps", "r");
        while (fgets(line, sizeof line, f)) {
            unsigned long at;
            char rights[8];
            sscanf(line, "%lx-%*x %7s", &at, rights);
            if (at == (unsigned long)p) puts(rights);
        }
        fclose(f);
        if (i == 0) F(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
        if (i == 1) F(mprotect(p, PAGE, PROT_WRITE));
    }
    F(munmap(p, PAGE));
    F(personality(0));
    puts("-- MDWE");
    P(65, 2, 0, 0, 0);
    P(65, 1, 0, 0, 1);
    P(66, 0, 0, 0, 0);
    P(65, 1, 0, 0, 0);
    P(66, 0, 0, 0, 0);
    P(65, 0, 0, 0, 0);
    P(65, 3, 0, 0, 0);
    P(65, 1, 0, 0, 0);
    F(mmap(0, PAGE, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    F(mprotect(m, PAGE, 5));
    F(mprotect(m, PAGE, 1));
}

static void caps(void) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2], e[2];
    if (syscall(SYS_capget, &h, d)) return;
    printf("%x%08x %x%08x %x%08x\n", d[1].effective, d[0].effective, d[1].permitted, d[0].permitted, d[1].inheritable, d[0].inheritable);
}
static void ids(void) {
    uid_t r, e, s;
    gid_t g, f, t;
    getresuid(&r, &e, &s), getresgid(&g, &f, &t);
    printf("uid %d %d %d gid %d %d %d dumpable %d ", r, e, s, g, f, t, (int)syscall(SYS_prctl, PR_GET_DUMPABLE));
    caps();
}

static void identity(void) {
    puts("-- capabilities");
    struct __user_cap_header_struct h = {0x1234, 0};
    struct __user_cap_data_struct d[2], keep[2];
    F(syscall(SYS_capget, &h, 0));
    printf("%x\n", h.version);
    h.version = 1;
    F(syscall(SYS_capget, &h, d));
    F(syscall(SYS_capget, 0, d));
    F(syscall(SYS_capget, &h, 0));
    F(syscall(SYS_capget, &h, 8));
    h.pid = -1;
    F(syscall(SYS_capget, &h, d));
    F(syscall(SYS_capset, &h, d));
    h.pid = 99999999;
    F(syscall(SYS_capget, &h, d));
    h.pid = getpid();
    F(syscall(SYS_capget, &h, d));
    F(syscall(SYS_capset, &h, 8));
    h.version = _LINUX_CAPABILITY_VERSION_1;
    F(syscall(SYS_capget, &h, d));
    h.version = _LINUX_CAPABILITY_VERSION_3;
    F(syscall(SYS_capget, &h, keep));
    ids();
    memcpy(d, keep, sizeof d);
    d[1].permitted = -1;
    F(syscall(SYS_capset, &h, d));
    memcpy(d, keep, sizeof d);
    d[0].permitted &= ~2;
    F(syscall(SYS_capset, &h, d));
    d[0].effective &= ~2;
    d[0].inheritable |= 5;
    F(syscall(SYS_capset, &h, d));
    caps();
    P(PR_CAPBSET_READ, 3);
    P(PR_CAPBSET_DROP, 3);
    P(PR_CAPBSET_READ, 3);
    P(PR_CAP_AMBIENT, 2, 0, 0, 0);
    P(PR_CAP_AMBIENT, 2, 1, 0, 0);
    P(PR_CAP_AMBIENT, 1, 0, 0, 0);
    P(PR_CAP_AMBIENT, 3, 0, 0, 0);
    P(PR_CAP_AMBIENT, 1, 0, 0, 0);
    P(PR_CAP_AMBIENT, 4, 0, 0, 0);
    P(PR_CAP_AMBIENT, 4, 1, 0, 0);
    P(PR_SET_SECUREBITS, 0x20);
    P(PR_GET_SECUREBITS);
    P(PR_SET_SECUREBITS, 0x30);
    P(PR_SET_SECUREBITS, 0);
    P(PR_SET_KEEPCAPS, 1);
    P(PR_GET_KEEPCAPS);
    if (geteuid()) return;
    puts("-- users");
    gid_t some[3] = {30, 10, 20}, list[10];
    F(syscall(SYS_setgroups, 3, some));
    F(getgroups(10, list));
    printf("%d %d %d\n", list[0], list[1], list[2]);
    F(syscall(SYS_setgroups, 70000, some));
    F(syscall(SYS_setgroups, 3, 8));
    F(syscall(SYS_setfsuid, 7));
    caps();
    F(syscall(SYS_setfsuid, 0));
    caps();
    F(syscall(SYS_setfsgid, 9));
    F(syscall(SYS_setfsgid, -1));
    F(syscall(SYS_setresgid, 1, 2, 3));
    ids();
    F(syscall(SYS_setregid, 5, -1));
    ids();
    F(syscall(SYS_setregid, -1, 5));
    F(syscall(SYS_setgid, -1));
    F(syscall(SYS_setreuid, -1, 100));
    ids();
    F(syscall(SYS_setreuid, -1, 0));
    ids();
    F(syscall(SYS_setresuid, 100, 101, 0));
    ids();
    F(syscall(SYS_setuid, 55));
    F(syscall(SYS_setuid, 0));
    ids();
    F(syscall(SYS_setuid, 55));
    ids();
    F(syscall(SYS_setuid, 0));
    F(syscall(SYS_setresuid, 0, -1, -1));
    F(syscall(SYS_setresuid, -1, -1, -1));
    F(syscall(SYS_setreuid, 1, 1));
    F(syscall(SYS_setgid, 77));
    F(syscall(SYS_setgid, 5));
    F(syscall(SYS_setresgid, 77, -1, -1));
    F(syscall(SYS_setgroups, 0, 0));
    F(syscall(SYS_setfsuid, 0));
    F(syscall(SYS_setfsuid, 55));
    F(syscall(SYS_capset, &h, keep));
    P(PR_CAPBSET_DROP, 4);
    P(PR_SET_SECUREBITS, 0);
    F(mlock(b, PAGE));
}

int main(void) {
    setvbuf(stdout, 0, _IOLBF, 4096);
    m = mmap(0, 7 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int empty = memfd_create("empty", 0);
    mprotect(m + PAGE, PAGE, PROT_NONE);
    mprotect(m + 3 * PAGE, PAGE, PROT_READ);
    mmap(m + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, empty, 0);
    mprotect(m + 5 * PAGE, PAGE, PROT_WRITE);
    munmap(m + 6 * PAGE, PAGE);
    close(empty);
    sweep();
    locking();
    limits();
    vm();
    modes();
    identity();
    return 0;
}
