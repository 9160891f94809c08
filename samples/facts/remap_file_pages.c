/* Section 1.11: remap_file_pages. */
#include "fact.h"

#define RFP(...) sc(SYS_remap_file_pages, __VA_ARGS__)

static void arguments(void) {
    area(32);
    int fd = file("data", 8), ro = reopen("data", O_RDONLY);
    D("1.11", mapf(0, 8, RW, SHAR, fd, 0));
    F("1.11", RFP(P(0), PG, R, 1, 0));
    F("1.11", RFP(P(0), PG, RW, 1, 0));
    F("1.11", RFP(P(0), 0, 0, 1, 0));
    F("1.11", RFP(P(0), PG - 1, 0, 1, 0));
    F("1.11", RFP(P(0), -1L, 0, 1, 0));
    F("1.11", RFP(P(0), -PG, 0, 1, 0));
    F("1.11", RFP(P(0), PG, 0, -1L, 0));
    F("1.11", RFP(P(0), 2 * PG, 0, -1L, 0));
    F("1.11", RFP(P(0), 2 * PG, 0, -2L, 0));
    F("1.11", RFP(P(0), PG, 0, 1UL << 52, 0));
    F("1.11", RFP(P(0), PG, 0, 1UL << 51, 0));
    F("1.11", RFP(P(20), PG, 0, 0, 0));
    F("1.11", RFP(0, PG, 0, 0, 0));
    F("1.11", RFP(TASK, PG, 0, 0, 0));
    V("1.11", "shape", "%s", shape());
    C("1.11", RFP(P(0), PG, 0, 3, 0));
    F("1.11", get(0));
    C("1.11", RFP(P(1), 2 * PG, 0, 6, 0));
    F("1.11", get(2));
    C("1.11", RFP(P(4) + 100, PG + 200, 0, 0, 0));
    F("1.11", get(4));
    C("1.11", RFP(P(1), 2 * PG, 0, 1, MAP_NONBLOCK));
    C("1.11", RFP(P(0), PG, 0, 0, -1));
    C("1.11", RFP(P(4), PG, 0, 4, 0));
    C("1.11", RFP(P(0), 8 * PG, 0, 4, 0));
    T("1.11", LOAD(P(4)));
    C("1.11", RFP(P(0), 9 * PG, 0, 4, 0));
    C("1.11", RFP(P(7), 2 * PG, 0, 4, 0));
    D("1.11", mapf(0, 4, R, SHAR, fd, 0));
    D("1.11", mapf(4, 4, RW, SHAR, fd, 4));
    C("1.11", RFP(P(0), 2 * PG, 0, 4, 0));
    C("1.11", RFP(P(2), 4 * PG, 0, 0, 0));
    D("1.11", unmap(0, 32));
    D("1.11", mapf(0, 4, R, SHAR, ro, 0));
    C("1.11", RFP(P(0), PG, 0, 1, 0));
    D("1.11", mapf(0, 4, RW, PRIV, fd, 0));
    C("1.11", RFP(P(0), PG, 0, 1, 0));
    D("1.11", map(0, 4, RW));
    C("1.11", RFP(P(0), PG, 0, 1, 0));
    D("1.11", mapx(0, 4, RW, SHAR | ANON));
    F("1.11", put(2, 22));
    C("1.11", RFP(P(0), PG, 0, 2, 0));
    F("1.11", get(0));
    C("1.11", RFP(P(0), PG, 0, 9, 0));
    T("1.11", LOAD(P(0)));
    D("1.11", mapf(8, 4, NONE, SHAR, fd, 0));
    C("1.11", RFP(P(8), PG, 0, 2, 0));
    D("1.11", mapf(8, 4, RX, SHAR, fd, 0));
    C("1.11", RFP(P(8), PG, 0, 2, 0));
    D("1.11", mapf(12, 4, RW, SHAR | MAP_LOCKED, fd, 0));
    C("1.11", RFP(P(12), PG, 0, 2, 0));
    V("1.11", "flags", "%s", vmflags(12));
    D("1.11", mapf(16, 4, RW, SHAR, fd, 0));
    D("1.11", advise(16, 4, MADV_SEQUENTIAL));
    C("1.11", RFP(P(16), PG, 0, 2, 0));
    V("1.11", "flags", "%s", vmflags(16));
    D("1.11", mapf(20, 2, RW, SHAR, fd, 0));
    D("1.11", mapf(22, 2, RW, SHAR, fd, 5));
    C("1.11", RFP(P(20), 4 * PG, 0, 3, 0));
    D("1.11", mapf(24, 2, RW, SHAR, fd, 0));
    D("1.11", mapf(26, 2, RW, SHAR, reopen("data", O_RDWR), 2));
    C("1.11", RFP(P(24), 4 * PG, 0, 3, 0));
    F("1.11", put(24, 'q'));
    F("1.11", close(fd));
    C("1.11", RFP(P(24), PG, 0, 3, 0));
    F("1.11", get(24));
}

SHEET(SECTION(arguments))
