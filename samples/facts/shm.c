/* Section 1.11: System V shared memory. */
#include "fact.h"
#include <sys/ipc.h>
#include <sys/shm.h>

#define GET(...) sc(SYS_shmget, __VA_ARGS__)
#define AT(...) sc(SYS_shmat, __VA_ARGS__)
#define DT(at) sc(SYS_shmdt, at)
#define CTL(...) sc(SYS_shmctl, __VA_ARGS__)
static long ok(long r) { return r >= 0 ? 1 : r; } /* an id or an address is not the same every time */
static key_t key;

static long make(long size, int flags) { return GET(IPC_PRIVATE, size, flags); }
static const char *about(long id) {
    struct shmid_ds ds;
    memset(&ds, 0, sizeof ds);
    long r = CTL(id, IPC_STAT, &ds);
    if (r) return said(r);
    return text("size %ld mode %o attached %ld creator %d last %d owner %d key %d atime %d dtime %d ctime %d", (long)ds.shm_segsz, ds.shm_perm.mode,
                (long)ds.shm_nattch, ds.shm_cpid == getpid(), ds.shm_lpid == getpid() ? 1 : ds.shm_lpid, ds.shm_perm.uid == geteuid(),
                ds.shm_perm.__key == key ? 1 : ds.shm_perm.__key, ds.shm_atime != 0, ds.shm_dtime != 0, ds.shm_ctime != 0);
}
#define ABOUT(id) line("1.11", "IPC_STAT", about(id))

static void getting(void) {
    drop_capabilities();
    key = 0x52000000 + getpid();
    F("1.11", ok(GET(key, 0, 0)));
    F("1.11", GET(key, PG, 0600));
    F("1.11", GET(key, 0, IPC_CREAT | 0600));
    F("1.11", GET(key, -1L, IPC_CREAT | 0600));
    F("1.11", GET(key, 1UL << 63, IPC_CREAT | 0600));
    F("1.11", GET(key, -1L, 0));
    F("1.11", GET(IPC_PRIVATE, 0, 0600));
    F("1.11", GET(IPC_PRIVATE, -1L, 0600));
    long id = GET(key, 5000, IPC_CREAT | 0640);
    F("1.11", ok(id));
    ABOUT(id);
    F("1.11", GET(key, 5000, 0600) == id);
    F("1.11", GET(key, 0, 0) == id);
    F("1.11", GET(key, 1, 0) == id);
    F("1.11", GET(key, 5001, 0));
    F("1.11", GET(key, 8192, 0));
    F("1.11", GET(key, 8192, IPC_CREAT | 0600));
    F("1.11", GET(key, 5000, IPC_CREAT | IPC_EXCL | 0600));
    F("1.11", GET(key, 9999999, IPC_CREAT | IPC_EXCL | 0600));
    F("1.11", GET(key, 0, IPC_CREAT | IPC_EXCL | 0600));
    F("1.11", GET(key, 5000, IPC_EXCL | 0600) == id);
    F("1.11", GET(key, 5000, IPC_CREAT) == id);
    F("1.11", CTL(id, IPC_RMID, 0));
    F("1.11", CTL(id, IPC_RMID, 0));
    F("1.11", CTL(id, IPC_STAT, P(0)));
    F("1.11", GET(key, 5000, 0));
    F("1.11", AT(id, 0, 0));
    F("1.11", ok(GET(key, PG, IPC_CREAT | 07777)));
    id = GET(key, 0, 0);
    ABOUT(id);
    F("1.11", CTL(id, IPC_RMID, 0));
    for (int bit = 9; bit < 16; bit++) {
        long r = make(PG, 0600 | 1 << bit);
        K("1.11", said(ok(r)), "shmget with bit %d", bit);
        if (r >= 0) CTL(r, IPC_RMID, 0);
    }
}

