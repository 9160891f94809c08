/* Choices. Every operation starts a sequence of its own from the seed and its number: leaving operations out changes nothing about
   the arguments of the others, which is what makes shrinking possible. */
#ifndef WALK_RANDOM_H
#define WALK_RANDOM_H
#include "walk_abi.h"

static word random_state;

static word random_word(void)
{
    word z = random_state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

static void random_start(word seed, word number)
{
    random_state = seed * 0xD1342543DE82EF95 + number * 0xA0761D6478BD642F + 1;
    random_word();
}

static word pick(word n) { return random_word() % n; }
static int chance(word n) { return pick(n) == 0; }
#define ONE_OF(array) ((array)[pick(sizeof(array) / sizeof *(array))])
#endif
