/* Base64 between lines of dashes. The bug: an assertion that there is no padding in the middle, which input can make fail: abort. */
#include "input.h"
#include <assert.h>

int main(int argc, char **argv)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned word = 0, bits = 0, sum = 0, padding = 0;
    char *at, *end;
    take(argc, argv);
    at = memmem(input, size, "-----BEGIN", 10);
    if (at == NULL || (at = memchr(at, '\n', (char *)input + size - at)) == NULL)
        return 1;
    end = memmem(at, (char *)input + size - at, "-----END", 8);
    if (end == NULL)
        return 2;
    for (; at < end; at++) {
        const char *digit = *at ? strchr(digits, *at) : NULL;
        if (*at == '=')
            padding++;
        if (digit == NULL)
            continue;
        assert(padding == 0);
        word = word << 6 | (digit - digits);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            sum = sum * 33 + (word >> bits & 255);
        }
    }
    printf("%x\n", sum);
    return 0;
}
