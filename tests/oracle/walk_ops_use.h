/* Operations that use memory: touching it, files, copies by the kernel, System V shared memory. */
#ifndef WALK_OPS_USE_H
#define WALK_OPS_USE_H
#include "walk_ops_map.h"
#include "walk_probe.h"

/* -- touching ------------------------------------------------------------------------------------------------------------ */

static void say_fault(void)
{
    say(fault.signal == SIGBUS ? " SIGBUS" : " SIGSEGV");
    say_field(" code ", fault.code);
    say(" at ");
    say_place(fault.address);
}

static void touched(const char *name, word at, int worked, long value)
{
    say(name);
    say_char(' ');
    say_place(at);
    if (worked) {
        say(" = 0x");
        say_hex((word)value);
    } else {
        say_fault();
    }
}

/* Offsets below 16 are left to code, which differs between CPUs. */
static void op_touch(void)
{
    word at = some_page() + 16 + pick(PAGE - 32), load = pick(5) < 2, value = random_word();
    long got = 0;
    int worked = load ? TRY(&got, probe_load(at)) : TRY(&got, probe_store(at, value));
    touched(load ? "load" : "store", at, worked, got);
}

/* Reading, adding and writing in one instruction: for x86-64 that is a store from its beginning, arm64 loads first. */
static void op_add(void)
{
    word at = some_page() + 16 + (pick(PAGE - 32) & ~(word)7), value = pick(256);
    long got = 0;
    if (style.portable) {
        say("add: not portable");
        return;
    }
    int worked = TRY(&got, probe_add8(at, value));
    touched("add", at, worked, got);
}

/* Accesses that reach into the next page. */
static void op_straddle(void)
{
    word at = some_page() + PAGE - 1 - pick(7), value = random_word();
    long got = 0;
    if (chance(2)) {
        int worked = TRY(&got, probe_load8(at));
        say("load8 ");
        say_place(at);
        if (!worked)
            say_fault();
        return;
    }
    int worked = TRY(&got, probe_store8(at, value));
    touched("store8", at, worked, 0);
}

static void op_fill(void)
{
    word at = some_page(), pages = some_length(at) / PAGE, value = random_word() | 1, done;
    long got;
    say_range("fill", at, pages * PAGE);
    for (done = 0; done < pages; done++)
        if (!TRY(&got, probe_store8(at + done * PAGE + 64, value)) || !TRY(&got, probe_store8(at + done * PAGE + 4080, value + done)))
            break;
    if (done == pages)
        say(" = done");
    else
        say_fault();
}

/* Writes a small function to the start of a page. */
static void op_plant(void)
{
    word at = some_page(), value = 40 + pick(4);
    long got;
    int worked = TRY(&got, probe_store8(at, code_first(value))) && TRY(&got, probe_store8(at + 8, code_second()));
    if (worked)
        code_written(at);
    touched("plant", at, worked, (long)value);
}

static int executable(word at)
{
    read_areas();
    for (int i = 0; i < area_count; i++)
        if (at >= areas[i].start && at < areas[i].end)
            return areas[i].rights[2] == 'x';
    return 0;
}

/* Calls the start of a page, if there is a planted function or nothing that can be read: anything else is no code of ours. What
   process_vm_readv cannot copy the CPU may be able to read all the same: pages that may only be executed. What happens first when a
   page is neither executable nor in memory differs between CPUs: a portable walk asks /proc. */
static void op_execute(void)
{
    word at = some_page(), code[2] = {0, 0};
    long got = 0;
    int readable = copy_page(at) == PAGE, planted = 0;
    if (readable) {
        code[0] = ((word *)page_copy)[0];
        code[1] = ((word *)page_copy)[1];
    } else {
        readable = TRY(&code[0], (word)probe_load8(at)) && TRY(&code[1], (word)probe_load8(at + 8));
    }
    for (word value = 40; value < 44; value++)
        planted |= code[0] == code_first(value) && code[1] == code_second();
    if (readable && !planted) {
        say("execute ");
        say_place(at);
        say(": no code");
        return;
    }
    if (style.portable && !executable(at)) {
        say("execute ");
        say_place(at);
        say(": not executable");
        return;
    }
    int worked = TRY(&got, probe_call(at));
    touched("execute", at, worked, got);
}

/* -- files --------------------------------------------------------------------------------------------------------------- */

enum { FILES = 10 };
static struct { long fd; const char *name; int disk; } files[FILES];
static byte buffer[64 * PAGE];
static long pipes[2];

static int some_file(void)
{
    int file = (int)pick(style.disk_files ? FILES : 4);
    return file;
}

