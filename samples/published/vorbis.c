/* stb_vorbis 1.16: a whole file is decoded. */
#include "../fuzz/input.h"

#include "stb_vorbis.c"

int main(int argc, char **argv)
{
    int channels, rate;
    short *samples;
    take(argc, argv);
    printf("%d\n", stb_vorbis_decode_memory(input, size, &channels, &rate, &samples));
    return 0;
}
