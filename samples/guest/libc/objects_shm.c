/* System V shared memory in a namespace of its own: facts that do not depend on the machine. */
#include "objects.h"

#include <sched.h>
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <time.h>

static char *base; /* 64 free pages */
#define AT(id, at, flags) (errno = 0, attach(#id ", " #at ", " #flags, shmat(id, at, flags)))

static char *attach(const char *what, void *result) {
    if (result == (void *)-1) printf("shmat %s: %s\n", what, strerrorname_np(errno));
    else if ((char *)result >= base && (char *)result < base + 64 * PAGE) printf("shmat %s: page %ld\n", what, ((char *)result - base) / PAGE);
    else printf("shmat %s: somewhere\n", what);
    return result;
}

static void status(const char *what, int id) {
    struct shmid_ds d;
    if (shmctl(id, IPC_STAT, &d)) {
        printf("%s: %s\n", what, strerrorname_np(errno));
        return;
    }
    time_t now = time(0);
    printf("%s: key %x mode %o size %ld nattch %ld me %d %d %d %d cpid %d lpid %d seq %d times %d %d %d\n", what, d.shm_perm.__key, d.shm_perm.mode,
           (long)d.shm_segsz, (long)d.shm_nattch, d.shm_perm.uid == geteuid(), d.shm_perm.gid == getegid(), d.shm_perm.cuid == geteuid(),
           d.shm_perm.cgid == getegid(), d.shm_cpid == getpid(), d.shm_lpid == getpid(), d.shm_perm.__seq,
           d.shm_atime ? now - d.shm_atime < 5 : -1, d.shm_dtime ? now - d.shm_dtime < 5 : -1, d.shm_ctime ? now - d.shm_ctime < 5 : -1);
}
#define S(id) status(#id, id)

static void maps(void) {
    char line[512], name[256];
    FILE *f = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, f)) {
        unsigned long start, end, offset, inode;
        char perms[8];
        name[0] = 0;
        sscanf(line, "%lx-%lx %7s %lx %*s %lu %255[^\n]", &start, &end, perms, &offset, &inode, name);
        char *n = name + strspn(name, " ");
        if (strncmp(n, "/SYSV", 5)) continue;
        if ((char *)start >= base && (char *)start < base + 64 * PAGE) printf("  page %ld", ((char *)start - base) / PAGE);
        else printf("  somewhere");
        printf(" %ld pages %s offset %lx inode %lu %s\n", (long)(end - start) / PAGE, perms, offset, inode, n);
    }
    fclose(f);
}

static int zero;
static int poke(char *at) { return read(zero, at, 1) == 1 ? 0 : errno; }

