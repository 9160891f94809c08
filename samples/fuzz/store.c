/* Commands on numbered objects: new, drop, put, sum. The bug: a dropped object can still be summed: use after free, which shows with
 * guardmalloc.c. */
#include "input.h"

struct object {
    unsigned count;
    unsigned values[6];
};

int main(int argc, char **argv)
{
    struct object *objects[4] = {0};
    unsigned live = 0, total = 0;
    take(argc, argv);
    for (size_t at = 0; at + 2 <= size; at += 2) {
        unsigned n = input[at + 1] & 3;
        switch (input[at]) {
        case 'n':
            if (!(live >> n & 1)) {
                objects[n] = calloc(1, sizeof **objects);
                live |= 1 << n;
            }
            break;
        case 'd':
            if (live >> n & 1) {
                free(objects[n]);
                live &= ~(1u << n);
            }
            break;
        case 'p':
            if (live >> n & 1 && objects[n]->count < 6)
                objects[n]->values[objects[n]->count++] = input[at + 1];
            break;
        case 's':
            if (objects[n] != NULL)
                for (unsigned i = 0; i < objects[n]->count; i++)
                    total += objects[n]->values[i];
            break;
        }
    }
    printf("%u\n", total);
    return 0;
}
