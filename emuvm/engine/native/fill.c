/* The TLB fill callback: one look at a page byte instead of a call into Python. A callback at the beginning of each block of code,
 * which counts edges, counts blocks down, and stops the engine there if somebody wants it. And the comparison of edge counters,
 * several changes of page bytes and host pages in one call, and attributes that get the values of a snapshot.
 *
 * Owns nothing: all state are the structs of state.h, which Python lays out. Every function has a twin in Python, named at its head.
 * Returning false from fill means "ask": Unicorn then calls the next fill hook, which is Python's.
 * Unicorn's headers are not needed; the callbacks' ABI is declared here (unicorn.h: uc_cb_tlbevent_t, uc_tlb_entry, uc_cb_hookcode_t).
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#ifdef __linux__
#include <string.h>
#include <sys/mman.h>
#endif
#include "state.h"

#ifndef FILL_SOURCE
#define FILL_SOURCE 0 /* setup.py gives the CRC-32 of the sources */
#endif

struct tlb_entry {
    uint64_t paddr;
    uint32_t perms;
};

/* A page that has any right has all that its region gives, or it is known to have none: what is not among them is refused, and nobody need be asked. To have
 * granted nothing is Unicorn's refusal. Twin: PagedMemory._ask. */
static bool refuse(struct fill_state *state, uint64_t address, int access, uint8_t bits, struct tlb_entry *entry)
{
    if (!(state->refuses >> (access - ACCESS_READ) & 1) || !(bits & (R | W | X | NONE)))
        return false;
    state->refused = (uint64_t)access;
    state->refused_page = address & ~(PAGE - 1ULL);
    state->fills_left--;
    entry->paddr = address;
    entry->perms = 0;
    return true;
}

static bool fill(void *uc, uint64_t address, int access, struct tlb_entry *entry, void *data)
{
    struct fill_state *state = data;
    const struct window *window = window_of(state, address);
    (void)uc;
    if (window == NULL || state->fills_left == 0)
        return false;

    uint8_t *byte = window->bytes + page_in_window(address);
    uint8_t bits = *byte;
    switch (access) {
    case ACCESS_READ:
        if (!(bits & R))
            return refuse(state, address, access, bits, entry);
        /* A page already known to be dirty needs no further notice of writes. */
        entry->perms = (bits & (W | X | DIRTY)) == (W | DIRTY) ? R | W : R;
        break;
    case ACCESS_WRITE:
        if (!(bits & W))
            return refuse(state, address, access, bits, entry);
        if (!(bits & DIRTY)) {
            if (state->dirty_count >= state->dirty_capacity)
                return false;
            state->dirty_log[state->dirty_count++] = address & ~(PAGE - 1ULL);
            *byte = bits |= DIRTY;
            if (state->noting != NULL)
                state->noting(state->whom);
        }
        /* Executable as well: Unicorn then watches the stores for modified code. It may fetch without asking again. */
        if (bits & X)
            *byte = bits | CODE;
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

/* Is the block not to be counted? One that is stopped before it begins comes again, and has not begun. */
static bool held(void *uc, struct block_state *state)
{
    if (!state->wanted && state->again) {
        state->again = 0;
        return true;
    }
    if (!state->wanted && state->left != 0)
        return false;
    state->spent = !state->wanted;
    state->size = 0;
    state->stop(uc);
    return true;
}

/* Twin: unicorn_blocks.Blocks._block. */
static void block(void *uc, uint64_t address, uint32_t size, void *data)
{
    struct block_state *state = data;
    if (__builtin_expect((state->wanted | state->again) != 0 || state->left == 0, 0) && held(uc, state))
        return;
    state->left--;
    state->address = address;
    state->size = size;
    if (state->map != NULL) {
        uint64_t place = address * 0x9E3779B97F4A7C15ULL >> 48;
        uint8_t *counter = state->map + (place ^ state->previous);
        uint8_t count = (uint8_t)(*counter + 1);
        *counter = count + !count; /* never back to 0 */
        state->previous = place >> 1;
    }
}

static uint8_t bucket(uint8_t count)
{
    return count < 3 ? count : count == 3 ? 4 : count < 8 ? 8 : count < 16 ? 16 : count < 32 ? 32 : count < 128 ? 64 : 128;
}

/* merge(map, seen): add the buckets of a map of counters to those seen so far; 0 nothing new, 1 a new bucket, 2 a new edge.
 * Twin: emuvm/fuzz/coverage.py, Seen._merge. */
static PyObject *merge(PyObject *self, PyObject *args)
{
    unsigned long long map_at, seen_at;
    long found = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "KK", &map_at, &seen_at))
        return NULL;
    const uint64_t *words = (const uint64_t *)(uintptr_t)map_at;
    const uint8_t *map = (const uint8_t *)(uintptr_t)map_at;
    uint8_t *seen = (uint8_t *)(uintptr_t)seen_at;
    for (size_t word = 0; word < MAP_SIZE / 8; word++) {
        if (words[word] == 0)
            continue;
        for (size_t i = word * 8; i < word * 8 + 8; i++) {
            uint8_t bits = bucket(map[i]);
            if (bits & ~seen[i]) {
                if (seen[i] == 0)
                    found = 2;
                else if (found == 0)
                    found = 1;
                seen[i] |= bits;
            }
        }
    }
    return PyLong_FromLong(found);
}

#ifdef __linux__
/* emuvm/engine/unicorn_again.py, _Step */
struct step {
    uint8_t *bytes; /* of the first page */
    uint64_t pages;
    void *host; /* the first page: all are forgotten; NULL: those that have any right get others */
    uint32_t rights;
    uint32_t need; /* bits without which a page loses its rights */
};

enum { LESS = 1, HAD_CODE = 2 };

