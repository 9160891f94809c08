/* Section 2: which signal an access gives, with which code and address. */
#include "fact.h"

#ifdef __aarch64__
static const unsigned char code[] = {0xc0, 0x03, 0x5f, 0xd6}; /* ret */
#else
static const unsigned char code[] = {0xc3};
#endif
#define CALL(at) (((void (*)(void))(at))())

static void put_code(double k) {
    for (unsigned i = 0; i < sizeof code; i++) put_at(P(k) + i, code[i]);
    __builtin___clear_cache(P(k), P(k) + sizeof code);
}

static void rights(void) {
    static const char *kinds[] = {"private", "shared", "private file", "shared file"};
    area(16);
    for (int kind = 0; kind < 4; kind++)
        for (volatile int prot = 0; prot < 8; prot++) {
            int fd = file("data", 2);
            pwrite(fd, code, sizeof code, 0);
            if (kind == 0) map(0, 2, RW);
            if (kind == 1) mapx(0, 2, RW, SHAR | ANON);
            if (kind == 2) mapf(0, 2, RW, PRIV, fd, 0);
            if (kind == 3) mapf(0, 2, RW, SHAR, fd, 0);
            if (kind < 2) put_code(0);
            protect(0, 2, prot);
            K("2.2", ATTEMPT(LOAD(P(0))), "load from %s with prot %d", kinds[kind], prot);
            K("2.2", ATTEMPT(LOAD(P(1) + 100)), "load from an untouched page of %s with prot %d", kinds[kind], prot);
            K("2.2", ATTEMPT(CALL(P(0))), "call of %s with prot %d", kinds[kind], prot);
            K("2.2", ATTEMPT(STORE(P(1) + 3)), "store to %s with prot %d", kinds[kind], prot);
            close(fd);
        }
    D("2.1", unmap(0, 16));
}

static void unmapped(void) {
    area(16);
    T("2.1", LOAD(P(3)));
    T("2.1", LOAD(P(3) + 5));
    T("2.1", STORE(P(3) + 4095));
    T("2.1", CALL(P(3)));
    T("2.1", CALL(P(3) + 8));
    T("2.1", LOAD(0));
    T("2.1", STORE(0));
    T("2.1", CALL(0));
    V("2.1", "address", "%lx", ((void)ATTEMPT(LOAD(8)), (long)fault_addr));
    V("2.1", "address", "%lx", ((void)ATTEMPT(STORE(0xfff)), (long)fault_addr));
    V("2.1", "address", "%lx", ((void)ATTEMPT(CALL(0x1000)), (long)fault_addr));
    V("2.1", "at TASK", "%s", ((void)ATTEMPT(LOAD(TASK)), text("%d %d %d", fault_sig, fault_code, (unsigned long)fault_addr == TASK)));
    V("2.1", "store at TASK", "%s", ((void)ATTEMPT(STORE(TASK)), text("%d %d %d", fault_sig, fault_code, (unsigned long)fault_addr == TASK)));
    V("2.1", "in the kernel's half", "%s", ((void)ATTEMPT(LOAD(-PG)), text("%d %d %lx", fault_sig, fault_code, (long)fault_addr)));
    V("2.1", "store in the kernel's half", "%s", ((void)ATTEMPT(STORE(-8L)), text("%d %d %lx", fault_sig, fault_code, (long)fault_addr)));
    V("2.1", "call of the kernel's half", "%s", ((void)ATTEMPT(CALL(-PG)), text("%d %d %lx", fault_sig, fault_code, (long)fault_addr)));
    V("2.1", "not canonical", "%s", ((void)ATTEMPT(LOAD(1UL << 60)), text("%d %d %lx", fault_sig, fault_code, (long)fault_addr)));
    V("2.1", "store not canonical", "%s", ((void)ATTEMPT(STORE(1UL << 52)), text("%d %d %lx", fault_sig, fault_code, (long)fault_addr)));
    V("2.1", "call not canonical", "%s", ((void)ATTEMPT(CALL(1UL << 60)), text("%d %d %lx", fault_sig, fault_code, (long)fault_addr)));
    D("2.1", map(0, 4, RW));
    D("2.1", protect(1, 1, R));
    D("2.1", protect(2, 1, NONE));
    for (volatile int off = 0; off < 4096; off += 819) {
        K("2.1", ATTEMPT(LOAD(P(2) + off)), "load without access at %d", off);
        K("2.1", ATTEMPT(STORE(P(2) + off)), "store without access at %d", off);
        K("2.1", ATTEMPT(STORE(P(1) + off)), "store to read-only at %d", off);
        K("2.1", ATTEMPT(LOAD(P(4) + off)), "load behind the end at %d", off);
        K("2.1", ATTEMPT(LOAD(P(-1) + off)), "load before the area at %d", off);
    }
}

