/* Random memory system calls on the kernel that runs, and the areas they leave, as JSON lines (see README.md).
 *
 *     record SEED COUNT FILE [FAR]     FILE: a file to make on a disk; FAR: fill the map with so many areas above the windows first
 *
 * No C library: nothing but this file maps memory. Address randomisation is off. The calls are made in two windows, in the
 * heap, and where the kernel puts them; areas of the recorder itself are part of the map and are left alone. */
typedef unsigned long u64;
typedef long i64;

#define PAGE 4096UL
#define WINDOW 0x100000000000UL
#define WINDOW_PAGES 48
#define STACKS 0x100010000000UL
#define STACKS_PAGES 1400
#define TASK_SIZE 0x7ffffffff000UL
#define FAR_STACK (1UL << 30) /* RLIMIT_STACK that makes room for the far areas */
#define INF (~0UL)

enum {
    SYS_read = 0, SYS_write = 1, SYS_open = 2, SYS_mmap = 9, SYS_mprotect = 10, SYS_munmap = 11, SYS_brk = 12, SYS_pread = 17,
    SYS_pwrite = 18, SYS_mremap = 25, SYS_msync = 26, SYS_madvise = 28, SYS_pipe = 22, SYS_execve = 59, SYS_exit = 60,
    SYS_fcntl = 72, SYS_ftruncate = 77, SYS_unlink = 87, SYS_capset = 126, SYS_personality = 135, SYS_mlock = 149,
    SYS_munlock = 150, SYS_mlockall = 151, SYS_munlockall = 152, SYS_prctl = 157, SYS_uname = 63, SYS_close = 3,
    SYS_remap_file_pages = 216, SYS_dup3 = 292, SYS_prlimit = 302, SYS_memfd_create = 319, SYS_mlock2 = 325, SYS_pkey_alloc = 330, SYS_mseal = 462,
};
enum { R_DATA = 2, R_STACK = 3, R_MEMLOCK = 8, R_AS = 9 };

static i64 call(i64 n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    i64 r;
    register u64 r10 __asm__("r10") = d;
    register u64 r8 __asm__("r8") = e;
    register u64 r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return r;
}
#define S1(n, a) call(n, (u64)(a), 0, 0, 0, 0, 0)
#define S2(n, a, b) call(n, (u64)(a), (u64)(b), 0, 0, 0, 0)
#define S3(n, a, b, c) call(n, (u64)(a), (u64)(b), (u64)(c), 0, 0, 0)
#define S4(n, a, b, c, d) call(n, (u64)(a), (u64)(b), (u64)(c), (u64)(d), 0, 0)

/* -- text ----------------------------------------------------------------------------------------------------------------- */

static char out[1 << 20];
static u64 used;

static void flush(void)
{
    for (u64 done = 0; done < used;) {
        i64 n = S3(SYS_write, 1, out + done, used - done);
        if (n <= 0)
            S1(SYS_exit, 3);
        done += n;
    }
    used = 0;
}
static void text(const char *s)
{
    while (*s)
        out[used++] = *s++;
}
static void number(u64 v, u64 base)
{
    char digits[24];
    int n = 0;
    do
        digits[n++] = "0123456789abcdef"[v % base];
    while (v /= base);
    while (n)
        out[used++] = digits[--n];
}
static void hex(u64 v) { number(v, 16); }
static void decimal(i64 v)
{
    if (v < 0)
        text("-");
    number(v < 0 ? -(u64)v : (u64)v, 10);
}
static void die(const char *why)
{
    flush();
    text(why);
    text("\n");
    S3(SYS_write, 2, out, used);
    S1(SYS_exit, 2);
}

/* -- chance --------------------------------------------------------------------------------------------------------------- */

