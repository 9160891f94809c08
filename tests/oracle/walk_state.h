/* What a program can see of its memory, as text: which mappings lie in the windows (/proc/self/maps), their flags and pages (smaps,
   mincore), what is in them, and the totals. Only what two runs of one kernel agree about is printed. */
#ifndef WALK_STATE_H
#define WALK_STATE_H
#include "walk_text.h"
#include "walk_random.h"

/* A part of the address space that the walk works in; positions in it are told as letter and page number. */
struct window { char letter; word base, pages; };
static struct window windows[4];
static int window_count;

static const struct window *window_of(word at)
{
    for (int i = 0; i < window_count; i++)
        if (at - windows[i].base < windows[i].pages * PAGE)
            return &windows[i];
    return 0;
}

static void say_place(word at)
{
    const struct window *window = window_of(at);
    if (!window && (window = window_of(at - 1)) == 0) {
        say(at ? "elsewhere" : "0");
        return;
    }
    say_char(window->letter);
    say_number((long)((at - window->base) / PAGE));
    if (at % PAGE) {
        say("+0x");
        say_hex(at % PAGE);
    }
}

/* One mapping of a window, as /proc shows it. */
struct area { word start, end, offset; char rights[5], name[20]; };
static struct area areas[600];
static int area_count;

/* -- reading /proc ------------------------------------------------------------------------------------------------------- */

static struct { long fd; word used, next; char data[16384]; } reader;

static int next_char(void)
{
    if (reader.next == reader.used) {
        long n = S3(SYS_read, reader.fd, reader.data, sizeof reader.data);
        if (n <= 0)
            return -1;
        reader.used = (word)n;
        reader.next = 0;
    }
    return (byte)reader.data[reader.next++];
}

/* Opens a file of /proc/self; says so when that is impossible. */
static int read_proc(const char *path)
{
    reader.fd = sys(SYS_openat, AT_FDCWD, (long)path, O_RDONLY, 0, 0, 0);
    reader.used = reader.next = 0;
    if (!failed(reader.fd))
        return 1;
    say(" unreadable: ");
    say(path);
    say_result(reader.fd);
    return 0;
}

static int next_line(char *line, word size)
{
    word n = 0;
    int c;
    while ((c = next_char()) >= 0 && c != '\n')
        if (n + 1 < size)
            line[n++] = (char)c;
    line[n] = 0;
    return c >= 0;
}

static word hex_number(const char **text)
{
    word v = 0;
    for (;; ++*text) {
        char c = **text;
        if (c >= '0' && c <= '9')
            v = v * 16 + (word)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v * 16 + (word)(c - 'a' + 10);
        else
            return v;
    }
}

/* The class of what is mapped: the end of the path, and a star for what has no name in the file system any more. */
static void short_name(char *to, const char *path)
{
    const char *from = path;
    for (const char *p = path; *p && *p != ' '; p++)
        if (*p == '/' || *p == ':' || *p == '-')
            from = p + 1;
    word n = 0;
    while (*from && *from != ' ' && n < 17)
        to[n++] = *from++;
    if (*from == ' ')
        to[n++] = '*';
    to[n] = 0;
}

/* Whether the line begins a mapping; if it lies in a window it becomes the last of `areas`, cut to the window. */
static int area_line(const char *line)
{
    const char *p = line;
    struct area *area = &areas[area_count];
    area->start = hex_number(&p);
    if (p == line || *p != '-')
        return 0;
    p++;
    area->end = hex_number(&p);
    const struct window *window = window_of(area->start);
    if (!window && (window = window_of(area->end - 1)) != 0)
        area->start = window->base;
    if (!window || area_count + 1 == sizeof areas / sizeof *areas)
        return 1;
    if (area->end > window->base + window->pages * PAGE)
        area->end = window->base + window->pages * PAGE;
    for (int i = 0; i < 4; i++)
        area->rights[i] = *++p;
    p += 2;
    area->offset = hex_number(&p) / PAGE;
    for (int blanks = 0; *p && blanks < 3; p++)
        blanks += *p == ' ';
    while (*p == ' ')
        p++;
    short_name(area->name, p);
    area_count++;
    return 1;
}

static int read_areas(void)
{
    char line[400];
    area_count = 0;
    if (!read_proc("/proc/self/maps"))
        return 0;
    while (next_line(line, sizeof line))
        area_line(line);
    S1(SYS_close, reader.fd);
    return 1;
}

static void say_area(const struct area *area)
{
    say_char(' ');
    say_place(area->start);
    say_field("+", (long)((area->end - area->start) / PAGE));
    say_char(':');
    say(area->rights);
    if (area->name[0] || area->offset) {
        say_char('@');
        say(area->name);
        /* Private memory of /dev/zero that moves before it is touched has its new address for a position. */
        if (area->name[0] == 'z' && window_of(area->offset * PAGE)) {
            say_char('.');
            say_place(area->offset * PAGE);
        } else {
            say_field(".", (long)area->offset);
        }
    }
}

/* Residency and shares of pages of files depend on what else the kernel did: read ahead, mapped around a fault. */
static int on_disk(const struct area *area) { return area->name[0] == 'd'; }
static int is_anonymous(const struct area *area) { return !area->name[0] || area->name[0] == '['; }

static int starts_with(const char *line, const char *word_)
{
    while (*word_)
        if (*line++ != *word_++)
            return 0;
    return 1;
}

