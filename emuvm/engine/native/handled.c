/* Faults that the guest handles itself, without Python: from a refused access into the handler, and from rt_sigreturn back.
 *
 *     run    uc_emu_start -> a store was refused, plainly -> frame on the guest's stack, the handler's registers -> uc_emu_start
 *                         -> rt_sigreturn, plainly        -> the frame's registers                               -> uc_emu_start
 *                         -> anything else                -> back to Python
 *
 * Plain is what the kernel side would answer in the same way however it looked at it; whatever is not is left to it, untouched.
 * Owns nothing: all state is a struct handled_state, which unicorn_handled.py lays out, and fills in before each run.
 * Twins: kernel/fault.py (_refused, _send), kernel/signal_deliver.py (enter), kernel/signal_frames.py (enter and leave of each
 * architecture), engine/unicorn_fpu.py (tags). Layouts: abi/sigframes_x86.py, abi/sigframes_arm64.py.
 */
#include <string.h>

#include "state.h"

enum { ERROR_EXCEPTION = 21, GO_ON = -1, SYSTEM_CALL = 2 };
#define UNBLOCKABLE (1ULL << 8 | 1ULL << 18) /* SIGKILL, SIGSTOP */
enum { FRAME_ROOM = 1152, SIGRETURN_X86 = 15, SIGRETURN_ARM64 = 139 };

/* unicorn_handled.HandledState */
struct handled_state {
    void *uc;
    struct fill_state *pages;
    struct block_state *blocks; /* or NULL */
    uint64_t *failed;           /* the engine's field with the address of the access that failed */
    int (*start)(void *uc, uint64_t pc, uint64_t until, uint64_t timeout, size_t count);
    int (*stop)(void *uc);
    transfer *read, *write;
    void (*call)(void *uc, void *data);                       /* the hook for system calls of x86-64 */
    void (*interrupt)(void *uc, uint32_t number, void *data); /* the hook for interrupts */
    void *data;                                               /* what those two get */
    struct batch number, here, reading, writing, entry, initial, witness;
    uint64_t x86;
    uint64_t end;              /* addresses from here on are special */
    uint64_t armed;            /* what follows is true */
    uint64_t mask;             /* of blocked signals */
    uint64_t bit, adds;        /* SIGSEGV's, and what its handler blocks */
    uint64_t handler, restorer;
    uint64_t on_alternate;     /* SA_ONSTACK */
    uint64_t with_info;        /* arm64: SA_SIGINFO */
    uint64_t stack_sp, stack_size;
    uint64_t sequence;         /* the thread's struct rseq, or 0 */
    uint64_t count;            /* of faults and returns since Python looked */
    uint64_t address, access, code; /* of the last fault: code is x86's error code or arm64's ESR */
    uint64_t inside;           /* `run` is running the engine */
    uint64_t returning;        /* the engine was stopped at a plain rt_sigreturn, whose frame is `taken` */
    uint64_t numbered, at[2];  /* where the batches `number` and `here` are read to: sp, and x86's flags */
    uint64_t enter[8];         /* the handler's registers, in the order of `entry` */
    uint64_t present;          /* the page of the fault is */
    uint64_t witnessed;        /* how long the log was then */
    uint64_t then[34];         /* general registers and pc, in the order of the frame, when a page was last entered into it */
    uint64_t tag_read, tag_written;   /* x86: the full tag word */
    uint8_t fresh[512]; /* x86: the FPU as a handler finds it */
    uint8_t made[FRAME_ROOM], taken[FRAME_ROOM]; /* frames; in `made` all is there that does not change */
};

size_t handled_size(void)
{
    return sizeof(struct handled_state);
}

static uint64_t get(const uint8_t *frame, size_t offset)
{
    uint64_t value;
    memcpy(&value, frame + offset, 8);
    return value;
}

static void put(uint8_t *frame, size_t offset, uint64_t value)
{
    memcpy(frame + offset, &value, 8);
}

static int move(struct handled_state *s, transfer *how, struct batch *batch)
{
    return how(s->uc, batch->ids, batch->places, (int)batch->count);
}

static bool on_stack(const struct handled_state *s, uint64_t sp)
{
    return sp > s->stack_sp && sp - s->stack_sp <= s->stack_size;
}

