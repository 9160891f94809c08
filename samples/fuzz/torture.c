/* Everything that a run may change about memory, for who puts processes back between runs: sets up regions of every kind, reads its input,
 * checks that all is as it was set up (exit code 1 to 9 if not), and does what the letters of the input say. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 8 };
#define AT(n) ((unsigned char *)0x10000000000 + (size_t)(n) * 0x100000)

static char before[1 << 16], now[1 << 16];
static unsigned char *data, *readonly, *none, *hole, *shared, *memory, *copy, *file, *heap, *locked;
static int memfd, plain;

static unsigned char *map(int slot, int pages, int prot, int flags, int fd)
{
    unsigned char *at = mmap(AT(slot), (size_t)pages * PAGE, prot, flags | MAP_FIXED, fd, 0);
    if (at == MAP_FAILED)
        _exit(20);
    return at;
}

static void fill(unsigned char *at, int pages, int seed)
{
    for (int i = 0; i < pages * PAGE; i++)
        at[i] = (unsigned char)(i * 7 + i / PAGE + seed);
}

static int same(const unsigned char *at, int pages, int seed)
{
    for (int i = 0; i < pages * PAGE; i++)
        if (at[i] != (unsigned char)(i * 7 + i / PAGE + seed))
            return 0;
    return 1;
}

static void look(char *to)
{
    int fd = open("/proc/self/maps", O_RDONLY);
    ssize_t got, length = 0;
    while ((got = read(fd, to + length, sizeof before - 1 - length)) > 0)
        length += got;
    to[length] = 0;
    close(fd);
}

static int wrong(void)
{
    struct rlimit limit;
    struct stat status;
    look(now);
    if (strcmp(before, now) != 0)
        return 1;
    if (!same(data, PAGES, 1) || !same(readonly, 2, 2) || !same(shared, 4, 3) || !same(heap, 4, 4) || !same(locked, 2, 8))
        return 2;
    if (!same(memory, 4, 5) || !same(copy, 1, 6) || !same(copy + PAGE, 1, 6 + 1) || !same(file, 2, 7))
        return 3;
    if (sbrk(0) != heap + 4 * PAGE)
        return 4;
    if (fstat(memfd, &status) != 0 || status.st_size != 4 * PAGE || lseek(memfd, 0, SEEK_CUR) != 100)
        return 5;
    if (dup(0) != 5 || close(5) != 0)
        return 6;
    if (getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY)
        return 7;
    if (signal(SIGUSR1, SIG_DFL) != SIG_DFL)
        return 8;
    return 0;
}

static void grow(int depth)
{
    volatile char room[PAGE];
    memset((char *)room, depth, sizeof room);
    if (depth)
        grow(depth - 1);
}

static void change(int letter)
{
    switch (letter) {
    case 'x': memset(data + 100, 0xEE, 5 * PAGE); break;
    case 'u': munmap(data + 2 * PAGE, 2 * PAGE); break;
    case 'U': munmap(data, PAGES * PAGE); break;
    case 'p': mprotect(data + PAGE, 2 * PAGE, PROT_READ); break;
    case 'n': mprotect(data + PAGE, 3 * PAGE, PROT_NONE); break;
    case 'e': mprotect(data, PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC); break;
    case 'f': map(0, 3, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1); break;
    case 'F': map(0, 2, PROT_READ, MAP_SHARED, memfd); break;
    case 'h': mmap(hole, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); *hole = 1; break;
    case 'w': mprotect(readonly, PAGE, PROT_READ | PROT_WRITE); readonly[9] ^= 1; mprotect(readonly, PAGE, PROT_READ); break;
    case 'W': mprotect(readonly, 2 * PAGE, PROT_READ | PROT_WRITE); memset(readonly, 0, 2 * PAGE); break;
    case 'N': mprotect(none, 2 * PAGE, PROT_READ | PROT_WRITE); memset(none, 3, 2 * PAGE); break;
    case 'g': memset(sbrk(5 * PAGE), 7, 5 * PAGE); break;
    case 's': sbrk(-3 * PAGE); break;
    case 'S': brk(heap); sbrk(4 * PAGE); break;
    case 'm': { char *at = mmap(NULL, 6 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); at[PAGE] = 1; munmap(at, 2 * PAGE); break; }
    case 'r': mremap(data, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, AT(40)); break;
    case 'R': mremap(shared, 4 * PAGE, 9 * PAGE, MREMAP_MAYMOVE); break;
    case 'k': mremap(data, PAGES * PAGE, 3 * PAGE, 0); break;
    case 'd': madvise(data, 3 * PAGE, MADV_DONTNEED); break;
    case 'D': madvise(copy, 4 * PAGE, MADV_DONTNEED); break;
    case 'q': madvise(memory, 2 * PAGE, MADV_REMOVE); break;
    case 'a': madvise(data, PAGES * PAGE, MADV_DONTFORK); madvise(data, PAGE, MADV_SEQUENTIAL); break;
    case 'y': memset(shared, 9, 4 * PAGE); break;
    case 'Y': memset(memory + PAGE, 9, PAGE); break;
    case 'z': { char text[50] = "through the descriptor"; if (pwrite(memfd, text, 50, 3000) < 0 || lseek(memfd, 7, SEEK_SET) < 0) _exit(21); break; }
    case 't': if (ftruncate(memfd, PAGE) != 0) _exit(22); break;
    case 'T': if (ftruncate(memfd, 9 * PAGE) != 0) _exit(22); break;
    case 'c': memset(copy, 5, 4 * PAGE); break;
    case 'C': memset(file, 5, 2 * PAGE); break;
    case 'i': munmap(file, 2 * PAGE); break;
    case 'b': grow(60); break;
    case 'l': mlock(data + PAGE, 2 * PAGE); break;
    case 'L': munlock(locked, PAGE); break;
    case 'o': dup(0); dup(0); close(memfd); break;
    case 'v': { struct rlimit limit = {1 << 26, 1 << 26}; setrlimit(RLIMIT_DATA, &limit); break; }
    case 'K': signal(SIGUSR1, SIG_IGN); break;
    case 'M': { int fd = memfd_create("other", 0); if (ftruncate(fd, PAGE) == 0) map(41, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd)[3] = 1; break; }
    }
}

int main(void)
{
    unsigned char input[64];
    const char *quiet = "/proc/self/exe";
    plain = open(quiet, O_RDONLY);
    memfd = memfd_create("set-up", 0);
    if (plain != 3 || memfd != 4 || ftruncate(memfd, 4 * PAGE) != 0)
        return 23;
    data = map(0, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    readonly = map(1, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    none = map(2, 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    map(3, 3, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    hole = AT(3) + PAGE;
    munmap(hole, PAGE);
    shared = map(4, 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
    memory = map(5, 4, PROT_READ | PROT_WRITE, MAP_SHARED, memfd);
    fill(memory, 4, 5);
    copy = map(6, 4, PROT_READ | PROT_WRITE, MAP_PRIVATE, memfd);
    fill(copy, 1, 6);
    fill(copy + PAGE, 1, 6 + 1);
    file = map(7, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE, plain);
    fill(file, 2, 7);
    locked = map(8, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    fill(locked, 2, 8);
    mlock(locked, 2 * PAGE);
    heap = sbrk(0);
    heap = sbrk(-(uintptr_t)heap & (PAGE - 1)) == (void *)-1 ? NULL : sbrk(0);
    sbrk(4 * PAGE);
    fill(heap, 4, 4);
    fill(data, PAGES, 1);
    fill(readonly, 2, 2);
    mprotect(readonly, 2 * PAGE, PROT_READ);
    fill(shared, 4, 3);
    lseek(memfd, 100, SEEK_SET);
    look(now);
    look(before);
    ssize_t length = read(0, input, sizeof input);
    int found = wrong();
    if (found)
        return found;
    for (ssize_t i = 0; i < length; i++)
        change(input[i]);
    return 0;
}