static void attaching(void) {
    area(64);
    key = 0;
    drop_capabilities();
    long id = make(3 * PG - 100, IPC_CREAT | 0600);
    ABOUT(id);
    F("1.11", AT(-1, 0, 0));
    F("1.11", AT(id + 1, 0, 0));
    F("1.11", AT(0x7fffffff, 0, 0));
    F("1.11", AT(-1, P(0) + 1, 0));
    F("1.11", AT(id + 1, P(0) + 1, 0));
    F("1.11", AT(id, P(0) + 1, 0));
    F("1.11", AT(id, P(0) + 2048, 0));
    F("1.11", AT(id, 1, SHM_RND));
    F("1.11", AT(id, 0, SHM_REMAP));
    F("1.11", AT(id, 1, SHM_RND | SHM_REMAP));
    F("1.11", AT(id, 1, SHM_REMAP));
    F("1.11", AT(id, TASK, 0));
    F("1.11", AT(id, -PG, 0));
    F("1.11", AT(id, -PG, SHM_REMAP));
    F("1.11", AT(id, P(62), 0));
    C("1.11", AT(id, P(0), 0));
    V("1.11", "flags", "%s", vmflags(0));
    F("1.11", put(0, 9));
    C("1.11", AT(id, P(4) + 100, SHM_RND));
    F("1.11", get(4));
    F("1.11", AT(id, P(6), 0));
    F("1.11", AT(id, P(5), SHM_RDONLY));
    C("1.11", AT(id, P(6), SHM_REMAP));
    C("1.11", AT(id, P(10), SHM_RDONLY));
    V("1.11", "flags", "%s", vmflags(10));
    F("1.11", protect(10, 1, RW));
    F("1.11", protect(10, 1, RX));
    F("1.11", put(11, 9));
    F("1.11", get(10));
    C("1.11", AT(id, P(14), SHM_EXEC));
    V("1.11", "flags", "%s", vmflags(14));
    C("1.11", AT(id, P(20), SHM_EXEC | SHM_RDONLY));
    C("1.11", AT(id, P(30), 0100));
    C("1.11", AT(id, P(34), SHM_REMAP | SHM_RDONLY | SHM_RND | SHM_EXEC | 07));
    ABOUT(id);
    V("1.11", "attached anywhere", "%s", said(ok(AT(id, 0, 0))));
    long at = AT(id, 0, SHM_RND);
    V("1.11", "anywhere", "%ld %d", at & (PG - 1), *(char *)at);
    V("1.11", "anywhere flags", "%s", smap((void *)at, "VmFlags"));
    F("1.11", DT(at));
    ABOUT(id);
    F("1.11", CTL(id, IPC_RMID, 0));
    ABOUT(id);
    C("1.11", AT(id, P(40), 0));
    F("1.11", get(40));
    F("1.11", CTL(id, IPC_RMID, 0));
    F("1.11", unmap(0, 64));
}

static void detaching(void) {
    area(64);
    key = 0;
    drop_capabilities();
    long id = make(4 * PG, 0600), other = make(4 * PG, 0600);
    F("1.11", DT(P(0)));
    F("1.11", DT(P(0) + 1));
    F("1.11", DT(0));
    F("1.11", DT(TASK));
    F("1.11", DT(-1L));
    D("1.11", map(20, 2, RW));
    F("1.11", DT(P(20)));
    D("1.11", AT(id, P(0), 0));
    F("1.11", DT(P(0) + 1));
    F("1.11", DT(P(1)));
    F("1.11", DT(P(3)));
    C("1.11", DT(P(0)));
    F("1.11", DT(P(0)));
    D("1.11", AT(id, P(0), 0));
    C("1.11", unmap(1, 1));
    ABOUT(id);
    F("1.11", DT(P(2)));
    F("1.11", DT(P(1)));
    C("1.11", DT(P(0)));
    ABOUT(id);
    D("1.11", AT(id, P(0), 0));
    C("1.11", unmap(0, 1));
    F("1.11", DT(P(1)));
    C("1.11", DT(P(0)));
    ABOUT(id);
    D("1.11", AT(id, P(0), 0));
    D("1.11", AT(other, P(4), 0));
    C("1.11", protect(1, 1, R));
    ABOUT(id);
    C("1.11", protect(1, 1, RW));
    ABOUT(id);
    C("1.11", map(2, 1, RW));
    C("1.11", AT(other, P(1), SHM_REMAP));
    ABOUT(id);
    ABOUT(other);
    C("1.11", DT(P(0)));
    C("1.11", DT(P(1)));
    C("1.11", DT(P(4)));
    D("1.11", unmap(0, 64));
    D("1.11", AT(id, P(0), 0));
    C("1.11", remap(2, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 10));
    F("1.11", DT(P(10)));
    F("1.11", DT(P(8)));
    C("1.11", remap(0, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, 20));
    F("1.11", DT(P(0)));
    C("1.11", DT(P(20)));
    ABOUT(id);
    D("1.11", unmap(0, 64));
    ABOUT(id);
    D("1.11", AT(id, P(0), 0));
    C("1.11", remap(0, 0, 4, MREMAP_MAYMOVE | MREMAP_FIXED, 30));
    ABOUT(id);
    C("1.11", remap(0, 4, 6, 0, 30));
    T("1.11", LOAD(P(3)));
    T("1.11", LOAD(P(4)));
    C("1.11", remap(0, 6, 4, 0, 30));
    C("1.11", remap(0, 4, 4, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, 40));
    ABOUT(id);
    C("1.11", DT(P(30)));
    C("1.11", DT(P(40)));
    F("1.11", lock(0, 2));
    V("1.11", "flags", "%s", vmflags(0));
    F("1.11", seal(0, 1));
    F("1.11", DT(P(0)));
    ABOUT(id);
    C("1.11", AT(other, P(0), SHM_REMAP));
    F("1.11", AT(other, P(1), SHM_REMAP));
    F("1.11", CTL(id, IPC_RMID, 0));
    F("1.11", CTL(other, IPC_RMID, 0));
}

