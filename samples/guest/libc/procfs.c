/* Facts about /proc/self and what it tells of memory. A line a fact; nothing in it depends on where things lie or on the CPU, so the
 * kernel of the host says what every line has to be. The program makes its mappings in a window of fixed addresses.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#define W ((char *)0x50000000)
#define PAGE 4096UL
static char buffer[1 << 20];

static const char *error(void)
{
    static char text[20];
    switch (errno) {
    case 0: return "0";
    case EIO: return "EIO";
    case EINVAL: return "EINVAL";
    case EACCES: return "EACCES";
    case ENOENT: return "ENOENT";
    case EFAULT: return "EFAULT";
    case ENOTDIR: return "ENOTDIR";
    case EISDIR: return "EISDIR";
    case ELOOP: return "ELOOP";
    case EEXIST: return "EEXIST";
    case EBADF: return "EBADF";
    case ENODEV: return "ENODEV";
    case EPERM: return "EPERM";
    }
    snprintf(text, sizeof text, "errno %d", errno);
    return text;
}

static void fact(const char *name, long value)
{
    if (value < 0)
        printf("%s: %s\n", name, error());
    else
        printf("%s: %ld\n", name, value);
    errno = 0;
}

/* The whole file into `buffer`, with reads of `step` bytes; its length. */
static long slurp(const char *path, size_t step)
{
    int fd = open(path, O_RDONLY);
    long length = 0, count;
    if (fd < 0)
        return -1;
    while ((count = read(fd, buffer + length, step)) > 0)
        length += count;
    close(fd);
    buffer[length] = 0;
    return count < 0 ? count : length;
}

/* The shape of a text: letters and blanks stay, each number becomes N, runs of blanks one. */
static void shape(const char *path)
{
    char *in = buffer, *out = buffer;
    if (slurp(path, 65536) < 0) {
        fact(path, -1);
        return;
    }
    while (*in) {
        if (*in >= '0' && *in <= '9') {
            while ((*in >= '0' && *in <= '9') || (*in >= 'a' && *in <= 'f') || *in == 'x')
                in++;
            *out++ = 'N';
        } else if (*in == ' ' && out > buffer && out[-1] == ' ') {
            in++;
        } else {
            *out++ = *in++;
        }
    }
    *out = 0;
    printf("== %s\n%s", path, buffer);
    if (out > buffer && out[-1] != '\n')
        printf("(no newline)\n");
}

/* -- maps and smaps of the window ------------------------------------------------------------------------------------ */

static char where[300];