/* Where a frame may begin, going down from sp. */
static uint64_t top_of_stack(const struct handled_state *s, uint64_t sp, bool *alternate)
{
    *alternate = on_stack(s, sp);
    if (!s->on_alternate || !s->stack_size || *alternate)
        return sp;
    *alternate = true;
    return s->stack_sp + s->stack_size;
}

/* -- x86-64 ------------------------------------------------------------------------------------------------------- */

enum { X86_SS = 24, X86_REGISTERS = 48, X86_RSP = 15, X86_RIP = 16, X86_FLAGS = 17, X86_SEGMENTS = 192, X86_ERROR = 200,
       X86_OLD_MASK = 216, X86_CR2 = 224, X86_FPSTATE_AT = 232, X86_MASK = 304, X86_INFO = 312, X86_FPSTATE = 456,
       X86_TAG = X86_FPSTATE + 4, X86_MXCSR_HIGH = X86_FPSTATE + 26, X86_FPU_END = X86_FPSTATE + 416,
       X86_SOFTWARE = X86_FPSTATE + 464, X86_LENGTH = 1036, X86_XSTATE_END = 580, X86_RED_ZONE = 128 };
enum { X86_USER_CS = 0x33, X86_USER_SS = 0x2B, TF = 0x100, DF = 0x400, RF = 0x10000, AC = 0x40000,
       FIX_FLAGS = AC | 0x800 | DF | TF | 0xD5 | RF };

static uint64_t x86_register(const uint8_t *frame, int n)
{
    return get(frame, X86_REGISTERS + 8 * (size_t)n);
}

static uint8_t abridged(uint64_t full)
{
    uint8_t used = 0;
    for (int n = 0; n < 8; n++)
        used |= (uint8_t)((full >> 2 * n & 3) != 3) << n;
    return used;
}

static uint64_t full_tag(uint8_t used)
{
    uint64_t full = 0;
    for (int n = 0; n < 8; n++)
        if (!(used >> n & 1))
            full |= 3ULL << 2 * n;
    return full;
}

static bool x86_enter(struct handled_state *s, uint64_t address)
{
    uint8_t *frame = s->made;
    bool alternate, nested;
    uint64_t sp = x86_register(frame, X86_RSP), flags = x86_register(frame, X86_FLAGS);
    uint64_t top = top_of_stack(s, sp - X86_RED_ZONE, &alternate);
    nested = on_stack(s, sp);
    uint64_t at = ((top - X86_XSTATE_END) & ~63ULL) - X86_FPSTATE;
    if ((alternate || nested) && !on_stack(s, at))
        return false;
    uint8_t *host = reach(s->pages, at, X86_LENGTH, W | DIRTY, CODE);
    if (host == NULL)
        return false;
    s->code = s->present ? 7 : 6; /* of a user, writing, to a page that is there or not */
    put(frame, X86_REGISTERS + 8 * X86_FLAGS, flags | RF);
    put(frame, X86_ERROR, s->code);
    put(frame, X86_OLD_MASK, s->mask);
    put(frame, X86_CR2, address);
    put(frame, X86_FPSTATE_AT, at + X86_FPSTATE);
    put(frame, X86_MASK, s->mask);
    put(frame, X86_INFO + 16, address);
    frame[X86_TAG] = abridged(s->tag_read);
    memcpy(host, frame, X86_LENGTH);
    const uint64_t registers[] = {s->enter[0], at + X86_INFO, at + 8, 0, at, s->handler, flags & ~(uint64_t)(DF | RF | TF)};
    memcpy(s->enter, registers, sizeof registers);
    move(s, s->write, &s->entry);
    if (memcmp(frame + X86_FPSTATE, s->fresh, X86_FPU_END - X86_FPSTATE) != 0)
        move(s, s->write, &s->initial);
    return true;
}

static bool x86_take(struct handled_state *s)
{
    uint8_t *frame = s->taken;
    uint64_t at = s->at[0] - 8;
    const uint8_t *host = reach(s->pages, at, X86_LENGTH, R, CODE);
    if (host == NULL)
        return false;
    memcpy(frame, host, X86_LENGTH);
    if (memcmp(frame + X86_SOFTWARE, s->made + X86_SOFTWARE, X86_LENGTH - X86_SOFTWARE) != 0 || frame[X86_MXCSR_HIGH] != 0 ||
        frame[X86_MXCSR_HIGH + 1] != 0 || get(frame, X86_FPSTATE_AT) != at + X86_FPSTATE)
        return false;
    if ((get(frame, X86_SEGMENTS) & 0xFFFF) != X86_USER_CS || get(frame, X86_SEGMENTS) >> 48 != X86_USER_SS ||
        x86_register(frame, X86_RIP) >> 47)
        return false;
    return memcmp(frame + X86_SS, s->made + X86_SS, 12) == 0 && get(frame, X86_SS + 16) == s->stack_size;
}

