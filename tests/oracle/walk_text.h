/* The transcript: text is gathered in memory and written once an operation, so that what was done before a death is known. */
#ifndef WALK_TEXT_H
#define WALK_TEXT_H
#include "walk_abi.h"

struct text { word used; char data[200000]; };
static struct text transcript, state_now, state_before;
static struct text *out = &transcript;

static void say_char(char c)
{
    if (out->used < sizeof out->data)
        out->data[out->used++] = c;
}

static void say(const char *s)
{
    while (*s)
        say_char(*s++);
}

static void say_number(long v)
{
    char digits[24], *p = digits + sizeof digits;
    word u = v < 0 ? -(word)v : (word)v;
    *--p = 0;
    do *--p = (char)('0' + u % 10); while (u /= 10);
    if (v < 0)
        *--p = '-';
    say(p);
}

static void say_hex(word v)
{
    int shift = 60;
    while (shift && !(v >> shift & 15))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        say_char("0123456789abcdef"[v >> shift & 15]);
}

static void say_field(const char *name, long v)
{
    say(name);
    say_number(v);
}

static void say_result(long result)
{
    say(" = ");
    if (failed(result)) {
        for (word i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
            if (ERRORS[i].number == -result) {
                say(ERRORS[i].name);
                return;
            }
        say("errno ");
        result = -result;
    }
    say_number(result);
}

static void flush(void)
{
    for (word done = 0; done < transcript.used;) {
        long n = S3(SYS_write, 1, transcript.data + done, transcript.used - done);
        if (n <= 0)
            S1(SYS_exit, 98);
        done += (word)n;
    }
    transcript.used = 0;
}

static int same_text(const struct text *a, const struct text *b)
{
    if (a->used != b->used)
        return 0;
    for (word i = 0; i < a->used; i++)
        if (a->data[i] != b->data[i])
            return 0;
    return 1;
}
#endif