static u64 state;
static u64 next(void)
{
    u64 z = (state += 0x9e3779b97f4a7c15UL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
    return z ^ (z >> 31);
}
static u64 below(u64 n) { return next() % n; }
static int chance(u64 percent) { return below(100) < percent; }
#define PICK(list) (list)[below(sizeof(list) / sizeof((list)[0]))]

/* -- the map ----------------------------------------------------------------------------------------------------------------- */

struct area {
    u64 start, end, offset, inode;
    char rights[5], flags[80];
};
#define MOST 600
static struct area maps[2][MOST];
static int count[2], now, own;
static struct area mine[40];
static char smaps[1 << 20];
static int smaps_fd;

static u64 scan(char **p, u64 base)
{
    u64 v = 0;
    for (;; ++*p) {
        char c = **p;
        u64 d = c >= '0' && c <= '9' ? (u64)(c - '0') : c >= 'a' && c <= 'f' ? (u64)(c - 'a' + 10) : 99;
        if (d >= base)
            return v;
        v = v * base + d;
    }
}
static void blanks(char **p)
{
    while (**p == ' ')
        ++*p;
}
static int same(const struct area *a, const struct area *b)
{
    const char *x = (const char *)a, *y = (const char *)b;
    for (u64 n = 0; n < sizeof *a; n++)
        if (x[n] != y[n])
            return 0;
    return 1;
}

static u64 mmap_base;
static struct area stack_area;

/* Read the areas into maps[now]; those of the far place, from mmap_base up to the stack, are passed over. */
static void look(int far)
{
    u64 size = 0;
    i64 n;
    smaps_fd = S2(SYS_open, "/proc/self/smaps", 0);
    while ((n = S3(SYS_read, smaps_fd, smaps + size, sizeof smaps - 1 - size)) > 0) {
        size += n;
        if (far && size > sizeof smaps / 2)
            break;
    }
    S1(SYS_close, smaps_fd);
    if (size >= sizeof smaps - 1)
        die("too many areas");
    smaps[size] = 0;
    struct area *list = maps[now], *a = 0;
    count[now] = 0;
    for (char *p = smaps; *p;) {
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f')) {
            u64 start = scan(&p, 16);
            if ((far && start >= mmap_base) || start >> 63)
                break;
            if (count[now] >= MOST)
                die("too many areas");
            a = &list[count[now]++];
            for (u64 k = 0; k < sizeof *a; k++)
                ((char *)a)[k] = 0;
            a->start = start;
            p++;
            a->end = scan(&p, 16);
            p++;
            for (int k = 0; k < 4; k++)
                a->rights[k] = *p++;
            p++;
            a->offset = scan(&p, 16);
            p++;
            scan(&p, 16), p++, scan(&p, 16), p++;
            a->inode = scan(&p, 10);
        } else if (a && p[0] == 'V' && p[1] == 'm' && p[2] == 'F') {
            p += 8;
            for (int k = 0; *p && *p != '\n';) {
                blanks(&p);
                if (*p == '\n' || !*p)
                    break;
                if (!((p[0] == 'r' && p[1] == 'd') || (p[0] == 'w' && p[1] == 'r') || (p[0] == 'e' && p[1] == 'x'))) {
                    a->flags[k++] = p[0];
                    a->flags[k++] = p[1];
                }
                p += 2;
            }
        }
        while (*p && *p != '\n')
            p++;
        if (*p)
            p++;
    }
    if (far)
        maps[now][count[now]++] = stack_area;
}

static void show(const struct area *a)
{
    text("\"");
    hex(a->start), text("-"), hex(a->end), text(" "), text(a->rights), text(" "), hex(a->offset), text(" ");
    number(a->inode, 10), text(" "), text(a->flags), text("\"");
}

/* What differs between the last map and this one: starts of areas that went, and areas that came. */
static void difference(int far)
{
    struct area *old = maps[now];
    int n = count[now], i = 0, j = 0, comma = 0;
    now ^= 1;
    look(far);
    struct area *new = maps[now];
    int m = count[now];
    text(",\"-\":[");
    while (i < n) {
        while (j < m && new[j].start < old[i].start)
            j++;
        if (j == m || !same(&new[j], &old[i])) {
            text(comma++ ? ",\"" : "\""), hex(old[i].start), text("\"");
        }
        i++;
    }
    text("],\"+\":[");
    i = j = comma = 0;
    while (j < m) {
        while (i < n && old[i].start < new[j].start)
            i++;
        if (i == n || !same(&new[j], &old[i])) {
            text(comma++ ? "," : "");
            show(&new[j]);
        }
        j++;
    }
    text("]");
}

/* -- calls ------------------------------------------------------------------------------------------------------------------- */

static int far_count;
static i64 result;

