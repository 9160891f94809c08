/* stb_image: an image of any of its formats is decoded. */
#include "../fuzz/input.h"

#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#include "stb_image.h"

int main(int argc, char **argv)
{
    int width, height, channels;
    take(argc, argv);
    stbi_uc *image = stbi_load_from_memory(input, size, &width, &height, &channels, 0);
    if (image == NULL)
        printf("%s\n", stbi_failure_reason());
    else
        printf("%d x %d, %d channels\n", width, height, channels);
    return 0;
}
