"""Clocks, ioctl requests, terminal bits, prctl, futex, clone and other small command numbers.

Owns facts as data; namespaces and `..._for(arch.name)` as in `emuvm.abi.flags`. Must not know handlers.
Values: include/uapi/linux and arch/*/include/uapi/asm, Linux 6.1.
"""

from __future__ import annotations

from emuvm.abi.flags_mm import family


class Clock:
    """clock_gettime(2) clocks and timer flags."""

    CLOCK_REALTIME = 0
    CLOCK_MONOTONIC = 1
    CLOCK_PROCESS_CPUTIME_ID = 2
    CLOCK_THREAD_CPUTIME_ID = 3
    CLOCK_MONOTONIC_RAW = 4
    CLOCK_REALTIME_COARSE = 5
    CLOCK_MONOTONIC_COARSE = 6
    CLOCK_BOOTTIME = 7
    CLOCK_REALTIME_ALARM = 8
    CLOCK_BOOTTIME_ALARM = 9
    CLOCK_TAI = 11
    TIMER_ABSTIME = 1
    ITIMER_REAL = 0
    ITIMER_VIRTUAL = 1
    ITIMER_PROF = 2
    UTIME_NOW = 0x3FFF_FFFF
    UTIME_OMIT = 0x3FFF_FFFE


def _ior(letter: str, number: int, size: int, read: int = 2, bits: int = 14) -> int:
    """_IOR: 2 (or mips, powerpc, sparc: 3) direction bits, size, letter, number."""
    return read << (16 + bits) | size << 16 | ord(letter) << 8 | number


class Ioctl:
    """ioctl(2) requests, as on x86, arm64, arm, riscv, s390, m68k. Terminal sizes: termios 36 bytes, winsize 8."""

    TCGETS: int = 0x5401
    TCSETS: int = 0x5402
    TCSETSW: int = 0x5403
    TCSETSF: int = 0x5404
    TCGETA: int = 0x5405
    TCSETA: int = 0x5406
    TCSETAW: int = 0x5407
    TCSETAF: int = 0x5408
    TCSBRK: int = 0x5409
    TCXONC: int = 0x540A
    TCFLSH: int = 0x540B
    TIOCEXCL: int = 0x540C
    TIOCNXCL: int = 0x540D
    TIOCSCTTY: int = 0x540E
    TIOCGPGRP: int = 0x540F
    TIOCSPGRP: int = 0x5410
    TIOCOUTQ: int = 0x5411
    TIOCSTI: int = 0x5412
    TIOCGWINSZ: int = 0x5413
    TIOCSWINSZ: int = 0x5414
    FIONREAD: int = 0x541B
    FIONBIO: int = 0x5421
    TIOCNOTTY: int = 0x5422
    TIOCSETD: int = 0x5423
    TIOCGETD: int = 0x5424
    TCSBRKP: int = 0x5425
    TIOCGSID: int = 0x5429
    TCGETS2: int = _ior("T", 0x2A, 44)
    TIOCGPTN: int = _ior("T", 0x30, 4)
    TIOCSPTLCK: int = _ior("T", 0x31, 4, read=1)
    FIONCLEX: int = 0x5450
    FIOCLEX: int = 0x5451
    FIOASYNC: int = 0x5452
    FIOQSIZE: int = 0x5460
    """0x545e on arm, s390 and m68k."""
    FIBMAP: int = 1
    FIGETBSZ: int = 2
    FIEMAP: int = _ior("f", 11, 32, read=3)
    FS_IOC_GETFLAGS: int = _ior("f", 1, 8)
    SIOCATMARK: int = 0x8905
    FICLONE: int = _ior("\x94", 9, 4, read=1)


class IoctlOld(Ioctl):
    """arm, s390, m68k."""

    FIOQSIZE = 0x545E


