/* Section 1.14: what can be done with descriptors, whatever memory is given to them. */
#include "fact.h"

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

SHEET(SECTION(held), SECTION(after), SECTION(busy))
