/* Operations that change mappings. Each chooses its arguments, tells them, does the call and tells the result. */
#ifndef WALK_OPS_MAP_H
#define WALK_OPS_MAP_H
#include "walk_state.h"

/* How a mode chooses: whether the kernel places mappings, and what else its walks may use. */
static struct { int placed_by_kernel, disk_files, long_ranges, portable; } style;

/* Where earlier operations of a mode `placed_by_kernel` were placed. */
static struct { word at, pages; } slots[24];

static const word SEVERAL[] = {1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 11, 16, 24};

static word room(word at)
{
    const struct window *window = window_of(at);
    return window ? window->base + window->pages * PAGE - at : 0;
}

static word some_page(void)
{
    word which = pick(64), page = random_word(), slot = pick(sizeof slots / sizeof *slots);
    if (style.placed_by_kernel && which >= 12 && slots[slot].at)
        return slots[slot].at + page % (slots[slot].pages + 2) * PAGE - (which < 20 ? PAGE : 0);
    const struct window *window = &windows[which % (word)window_count];
    if (style.placed_by_kernel)
        return window->base + (window->pages - 1 - page % 600) * PAGE;
    return window->base + (style.long_ranges && which < 40 ? page % 24 * 20 % window->pages : page % window->pages) * PAGE;
}

/* Now and then an address that is no page's. */
static word some_address(void)
{
    word at = some_page(), odd = pick(900);
    return odd < 20 ? at + odd * 3 + 1 : at;
}

/* A length that stays inside the window; now and then 0, or no whole number of pages. */
static word some_length(word at)
{
    word pages = ONE_OF(SEVERAL), odd = pick(64), bytes = pick(PAGE), most = room(at);
    word size = pages * PAGE;
    if (style.long_ranges && odd > 48)
        size = pick(300) * PAGE;
    if (odd == 0)
        size = 0;
    if (odd < 5)
        size = size > bytes ? size - bytes : 0;
    return size > most ? most : size;
}

/* PROT_EXEC alone makes memory unreadable on CPUs that can do so; with the meaningless PROT_SEM it is readable on all. */
static int some_rights(void)
{
    enum { PROT_SEM = 8 };
    static const int RIGHTS[] = {PROT_RW, PROT_RW, PROT_RW, PROT_RW, PROT_RW, PROT_READ, PROT_READ, PROT_NONE, PROT_NONE, PROT_RX,
                                 PROT_RW | PROT_EXEC, PROT_WRITE, PROT_EXEC | PROT_SEM, PROT_WRITE | PROT_EXEC};
    return ONE_OF(RIGHTS);
}

static void say_rights(int rights)
{
    say_char(rights & 1 ? 'r' : '-');
    say_char(rights & 2 ? 'w' : '-');
    say_char(rights & 4 ? 'x' : '-');
    if (rights & ~7) {
        say("|0x");
        say_hex((word)rights & ~7ul);
    }
}

static void say_range(const char *name, word at, word size)
{
    say(name);
    say_char(' ');
    say_place(at);
    say_char(',');
    if (size % PAGE)
        say_field("bytes ", (long)size);
    else
        say_number((long)(size / PAGE));
}

static void say_flags(word flags)
{
    static const struct { word bit; const char *name; } FLAGS[] = {
        {0x10, "FIXED"}, {ANON, "ANON"}, {GROWSDOWN, "GROWSDOWN"}, {LOCKED, "LOCKED"}, {NORESERVE, "NORESERVE"}, {POPULATE, "POPULATE"},
        {NONBLOCK, "NONBLOCK"}, {STACK, "STACK"}, {NOREPLACE, "NOREPLACE"},
    };
    static const char *const TYPES[] = {"type 0", "SHARED", "PRIVATE", "VALIDATE"};
    say_char(' ');
    if ((flags & 15) < 4)
        say(TYPES[flags & 15]);
    else
        say_field("type ", (long)(flags & 15));
    for (word i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++)
        if (flags & FLAGS[i].bit) {
            say_char('|');
            say(FLAGS[i].name);
        }
}