static void say_file(int file)
{
    say(" of ");
    say(files[file].name);
}

static void pattern(word pages, word seed)
{
    for (word i = 0; i < pages * PAGE; i += 8)
        *(word *)(buffer + i) = i % PAGE < 16 || i / 8 % 5 ? 0 : seed * 0x9E3779B97F4A7C15 + i;
}

static long open_disk(const char *path, int flags) { return sys(SYS_openat, AT_FDCWD, (long)path, flags, 0600, 0, 0); }

static void set_file(int number, long fd, const char *name, int disk)
{
    files[number].fd = fd;
    files[number].name = name;
    files[number].disk = disk;
    if (failed(fd)) {
        say(name);
        say_result(fd);
        say_char('\n');
    }
}

/* The same file is there by several descriptors: opened twice, duplicated, read-only and write-only. Sizes end inside a page, at
   its end, and in a hole. */
static void open_files(void)
{
    set_file(0, S2(SYS_memfd_create, "m0", 2), "m0", 0);
    set_file(1, S2(SYS_memfd_create, "m1", 2), "m1", 0);
    set_file(2, S2(SYS_memfd_create, "m2", 0), "m2", 0);
    set_file(3, open_disk("/dev/zero", O_RDWR), "zero", 0);
    pattern(10, 7);
    sys(SYS_pwrite64, files[0].fd, (long)buffer, 8 * PAGE, 0, 0, 0);
    pattern(10, 8);
    sys(SYS_pwrite64, files[1].fd, (long)buffer, 3 * PAGE + 1000, 0, 0, 0);
    S2(SYS_ftruncate, files[2].fd, 16 * PAGE);
    S2(SYS_pipe2, buffer, O_NONBLOCK);
    pipes[0] = ((int *)buffer)[0];
    pipes[1] = ((int *)buffer)[1];
    if (!style.disk_files)
        return;
    set_file(4, open_disk("walk-d0", O_RDWR | O_CREAT | O_EXCL), "d0", 1);
    set_file(5, open_disk("walk-d0", O_RDONLY), "d0 read-only", 1);
    set_file(6, open_disk("walk-d1", O_RDWR | O_CREAT | O_EXCL), "d1", 1);
    set_file(7, S1(SYS_dup, files[6].fd), "d1 dup", 1);
    set_file(8, open_disk("walk-d1", O_WRONLY), "d1 write-only", 1);
    set_file(9, open_disk("walk-d1", O_RDWR), "d1 again", 1);
    sys(SYS_unlinkat, AT_FDCWD, (long)"walk-d0", 0, 0, 0, 0);
    sys(SYS_unlinkat, AT_FDCWD, (long)"walk-d1", 0, 0, 0, 0);
    pattern(10, 9);
    sys(SYS_pwrite64, files[4].fd, (long)buffer, 6 * PAGE + 100, 0, 0, 0);
    pattern(10, 10);
    sys(SYS_pwrite64, files[6].fd, (long)buffer, 10 * PAGE, 0, 0, 0);
}

static void op_map_file(void)
{
    static const word TYPES[] = {PRIVATE, PRIVATE, PRIVATE, SHARED, SHARED, SHARED, SHARED, SHARED_VALIDATE};
    word at = some_address(), size = some_length(at), type = ONE_OF(TYPES), page = pick(12), odd = pick(60);
    int rights = some_rights(), file = some_file();
    word flags = some_map_flags() | some_placing(&at) | type;
    say_file(file);
    say_field(" page ", (long)page);
    say(": ");
    map_at("mmap", at, size, rights, flags, odd ? files[file].fd : 99, page * PAGE + (odd == 1 ? 512 : 0));
}

static void op_truncate(void)
{
    word size = pick(14) * PAGE + (chance(2) ? pick(PAGE) : 0);
    int file = some_file();
    say_field("ftruncate ", (long)size);
    say_file(file);
    say_result(S2(SYS_ftruncate, files[file].fd, size));
}

static void op_hole(void)
{
    /* KEEP_SIZE and PUNCH_HOLE; ZERO_RANGE is not for every file system. */
    static const word FALLOCATE[] = {3, 3, 3, 0, 1, 2};
    word from = pick(12) * PAGE + (chance(3) ? pick(PAGE) : 0), size = 1 + pick(3 * PAGE), mode = ONE_OF(FALLOCATE);
    int file = some_file();
    say_field("fallocate mode ", (long)mode);
    say_field(" from ", (long)from);
    say_field(" size ", (long)size);
    say_file(file);
    say_result(sys(SYS_fallocate, files[file].fd, (long)mode, (long)from, (long)size, 0, 0));
}