static void report(const char *name, int args, const u64 *a, int hexadecimal)
{
    text("{\"c\":\""), text(name), text("\",\"a\":[");
    for (int n = 0; n < args; n++) {
        text(n ? ",\"" : "\""), hex(a[n]), text("\"");
    }
    text("],\"r\":");
    if (result < 0 || !hexadecimal)
        decimal(result);
    else
        text("\""), hex(result), text("\"");
    difference(far_count);
    text("}\n");
    if (used > sizeof out / 2)
        flush();
}
static void make(const char *name, i64 number_, int args, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    u64 list[6] = {a, b, c, d, e, f};
    result = call(number_, a, b, c, d, e, f);
    report(name, args, list, 1);
}

/* A first access by the CPU's kernel half: read(2) from /dev/zero writes, pwrite(2) to a file reads. -EFAULT as in a copy. */
static int zero_fd, scratch_fd;
static void touch(u64 addr, int write)
{
    u64 list[2] = {addr, write};
    result = write ? S3(SYS_read, zero_fd, addr, 1) : S4(SYS_pwrite, scratch_fd, addr, 1, 0);
    report("touch", 2, list, 0);
}

static u64 hard[16];
static void limit(int which, u64 value)
{
    u64 pair[2] = {value < hard[which] ? value : hard[which], hard[which]}, list[2] = {which, pair[0]};
    result = S4(SYS_prlimit, 0, which, pair, 0);
    report("rlimit", 2, list, 0);
}

/* -- choices ----------------------------------------------------------------------------------------------------------------- */

static u64 start_brk;
static u64 weight_stack, weight_else, weight_heap, may_seal;

static int is_mine(const struct area *a)
{
    for (int n = 0; n < own; n++)
        if (a->start < mine[n].end && a->end > mine[n].start)
            return 1;
    return 0;
}
static const struct area *some_area(void)
{
    for (int tries = 0; tries < 30 && count[now]; tries++) {
        const struct area *a = &maps[now][below(count[now])];
        if (!is_mine(a))
            return a;
    }
    return 0;
}
static u64 spread(void)
{
    u64 p = below(STACKS_PAGES);
    return chance(60) ? p & ~63UL : chance(50) ? p & ~3UL : p;
}
static u64 place(void)
{
    u64 a, w = below(100);
    if (w < weight_heap)
        a = start_brk + below(12) * PAGE;
    else if (w < weight_heap + weight_stack)
        a = STACKS + spread() * PAGE;
    else if (w < weight_heap + weight_stack + weight_else || chance(45)) {
        const struct area *area = some_area();
        a = !area ? WINDOW : chance(55) ? area->start : chance(50) ? area->end : area->start + below((area->end - area->start) / PAGE) * PAGE;
        if (area && chance(12) && area->start > WINDOW + 4 * PAGE)
            a -= PAGE * (1 + below(3));
    } else
        a = WINDOW + below(WINDOW_PAGES) * PAGE;
    return a;
}
static u64 odd(u64 a) { return chance(2) ? a + 1 + below(PAGE - 1) : a; }
static int harmless(u64 a, u64 length)
{
    for (int n = 0; n < own; n++)
        if (a < mine[n].end && a + length + PAGE > mine[n].start)
            return 0;
    return 1;
}
static u64 pages(void)
{
    static const u64 strange[] = {0, 1, PAGE + 1, 5 * PAGE - 1, 1UL << 47, 1UL << 63, INF, INF - PAGE + 1, INF - 3 * PAGE, 3UL << 30};
    if (chance(3))
        return PICK(strange);
    if (chance(5))
        return (6 + below(30)) * PAGE;
    return (1 + below(chance(60) ? 3 : 7)) * PAGE;
}
/* From an address to the end of the area there, or to somewhere else. */
static u64 reach(u64 a)
{
    if (chance(40))
        for (int n = 0; n < count[now]; n++)
            if (maps[now][n].start <= a && a < maps[now][n].end)
                return maps[now][n].end - (a & ~(PAGE - 1));
    return pages();
}

#define FIRST_FD 10
static int files;

