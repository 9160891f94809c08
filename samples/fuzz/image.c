/* A chunked image, like PNG. The bug: a palette longer than the palette that was allocated for the depth overflows the heap. */
#include "input.h"

int main(int argc, char **argv)
{
    unsigned width = 0, height = 0, depth = 0, pixels = 0;
    unsigned char *palette = NULL;
    take(argc, argv);
    if (size < 8 || memcmp(input, "\x89" "EMU\r\n", 6) != 0)
        return 1;
    for (size_t at = 8; at + 8 <= size;) {
        unsigned length = be32(at);
        const unsigned char *type = input + at + 4, *data = input + at + 8;
        if (length > size - at - 8)
            return 3;
        if (memcmp(type, "HEAD", 4) == 0 && length >= 9) {
            width = be32(at + 8), height = be32(at + 12), depth = data[8];
            if (depth != 1 && depth != 2 && depth != 4 && depth != 8)
                return 4;
            free(palette);
            palette = malloc(3 << depth);
        } else if (memcmp(type, "PLTE", 4) == 0) {
            if (palette == NULL || length % 3 != 0)
                return 5;
            memcpy(palette, data, length);
        } else if (memcmp(type, "DATA", 4) == 0) {
            for (unsigned i = 0; i < length; i++)
                pixels += data[i];
        } else if (memcmp(type, "DONE", 4) == 0)
            break;
        at += 8 + length;
    }
    printf("%u x %u, %u colours, sum %u\n", width, height, 1u << depth, pixels);
    return 0;
}
