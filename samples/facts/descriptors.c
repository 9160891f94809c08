/* Section 1.14: what can be done with descriptors, whatever memory is given to them. */
#include "fact.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>

/* ------------------------------------------------------------------ the program's file
   It is not written to while it runs, and a file that is open for writing is not run. The sheet goes on as copies of itself. */
static char program[4000];
static int am(const char *name) {
    long n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n < 0 ? 0 : n] = 0;
    char *slash = strrchr(program, '/');
    return slash && !strcmp(slash + 1, name);
}
static void copied(const char *name) {
    static char buffer[1 << 16];
    unlink(name);
    int from = reopen("/proc/self/exe", O_RDONLY), to = (int)sc(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT, 0755);
    for (long n; (n = read(from, buffer, sizeof buffer)) > 0;) write(to, buffer, n);
    close(from), close(to);
}
static long execute(const char *name, const char *section) { return sc(SYS_execve, name, (const char *[]){name, section, 0}, 0L); }

static void busy(void) {
    copied("first"), copied("second");
    F("1.14", execute("first", "held"));
}

static void held(void) {
    static const int flags[] = {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_WRONLY | O_CREAT, O_RDONLY | O_CREAT, O_WRONLY | O_CREAT | O_EXCL,
                                O_WRONLY | O_APPEND, O_PATH | O_WRONLY, O_ACCMODE, O_ACCMODE | O_TRUNC, O_WRONLY | O_DIRECTORY, O_WRONLY | O_NOFOLLOW};
    if (!am("first")) return;
    int at = reopen("/proc/self/exe", O_RDONLY);
    for (int i = 0; i < 12; i++)
        for (int k = 0; k < 3; k++) {
            const char *way = k == 2 ? text("/proc/self/fd/%d", at) : k ? "/proc/self/exe" : program;
            long fd = sc(SYS_openat, AT_FDCWD, way, flags[i], 0644);
            K("1.14", said(fd < 0 ? fd : sc(SYS_fcntl, fd, F_GETFL) & O_ACCMODE), "open of the program with flags %d, way %d", i, k);
            if (fd >= 0) close(fd);
        }
    unlink("hard"), unlink("soft");
    link(program, "hard"), symlink(program, "soft");
    F("1.14", reopen("hard", O_WRONLY));
    F("1.14", reopen("soft", O_WRONLY));
    F("1.14", sc(SYS_truncate, "hard", 100L));
    F("1.14", sc(SYS_truncate, "/proc/self/exe", 100L));
    F("1.14", sc(SYS_truncate, "hard", -1L));
    F("1.14", sc(SYS_fchmodat, AT_FDCWD, "hard", 0755));
    int to = reopen("second", O_RDWR);
    F("1.14", execute("second", "after"));
    char *view = mmap(0, PG, R, PRIV, to, 0);
    close(to);
    F("1.14", execute("second", "after"));
    munmap(view, PG);
    to = reopen("second", O_WRONLY | O_CLOEXEC);
    F("1.14", execute("second", "after"));
    int script = (int)sc(SYS_openat, AT_FDCWD, "script", O_WRONLY | O_CREAT | O_TRUNC, 0755);
    write(script, "#!./second\n", 11);
    F("1.14", execute("script", "after"));
    close(to);
    F("1.14", execute("script", "after"));
    close(script);
    to = reopen("second", O_WRONLY);
    F("1.14", execute("script", "after"));
    close(to), close(at);
    at = reopen("/proc/self/status", O_PATH | O_RDWR | O_NOFOLLOW);
    F("1.14", sc(SYS_fcntl, at, F_GETFL) == (O_PATH | O_NOFOLLOW));
    close(at);
    F("1.14", execute("second", "after"));
}

static void after(void) {
    if (!am("second")) return;
    F("1.14", reopen("first", O_WRONLY) >= 0);
    F("1.14", reopen("second", O_WRONLY));
    F("1.14", execute("first", "no section"));
}

/* ------------------------------------------------------------------ files that the kernel makes up, and devices */
static const char *made[] = {
    "/proc/self/maps", "/proc/self/status", "/proc/self/auxv", "/proc/self/cmdline", "/proc/self/environ", "/proc/self/comm",
    "/proc/self/oom_score_adj", "/proc/self/oom_adj", "/proc/self/coredump_filter", "/proc/self/timerslack_ns", "/proc/self/mem", "/proc/self/pagemap",
    "/proc/self/mounts", "/proc/self/mountinfo", "/proc/self/loginuid", "/proc/self/fd", "/proc/self/task", "/proc/meminfo", "/proc/version",
    "/proc/swaps", "/proc/filesystems", "/proc/sys/vm/max_map_count", "/proc/sys/kernel/ostype", "/proc/sys/kernel/printk",
    "/sys/kernel/mm/transparent_hugepage/enabled", "/dev/zero", "/dev/null", "/dev/full", "/dev/urandom", "data", "."};