/* Tells where a call put something. What lies outside of the windows is taken away, so that it disturbs nothing later. */
static void placed(long result, word size)
{
    size = (size + PAGE - 1) & ~(word)(PAGE - 1);
    if (failed(result)) {
        say_result(result);
        return;
    }
    say(" = ");
    say_place((word)result);
    if (!window_of((word)result))
        S2(SYS_munmap, result, size);
    word slot = pick(sizeof slots / sizeof *slots);
    slots[slot].at = window_of((word)result) ? (word)result : 0;
    slots[slot].pages = size / PAGE;
}

/* Chooses how to ask for a place: the flags, and in *at the address. */
static word some_placing(word *at)
{
    word kind = pick(16);
    if (style.placed_by_kernel) {
        if (kind < 8)
            *at = 0;
        return kind < 12 ? 0 : kind < 14 ? FIXED : NOREPLACE;
    }
    return kind < 13 ? FIXED : kind < 15 ? NOREPLACE : 0;
}

static word some_map_flags(void)
{
    static const word FLAGS[] = {NORESERVE, GROWSDOWN, STACK, POPULATE, POPULATE | NONBLOCK, LOCKED, GROWSDOWN | NORESERVE, 0x800, 0x1000};
    return chance(3) ? ONE_OF(FLAGS) : 0;
}

static void map_at(const char *name, word at, word size, int rights, word flags, long fd, word offset)
{
    say_range(name, at, size);
    say_char(' ');
    say_rights(rights);
    say_flags(flags);
    placed(sys(SYS_mmap, (long)at, (long)size, rights, (long)flags, fd, (long)offset), size);
}

static void op_map(void)
{
    static const word TYPES[] = {PRIVATE, PRIVATE, PRIVATE, PRIVATE, PRIVATE, PRIVATE, PRIVATE, SHARED, SHARED};
    word at = some_address(), size = some_length(at), type = ONE_OF(TYPES), odd = pick(60);
    int rights = some_rights();
    word flags = some_map_flags() | some_placing(&at) | ANON;
    map_at("mmap", at, size, rights, flags | (odd == 0 ? DROPPABLE : odd == 1 ? SHARED_VALIDATE : odd == 2 ? 0 : type), -1, 0);
}

/* Plain private memory, readable and writable: what most of the others need around them. */
static void op_map_plain(void)
{
    word at = some_page(), size = some_length(at), flags = style.placed_by_kernel && chance(2) ? 0 : FIXED;
    map_at("mmap", flags ? at : 0, size, PROT_RW, PRIVATE | ANON | flags, -1, 0);
}

/* Requests around the size of a huge page, which the kernel may align. */
static void op_map_large(void)
{
    static const word PAGES[] = {512, 512, 1024, 511, 513, 1536, 100, 256, 700};
    word at = some_page(), pages = ONE_OF(PAGES), flags = chance(4) ? SHARED : PRIVATE, hint = pick(3);
    int rights = some_rights();
    flags |= chance(4) ? GROWSDOWN : 0;
    map_at("mmap", hint ? 0 : at, pages * PAGE, rights, flags | ANON | NORESERVE, -1, 0);
}

/* New memory is locked, and so made present. */
static int locks_to_come;

/* More than the machine has: accounted memory is refused, reserved address space is not. Nothing of it stays. */
static void op_map_huge(void)
{
    if (locks_to_come) { /* filling it would take the kernel hours */
        say("munlockall first");
        say_result(S0(SYS_munlockall));
        locks_to_come = 0;
        return;
    }
    word size = (word)1 << (40 + pick(style.portable ? 7 : 8)), flags = chance(2) ? NORESERVE : 0; /* arm64 has 48 bits */
    int rights = some_rights();
    say_range("mmap huge", 0, size);
    say_char(' ');
    say_rights(rights);
    say_flags(PRIVATE | ANON | flags);
    long at = sys(SYS_mmap, 0, (long)size, rights, (long)(PRIVATE | ANON | flags), -1, 0);
    if (failed(at)) {
        say_result(at);
        return;
    }
    say(" = elsewhere");
    say_result(S3(SYS_mprotect, at, size, PROT_RW));
    say_result(S2(SYS_munmap, at, size));
}

static void op_unmap(void)
{
    word at = some_address(), size = some_length(at);
    say_range("munmap", at, size);
    say_result(S2(SYS_munmap, at, size));
}

