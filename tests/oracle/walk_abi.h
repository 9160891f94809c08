/* What the walker needs of Linux's interface beyond samples/guest/nolibc.h: numbers, constants, names of errors. */
#ifndef WALK_ABI_H
#define WALK_ABI_H
#include "../../samples/guest/nolibc.h"

#ifdef __x86_64__
enum { SYS_lseek = 8, SYS_fstat = 5, SYS_rt_sigreturn = 15, SYS_pread64 = 17, SYS_pwrite64 = 18, SYS_msync = 26, SYS_mincore = 27,
       SYS_madvise = 28, SYS_shmget = 29, SYS_shmat = 30, SYS_shmctl = 31, SYS_getpid = 39,
       SYS_shmdt = 67, SYS_fcntl = 72, SYS_ftruncate = 77, SYS_capget = 125, SYS_capset = 126, SYS_mlock = 149, SYS_munlock = 150,
       SYS_mlockall = 151, SYS_munlockall = 152, SYS_remap_file_pages = 216, SYS_unlinkat = 263, SYS_fallocate = 285,
       SYS_dup = 32, SYS_clone = 56, SYS_wait4 = 61, SYS_personality = 135, SYS_prctl = 157,
       SYS_prlimit64 = 302, SYS_process_vm_readv = 310, SYS_process_vm_writev = 311, SYS_memfd_create = 319, SYS_mlock2 = 325 };
#else
enum { SYS_lseek = 62, SYS_fstat = 80, SYS_rt_sigreturn = 139, SYS_pread64 = 67, SYS_pwrite64 = 68, SYS_msync = 227, SYS_mincore = 232,
       SYS_madvise = 233, SYS_shmget = 194, SYS_shmat = 196, SYS_shmctl = 195, SYS_getpid = 172,
       SYS_shmdt = 197, SYS_fcntl = 25, SYS_ftruncate = 46, SYS_capget = 90, SYS_capset = 91, SYS_mlock = 228, SYS_munlock = 229,
       SYS_mlockall = 230, SYS_munlockall = 231, SYS_remap_file_pages = 234, SYS_unlinkat = 35, SYS_fallocate = 47,
       SYS_dup = 23, SYS_clone = 220, SYS_wait4 = 260, SYS_personality = 92, SYS_prctl = 167,
       SYS_prlimit64 = 261, SYS_process_vm_readv = 270, SYS_process_vm_writev = 271, SYS_memfd_create = 279, SYS_mlock2 = 284 };
#endif
enum { SYS_mseal = 462 };

enum { PAGE = 4096, AT_FDCWD = -100, O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0100, O_EXCL = 0200, O_NONBLOCK = 04000 };
enum { SHARED = 1, SHARED_VALIDATE = 3, DROPPABLE = 8, GROWSDOWN = 0x100, LOCKED = 0x2000, POPULATE = 0x8000, NONBLOCK = 0x10000,
       STACK = 0x20000, NOREPLACE = 0x100000 };
enum { MAYMOVE = 1, MOVE_FIXED = 2, DONTUNMAP = 4 };
enum { EPERM = 1, ENOENT = 2, EINTR = 4, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EFAULT = 14, EINVAL = 22 };
enum { SIGBUS = 7, SIGSEGV = 11, SIGCHLD = 17 };
enum { RLIMIT_DATA = 2, RLIMIT_STACK = 3, RLIMIT_MEMLOCK = 8, RLIMIT_AS = 9 };
enum { IPC_CREAT = 01000, IPC_RMID = 0, IPC_STAT = 2, SHM_RDONLY = 010000, SHM_RND = 020000, SHM_REMAP = 040000, SHM_EXEC = 0100000 };
enum { F_GETFL = 3, F_ADD_SEALS = 1033, F_GET_SEALS = 1034 };

struct iov { word base, size; };

static const struct { int number; const char *name; } ERRORS[] = {
    {1, "EPERM"}, {2, "ENOENT"}, {3, "ESRCH"}, {4, "EINTR"}, {5, "EIO"}, {6, "ENXIO"}, {7, "E2BIG"}, {9, "EBADF"}, {11, "EAGAIN"},
    {12, "ENOMEM"}, {13, "EACCES"}, {14, "EFAULT"}, {16, "EBUSY"}, {17, "EEXIST"}, {19, "ENODEV"}, {20, "ENOTDIR"}, {21, "EISDIR"},
    {22, "EINVAL"}, {24, "EMFILE"}, {26, "ETXTBSY"}, {27, "EFBIG"}, {28, "ENOSPC"}, {29, "ESPIPE"}, {32, "EPIPE"}, {38, "ENOSYS"},
    {43, "EIDRM"}, {75, "EOVERFLOW"}, {95, "EOPNOTSUPP"},
};

static int failed(long result) { return result < 0 && result >= -4095; }
#endif
