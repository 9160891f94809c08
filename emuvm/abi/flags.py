"""Raw bits and small numbers of the Linux ABI that system-call arguments carry.

Owns facts as data. Must not know handlers. A namespace class holds the generic (asm-generic) values; a subclass overrides what
an architecture numbers differently, and the `..._for(arch.name)` functions choose. Below the handlers only emuvm's own enums
travel. What concerns memory is in `flags_mm`; clocks, ioctls and the other controls are in `controls`. Values:
include/uapi/asm-generic and arch/*/include/uapi/asm, Linux 6.1.
"""

from __future__ import annotations

from emuvm.abi.flags_mm import Map, MapMips, MapPowerpc, MapSparc, MapX86, Mcl, Memory, Prot, family, map_for, mcl_for, prot_for

__all__ = [
    "Access", "At", "Fcntl", "Map", "MapMips", "MapPowerpc", "MapSparc", "MapX86", "Mcl", "Memory", "Mode", "Open", "Poll",
    "Prot", "Rlimit", "Seek",
    "convert_open", "family", "fcntl_for", "map_for", "mcl_for", "open_for", "poll_for", "prot_for", "rlimit_for",
]  # fmt: skip


class Open:
    """open(2) flags, as on x86, riscv, s390."""

    O_ACCMODE: int = 0x3
    O_RDONLY: int = 0x0
    O_WRONLY: int = 0x1
    O_RDWR: int = 0x2
    O_CREAT: int = 0x40
    O_EXCL: int = 0x80
    O_NOCTTY: int = 0x100
    O_TRUNC: int = 0x200
    O_APPEND: int = 0x400
    O_NONBLOCK: int = 0x800
    O_DSYNC: int = 0x1000
    O_ASYNC: int = 0x2000
    O_DIRECT: int = 0x4000
    O_LARGEFILE: int = 0x8000
    O_DIRECTORY: int = 0x1_0000
    O_NOFOLLOW: int = 0x2_0000
    O_NOATIME: int = 0x4_0000
    O_CLOEXEC: int = 0x8_0000
    O_SYNC: int = 0x10_1000
    """Contains O_DSYNC."""
    O_PATH: int = 0x20_0000
    O_TMPFILE: int = 0x41_0000
    """Contains O_DIRECTORY."""


class OpenArm(Open):
    """arm, arm64, m68k."""

    O_DIRECTORY = 0x4000
    O_NOFOLLOW = 0x8000
    O_DIRECT = 0x1_0000
    O_LARGEFILE = 0x2_0000
    O_TMPFILE = 0x40_4000


class OpenPowerpc(Open):
    O_DIRECTORY = 0x4000
    O_NOFOLLOW = 0x8000
    O_LARGEFILE = 0x1_0000
    O_DIRECT = 0x2_0000
    O_TMPFILE = 0x40_4000


class OpenMips(Open):
    O_APPEND = 0x8
    O_DSYNC = 0x10
    O_NONBLOCK = 0x80
    O_CREAT = 0x100
    O_EXCL = 0x400
    O_NOCTTY = 0x800
    O_ASYNC = 0x1000
    O_LARGEFILE = 0x2000
    O_SYNC = 0x4010
    O_DIRECT = 0x8000


class OpenSparc(Open):
    O_APPEND = 0x8
    O_ASYNC = 0x40
    O_CREAT = 0x200
    O_TRUNC = 0x400
    O_EXCL = 0x800
    O_DSYNC = 0x2000
    O_NONBLOCK = 0x4000
    O_NOCTTY = 0x8000
    O_LARGEFILE = 0x4_0000
    O_DIRECT = 0x10_0000
    O_NOATIME = 0x20_0000
    O_CLOEXEC = 0x40_0000
    O_SYNC = 0x80_2000
    O_PATH = 0x100_0000
    O_TMPFILE = 0x201_0000