class IoctlMips(Ioctl):
    """Old System V numbers; _IOR and _IOW have 3 direction bits (read 2, write 4) and 13 size bits."""

    TCGETA = 0x5401
    TCSETA = 0x5402
    TCSETAW = 0x5403
    TCSETAF = 0x5404
    TCSBRK = 0x5405
    TCXONC = 0x5406
    TCFLSH = 0x5407
    TCGETS = 0x540D
    TCSETS = 0x540E
    TCSETSW = 0x540F
    TCSETSF = 0x5410
    TIOCEXCL = 0x740D
    TIOCNXCL = 0x740E
    TIOCOUTQ = 0x7472
    TIOCSTI = 0x5472
    TIOCSETD = 0x7401
    TIOCGETD = 0x7400
    TIOCGPGRP = _ior("t", 119, 4, read=2, bits=13)
    TIOCSPGRP = _ior("t", 118, 4, read=4, bits=13)
    TIOCGWINSZ = _ior("t", 104, 8, read=2, bits=13)
    TIOCSWINSZ = _ior("t", 103, 8, read=4, bits=13)
    TIOCGSID = 0x7416
    TIOCSCTTY = 0x5480
    TIOCNOTTY = 0x5471
    TCSBRKP = 0x5486
    FIONREAD = 0x467F
    FIONBIO = 0x667E
    FIONCLEX = 0x6602
    FIOCLEX = 0x6601
    FIOASYNC = 0x667D
    FIOQSIZE = 0x667F
    FIBMAP, FIGETBSZ, FIEMAP = 0x20000001, 0x20000002, _ior("f", 11, 32, read=6, bits=13)
    FS_IOC_GETFLAGS = _ior("f", 1, 8, read=2, bits=13)
    TCGETS2 = _ior("T", 0x2A, 48, read=2, bits=13)
    TIOCGPTN = _ior("T", 0x30, 4, read=2, bits=13)
    TIOCSPTLCK = _ior("T", 0x31, 4, read=4, bits=13)
    SIOCATMARK = _ior("s", 7, 4, read=2, bits=13)
    FICLONE = _ior("\x94", 9, 4, read=4, bits=13)


class IoctlPowerpc(Ioctl):
    """BSD numbers for the terminal; its struct termios is 44 bytes, termio 20."""

    TCGETS = _ior("t", 19, 44, read=2, bits=13)
    TCSETS = _ior("t", 20, 44, read=4, bits=13)
    TCSETSW = _ior("t", 21, 44, read=4, bits=13)
    TCSETSF = _ior("t", 22, 44, read=4, bits=13)
    TCGETA = _ior("t", 23, 20, read=2, bits=13)
    TCSETA = _ior("t", 24, 20, read=4, bits=13)
    TCSETAW = _ior("t", 25, 20, read=4, bits=13)
    TCSETAF = _ior("t", 28, 20, read=4, bits=13)
    TCSBRK = 0x2000741D
    TCXONC = 0x2000741E
    TCFLSH = 0x2000741F
    TIOCGPGRP = _ior("t", 119, 4, read=2, bits=13)
    TIOCSPGRP = _ior("t", 118, 4, read=4, bits=13)
    TIOCOUTQ = _ior("t", 115, 4, read=2, bits=13)
    TIOCGWINSZ = _ior("t", 104, 8, read=2, bits=13)
    TIOCSWINSZ = _ior("t", 103, 8, read=4, bits=13)
    FIONREAD = _ior("f", 127, 4, read=2, bits=13)
    FIONBIO = _ior("f", 126, 4, read=4, bits=13)
    FIONCLEX = 0x20006602
    FIOCLEX = 0x20006601
    FIOASYNC = _ior("f", 125, 4, read=4, bits=13)
    FIOQSIZE = _ior("f", 128, 8, read=2, bits=13)
    FIBMAP, FIGETBSZ, FIEMAP = 0x20000001, 0x20000002, _ior("f", 11, 32, read=6, bits=13)
    FS_IOC_GETFLAGS = _ior("f", 1, 8, read=2, bits=13)
    TCGETS2 = 0
    """0: powerpc has no such request."""
    TIOCGPTN = _ior("T", 0x30, 4, read=2, bits=13)
    TIOCSPTLCK = _ior("T", 0x31, 4, read=4, bits=13)
    FICLONE = _ior("\x94", 9, 4, read=4, bits=13)


