/* The questions of a DNS message. The bug: a compression pointer may lead to itself, and is followed for ever. */
#include "input.h"

int main(int argc, char **argv)
{
    char name[256];
    size_t at = 12;
    take(argc, argv);
    if (size < 12 || be16(2) & 0x8000)
        return 1;
    for (unsigned left = be16(4); left && at < size; left--) {
        size_t place = at, end = 0;
        unsigned length = 0;
        while (place < size && input[place]) {
            if ((input[place] & 0xC0) == 0xC0) {
                if (!end)
                    end = place + 2;
                place = be16(place) & 0x3FFF;
            } else {
                unsigned label = input[place++];
                if (label > 63 || place + label > size || length + label + 1 >= sizeof name)
                    return 3;
                memcpy(name + length, input + place, label);
                length += label;
                name[length++] = '.';
                place += label;
            }
        }
        printf("%.*s %u\n", (int)length, name, be16((end ? end : place + 1)));
        at = (end ? end : place + 1) + 4;
    }
    return 0;
}
