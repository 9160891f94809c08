/* Lists in lists. The bug: nothing limits how deep they lie: the stack ends. */
#include "input.h"

static size_t at;

static __attribute__((noinline)) unsigned list(void)
{
    volatile unsigned char seen[1 << 17];
    unsigned total = 0;
    seen[0] = at;
    while (at < size) {
        unsigned char c = input[at++];
        if (c == '[')
            total += list() + 1;
        else if (c == ']')
            return total * 3 + seen[0];
        else
            total += c;
    }
    return total;
}

int main(int argc, char **argv)
{
    take(argc, argv);
    printf("%u\n", list());
    return 0;
}