def ioctl_for(arch_name: str) -> type[Ioctl]:
    """KeyError for sparc, whose terminal requests are not in the tables."""
    by_family: dict[str, type[Ioctl]] = {
        "x86": Ioctl, "arm64": Ioctl, "riscv": Ioctl, "arm": IoctlOld, "s390": IoctlOld, "m68k": IoctlOld,
        "mips": IoctlMips, "powerpc": IoctlPowerpc,
    }  # fmt: skip
    return by_family[family(arch_name)]


class Tty:
    """termios bits of the generic ABI (asm-generic/termbits.h) that a terminal in its default state shows."""

    BRKINT, ICRNL, IXON, IXANY, IMAXBEL, IUTF8 = 0x2, 0x100, 0x400, 0x800, 0x2000, 0x4000
    OPOST, ONLCR = 0x1, 0x4
    CS8, CREAD, HUPCL, B38400 = 0x30, 0x80, 0x400, 0xF
    ISIG, ICANON, ECHO, ECHOE, ECHOK, ECHOCTL, ECHOKE, IEXTEN = 0x1, 0x2, 0x8, 0x10, 0x20, 0x200, 0x800, 0x8000
    NCCS = 19
    VINTR, VQUIT, VERASE, VKILL, VEOF, VTIME, VMIN, VSWTC, VSTART, VSTOP, VSUSP = range(11)


class Prctl:
    """prctl(2) options, arch_prctl codes of x86-64, personality bits."""

    PR_SET_PDEATHSIG = 1
    PR_GET_PDEATHSIG = 2
    PR_GET_DUMPABLE = 3
    PR_SET_DUMPABLE = 4
    PR_GET_KEEPCAPS = 7
    PR_SET_KEEPCAPS = 8
    PR_GET_TIMING = 13
    PR_SET_TIMING = 14
    PR_SET_NAME = 15
    PR_GET_NAME = 16
    PR_GET_SECCOMP = 21
    PR_SET_SECCOMP = 22
    PR_CAPBSET_READ = 23
    PR_CAPBSET_DROP = 24
    PR_GET_TSC = 25
    PR_SET_TSC = 26
    PR_GET_SECUREBITS = 27
    PR_SET_SECUREBITS = 28
    PR_SET_TIMERSLACK = 29
    PR_GET_TIMERSLACK = 30
    PR_TASK_PERF_EVENTS_DISABLE = 31
    PR_TASK_PERF_EVENTS_ENABLE = 32
    PR_MCE_KILL = 33
    PR_MCE_KILL_GET = 34
    PR_SET_MM = 35
    PR_SET_CHILD_SUBREAPER = 36
    PR_GET_CHILD_SUBREAPER = 37
    PR_SET_NO_NEW_PRIVS = 38
    PR_GET_NO_NEW_PRIVS = 39
    PR_GET_TID_ADDRESS = 40
    PR_SET_THP_DISABLE = 41
    PR_GET_THP_DISABLE = 42
    PR_CAP_AMBIENT = 47
    PR_GET_SPECULATION_CTRL = 52
    PR_SET_SPECULATION_CTRL = 53
    PR_SET_TAGGED_ADDR_CTRL = 55
    PR_GET_TAGGED_ADDR_CTRL = 56
    PR_SET_IO_FLUSHER = 57
    PR_GET_IO_FLUSHER = 58
    PR_SET_SYSCALL_USER_DISPATCH = 59
    PR_SET_MDWE = 65
    PR_GET_MDWE = 66
    PR_SET_MEMORY_MERGE = 67
    PR_GET_MEMORY_MERGE = 68
    PR_TIMER_CREATE_RESTORE_IDS = 77
    PR_FUTEX_HASH = 78
    PR_GET_AUXV = 0x4155_5856
    PR_SET_VMA = 0x5356_4D41
    PR_SET_VMA_ANON_NAME = 0
    ARCH_SET_GS = 0x1001
    ARCH_SET_FS = 0x1002
    ARCH_GET_FS = 0x1003
    ARCH_GET_GS = 0x1004
    ARCH_GET_CPUID = 0x1011
    ARCH_SET_CPUID = 0x1012
    ARCH_CET_STATUS = 0x3001
    """The early CET probe of Debian 12's glibc; kernels answer EINVAL."""
    PER_MASK = 0xFF
    PER_LINUX32 = 8
    UNAME26 = 0x2_0000
    ADDR_NO_RANDOMIZE = 0x4_0000
    MMAP_PAGE_ZERO = 0x10_0000
    ADDR_COMPAT_LAYOUT = 0x20_0000
    READ_IMPLIES_EXEC = 0x40_0000
    ADDR_LIMIT_32BIT = 0x80_0000