static void contents(void) {
    area(64);
    key = 0;
    drop_capabilities();
    long id = make(2 * PG, 0600);
    D("1.11", AT(id, P(0), 0));
    D("1.11", AT(id, P(4), 0));
    F("1.11", get(0));
    F("1.11", put(1, 8));
    F("1.11", get(5));
    V("1.11", "resident", "%s", resident(0, 2));
    F("1.11", advise(0, 2, MADV_DONTNEED));
    F("1.11", get(1));
    F("1.11", advise(0, 2, MADV_REMOVE));
    F("1.11", get(5));
    F("1.11", advise(0, 2, MADV_FREE));
    F("1.11", advise(0, 2, MADV_WIPEONFORK));
    F("1.11", advise(0, 2, MADV_DONTFORK));
    F("1.11", put(1, 8));
    F("1.11", DT(P(0)));
    F("1.11", DT(P(4)));
    D("1.11", AT(id, P(0), 0));
    F("1.11", get(1));
    F("1.11", sc(SYS_msync, P(0), PG, MS_SYNC));
    F("1.11", sc(SYS_remap_file_pages, P(0), PG, 0, 1, 0));
    V("1.11", "shape", "%s", shape());
    F("1.11", get(0));
    F("1.11", DT(P(0)));
    V("1.11", "shape", "%s", shape());
    ABOUT(id);
    F("1.11", CTL(id, IPC_RMID, 0));
}

static void control(void) {
    area(16);
    key = 0;
    drop_capabilities();
    struct shmid_ds ds;
    long id = make(PG, 0600);
    F("1.11", CTL(-1, IPC_STAT, &ds));
    F("1.11", CTL(id, -1, &ds));
    F("1.11", CTL(id, 99, &ds));
    F("1.11", CTL(id, IPC_STAT, 8));
    F("1.11", CTL(id, IPC_STAT, P(0)));
    F("1.11", CTL(id, IPC_SET, 8));
    F("1.11", CTL(-1, IPC_SET, 8));
    F("1.11", CTL(id, IPC_STAT, &ds));
    ds.shm_perm.mode = 0400;
    F("1.11", CTL(id, IPC_SET, &ds));
    ABOUT(id);
    ds.shm_perm.mode = 07777;
    F("1.11", CTL(id, IPC_SET, &ds));
    ABOUT(id);
    ds.shm_perm.uid = -1;
    F("1.11", CTL(id, IPC_SET, &ds));
    F("1.11", CTL(id, SHM_LOCK, 0));
    ABOUT(id);
    F("1.11", CTL(id, SHM_UNLOCK, 0));
    ABOUT(id);
    F("1.11", ok(CTL(0, IPC_INFO, &ds)));
    F("1.11", CTL(0, IPC_INFO, 8));
    F("1.11", ok(CTL(0, 14 /* SHM_INFO */, procbuf)));
    F("1.11", CTL(99999, 13 /* SHM_STAT */, &ds));
    F("1.11", CTL(99999, 15 /* SHM_STAT_ANY */, &ds));
    F("1.11", CTL(id, IPC_RMID, 8));
    struct { unsigned long max, min, mni, seg, all, pad[4]; } info;
    F("1.11", ok(CTL(0, IPC_INFO, &info)));
    V("1.11", "limits", "%lx %lu %lu %lu %lx", info.max, info.min, info.mni, info.seg, info.all);
}

SHEET(SECTION(getting), SECTION(attaching), SECTION(detaching), SECTION(contents), SECTION(control))