typedef uint16_t __attribute__((aligned(1), may_alias)) u2;
typedef uint32_t __attribute__((aligned(1), may_alias)) u4;
typedef uint64_t __attribute__((aligned(1), may_alias)) u8;
static volatile uint64_t sink;

/* Accesses that cross from page 1 into page 2, of every pair of kinds. */
static void straddles(void) {
    static const char *kinds[] = {"writable", "read-only", "no access", "a hole", "beyond end"};
    area(16);
    int fd = file("data", 0);
    for (int first = 0; first < 5; first++)
        for (int second = 0; second < 5; second++) {
            unmap(0, 16);
            map(1, 2, RW);
            memset(P(1), 0x11, 2 * PG);
            for (int k = 0; k < 2; k++) {
                int kind = k ? second : first;
                if (kind == 1) protect(1 + k, 1, R);
                if (kind == 2) protect(1 + k, 1, NONE);
                if (kind == 3) unmap(1 + k, 1);
                if (kind == 4) mapf(1 + k, 1, RW, SHAR, fd, 0);
            }
            for (int back = 1; back < 8; back += 2) {
                char *at = P(2) - back;
                K("2.1", ATTEMPT(sink = *(volatile u8 *)at), "8 byte load, %d in %s, rest in %s", back, kinds[first], kinds[second]);
                K("2.1", ATTEMPT(*(volatile u8 *)at = 0x2222222222222222), "8 byte store, %d in %s, rest in %s", back, kinds[first], kinds[second]);
                if (back < 4) K("2.1", ATTEMPT(*(volatile u4 *)at = 0x22222222), "4 byte store, %d in %s, rest in %s", back, kinds[first], kinds[second]);
                if (back < 2) K("2.1", ATTEMPT(*(volatile u2 *)at = 0x2222), "2 byte store, %d in %s, rest in %s", back, kinds[first], kinds[second]);
            }
            protect(1, 1, RW), protect(2, 1, RW);
            if (first < 3) K("2.1", text("%s %s", said(get_at(P(2) - 8)), said(get_at(P(2) - 1))), "first page after stores, %s then %s", kinds[first], kinds[second]);
            if (second < 3) K("2.1", text("%s %s", said(get(2)), said(get_at(P(2) + 7))), "second page after stores, %s then %s", kinds[first], kinds[second]);
        }
}

