/* Oniguruma 5.9.6: a line with a pattern, then the text to search. Both lie in blocks of their own size. */
#include "../fuzz/input.h"

#include "oniguruma.h"

static unsigned char *copy(const unsigned char *from, size_t length)
{
    return memcpy(malloc(length), from, length);
}

int main(int argc, char **argv)
{
    regex_t *regex;
    OnigErrorInfo info;
    take(argc, argv);
    unsigned char *newline = memchr(input, '\n', size), *end = newline ? newline : input + size;
    size_t length = end - input, rest = newline ? size - length - 1 : 0;
    unsigned char *pattern = copy(input, length), *text = copy(end + 1, rest);
    int failed = onig_new(&regex, pattern, pattern + length, ONIG_OPTION_DEFAULT, ONIG_ENCODING_ASCII, ONIG_SYNTAX_RUBY, &info);
    if (!failed)
        printf("%d\n", onig_search(regex, text, text + rest, text, text + rest, NULL, ONIG_OPTION_NONE));
    return 0;
}
