/* What of a process outlives its program: facts that do not depend on the machine. */
#include "objects.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>

static void limit(int which) {
    struct rlimit l;
    getrlimit(which, &l);
    printf("limit %d: %lx %lx\n", which, l.rlim_cur, l.rlim_max);
}

static void show(int segment) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    struct shmid_ds s;
    char name[16];
    int v = 0;
    F(syscall(SYS_capget, &h, d));
    printf("%x%08x %x%08x %x%08x\n", d[1].effective, d[0].effective, d[1].permitted, d[0].permitted, d[1].inheritable, d[0].inheritable);
    F(personality(0xffffffff));
    P(PR_GET_DUMPABLE);
    P(PR_GET_KEEPCAPS);
    P(PR_GET_SECUREBITS);
    P(PR_CAP_AMBIENT, 1, 0, 0, 0);
    P(PR_CAP_AMBIENT, 1, 5, 0, 0);
    P(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    P(PR_GET_PDEATHSIG, &v);
    printf("%d\n", v);
    P(PR_GET_CHILD_SUBREAPER, &v);
    printf("%d\n", v);
    P(PR_GET_TIMERSLACK);
    P(PR_GET_THP_DISABLE);
    P(66, 0, 0, 0, 0);
    P(PR_MCE_KILL_GET);
    P(68);
    P(77, 2);
    P(78, 2);
    F(syscall(SYS_membarrier, 512, 0, 0));
    F(syscall(SYS_membarrier, 8, 0, 0));
    for (int i = 0; i < 16; i++) limit(i);
    F(shmctl(segment, IPC_STAT, &s));
    printf("%ld\n", (long)s.shm_nattch);
    F(fcntl(100, F_GETFD));
    F(fcntl(101, F_GETFD));
    F(fcntl(100, F_GET_SEALS));
    P(PR_GET_NAME, name);
}

int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IOLBF, 4096);
    if (argc > 1) {
        puts("-- after");
        show(atoi(argv[1]));
        F(mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
        F(mlock(argv, 1));
        return 0;
    }
    syscall(SYS_unshare, CLONE_NEWIPC);
    int segment = F(shmget(IPC_PRIVATE, 4096, 0600));
    F(shmat(segment, 0, 0) != (void *)-1);
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    F(syscall(SYS_capget, &h, d));
    d[0].inheritable = d[0].permitted & 0x21;
    F(syscall(SYS_capset, &h, d));
    P(PR_CAP_AMBIENT, 2, 5, 0, 0);
    P(PR_SET_KEEPCAPS, 1);
    P(PR_SET_DUMPABLE, 0);
    P(PR_SET_PDEATHSIG, 5);
    P(PR_SET_CHILD_SUBREAPER, 1);
    P(PR_SET_TIMERSLACK, 777);
    P(PR_SET_THP_DISABLE, 1);
    P(PR_MCE_KILL, 1, 1);
    P(67, 1);
    P(77, 1);
    P(78, 1, 16);
    F(syscall(SYS_membarrier, 16, 0, 0));
    F(personality(READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE | UNAME26));
    struct rlimit l = {1000, 2000};
    F(setrlimit(RLIMIT_CORE, &l));
    F(setrlimit(RLIMIT_RTTIME, &l));
    F(dup2(memfd_create("kept", MFD_ALLOW_SEALING), 100));
    F(fcntl(100, F_ADD_SEALS, F_SEAL_GROW));
    F(dup3(100, 101, O_CLOEXEC));
    P(65, 3, 0, 0, 0);
    show(segment);
    char number[20];
    sprintf(number, "%d", segment);
    execl("/proc/self/exe", "program", number, (char *)0);
    return 1;
}
