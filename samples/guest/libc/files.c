/* What the file calls answer, printed as facts that do not depend on the machine. Runs in an empty writable directory. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static void fact(const char *what, long result) {
    if (result < 0) printf("%s: %ld %s\n", what, result, strerrorname_np(errno));
    else printf("%s: %ld\n", what, result);
    errno = 0;
}
#define F(call) (errno = 0, fact(#call, (long)(call)))

static int make(const char *name, const char *text) {
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (write(fd, text, strlen(text)) < 0) perror(name);
    return fd;
}

static void mode(const char *name) {
    struct stat s;
    if (lstat(name, &s)) fact(name, -1);
    else printf("%s: mode %o size %ld links %ld uid %d blksize %ld\n", name, s.st_mode, (long)(S_ISDIR(s.st_mode) ? 0 : s.st_size),
                (long)(S_ISDIR(s.st_mode) ? 0 : s.st_nlink), s.st_uid == geteuid(), (long)s.st_blksize);
}

static void opening(void) {
    puts("-- open");
    close(make("file", "0123456789"));
    F(open("", O_RDONLY));
    F(open("none", O_RDONLY));
    F(open("none", O_WRONLY));
    F(open("file/", O_RDONLY));
    F(open("file/x", O_RDONLY));
    F(open("file", O_RDONLY | O_DIRECTORY));
    F(open(".", O_WRONLY));
    F(open(".", O_RDONLY | O_CREAT, 0600));
    F(open("new/", O_RDWR | O_CREAT, 0600));
    F(open("file", O_RDWR | O_CREAT | O_EXCL, 0600));
    char name[5000];
    memset(name, 'a', sizeof name);
    name[256] = 0;
    F(open(name, O_RDONLY));
    F(open(name, O_RDWR | O_CREAT, 0600));
    name[256] = 'a', name[4999] = 0;
    F(open(name, O_RDONLY));
    F(open((char *)8, O_RDONLY));
    F(symlink("loop", "loop"));
    F(open("loop", O_RDONLY));
    F(symlink("target", "dangling"));
    F(open("dangling", O_RDONLY));
    F(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600));
    F(open("dangling", O_RDONLY | O_NOFOLLOW));
    int fd = open("dangling", O_RDWR | O_CREAT, 0640);
    fact("through a dangling link", fd);
    mode("target");
    close(fd);
    F(open("dangling", O_RDONLY | O_NOFOLLOW));
    static const int flags[] = {O_RDONLY, O_RDWR | O_APPEND, O_WRONLY | O_NONBLOCK, O_RDONLY | O_CLOEXEC, O_RDWR | O_SYNC, O_RDWR | O_DSYNC,
                                O_RDONLY | O_NOFOLLOW, O_RDONLY | O_PATH, O_RDONLY | O_PATH | O_NOFOLLOW, O_RDONLY | O_NOATIME,
                                O_RDWR | O_CREAT | O_TRUNC, O_RDONLY | O_NOCTTY};
    for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
        fd = open("file", flags[i], 0644);
        printf("flags %d: fd %d getfl ", i, fd);
        int got = fcntl(fd, F_GETFL);
        printf("%s%s%s%s%s%s%s%s %d getfd %d\n", got & O_APPEND ? "append " : "", got & O_NONBLOCK ? "nonblock " : "",
               (got & O_SYNC) == O_SYNC ? "sync " : got & O_DSYNC ? "dsync " : "", got & O_PATH ? "path " : "", got & O_NOATIME ? "noatime " : "",
               got & O_NOFOLLOW ? "nofollow " : "", got & O_CLOEXEC ? "cloexec " : "", got & (O_CREAT | O_TRUNC | O_EXCL | O_NOCTTY) ? "create " : "",
               got & O_ACCMODE, fcntl(fd, F_GETFD));
        close(fd);
    }
    fd = open(".", O_RDONLY | O_DIRECTORY);
    printf("directory flag kept %d\n", !!(fcntl(fd, F_GETFL) & O_DIRECTORY));
    F(read(fd, name, 10));
    F(write(fd, name, 10));
    F(openat(fd, "file", O_RDONLY));
    F(openat(1000, "file", O_RDONLY));
    int file = open("file", O_RDONLY);
    F(openat(file, "file", O_RDONLY));
    F(close(file) + close(fd));
    fd = open("file", O_PATH);
    F(read(fd, name, 1));
    F(fcntl(fd, F_SETFL, 0));
    F(ioctl(fd, FIONREAD, name));
    F(lseek(fd, 0, SEEK_SET));
    F(mmap(0, 10, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
    struct stat s;
    F(fstat(fd, &s));
    close(fd);
    fd = open(".", O_RDWR | O_TMPFILE, 0600);
    fact("unnamed file", fd);
    F(write(fd, "abc", 3));
    F(fstat(fd, &s) + s.st_nlink);
    close(fd);
    F(creat("created", 0751));
    umask(027);
    F(open("masked", O_RDWR | O_CREAT, 0777));
    F(mkdir("dir", 0777));
    mode("masked");
    mode("dir");
    umask(0);
    F(close(open("unmasked", O_RDWR | O_CREAT, 0777)));
    mode("unmasked");
    umask(022);
    closefrom(3);
}

static void names(void) {
    puts("-- names");
    close(make("one", "1"));
    F(mkdir("dir", 0700));
    F(mkdir("dir/", 0700));
    F(mkdir("d2/", 0700));
    F(mkdir("none/x", 0700));
    F(mkdir("one/x", 0700));
    F(mkdir(".", 0700));
    F(mkdir("..", 0700));
    F(rmdir("one"));
    F(rmdir("."));
    F(rmdir(".."));
    F(unlink("dir"));
    F(unlink("none"));
    F(unlink("one/"));
    F(unlink("."));
    close(make("dir/inner", "x"));
    F(rmdir("dir"));
    F(link("one", "two"));
    F(link("one", "two"));
    F(link("none", "three"));
    F(link("dir", "three"));
    mode("two");
    F(symlink("one", "sym"));
    F(link("sym", "hardsym"));
    mode("hardsym");
    F(linkat(AT_FDCWD, "sym", AT_FDCWD, "viasym", AT_SYMLINK_FOLLOW));
    mode("viasym");
    F(symlink("", "empty"));
    F(symlink("x", "one"));
    F(rename("none", "x"));
    F(rename("one", "dir"));
    F(rename("dir", "one"));
    F(rename("d2", "dir"));
    F(rename("dir", "dir/sub"));
    F(rename("one", "uno"));
    F(rename("one", "uno"));
    F(rename("uno", "uno/"));
    F(syscall(SYS_renameat2, AT_FDCWD, "uno", AT_FDCWD, "two", 1));
    F(syscall(SYS_renameat2, AT_FDCWD, "uno", AT_FDCWD, "dir", 2));
    mode("uno");
    F(syscall(SYS_renameat2, AT_FDCWD, "uno", AT_FDCWD, "dir", 2));
    F(syscall(SYS_renameat2, AT_FDCWD, "uno", AT_FDCWD, "dir", 3));
    F(unlinkat(AT_FDCWD, "d2", AT_REMOVEDIR));
    F(unlinkat(AT_FDCWD, "uno", 1));
    F(mkfifo("fifo", 0600));
    mode("fifo");
    F(open("fifo", O_WRONLY | O_NONBLOCK));
    char text[100];
    F(readlink("sym", text, 2));
    F(readlink("sym", text, 0));
    F(readlink("uno", text, 10));
    F(readlink("none", text, 10));
    F(access("uno", F_OK));
    F(access("uno", R_OK | W_OK));
    F(access("none", F_OK));
    F(access("uno", 8));
    F(faccessat(AT_FDCWD, "sym", F_OK, AT_SYMLINK_NOFOLLOW));
    F(chmod("uno", 0604));
    mode("uno");
    F(chmod("none", 0604));
    F(fchmodat(AT_FDCWD, "uno", 0644, 0));
    F(truncate("uno", 100));
    F(truncate("dir", 100));
    F(truncate("uno", -1));
    F(truncate("none", 1));
    mode("uno");
    struct timespec times[2] = {{1000, 5}, {2000, 7}};
    F(utimensat(AT_FDCWD, "uno", times, 0));
    struct stat s;
    F(stat("uno", &s));
    printf("times %ld.%ld %ld.%ld\n", s.st_atim.tv_sec, s.st_atim.tv_nsec, s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    times[0].tv_nsec = UTIME_OMIT, times[1].tv_sec = 3000;
    F(utimensat(AT_FDCWD, "sym", times, AT_SYMLINK_NOFOLLOW));
    F(lstat("sym", &s));
    printf("link time %ld\n", (long)s.st_mtim.tv_sec);
    times[1].tv_nsec = 2000000000;
    F(utimensat(AT_FDCWD, "uno", times, 0));
    F(chown("uno", -1, -1));
    F(fstatat(AT_FDCWD, "", &s, AT_EMPTY_PATH));
    F(fstatat(AT_FDCWD, "", &s, 0));
    F(fstatat(AT_FDCWD, "uno", &s, 0x10));
    F(fstatat(AT_FDCWD, "uno", (void *)8, 0));
    struct statx x;
    F(statx(AT_FDCWD, "uno", 0, STATX_BASIC_STATS, &x));
    printf("statx size %ld mode %o has %d\n", (long)x.stx_size, x.stx_mode, (x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    F(statx(AT_FDCWD, "uno", 0, 0x80000000u, &x));
    F(getxattr("uno", "user.none", text, 10));
    F(getxattr("none", "user.none", text, 10));
    F(chdir("dir"));
    F(access("inner", F_OK));
    F(access("../uno", F_OK));
    F(chdir("inner"));
    F(chdir("none"));
    F(chdir(".."));
    int fd = open("dir", O_RDONLY);
    F(fchdir(fd));
    F(fchdir(1000));
    F(getcwd(text, 2) ? 0 : -1);
    printf("cwd ends in %s\n", strrchr(getcwd(NULL, 0), '/'));
    F(chdir(".."));
    closefrom(3);
}

static void directories(void) {
    puts("-- directories");
    mkdir("many", 0700);
    for (int i = 0; i < 40; i++) {
        char name[40];
        sprintf(name, "many/entry-%02d-%.*s", i, i % 7, "xxxxxxxxxx");
        close(make(name, ""));
    }
    int fd = open("many", O_RDONLY | O_DIRECTORY);
    char buffer[200];
    F(syscall(SYS_getdents64, fd, buffer, 10));
    F(syscall(SYS_getdents64, fd, (char *)8, 200));
    int count = 0, sum = 0;
    for (long got; (got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0;)
        for (long at = 0; at < got; count++) {
            struct dirent64 *entry = (void *)(buffer + at);
            for (char *c = entry->d_name; *c; c++) sum += *c;
            sum += entry->d_type;
            at += entry->d_reclen;
        }
    printf("entries %d sum %d\n", count, sum);
    F(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    F(lseek(fd, 0, SEEK_SET));
    printf("again %d\n", syscall(SYS_getdents64, fd, buffer, sizeof buffer) > 0);
    close(fd);
    fd = open("uno", O_RDONLY);
    F(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    close(fd);
    DIR *dir = opendir("many");
    long middle = 0;
    char expect[256] = "";
    for (int i = 0; i < 42; i++) {
        if (i == 20) middle = telldir(dir);
        struct dirent *entry = readdir(dir);
        if (i == 20) strcpy(expect, entry->d_name);
    }
    seekdir(dir, middle);
    printf("seekdir %d\n", !strcmp(readdir(dir)->d_name, expect));
    closedir(dir);
}

static void offsets(void) {
    puts("-- offsets");
    char text[100] = "";
    int fd = make("data", "0123456789"), other = dup(fd), own = open("data", O_RDWR);
    F(lseek(fd, 3, SEEK_SET));
    F(read(other, text, 2));
    F(lseek(fd, 0, SEEK_CUR));
    F(lseek(own, 0, SEEK_CUR));
    F(lseek(fd, -100, SEEK_CUR));
    F(lseek(fd, -3, SEEK_END));
    F(lseek(fd, 0, 9));
    F(lseek(fd, 5, SEEK_DATA));
    F(lseek(fd, 50, SEEK_HOLE));
    F(pread(fd, text, 4, 8));
    F(pread(fd, text, 4, 100));
    F(pread(fd, text, 4, -1));
    F(pwrite(fd, "ab", 2, 20));
    F(lseek(fd, 0, SEEK_END));
    F(ftruncate(fd, 5));
    F(read(fd, text, 5));
    F(lseek(fd, 0, SEEK_SET));
    F(read(fd, text, 50));
    F(ftruncate(fd, -1));
    struct iovec v[3] = {{"abc", 3}, {"", 0}, {"defg", 4}};
    F(writev(fd, v, 3));
    F(writev(fd, v, -1));
    F(writev(fd, v, 2000));
    v[2].iov_len = -1;
    F(writev(fd, v, 3));
    lseek(fd, 0, SEEK_SET);
    struct iovec r[2] = {{text, 4}, {text + 50, 40}};
    F(readv(fd, r, 2));
    printf("%.4s %.8s\n", text, text + 50);
    F(preadv(fd, r, 2, 6));
    F(pwritev(fd, v, 2, 100));
    F(preadv2(fd, r, 2, 0, 0));
    int app = open("data", O_WRONLY | O_APPEND);
    F(write(app, "tail", 4));
    F(lseek(app, 0, SEEK_CUR));
    F(read(app, text, 1));
    int readonly = open("data", O_RDONLY);
    F(write(readonly, "x", 1));
    F(ftruncate(readonly, 1));
    F(fallocate(readonly, 0, 0, 10));
    F(posix_fallocate(fd, 0, 300));
    F(fallocate(fd, 0, -1, 10));
    F(fsync(fd) + fdatasync(fd));
    F(posix_fadvise(fd, 0, 0, 3));
    F(fchmod(fd, 0640));
    mode("data");
    F(dup2(fd, 40));
    F(dup2(fd, fd));
    F(dup2(1000, 41));
    F(dup2(fd, -1));
    F(dup3(fd, 41, O_CLOEXEC));
    F(fcntl(41, F_GETFD));
    F(dup3(fd, fd, 0));
    F(dup3(fd, 42, 1));
    F(fcntl(fd, F_DUPFD, 50));
    F(fcntl(fd, F_DUPFD_CLOEXEC, 50));
    F(fcntl(51, F_GETFD));
    F(fcntl(fd, F_DUPFD, -1));
    F(fcntl(fd, 9999, 0));
    F(fcntl(1000, F_GETFL));
    F(fcntl(fd, F_SETFL, O_NONBLOCK | O_APPEND));
    printf("shared by dup %d not by open %d\n", !!(fcntl(other, F_GETFL) & O_APPEND), !!(fcntl(own, F_GETFL) & O_APPEND));
    struct flock lock = {F_WRLCK, SEEK_SET, 0, 10, 0};
    F(fcntl(fd, F_SETLK, &lock));
    F(fcntl(fd, F_GETLK, &lock));
    printf("lock %d\n", lock.l_type == F_UNLCK);
    F(flock(fd, LOCK_EX | LOCK_NB));
    F(flock(own, LOCK_EX | LOCK_NB));
    F(flock(fd, LOCK_UN));
    F(flock(fd, 77));
    off_t at = 2;
    int out = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0600);
    F(sendfile(out, own, &at, 5));
    fact("offset behind", at);
    F(sendfile(out, own, NULL, 1000));
    F(lseek(own, 0, SEEK_CUR));
    F(copy_file_range(own, &at, out, NULL, 3, 0));
    F(sendfile(readonly, own, NULL, 10));
    F(close(1000));
    F(syscall(SYS_close_range, 3, 3000, 0));
    F(fcntl(fd, F_GETFD));
    F(open("data", O_RDONLY));
    F(close(3));
    struct rlimit limit, before;
    getrlimit(RLIMIT_NOFILE, &before);
    limit = before, limit.rlim_cur = 5;
    F(setrlimit(RLIMIT_NOFILE, &limit));
    F(dup(0));
    F(dup(0));
    F(dup(0));
    F(fcntl(0, F_DUPFD, 5));
    F(dup2(0, 5));
    F(setrlimit(RLIMIT_NOFILE, &before));
    closefrom(3);
}

static void pipes(void) {
    puts("-- pipes");
    int p[2], q[2];
    char text[100];
    F(pipe((int *)8));
    F(pipe2(p, 0x1));
    F(pipe2(p, O_NONBLOCK));
    printf("ends %d %d\n", p[0], p[1]);
    F(read(p[0], text, 10));
    F(write(p[1], "hello", 5));
    int n = 0;
    F(ioctl(p[0], FIONREAD, &n) + n);
    F(read(p[1], text, 1));
    F(write(p[0], text, 1));
    F(lseek(p[0], 0, SEEK_SET));
    F(pread(p[0], text, 1, 0));
    F(ftruncate(p[1], 0));
    F(posix_fadvise(p[0], 0, 0, 0));
    F(mmap(0, 10, PROT_READ, MAP_PRIVATE, p[0], 0) == MAP_FAILED ? -1 : 0);
    F(fcntl(p[0], F_GETPIPE_SZ));
    F(fcntl(p[0], F_SETPIPE_SZ, 4096));
    F(ioctl(p[0], TIOCGWINSZ, text));
    F(ioctl(p[0], 0x12345, text));
    n = 0;
    F(ioctl(p[0], FIONBIO, &n));
    F(fcntl(p[0], F_GETFL));
    struct stat s;
    fstat(p[0], &s);
    printf("fifo %d\n", S_ISFIFO(s.st_mode));
    struct pollfd polls[5] = {{p[0], POLLIN | POLLOUT}, {p[1], POLLIN | POLLOUT}, {-1, POLLIN}, {1000, POLLIN}, {0, 0}};
    F(poll(polls, 4, 0));
    for (int i = 0; i < 4; i++) printf("poll %x\n", polls[i].revents);
    F(read(p[0], text, 100));
    F(poll(polls, 1, 10));
    fd_set in, to;
    FD_ZERO(&in);
    FD_ZERO(&to);
    FD_SET(p[0], &in);
    FD_SET(p[1], &to);
    struct timeval wait = {0, 1000};
    F(select(p[1] + 1, &in, &to, NULL, &wait));
    printf("select %d %d\n", FD_ISSET(p[0], &in), FD_ISSET(p[1], &to));
    FD_ZERO(&in);
    FD_SET(1000, &in);
    F(select(1001, &in, NULL, NULL, &wait));
    struct timespec bad = {0, -1}, brief = {0, 1000};
    F(ppoll(polls, 1, &bad, NULL));
    F(ppoll(polls, 1, &brief, NULL));
    F(close(p[1]));
    F(poll(polls, 1, 0));
    printf("hangup %x\n", polls[0].revents);
    F(read(p[0], text, 10));
    int fd = open("data", O_RDONLY);
    polls[0].fd = fd;
    F(poll(polls, 1, 0));
    printf("file %x\n", polls[0].revents);
    F(pipe(q));
    F(fcntl(q[0], F_SETFD, FD_CLOEXEC));
    F(fcntl(q[0], F_GETFD));
    int e = eventfd(3, EFD_NONBLOCK);
    unsigned long value = 4;
    F(write(e, &value, 8));
    F(read(e, &value, 8));
    printf("eventfd %lu\n", value);
    F(read(e, &value, 8));
    int m = memfd_create("name", MFD_CLOEXEC);
    F(ftruncate(m, 8192));
    char *at = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, m, 0);
    at[5000] = 'x';
    F(pread(m, text, 1, 5000));
    printf("memfd %c\n", text[0]);
    F(pwrite(m, "y", 1, 5001));
    printf("mapped %c\n", at[5001]);
    closefrom(3);
    printf("mapped after close %c\n", at[5001]);
    F(ioctl(1, TCGETS, text));
    F(isatty(1) ? 1 : -1);
}

static void devices(void) {
    puts("-- devices");
    char text[16] = "1234567", *none = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), full = open("/dev/full", O_RDWR);
    F(write(null, none, 4096));
    F(write(null, (char *)-4096, 10));
    F(read(null, text, 8));
    F(read(null, none, 8));
    F(read(zero, text, 8));
    F(read(zero, none, 8));
    printf("zeroed %d\n", text[0]);
    F(write(zero, none, 100));
    F(write(full, text, 8));
    F(read(full, text, 8));
    int random = open("/dev/urandom", O_RDONLY);
    F(read(random, text, 16));
    F(lseek(null, 5, SEEK_SET));
    F(mmap(0, 4096, PROT_READ, MAP_PRIVATE, null, 0) == MAP_FAILED ? -1 : 0);
    closefrom(3);
}

static void self(void) {
    puts("-- /proc/self");
    char text[4096];
    int fd = open("/proc/self/comm", O_RDONLY);
    long n = read(fd, text, 100);
    printf("comm %.*s", (int)n, text);
    F(write(fd, "x", 1));
    F(lseek(fd, 2, SEEK_SET));
    F(read(fd, text, 1));
    close(fd);
    fd = open("/proc/self/cmdline", O_RDONLY);
    n = read(fd, text, sizeof text);
    printf("cmdline %ld %s\n", n - (long)strlen(text), strrchr(text, '/'));
    close(fd);
    n = readlink("/proc/self/exe", text, sizeof text);
    printf("exe %.*s\n", (int)(text + n - strrchr((text[n] = 0, text), '/')), strrchr(text, '/'));
    sprintf(text, "/proc/%d/exe", getpid());
    F(access(text, X_OK));
    F(access("/proc/self/none", F_OK));
    F(open("/proc/self/maps", O_WRONLY | O_DIRECTORY));
    F(readlink("/proc/self/maps", text, 10));
    n = readlink("/proc/self", text, sizeof text);
    text[n] = 0;
    printf("self %d\n", atoi(text) == getpid());
    close(make("again", "again"));
    fd = open("again", O_RDONLY);
    sprintf(text, "/proc/self/fd/%d", fd);
    int same = open(text, O_RDWR);
    F(write(same, "A", 1));
    F(read(fd, text, 10));
    printf("%.5s\n", text);
    n = readlink("/proc/self/fd/3", text, sizeof text);
    text[n] = 0;
    printf("fd 3 is %s\n", strrchr(text, '/'));
    F(access("/proc/self/fd/17", F_OK));
    F(open("/dev/fd/3", O_RDONLY));
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(dir));) count += *entry->d_name != '.';
    closedir(dir);
    printf("descriptors %d\n", count);
    struct stat s, t;
    F(stat("/proc/self/fd/3", &s) + fstat(3, &t));
    printf("same file %d\n", s.st_ino == t.st_ino);
    F(chdir("/proc/self/fdx"));
    FILE *maps = fopen("/proc/self/maps", "r");
    int stack = 0, heap = 0, self = 0;
    free(malloc(100));
    while (fgets(text, sizeof text, maps)) {
        stack += !!strstr(text, "[stack]");
        heap += !!strstr(text, "[heap]");
        self += !!strstr(text, program_invocation_short_name);
    }
    printf("maps stack %d heap %d program %d\n", stack, heap, self > 2);
    closefrom(3);
}

int main(void) {
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    opening();
    names();
    directories();
    offsets();
    pipes();
    devices();
    self();
    return 0;
}
