/* Arguments; then the environment's variables whose names begin with EMUVM_. */
#include "nolibc.h"
static int guest_main(int argc, char **argv, char **envp)
{
    for (int i = 1; i < argc; i++)
        put(argv[i]), put("\n");
    for (; *envp; envp++) {
        const char *want = "EMUVM_", *e = *envp;
        while (*want && *want == *e)
            want++, e++;
        if (!*want)
            put(*envp), put("\n");
    }
    return argc;
}
