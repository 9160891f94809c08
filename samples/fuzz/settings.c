/* Sections and keys. The bug: "include" before the first section reads the name of a section that is not there: a null pointer. */
#include "input.h"

struct section {
    char name[16];
    int keys;
};

int main(int argc, char **argv)
{
    struct section sections[8], *section = NULL;
    int count = 0, total = 0;
    take(argc, argv);
    for (char *line = strtok((char *)input, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (*line == '#' || *line == ';')
            continue;
        if (*line == '[') {
            if (count == 8)
                return 3;
            section = &sections[count++];
            section->keys = 0;
            snprintf(section->name, sizeof section->name, "%s", line + 1);
        } else if (strncmp(line, "include ", 8) == 0) {
            total += strlen(line + 8) + section->name[0];
        } else if (strchr(line, '=') != NULL && section != NULL) {
            section->keys++;
            total += strchr(line, '=') - line;
        }
    }
    printf("%d sections, %d\n", count, total);
    return 0;
}
