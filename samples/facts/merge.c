/* Section 1.3: which neighbours become one mapping, and what keeps them apart. */
#include "fact.h"

static int fd, again;

static void anonymous(void) {
    area(16);
    C("1.3", map(0, 2, RW));
    C("1.3", map(2, 2, RW));
    C("1.3", map(6, 2, RW));
    C("1.3", map(4, 2, RW));
    C("1.3", map(8, 1, R));
    C("1.3", protect(8, 1, RW));
    C("1.3", protect(2, 2, R));
    C("1.3", protect(2, 2, RW));
    C("1.3", protect(0, 1, R));
    C("1.3", protect(8, 1, NONE));
    C("1.3", protect(0, 9, R));
    C("1.3", unmap(4, 1));
    C("1.3", map(4, 1, R));
    C("1.3", map(4, 1, R));
    C("1.3", map(4, 1, W));
    C("1.3", map(4, 1, R));
    D("1.3", unmap(0, 16));
}

/* Two mappings with a gap between; each is untouched, read or written; then the gap is filled. */
static void gaps(void) {
    static const char *names[] = {"untouched", "read", "written"};
    area(16);
    for (int left = 0; left < 3; left++)
        for (int right = 0; right < 3; right++)
            for (int middle = 0; middle < 3; middle++) {
                unmap(0, 16);
                map(0, 2, RW);
                map(3, 2, RW);
                if (left == 1) get(1);
                if (left == 2) touch(1);
                if (right == 1) get(3);
                if (right == 2) touch(3);
                map(2, 1, RW);
                K("1.3", shape(), "gap filled between %s and %s", names[left], names[right]);
                if (middle == 1) get(2);
                if (middle == 2) touch(2);
                protect(2, 1, R);
                K("1.3", shape(), "the gap, %s, read-only between %s and %s", names[middle], names[left], names[right]);
                protect(2, 1, RW);
                K("1.3", shape(), "the gap, %s, writable again between %s and %s", names[middle], names[left], names[right]);
                protect(0, 5, R);
                K("1.3", shape(), "all of it, gap %s, read-only between %s and %s", names[middle], names[left], names[right]);
            }
}

/* Neighbours of different protection, each in a state, made alike from either side. */
static void sides(void) {
    static const char *names[] = {"untouched", "read", "written"};
    area(16);
    for (int left = 0; left < 3; left++)
        for (int right = 0; right < 3; right++)
            for (int who = 0; who < 6; who++) {
                unmap(0, 16);
                map(0, 2, RW);
                if (left == 1) get(1);
                if (left == 2) touch(1);
                protect(0, 2, R);
                map(4, 2, RW);
                if (right == 1) get(4);
                if (right == 2) touch(4);
                unmap(2, 2);
                if (who >= 3) { /* right touched while apart, then moved next to the left: its pgoff says where it was made */
                    remap(4, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 2);
                } else {
                    map(2, 2, RW);
                    if (right == 1) get(2);
                    if (right == 2) touch(2);
                }
                if (who % 3 == 0) protect(0, 2, RW);
                if (who % 3 == 1) protect(2, 2, R);
                if (who % 3 == 2) protect(0, 4, NONE);
                K("1.3", shape(), "%s and %s, way %d", names[left], names[right], who);
            }
}

/* Split pieces come together again, unless a page was touched in only one after the split. */
static void pieces(void) {
    area(16);
    for (int before = 0; before < 2; before++)
        for (int after = 0; after < 8; after++) {
            unmap(0, 16);
            map(0, 6, RW);
            if (before) touch(0);
            protect(2, 2, R);
            if (after & 1) touch(0);
            if (after & 2) get(2);
            if (after & 4) touch(4);
            protect(2, 2, RW);
            K("1.3", shape(), "pieces touched %d before and %d after", before, after);
            protect(2, 2, R);
            protect(0, 2, R);
            protect(4, 2, R);
            K("1.3", shape(), "pieces touched %d before and %d after, all read-only", before, after);
        }
    for (int when = 0; when < 4; when++) {
        unmap(0, 16);
        map(0, 4, RW);
        if (when & 1) touch(1);
        protect(0, 4, R);
        if (when & 2) protect(0, 4, RW);
        map(4, 2, when & 2 ? RW : R);
        K("1.3", shape(), "account after way %d", when);
        K("1.3", vmflags(0), "flags after way %d", when);
        map(6, 2, NONE);
        protect(4, 2, NONE);
        K("1.3", shape(), "account none after way %d", when);
    }
}