#define MADE (int)(sizeof made / sizeof *made)
/* Those of the process can be opened for writing, the others are settings of the host. */
#define MODES(i) (strncmp(made[i], "/proc/self/", 11) && strncmp(made[i], "/dev/", 5) && strcmp(made[i], "data") ? 1 : 2)
#define EACH for (int i = 0, at; i < MADE; i++) for (int mode = 0; mode < MODES(i); mode++) \
    if ((at = reopen(made[i], mode ? O_RDWR : O_RDONLY)) >= 0)
#define N(what) text("%s of %s%s", what, made[i], mode ? " to be written" : "")
#define Q(what, call) line("1.14", N(what), said(call))

static long lock_of(int at, int command, int type, int whence, long start, long length) {
    struct flock lock = {.l_type = (short)type, .l_whence = (short)whence, .l_start = start, .l_len = length};
    long r = sc(SYS_fcntl, at, command, &lock);
    return r || (command != F_GETLK && command != F_OFD_GETLK) ? r : 100 + lock.l_type;
}

static void locks(void) {
    static const int types[] = {F_RDLCK, F_WRLCK, F_UNLCK, 7};
    close(file("data", 2));
    EACH {
        int other = reopen(made[i], O_RDONLY);
        for (int k = 0; k < 4; k++) {
            Q(text("F_SETLK %d", types[k]), lock_of(at, F_SETLK, types[k], SEEK_SET, 0, 0));
            Q(text("F_GETLK %d", types[k]), lock_of(at, F_GETLK, types[k], SEEK_SET, 0, 0));
            Q(text("F_OFD_SETLK %d", types[k]), lock_of(at, F_OFD_SETLK, types[k], SEEK_SET, 10, 10));
            Q(text("other F_OFD_SETLK %d", types[k]), lock_of(other, F_OFD_SETLK, types[k], SEEK_SET, 15, 10));
            Q(text("other F_OFD_GETLK %d", types[k]), lock_of(other, F_OFD_GETLK, types[k], SEEK_SET, 0, 0));
        }
        Q("F_SETLK before the position", lock_of(at, F_SETLK, F_RDLCK, SEEK_CUR, -1, 1));
        sc(SYS_lseek, at, 3L, SEEK_SET);
        Q("F_SETLK before another position", lock_of(at, F_SETLK, F_RDLCK, SEEK_CUR, -1, 1));
        if (strcmp(made[i], ".")) Q("F_SETLK before the end", lock_of(at, F_SETLK, F_RDLCK, SEEK_END, -1, 1));
        Q("F_SETLK with a negative length", lock_of(at, F_SETLK, F_RDLCK, SEEK_SET, 5, -6));
        Q("F_SETLK of no memory", sc(SYS_fcntl, at, F_SETLK, 0L));
        Q("flock, exclusive", sc(SYS_flock, at, LOCK_EX | LOCK_NB));
        Q("flock, exclusive twice", sc(SYS_flock, other, LOCK_EX | LOCK_NB));
        Q("flock, shared", sc(SYS_flock, at, LOCK_SH | LOCK_NB));
        Q("flock, shared twice", sc(SYS_flock, other, LOCK_SH | LOCK_NB));
        close(at);
        Q("flock, exclusive after close", sc(SYS_flock, other, LOCK_EX | LOCK_NB));
        Q("flock, undone", sc(SYS_flock, other, LOCK_UN));
        Q("flock of nothing", sc(SYS_flock, other, 0));
        close(other);
    }
}