static void getting(void) {
    puts("-- shmget");
    F(shmget(77, 100, 0));
    int a = F(shmget(77, 100, IPC_CREAT | 0640));
    F(shmget(77, 100, IPC_CREAT | IPC_EXCL));
    F(shmget(77, 101, 0));
    F(shmget(77, 0, 0));
    F(shmget(77, 100, 0777));
    F(shmget(77, 100, IPC_CREAT));
    F(shmget(78, 0, IPC_CREAT));
    F(shmget(IPC_PRIVATE, 0, 0600));
    F(shmget(78, (size_t)-1, IPC_CREAT));
    F(shmget(78, 1UL << 46, IPC_CREAT));
    F(shmget(78, 100, IPC_CREAT | SHM_HUGETLB));
    F(shmget(78, 100, IPC_CREAT | SHM_HUGETLB | 22 << 26));
    int b = F(shmget(IPC_PRIVATE, 3 * PAGE + 5, 0600));
    int c = F(shmget(IPC_PRIVATE, PAGE, 07777));
    S(a), S(b), S(c), S(1000), S(1 << 15), S(-1);
    F(shmctl(a, IPC_STAT, 0));
    F(shmctl(a, 99, 0));
    F(shmctl(1000, 99, 0));
    F(shmctl(-1, IPC_INFO, 0));
    struct shminfo info;
    struct shm_info used;
    struct shmid_ds d;
    F(shmctl(0, IPC_INFO, (void *)&info));
    printf("%lu %lu %lu %lu %lu\n", info.shmmax, info.shmmin, info.shmmni, info.shmseg, info.shmall);
    F(shmctl(0, SHM_INFO, (void *)&used));
    printf("%d %lu %lu\n", used.used_ids, used.shm_tot, used.shm_rss);
    F(shmctl(0, SHM_STAT, &d));
    F(shmctl(1, SHM_STAT_ANY, &d));
    F(shmctl(7, SHM_STAT, &d));
    F(shmctl(a, IPC_RMID, 0));
    S(a);
    F(shmget(77, 100, 0));
    F(shmctl(0, IPC_INFO, (void *)&info));
    F(shmctl(b, IPC_RMID, 0));
    F(shmctl(b, IPC_RMID, 0));
    F(shmctl(c, IPC_RMID, 0));
    F(shmget(IPC_PRIVATE, 1, 0600));
    F(shmctl(3, IPC_RMID, 0));
    for (int i = 0; i < 70; i++) {
        int id = shmget(IPC_PRIVATE, 1, 0600);
        if (i > 55) printf("%d ", id);
        shmctl(id, IPC_RMID, 0);
    }
    puts("");
    int old = shmget(IPC_PRIVATE, 1, 0600);
    printf("%d\n", old);
    F(shmctl(old - (1 << 15), IPC_STAT, &d));
    F(shmctl(old & 0x7fff, SHM_STAT, &d));
    F(shmctl(old, IPC_RMID, 0));
}

static void attaching(void) {
    puts("-- shmat, shmdt");
    int id = shmget(5, 4 * PAGE - 10, IPC_CREAT | 0600), other = shmget(IPC_PRIVATE, PAGE, 0600);
    AT(-1, 0, 0);
    AT(9999, 0, 0);
    AT(id + (1 << 15), 0, 0);
    AT(id, base + 5, 0);
    AT(id, base + 5, SHM_RND);
    S(id);
    AT(id, base + 2 * PAGE, 0);
    AT(id, base + 2 * PAGE, SHM_REMAP);
    maps();
    S(id);
    AT(id, 0, SHM_REMAP);
    AT(id, (void *)5, SHM_REMAP | SHM_RND);
    AT(id, (void *)-PAGE, 0);
    F(shmdt(base + PAGE));
    F(shmdt(base + 1));
    S(id);
    maps();
    F(shmdt(base));
    S(id);
    maps();
    F(shmdt(base));
    F(shmdt(base + 2 * PAGE));
    S(id);
    puts("-- fragments");
    AT(id, base, 0);
    base[0] = 'a', base[3 * PAGE] = 'b';
    F(mprotect(base + PAGE, PAGE, PROT_READ));
    S(id);
    maps();
    F(mprotect(base + PAGE, PAGE, PROT_READ | PROT_WRITE));
    S(id);
    maps();
    F(munmap(base, PAGE));
    S(id);
    maps();
    F(shmdt(base + PAGE));
    F(shmdt(base));
    maps();
    S(id);
    AT(id, base, 0);
    printf("%c%c\n", base[0], base[3 * PAGE]);
    AT(other, base + 8 * PAGE, 0);
    F(mremap(base + 2 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, base + 20 * PAGE) == base + 20 * PAGE);
    maps();
    F(shmdt(base));
    maps();
    F(shmdt(base + 18 * PAGE));
    maps();
    F(mremap(base + 8 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE) != MAP_FAILED);
    S(other);
    F(mremap(base + 8 * PAGE, 0, PAGE, MREMAP_MAYMOVE) != MAP_FAILED);
    S(other);
    char *x = shmat(id, 0, 0);
    printf("poke %d\n", poke(x + 3 * PAGE + 4090));
    F(shmdt(x));
    puts("-- removal");
    char *y = shmat(id, 0, 0), *z;
    F(shmctl(id, IPC_RMID, 0));
    S(id);
    F(shmget(5, 1, 0));
    z = AT(id, 0, 0);
    z[1] = 'q';
    printf("%c\n", y[1]);
    F(shmctl(id, IPC_RMID, 0));
    F(shmdt(y));
    S(id);
    F(munmap(z, 4 * PAGE));
    S(id);
    id = shmget(5, PAGE, IPC_CREAT | 0600);
    printf("%d\n", id);
    F(shmctl(id, IPC_RMID, 0));
}