static void op_protect(void)
{
    word at = some_address(), size = some_length(at), odd = pick(40);
    int rights = some_rights();
    rights |= odd == 0 ? 0x40 : odd < 3 ? 0x01000000 : odd == 3 ? 0x03000000 : odd == 4 ? 8 : 0;
    say_range("mprotect", at, size);
    say_char(' ');
    say_rights(rights);
    say_result(S3(SYS_mprotect, at, size, rights));
}

static void op_remap(void)
{
    static const word FLAGS[] = {0, MAYMOVE, MAYMOVE, MAYMOVE | MOVE_FIXED, MAYMOVE | MOVE_FIXED, MAYMOVE | MOVE_FIXED,
                                 MAYMOVE | MOVE_FIXED | DONTUNMAP, MAYMOVE | DONTUNMAP, MOVE_FIXED, 8};
    word from = some_address(), old_size = some_length(from), to = some_address(), flags = ONE_OF(FLAGS), kind = pick(8);
    word most = room(flags & MOVE_FIXED ? to : from), new_size = kind < 4 ? old_size : ONE_OF(SEVERAL) * PAGE, odd = pick(24);
    if (style.long_ranges && kind == 7)
        new_size = pick(300) * PAGE;
    if (odd == 0)
        old_size = 0;
    if (new_size > most)
        new_size = most;
    say_range("mremap", from, old_size);
    say_range(" to", flags & (MOVE_FIXED | DONTUNMAP) ? to : 0, new_size);
    say_field(" flags ", (long)flags);
    placed(sys(SYS_mremap, (long)from, (long)old_size, (long)new_size, (long)flags, (long)to, 0), new_size);
}

static void op_remap_file_pages(void)
{
    word at = some_address(), size = some_length(at), page = pick(12), flags = chance(3) ? NONBLOCK : 0, rights = chance(12);
    say_range("remap_file_pages", at, size);
    say_field(" page ", (long)page);
    say_flags(flags);
    say_result(sys(SYS_remap_file_pages, (long)at, (long)size, (long)rights, (long)page, (long)flags, 0));
}

static void op_advise(void)
{
    /* Not: 100 and 101, which take memory away from the machine; 21 (page out), whose success depends on what else is going on. */
    static const int ADVICE[] = {0, 1, 2, 3, 4, 4, 4, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 20, 22, 23, 23, 24, 25,
                                 102, 102, 103, 5, 104, -1};
    word at = some_address(), size = some_length(at);
    int advice = ONE_OF(ADVICE);
    if ((style.long_ranges || style.placed_by_kernel) && (advice == 14 || advice == 25))
        advice = 15; /* where a huge page has room, one comes when the kernel likes */
    say_range("madvise", at, size);
    say_field(" advice ", advice);
    say_result(S3(SYS_madvise, at, size, advice));
}

/* Discards and populates only: what changes pages, not mappings. */
static void op_discard(void)
{
    static const int ADVICE[] = {4, 4, 8, 9, 22, 23, 24, 102, 103};
    word at = some_page(), size = some_length(at);
    int advice = ONE_OF(ADVICE);
    say_range("madvise", at, size);
    say_field(" advice ", advice);
    say_result(S3(SYS_madvise, at, size, advice));
}

static void op_lock(void)
{
    word at = some_address(), size = some_length(at), kind = pick(8);
    if (kind == 0) {
        word flags = pick(9);
        say_field("mlockall ", (long)flags);
        long result = S1(SYS_mlockall, flags);
        if (!failed(result))
            locks_to_come = (flags & 2) != 0;
        say_result(result);
    } else if (kind == 1) {
        say("munlockall");
        locks_to_come = 0;
        say_result(S0(SYS_munlockall));
    } else if (kind < 4) {
        word flags = chance(12) ? 2 : chance(2);
        say_range("mlock2", at, size);
        say_field(" flags ", (long)flags);
        say_result(S3(SYS_mlock2, at, size, flags));
    } else {
        say_range(kind < 6 ? "mlock" : "munlock", at, size);
        say_result(S2(kind < 6 ? SYS_mlock : SYS_munlock, at, size));
    }
}