static uint64_t x86_leave(struct handled_state *s)
{
    uint8_t *frame = s->taken;
    uint64_t flags = s->at[1], saved = x86_register(frame, X86_FLAGS);
    put(frame, X86_REGISTERS + 8 * X86_FLAGS, ((flags & ~(uint64_t)FIX_FLAGS) | (saved & FIX_FLAGS)) & ~(uint64_t)RF);
    s->tag_written = full_tag(frame[X86_TAG]);
    s->mask = get(frame, X86_MASK) & ~UNBLOCKABLE;
    move(s, s->write, &s->writing);
    return x86_register(frame, X86_RIP);
}

/* -- arm64 -------------------------------------------------------------------------------------------------------- */

enum { ARM_INFO = 16, ARM_UCONTEXT = 128, ARM_SS = 144, ARM_MASK = 168, ARM_FAULT = 304, ARM_REGISTERS = 312, ARM_SP = 31, ARM_PC = 32,
       ARM_PSTATE = 33, ARM_RECORDS = 592, ARM_ESR = ARM_RECORDS + 528, ARM_LENGTH = ARM_ESR + 24, ARM_SIZE = 4688 };
enum { ARM_PERMISSION = 0xF, ARM_TRANSLATION = 7, ARM_WRITES = 0x40, ARM_NOT_USER = 0x3DF };
#define ARM_ABORT (0x24ULL << 26 | 1ULL << 25)
#define ARM_NZCV 0xF0000000ULL

static uint64_t arm_register(const uint8_t *frame, int n)
{
    return get(frame, ARM_REGISTERS + 8 * (size_t)n);
}

static bool arm_enter(struct handled_state *s, uint64_t address)
{
    uint8_t *frame = s->made;
    bool alternate;
    uint64_t record = (top_of_stack(s, arm_register(frame, ARM_SP), &alternate) - 16) & ~15ULL, at = record - ARM_SIZE;
    uint8_t *host = record < ARM_SIZE ? NULL : reach(s->pages, at, ARM_SIZE + 16, W | DIRTY, CODE);
    if (host == NULL)
        return false;
    /* Of the last level: there are tables where there are regions. */
    s->code = ARM_ABORT | (s->present ? ARM_PERMISSION : ARM_TRANSLATION) | (s->access == ACCESS_WRITE ? ARM_WRITES : 0ULL);
    put(frame, ARM_INFO, s->with_info ? address : 0);
    put(frame, ARM_MASK, s->mask);
    put(frame, ARM_FAULT, address);
    put(frame, ARM_ESR + 8, s->code);
    memcpy(host, frame, ARM_LENGTH);
    memcpy(host + ARM_SIZE, frame + ARM_REGISTERS + 8 * 29, 16);
    const uint64_t registers[] = {s->enter[0], record, s->restorer, at, s->handler, at, at + ARM_UCONTEXT};
    memcpy(s->enter, registers, sizeof registers);
    move(s, s->write, &s->entry);
    return true;
}

static bool arm_take(struct handled_state *s)
{
    uint8_t *frame = s->taken;
    uint64_t at = s->at[0];
    const uint8_t *host = at & 15 ? NULL : reach(s->pages, at, ARM_LENGTH, R, CODE);
    if (host == NULL)
        return false;
    memcpy(frame, host, ARM_LENGTH);
    if (get(frame, ARM_RECORDS) != get(s->made, ARM_RECORDS) || get(frame, ARM_ESR) != get(s->made, ARM_ESR) || get(frame, ARM_ESR + 16))
        return false;
    if (arm_register(frame, ARM_PSTATE) & ARM_NOT_USER)
        return false;
    return memcmp(frame + ARM_SS, s->made + ARM_SS, 12) == 0 && get(frame, ARM_SS + 16) == s->stack_size;
}

static uint64_t arm_leave(struct handled_state *s)
{
    uint8_t *frame = s->taken;
    put(frame, ARM_REGISTERS + 8 * ARM_PSTATE, arm_register(frame, ARM_PSTATE) & ARM_NZCV);
    s->mask = get(frame, ARM_MASK) & ~UNBLOCKABLE;
    move(s, s->write, &s->writing);
    return arm_register(frame, ARM_PC);
}