static void do_mmap(void)
{
    static const u64 rights[] = {3, 3, 3, 3, 1, 1, 0, 7, 5, 2, 4, 6};
    static const u64 extra[] = {0x4000, 0x4000, 0x2000, 0x8000, 0x100, 0x100, 0x20000, 0x10000, 0x40, 0x80, 0x40000, 0x80000, 0x800, 0x1000};
    u64 a = odd(place()), length = pages(), flags, prot = PICK(rights), fd = INF, offset = 0;
    flags = chance(75) ? 2 : chance(80) ? 1 : chance(50) ? 3 : chance(70) ? 8 : below(16);
    if (chance(65))
        flags |= 0x10;
    else if (chance(40))
        flags |= 0x100000;
    else if (chance(30))
        a = chance(70) ? 0 : PICK(((u64[]){PAGE, 0x10000, 0x7ffffffff000, 0x800000000000, INF - PAGE + 1, 0x7fff8000, 1}));
    while (chance(22))
        flags |= PICK(extra);
    if (chance(3))
        flags |= 1UL << (20 + below(12));
    if (flags & 0x40000) /* there are no huge pages, which only this tells */
        flags &= ~0x4000UL;
    if (chance(68))
        flags |= 0x20;
    else {
        fd = chance(2) ? 60 : FIRST_FD + below(files);
        offset = chance(70) ? below(6) * PAGE : chance(80) ? below(40) * PAGE : chance(50) ? INF - PAGE * below(9) : below(9999);
        if (chance(50)) /* so that neighbours continue each other */
            offset = (a & ~(PAGE - 1)) >= WINDOW ? ((a - WINDOW) & 0xffff000) : 0;
    }
    if (chance(4) && !(flags & 0x110100))
        length = (2UL << 20) * (1 + below(3)) + (chance(50) ? 0 : PAGE * below(4));
    if (chance(2))
        prot |= 1UL << (3 + below(24));
    if ((flags & 0x100010) && PAGE <= a && a < 0x10000)
        return; /* what happens there is a matter of configuration */
    if ((flags & 0x10) && !(flags & 0x100000) && !harmless(a, length > (1UL << 40) ? 0 : length))
        return;
    make("mmap", SYS_mmap, 6, a, length, prot, flags, fd, offset);
}
static void do_munmap(void)
{
    u64 a = odd(place()), length = reach(a);
    if (length < 1UL << 40 && harmless(a, length))
        make("munmap", SYS_munmap, 2, a, length, 0, 0, 0, 0);
}
static void do_mprotect(void)
{
    static const u64 rights[] = {0, 1, 1, 1, 3, 3, 3, 3, 5, 7, 2, 4, 6};
    u64 a = odd(place()), length = reach(a), prot = PICK(rights);
    if (chance(8))
        prot |= chance(80) ? 0x01000000 : chance(50) ? 0x02000000 : 1UL << (3 + below(24));
    if (harmless(a, length))
        make("mprotect", SYS_mprotect, 3, a, length, prot, 0, 0, 0);
}
static void do_mremap(void)
{
    u64 a = odd(place()), old = reach(a), new = chance(40) ? old : pages(), flags = chance(92) ? below(8) : below(16), to = 0;
    if (chance(8))
        old = 0;
    if (flags & 6) {
        flags |= chance(92);
        to = odd(place());
        if (chance(70))
            new = old;
    } else if (chance(30))
        to = place();
    if (flags & 4 && !(flags & 2) && chance(30))
        to = 0;
    if (old > 1UL << 40 || !harmless(a, old) || (flags & 2 && !harmless(to, new > 1UL << 40 ? 0 : new)))
        return;
    make("mremap", SYS_mremap, 5, a, old, new, flags, to, 0);
}
static void do_flag_advice(void)
{
    static const u64 advice[] = {0, 1, 2, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 1, 2, 10, 16};
    u64 a = odd(place()), length = reach(a);
    if (harmless(a, length))
        make("madvise", SYS_madvise, 3, a, length, PICK(advice), 0, 0, 0);
}
static void do_advice(void)
{
    static const u64 advice[] = {3, 4, 4, 5, 7, 8, 9, 20, 21, 22, 23, 23, 23, 24, 25, 26, 104, 102, 102, 103, 103};
    u64 a = odd(place()), length = reach(a), which = PICK(advice);
    if (which == 25 && length >= 2UL << 20)
        length = PAGE; /* whether a large page is made depends on its contents */
    if ((which == 22 || which == 23) && length > 1UL << 22)
        length = PAGE;
    if (harmless(a, length))
        make("madvise", SYS_madvise, 3, a, length, which, 0, 0, 0);
}
static void do_lock(void)
{
    u64 a = odd(place()), length = reach(a);
    if (!harmless(a, length))
        return;
    if (chance(40))
        make("munlock", SYS_munlock, 2, a, length, 0, 0, 0, 0);
    else if (chance(50))
        make("mlock", SYS_mlock, 2, a, length, 0, 0, 0, 0);
    else
        make("mlock2", SYS_mlock2, 3, a, length, chance(90) ? below(2) : below(6), 0, 0, 0);
}
static void do_lock_all(void)
{
    if (chance(45))
        make("munlockall", SYS_munlockall, 0, 0, 0, 0, 0, 0, 0);
    else
        make("mlockall", SYS_mlockall, 1, chance(95) ? below(8) : below(64), 0, 0, 0, 0, 0);
}
static void do_touch(void)
{
    u64 a = place();
    if (chance(25)) /* below an area that may grow */
        for (int n = 0; n < 40; n++) {
            const struct area *area = some_area();
            if (area && area->flags[0] && area->start > STACKS) {
                a = area->start - PAGE * (1 + below(chance(70) ? 20 : 300));
                break;
            }
        }
    if (harmless(a, 1))
        touch(a + below(PAGE), chance(75));
}
static void do_limit(void)
{
    static const int which[] = {R_AS, R_DATA, R_MEMLOCK, R_STACK};
    int w = PICK(which);
    u64 total = 0, data = 0, locked = 0;
    if (chance(35)) {
        limit(w, w == R_STACK ? 8UL << 20 : INF);
        return;
    }
    for (int n = 0; n < count[now]; n++) {
        struct area *a = &maps[now][n];
        u64 size = a->end - a->start;
        total += size;
        int shared = 0, grows = 0, lock = 0;
        for (char *p = a->flags; *p; p += 2) {
            shared |= p[0] == 's' && p[1] == 'h';
            grows |= p[0] == 'g' && p[1] == 'd';
            lock |= p[0] == 'l' && p[1] == 'o';
        }
        if (a->rights[1] == 'w' && !shared && !grows)
            data += size;
        locked += lock ? size : 0;
    }
    u64 base = w == R_AS ? total : w == R_DATA ? data : w == R_MEMLOCK ? locked : 0;
    u64 value = base + below(w == R_STACK ? 60 : 16) * PAGE + (chance(30) ? below(PAGE) : 0);
    limit(w, chance(8) ? 0 : value);
}
static void do_brk(void)
{
    u64 a = start_brk + below(14) * PAGE + (chance(40) ? below(PAGE) : 0);
    if (chance(6))
        a = PICK(((u64[]){0, start_brk - 1, 1UL << 40, WINDOW, INF, 0x7ffffffff000}));
    make("brk", SYS_brk, 1, a, 0, 0, 0, 0, 0);
}
static void do_msync(void)
{
    u64 a = odd(place()), length = reach(a);
    make("msync", SYS_msync, 3, a, length, chance(90) ? below(8) : below(32), 0, 0, 0);
}
static void do_remap_file_pages(void)
{
    u64 a = odd(place()), length = reach(a);
    for (int tries = 0; tries < 20; tries++) {
        const struct area *area = some_area();
        if (area && area->rights[3] == 's') {
            a = area->start + below((area->end - area->start) / PAGE) * PAGE;
            break;
        }
    }
    if (length < 1UL << 40 && harmless(a, length))
        make("remap_file_pages", SYS_remap_file_pages, 5, a, length, chance(90) ? 0 : 3, chance(95) ? below(8) : INF, chance(80) ? 0 : 0x10000, 0);
}
static void do_seal(void)
{
    u64 a = odd(place()), length = (1 + below(3)) * PAGE;
    if (harmless(a, length))
        make("mseal", SYS_mseal, 3, a, chance(95) ? length : pages(), chance(95) ? 0 : below(4), 0, 0, 0);
}

