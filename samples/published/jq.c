/* jq 1.5's JSON: a text is parsed, and printed when it is one. */
#define INPUT_ROOM (1 << 18)
#include "../fuzz/input.h"

#include "jv.h"

int main(int argc, char **argv)
{
    take(argc, argv);
    jv value = jv_parse_sized((char *)input, size);
    if (jv_is_valid(value))
        jv_dump(value, 0);
    else
        jv_free(value);
    return 0;
}