static void rights(void) {
    puts("-- rights");
    int id = shmget(0x1234abcd, 2 * PAGE, IPC_CREAT | 0600);
    char *a = AT(id, base, SHM_RDONLY);
    printf("poke %d\n", poke(a));
    F(mprotect(a, PAGE, PROT_READ | PROT_WRITE));
    F(mprotect(a, PAGE, PROT_READ | PROT_EXEC));
    maps();
    F(shmdt(a));
    a = AT(id, base, SHM_EXEC);
    maps();
    F(shmdt(a));
    int x = shmget(-5, 1, IPC_CREAT | 0600);
    a = AT(x, base, 0);
    maps();
    S(x);
    F(shmdt(a));
    F(shmctl(x, SHM_LOCK, 0));
    S(x);
    F(shmctl(x, SHM_LOCK, 0));
    F(shmctl(x, SHM_UNLOCK, 0));
    S(x);
    F(shmctl(9999, SHM_LOCK, 0));
    struct shmid_ds d;
    F(shmctl(x, IPC_STAT, &d));
    d.shm_perm.mode = 07644;
    d.shm_perm.uid = 12345;
    d.shm_perm.gid = 54321;
    d.shm_segsz = 77;
    F(shmctl(x, IPC_SET, &d));
    S(x);
    d.shm_perm.uid = -1;
    F(shmctl(x, IPC_SET, &d));
    F(shmctl(x, IPC_SET, 0));
    F(shmctl(9999, IPC_SET, &d));
    F(syscall(462, shmat(id, base, 0), PAGE, 0));
    F(shmdt(base));
    maps();
    S(id);
    if (geteuid() == 0) {
        puts("-- somebody else");
        F(shmctl(id, IPC_STAT, &d));
        int open = shmget(IPC_PRIVATE, PAGE, 0604), shut = shmget(99, PAGE, IPC_CREAT | 0600);
        struct rlimit none = {0, 0};
        F(syscall(SYS_setresuid, 5, 5, 5));
        AT(open, 0, 0);
        AT(open, 0, SHM_RDONLY);
        AT(shut, 0, SHM_RDONLY);
        F(shmctl(shut, IPC_STAT, &d));
        F(shmctl(shut & 0x7fff, SHM_STAT, &d));
        F(shmctl(shut & 0x7fff, SHM_STAT_ANY, &d) >= 0);
        F(shmctl(open, IPC_RMID, 0));
        F(shmctl(open, IPC_SET, &d));
        F(shmctl(open, SHM_LOCK, 0));
        F(shmctl(open, SHM_UNLOCK, 0));
        F(shmget(99, 0, 0));
        F(shmget(99, 0, 0400));
        int mine = shmget(IPC_PRIVATE, 100 * PAGE, 0600);
        S(mine);
        F(shmctl(mine, SHM_LOCK, 0));
        F(shmctl(mine, SHM_UNLOCK, 0));
        F(setrlimit(RLIMIT_MEMLOCK, &none));
        F(shmctl(mine, SHM_LOCK, 0));
        F(shmctl(mine, IPC_RMID, 0));
    }
}

int main(void) {
    syscall(SYS_unshare, CLONE_NEWIPC);
    zero = open("/dev/zero", O_RDONLY);
    base = mmap(0, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(base, 64 * PAGE);
    getting();
    attaching();
    rights();
    return 0;
}