static void flags(void) {
    static const struct { const char *name; long flags; } kinds[] = {
        {"PLAIN", 0}, {"LOCKED", MAP_LOCKED}, {"NORESERVE", MAP_NORESERVE}, {"GROWSDOWN", MAP_GROWSDOWN}, {"STACK", MAP_STACK},
        {"POPULATE", MAP_POPULATE}, {"NONBLOCK", MAP_NONBLOCK}, {"SYNC", MAP_SYNC}, {"DENYWRITE", MAP_DENYWRITE}};
    area(16);
    for (int i = 0; i < 9; i++)
        for (int j = 0; j < 9; j++) {
            unmap(0, 16);
            mapx(0, 2, RW, PRIV | ANON | kinds[i].flags);
            mapx(2, 2, RW, PRIV | ANON | kinds[j].flags);
            K("1.3", shape(), "%s then %s", kinds[i].name, kinds[j].name);
        }
    static const struct { const char *name; int on, off; } advices[] = {
        {"DONTFORK", MADV_DONTFORK, MADV_DOFORK}, {"WIPEONFORK", MADV_WIPEONFORK, MADV_KEEPONFORK}, {"DONTDUMP", MADV_DONTDUMP, MADV_DODUMP},
        {"HUGEPAGE", MADV_HUGEPAGE, MADV_NOHUGEPAGE}, {"NOHUGEPAGE", MADV_NOHUGEPAGE, MADV_HUGEPAGE}, {"SEQUENTIAL", MADV_SEQUENTIAL, MADV_NORMAL},
        {"RANDOM", MADV_RANDOM, MADV_NORMAL}, {"MERGEABLE", MADV_MERGEABLE, MADV_UNMERGEABLE}, {"SEQUENTIAL RANDOM", MADV_SEQUENTIAL, MADV_RANDOM},
        {"COLD", MADV_COLD, MADV_NORMAL}, {"DONTNEED", MADV_DONTNEED, MADV_NORMAL}};
    for (int i = 0; i < 11; i++) {
        unmap(0, 16);
        map(0, 6, RW);
        advise(2, 2, advices[i].on);
        K("1.3", shape(), "%s in the middle", advices[i].name);
        K("1.3", vmflags(2), "flags of %s in the middle", advices[i].name);
        map(6, 2, RW);
        advise(4, 4, advices[i].on);
        K("1.3", shape(), "%s to the end", advices[i].name);
        advise(0, 8, advices[i].off);
        K("1.3", shape(), "%s taken back", advices[i].name);
        K("1.3", vmflags(2), "flags of %s taken back", advices[i].name);
    }
}

static void files(void) {
    area(16);
    fd = file("data", 12);
    again = reopen("data", O_RDWR);
    int same = dup(fd), other = file("other", 12);
    C("1.3", mapf(0, 2, R, PRIV, fd, 0));
    C("1.3", mapf(2, 2, R, PRIV, fd, 2));
    C("1.3", mapf(4, 2, R, PRIV, same, 4));
    C("1.3", mapf(6, 2, R, PRIV, again, 6));
    C("1.3", mapf(8, 2, R, PRIV, fd, 8));
    C("1.3", mapf(6, 2, R, PRIV, fd, 6));
    C("1.3", mapf(3, 1, R, PRIV, fd, 4));
    C("1.3", mapf(3, 1, R, PRIV, other, 3));
    C("1.3", mapf(3, 1, R, SHAR, fd, 3));
    C("1.3", mapf(3, 1, R, PRIV, fd, 3));
    C("1.3", mapf(10, 2, RW, SHAR, fd, 0));
    C("1.3", mapf(12, 2, RW, SHAR, same, 2));
    C("1.3", mapf(14, 2, RW, SHAR, again, 4));
    C("1.3", protect(10, 6, R));
    C("1.3", protect(0, 10, RW));
    F("1.3", touch(0));
    F("1.3", touch(9));
    C("1.3", protect(4, 2, R));
    C("1.3", protect(4, 2, RW));
    D("1.3", unmap(0, 16));
    D("1.3", mapf(0, 2, RW, PRIV, fd, 0));
    F("1.3", touch(0));
    D("1.3", mapf(3, 2, RW, PRIV, fd, 3));
    F("1.3", touch(3));
    C("1.3", mapf(2, 1, RW, PRIV, fd, 2));
    D("1.3", unmap(0, 16));
    D("1.3", mapf(0, 2, RW, PRIV, fd, 0));
    F("1.3", touch(0));
    C("1.3", mapf(2, 2, RW, PRIV, fd, 2));
    C("1.3", protect(1, 1, R));
    D("1.3", close(fd));
    C("1.3", protect(1, 1, RW));
    D("1.3", unmap(0, 16));
    int ro = reopen("data", O_RDONLY);
    C("1.3", mapf(0, 2, R, SHAR, ro, 0));
    C("1.3", mapf(2, 2, R, SHAR, again, 2));
    C("1.3", mapf(4, 2, R, SHAR, ro, 2));
    C("1.3", mapf(2, 2, R, SHAR, ro, 2));
    C("1.3", mapf(2, 2, R, PRIV, ro, 2));
    C("1.3", map(2, 2, R));
}