static void op_seals(void)
{
    word seals = (word)1 << pick(7), file = pick(FILES);
    if (seals == 1 && !chance(4))
        seals = 0x10;
    say_field("seal ", (long)seals);
    say_file((int)file);
    say_result(S3(SYS_fcntl, files[file].fd, F_ADD_SEALS, seals));
    say_result(S3(SYS_fcntl, files[file].fd, F_GET_SEALS, 0));
}

/* The walker's own copies: what a file holds, and changing it past the mappings. */
static void op_file_read(void)
{
    int file = some_file();
    word page = pick(12);
    long n = sys(SYS_pread64, files[file].fd, (long)buffer, 2 * PAGE, (long)(page * PAGE), 0, 0);
    say_field("look at page ", (long)page);
    say_file(file);
    say_result(n);
    for (word i = 0; !failed(n) && i * PAGE < (word)n; i++) {
        for (word k = 0; k < PAGE; k += 8)
            *(word *)(page_copy + k) = i * PAGE + k + 8 <= (word)n ? *(word *)(buffer + i * PAGE + k) : 0;
        say_char(' ');
        say_content(PAGE);
    }
}

static void op_file_write(void)
{
    int file = some_file();
    word from = pick(12) * PAGE + 16 + pick(PAGE - 16), size = pick(64);
    for (word i = 0; i < size; i++)
        buffer[i] = (byte)(i * 7 + from);
    say_field("change from ", (long)from);
    say_field(" size ", (long)size);
    say_file(file);
    say_result(sys(SYS_pwrite64, files[file].fd, (long)buffer, (long)size, (long)from, 0, 0));
}

/* -- copies by the kernel ------------------------------------------------------------------------------------------------ */

/* Ranges begin at 16 or later in a page and seldom at its end, so that most of them cross into other mappings. */
static struct iov some_buffer(void)
{
    struct iov range = {some_page(), 0};
    range.size = some_length(range.base);
    range.base += chance(2) ? 16 + pick(PAGE - 16) : 16;
    if (range.size > 40 * PAGE)
        range.size = 40 * PAGE;
    if (range.size > 48)
        range.size -= 32;
    return range;
}

static void say_buffer(struct iov range)
{
    say_char(' ');
    say_place(range.base);
    say_field(",bytes ", (long)range.size);
}

static void op_copy_file(void)
{
    struct iov range[3] = {some_buffer(), some_buffer(), some_buffer()};
    word kind = pick(4), count = 1 + pick(3), from = pick(10) * PAGE + (chance(2) ? pick(PAGE) : 16);
    int file = some_file();
    static const char *const NAMES[] = {"pread", "pwrite", "preadv", "pwritev"};
    static const int NUMBERS[] = {SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev};
    say(NAMES[kind]);
    say_field(" from ", (long)from);
    say_file(file);
    for (word i = 0; i < (kind < 2 ? 1 : count); i++)
        say_buffer(range[i]);
    if (kind < 2) {
        say_result(sys(NUMBERS[kind], files[file].fd, (long)range->base, (long)range->size, (long)from, 0, 0));
    } else {
        S3(SYS_lseek, files[file].fd, from, 0);
        say_result(sys(NUMBERS[kind], files[file].fd, (long)range, (long)count, 0, 0, 0));
        say_result(files[file].name[0] == 'z' ? 0 : S3(SYS_lseek, files[file].fd, 0, 1));
    }
}

static void op_copy_pipe(void)
{
    struct iov range = some_buffer();
    word kind = pick(6);
    if (range.size > 12 * PAGE)
        range.size = 12 * PAGE;
    if (kind < 4) {
        say(kind < 2 ? "write to pipe" : "read from pipe");
        say_buffer(range);
        say_result(S3(kind < 2 ? SYS_write : SYS_read, pipes[kind < 2], range.base, range.size));
        return;
    }
    say("drain pipe");
    long n = S3(SYS_read, pipes[0], buffer, 8 * PAGE);
    say_result(n);
    word hash = 0;
    for (long i = 0; i < n; i++)
        hash = (hash + buffer[i]) * 31;
    say_field(" sum ", (long)(hash >> 16 & 0xFFFF));
}

static void op_copy_process(void)
{
    struct iov local[2] = {some_buffer(), some_buffer()}, remote[2] = {some_buffer(), some_buffer()};
    word kind = pick(2), locals = 1 + pick(2), remotes = 1 + pick(2), flags = chance(30);
    say(kind ? "process_vm_writev" : "process_vm_readv");
    for (word i = 0; i < locals; i++)
        say_buffer(local[i]);
    say(" with");
    for (word i = 0; i < remotes; i++)
        say_buffer(remote[i]);
    say_result(sys(kind ? SYS_process_vm_writev : SYS_process_vm_readv, S0(SYS_getpid), (long)local, (long)locals, (long)remote,
                   (long)remotes, (long)flags));
}

