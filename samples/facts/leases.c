/* Section 1.20: fcntl: who is told of input and by which signal, leases, directory notices, sizes of pipes. */
#include "fact.h"
#include <limits.h>
#include <sys/eventfd.h>

static const char *owner(int fd) {
    struct f_owner_ex one = {77, 77};
    uid_t ids[2] = {77, 77};
    long plain = sc(SYS_fcntl, fd, F_GETOWN), r = sc(SYS_fcntl, fd, F_GETOWN_EX, &one), u = sc(SYS_fcntl, fd, 17, ids);
    int me = getpid(), group = getpgrp();
#define WHO(pid) ((pid) == me ? "me" : (pid) == group ? "my group" : (pid) == -group ? "minus my group" : text("%d", (int)(pid)))
    return text("%s, %s %d %s, %s %u %u", WHO(plain), said(r), one.type, WHO(one.pid), said(u), ids[0], ids[1]);
}
#define OWNER(fd, what) K("1.20", owner(fd), "owner of %s", what)

static void owners(void) {
    int fd = file("data", 1), path = reopen("data", O_PATH), copy = dup(fd), again = reopen("data", O_RDONLY), made = reopen("/proc/self/maps", O_RDONLY);
    struct f_owner_ex one;
    area(2);
    OWNER(fd, "a file");
    F("1.20", sc(SYS_fcntl, fd, F_SETOWN, getpid()));
    OWNER(fd, "a file, set");
    OWNER(copy, "its duplicate");
    OWNER(again, "the file opened again");
    F("1.20", sc(SYS_fcntl, fd, F_SETOWN, -getpgrp()));
    OWNER(fd, "a file, set to the group");
    F("1.20", sc(SYS_fcntl, fd, F_SETOWN, INT_MIN));
    F("1.20", sc(SYS_fcntl, fd, F_SETOWN, 0x3fffffff));
    F("1.20", sc(SYS_fcntl, fd, F_SETOWN, -0x3fffffff));
    OWNER(fd, "a file, set wrongly");
    F("1.20", sc(SYS_fcntl, fd, F_SETOWN, 1L << 32));
    OWNER(fd, "a file, set to nobody");
    for (int type = -1; type < 4; type++) {
        one = (struct f_owner_ex){type, type == 2 ? getpgrp() : getpid()};
        K("1.20", said(sc(SYS_fcntl, fd, F_SETOWN_EX, &one)), "an owner of kind %d", type);
        OWNER(fd, "a file then");
    }
    one = (struct f_owner_ex){F_OWNER_PID, -1};
    F("1.20", sc(SYS_fcntl, fd, F_SETOWN_EX, &one));
    one.pid = 0x3fffffff;
    F("1.20", sc(SYS_fcntl, fd, F_SETOWN_EX, &one));
    one.pid = 0;
    F("1.20", sc(SYS_fcntl, fd, F_SETOWN_EX, &one));
    OWNER(fd, "a file of nobody");
    F("1.20", sc(SYS_fcntl, fd, F_SETOWN_EX, P(0)));
    F("1.20", sc(SYS_fcntl, fd, F_GETOWN_EX, P(0)));
    F("1.20", sc(SYS_fcntl, path, F_SETOWN, 0));
    F("1.20", sc(SYS_fcntl, path, F_GETOWN));
    F("1.20", sc(SYS_fcntl, path, F_SETSIG, 0));
    F("1.20", sc(SYS_fcntl, path, F_SETLEASE, F_RDLCK));
    F("1.20", sc(SYS_fcntl, 99, F_SETOWN, 0));
    F("1.20", sc(SYS_fcntl, made, F_SETOWN, getpid()));
    OWNER(made, "a made-up file");
    F("1.20", sc(SYS_fcntl, fd, F_GETSIG));
    F("1.20", sc(SYS_fcntl, fd, F_SETSIG, SIGUSR1));
    F("1.20", sc(SYS_fcntl, copy, F_GETSIG));
    F("1.20", sc(SYS_fcntl, fd, F_SETSIG, 64));
    F("1.20", sc(SYS_fcntl, fd, F_SETSIG, 65));
    F("1.20", sc(SYS_fcntl, fd, F_SETSIG, -1));
    F("1.20", sc(SYS_fcntl, fd, F_SETSIG, 1L << 32));
    F("1.20", sc(SYS_fcntl, fd, F_GETSIG));
    F("1.20", sc(SYS_fcntl, fd, F_SETSIG, 0));
    F("1.20", sc(SYS_fcntl, fd, F_GETSIG));
    close(copy), close(fd), close(path), close(again), close(made);
}

