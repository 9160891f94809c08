/* The hooks for system calls: registers out, Python's answer in, without ctypes between.
 *
 * Owns nothing: the state is struct call_state, which engine/unicorn_calls.py lays out, and whose Python objects that keeps alive.
 * Twin: unicorn_calls.py, _instruction and _interrupt.
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>

#include "state.h"

enum { ARGUMENTS = 6, FLAGS = 8, TRAP_FLAG = 0x100, SYSCALL_LENGTH = 2 };

/* Hand what Python raised to Python's `fail`: nobody else here could. */
static void fail(const struct call_state *s)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    PyObject *done = PyObject_CallFunctionObjArgs(s->fail, value, NULL);
    if (done == NULL)
        PyErr_WriteUnraisable(s->fail);
    Py_XDECREF(done);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* Ask, or tell who is to serve the call once the engine stands. False: Python raised an exception. */
static bool ask(struct call_state *s, bool *answered)
{
    PyObject *number = PyLong_FromUnsignedLong((uint32_t)s->values[0]), *args = PyTuple_New(ARGUMENTS), *result = NULL;
    bool done = number != NULL && args != NULL;
    *answered = false;
    for (int i = 0; done && i < ARGUMENTS; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(s->values[1 + i]);
        done = value != NULL && PyTuple_SetItem(args, i, value) == 0;
    }
    if (done && s->fast != NULL) {
        PyObject *fast = Py_NewRef(s->fast); /* it may be replaced meanwhile */
        result = PyObject_CallFunctionObjArgs(fast, number, args, NULL);
        Py_DECREF(fast);
        done = result != NULL;
    }
    if (done && result != NULL && result != Py_None) {
        s->result = PyLong_AsUnsignedLongLongMask(result);
        done = *answered = !PyErr_Occurred();
    } else if (done) {
        Py_XDECREF(result);
        result = PyObject_CallFunctionObjArgs(s->stopped, number, args, NULL);
        done = result != NULL;
    }
    Py_XDECREF(number);
    Py_XDECREF(args);
    Py_XDECREF(result);
    return done;
}

static bool serve(struct call_state *s, bool *answered)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    bool done = ask(s, answered);
    if (!done)
        fail(s);
    PyGILState_Release(gil);
    return done;
}

static void move(const struct call_state *s, transfer *how, const struct batch *batch)
{
    how(s->uc, batch->ids, batch->places, (int)batch->count);
}

/* UC_HOOK_INSN of x86-64's syscall, which leaves the return address in rcx and the flags in r11. */
void calls_instruction(void *uc, void *state)
{
    struct call_state *s = state;
    bool answered;
    move(s, s->read, &s->arguments);
    if (s->values[FLAGS] & TRAP_FLAG) {
        s->stepped(uc, NULL);
        return;
    }
    if (!serve(s, &answered))
        return;
    s->values[1 + ARGUMENTS] += SYSCALL_LENGTH;
    move(s, s->write, answered ? &s->back_answered : &s->back);
}

/* UC_HOOK_INTR: a system call, or another exception, which is Python's. */
void calls_interrupt(void *uc, uint32_t number, void *state)
{
    struct call_state *s = state;
    bool answered;
    if (number != s->interrupt) {
        s->other(uc, number, NULL);
        return;
    }
    move(s, s->read, &s->arguments);
    if (serve(s, &answered) && answered)
        move(s, s->write, &s->back_answered);
}

size_t calls_size(void)
{
    return sizeof(struct call_state);
}
