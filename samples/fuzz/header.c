/* A file with a header of 12 bytes in front, read in two calls. The bugs show only with chosen results (--results): a short read of the
 * header leaves the length as it was at first, which is wild; and what mmap returned is not looked at, so that ENOMEM is written through. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
    unsigned char head[12] = {0}, body[256];
    uint32_t length = 0xfffffff0;
    unsigned total = 0;
    long got = read(0, head, sizeof head), more;
    if (got <= 0 || memcmp(head, "EMUH", 4) != 0)
        return 1;
    if (got == sizeof head)
        length = head[8] | head[9] << 8;
    if (got == sizeof head && length > sizeof body)
        return 2;
    more = read(0, body, sizeof body);
    if (more <= 0)
        return 3;
    if (head[4] == 3) {
        unsigned char *large = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        large[100] = length;
        total += large[100];
    }
    for (uint32_t i = 0; i < length; i++)
        total += body[i];
    printf("%u\n", total);
    return 0;
}