static void say_smaps(void)
{
    char line[400];
    const struct area *area = 0;
    area_count = 0;
    say("\n  smaps");
    if (!read_proc("/proc/self/smaps"))
        return;
    while (next_line(line, sizeof line)) {
        int before = area_count;
        if (area_line(line)) {
            area = area_count > before ? &areas[before] : 0;
            if (area) {
                say_char(' ');
                say_place(area->start);
                say_char(':');
            }
            continue;
        }
        if (!area)
            continue;
        int wanted = starts_with(line, "Anonymous:") ? 'a'
                     : starts_with(line, "Rss:") && is_anonymous(area) ? 'r'
                     : starts_with(line, "Locked:") && is_anonymous(area) ? 'l' : 0;
        if (starts_with(line, "VmFlags:")) {
            say("[");
            say(line + 9);
            say("]");
        } else if (wanted) {
            word n = 0;
            for (const char *p = line; *p; p++)
                if (*p >= '0' && *p <= '9')
                    n = n * 10 + (word)(*p - '0');
            if (n) {
                say_char((char)wanted);
                say_number((long)n / 4);
            }
        }
    }
    S1(SYS_close, reader.fd);
}

/* -- pages --------------------------------------------------------------------------------------------------------------- */

enum { MOST_PAGES = 1024 };
static byte resident[MOST_PAGES];
static word pages_looked_at = MOST_PAGES;

/* How many pages of the area are looked at, with `resident` filled; 0 where that fails. */
static word area_pages(const struct area *area)
{
    word pages = (area->end - area->start) / PAGE;
    if (pages > pages_looked_at)
        pages = pages_looked_at;
    long result = S3(SYS_mincore, area->start, pages * PAGE, resident);
    if (!failed(result))
        return pages;
    say(" mincore");
    say_result(result);
    return 0;
}

static void say_residency(void)
{
    say("\n  mincore");
    for (int i = 0; i < area_count; i++) {
        if (on_disk(&areas[i]))
            continue;
        word pages = area_pages(&areas[i]);
        say_char(' ');
        say_place(areas[i].start);
        say_char(':');
        for (word k = 0, n; k < pages; k += n) {
            for (n = 1; k + n < pages && resident[k + n] == resident[k]; n++)
                ;
            if (resident[k])
                say(resident[k] == 1 ? "+" : "?");
            else
                say_char('-');
            say_number((long)n);
        }
    }
}

static byte page_copy[PAGE];

/* One page's content in two letters; the first 16 bytes may hold machine code, which differs between CPUs, and do not count. */
static void say_content(long copied)
{
    if (copied != PAGE) {
        say("!");
        return;
    }
    word sum = 0, hash = 0;
    for (word i = 16; i < PAGE; i += 8) {
        word value = *(word *)(page_copy + i);
        sum |= value;
        hash = (hash ^ value) * 0x9E3779B97F4A7C15;
    }
    if (!sum) {
        say(".");
        return;
    }
    hash ^= hash >> 29;
    say_char((char)('a' + hash % 26));
    say_char((char)('a' + hash / 26 % 26));
    hash /= 676;
    say_char((char)('A' + hash % 26));
}

/* Copies one page as process_vm_readv sees it: with the rights of the mapping, but without a signal. */
static long copy_page(word at)
{
    struct iov local = {(word)page_copy, PAGE}, remote = {at, PAGE};
    return sys(SYS_process_vm_readv, S0(SYS_getpid), (long)&local, 1, (long)&remote, 1, 0);
}

/* Contents of the pages that are in memory, or of all of them: looking at a page may bring it into memory. */
static void say_contents(int all)
{
    say(all ? "\n  content" : "\n  content of resident pages");
    for (int i = 0; i < area_count; i++) {
        word pages = area_pages(&areas[i]);
        if (on_disk(&areas[i]) && !all)
            continue;
        say_char(' ');
        say_place(areas[i].start);
        say_char(':');
        for (word k = 0; k < pages; k++)
            if (all || resident[k])
                say_content(copy_page(areas[i].start + k * PAGE));
            else
                say_char('-');
    }
}

/* -- totals -------------------------------------------------------------------------------------------------------------- */

/* Pages of all mappings and of data, from /proc/self/status. */
static void read_totals(word totals[2])
{
    char line[200];
    totals[0] = totals[1] = 0;
    if (!read_proc("/proc/self/status"))
        return;
    while (next_line(line, sizeof line)) {
        int which = starts_with(line, "VmSize:") ? 0 : starts_with(line, "VmData:") ? 1 : -1;
        for (const char *p = line; which >= 0 && *p; p++)
            if (*p >= '0' && *p <= '9')
                totals[which] = totals[which] * 10 + (word)(*p - '0');
    }
    for (int i = 0; i < 2; i++)
        totals[i] /= PAGE / 1024;
    S1(SYS_close, reader.fd);
}

static word totals_at_start[2];

static void say_totals(void)
{
    word totals[2];
    say("\n  totals");
    read_totals(totals);
    say_field(" size +", (long)(totals[0] - totals_at_start[0]));
    say_field(" data +", (long)(totals[1] - totals_at_start[1]));
}

/* The state after operation `number`; "same" when nothing of it has changed since the last time. */
static void say_state(word number, int last)
{
    out = &state_now;
    state_now.used = 0;
    say("  maps");
    if (read_areas()) {
        for (int i = 0; i < area_count; i++)
            say_area(&areas[i]);
        if (number % 4 == 3 || last)
            say_totals();
        if (number % 8 == 5 || last)
            say_residency();
        if (number % 16 == 9)
            say_contents(0);
        if (number % 16 == 2 || last)
            say_smaps();
        if (last)
            say_contents(1);
    }
    say_char('\n');
    out = &transcript;
    if (same_text(&state_now, &state_before)) {
        say("  same\n");
    } else {
        for (word i = 0; i < state_now.used; i++)
            say_char(state_now.data[i]);
        state_before.used = state_now.used;
        for (word i = 0; i < state_now.used; i++)
            state_before.data[i] = state_now.data[i];
    }
}
#endif
