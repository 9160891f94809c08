/* A JSON parser for the benchmark of the fuzzer: reads standard input, builds a tree with malloc, and exits with a checksum of it.
 * Some 26 000 instructions on average for the three inputs that fuzz.py makes; four system calls behind the first read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind { NUL, BOOL, NUMBER, STRING, ARRAY, OBJECT };

struct value {
    enum kind kind;
    double number;
    char *text;
    size_t length;
    struct value *first, *next;
    char *key;
};

static const char *at, *end;
static int depth;

static struct value *parse(void);

static void blanks(void)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
}

static char *string(size_t *length)
{
    char *out = malloc(end - at + 1);
    size_t n = 0;
    at++;
    while (at < end && *at != '"') {
        if (*at == '\\' && at + 1 < end) {
            at++;
            switch (*at) {
            case 'n': out[n++] = '\n'; break;
            case 't': out[n++] = '\t'; break;
            case 'u': {
                unsigned code = 0;
                for (int i = 0; i < 4 && at + 1 < end; i++) {
                    char c = *++at;
                    code = code * 16 + (c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 0);
                }
                if (code < 0x80)
                    out[n++] = code;
                else if (code < 0x800)
                    out[n++] = 0xC0 | code >> 6, out[n++] = 0x80 | (code & 63);
                else
                    out[n++] = 0xE0 | code >> 12, out[n++] = 0x80 | (code >> 6 & 63), out[n++] = 0x80 | (code & 63);
                break;
            }
            default: out[n++] = *at;
            }
            at++;
        } else
            out[n++] = *at++;
    }
    if (at == end) {
        free(out);
        return NULL;
    }
    at++;
    out[n] = 0;
    *length = n;
    return out;
}

static struct value *made(enum kind kind)
{
    struct value *value = calloc(1, sizeof *value);
    value->kind = kind;
    return value;
}

static struct value *list(char close)
{
    struct value *value = made(close == ']' ? ARRAY : OBJECT), **last = &value->first;
    at++;
    for (blanks(); at < end && *at != close; blanks()) {
        char *key = NULL;
        size_t ignored;
        if (close == '}') {
            if (*at != '"' || (key = string(&ignored)) == NULL)
                return NULL;
            blanks();
            if (at == end || *at++ != ':')
                return NULL;
        }
        if ((*last = parse()) == NULL)
            return NULL;
        (*last)->key = key;
        last = &(*last)->next;
        blanks();
        if (at < end && *at == ',')
            at++;
        else if (at < end && *at != close)
            return NULL;
    }
    return at++ < end ? value : NULL;
}

static struct value *word(const char *text, enum kind kind)
{
    size_t length = strlen(text);
    if ((size_t)(end - at) < length || memcmp(at, text, length) != 0)
        return NULL;
    at += length;
    return made(kind);
}

static struct value *number(void)
{
    struct value *value = made(NUMBER);
    int sign = 1;
    double scale = 1;
    const char *before = at;
    if (*at == '-')
        sign = -1, at++;
    while (at < end && *at >= '0' && *at <= '9')
        value->number = value->number * 10 + (*at++ - '0');
    if (at < end && *at == '.')
        for (at++; at < end && *at >= '0' && *at <= '9'; at++)
            value->number += (*at - '0') * (scale /= 10);
    value->number *= sign;
    return at == before ? NULL : value;
}

static struct value *parse(void)
{
    struct value *value = NULL;
    blanks();
    if (at == end || ++depth > 200)
        return NULL;
    switch (*at) {
    case '{': value = list('}'); break;
    case '[': value = list(']'); break;
    case '"':
        value = made(STRING);
        if ((value->text = string(&value->length)) == NULL)
            value = NULL;
        break;
    case 't': value = word("true", BOOL); break;
    case 'f': value = word("false", BOOL); break;
    case 'n': value = word("null", NUL); break;
    default: value = number();
    }
    depth--;
    return value;
}

static uint32_t sum(const struct value *value)
{
    uint32_t total = 2166136261u;
    for (; value != NULL; value = value->next) {
        total = (total ^ value->kind) * 16777619u ^ (uint32_t)(int64_t)(value->number * 8);
        for (size_t i = 0; i < value->length; i++)
            total = (total ^ (uint8_t)value->text[i]) * 16777619u;
        for (const char *key = value->key; key != NULL && *key; key++)
            total = (total ^ (uint8_t)*key) * 16777619u;
        total ^= sum(value->first);
    }
    return total;
}

int main(void)
{
    static char input[1 << 16];
    ssize_t length = 0, got;
    while ((got = read(0, input + length, sizeof input - length)) > 0)
        length += got;
    at = input;
    end = input + length;
    struct value *tree = parse();
    uint32_t found = sum(tree);
    if (write(1, &found, sizeof found) != sizeof found)
        return 1;
    return tree == NULL;
}