/* -- the run ------------------------------------------------------------------------------------------------------ */

/* The hook of the fill: in which state of the registers was a page entered into the log? */
void handled_witness(void *state)
{
    struct handled_state *s = state;
    if (s->inside) {
        move(s, s->read, &s->witness);
        s->witnessed = s->pages->dirty_count;
    }
}

/* May the access to the beginning of a page, which was refused, have begun on the page before? Then it was the access that had that
 * entered into the log just before: all registers are as then. Python looks at the instruction to know. Twin: make_first_page_present. */
static bool crossed(const struct handled_state *s, uint64_t address)
{
    const struct fill_state *pages = s->pages;
    if (address & (PAGE - 1) || !pages->dirty_count || pages->dirty_log[pages->dirty_count - 1] != address - PAGE)
        return false;
    const uint8_t *now = s->made + (s->x86 ? X86_REGISTERS : ARM_REGISTERS);
    return s->witnessed != pages->dirty_count || memcmp(s->then, now, 8 * s->witness.count) == 0;
}

/* May the thread be in a restartable sequence, which a signal aborts? */
static bool in_sequence(const struct handled_state *s)
{
    const uint8_t *host = s->sequence ? reach(s->pages, s->sequence, 16, R, 0) : NULL;
    return s->sequence && (host == NULL || get(host, 8));
}

/* Is the refusal that ended the run one to be answered here? Then the handler's registers are in place. */
static bool enter(struct handled_state *s)
{
    struct fill_state *pages = s->pages;
    if (!s->armed || s->mask & s->bit || !pages->refused || in_sequence(s))
        return false;
    uint64_t address = *s->failed;
    if ((address & ~(PAGE - 1ULL)) != pages->refused_page || address >= s->end)
        return false;
    /* The signal tells whether the page is there: not without a right; and certainly that of anonymous memory that was written to. */
    s->present = reach(pages, address, 1, NONE, CODE) == NULL;
    if (s->present && reach(pages, address, 1, OWN | DIRTY, CODE) == NULL)
        return false;
    if (move(s, s->read, &s->reading) || crossed(s, address))
        return false;
    s->access = pages->refused;
    if (!(s->x86 ? x86_enter(s, address) : arm_enter(s, address)))
        return false;
    s->address = address;
    s->mask |= s->adds;
    s->count++;
    return true;
}

/* uc_emu_start, again and again; GO_ON: what ended the last one has been dealt with. */
int handled_run(void *state, uint64_t pc, uint64_t until)
{
    struct handled_state *s = state;
    int error;
    s->inside = 1;
    do {
        s->pages->refused = 0;
        if (s->blocks != NULL)
            s->blocks->again = s->blocks->address <= pc && pc < s->blocks->address + s->blocks->size;
        error = s->start(s->uc, pc, until, 0, 0);
        if (s->returning) {
            s->returning = 0;
            if (error)
                break;
            pc = s->x86 ? x86_leave(s) : arm_leave(s);
            s->count++;
        } else if (error == ERROR_EXCEPTION && enter(s)) {
            pc = s->handler;
        } else {
            break;
        }
        error = GO_ON;
    } while (!s->pages->attend);
    s->inside = 0;
    return error;
}

/* Is this system call a plain rt_sigreturn? Then the engine is stopped. */
static bool returns(struct handled_state *s)
{
    s->numbered = 0;
    if (!s->inside || !s->armed || move(s, s->read, &s->number) || (uint32_t)s->numbered != (s->x86 ? SIGRETURN_X86 : SIGRETURN_ARM64))
        return false;
    if (move(s, s->read, &s->here) || !(s->x86 ? x86_take(s) : arm_take(s)))
        return false;
    s->returning = 1;
    s->stop(s->uc);
    return true;
}

/* The hook for x86-64's system calls. */
void handled_call(void *uc, void *state)
{
    struct handled_state *s = state;
    if (!returns(s))
        s->call(uc, s->data);
}

/* The hook for arm64's interrupts, system calls among them. */
void handled_interrupt(void *uc, uint32_t number, void *state)
{
    struct handled_state *s = state;
    if (number != SYSTEM_CALL || !returns(s))
        s->interrupt(uc, number, s->data);
}