static void (*const actions[])(void) = {do_mmap, do_munmap, do_mprotect, do_mremap, do_flag_advice, do_advice, do_lock,
                                        do_lock_all, do_touch, do_limit, do_brk, do_msync, do_remap_file_pages, do_seal};
#define ACTIONS (int)(sizeof actions / sizeof actions[0])
static const u64 usual[ACTIONS] = {240, 60, 130, 130, 80, 80, 60, 8, 200, 20, 25, 8, 12, 3};

/* -- files ------------------------------------------------------------------------------------------------------------------- */

static void file_row(const char *kind, int fd, u64 size, int mode, int sealed)
{
    int target = FIRST_FD + files++;
    S3(SYS_dup3, fd, target, 0);
    text(files > 1 ? ",{" : "{");
    text("\"fd\":"), decimal(target), text(",\"kind\":\""), text(kind), text("\",\"size\":"), decimal(size), text(",\"mode\":"), decimal(mode);
    text(",\"sealed\":"), decimal(sealed), text("}");
}
static int memory_file(u64 size)
{
    int fd = S2(SYS_memfd_create, "file", 2);
    S2(SYS_ftruncate, fd, size);
    return fd;
}
static int again(int fd, int mode)
{
    static char path[] = "/proc/self/fd/xxx";
    path[14] = '0' + fd / 100, path[15] = '0' + fd / 10 % 10, path[16] = '0' + fd % 10;
    if (fd < 100) {
        path[14] = '0' + fd / 10, path[15] = '0' + fd % 10, path[16] = 0;
    }
    if (fd < 10)
        path[14] = '0' + fd, path[15] = 0;
    return S2(SYS_open, path, mode);
}
static void open_files(char *name)
{
    text(",\"files\":[");
    int a = memory_file(10 * PAGE), b = memory_file(3 * PAGE + 100), s = memory_file(8 * PAGE), f = memory_file(8 * PAGE);
    file_row("memfd", a, 10 * PAGE, 2, 0);
    file_row("memfd", again(a, 0), 10 * PAGE, 0, 0);
    file_row("memfd", b, 3 * PAGE + 100, 2, 0);
    file_row("memfd", again(b, 1), 3 * PAGE + 100, 1, 0);
    S3(SYS_fcntl, s, 1033, 8); /* F_SEAL_WRITE */
    file_row("memfd", s, 8 * PAGE, 2, 1);
    S3(SYS_fcntl, f, 1033, 16); /* F_SEAL_FUTURE_WRITE */
    file_row("memfd", f, 8 * PAGE, 2, 1);
    int d = S3(SYS_open, name, 0102, 0600);
    if (d < 0)
        die("cannot make the file");
    S2(SYS_ftruncate, d, 12 * PAGE);
    file_row("disk", d, 12 * PAGE, 2, 0);
    file_row("disk", again(d, 0), 12 * PAGE, 0, 0);
    S1(SYS_unlink, name);
    file_row("zero", S2(SYS_open, "/dev/zero", 2), 0, 2, 0);
    file_row("none", S2(SYS_open, "/proc/self", 0), 0, 0, 0);
    zero_fd = S2(SYS_open, "/dev/zero", 0);
    scratch_fd = memory_file(PAGE);
    text("]");
}