static void ends(void) {
    area(32);
    int fd = file("data", 1.5);
    D("2.1", mapf(0, 4, RW, SHAR, fd, 0));
    D("2.1", mapf(4, 4, RW, PRIV, fd, 0));
    D("2.1", mapf(8, 4, NONE, SHAR, fd, 0));
    D("2.1", mapf(12, 4, R, PRIV, fd, 0));
    T("2.1", LOAD(P(1) + 2047));
    F("2.1", get_at(P(1) + 2047));
    F("2.1", get_at(P(1) + 2048));
    F("2.1", get_at(P(1) + 4095));
    F("2.1", put_at(P(1) + 3000, 5));
    F("2.1", get_at(P(5) + 3000));
    F("2.1", get_at(P(1) + 3000));
    T("2.1", LOAD(P(2)));
    T("2.1", LOAD(P(2) + 77));
    T("2.1", STORE(P(3) + 77));
    T("2.1", LOAD(P(6)));
    T("2.1", STORE(P(6) + 8));
    T("2.1", STORE(P(14) + 8));
    T("2.1", LOAD(P(14) + 8));
    T("2.1", LOAD(P(10) + 8));
    T("2.1", LOAD(P(8)));
    T("2.1", CALL(P(6)));
    F("2.1", sysresult(ftruncate(fd, 3 * PG)));
    T("2.1", LOAD(P(2)));
    F("2.1", get(2));
    F("2.1", get_at(P(1) + 3000));
    T("2.1", LOAD(P(3)));
    F("2.1", put(2, 9));
    F("2.1", get(6));
    F("2.1", put(6, 8));
    F("2.1", put(5, 8));
    F("2.1", get(2));
    F("2.1", sysresult(ftruncate(fd, PG)));
    T("2.1", LOAD(P(1)));
    T("2.1", LOAD(P(2)));
    T("2.1", LOAD(P(5)));
    T("2.1", LOAD(P(6)));
    T("2.1", STORE(P(6)));
    T("2.1", LOAD(P(0)));
    F("2.1", sysresult(ftruncate(fd, 3 * PG)));
    F("2.1", get(2));
    F("2.1", get(6));
    F("2.1", get(5));
    F("2.1", put(0, 0x33));
    F("2.1", put(4, 0x44));
    F("2.1", sysresult(ftruncate(fd, 100)));
    F("2.1", get(0));
    F("2.1", get(4));
    F("2.1", get_at(P(0) + 99));
    F("2.1", get_at(P(0) + 100));
    F("2.1", get_at(P(4) + 100));
    F("2.1", sysresult(ftruncate(fd, 0)));
    T("2.1", LOAD(P(0)));
    T("2.1", LOAD(P(4)));
    F("2.1", sysresult(ftruncate(fd, PG)));
    F("2.1", get(0));
    F("2.1", get(4));
    int mem = (int)sc(SYS_memfd_create, "m", 0);
    D("2.1", mapf(16, 2, RW, SHAR, mem, 0));
    T("2.1", LOAD(P(16)));
    F("2.1", sysresult(ftruncate(mem, 10)));
    T("2.1", STORE(P(16) + 20));
    T("2.1", LOAD(P(17)));
    F("2.1", sysresult(ftruncate(mem, PG)));
    F("2.1", get_at(P(16) + 20));
    D("2.1", mapx(20, 2, RW, SHAR | ANON));
    C("2.1", remap(20, 2, 4, 0, 0));
    T("2.1", STORE(P(21)));
    T("2.1", STORE(P(22)));
}

static void atomics(void) {
    area(16);
    D("2.2", map(0, 1, RW));
    D("2.2", map(1, 1, R));
    D("2.2", map(2, 1, NONE));
    D("2.2", map(4, 1, RW));
    int expected;
    T("2.2", __atomic_fetch_add((int *)P(0), 1, 5));
    T("2.2", __atomic_fetch_add((int *)P(1), 1, 5));
    T("2.2", __atomic_fetch_add((int *)P(2), 1, 5));
    T("2.2", __atomic_fetch_add((int *)P(3), 1, 5));
    T("2.2", __atomic_exchange_n((int *)P(1), 1, 5));
    T("2.2", (expected = 0, __atomic_compare_exchange_n((int *)P(1), &expected, 1, 0, 5, 5)));
    T("2.2", (expected = 9, __atomic_compare_exchange_n((int *)P(1), &expected, 1, 0, 5, 5)));
    T("2.2", (expected = 9, __atomic_compare_exchange_n((int *)P(4), &expected, 1, 0, 5, 5)));
    T("2.2", __atomic_load_n((int *)P(1), 5));
    T("2.2", __atomic_store_n((int *)P(1), 1, 5));
}

