/* A bytecode machine with eight registers and 256 bytes of memory. The bugs: an indexed store is not checked (a wild write), and a call
 * of a handler that was not set reads through a null pointer. */
#include "input.h"

struct handler {
    int count, limit;
};

int main(int argc, char **argv)
{
    int registers[8] = {0}, steps = 0;
    static signed char memory[256];
    static struct handler first = {0, 9}, *handlers[4] = {&first};
    take(argc, argv);
    for (size_t at = 0; at + 3 <= size && steps < 10000; steps++) {
        unsigned char code = input[at], a = input[at + 1] & 7, b = input[at + 2];
        at += 3;
        switch (code) {
        case 'L': registers[a] = (signed char)b; break;
        case '+': registers[a] += registers[b & 7]; break;
        case '*': registers[a] *= registers[b & 7]; break;
        case 'S': memory[registers[a]] = registers[b & 7]; break;
        case 'G': registers[a] = memory[registers[b & 7] & 255]; break;
        case 'J': at = registers[a] == 0 ? at : (size_t)b * 3; break;
        case 'H': if (++handlers[a & 3]->count > handlers[a & 3]->limit) return 4; break;
        case 'E': printf("%d\n", registers[a]); return 0;
        }
    }
    return 0;
}
