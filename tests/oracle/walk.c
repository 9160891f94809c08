/* Walks Linux's memory calls at random and tells everything a program can see of it.

       walk [portable] MODE SEED OPS [KEPT]

   does OPS operations of the mode, or of those only the ones listed in KEPT ("0-4,9"); what an operation does depends on the seed and
   on its number alone. "portable" leaves out what is meant to differ between x86-64 and arm64. The transcript is the same on every run of one kernel, and the same on every kernel that behaves alike. */
#include "walk_ops_fork.h"

enum { IN_PLACE = 1, FREE = 2, FILE = 4, FAULTS = 8, SHM = 16, LIMITS = 32, GROW = 64, LOCKS = 128, ADVICE = 256, COPIES = 512,
       MIXED = 1024, FORK = 2048, ALL = 4095 };
static const char *const MODES[] = {"fixed", "free", "files", "faults", "shm", "limits", "grow", "locks", "advice", "copies", "mixed", "fork"};

/* How often each operation is done in a mode: `some` in its modes, `more` in those that are about it. */
static const struct { void (*run)(void); word modes, some, about, more; } OPERATIONS[] = {
    {op_map, ALL, 4, IN_PLACE | FREE, 12},
    {op_map_plain, ALL, 6, LIMITS | FREE, 6},
    {op_map_large, FREE, 3, 0, 0},
    {op_map_huge, LIMITS, 1, 0, 0},
    {op_unmap, ALL, 4, FREE, 7},
    {op_protect, ALL, 7, IN_PLACE | FREE | LIMITS, 10},
    {op_remap, ALL & ~SHM, 4, IN_PLACE | FREE | LIMITS, 8},
    {op_remap, SHM, 1, 0, 0},
    {op_touch, ALL, 7, FAULTS | GROW, 16},
    {op_fill, ALL, 4, 0, 0},
    {op_add, FAULTS, 1, 0, 0},
    {op_straddle, FAULTS | GROW | MIXED, 1, FAULTS, 6},
    {op_plant, FAULTS | MIXED, 1, FAULTS, 7},
    {op_execute, FAULTS | MIXED, 1, FAULTS, 7},
    {op_map_file, FORK | FILE | FAULTS | COPIES | MIXED | LOCKS | ADVICE, 3, FILE, 14},
    {op_truncate, FORK | FILE | FAULTS | MIXED, 1, FILE, 3},
    {op_hole, FILE | MIXED, 1, FILE, 2},
    {op_seals, FILE | MIXED, 1, 0, 0},
    {op_file_read, FORK | FILE | COPIES | MIXED, 2, FILE, 5},
    {op_file_write, FORK | FILE | FAULTS | COPIES | MIXED, 1, FILE, 4},
    {op_remap_file_pages, FILE | SHM | MIXED, 1, FILE, 2},
    {op_sync, FILE | LOCKS | MIXED, 1, LOCKS, 5},
    {op_mincore, FORK | COPIES | LOCKS | ADVICE | MIXED, 2, COPIES, 3},
    {op_lock, LOCKS | MIXED, 1, LOCKS, 16},
    {op_lock, LIMITS, 4, 0, 0},
    {op_advise, FORK | IN_PLACE | ADVICE | MIXED | FREE | SHM, 2, ADVICE | FORK, 20},
    {op_discard, FORK | FAULTS | FILE | GROW | LIMITS | LOCKS | COPIES, 2, LOCKS, 4},
    {op_seal, ADVICE, 1, 0, 0},
    {op_break, FORK | GROW | LIMITS | LOCKS | MIXED, 3, GROW | LIMITS, 10},
    {op_near_break, GROW | MIXED, 1, GROW, 4},
    {op_limit, LIMITS | GROW, 1, LIMITS, 8},
    {op_limit, LOCKS, 2, 0, 0},
    {op_copy_file, FORK | COPIES | FILE | MIXED | GROW, 1, COPIES, 9},
    {op_copy_pipe, COPIES | MIXED, 1, COPIES, 9},
    {op_copy_process, FORK | COPIES | MIXED, 1, COPIES, 6},
    {op_copy_mem, COPIES | FAULTS | MIXED, 1, COPIES, 4},
    {op_copy_struct, COPIES | MIXED, 1, COPIES, 3},
    {op_shm_get, SHM | MIXED, 1, SHM, 6},
    {op_shm_attach, SHM | MIXED, 1, SHM, 14},
    {op_shm_detach, SHM | MIXED, 1, SHM, 6},
    {op_shm_control, SHM | MIXED, 1, SHM, 6},
    {op_fork, FORK, 3, 0, 0},
};
enum { OPERATION_COUNT = sizeof OPERATIONS / sizeof *OPERATIONS };

static word weight(int i, word mode)
{
    return !(OPERATIONS[i].modes & mode) ? 0 : OPERATIONS[i].about & mode ? OPERATIONS[i].more : OPERATIONS[i].some;
}

static void one_operation(word mode)
{
    word sum = 0, choice;
    for (int i = 0; i < OPERATION_COUNT; i++)
        sum += weight(i, mode);
    choice = pick(sum);
    for (int i = 0;; i++) {
        if (choice < weight(i, mode)) {
            OPERATIONS[i].run();
            return;
        }
        choice -= weight(i, mode);
    }
}

