/* What the objects_*.c sheets share: a call as written in the source, and what it returned, one a line. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096L
static long fact(const char *what, long result) {
    if (result < 0) printf("%s: %ld %s\n", what, result, strerrorname_np(errno));
    else printf("%s: %ld\n", what, result);
    return result;
}
#define F(call) (errno = 0, fact(#call, (long)(call)))
#define P(...) (errno = 0, fact("prctl " #__VA_ARGS__, syscall(SYS_prctl, __VA_ARGS__)))
