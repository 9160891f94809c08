/* Section 1.22: execveat: what it refuses, how the program is called then. It goes on with itself, once for each way. */
#include "fact.h"
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

#define AT(dir, path, flags) sc(SYS_execveat, dir, path, words, environ, flags)
extern char **environ;
static char number[] = "0", *words[] = {"exec", "on", number, 0};

static void told(int way) {
    char name[17] = "";
    prctl(PR_GET_NAME, name);
    char *called = (char *)getauxval(AT_EXECFN), *end = called && strrchr(called, '/') ? strrchr(called, '/') : called;
    int by_number = called && !strncmp(called, "/dev/fd/", 8);
    K("1.22", by_number ? text("fd%s", strchr(called + 8, '/') ? strchr(called + 8, '/') : "") : called && *called == '/' ? "absolute" : called ? called : "no", "called by way %d", way);
    K("1.22", name, "name by way %d", way);
    long n = sc(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", procbuf, 4000L);
    procbuf[n < 0 ? 0 : n] = 0;
    K("1.22", strrchr(procbuf, '/') ? strrchr(procbuf, '/') + 1 : "none", "program by way %d", way);
}

static void copy(const char *to) { /* this program, as a file here */
    int from = reopen("/proc/self/exe", O_RDONLY), out = (int)sc(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    long n;
    while ((n = sc(SYS_read, from, procbuf, sizeof procbuf)) > 0) sc(SYS_write, out, procbuf, n);
    close(from), close(out);
}

static void refusals(void) {
    int folder = reopen(".", O_RDONLY), plain = file("plain", 1), script;
    area(2);
    F("1.22", AT(99, "none", 0));
    F("1.22", AT(AT_FDCWD, "none", 0));
    F("1.22", AT(folder, "none", 0));
    F("1.22", AT(plain, "none", 0));
    F("1.22", AT(99, "/none", 0));
    F("1.22", AT(folder, "", 0));
    F("1.22", AT(99, "", AT_EMPTY_PATH));
    F("1.22", AT(plain, "", AT_EMPTY_PATH));
    F("1.22", AT(folder, "", AT_EMPTY_PATH));
    F("1.22", AT(folder, "plain", 0));
    F("1.22", AT(folder, "plain", 1));
    F("1.22", AT(99, "", 1));
    F("1.22", AT(folder, P(0), 1));
    unlink("link"), symlink("copy", "link");
    F("1.22", AT(folder, "link", AT_SYMLINK_NOFOLLOW));
    F("1.22", AT(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW));
    close(folder), close(plain);
}

static void ways(int way) {
    int folder = reopen(".", O_RDONLY), program = reopen("copy", way == 4 ? O_PATH : O_RDONLY);
    number[0] = (char)('0' + way + 1);
    switch (way) {
        case 0: F("1.22", AT(AT_FDCWD, "copy", 0)); break;
        case 1: F("1.22", AT(folder, "copy", 0)); break;
        case 2: F("1.22", AT(folder, "link", 0)); break;
        case 3: F("1.22", AT(program, "", AT_EMPTY_PATH)); break;
        case 4: F("1.22", AT(program, "", AT_EMPTY_PATH)); break;
        case 5: fcntl(program, F_SETFD, FD_CLOEXEC); F("1.22", AT(program, "", AT_EMPTY_PATH)); break;
        case 6: F("1.22", AT(99, realpath("copy", 0), AT_EMPTY_PATH)); break;
        case 7: unlink("copy"); F("1.22", AT(program, "", AT_EMPTY_PATH)); break;
    }
}

int main(int argc, char **argv) {
    int way = 0;
    if (argc < 3) {
        copy("copy");
        refusals();
    } else {
        way = argv[2][0] - '0';
        told(way);
    }
    if (way < 8) ways(way);
    V("--", "ways", "done");
    return 0;
}