static void op_sync(void)
{
    static const int FLAGS[] = {1, 4, 2, 3, 6, 5, 0, 8};
    word at = some_address(), size = some_length(at);
    int flags = ONE_OF(FLAGS);
    say_range("msync", at, size);
    say_field(" flags ", flags);
    say_result(S3(SYS_msync, at, size, flags));
}

static void op_mincore(void)
{
    word at = some_address(), size = some_length(at), to = some_page() + pick(PAGE);
    int own = style.disk_files || chance(2);
    say_range("mincore", at, size);
    say(" to ");
    if (own)
        say("own");
    else
        say_place(to);
    say_result(S3(SYS_mincore, at, size, own ? (word)resident : to));
}

static void op_seal(void)
{
    word at = some_address(), size = some_length(at), flags = chance(12);
    if (size > 3 * PAGE)
        size = 2 * PAGE;
    say_range("mseal", at, size);
    say_field(" flags ", (long)flags);
    say_result(S3(SYS_mseal, at, size, flags));
}

/* -- break and limits ---------------------------------------------------------------------------------------------------- */

static word break_at_start;

static void op_break(void)
{
    word to = break_at_start + pick(24) * PAGE + (chance(3) ? pick(PAGE) : 0);
    if (chance(30))
        to = break_at_start - 1;
    if (chance(30))
        to = break_at_start + ((word)1 << 40);
    say("brk ");
    say_place(to);
    say(" = ");
    say_place((word)S1(SYS_brk, to));
}

/* Mappings in the way of the break, and holes in the heap. */
static void op_near_break(void)
{
    word at = break_at_start + pick(30) * PAGE, size = (1 + pick(3)) * PAGE, kind = pick(4);
    int rights = some_rights();
    if (kind == 0) {
        say_range("munmap", at, size);
        say_result(S2(SYS_munmap, at, size));
    } else if (kind == 1) {
        say_range("mprotect", at, size);
        say_char(' ');
        say_rights(rights);
        say_result(S3(SYS_mprotect, at, size, rights));
    } else {
        map_at("mmap", at, size, kind == 2 ? PROT_RW : rights, PRIVATE | ANON | FIXED, -1, 0);
    }
}

static void op_limit(void)
{
    static const struct { int number; const char *name; } LIMITS[] = {
        {RLIMIT_AS, "AS"}, {RLIMIT_DATA, "DATA"}, {RLIMIT_STACK, "STACK"}, {RLIMIT_MEMLOCK, "MEMLOCK"}};
    word which = pick(4), pages = pick(style.long_ranges ? 300 : 60), infinite = chance(3);
    word value[2] = {pages * PAGE + (chance(4) ? pick(PAGE) : 0), ~(word)0}, before[2] = {0, 0};
    say("setrlimit ");
    say(LIMITS[which].name);
    say_field(infinite ? " infinite, not " : " +", (long)value[0]);
    value[0] += which < 2 ? totals_at_start[which] * PAGE : 0;
    if (infinite)
        value[0] = ~(word)0;
    say_result(sys(SYS_prlimit64, 0, LIMITS[which].number, (long)value, 0, 0, 0));
    say_result(sys(SYS_prlimit64, 0, LIMITS[which].number, 0, (long)before, 0, 0));
    say(before[0] == value[0] && before[1] == value[1] ? " kept" : " differs");
}

/* Settings of the process that hold for the whole walk: rights that imply each other, or exclude each other. */
static void set_process(word seed)
{
    enum { READ_IMPLIES_EXEC = 0x0400000, SET_MDWE = 65 };
    if (seed % 16 == 5) {
        say("personality READ_IMPLIES_EXEC");
        say_result(S1(SYS_personality, READ_IMPLIES_EXEC));
        say_char('\n');
    } else if (seed % 16 == 9) {
        say("prctl SET_MDWE");
        say_result(sys(SYS_prctl, SET_MDWE, 1, 0, 0, 0, 0));
        say_char('\n');
    }
}

/* Gives up CAP_IPC_LOCK, so that limits of locked memory hold. */
static void give_up_locking(void)
{
    unsigned header[2] = {0x20080522, 0}, sets[6];
    say("capget");
    say_result(S2(SYS_capget, header, sets));
    sets[0] &= ~(1u << 14);
    say(", capset without CAP_IPC_LOCK");
    say_result(S2(SYS_capset, header, sets));
    say_char('\n');
}
#endif
