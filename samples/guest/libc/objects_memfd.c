/* Files in memory and their seals: facts that do not depend on the machine. */
#include "objects.h"

#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define MAPS(...) (errno = 0, fact(#__VA_ARGS__, mmap(__VA_ARGS__) == MAP_FAILED ? -1 : 0))
static char b[65536];

static void sizes(void) {
    puts("-- sizes and seals");
    int fd = memfd_create("x", MFD_ALLOW_SEALING), p[2];
    F(ftruncate(fd, 5000));
    F(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    F(pwrite(fd, b, 8192, 0));
    F(pwrite(fd, b, 5000, 0));
    F(pwrite(fd, b, 100, 4950));
    F(pwrite(fd, b, 0, 6000));
    F(pwrite(fd, b, 1, 5000));
    F(pwrite(fd, b, 4096, 10));
    F(pwrite(fd, b, 5000, 10));
    F(fallocate(fd, 0, 0, 5000));
    F(fallocate(fd, 0, 0, 5001));
    F(fallocate(fd, 1, 0, 5001));
    F(fallocate(fd, 3, 0, 9001));
    F(fallocate(fd, 0x10, 0, 4096));
    F(fallocate(fd, 2, 0, 4096));
    F(ftruncate(fd, 5001));
    F(ftruncate(fd, 4999));
    F(ftruncate(fd, 4999));
    F(fcntl(fd, F_ADD_SEALS, 0x40));
    F(fcntl(fd, F_ADD_SEALS, 0));
    struct iovec v[2] = {{b, 4096}, {b, 4096}};
    F(pwritev(fd, v, 2, 0));
    int in = memfd_create("in", 0);
    F(pwrite(in, b, 20000, 0));
    off_t at = 0;
    F(sendfile(fd, in, &at, 20000));
    printf("%ld, %ld\n", (long)at, (long)lseek(fd, 0, SEEK_CUR));
    F(lseek(fd, 0, 0));
    loff_t from = 0, to = 0;
    F(copy_file_range(in, &from, fd, &to, 20000, 0));
    printf("%ld, %ld\n", (long)from, (long)to);
    F(pipe(p));
    F(write(p[1], b, 20000));
    to = 0;
    F(splice(p[0], 0, fd, &to, 20000, 0));
    F(fcntl(fd, F_SETFL, O_APPEND));
    F(write(fd, b, 1));
    F(write(fd, b, 0));
    F(fcntl(fd, F_SETFL, 0));
    F(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    F(ftruncate(fd, 10));
    F(fallocate(fd, 3, 0, 100));
    F(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    F(pwrite(fd, b, 1, 0));
    F(pwrite(fd, b, 0, 0));
    F(pwrite(fd, (void *)8, 1, 0));
    F(fallocate(fd, 3, 0, 100));
    at = 0;
    F(sendfile(fd, in, &at, 20000));
    from = to = 0;
    F(copy_file_range(in, &from, fd, &to, 100, 0));
    F(splice(p[0], 0, fd, &to, 20000, 0));
    MAPS(0, 4096, 3, MAP_SHARED, fd, 0);
    MAPS(0, 4096, 3, MAP_PRIVATE, fd, 0);
    void *a = mmap(0, 4096, 1, MAP_SHARED, fd, 0);
    F(mprotect(a, 4096, 3));
    F(fcntl(fd, F_GET_SEALS));
    F(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    F(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    F(fcntl(fd, F_ADD_SEALS, 0x1000));
    F(close(fd) | close(in) | close(p[0]) | close(p[1]));
}

static void names(void) {
    puts("-- names and flags");
    char n[300];
    struct stat s;
    memset(n, 'a', sizeof n);
    n[249] = 0;
    int q;
    F((q = memfd_create(n, 0)) > 0);
    n[249] = 'a', n[250] = 0;
    F(memfd_create(n, 0));
    F(memfd_create((void *)8, 0));
    F(memfd_create((void *)8, 0x100));
    F(memfd_create("", 0) > 0);
    F(memfd_create("x", 0x18));
    F(memfd_create("a/b", 8) > 0);
    F(fcntl(q, F_GET_SEALS));
    F(fcntl(q, F_ADD_SEALS, 1));
    int e = memfd_create("e", 8);
    F(fcntl(e, F_GET_SEALS));
    F(fstat(e, &s));
    printf("%o\n", s.st_mode);
    F(fchmod(e, 0777));
    F(fchmod(e, 0600));
    e = memfd_create("\xff\xfe", 2);
    F(fstat(e, &s));
    printf("%o links %ld block %ld size %ld\n", s.st_mode, (long)s.st_nlink, (long)s.st_blksize, (long)s.st_size);
    sprintf(n, "/proc/self/fd/%d", e);
    char target[300] = "";
    F(readlink(n, target, sizeof target));
    puts(target);
    F(fcntl(e, F_GETFL) & (O_ACCMODE | O_APPEND));
    F(fcntl(e, F_GETFD));
    F(fcntl(memfd_create("c", MFD_CLOEXEC), F_GETFD));
    F(fcntl(e, F_ADD_SEALS, 0x20));
    F(fcntl(e, F_GET_SEALS));
    F(fchmod(e, 0600));
    F(fchmod(e, 0711));
}

static void mapped(void) {
    puts("-- mappings");
    char path[50];
    int e = memfd_create("e", 2);
    F(ftruncate(e, 4096));
    void *m = mmap(0, 4096, 1, MAP_SHARED, e, 0);
    F(fcntl(e, F_ADD_SEALS, F_SEAL_WRITE));
    F(fcntl(e, F_ADD_SEALS, 0x20));
    F(fcntl(e, F_GET_SEALS));
    F(munmap(m, 4096));
    F(fcntl(e, F_ADD_SEALS, F_SEAL_WRITE));
    e = memfd_create("e", 2);
    F(ftruncate(e, 4096));
    m = mmap(0, 4096, 3, MAP_PRIVATE, e, 0);
    *(char *)m = 1;
    F(fcntl(e, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    MAPS(0, 4096, 3, MAP_SHARED, e, 0);
    F(pwrite(e, b, 1, 0));
    F(fcntl(e, F_ADD_SEALS, F_SEAL_WRITE));
    e = memfd_create("e", 2);
    F(ftruncate(e, 4096));
    m = mmap(0, 4096, 3, MAP_SHARED, e, 0);
    F(mprotect(m, 4096, 0));
    F(fcntl(e, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    F(mprotect(m, 4096, 3));
    *(char *)m = 'w';
    F(pread(e, b, 1, 0));
    printf("%c\n", b[0]);
    F(fcntl(e, F_ADD_SEALS, F_SEAL_WRITE));
    sprintf(path, "/proc/self/fd/%d", e);
    int ro = open(path, O_RDONLY);
    F(fcntl(ro, F_ADD_SEALS, F_SEAL_GROW));
    F(fcntl(ro, F_GET_SEALS));
    F(munmap(m, 4096));
    m = mmap(0, 4096, 1, MAP_SHARED, ro, 0);
    F(fcntl(e, F_ADD_SEALS, F_SEAL_WRITE));
    F(fcntl(ro, F_GET_SEALS));
    F(open(path, O_RDWR) > 0);
    F(open(path, O_RDWR | O_TRUNC) > 0);
    int p[2];
    F(pipe(p));
    F(fcntl(p[1], F_ADD_SEALS, 1));
    F(fcntl(p[0], F_ADD_SEALS, 1));
    F(fcntl(p[1], F_ADD_SEALS, 0x1000));
    e = memfd_create("s", 2);
    F(ftruncate(e, 4096));
    F(fcntl(e, F_ADD_SEALS, F_SEAL_SHRINK));
    sprintf(path, "/proc/self/fd/%d", e);
    F(open(path, O_RDWR | O_TRUNC));
}

int main(void) {
    sizes();
    names();
    mapped();
    return 0;
}