/* Lines of maps that lie in the window; inode numbers of memory objects count up natively, so they become I. */
static void window(const char *title)
{
    printf("-- %s\n", title);
    slurp("/proc/self/maps", 65536);
    for (char *line = strtok(buffer, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned long start, end, offset, inode;
        unsigned major, minor;
        char rights[8];
        int at = 0;
        sscanf(line, "%lx-%lx %7s %lx %x:%x %lu %n", &start, &end, rights, &offset, &major, &minor, &inode, &at);
        if (start < (unsigned long)W || start >= (unsigned long)W + 0x10000000)
            continue;
        char *name = line + at, *base = strstr(name, where);
        struct stat st;
        printf("%lx-%lx %s %08lx ", start, end, rights, offset);
        if (base && !strstr(name, "(deleted)") && !stat(name, &st))
            printf("dev %s ino %s ", st.st_dev == makedev(major, minor) ? "ok" : "BAD", st.st_ino == inode ? "ok" : "BAD");
        else
            printf("%s %s ", major || minor ? "dev" : "none", inode || strstr(name, "SYSV") ? "ino" : "none");
        printf("%d [%s]\n", *name ? at : 0, base ? base + strlen(where) : name);
    }
}

static unsigned long row(const char *text, const char *name)
{
    char *at = strstr(text, name);
    return at ? strtoul(at + strlen(name), NULL, 10) : ~0UL;
}

/* What smaps says of the region at an address. */
static void smap(const char *title, void *address)
{
    char key[40], *at, *end;
    slurp("/proc/self/smaps", 65536);
    snprintf(key, sizeof key, "%08lx-", (unsigned long)address);
    at = strstr(buffer, key);
    if (!at) {
        printf("%s: not there\n", title);
        return;
    }
    end = strstr(at, "VmFlags:");
    printf("%s: Size %lu Rss %lu Pss %lu dirty %lu clean %lu+%lu anon %lu locked %lu huge %lu|%.*s|\n", title, row(at, "\nSize:"),
           row(at, "\nRss:"), row(at, "\nPss:"), row(at, "\nPrivate_Dirty:") + row(at, "\nShared_Dirty:"),
           row(at, "\nPrivate_Clean:"), row(at, "\nShared_Clean:"), row(at, "\nAnonymous:"), row(at, "\nLocked:"),
           row(at, "\nTHPeligible:"), (int)strcspn(end, "\n"), end);
}

static void pagemap(const char *title, void *address, int count)
{
    uint64_t entries[16];
    int fd = open("/proc/self/pagemap", O_RDONLY);
    long got = pread(fd, entries, count * 8, (unsigned long)address / PAGE * 8);
    printf("%s: pagemap %ld", title, got);
    for (int i = 0; i < count; i++)
        printf(" %c%c%c%c%c", entries[i] >> 63 & 1 ? 'p' : '-', entries[i] >> 62 & 1 ? 's' : '-', entries[i] >> 61 & 1 ? 'f' : '-',
               entries[i] >> 58 & 1 ? 'g' : '-', entries[i] >> 56 & 1 ? 'x' : '-');
    printf("\n");
    close(fd);
}

static void *map(unsigned long offset, unsigned long length, int prot, int flags, int fd, unsigned long at)
{
    void *p = mmap(W + offset, length, prot, flags | MAP_FIXED, fd, at);
    if (p == MAP_FAILED)
        printf("mmap at %lx: %s\n", offset, error());
    return p;
}

static void names(void)
{
    int fd, memory = memfd_create("a name", 0);
    map(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    map(0x10000, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    map(0x20000, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    map(0x30000, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    ftruncate(fd, 4 * PAGE);
    map(0x40000, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE);
    map(0x50000, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    ftruncate(memory, 2 * PAGE);
    map(0x60000, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    window("names");
    close(fd);
    rename("file", "renamed");
    window("renamed");
    unlink("renamed");
    window("removed");
    fd = open("two\nlines\\x", O_RDWR | O_CREAT, 0600);
    ftruncate(fd, PAGE);
    map(0x70000, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    window("a newline");
    unlink("two\nlines\\x");
    close(fd);
    close(memory);
    int key = shmget(IPC_PRIVATE, 2 * PAGE, IPC_CREAT | 0600);
    shmat(key, W + 0x80000, 0);
    window("System V");
    slurp("/proc/self/maps", 65536);
    char *line = strstr(buffer, "\n50080000-");
    unsigned long inode = 0;
    if (line)
        sscanf(line, " %*s %*s %*s %*s %lu", &inode);
    fact("the inode is the id", inode == (unsigned long)key);
    shmdt(W + 0x80000);
    shmctl(key, IPC_RMID, NULL);
    fd = open("/dev/zero", O_RDWR);
    map(0x80000, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 2 * PAGE);
    window("/dev/zero");
    close(fd);
}

/* -- figures ---------------------------------------------------------------------------------------------------------- */

struct statm {
    long total, resident, shared, text, lib, data, dirty;
};

static struct statm statm(void)
{
    struct statm s;
    slurp("/proc/self/statm", 65536);
    sscanf(buffer, "%ld %ld %ld %ld %ld %ld %ld", &s.total, &s.resident, &s.shared, &s.text, &s.lib, &s.data, &s.dirty);
    return s;
}

static void change(const char *title, struct statm before)
{
    struct statm now = statm();
    printf("%s: total %+ld resident %+ld shared %+ld text %+ld lib %+ld data %+ld dirty %+ld\n", title, now.total - before.total,
           now.resident - before.resident, now.shared - before.shared, now.text - before.text, now.lib - before.lib,
           now.data - before.data, now.dirty - before.dirty);
}

static long status(const char *name)
{
    slurp("/proc/self/status", 65536);
    return row(buffer, name);
}

static void figures(void)
{
    struct statm before;
    char *p;
    volatile char sink;
    statm();
    status("x");
    before = statm();
    p = map(0x1000000, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    change("64 pages mapped", before);
    for (int i = 0; i < 10; i++)
        p[i * PAGE] = 1;
    change("10 pages written", before);
    sink = p[20 * PAGE];
    change("a page read", before);
    smap("10 of 64", p);
    pagemap("10 of 64", p + 8 * PAGE, 4);
    pagemap("the page of zeros", p + 20 * PAGE, 1);
    madvise(p, 4 * PAGE, MADV_DONTNEED);
    change("4 given back", before);
    mprotect(p + 32 * PAGE, 32 * PAGE, PROT_NONE);
    change("half of it forbidden", before);
    smap("the half", p + 32 * PAGE);
    munmap(p, 64 * PAGE);
    change("unmapped", before);

    long size = status("VmSize:"), data = status("VmData:"), locked = status("VmLck:"), anon = status("RssAnon:");
    p = map(0x1000000, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[0] = 1;
    mlock(p, 4 * PAGE);
    printf("status: VmSize %+ld VmData %+ld VmLck %+ld RssAnon %+ld\n", status("VmSize:") - size, status("VmData:") - data,
           status("VmLck:") - locked, status("RssAnon:") - anon);
    smap("locked", p);
    smap("not locked", p + 4 * PAGE);
    munmap(p, 16 * PAGE);
    fact("VmLck afterwards", status("VmLck:") - locked);
    fact("VmPeak is remembered", status("VmPeak:") >= size + 64);
    fact("VmHWM is not below VmRSS", status("VmHWM:") >= status("VmRSS:"));
    p = map(0x1000000, 16 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long library = status("VmLib:");
    munmap(p, 16 * PAGE);
    fact("VmLib of 16 executable pages", library - status("VmLib:"));
}

static void peaks(void)
{
    long before = status("VmHWM:");
    memset(map(0x10000000, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, 16 << 20);
    munmap(W + 0x10000000, 16 << 20);
    fact("VmHWM remembers 16 MiB", status("VmHWM:") - before >= 15 << 10);
    fact("VmRSS does not", status("VmHWM:") - status("VmRSS:") >= 15 << 10);
    memset(map(0x10000000, 20 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, 20 << 20);
    madvise(W + 0x10000000, 20 << 20, MADV_DONTNEED);
    fact("20 MiB given back", status("VmHWM:") - before >= 19 << 10);
    munmap(W + 0x10000000, 20 << 20);
}

static void flags(void)
{
    static const struct { const char *name; int prot, flags, advice; } kinds[] = {
        {"private", 3, MAP_PRIVATE | MAP_ANONYMOUS, -1},
        {"read-only", 1, MAP_PRIVATE | MAP_ANONYMOUS, -1},
        {"none", 0, MAP_PRIVATE | MAP_ANONYMOUS, -1},
        {"executable", 7, MAP_PRIVATE | MAP_ANONYMOUS, -1},
        {"no reserve", 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1},
        {"shared", 3, MAP_SHARED | MAP_ANONYMOUS, -1},
        {"shared read-only", 1, MAP_SHARED | MAP_ANONYMOUS, -1},
        {"grows down", 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1},
        {"stack", 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1},
        {"sequential", 3, MAP_PRIVATE | MAP_ANONYMOUS, MADV_SEQUENTIAL},
        {"random", 3, MAP_PRIVATE | MAP_ANONYMOUS, MADV_RANDOM},
        {"not forked", 3, MAP_PRIVATE | MAP_ANONYMOUS, MADV_DONTFORK},
        {"wiped", 3, MAP_PRIVATE | MAP_ANONYMOUS, MADV_WIPEONFORK},
        {"not dumped", 3, MAP_PRIVATE | MAP_ANONYMOUS, MADV_DONTDUMP},
        {"huge", 3, MAP_PRIVATE | MAP_ANONYMOUS, MADV_HUGEPAGE},
        {"not huge", 3, MAP_PRIVATE | MAP_ANONYMOUS, MADV_NOHUGEPAGE},
        {"mergeable", 3, MAP_PRIVATE | MAP_ANONYMOUS, MADV_MERGEABLE},
        {"droppable", 3, 8 | MAP_ANONYMOUS, -1},
    };
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char *p = map(0x2000000, 8 * PAGE, kinds[i].prot, kinds[i].flags, -1, 0);
        if (p == MAP_FAILED)
            continue;
        if (kinds[i].advice >= 0)
            fact(kinds[i].name, madvise(p, 8 * PAGE, kinds[i].advice));
        smap(kinds[i].name, p);
        munmap(p, 8 * PAGE);
    }
    char *p = map(0x2000000, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    smap("4 MiB", p);
    madvise(p, 4 << 20, MADV_HUGEPAGE);
    smap("4 MiB that may be huge", p);
    mprotect(p, PAGE, PROT_READ);
    smap("beside them", p);
    munmap(p, 4 << 20);
    p = map(0x2000000, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fact("guard", madvise(p + PAGE, PAGE, 102));
    p[0] = 1;
    smap("guard", p);
    pagemap("guard", p, 3);
    munmap(p, 8 * PAGE);
    p = map(0x3000000, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fact("mseal", syscall(462, p, 8 * PAGE, 0));
    smap("sealed", p);
}

static void of_files(void)
{
    volatile char sink;
    int fd = open("pages", O_RDWR | O_CREAT | O_TRUNC, 0600);
    char *p;
    for (int i = 0; i < 8; i++)
        pwrite(fd, "x", 1, i * PAGE);
    fsync(fd);
    p = map(0x4000000, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    for (int i = 0; i < 4; i++)
        sink = p[i * PAGE];
    smap("4 pages of a file read", p);
    pagemap("4 pages of a file read", p, 4);
    p[PAGE] = 1;
    smap("one of them written", p);
    pagemap("one of them written", p, 4);
    madvise(p, 4 * PAGE, MADV_DONTNEED);
    smap("given back", p);
    munmap(p, 4 * PAGE);
    p = map(0x4000000, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4 * PAGE);
    for (int i = 0; i < 4; i++)
        p[i * PAGE] = 1;
    smap("4 shared pages written", p);
    pagemap("4 shared pages written", p, 4);
    char *q = map(0x5000000, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 4 * PAGE);
    for (int i = 0; i < 4; i++)
        sink = q[i * PAGE];
    smap("the same once more", q);
    pagemap("the same once more", q, 4);
    munmap(p, 4 * PAGE);
    munmap(q, 4 * PAGE);
    p = map(0x4000000, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    p[0] = p[PAGE] = 1;
    long shared = status("RssShmem:");
    smap("shared memory", p);
    pagemap("shared memory", p, 4);
    munmap(p, 4 * PAGE);
    fact("RssShmem of two pages", shared - status("RssShmem:"));
    close(fd);
    unlink("pages");
}

/* -- mem -------------------------------------------------------------------------------------------------------------- */

static void memory(void)
{
    char *p = map(0x6000000, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), word[PAGE * 4];
    int fd = open("/proc/self/mem", O_RDWR), file = open("pages", O_RDWR | O_CREAT | O_TRUNC, 0600), only = open("/proc/self/mem", O_RDONLY);
    ftruncate(file, 2 * PAGE);
    strcpy(p, "hello");
    memset(p + PAGE, 'b', PAGE);
    mprotect(p, PAGE, PROT_NONE);
    mprotect(p + PAGE, PAGE, PROT_READ);
    munmap(p + 2 * PAGE, PAGE);
    memset(word, 0, sizeof word);
    fact("read what may not be read", pread(fd, word, 6, (off_t)(long)p));
    printf("%s\n", word);
    fact("write it", pwrite(fd, "HELLO", 5, (off_t)(long)p));
    fact("write what may only be read", pwrite(fd, "BB", 2, (off_t)(long)p + PAGE));
    mprotect(p, PAGE, PROT_READ);
    printf("%s %.3s\n", p, p + PAGE);
    smap("written by force", p);
    fact("read into a hole", pread(fd, word, 3 * PAGE, (off_t)(long)p + PAGE + 100));
    fact("write into a hole", pwrite(fd, word, 2 * PAGE, (off_t)(long)p + PAGE + 200));
    fact("read a hole", pread(fd, word, 10, (off_t)(long)p + 2 * PAGE));
    fact("write a hole", pwrite(fd, word, 10, (off_t)(long)p + 2 * PAGE));
    fact("read address 0", pread(fd, word, 10, 0));
    fact("nothing of a hole", pread(fd, word, 0, 0));
    fact("write without the right", pwrite(only, word, 10, (off_t)(long)p));
    fact("seek", lseek(fd, (off_t)(long)p, SEEK_SET) == (off_t)(long)p);
    fact("read there", read(fd, word, 5));
    fact("where that leads", lseek(fd, 0, SEEK_CUR) == (off_t)(long)p + 5);
    fact("write on", write(fd, "!", 1));
    printf("%s\n", p);
    fact("seek from the end", lseek(fd, 0, SEEK_END));
    errno = 0;
    fact("seek beyond", lseek(fd, (off_t)0xffff800000000000, SEEK_SET) == (off_t)0xffff800000000000);
    fact("read beyond", read(fd, word, 10));
    struct iovec parts[2] = {{word, 3}, {word + 10, 4}};
    fact("readv", preadv(fd, parts, 2, (off_t)(long)p));
    fact("into nowhere", pread(fd, NULL, 5, (off_t)(long)p));
    char *s = map(0x7000000, 2 * PAGE, PROT_READ, MAP_SHARED, file, 0);
    fact("write a shared file read-only", pwrite(fd, "x", 1, (off_t)(long)s));
    fact("read it", pread(fd, word, 1, (off_t)(long)s));
    mprotect(s, PAGE, PROT_READ | PROT_WRITE);
    fact("write it writable", pwrite(fd, "x", 1, (off_t)(long)s));
    fact("in the file", pread(file, word, 1, 0) == 1 && word[0] == 'x');
    ftruncate(file, 100);
    fact("read behind its end", pread(fd, word, 10, (off_t)(long)s + PAGE));
    fact("read up to its end", pread(fd, word, 2 * PAGE, (off_t)(long)s));
    s = map(0x8000000, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
    fact("write a private file read-only", pwrite(fd, "y", 1, (off_t)(long)s));
    fact("not in the file", pread(file, word, 1, 0) == 1 && word[0] == 'x' && s[0] == 'y');
    pagemap("a copy", s, 1);
    munmap(s, PAGE);
    munmap(p, 8 * PAGE);
    munmap((void *)(W + 0x7000000), 2 * PAGE);
    close(fd);
    close(only);
    close(file);
    unlink("pages");
}

/* Code that may not be written is written by force, and is what runs then. */
static void code(void)
{
#ifdef __x86_64__
    static const unsigned char one[] = {0xb8, 1, 0, 0, 0, 0xc3}, two[] = {0xb8, 2, 0, 0, 0, 0xc3};
#else
    static const unsigned char one[] = {0x20, 0, 0x80, 0x52, 0xc0, 3, 0x5f, 0xd6}, two[] = {0x40, 0, 0x80, 0x52, 0xc0, 3, 0x5f, 0xd6};
#endif
    char *p = map(0xc000000, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = open("/proc/self/mem", O_RDWR), sum = 0;
    memcpy(p, one, sizeof one);
    mprotect(p, PAGE, PROT_READ | PROT_EXEC);
    __builtin___clear_cache(p, p + PAGE);
    for (int i = 0; i < 100; i++)
        sum += ((int (*)(void))p)();
    fact("code", sum);
    fact("write it", pwrite(fd, two, sizeof two, (off_t)(long)p) == sizeof two);
    __builtin___clear_cache(p, p + PAGE);
    for (int i = 0; i < 100; i++)
        sum += ((int (*)(void))p)();
    fact("other code", sum);
    fact("truncate", ftruncate(fd, 0));
    close(fd);
    munmap(p, PAGE);
}

static void pagemaps(void)
{
    uint64_t entry[4];
    int fd = open("/proc/self/pagemap", O_RDONLY);
    fact("pagemap: half an entry", pread(fd, entry, 4, 0));
    fact("pagemap: between entries", pread(fd, entry, 8, 4));
    fact("pagemap: behind the end", pread(fd, entry, 8, 1L << 62 >> 9));
    fact("pagemap: a hole", pread(fd, entry, 32, (unsigned long)W / PAGE * 8 + 0x8000) == 32 && !entry[0] && !entry[3]);
    fact("pagemap: seek from the end", lseek(fd, 0, SEEK_END));
    close(fd);
}

struct scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, any, returned;
};

static void look(const char *title, int fd, char *at, int pages, int room, int most, int inverted, int mask, int any, int flags)
{
    uint64_t found[3 * 16];
    struct scan s = {sizeof s, flags, (unsigned long)at, (unsigned long)at + pages * PAGE, 7, room ? (unsigned long)found : 0, room, most,
                     inverted, mask, any, 0x17f};
    int count = ioctl(fd, 0xc0606610, &s);
    if (count < 0)
        printf("%s: %s", title, error());
    else
        printf("%s: %d", title, count);
    errno = 0;
    printf(" up to %ld:", s.walk_end == 7 ? -1L : (long)(s.walk_end - (unsigned long)at) / (long)PAGE);
    for (int i = 0; i < count; i++)
        printf(" %ld-%ld %lx", (long)(found[3 * i] - (unsigned long)at) / (long)PAGE, (long)(found[3 * i + 1] - (unsigned long)at) / (long)PAGE,
               (long)found[3 * i + 2]);
    printf("\n");
}

static void scans(void)
{
    int fd = open("/proc/self/pagemap", O_RDONLY), file = open("pages", O_RDWR | O_CREAT | O_TRUNC, 0600);
    char *p = map(0xd000000, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile char sink;
    for (int i = 0; i < 4; i++)
        pwrite(file, "x", 1, i * PAGE);
    p[0] = p[PAGE] = p[5 * PAGE] = 1;
    sink = p[3 * PAGE];
    madvise(p + 7 * PAGE, PAGE, 102);
    map(0xd00a000, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    for (int i = 0; i < 4; i++)
        sink = p[(10 + i) * PAGE];
    p[12 * PAGE] = 1;
    munmap(p + 15 * PAGE, PAGE);
    look("all", fd, p, 20, 16, 0, 0, 0, 0, 0);
    look("present", fd, p, 20, 16, 0, 0, 8, 0, 0);
    look("not present", fd, p, 20, 16, 0, 8, 8, 0, 0);
    look("of a file", fd, p, 20, 16, 0, 0, 4, 0, 0);
    look("anonymous", fd, p, 20, 16, 0, 4, 12, 0, 0);
    look("zero or guard", fd, p, 20, 16, 0, 0, 0, 0x120, 0);
    look("swapped", fd, p, 20, 16, 0, 0, 16, 0, 0);
    look("written", fd, p, 20, 16, 0, 0, 2, 0, 0);
    look("room for two", fd, p, 20, 2, 0, 0, 8, 0, 0);
    look("at most three pages", fd, p, 20, 16, 3, 0, 8, 0, 0);
    look("no room", fd, p, 20, 0, 0, 0, 8, 0, 0);
    look("that may be protected", fd, p, 20, 16, 0, 0, 1, 0, 0);
    look("that may not", fd, p, 20, 16, 0, 1, 9, 0, 0);
    look("protect them", fd, p, 20, 16, 0, 0, 8, 0, 1);
    look("insist", fd, p, 20, 16, 0, 0, 8, 0, 2);
    look("nothing mapped", fd, p + 16 * PAGE, 4, 16, 0, 0, 0, 0, 2);
    look("between pages", fd, p + 1, 4, 16, 0, 0, 0, 0, 0);
    look("unknown flags", fd, p, 4, 16, 0, 0, 0, 0, 4);
    look("unknown categories", fd, p, 4, 16, 0, 0, 512, 0, 0);
    char *q = map(0xe000000, 6 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(q, 6 << 20, MADV_NOHUGEPAGE);
    look("untouched", fd, q, 1536, 16, 0, 0, 0, 0, 0);
    q[3 << 20] = 1;
    look("touched in the middle", fd, q, 1536, 16, 0, 0, 0, 0, 0);
    munmap(q, 6 << 20);
    look("no pages", fd, p, 0, 16, 0, 0, 0, 0, 0);
    look("the kernel's", fd, (char *)0xffff800000000000, 4, 16, 0, 0, 0, 0, 0);
    fact("nowhere", ioctl(fd, 0xc0606610, NULL));
    close(fd);
    close(file);
    unlink("pages");
    munmap(p, 16 * PAGE);
}

/* -- how files are read ------------------------------------------------------------------------------------------------ */

static void reading(void)
{
    static char whole[1 << 16];
    int fd;
    long length = slurp("/proc/self/maps", 65536);
    memcpy(whole, buffer, length);
    fact("maps in small pieces is the same", slurp("/proc/self/maps", 7) == length && !memcmp(whole, buffer, length));
    fd = open("/proc/self/maps", O_RDONLY);
    read(fd, buffer, 100);
    fact("from the middle", pread(fd, buffer, 50, 20) == 50 && !memcmp(buffer, whole + 20, 50));
    fact("on from where it was", read(fd, buffer, 50) == 50 && !memcmp(buffer, whole + 100, 50));
    lseek(fd, 0, SEEK_SET);
    map(0x9000000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (length = 0; (fd >= 0) && read(fd, buffer + length, 1) == 1;)
        length++;
    buffer[length] = 0;
    fact("read anew, it is what is now", strstr(buffer, "\n59000000-59001000 r--p 00000000 00:00 0 \n") != NULL);
    close(fd);
    fd = open("/proc/self/maps", O_RDONLY);
    read(fd, buffer, 1);
    munmap(W + 0x9000000, PAGE);
    close(fd);
    for (int i = 0; i < 200; i++)
        map(0xa000000 + i * 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fd = open("/proc/self/maps", O_RDONLY);
    length = read(fd, buffer, 65536);
    fact("a read gives no more than a page", length < 4096 && length > 3900);
    fact("it ends with a line", buffer[length - 1] == '\n');
    length = read(fd, buffer, 65536);
    fact("so does the next", length < 4096 && buffer[length - 1] == '\n');
    fact("small reads end anywhere", read(fd, buffer, 100));
    fact("seek from the end", lseek(fd, 0, SEEK_END));
    fact("before the start", lseek(fd, -1, SEEK_SET));
    fact("write", write(fd, "x", 1));
    fact("map", mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
    close(fd);
    munmap(W + 0xa000000, 400 * PAGE);
    fd = open("/proc/self/maps", O_RDONLY);
    fact("read a piece", read(fd, buffer, 10));
    lseek(fd, 1 << 20, SEEK_SET);
    fact("read behind the end", read(fd, buffer, 10));
    close(fd);
}

/* -- one region asked for: PROCMAP_QUERY ------------------------------------------------------------------------------- */

struct query {
    uint64_t size, flags, address, start, end, rights, page, offset, inode;
    uint32_t major, minor, name_size, build_id_size;
    uint64_t name, build_id;
};

static void ask(const char *title, int fd, unsigned long address, uint64_t flags, uint32_t name_size, uint32_t id_size)
{
    char name[500] = "", id[20];
    struct query q = {.size = sizeof q, .flags = flags, .address = address, .name_size = name_size, .build_id_size = id_size};
    q.name = name_size ? (unsigned long)name : 0;
    q.build_id = id_size ? (unsigned long)id : 0;
    if (ioctl(fd, 0xc0686611, &q)) {
        fact(title, -1);
        return;
    }
    char *base = strstr(name, where);
    printf("%s: %lx-%lx rights %lx page %lu offset %lx inode %d device %d name %d [%s] id %u\n", title, (long)q.start, (long)q.end,
           (long)q.rights, (long)q.page, (long)q.offset, q.inode != 0, q.major || q.minor,
           q.name_size ? (int)(q.name_size - (base ? strlen(where) : 0)) : 0, base ? base + strlen(where) : name, q.build_id_size);
}

static void queries(void)
{
    int fd = open("/proc/self/maps", O_RDONLY), file = open("asked\nfor", O_RDWR | O_CREAT, 0600), smaps = open("/proc/self/smaps", O_RDONLY);
    ftruncate(file, 4 * PAGE);
    map(0xb000000, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    map(0xb004000, 2 * PAGE, PROT_READ, MAP_SHARED, file, PAGE);
    map(0xb008000, PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned long at = (unsigned long)W + 0xb000000;
    ask("inside", fd, at + 0x1234, 0, 0, 0);
    ask("with its name", fd, at, 0, 100, 0);
    ask("of a file", fd, at + 0x4000, 0, 500, 20);
    ask("of a file, short name", fd, at + 0x4000, 0, 5, 0);
    ask("a hole", fd, at + 0x2000, 0, 500, 0);
    ask("behind a hole", fd, at + 0x2000, 0x10, 500, 0);
    ask("the next that is shared", fd, at, 0x18, 500, 0);
    ask("the next of a file", fd, at, 0x30, 500, 0);
    ask("this one of a file", fd, at, 0x20, 500, 0);
    ask("unknown flags", fd, at, 0x40, 0, 0);
    ask("another file", smaps, at, 0, 0, 0);
    ask("far away", fd, ~0UL, 0x10, 0, 0);
    char id[20], *found;
    struct query q = {.size = sizeof q, .address = (unsigned long)queries, .flags = 4, .build_id = (unsigned long)id, .build_id_size = 20};
    fact("the program's code", ioctl(fd, 0xc0686611, &q));
    found = memmem((char *)0x400000, 0x1000, "GNU", 4);
    while (found && ((uint32_t *)found)[-1] != 3)
        found = memmem(found + 4, 0x1000, "GNU", 4);
    fact("its build id", q.build_id_size == (found ? 20 : 0) && (!found || !memcmp(id, found + 4, 20)));
    q.size = 8;
    fact("too small", ioctl(fd, 0xc0686611, &q));
    q.size = 5000;
    fact("too large", ioctl(fd, 0xc0686611, &q));
    q = (struct query){.size = 24, .address = at};
    fact("without an answer", ioctl(fd, 0xc0686611, &q));
    q = (struct query){.size = sizeof q, .address = at, .name_size = 10};
    fact("a name without a place", ioctl(fd, 0xc0686611, &q));
    fact("nowhere", ioctl(fd, 0xc0686611, NULL));
    close(fd);
    close(file);
    close(smaps);
    unlink("asked\nfor");
    munmap(W + 0xb000000, 0x10000);
}

static void kinds(const char *folder)
{
    char path[400];
    struct stat st;
    static const char *files[] = {
        "maps", "smaps", "smaps_rollup", "statm", "status", "stat", "mem", "pagemap", "auxv", "cmdline", "environ", "exe", "cwd", "root",
        "fd", "fdinfo", "limits", "mounts", "mountinfo", "cgroup", "comm", "task", "oom_score_adj", "oom_adj", "oom_score", "wchan",
        "personality", "clear_refs", "loginuid", "coredump_filter", "io", "syscall", "stack", "setgroups", "uid_map", "map_files",
        "timerslack_ns", "nothing", "children", "fd/0", "fdinfo/0", "fd/77", "fdinfo/77", "task/1", "maps/x",
    };
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        errno = 0;
        if (lstat(path, &st))
            printf("%s: %s\n", files[i], error());
        else
            printf("%s: %o size %s links %d\n", files[i], st.st_mode, st.st_size == 64 ? "64" : st.st_size ? "some" : "0",
                   S_ISDIR(st.st_mode) ? 0 : (int)st.st_nlink);
        errno = 0;
        DIR *d = opendir(path);
        if (d)
            closedir(d);
        printf("  opendir: %s\n", d ? "yes" : error());
        errno = 0;
    }
}

static void links(void)
{
    char text[500], path[100];
    struct stat here, there;
    int pipes[2], fd;
    pipe(pipes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", pipes[0]);
    fact("a pipe", readlink(path, text, sizeof text) > 6 && !strncmp(text, "pipe:[", 6));
    stat(path, &here);
    fstat(pipes[0], &there);
    fact("the same pipe", here.st_ino == there.st_ino);
    fact("of the name's number", strtoul(text + 6, NULL, 10) == there.st_ino);
    fact("a pipe cannot be a directory", open(path, O_RDONLY | O_DIRECTORY));
    fd = open("linked", O_RDWR | O_CREAT, 0600);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    text[readlink(path, text, sizeof text)] = 0;
    fact("a file", !strncmp(text, where, strlen(where)) && !strcmp(text + strlen(where), "/linked"));
    rename("linked", "moved");
    text[readlink(path, text, sizeof text)] = 0;
    fact("moved", !strcmp(text + strlen(where), "/moved"));
    unlink("moved");
    text[readlink(path, text, sizeof text)] = 0;
    printf("removed: %s\n", text + strlen(where));
    lstat(path, &here);
    printf("mode %o\n", here.st_mode);
    close(fd);
    text[readlink("/proc/self/cwd", text, sizeof text)] = 0;
    fact("cwd", !strcmp(text, where));
    fact("root", readlink("/proc/self/root", text, sizeof text));
    text[readlink("/proc/self/exe", text, sizeof text)] = 0;
    fact("exe", !strcmp(strrchr(text, '/'), strrchr((char *)getauxval(AT_EXECFN), '/')));
    fact("open exe", (fd = open("/proc/self/exe", O_RDONLY)) >= 0);
    fact("which is a program", read(fd, text, 4) == 4 && !memcmp(text, "\177ELF", 4));
    close(fd);
    fact("exe is no directory", open("/proc/self/exe/x", O_RDONLY));
    fact("exe, not followed", open("/proc/self/exe", O_RDONLY | O_NOFOLLOW));
    fact("readlink of a file", readlink("/proc/self/maps", text, sizeof text));
    fact("readlink of nothing", readlink("/proc/self/nothing", text, sizeof text));
    text[readlink("/proc/self", text, sizeof text)] = 0;
    fact("/proc/self is the pid", atoi(text) == getpid());
    text[readlink("/proc/thread-self", text, sizeof text)] = 0;
    snprintf(path, sizeof path, "%d/task/%d", getpid(), getpid());
    fact("/proc/thread-self", !strcmp(text, path));
    text[readlink("/proc/mounts", text, sizeof text)] = 0;
    printf("/proc/mounts: %s\n", text);
    fact("through cwd", (fd = open("/proc/self/cwd/through", O_RDWR | O_CREAT | O_EXCL, 0600)) >= 0);
    close(fd);
    fact("it is there", unlink("through"));
    fact("through root", stat("/proc/self/root/proc/self/maps", &here));
    fd = open(".", O_RDONLY | O_DIRECTORY);
    snprintf(path, sizeof path, "/proc/self/fd/%d/.", fd);
    fact("through a descriptor", stat(path, &here));
    fact("to here", !stat(".", &there) && here.st_ino == there.st_ino);
    close(fd);
    fact("create in /proc/self", open("/proc/self/new", O_CREAT | O_RDWR, 0600));
    fact("create what exists", open("/proc/self/maps", O_CREAT | O_EXCL | O_RDWR, 0600));
    fact("a directory for writing", open("/proc/self/fd", O_RDWR));
    fact("unlink", unlink("/proc/self/comm") ? -1 : 0);
    close(pipes[0]);
    close(pipes[1]);
}

static void settings(void)
{
    char name[20] = "";
    int fd = open("/proc/self/comm", O_RDWR);
    fact("comm", write(fd, "a much too long name", 20));
    prctl(PR_GET_NAME, name);
    printf("is now %s\n", name);
    prctl(PR_SET_NAME, "other");
    slurp("/proc/thread-self/comm", 100);
    printf("and then %s", buffer);
    lseek(fd, 0, SEEK_SET);
    fact("with a newline", write(fd, "x\ny", 3));
    slurp("/proc/self/status", 65536);
    printf("%.*s\n", (int)strcspn(buffer, "\n"), buffer);
    close(fd);
    prctl(PR_SET_NAME, "procfs");
    fd = open("/proc/self/oom_score_adj", O_RDWR);
    fact("oom_score_adj", write(fd, " 300\n", 5));
    slurp("/proc/self/oom_score_adj", 100);
    printf("is now %s", buffer);
    slurp("/proc/self/oom_adj", 100);
    printf("and on the old scale %s", buffer);
    fact("too much", write(fd, "1001", 4));
    fact("no number", write(fd, "x", 1));
    fact("nothing", write(fd, "", 0));
    close(fd);
    fd = open("/proc/self/clear_refs", O_WRONLY);
    fact("clear_refs 1", write(fd, "1", 1));
    fact("clear_refs 4", write(fd, "4\n", 2));
    fact("clear_refs 5", write(fd, "5", 1));
    fact("clear_refs 6", write(fd, "6", 1));
    fact("clear_refs x", write(fd, "x", 1));
    fact("read it", read(fd, name, 1));
    close(fd);
    fact("VmHWM is near VmRSS then", status("VmHWM:") - status("VmRSS:") < 64);
    fd = open("/proc/self/coredump_filter", O_RDWR);
    fact("coredump_filter", write(fd, "0x1f", 4));
    slurp("/proc/self/coredump_filter", 100);
    printf("is now %s", buffer);
    close(fd);
    fd = open("/proc/self/timerslack_ns", O_RDWR);
    fact("timerslack_ns", write(fd, "70000", 5));
    slurp("/proc/self/timerslack_ns", 100);
    printf("is now %s", buffer);
    fact("prctl says", prctl(PR_GET_TIMERSLACK));
    prctl(PR_SET_TIMERSLACK, 60000);
    slurp("/proc/self/timerslack_ns", 100);
    printf("is then %s", buffer);
    close(fd);
    fact("THP_enabled", status("THP_enabled:"));
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    fact("after PR_SET_THP_DISABLE", status("THP_enabled:"));
    prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    fact("NoNewPrivs", status("NoNewPrivs:"));
    umask(027);
    slurp("/proc/self/status", 65536);
    printf("%.12s\n", strstr(buffer, "Umask:"));
}

static void descriptors(void)
{
    char path[100];
    unsigned long position, bits, number, mount;
    struct stat st;
    int fd = open("info", O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND, 0600);
    write(fd, "12345", 5);
    fstat(fd, &st);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    slurp(path, 1000);
    sscanf(buffer, "pos:\t%lu\nflags:\t%lo\nmnt_id:\t%lu\nino:\t%lu\n", &position, &bits, &mount, &number);
    printf("pos %lu cloexec %d append %d accmode %lu ino %s\n", position, !!(bits & O_CLOEXEC), !!(bits & O_APPEND), bits & O_ACCMODE,
           number == st.st_ino ? "ok" : "BAD");
    close(fd);
    unlink("info");
    fd = open("/proc/self/maps", O_RDONLY);
    read(fd, buffer, 10);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    slurp(path, 1000);
    sscanf(buffer, "pos:\t%lu\nflags:\t%lo\nmnt_id:\t%lu\nino:\t%lu\n", &position, &bits, &mount, &number);
    fstat(fd, &st);
    printf("pos %lu ino %s\n", position, number == st.st_ino ? "ok" : "BAD");
    char line[40];
    snprintf(line, sizeof line, "\n%lu ", mount);
    slurp("/proc/self/mountinfo", 65536);
    char *end = strstr(buffer, "/proc rw");
    fact("the mount is in mountinfo", end && (!strncmp(buffer, line + 1, strlen(line) - 1) || strstr(buffer, line)));
    close(fd);
}

static void limits(void)
{
    struct rlimit few = {123456789, 987654321};
    setrlimit(RLIMIT_FSIZE, &few);
    slurp("/proc/self/limits", 65536);
    char *line = strstr(buffer, "Max file size");
    printf("%.*s|\n", (int)strcspn(line, "\n"), line);
    printf("%.*s|\n", (int)strcspn(buffer, "\n"), buffer);
    few.rlim_cur = 1 << 20;
    few.rlim_max = RLIM_INFINITY;
    setrlimit(RLIMIT_STACK, &few);
    slurp("/proc/self/limits", 65536);
    line = strstr(buffer, "Max stack size");
    printf("%.*s|\n", (int)strcspn(line, "\n"), line);
}

static void signals(void)
{
    sigset_t set;
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, (void (*)(int))fact);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGALRM);
    sigaddset(&set, SIGRTMIN + 2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR2);
    kill(getpid(), SIGUSR2);
    raise(SIGALRM);
    for (int i = 0; i < 3; i++)
        kill(getpid(), SIGRTMIN + 2);
    slurp("/proc/self/status", 65536);
    printf("queued %d\n", row(buffer, "SigQ:") >= 5);
    for (char *line = strstr(buffer, "SigPnd"); line && strncmp(line, "CapInh", 6); line = strchr(line, '\n') + 1)
        printf("%.*s\n", (int)strcspn(line, "\n"), line);
}

static void stats(int argc, char **argv)
{
    unsigned long f[60];
    int n = 0;
    slurp("/proc/self/stat", 65536);
    char *at = strrchr(buffer, ')') + 2;
    printf("state %c\n", *at);
    for (at++; *at == ' ' && n < 60;)
        f[n++] = strtoul(at + 1, &at, 10);
    printf("%d fields\n", n + 3);
#define FIELD(number) f[(number) - 4]
    fact("ppid", (pid_t)FIELD(4) == getppid());
    fact("group", (pid_t)FIELD(5) == getpgrp());
    fact("session", (pid_t)FIELD(6) == getsid(0));
    printf("priority %lu nice %lu threads %lu\n", FIELD(18), FIELD(19), FIELD(20));
    fact("size", FIELD(23) % PAGE);
    fact("resident", FIELD(24) > 10);
    extern char etext, edata, end;
    fact("code", FIELD(26) < (unsigned long)stats && FIELD(27) > (unsigned long)stats);
    fact("stack", FIELD(28) < (unsigned long)argv && FIELD(28) > (unsigned long)argv - 64);
    fact("data", FIELD(45) < (unsigned long)&environ && FIELD(46) >= (unsigned long)&edata - 8);
    fact("heap", FIELD(47) <= (unsigned long)sbrk(0) && FIELD(47) >= (unsigned long)&end);
    fact("arguments", FIELD(48) == (unsigned long)argv[0]);
    fact("environment", FIELD(50) == (unsigned long)environ[0] && FIELD(49) == FIELD(50));
    fact("its end", FIELD(51) > FIELD(50));
    printf("exit signal %lu policy %lu exit code %lu\n", FIELD(38), FIELD(41), FIELD(52));
    struct statm now = statm();
    fact("text", now.text == (long)((FIELD(27) + PAGE - 1) / PAGE - FIELD(26) / PAGE));
    printf("lib %ld dirty %ld\n", now.lib, now.dirty);
    long length = slurp("/proc/self/auxv", 65536), pairs = 0;
    unsigned long *vector = (unsigned long *)buffer;
    while (vector[2 * pairs])
        pairs++;
    fact("auxv ends with its end", length == (pairs + 1) * 16);
    fact("auxv has the entry", vector[0] && memmem(buffer, length, (unsigned long[]){AT_PAGESZ, PAGE}, 16) != NULL);
    length = slurp("/proc/self/cmdline", 3);
    printf("cmdline %ld:", length - (long)strlen(argv[0]));
    for (char *p = buffer + strlen(buffer) + 1; p < buffer + length; p += strlen(p) + 1)
        printf(" [%s]", p);
    printf("\n");
    length = slurp("/proc/self/environ", 65536);
    fact("environ", length == (long)(FIELD(51) - FIELD(50)) && !memcmp(buffer, environ[0], length));
    memset(argv[0], 'T', FIELD(49) - FIELD(48));
    length = slurp("/proc/self/cmdline", 65536);
    fact("a title goes on into the environment", length == (long)strlen(argv[0]) + 1 && buffer[length - 1] == 0);
    argv[0][5] = 0;
    ((char *)FIELD(49))[-1] = 0;
    length = slurp("/proc/self/cmdline", 65536);
    fact("a shorter one does not", length == (long)(FIELD(49) - FIELD(48)));
}

static void regions(void)
{
    int heaps = 0, stacks = 0;
    sbrk(3 * PAGE);
    slurp("/proc/self/maps", 65536);
    unsigned long here = (unsigned long)&heaps, top = (unsigned long)sbrk(0) - 1;
    for (char *line = strtok(buffer, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned long start = strtoul(line, &line, 16), end = strtoul(line + 1, &line, 16);
        if (strstr(line, "[heap]") && start <= top && top < end)
            heaps++;
        if (strstr(line, "[stack]") && start <= here && here < end)
            stacks++;
    }
    printf("[heap] %d [stack] %d\n", heaps, stacks);
}

static void system_files(void)
{
    cpu_set_t set;
    int processors = 0;
    long size;
    slurp("/proc/cpuinfo", 65536);
    for (char *p = buffer; (p = strstr(p, "processor\t: ")); p++)
        processors++;
    sched_getaffinity(0, sizeof set, &set);
    fact("processors are those of the affinity", processors == CPU_COUNT(&set));
    slurp("/proc/meminfo", 65536);
    fact("MemTotal", row(buffer, "MemTotal:") == (unsigned long)sysconf(_SC_PHYS_PAGES) * (PAGE / 1024));
    fact("MemAvailable", row(buffer, "MemAvailable:") > 0);
    printf("Hugepagesize %lu\n", row(buffer, "Hugepagesize:"));
    static const char *same[] = {
        "/proc/sys/vm/overcommit_memory", "/proc/sys/vm/overcommit_ratio", "/proc/sys/vm/overcommit_kbytes", "/proc/sys/vm/max_map_count",
        "/proc/sys/vm/nr_hugepages", "/proc/sys/vm/legacy_va_layout", "/proc/sys/kernel/pid_max", "/proc/sys/kernel/osrelease",
        "/proc/sys/kernel/ostype", "/proc/sys/kernel/ngroups_max", "/proc/sys/kernel/cap_last_cap", "/proc/sys/kernel/shmmax",
        "/proc/sys/fs/nr_open", "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size",
    };
    for (unsigned i = 0; i < sizeof same / sizeof *same; i++) {
        if ((size = slurp(same[i], 65536)) < 0)
            fact(same[i], -1);
        else
            printf("%s: %s", same[i], buffer);
    }
    fact("enabled", slurp("/sys/kernel/mm/transparent_hugepage/enabled", 100) > 0 && strchr(buffer, '['));
    fact("uuid", slurp("/proc/sys/kernel/random/uuid", 100));
    fact("boot_id", slurp("/proc/sys/kernel/random/boot_id", 100));
    fact("not there", slurp("/proc/sys/vm/nothing", 100));
}

int main(int argc, char **argv)
{
    static char out[1 << 16];
    char folder[60];
    memset(buffer, 1, sizeof buffer);
    memset(out, 1, sizeof out);
    setvbuf(stdout, out, _IOFBF, sizeof out);
    getcwd(where, sizeof where);
    dup2(open("/dev/null", O_RDONLY), 0);
    close(3);
    names();
    figures();
    peaks();
    flags();
    of_files();
    memory();
    code();
    pagemaps();
    scans();
    reading();
    queries();
    kinds("/proc/self");
    snprintf(folder, sizeof folder, "/proc/%d/task/%d", getpid(), getpid());
    kinds(folder);
    links();
    settings();
    descriptors();
    regions();
    signals();
    stats(argc, argv);
    limits();
    system_files();
    static const char *shapes[] = {"statm", "stat", "limits", "cgroup", "comm", "wchan", "personality", "uid_map", "setgroups", "loginuid",
                                   "oom_score", "oom_score_adj", "coredump_filter", "smaps_rollup", "timers", "io"};
    for (unsigned i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        snprintf(folder, sizeof folder, "/proc/self/%s", shapes[i]);
        if (!strcmp(shapes[i], "cgroup"))
            continue;
        shape(folder);
    }
    shape("/proc/self/status");
    fflush(stdout);
    return 0;
}
