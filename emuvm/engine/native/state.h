/* What the files of the C module share with each other and, field by field, with Python (named at each struct). */
#ifndef EMUVM_STATE_H
#define EMUVM_STATE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { R = 1, W = 2, X = 4, DIRTY = 8, PRESENT = 16, CODE = 32, OWN = 64, NONE = 128 };
enum { ACCESS_READ = 16, ACCESS_WRITE = 17, ACCESS_FETCH = 18 };
enum { PAGE_BITS = 12, PAGE = 1 << PAGE_BITS, WINDOW_BITS = 40, MAX_WINDOWS = 256, MAP_SIZE = 1 << 16 };

struct window {
    uint64_t number;
    uint8_t *bytes; /* one per page */
    uint8_t *host;  /* the contents, or NULL */
};

/* pagetable.FillState */
struct fill_state {
    uint64_t fills_left; /* at 0 Python is asked: it has the TLB flushed, which lets it grow */
    uint64_t window_count;
    uint64_t dirty_count;
    uint64_t dirty_capacity;
    uint64_t *dirty_log;     /* page addresses, in the order of their first write */
    uint64_t refuses;        /* bit n: the fill itself may refuse accesses of kind ACCESS_READ + n */
    uint64_t refused;        /* it did so last: for this kind of access, 0: no */
    uint64_t refused_page;
    void (*noting)(void *whom); /* or NULL: to be called when a page is entered into the log */
    void *whom;
    volatile uint64_t attend; /* Python wants to be back from handled.c's run as soon as possible */
    struct window windows[MAX_WINDOWS];
};

/* unicorn_blocks.BlockState */
struct block_state {
    volatile uint64_t wanted; /* by any thread: stop at the next block */
    int (*stop)(void *uc);    /* uc_emu_stop */
    uint64_t left;            /* blocks that may still begin */
    uint64_t spent;           /* the engine was stopped because `left` was 0 */
    uint8_t *map;             /* MAP_SIZE counters of edges, or NULL */
    uint64_t previous;        /* half the place of the block before */
    uint64_t address, size;   /* of the last block that began */
    uint64_t again;           /* what begins now is the rest of that block: not counted */
};

/* A fixed set of registers and where each lies: unicorn_raw.Batch */
struct batch {
    int *ids;
    void **places;
    uint64_t count;
};

typedef int transfer(void *uc, int *ids, void **places, int count);

/* unicorn_calls.CallState */
struct call_state {
    void *uc;
    transfer *read, *write;
    struct batch arguments, back, back_answered;
    uint64_t interrupt; /* the number that is a system call, where it is no instruction */
    void *fast;         /* Python objects: asked first, or NULL; told that the call is to be served later; told of an exception */
    void *stopped, *fail;
    void (*other)(void *uc, uint32_t number, void *data); /* Python's hook for interrupts that are no system calls */
    void (*stepped)(void *uc, void *data); /* x86: Python's hook for calls while the trap flag is set */
    uint64_t values[9]; /* number, arguments; x86: pc and flags */
    uint64_t result;
};

static inline const struct window *window_of(const struct fill_state *state, uint64_t address)
{
    for (uint64_t i = 0; i < state->window_count; i++)
        if (state->windows[i].number == address >> WINDOW_BITS)
            return &state->windows[i];
    return NULL;
}

static inline uint64_t page_in_window(uint64_t address)
{
    return (address & ((1ULL << WINDOW_BITS) - 1)) >> PAGE_BITS;
}

/* The host address of guest memory all of whose pages have the bits `need`, and none of `bar`; NULL: not that simple. */
static inline uint8_t *reach(const struct fill_state *pages, uint64_t address, uint64_t length, uint8_t need, uint8_t bar)
{
    uint64_t last = address + length - 1;
    const struct window *window = window_of(pages, address);
    if (window == NULL || window->host == NULL || (length - 1) >> WINDOW_BITS || last >> WINDOW_BITS != window->number)
        return NULL;
    for (uint64_t page = page_in_window(address); page <= page_in_window(last); page++)
        if ((window->bytes[page] & (need | bar)) != need)
            return NULL;
    return window->host + (address & ((1ULL << WINDOW_BITS) - 1));
}

/* calls.c */
void calls_instruction(void *uc, void *state);
void calls_interrupt(void *uc, uint32_t number, void *state);
size_t calls_size(void);

/* handled.c: what Python gets the addresses and sizes of. */
int handled_run(void *state, uint64_t pc, uint64_t until);
void handled_call(void *uc, void *state);
void handled_interrupt(void *uc, uint32_t number, void *state);
void handled_witness(void *state);
size_t handled_size(void);
#endif
