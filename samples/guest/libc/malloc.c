/* malloc and realloc up to 64 MiB, many small blocks in between; every block keeps its contents. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { SMALL = 2000 };
static unsigned char *small[SMALL];
static int holds(const unsigned char *p, size_t from, size_t to, int value)
{
    for (size_t i = from; i < to; i += 997)
        if (p[i] != value)
            return 0;
    return p[to - 1] == value;
}
int main(void)
{
    size_t size = 1000;
    unsigned char *big = malloc(size);
    int bad = 0;
    memset(big, 0x5a, size);
    for (int i = 0; i < SMALL; i++)
        small[i] = memset(malloc(1 + i % 700), i & 255, 1 + i % 700);
    while (size < 64u << 20) {
        size_t more = size * 2 < 64u << 20 ? size * 2 : 64u << 20;
        big = realloc(big, more);
        if (!big)
            return printf("no memory at %zu\n", more), 1;
        bad += !holds(big, 0, size, 0x5a);
        memset(big + size, 0x5a, more - size);
        size = more;
    }
    for (int i = 0; i < SMALL; i += 2)
        free(small[i]);
    big = realloc(big, 5000);
    bad += !holds(big, 0, 5000, 0x5a);
    for (int i = 1; i < SMALL; i += 2)
        bad += !holds(small[i], 0, 1 + (size_t)i % 700, i & 255), free(small[i]);
    unsigned char *zero = calloc(1, 64u << 20);
    bad += !zero || !holds(zero, 0, 64u << 20, 0);
    free(zero);
    free(big);
    printf("bytes %zu bad %d\n", size, bad);
    return 0;
}
