/* The TLB fill callback: one look at a page byte instead of a call into Python. And a callback at the beginning of each block of
 * code, which stops the engine there if somebody wants it.
 *
 * Owns nothing: all state are a struct fill_state (emuvm/engine/pagetable.py must agree with it) and a struct block_state
 * (emuvm/engine/unicorn_stops.py), which Python lays out.
 * Returning false from fill means "ask": Unicorn then calls the next fill hook, which is Python's.
 * Unicorn's headers are not needed; the callbacks' ABI is declared here (unicorn.h: uc_cb_tlbevent_t, uc_tlb_entry, uc_cb_hookcode_t).
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef FILL_SOURCE
#define FILL_SOURCE 0 /* setup.py gives the CRC-32 of this file */
#endif

enum { R = 1, W = 2, X = 4, DIRTY = 8, PRESENT = 16, CODE = 32 };
enum { ACCESS_READ = 16, ACCESS_WRITE = 17, ACCESS_FETCH = 18 };
enum { PAGE_BITS = 12, WINDOW_BITS = 40, MAX_WINDOWS = 256 };

struct tlb_entry {
    uint64_t paddr;
    uint32_t perms;
};

struct window {
    uint64_t number;
    uint8_t *bytes; /* one per page */
};

struct fill_state {
    uint64_t fills_left; /* at 0 Python is asked: it has the TLB flushed, which lets it grow */
    uint64_t window_count;
    uint64_t dirty_count;
    uint64_t dirty_capacity;
    uint64_t *dirty_log; /* page addresses, in the order of their first write */
    struct window windows[MAX_WINDOWS];
};

static bool fill(void *uc, uint64_t address, int access, struct tlb_entry *entry, void *data)
{
    struct fill_state *state = data;
    uint64_t number = address >> WINDOW_BITS;
    uint8_t *byte = NULL;
    (void)uc;
    for (uint64_t i = 0; i < state->window_count; i++) {
        if (state->windows[i].number == number) {
            byte = state->windows[i].bytes + ((address & ((1ULL << WINDOW_BITS) - 1)) >> PAGE_BITS);
            break;
        }
    }
    if (byte == NULL)
        return false;

    if (state->fills_left == 0)
        return false;

    uint8_t bits = *byte;
    switch (access) {
    case ACCESS_READ:
        if (!(bits & R))
            return false;
        /* A page already known to be dirty needs no further notice of writes. */
        entry->perms = (bits & (W | X | DIRTY)) == (W | DIRTY) ? R | W : R;
        break;
    case ACCESS_WRITE:
        if (!(bits & W))
            return false;
        if (!(bits & DIRTY)) {
            if (state->dirty_count >= state->dirty_capacity)
                return false;
            state->dirty_log[state->dirty_count++] = address & ~((1ULL << PAGE_BITS) - 1);
            *byte = bits | DIRTY;
        }
        /* Executable as well: Unicorn then watches the stores for modified code. */
        entry->perms = R | W | (bits & X);
        break;
    case ACCESS_FETCH:
        if ((bits & (X | CODE)) != (X | CODE))
            return false;
        entry->perms = R | X;
        break;
    default:
        return false;
    }
    entry->paddr = address;
    state->fills_left--;
    return true;
}

struct block_state {
    volatile uint64_t wanted; /* by any thread: stop at the next block */
    int (*stop)(void *uc);    /* uc_emu_stop */
};

static void block(void *uc, uint64_t address, uint32_t size, void *data)
{
    struct block_state *state = data;
    (void)address;
    (void)size;
    if (state->wanted)
        state->stop(uc);
}

static PyObject *addresses(PyObject *self, PyObject *ignored)
{
    (void)self;
    (void)ignored;
    return Py_BuildValue("(KnIK)", (unsigned long long)(uintptr_t)&fill, (Py_ssize_t)sizeof(struct fill_state), (unsigned)FILL_SOURCE,
                         (unsigned long long)(uintptr_t)&block);
}

static PyMethodDef methods[] = {
    {"addresses", addresses, METH_NOARGS, "(address of the fill callback, size of its state in bytes, CRC-32 of the source, address of the block callback)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_fill", "Native callbacks for Unicorn: see fill.c.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__fill(void)
{
    return PyModuleDef_Init(&module);
}
