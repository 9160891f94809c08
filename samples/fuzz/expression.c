/* Arithmetic. The bug: a remainder by something that comes to zero is not noticed, as a division is: SIGFPE. */
#include "input.h"

static size_t at;
static int sum(void);

static int peek(void) { return at < size ? input[at] : 0; }

static int atom(void)
{
    int value = 0;
    while (peek() == ' ')
        at++;
    if (peek() == '(') {
        at++;
        value = sum();
        if (peek() == ')')
            at++;
        return value;
    }
    if (peek() == '-') {
        at++;
        return -atom();
    }
    while (peek() >= '0' && peek() <= '9')
        value = value * 10 + input[at++] - '0';
    while (peek() == ' ')
        at++;
    return value;
}

static int product(void)
{
    int left = atom();
    for (;;) {
        int operator = peek(), right;
        if (operator != '*' && operator != '/' && operator != '%')
            return left;
        at++;
        right = atom();
        if (operator == '*')
            left *= right;
        else if (operator == '/')
            left = right ? left / (right == -1 ? 1 : right) : 0;
        else
            left %= right;
    }
}

static int sum(void)
{
    static int deep;
    int left;
    if (++deep > 100)
        exit(5);
    left = product();
    while (peek() == '+' || peek() == '-')
        left = input[at++] == '+' ? left + product() : left - product();
    deep--;
    return left;
}

int main(int argc, char **argv)
{
    take(argc, argv);
    printf("%d\n", sum());
    return 0;
}