static void again(void) {
    area(16);
    D("2.1", map(0, 2, RW));
    F("2.1", put(0, 5));
    D("2.1", protect(0, 1, NONE));
    T("2.1", LOAD(P(0)));
    D("2.1", protect(0, 1, R));
    F("2.1", get(0));
    T("2.1", STORE(P(0)));
    D("2.1", protect(0, 1, W));
    F("2.1", put(0, 6));
    F("2.1", get(0));
    D("2.1", protect(0, 1, RX));
    F("2.1", get(0));
    D("2.1", unmap(0, 1));
    T("2.1", LOAD(P(0)));
    D("2.1", map(0, 1, RW));
    F("2.1", get(0));
    D("2.1", map(0, 1, R));
    T("2.1", STORE(P(0)));
    put_code(1);
    T("2.1", CALL(P(1)));
    D("2.1", protect(1, 1, RX));
    T("2.1", CALL(P(1)));
    D("2.1", protect(1, 1, RW));
    T("2.1", CALL(P(1)));
    D("2.1", protect(1, 1, RX));
    T("2.1", CALL(P(1)));
    C("2.1", remap(1, 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED, 5));
    T("2.1", CALL(P(5)));
    T("2.1", CALL(P(1)));
    D("2.1", unmap(5, 1));
    T("2.1", CALL(P(5)));
    D("2.1", map(5, 1, RW | X));
    put_code(5);
    T("2.1", CALL(P(5)));
    D("2.1", advise(5, 1, MADV_DONTNEED));
    F("2.1", get(5));
    int fd = file("data", 1);
    D("2.1", mapf(6, 1, RX, PRIV, fd, 0));
    D("2.1", pwrite(fd, code, sizeof code, 0));
    T("2.1", CALL(P(6)));
    D("2.1", mapf(7, 1, RX, SHAR, fd, 0));
    T("2.1", CALL(P(7)));
    F("2.1", sysresult(ftruncate(fd, 0)));
    T("2.1", CALL(P(7)));
    T("2.1", CALL(P(6)));
}

static int deep(volatile char *above) {
    volatile char frame[2048];
    frame[0] = above[0];
    return deep(frame) + frame[1];
}

static void overflow(void) {
    volatile char here = 0;
    V("2.1", "stack limit of 1 MiB", "%s", said(limit(RLIMIT_STACK, 1 << 20)));
    V("2.1", "endless recursion", "%s", ((void)ATTEMPT(sink = (uint64_t)deep(&here)), text("%d %d", fault_sig, fault_code)));
    long used = (char *)&here - fault_addr;
    V("2.1", "it went about 1 MiB down", "%d", used > 900000 && used < 1100000);
}

/* A chain of pointers, one a page: each load is executed once, whatever the TLB does meanwhile. */
static void chain(void) {
    area(3000);
    map(0, 3000, RW);
    for (long k = 0; k < 3000; k++) *(char **)P(k) = k < 2999 ? P(k + 1) : 0;
    for (int round = 0; round < 4; round++) {
        long steps = 0;
        char *at = P(0);
        K("2", ATTEMPT(do steps++; while ((at = *(char *volatile *)at) && steps < 5000)), "chain, round %d", round);
        K("2", said(steps), "steps of round %d", round);
    }
}

/* What one architecture has and the other has not. */
static void processor(void) {
#ifdef __x86_64__
    area(4);
    map(0, 1, RW | X);
    T("x86", asm volatile("hlt"));
    T("x86", asm volatile("int3"));
    V("x86", "code of ud2", "%s", ((void)ATTEMPT(asm volatile("ud2")), text("%d %d", fault_code, fault_addr != 0)));
    V("x86", "divide by zero", "%s", ((void)ATTEMPT(asm volatile("xor %%ecx, %%ecx\n xor %%edx, %%edx\n mov $1, %%eax\n div %%ecx" ::: "eax", "ecx", "edx")), text("%d %d %d", fault_sig, fault_code, fault_addr != 0)));
    T("x86", asm volatile("movaps (%0), %%xmm0" ::"r"(P(0) + 1) : "xmm0"));
    T("x86", asm volatile("cli"));
    T("x86", asm volatile("in $0x80, %%al" ::: "al"));
    memset(P(0), 0x90, PG);
    protect(0, 1, RX);
    T("x86", CALL(P(0) + 4000));
    map(1, 1, R);
    T("x86", CALL(P(0) + 4000));
#endif
}

SHEET(SECTION(rights), SECTION(unmapped), SECTION(straddles), SECTION(ends), SECTION(atomics), SECTION(again), SECTION(overflow), SECTION(chain), SECTION(processor))
