/* Files behind headers with octal numbers, like tar. The bug: the length of a long name is believed: it overflows the stack's buffer,
 * and the function returns to what lies there. */
#include "input.h"

static unsigned octal(const unsigned char *text, int length)
{
    unsigned value = 0;
    while (length-- && *text >= '0' && *text <= '7')
        value = value * 8 + *text++ - '0';
    return value;
}

static __attribute__((noinline)) unsigned entry(const unsigned char *head, size_t room)
{
    char name[32];
    unsigned length = octal(head + 8, 4), hash = 0;
    if (head[7] == 'L' && length < room - 16)
        memcpy(name, head + 16, length);
    else
        memcpy(name, head, 7), length = 7;
    for (unsigned i = 0; i < length && i < sizeof name; i++)
        hash = hash * 31 + name[i];
    __asm__ volatile("" : : "r"(name) : "memory");
    return hash;
}

int main(int argc, char **argv)
{
    unsigned hash = 0;
    take(argc, argv);
    for (size_t at = 0; at + 16 <= size;) {
        if (memcmp(input + at + 12, "tar", 3) != 0)
            return 3;
        hash ^= entry(input + at, size - at);
        at += 16 + (octal(input + at + 8, 4) + 15) / 16 * 16;
    }
    printf("%x\n", hash);
    return 0;
}