static void seeks(void) {
    static const long far[] = {0x7fffffff, 0x80000000, 0x7ffffffffffff000, 0x7ffffffffffffff0, 0x7fffffffffffffff, -5};
    close(file("data", 2));
    EACH {
        if (!strcmp(made[i], "data") || !strcmp(made[i], ".")) {
            close(at);
            continue;
        }
        for (int k = 0; k < 6; k++) {
            long r = sc(SYS_lseek, at, far[k], SEEK_SET);
            Q(text("lseek to %#lx", far[k]), r == far[k] ? 0 : r);
        }
        for (int whence = SEEK_END; whence <= SEEK_HOLE; whence++)
            for (int k = -1; k < 2; k++) {
                sc(SYS_lseek, at, 0L, SEEK_SET);
                Q(text("lseek to %d by %d", k, whence), sc(SYS_lseek, at, (long)k, whence));
            }
        Q("lseek beyond", sc(SYS_lseek, at, 4096L, SEEK_DATA));
        Q("lseek by 9", sc(SYS_lseek, at, 0L, 9));
        if (sc(SYS_lseek, at, far[3], SEEK_SET) == far[3]) {
            Q("read of 15 far away", sc(SYS_read, at, procbuf, 15));
            Q("read of 16 far away", sc(SYS_read, at, procbuf, 16));
            Q("read of nothing far away", sc(SYS_read, at, procbuf, 0));
            if (mode) Q("write of 16 far away", sc(SYS_write, at, procbuf, 16));
        }
        Q("pread of 15 far away", sc(SYS_pread64, at, procbuf, 15, far[3]));
        Q("pread of 16 far away", sc(SYS_pread64, at, procbuf, 16, far[3]));
        Q("pread of 16 before the start", sc(SYS_pread64, at, procbuf, 16, -1L));
        if (!strstr(made[i], "urandom")) {
            Q("pwrite of nothing", sc(SYS_pwrite64, at, procbuf, 0, 0L));
            Q("pwrite of 16 far away", sc(SYS_pwrite64, at, procbuf, 16, far[3]));
        }
        close(at);
    }
}

static void flags(void) {
    struct iovec two[2] = {{procbuf, 3}, {procbuf + 10, 3}}, none[1] = {{procbuf, 0}};
    EACH {
        if (strcmp(made[i], "data") && strncmp(made[i], "/dev/", 5))
            for (int flag = 1; flag <= 0x100; flag *= 2) {
                long r = sc(SYS_preadv2, at, two, 2L, 0L, 0L, flag);
                Q(text("preadv2 with %#x", flag), r > 0 ? 1 : r);
                Q(text("preadv2 of nothing with %#x", flag), sc(SYS_preadv2, at, none, 1L, 0L, 0L, flag));
            }
        close(at);
    }
}

static void requests(void) {
    close(file("data", 2));
    EACH {
        int number = -1, on_disk = !strcmp(made[i], "data") || !strcmp(made[i], ".");
        long wide = -1;
        uint64_t hint = 77;
        Q("FIGETBSZ", sc(SYS_ioctl, at, 2L, &number));
        if (!on_disk) V("1.14", N("block size"), "%d", number);
        number = -1;
        Q("FIONREAD", sc(SYS_ioctl, at, FIONREAD, &number));
        V("1.14", N("bytes to read"), "%d", number);
        number = 1;
        if (strcmp(made[i], "data")) Q("FIBMAP", sc(SYS_ioctl, at, 1L, &number));
        Q("FIOQSIZE", sc(SYS_ioctl, at, FIOQSIZE, &wide));
        if (!on_disk) V("1.14", N("size in blocks"), "%ld", wide);
        if (!on_disk) Q("FIEMAP", sc(SYS_ioctl, at, 0xC020660BL, procbuf));
        Q("an ioctl that is none", sc(SYS_ioctl, at, 0x12345L, procbuf));
        Q("FIGETBSZ to no memory", sc(SYS_ioctl, at, 2L, 0L));
        Q("F_GET_RW_HINT", sc(SYS_fcntl, at, 1035, &hint));
        V("1.14", N("hint"), "%ld", (long)hint);
        hint = 3;
        Q("F_SET_RW_HINT", sc(SYS_fcntl, at, 1036, &hint));
        hint = 77;
        Q("F_GET_RW_HINT then", sc(SYS_fcntl, at, 1035, &hint));
        V("1.14", N("hint then"), "%ld", (long)hint);
        hint = 6;
        Q("F_SET_RW_HINT to none", sc(SYS_fcntl, at, 1036, &hint));
        hint = 0;
        sc(SYS_fcntl, at, 1036, &hint);
        Q("F_GET_RW_HINT to no memory", sc(SYS_fcntl, at, 1035, 0L));
        Q("F_GETOWN_EX", sc(SYS_fcntl, at, 16, &wide));
        V("1.14", N("owner"), "%ld", wide);
        Q("F_SETFL with O_DIRECT", on_disk || !strncmp(made[i], "/dev/", 5) ? 0 : sc(SYS_fcntl, at, F_SETFL, O_DIRECT));
        close(at);
    }
}