/* Twin: pagetable._protected. */
static uint8_t protected(uint8_t bits, const struct step *step)
{
    uint8_t kept = bits & (DIRTY | PRESENT | OWN);
    if (!(bits & (R | W | X | NONE)) || (bits & step->need) != step->need)
        return kept;
    if (step->rights)
        return (uint8_t)(kept | step->rights | PRESENT);
    return kept & OWN ? kept | NONE : kept;
}

static long protect(const struct step *step)
{
    long seen = 0;
    for (uint64_t i = 0; i < step->pages; i++) {
        uint8_t bits = step->bytes[i], changed = protected(bits, step), rights = bits & (R | W | X);
        if (changed == bits)
            continue;
        if (bits & CODE)
            seen |= LESS | HAD_CODE;
        if (step->need || (rights & ~step->rights) || (rights && (step->rights & ~bits & X)))
            seen |= LESS;
        step->bytes[i] = changed;
    }
    return seen;
}

static long forget(const struct step *step)
{
    uint8_t all = 0;
    for (uint64_t i = 0; i < step->pages; i++)
        all |= step->bytes[i];
    if (all) /* the table is sparse: what is not stored to costs no memory */
        memset(step->bytes, 0, step->pages);
    if (madvise(step->host, step->pages << PAGE_BITS, MADV_DONTNEED))
        memset(step->host, 0, step->pages << PAGE_BITS); /* somebody locked them */
    return (all & ~(DIRTY | PRESENT | OWN) ? LESS : 0) | (all & CODE ? HAD_CODE : 0);
}

/* steps(address, count): take them in their order; bits: something that was granted is not any more, code was among it.
 * Twin: unicorn_again.one_by_one. */
static PyObject *steps(PyObject *self, PyObject *args)
{
    unsigned long long at, count;
    long seen = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "KK", &at, &count))
        return NULL;
    const struct step *step = (const struct step *)(uintptr_t)at;
    for (unsigned long long i = 0; i < count; i++)
        seen |= step[i].host ? forget(&step[i]) : protect(&step[i]);
    return PyLong_FromLong(seen);
}
#endif

/* put_back(live, kept): lists of dictionaries in pairs; in the first of each pair every key of the second gets its value of there.
 * What is there already is only looked at, not stored again. Twin: emuvm/fuzz/state.py, _put_back. */
static PyObject *put_back(PyObject *self, PyObject *args)
{
    PyObject *live, *kept;
    (void)self;
    if (!PyArg_ParseTuple(args, "O!O!", &PyList_Type, &live, &PyList_Type, &kept))
        return NULL;
    Py_ssize_t count = PyList_Size(kept);
    if (PyList_Size(live) != count) {
        PyErr_SetString(PyExc_ValueError, "the lists are not equally long");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *values = PyList_GetItem(live, i), *wanted = PyList_GetItem(kept, i), *key, *value;
        Py_ssize_t at = 0, there = 0;
        bool in_step = true; /* the keys are met in one order: then none has to be looked up, nor even touched */
        if (!PyDict_Check(values) || !PyDict_Check(wanted)) {
            PyErr_SetString(PyExc_TypeError, "lists of dictionaries");
            return NULL;
        }
        while (PyDict_Next(wanted, &at, &key, &value)) {
            PyObject *name = NULL, *now = NULL;
            while (in_step && name != key)
                in_step = PyDict_Next(values, &there, &name, &now);
            if ((in_step ? now : PyDict_GetItemWithError(values, key)) == value)
                continue;
            if (PyErr_Occurred() || PyDict_SetItem(values, key, value))
                return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *addresses(PyObject *self, PyObject *ignored)
{
    (void)self;
    (void)ignored;
    return Py_BuildValue("(KnIKnKKKKnKKn)", (unsigned long long)(uintptr_t)&fill, (Py_ssize_t)sizeof(struct fill_state), (unsigned)FILL_SOURCE,
                         (unsigned long long)(uintptr_t)&block, (Py_ssize_t)sizeof(struct block_state),
                         (unsigned long long)(uintptr_t)&handled_run, (unsigned long long)(uintptr_t)&handled_call,
                         (unsigned long long)(uintptr_t)&handled_interrupt, (unsigned long long)(uintptr_t)&handled_witness,
                         (Py_ssize_t)handled_size(),
                         (unsigned long long)(uintptr_t)&calls_instruction, (unsigned long long)(uintptr_t)&calls_interrupt,
                         (Py_ssize_t)calls_size());
}

PyObject *copies_peek(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *copies_poke(PyObject *self, PyObject *const *args, Py_ssize_t count);

static PyMethodDef methods[] = {
    {"addresses", addresses, METH_NOARGS, 
     "(address of the fill callback, size of its state in bytes, CRC-32 of the sources, address of the block callback, size of its state, "
     "addresses of handled.c's run, system call hook, interrupt hook and witness, size of their state, "
     "addresses of calls.c's system call hook and interrupt hook, size of their state)"},
    {"merge", merge, METH_VARARGS, "(address of a map of edge counters, address of what was seen) -> 0 nothing new, 1 a new bucket, 2 a new edge"},
    {"peek", (PyCFunction)(void (*)(void))copies_peek, METH_FASTCALL, "(address of the fill state, guest address, length) -> the bytes, or None: ask"},
    {"poke", (PyCFunction)(void (*)(void))copies_poke, METH_FASTCALL, "(address of the fill state, guest address, data) -> stored? If not: ask"},
    {"put_back", put_back, METH_VARARGS, "(list of dictionaries, list of dictionaries): the first get the values of the second"},
#ifdef __linux__
    {"steps", steps, METH_VARARGS, "(address of steps, their count) -> 1 rights were taken away | 2 code was there"},
#endif
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