static void leases(void) {
    static const char *kinds[] = {"read", "write", "none", "fourth"};
    int ends[2], only, folder = reopen(".", O_RDONLY);
    close(file("data", 1));
    only = reopen("data", O_RDONLY);
    for (int writers = 0; writers < 2; writers++)
        for (int flags = 0; flags < 3; flags++) {
            int fd = reopen("data", flags), other = writers ? reopen("data", O_WRONLY) : -1;
            for (int kind = 0; kind < 4; kind++) {
                K("1.20", said(sc(SYS_fcntl, fd, F_SETLEASE, kind)), "%s lease, opened for %d, %d writers", kinds[kind], flags, writers);
                K("1.20", said(sc(SYS_fcntl, fd, F_GETLEASE)), "lease then, opened for %d, %d writers", flags, writers);
            }
            close(fd);
            if (writers) close(other);
        }
    close(only);
    for (int flags = 0; flags < 3; flags++) {
        int fd = reopen("data", flags), copy = dup(fd);
        for (int k = 0; k < 6; k++) {
            static const int order[] = {0, 1, 0, 2, 2, 1};
            K("1.20", said(sc(SYS_fcntl, k & 1 ? copy : fd, F_SETLEASE, order[k])), "%s lease, alone, opened for %d", kinds[order[k]], flags);
            K("1.20", said(sc(SYS_fcntl, fd, F_GETLEASE)), "lease then, alone, opened for %d", flags);
        }
        OWNER(fd, "a leased file");
        close(fd), close(copy);
    }
    int fd = reopen("data", O_RDONLY);
    sc(SYS_fcntl, fd, F_SETOWN, -getpgrp());
    F("1.20", sc(SYS_fcntl, fd, F_SETLEASE, F_RDLCK));
    OWNER(fd, "a leased file that had one");
    close(fd);
    fd = reopen("data", O_RDONLY);
    F("1.20", sc(SYS_fcntl, fd, F_GETLEASE));
    F("1.20", sc(SYS_fcntl, fd, F_SETLEASE, -1));
    F("1.20", sc(SYS_fcntl, fd, F_SETLEASE, 1L << 32));
    pipe(ends);
    F("1.20", sc(SYS_fcntl, ends[0], F_SETLEASE, F_RDLCK));
    F("1.20", sc(SYS_fcntl, folder, F_SETLEASE, F_WRLCK) < 0);
    F("1.20", sc(SYS_fcntl, reopen("/proc/self/maps", O_RDONLY), F_SETLEASE, F_RDLCK));
    F("1.20", sc(SYS_fcntl, reopen("/proc/self/comm", O_RDWR), F_SETLEASE, F_RDLCK));
    F("1.20", sc(SYS_fcntl, reopen("/dev/null", O_RDONLY), F_SETLEASE, F_RDLCK));
    F("1.20", sc(SYS_fcntl, eventfd(0, 0), F_SETLEASE, F_RDLCK));
    F("1.20", sc(SYS_fcntl, fd, F_NOTIFY, 1));
    F("1.20", sc(SYS_fcntl, ends[0], F_NOTIFY, 0x80000001));
    F("1.20", sc(SYS_fcntl, ends[0], F_NOTIFY, 0));
    F("1.20", sc(SYS_fcntl, folder, F_NOTIFY, 0));
    F("1.20", sc(SYS_fcntl, ends[0], F_SETPIPE_SZ, 0x80000000));
    F("1.20", sc(SYS_fcntl, ends[0], F_SETPIPE_SZ, 0x80000001));
    F("1.20", sc(SYS_fcntl, ends[0], F_SETPIPE_SZ, -1));
    F("1.20", sc(SYS_fcntl, fd, F_SETPIPE_SZ, 4096));
}

SHEET(SECTION(owners), SECTION(leases))