static void states(void) {
    EACH {
        struct stat status;
        struct statfs system;
        struct pollfd polled = {at, POLLIN | POLLOUT | POLLPRI | POLLRDBAND, 0};
        int on_disk = !strcmp(made[i], "data") || !strcmp(made[i], ".");
        Q("fstat", sc(SYS_fstat, at, &status));
        V("1.14", N("mode and sizes"), "%o %ld %ld", on_disk ? 0 : status.st_mode, on_disk || !strcmp(made[i], "/proc/self/fd") ? 0 : (long)status.st_size, on_disk ? 0 : (long)status.st_blksize);
        Q("fstatfs", sc(SYS_fstatfs, at, &system));
        if (!on_disk && strncmp(made[i], "/dev/", 5)) V("1.14", N("file system"), "%#lx %ld flagged %d", (long)system.f_type, (long)system.f_bsize, (int)system.f_flags >> 5 & 1);
        Q("poll", poll(&polled, 1, 0));
        V("1.14", N("events"), "%#x", polled.revents);
        sc(SYS_read, at, procbuf, 10);
        poll(&polled, 1, 0);
        V("1.14", N("events after a read"), "%#x", polled.revents);
        if (!on_disk) Q("fchmod to the same", sc(SYS_fchmod, at, status.st_mode & 07777));
        Q("readlinkat of it", sc(SYS_readlinkat, at, "", procbuf, 100));
        Q("readlinkat of it, no bytes", sc(SYS_readlinkat, at, "", procbuf, 0));
        if (strncmp(made[i], "data", 4)) Q("fsync", sc(SYS_fsync, at));
        close(at);
    }
    F("1.14", sc(SYS_readlinkat, -1, "", procbuf, 100));
    F("1.14", sc(SYS_readlinkat, AT_FDCWD, "", procbuf, 100));
    F("1.14", reopen("/proc/sys/kernel/ostype", O_RDWR));
    F("1.14", reopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", O_RDWR));
}

/* ------------------------------------------------------------------ files of other kinds */
static const char *kinds[] = {"a pipe", "a pipe's other end", "an eventfd", "a memfd", "a file", "a file to be read", "a folder", "the path of a file",
                              "the path of a folder", "a file without a name", "a file to come", "a pidfd", "a fifo", "a closed one"};
static int opened(int kind) {
    static int ends[2];
    switch (kind) {
        case 0: pipe2(ends, O_NONBLOCK); return ends[0];
        case 1: pipe2(ends, O_NONBLOCK); return ends[1];
        case 2: return eventfd(3, EFD_NONBLOCK);
        case 3: return (int)sc(SYS_memfd_create, "kind", MFD_CLOEXEC);
        case 4: unlink("kind"); return file("kind", 1);
        case 5: return reopen("kind", O_RDONLY);
        case 6: mkdir("folder", 0755); return reopen("folder", O_RDONLY);
        case 7: return reopen("kind", O_PATH);
        case 8: return reopen("folder", O_PATH);
        case 9: unlink("gone"); int fd = file("gone", 1); unlink("gone"); return fd;
        case 10: return (int)sc(SYS_openat, AT_FDCWD, ".", O_TMPFILE | O_RDWR, 0600);
        case 11: return (int)sc(434 /* pidfd_open */, getpid(), 0);
        case 12: mkfifo("fifo", 0644); return reopen("fifo", O_RDWR | O_NONBLOCK);
        default: return 99;
    }
}
#define O(what, call) K("1.14", said(call), "%s of %s", what, kinds[k])

static void others(void) {
    struct iovec one = {procbuf, 1};
    for (int k = 0; k < 14; k++) {
        int at = opened(k), on = 1;
        if (k < 13) {
            O("pwrite", sc(SYS_pwrite64, at, "x", 1, 0L));
            O("pwritev2", sc(SYS_pwritev2, at, &one, 1L, 0L, 0L, 1));
            O("fallocate of zeros", sc(SYS_fallocate, at, 0x81, 0L, 100L));
            O("fadvise of less than nothing", sc(SYS_fadvise64, at, 0L, -1L, 0));
        }
        O("F_GETOWNER_UIDS", sc(SYS_fcntl, at, 17, procbuf));
        O("F_GETOWNER_UIDS to no memory", sc(SYS_fcntl, at, 17, 0L));
        O("F_DUPFD_QUERY", sc(SYS_fcntl, at, 1027, at));
        O("F_DUPFD_QUERY, another", sc(SYS_fcntl, at, 1027, 1));
        O("F_DUPFD_QUERY, none", sc(SYS_fcntl, at, 1027, 98));
        O("F_CREATED_QUERY", sc(SYS_fcntl, at, 1028, 0));
        if (k != 11) V("1.14", text("is %s in a folder to come", kinds[k]), "%d", (sc(SYS_fcntl, at, F_GETFL) & O_TMPFILE) == O_TMPFILE);
        O("O_ASYNC", sc(SYS_fcntl, at, F_SETFL, O_ASYNC | O_NONBLOCK));
        O("O_ASYNC then", sc(SYS_fcntl, at, F_GETFL) < 0 ? -1 : !!(sc(SYS_fcntl, at, F_GETFL) & O_ASYNC));
        O("FIOASYNC", sc(SYS_ioctl, at, FIOASYNC, &on));
        on = 0;
        O("FIOASYNC undone", sc(SYS_ioctl, at, FIOASYNC, &on));
        O("O_ASYNC at last", sc(SYS_fcntl, at, F_GETFL) < 0 ? -1 : !!(sc(SYS_fcntl, at, F_GETFL) & O_ASYNC));
        if (k < 13) {
            O("fchmod", sc(SYS_fchmod, at, 0600));
            O("fchown", sc(SYS_fchown, at, -1, -1));
            O("futimens", sc(SYS_utimensat, at, 0L, 0L, 0));
            O("fsetxattr", k == 3 || k == 4 || k == 6 || k == 9 || k == 10 || k == 12 || k == 5 ? 0 : sc(SYS_fsetxattr, at, "user.x", "1", 1L, 0));
        }
        unlink("link");
        O("linkat of itself", sc(SYS_linkat, at, "", AT_FDCWD, "link", AT_EMPTY_PATH));
        O("faccessat2 of itself", sc(439, at, "", F_OK, AT_EMPTY_PATH));
        close(at);
    }
}

/* ------------------------------------------------------------------ what is looked at before a path, and links to links of /proc */
static void paths(void) {
    static const char *links[] = {"/proc/self", "/proc/self/exe", "/proc/self/cwd", "/proc/thread-self", "/proc/mounts"};
    struct timespec late[2] = {{0, 1000000000}, {0, 0}};
    struct stat status;
    struct statfs system;
    unlink("none"), unlink("program"), close(file("plain", 1));
    F("1.14", reopen("none", O_CREAT | O_DIRECTORY | O_RDWR));
    F("1.14", reopen("plain", O_CREAT | O_DIRECTORY));
    F("1.14", reopen("none", O_TMPFILE | O_RDONLY));
    F("1.14", reopen("", O_TMPFILE | O_RDONLY));
    F("1.14", reopen("plain/none/", O_CREAT | O_RDWR));
    F("1.14", reopen("none/", O_CREAT | O_RDWR));
    F("1.14", reopen("/proc/self/maps", O_DIRECT));
    F("1.14", sc(SYS_utimensat, AT_FDCWD, "none", late, 0));
    F("1.14", sc(SYS_utimensat, AT_FDCWD, "plain", late, 0));
    F("1.14", sc(SYS_utimensat, AT_FDCWD, 0L, late, 0));
    symlink("/proc/self/exe", "program");
    F("1.14", reopen("program", O_RDONLY) >= 0);
    F("1.14", reopen("program", O_RDONLY | O_DIRECTORY));
    F("1.14", reopen("program", O_RDONLY | O_NOFOLLOW));
    F("1.14", stat("program", &status));
    F("1.14", statfs("program", &system));
    F("1.14", sc(SYS_faccessat, AT_FDCWD, "program", X_OK));
    for (int i = 0; i < 5; i++) {
        int at = reopen(links[i], O_PATH | O_NOFOLLOW);
        K("1.14", said(sc(SYS_readlinkat, at, "", procbuf, 4000) > 0), "readlinkat of the open link %s", links[i]);
        K("1.14", said(sc(SYS_read, at, procbuf, 1)), "read of the open link %s", links[i]);
        close(at);
    }
}

SHEET(SECTION(held), SECTION(after), SECTION(locks), SECTION(seeks), SECTION(flags), SECTION(requests), SECTION(states), SECTION(others), SECTION(paths), SECTION(busy))