/* -- main -------------------------------------------------------------------------------------------------------------------- */

static u64 from_stat(int field)
{
    static char buffer[2048];
    int fd = S2(SYS_open, "/proc/self/stat", 0);
    i64 n = S3(SYS_read, fd, buffer, sizeof buffer - 1);
    S1(SYS_close, fd);
    char *p = buffer;
    for (char *q = buffer; q < buffer + n; q++)
        if (*q == ')')
            p = q + 2;
    for (int k = 3; k < field; k++) {
        while (*p != ' ')
            p++;
        p++;
    }
    return scan(&p, 10);
}
static u64 total_memory(void)
{
    static char buffer[4096];
    int fd = S2(SYS_open, "/proc/meminfo", 0);
    i64 n = S3(SYS_read, fd, buffer, sizeof buffer - 1);
    S1(SYS_close, fd);
    u64 sum = 0;
    for (char *p = buffer; p < buffer + n; p++)
        if ((p[0] == 'M' && p[3] == 'T' && p[4] == 'o') || (p[0] == 'S' && p[4] == 'T' && p[5] == 'o')) {
            while (*p != ':')
                p++;
            p++, blanks(&p);
            sum += scan(&p, 10) * 1024;
        }
    return sum;
}
static void fill(int number_)
{
    for (int n = 0; n < number_; n++) {
        u64 a = mmap_base + PAGE * n;
        if (call(SYS_mmap, a, PAGE, n % 2, 0x100022, INF, 0) != (i64)a)
            die("cannot fill the map");
    }
}
static void header(u64 seed, char *name)
{
    static char names[390];
    S1(SYS_uname, names);
    text("{\"kernel\":\""), text(names + 130), text("\",\"seed\":"), decimal(seed);
    text(",\"far\":"), decimal(far_count), text(",\"commit\":"), decimal(total_memory());
    start_brk = from_stat(47);
    text(",\"start_brk\":\""), hex(start_brk), text("\",\"data\":"), decimal(from_stat(46) - from_stat(45));
    text(",\"mmap_base\":\""), hex(mmap_base), text("\"");
    text(",\"mdwe\":"), decimal(seed % 16 == 5);
    open_files(name);
    text(",\"map\":[");
    look(far_count);
    for (int n = 0; n < count[now]; n++) {
        text(n ? "," : "");
        show(&maps[now][n]);
        mine[own++] = maps[now][n];
    }
    text("]}\n");
    flush();
}
/* No capabilities, the usual limits, and no protection keys: those that are taken cannot make execute-only memory. */
static void drop_rights(void)
{
    static const int which[] = {R_AS, R_DATA, R_MEMLOCK, R_STACK};
    for (int n = 0; n < 4; n++) {
        u64 pair[2];
        S4(SYS_prlimit, 0, which[n], 0, pair);
        hard[which[n]] = pair[1];
        u64 usual = which[n] == R_AS || which[n] == R_DATA ? INF : 8UL << 20;
        pair[0] = usual < pair[1] ? usual : pair[1];
        if (S4(SYS_prlimit, 0, which[n], pair, 0))
            die("cannot set the limits");
    }
    static unsigned head[2] = {0x20080522, 0}, none[6];
    if (S2(SYS_capset, head, none))
        die("cannot drop the capabilities");
    while (S2(SYS_pkey_alloc, 0, 0) > 0)
        ;
}

