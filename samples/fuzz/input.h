/* The input of a target: the file named by its argument, or standard input. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef INPUT_ROOM
#define INPUT_ROOM (1 << 16)
#endif

static unsigned char input[INPUT_ROOM];
static size_t size;

static void take(int argc, char **argv)
{
    int fd = argc > 1 ? open(argv[1], O_RDONLY) : 0;
    ssize_t got;
    if (fd < 0)
        exit(2);
    while (size < sizeof input && (got = read(fd, input + size, sizeof input - size)) > 0)
        size += got;
}

static inline unsigned be16(size_t at) { return at + 2 <= size ? input[at] << 8 | input[at + 1] : 0; }
static inline unsigned be32(size_t at) { return at + 4 <= size ? (unsigned)be16(at) << 16 | be16(at + 2) : 0; }
