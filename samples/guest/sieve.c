/* Counts the primes below N. */
#include "nolibc.h"
static int guest_main(int argc, char **argv, char **envp)
{
    (void)envp;
    word n = argc > 1 ? number(argv[1]) : 100000, count = 0;
    byte *out = map(n + 1, PROT_RW, 0);
    for (word i = 2; i < n; i++) {
        if (out[i])
            continue;
        count++;
        for (word j = i * i; j < n; j += i)
            out[j] = 1;
    }
    line("primes", (long)count);
    return 0;
}