static word walk_mode, walk_number;
static void visit(void)
{
    for (word n = 1 + pick(4); n; n--) {
        say("\n  ");
        one_operation(walk_mode);
    }
    say_char('\n');
    flush();
    say_state(walk_number, 1);
}

static void add_window(char letter, word base, word pages)
{
    windows[window_count].letter = letter;
    windows[window_count].base = base;
    windows[window_count++].pages = pages;
}

/* The kernel places mappings below those that are there. One that reaches up to the highest place leaves the space below a round
   address, where positions are the same whatever the highest place is. */
static void add_free_window(void)
{
    enum { GIB = 1 << 30, WINDOW_PAGES = 16384 };
    word first = (word)sys(SYS_mmap, 0, PAGE, PROT_NONE, SHARED | ANON, -1, 0);
    word top = first & ~(word)(GIB - 1), end = first + PAGE;
    S2(SYS_munmap, first, PAGE);
    long plug = sys(SYS_mmap, (long)top, (long)(end - top), PROT_NONE, SHARED | ANON | NORESERVE | NOREPLACE, -1, 0);
    if (plug != (long)top) {
        say("no place for the window\n");
        flush();
        S1(SYS_exit, 97);
    }
    add_window('k', top - (word)WINDOW_PAGES * PAGE, WINDOW_PAGES);
}

static void prepare(word mode, word seed)
{
    const word BASE = 0x2000000000;
    volatile byte stack[48 * 1024];
    for (word i = 0; i < sizeof stack; i += PAGE / 2)
        stack[i] = 1;
    style.placed_by_kernel = mode == FREE;
    style.disk_files = mode == FILE || mode == MIXED;
    style.long_ranges = mode == GROW || (mode == LIMITS && seed % 2);
    /* How far the heap is from the program's own data depends on chance, and whether they merge or keep a stack from growing on that. */
    const word APART = 300 * PAGE;
    const word heap = (word)S1(SYS_brk, 0);
    S1(SYS_brk, heap + APART);
    S2(SYS_munmap, heap, APART);
    break_at_start = heap + APART;
    if (mode == FREE) {
        add_free_window();
        pages_looked_at = 24;
    } else if (style.long_ranges) {
        add_window('a', BASE, 1024);
    } else {
        add_window('a', BASE, 40);
        add_window('b', BASE + 0x4000000, 40);
    }
    if (mode & (GROW | LIMITS | LOCKS | MIXED | FORK))
        add_window('h', break_at_start, 64);
    catch_faults();
    if (mode & (IN_PLACE | FREE | FAULTS | MIXED))
        set_process(seed);
    open_files();
    if (mode & (LOCKS | LIMITS) && seed % 4 < 2)
        give_up_locking();
    read_totals(totals_at_start);
    if (style.portable) {
        /* RLIMIT_DATA counts the program's own data, of which compilers for two architectures do not make equally much. */
        sys(SYS_mmap, 0x1000000000, (long)((512 - totals_at_start[1] % 512) * PAGE), PROT_RW, PRIVATE | ANON | FIXED | NORESERVE, -1, 0);
        read_totals(totals_at_start);
    }
}

/* Whether the operation is listed in a text like "0-4,9". */
static int listed(const char *text, word n)
{
    while (*text) {
        word from = number(text), to = from;
        while (*text >= '0' && *text <= '9')
            text++;
        if (*text == '-') {
            to = number(++text);
            while (*text >= '0' && *text <= '9')
                text++;
        }
        if (*text == ',')
            text++;
        else if (*text)
            return 0;
        if (n >= from && n <= to)
            return 1;
    }
    return 0;
}

static int same_string(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static int guest_main(int argc, char **argv, char **envp)
{
    (void)envp;
    word mode = 0, which = 0;
    if (argc > 1 && same_string(argv[1], "portable")) {
        style.portable = 1;
        argc--, argv++;
    }
    for (word i = 0; argc > 3 && i < sizeof MODES / sizeof *MODES; i++)
        if (same_string(argv[1], MODES[i]))
            mode = (word)1 << (which = i);
    if (!mode) {
        put("usage: walk [portable] MODE SEED OPS [KEPT]\nmodes:");
        for (word i = 0; i < sizeof MODES / sizeof *MODES; i++) {
            put(" ");
            put(MODES[i]);
        }
        put("\n");
        return 2;
    }
    word seed = number(argv[2]), count = number(argv[3]), last = 0;
    prepare(mode, seed);
    walk_mode = mode, fork_visits = visit;
    for (word i = 0; i < count; i++)
        if (argc < 5 || listed(argv[4], i))
            last = i;
    for (word i = 0; i < count; i++) {
        if (argc > 4 && !listed(argv[4], i))
            continue;
        random_start(seed * 16 + which, i);
        walk_number = i;
        say_number((long)i);
        say_char(' ');
        one_operation(mode);
        say_char('\n');
        flush();
        say_state(i, i == last);
        flush();
    }
    remove_segments();
    say("end\n");
    flush();
    return 0;
}
