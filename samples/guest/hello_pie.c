/* The smallest program, built as a static PIE. */
#include "nolibc.h"
static int guest_main(int argc, char **argv, char **envp)
{
    (void)argc, (void)argv, (void)envp;
    put("hello\n");
    return 0;
}