class Random:
    """getrandom(2) flags."""

    GRND_NONBLOCK = 1
    GRND_RANDOM = 2
    GRND_INSECURE = 4


class Fd:
    """Flags of calls that make descriptors, as in the generic O_ values (see `flags.open_for` for CLOEXEC and NONBLOCK)."""

    MFD_CLOEXEC = 1
    MFD_ALLOW_SEALING = 2
    MFD_HUGETLB = 4
    MFD_NOEXEC_SEAL = 8
    MFD_EXEC = 0x10
    MFD_SIZE_BITS = 0x3F << 26
    FALLOC_FL_KEEP_SIZE = 1
    FALLOC_FL_PUNCH_HOLE = 2
    CLOSE_RANGE_UNSHARE = 2
    CLOSE_RANGE_CLOEXEC = 4
    RWF_HIPRI = 1
    RWF_DSYNC = 2
    RWF_SYNC = 4
    RWF_NOWAIT = 8
    RWF_APPEND = 16
    SPLICE_F_MOVE = 1
    SPLICE_F_NONBLOCK = 2
    SPLICE_F_MORE = 4
    SPLICE_F_GIFT = 8
    IOV_MAX = 1024
    PATH_MAX = 4096
    NAME_MAX = 255


class Epoll:
    """epoll_ctl(2): operations, and the bits of events that say how they are told."""

    EPOLL_CTL_ADD = 1
    EPOLL_CTL_DEL = 2
    EPOLL_CTL_MOD = 3
    EPOLLEXCLUSIVE = 1 << 28
    EPOLLWAKEUP = 1 << 29
    EPOLLONESHOT = 1 << 30
    EPOLLET = 1 << 31


class Policy:
    """Memory policies."""

    MPOL_DEFAULT = 0
    MPOL_PREFERRED = 1
    MPOL_BIND = 2
    MPOL_INTERLEAVE = 3
    MPOL_LOCAL = 4
    MPOL_PREFERRED_MANY = 5
    MPOL_WEIGHTED_INTERLEAVE = 6
    MPOL_F_STATIC_NODES = 1 << 15
    MPOL_F_RELATIVE_NODES = 1 << 14
    MPOL_F_NUMA_BALANCING = 1 << 13
    MPOL_F_NODE = 1
    MPOL_F_ADDR = 2
    MPOL_F_MEMS_ALLOWED = 4
    MPOL_MF_STRICT = 1
    MPOL_MF_MOVE = 2
    MPOL_MF_MOVE_ALL = 4