void start(u64 *stack);
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call start\n");

void start(u64 *stack)
{
    char **argv = (char **)(stack + 1);
    if (stack[0] < 4)
        die("usage: record SEED COUNT FILE [FAR]");
    if (stack[0] > 4) {
        char *q = argv[4];
        far_count = scan(&q, 10);
    }
    if (!(S1(SYS_personality, 0xffffffff) & 0x40000)) {
        static char *no_environment[1];
        u64 room[2];
        S4(SYS_prlimit, 0, R_STACK, 0, room);
        room[0] = far_count ? FAR_STACK : 8UL << 20;
        if (S4(SYS_prlimit, 0, R_STACK, room, 0))
            die("cannot set the limit of the stack");
        S1(SYS_personality, 0x40000);
        S3(SYS_execve, "/proc/self/exe", argv, no_environment);
        die("cannot start again");
    }
    char *p = argv[1];
    u64 seed = scan(&p, 10);
    p = argv[2];
    u64 steps = scan(&p, 10);
    look(0);
    stack_area = maps[now][count[now] - 1];
    u64 limit_[2], gap;
    S4(SYS_prlimit, 0, R_STACK, 0, limit_);
    gap = limit_[0] + 256 * PAGE;
    mmap_base = TASK_SIZE - (gap < 128UL << 20 ? 128UL << 20 : gap);
    drop_rights();
    fill(far_count);
    header(seed, argv[3]);
    if (seed % 16 == 5)
        call(SYS_prctl, 65, 1, 0, 0, 0, 0); /* PR_SET_MDWE */
    state = seed;
    u64 weights[ACTIONS], sum = 0;
    for (int n = 0; n < ACTIONS; n++) {
        static const u64 factor[] = {1, 2, 2, 2, 3, 6};
        weights[n] = usual[n] * PICK(factor);
        sum += weights[n];
    }
    weight_stack = chance(40) ? 25 : 4;
    weight_else = chance(30) ? 15 : 2;
    weight_heap = chance(30) ? 12 : 2;
    may_seal = chance(30);
    for (u64 n = 0; n < steps; n++) {
        u64 w = below(sum);
        int k = 0;
        while (w >= weights[k])
            w -= weights[k++];
        if (actions[k] == do_seal && (!may_seal || n < steps / 2))
            continue;
        if (far_count && (actions[k] == do_lock_all || actions[k] == do_limit))
            continue;
        actions[k]();
    }
    flush();
    S1(SYS_exit, 0);
}
