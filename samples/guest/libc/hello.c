/* The usual first program. */
#include <stdio.h>
int main(void)
{
    puts("hello");
    return 0;
}