class Membarrier:
    """membarrier(2) commands; a registration is its command shifted up by one."""

    QUERY = 0
    GLOBAL = 1
    GLOBAL_EXPEDITED = 2
    REGISTER_GLOBAL_EXPEDITED = 4
    PRIVATE_EXPEDITED = 8
    REGISTER_PRIVATE_EXPEDITED = 16
    PRIVATE_EXPEDITED_SYNC_CORE = 32
    REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 64
    PRIVATE_EXPEDITED_RSEQ = 128
    REGISTER_PRIVATE_EXPEDITED_RSEQ = 256
    GET_REGISTRATIONS = 512
    ALL = 0x3FF
    FLAG_CPU = 1


class Seal:
    """fcntl(F_ADD_SEALS) bits."""

    F_SEAL_SEAL = 1
    F_SEAL_SHRINK = 2
    F_SEAL_GROW = 4
    F_SEAL_WRITE = 8
    F_SEAL_FUTURE_WRITE = 0x10
    F_SEAL_EXEC = 0x20
    F_ALL_SEALS = 0x3F


class Process:
    """wait4 options, getrusage and priority targets, reboot-free scheduling policies, clone flags."""

    WNOHANG = 1
    WUNTRACED = 2
    WEXITED = 4
    WCONTINUED = 8
    WNOWAIT = 0x100_0000
    WHOM = 0xE000_0000
    """__WNOTHREAD, __WALL, __WCLONE."""
    RUSAGE_SELF = 0
    RUSAGE_CHILDREN = -1
    RUSAGE_THREAD = 1
    PRIO_PROCESS = 0
    PRIO_PGRP = 1
    PRIO_USER = 2
    SCHED_OTHER = 0
    CSIGNAL = 0xFF
    CLONE_VM = 0x100
    CLONE_FS = 0x200
    CLONE_FILES = 0x400
    CLONE_SIGHAND = 0x800
    CLONE_VFORK = 0x4000
    CLONE_PARENT = 0x8000
    CLONE_THREAD = 0x1_0000
    CLONE_SYSVSEM = 0x4_0000
    CLONE_SETTLS = 0x8_0000
    CLONE_PARENT_SETTID = 0x10_0000
    CLONE_CHILD_CLEARTID = 0x20_0000
    CLONE_DETACHED = 0x40_0000
    CLONE_CHILD_SETTID = 0x100_0000
    CLONE_PIDFD = 0x1000
    CLONE_NEWNS = 0x2_0000
    CLONE_NEWUSER = 0x1000_0000
    CLONE_NEWPID = 0x2000_0000
    CLONE_NEWTIME = 0x80
    CLONE_INTO_CGROUP = 0x2_0000_0000
    CLONE_CLEAR_SIGHAND = 0x1_0000_0000
    NAMESPACES = 0x7E02_0000 | CLONE_NEWTIME
    """CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME."""


class Futex:
    """futex(2) operations and flags."""

    FUTEX_WAIT = 0
    FUTEX_WAKE = 1
    FUTEX_REQUEUE = 3
    FUTEX_CMP_REQUEUE = 4
    FUTEX_WAKE_OP = 5
    FUTEX_LOCK_PI = 6
    FUTEX_UNLOCK_PI = 7
    FUTEX_TRYLOCK_PI = 8
    FUTEX_WAIT_BITSET = 9
    FUTEX_WAKE_BITSET = 10
    FUTEX_WAIT_REQUEUE_PI = 11
    FUTEX_CMP_REQUEUE_PI = 12
    FUTEX_LOCK_PI2 = 13
    FUTEX_PRIVATE_FLAG = 128
    FUTEX_CLOCK_REALTIME = 256
    FUTEX_CMD_MASK = ~(128 | 256)
    FUTEX_BITSET_MATCH_ANY = 0xFFFF_FFFF
    FUTEX_WAITERS = 0x8000_0000
    FUTEX_OWNER_DIED = 0x4000_0000
    FUTEX_TID_MASK = 0x3FFF_FFFF