class At:
    """*at(2) flags and the directory descriptor that stands for the current one."""

    AT_FDCWD = -100
    AT_SYMLINK_NOFOLLOW = 0x100
    AT_REMOVEDIR = 0x200
    AT_EACCESS = 0x200
    AT_SYMLINK_FOLLOW = 0x400
    AT_NO_AUTOMOUNT = 0x800
    AT_EMPTY_PATH = 0x1000
    AT_STATX_SYNC_TYPE = 0x6000
    AT_STATX_FORCE_SYNC = 0x2000
    AT_STATX_DONT_SYNC = 0x4000
    AT_RECURSIVE = 0x8000
    RENAME_NOREPLACE = 1
    RENAME_EXCHANGE = 2
    RENAME_WHITEOUT = 4
    STATX_BASIC_STATS = 0x7FF
    STATX_BTIME = 0x800
    STATX_MNT_ID = 0x1000
    STATX_RESERVED = 0x8000_0000
    RESOLVE_NO_XDEV = 0x1
    RESOLVE_NO_MAGICLINKS = 0x2
    RESOLVE_NO_SYMLINKS = 0x4
    RESOLVE_BENEATH = 0x8
    RESOLVE_IN_ROOT = 0x10
    RESOLVE_CACHED = 0x20


class Access:
    """access(2) modes."""

    F_OK = 0
    X_OK = 1
    W_OK = 2
    R_OK = 4


class Seek:
    """lseek(2) origins."""

    SEEK_SET = 0
    SEEK_CUR = 1
    SEEK_END = 2
    SEEK_DATA = 3
    SEEK_HOLE = 4


class Mode:
    """st_mode bits."""

    S_IFMT = 0o170000
    S_IFSOCK = 0o140000
    S_IFLNK = 0o120000
    S_IFREG = 0o100000
    S_IFBLK = 0o060000
    S_IFDIR = 0o040000
    S_IFCHR = 0o020000
    S_IFIFO = 0o010000
    S_ISUID = 0o4000
    S_ISGID = 0o2000
    S_ISVTX = 0o1000
    S_IRUSR, S_IWUSR, S_IXUSR = 0o400, 0o200, 0o100
    S_IRGRP, S_IWGRP, S_IXGRP = 0o040, 0o020, 0o010
    S_IROTH, S_IWOTH, S_IXOTH = 0o004, 0o002, 0o001
    DT_UNKNOWN, DT_FIFO, DT_CHR, DT_DIR, DT_BLK, DT_REG, DT_LNK, DT_SOCK = 0, 1, 2, 4, 6, 8, 10, 12
    """d_type: the file type bits of st_mode >> 12."""


class Fcntl:
    """fcntl(2) commands of the generic ABI; F_*LK64 exist only in 32-bit ABIs."""

    F_DUPFD: int = 0
    F_GETFD: int = 1
    F_SETFD: int = 2
    F_GETFL: int = 3
    F_SETFL: int = 4
    F_GETLK: int = 5
    F_SETLK: int = 6
    F_SETLKW: int = 7
    F_SETOWN: int = 8
    F_GETOWN: int = 9
    F_SETSIG: int = 10
    F_GETSIG: int = 11
    F_GETLK64: int = 12
    F_SETLK64: int = 13
    F_SETLKW64: int = 14
    F_SETOWN_EX: int = 15
    F_GETOWN_EX: int = 16
    F_OFD_GETLK: int = 36
    F_OFD_SETLK: int = 37
    F_OFD_SETLKW: int = 38
    F_SETLEASE: int = 1024
    F_GETLEASE: int = 1025
    F_NOTIFY: int = 1026
    F_DUPFD_CLOEXEC: int = 1030
    F_SETPIPE_SZ: int = 1031
    F_GETPIPE_SZ: int = 1032
    F_ADD_SEALS: int = 1033
    F_GET_SEALS: int = 1034
    FD_CLOEXEC: int = 1
    F_RDLCK: int = 0
    F_WRLCK: int = 1
    F_UNLCK: int = 2
    LOCK_SH: int = 1
    LOCK_EX: int = 2
    LOCK_NB: int = 4
    LOCK_UN: int = 8


class FcntlMips(Fcntl):
    F_GETLK = 14
    F_GETOWN = 23
    F_SETOWN = 24


class FcntlMips32(FcntlMips):
    """o32 has the 64-bit locks at 33..35, to keep them apart from F_GETLK 14."""

    F_GETLK64 = 33
    F_SETLK64 = 34
    F_SETLKW64 = 35


