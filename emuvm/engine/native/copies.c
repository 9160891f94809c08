/* Copies between Python and guest memory, where one look at the page bytes tells that the guest itself may make them.
 *
 * Owns nothing. Whatever is not plain is declined, untouched: then the kernel side asks the space, page by page. That way is the twin
 * (kernel/usermem.py over engine/unicorn_paged.py); it answers the same, later.
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <string.h>

#include "state.h"

static bool number(PyObject *object, uint64_t *value)
{
    *value = PyLong_AsUnsignedLongLong(object);
    if (*value != UINT64_MAX || !PyErr_Occurred())
        return true;
    PyErr_Clear(); /* negative or too big: no address */
    return false;
}

/* peek(state, address, length): the bytes; None: not that simple. */
PyObject *copies_peek(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    uint64_t state, address, length;
    (void)self;
    if (count == 3 && number(args[0], &state) && number(args[1], &address) && number(args[2], &length)) {
        const uint8_t *host = reach((const struct fill_state *)(uintptr_t)state, address, length, R | PRESENT | OWN, 0);
        if (host != NULL)
            return PyBytes_FromStringAndSize((const char *)host, (Py_ssize_t)length);
    }
    Py_RETURN_NONE;
}

/* Enter pages into the log that are not in it; false: there is no room, and nothing has been done. */
static bool note(struct fill_state *state, uint64_t address, uint64_t length)
{
    uint8_t *bytes = window_of(state, address)->bytes;
    uint64_t first = page_in_window(address), last = page_in_window(address + length - 1), clean = 0;
    for (uint64_t page = first; page <= last; page++)
        clean += !(bytes[page] & DIRTY);
    if (clean > state->dirty_capacity - state->dirty_count)
        return false;
    for (uint64_t page = first; clean; page++) {
        if (bytes[page] & DIRTY)
            continue;
        state->dirty_log[state->dirty_count++] = (address & ~(PAGE - 1ULL)) + ((page - first) << PAGE_BITS);
        bytes[page] |= DIRTY;
        clean--;
    }
    return true;
}

/* poke(state, address, data): True: stored; False: not that simple. */
PyObject *copies_poke(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    uint64_t at, address;
    Py_buffer data;
    bool done = false;
    (void)self;
    if (count != 3 || !number(args[0], &at) || !number(args[1], &address))
        Py_RETURN_FALSE;
    if (PyObject_GetBuffer(args[2], &data, PyBUF_SIMPLE))
        return NULL;
    struct fill_state *state = (struct fill_state *)(uintptr_t)at;
    uint8_t *host = reach(state, address, (uint64_t)data.len, W | PRESENT | OWN, CODE);
    if (host != NULL && note(state, address, (uint64_t)data.len)) {
        memcpy(host, data.buf, (size_t)data.len);
        done = true;
    }
    PyBuffer_Release(&data);
    return PyBool_FromLong(done);
}