static void shared(void) {
    area(16);
    C("1.3", mapx(0, 2, RW, SHAR | ANON));
    C("1.3", mapx(2, 2, RW, SHAR | ANON));
    C("1.3", protect(0, 1, R));
    C("1.3", protect(0, 1, RW));
    C("1.3", protect(1, 2, R));
    C("1.3", protect(1, 2, RW));
    C("1.3", unmap(1, 2));
    C("1.3", map(1, 1, RW));
    C("1.3", mapx(1, 1, RW, SHAR | ANON));
    V("1.3", "offset of the second half", "%s", shape_of(P(3), 1));
}

/* Names, seals and moves. */
static void moved(void) {
    for (int touched = 0; touched < 4; touched++) {
        area(16);
        map(0, 2, RW);
        map(8, 2, RW);
        if (touched & 1) touch(0);
        if (touched & 2) touch(8);
        remap(0, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 10);
        K("1.3", shape(), "moved behind another, touched %d", touched);
        map(12, 2, RW);
        K("1.3", shape(), "and one mapped behind it, touched %d", touched);
        protect(8, 6, R);
        K("1.3", shape(), "and all read-only, touched %d", touched);
    }
    for (int touched = 0; touched < 4; touched++) {
        area(16);
        map(0, 4, RW);
        if (touched & 1) touch(0);
        if (touched & 2) touch(2);
        remap(2, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 8);
        remap(8, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 2);
        K("1.3", shape(), "away and back, touched %d", touched);
        remap(0, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 6);
        remap(2, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 8);
        K("1.3", shape(), "both away one by one, touched %d", touched);
    }
    for (int touched = 0; touched < 4; touched++) {
        area(16);
        map(0, 2, RW);
        map(3, 2, RW);
        if (touched & 1) touch(0);
        if (touched & 2) touch(3);
        sc(SYS_mremap, P(0), 2 * PG, 3 * PG, 0, 0);
        K("1.3", shape(), "grown up to its neighbour, touched %d", touched);
        sc(SYS_mremap, P(0), 3 * PG, 2 * PG, 0, 0);
        K("1.3", shape(), "and shrunk, touched %d", touched);
    }
    area(16);
    D("1.3", map(0, 4, RW));
    C("1.3", lock(1, 2));
    C("1.3", lock(0, 2));
    C("1.3", unlock(0, 4));
    F("1.3", seal(4, 1));
    D("1.3", map(6, 1, RW));
    C("1.3", seal(6, 1));
    C("1.3", map(7, 1, RW));
    C("1.3", map(5, 1, RW));
    C("1.3", seal(5, 1));
    C("1.3", seal(5, 3));
    C("1.3", map(8, 1, R));
    C("1.3", protect(8, 1, RW));
    C("1.3", seal(8, 1));
}

SHEET(SECTION(anonymous), SECTION(gaps), SECTION(sides), SECTION(pieces), SECTION(flags), SECTION(files), SECTION(shared), SECTION(moved))
