/* yajl 1.0.9, told of strings and keys: without that it decodes none. */
#include "../fuzz/input.h"

#include "yajl/yajl_parse.h"

static int text(void *count, const unsigned char *start, unsigned length)
{
    (void)start;
    *(unsigned *)count += length;
    return 1;
}

int main(int argc, char **argv)
{
    static const yajl_callbacks callbacks = {.yajl_string = text, .yajl_map_key = text};
    unsigned count = 0;
    yajl_handle handle = yajl_alloc(&callbacks, NULL, NULL, &count);
    take(argc, argv);
    int status = yajl_parse(handle, input, size);
    printf("%d, %u bytes of text\n", status, count);
    return 0;
}