class FcntlSparc(Fcntl):
    F_GETOWN = 5
    F_SETOWN = 6
    F_GETLK = 7
    F_SETLK = 8
    F_SETLKW = 9
    F_RDLCK = 1
    F_WRLCK = 2
    F_UNLCK = 3


class Poll:
    """poll(2) bits."""

    POLLIN: int = 0x1
    POLLPRI: int = 0x2
    POLLOUT: int = 0x4
    POLLERR: int = 0x8
    POLLHUP: int = 0x10
    POLLNVAL: int = 0x20
    POLLRDNORM: int = 0x40
    POLLRDBAND: int = 0x80
    POLLWRNORM: int = 0x100
    POLLWRBAND: int = 0x200
    POLLMSG: int = 0x400
    POLLREMOVE: int = 0x1000
    POLLRDHUP: int = 0x2000


class PollMips(Poll):
    """mips and m68k."""

    POLLWRNORM = 0x4
    POLLWRBAND = 0x100


class PollSparc(PollMips):
    POLLMSG = 0x200
    POLLREMOVE = 0x400
    POLLRDHUP = 0x800


class Rlimit:
    """Resource limits."""

    RLIMIT_CPU: int = 0
    RLIMIT_FSIZE: int = 1
    RLIMIT_DATA: int = 2
    RLIMIT_STACK: int = 3
    RLIMIT_CORE: int = 4
    RLIMIT_RSS: int = 5
    RLIMIT_NPROC: int = 6
    RLIMIT_NOFILE: int = 7
    RLIMIT_MEMLOCK: int = 8
    RLIMIT_AS: int = 9
    RLIMIT_LOCKS: int = 10
    RLIMIT_SIGPENDING: int = 11
    RLIMIT_MSGQUEUE: int = 12
    RLIMIT_NICE: int = 13
    RLIMIT_RTPRIO: int = 14
    RLIMIT_RTTIME: int = 15
    RLIM_NLIMITS: int = 16
    RLIM64_INFINITY: int = 0xFFFF_FFFF_FFFF_FFFF


class RlimitMips(Rlimit):
    RLIMIT_NOFILE = 5
    RLIMIT_AS = 6
    RLIMIT_RSS = 7
    RLIMIT_NPROC = 8
    RLIMIT_MEMLOCK = 9


class RlimitSparc(Rlimit):
    RLIMIT_NOFILE = 6
    RLIMIT_NPROC = 7


def open_for(arch_name: str) -> type[Open]:
    by_family: dict[str, type[Open]] = {
        "arm": OpenArm, "arm64": OpenArm, "m68k": OpenArm, "powerpc": OpenPowerpc, "mips": OpenMips, "sparc": OpenSparc,
    }  # fmt: skip
    return by_family.get(family(arch_name), Open)


_OPEN_NAMES = tuple(name for name in vars(Open) if name.startswith("O_") and name != "O_ACCMODE")


def convert_open(flags: int, source: type[Open], target: type[Open]) -> int:
    """O_ flags from one numbering to another; bits that have no name in `source` are dropped."""
    if source is target:
        return flags
    result = flags & Open.O_ACCMODE
    for name in _OPEN_NAMES:
        bits: int = getattr(source, name)
        if bits and flags & bits == bits:
            result |= getattr(target, name)
    return result


def fcntl_for(arch_name: str) -> type[Fcntl]:
    if arch_name.startswith("mips32"):
        return FcntlMips32
    by_family: dict[str, type[Fcntl]] = {"mips": FcntlMips, "sparc": FcntlSparc}
    return by_family.get(family(arch_name), Fcntl)


def poll_for(arch_name: str) -> type[Poll]:
    by_family: dict[str, type[Poll]] = {"mips": PollMips, "m68k": PollMips, "sparc": PollSparc}
    return by_family.get(family(arch_name), Poll)


def rlimit_for(arch_name: str) -> type[Rlimit]:
    by_family: dict[str, type[Rlimit]] = {"mips": RlimitMips, "sparc": RlimitSparc}
    return by_family.get(family(arch_name), Rlimit)
