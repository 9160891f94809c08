/* Section 1.8: prctl(PR_SET_MEMORY_MERGE): all areas are mergeable, those to come too, also those of the next program. */
#include "fact.h"
#include <sys/prctl.h>

#define SET(on) sc(SYS_prctl, 67, on, 0L, 0L, 0L)
#define GET() sc(SYS_prctl, 68, 0L, 0L, 0L, 0L)
#define FLAGS(what, at) K("1.8", smap(at, "VmFlags"), "merged: %s", what)

static void stat_file(void) {
    slurp("/proc/self/ksm_stat");
    char *at = strstr(procbuf, "ksm_merge_any");
    for (char *end = at; end && *end; end++)
        if (*end == '\n') *end = ' ';
    V("1.8", "ksm_stat", "%s", at ? at : "no");
}

static void program(void) {
    int local;
    F("1.8", GET());
    FLAGS("stack", &local);
    FLAGS("text", program);
    FLAGS("data", &A);
    stat_file();
}

static void any(void) {
    int fd = file("data", 2), local;
    area(12);
    map(0, 2, RW), mapx(2, 1, RW, SHAR | ANON), mapf(3, 1, R, PRIV, fd, 0), mapf(4, 1, R, SHAR, fd, 0);
    map(5, 1, RW), advise(5, 1, MADV_MERGEABLE), map(6, 1, RW);
    C("1.8", SET(1));
    F("1.8", GET());
    for (int k = 0; k < 7; k++) FLAGS(text("page %d", k), P(k));
    FLAGS("stack", &local);
    stat_file();
    C("1.8", map(7, 1, RW));
    FLAGS("a new one", P(7));
    C("1.8", mapx(8, 1, RW, SHAR | ANON));
    FLAGS("a new shared one", P(8));
    C("1.8", mapx(9, 1, RW, PRIV | ANON | MAP_NORESERVE | MAP_STACK));
    FLAGS("a new stack", P(9));
    C("1.8", mapf(10, 1, R, PRIV, fd, 0));
    FLAGS("a new one of a file", P(10));
    C("1.8", advise(7, 1, MADV_UNMERGEABLE));
    C("1.8", SET(1));
    FLAGS("taken out", P(7));
    C("1.8", advise(7, 1, MADV_MERGEABLE));
    char *heap = (char *)sc(SYS_brk, 0L);
    sc(SYS_brk, heap + 2 * PG);
    FLAGS("the heap", heap + PG);
    C("1.8", SET(0));
    F("1.8", GET());
    for (int k = 0; k < 7; k++) FLAGS(text("page %d", k), P(k));
    C("1.8", advise(5, 1, MADV_MERGEABLE));
    C("1.8", SET(0));
    FLAGS("page 5 by advice", P(5));
    stat_file();
    C("1.8", map(11, 1, RW));
    FLAGS("a last one", P(11));
    F("1.8", SET(2));
    F("1.8", GET());
    F("1.8", sc(SYS_prctl, 67, 1L, 1L, 0L, 0L));
    F("1.8", sc(SYS_prctl, 68, 0L, 1L, 0L, 0L));
    static char *words[] = {"ksm", "program", 0};
    execve("/proc/self/exe", words, 0);
}

SHEET(SECTION(program), SECTION(any))