/* /proc/self/mem passes over the rights of mappings. */
static void op_copy_mem(void)
{
    struct iov range = some_buffer();
    word kind = pick(2), seed = random_word();
    say(kind ? "write mem" : "read mem");
    say_buffer(range);
    long fd = sys(SYS_openat, AT_FDCWD, (long)"/proc/self/mem", O_RDWR, 0, 0, 0);
    if (failed(fd)) {
        say(" unreadable");
        say_result(fd);
        return;
    }
    pattern(40, seed);
    say_result(sys(kind ? SYS_pwrite64 : SYS_pread64, fd, (long)buffer, (long)range.size, (long)range.base, 0, 0));
    S1(SYS_close, fd);
}

/* Structures and strings into memory that may be missing. */
static void op_copy_struct(void)
{
    word at = some_page() + (chance(3) ? PAGE - 1 - pick(64) : 16), kind = pick(4);
    static const char *const NAMES[] = {"memfd_create at", "rlimit to", "write null from", "sigaction to"};
    say(NAMES[kind]);
    say_char(' ');
    say_place(at);
    if (kind == 0) {
        long fd = S2(SYS_memfd_create, at, 0);
        say_result(failed(fd) ? fd : 0);
        S1(SYS_close, fd);
    } else if (kind == 1) {
        say_result(sys(SYS_prlimit64, 0, RLIMIT_STACK, 0, (long)at, 0, 0));
    } else if (kind == 2) {
        say_result(S3(SYS_write, files[3].fd, at, PAGE));
    } else {
        say_result(sys(SYS_rt_sigaction, SIGCHLD, 0, (long)at, 8, 0, 0));
    }
}

/* -- System V shared memory ---------------------------------------------------------------------------------------------- */

static struct { int taken; long id; } segments[5];

static void op_shm_get(void)
{
    word which = pick(5), size = pick(9) * PAGE + (chance(3) ? pick(PAGE) : 0);
    say_field("shmget s", (long)which);
    say_field(" size ", (long)size);
    if (segments[which].taken) {
        say(": taken");
        return;
    }
    segments[which].id = S3(SYS_shmget, 0, size, IPC_CREAT | 0600);
    segments[which].taken = !failed(segments[which].id);
    say_result(failed(segments[which].id) ? segments[which].id : 0);
}

static void op_shm_attach(void)
{
    static const int FLAGS[] = {0, SHM_REMAP, SHM_REMAP, SHM_REMAP, SHM_RDONLY | SHM_REMAP, SHM_RND, SHM_RND | SHM_REMAP,
                                SHM_EXEC | SHM_REMAP};
    word which = pick(5), at = some_address(), flags = (word)ONE_OF(FLAGS), odd = pick(24);
    if (odd == 0)
        at = 0;
    else if (flags & SHM_RND)
        at += pick(PAGE);
    if (room(at) < 9 * PAGE)
        at -= 9 * PAGE;
    say_field("shmat s", (long)which);
    say_char(' ');
    say_place(at);
    say(" flags 0x");
    say_hex(flags);
    long result = S3(SYS_shmat, segments[which].taken ? segments[which].id : -1, at, flags);
    if (failed(result)) {
        say_result(result);
        return;
    }
    say(" = ");
    say_place((word)result);
    if (!window_of((word)result))
        S1(SYS_shmdt, result);
}

static void op_shm_detach(void)
{
    word at = some_address();
    if (read_areas() && area_count && !chance(4))
        at = areas[pick((word)area_count)].start;
    say("shmdt ");
    say_place(at);
    say_result(S1(SYS_shmdt, at));
}

static void op_shm_control(void)
{
    static word info[16];
    word which = pick(5), remove = chance(3);
    long id = segments[which].taken ? segments[which].id : -1;
    say(remove ? "remove" : "stat");
    say_field(" s", (long)which);
    long result = S3(SYS_shmctl, id, remove ? IPC_RMID : IPC_STAT, info);
    say_result(result);
    if (!remove && !result) {
        say_field(" size ", (long)info[6]);
        say_field(" attached ", (long)info[11]);
        say_field(" mode ", (long)(info[2] >> 32 & 07777));
    }
    if (remove && chance(2))
        segments[which].taken = 0;
}

static void remove_segments(void)
{
    for (word i = 0; i < 5; i++)
        if (segments[i].taken)
            S3(SYS_shmctl, segments[i].id, IPC_RMID, 0);
}
#endif
