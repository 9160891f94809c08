"""Memory layouts of the kernel's user-space structures.

Owns how a structure lies in guest memory, per architecture, as `struct.Struct` formats, and the values that go into it as
NamedTuples. Must not know guest memory or the host: the functions turn numbers into bytes and back. Times are seconds and
nanoseconds (timeval: microseconds). Layouts: include/uapi and arch/*/include/uapi/asm, Linux 6.1; `tests/abi/test_structs.py`
holds them against the C compiler.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from struct import Struct

from emuvm.abi.arch import Arch
from emuvm.abi.flags_mm import family
from emuvm.abi.tuples import NamedTuple


@cache
def _layout(arch: Arch, fmt: str) -> Struct:
    """`fmt` without padding of its own, in the architecture's byte order; 'w' is a word (long), 'W' an unsigned one."""
    signed, unsigned = ("q", "Q") if arch.bits == 64 else ("i", "I")
    return Struct((">" if arch.big_endian else "<") + fmt.replace("w", signed).replace("W", unsigned))


def word_size(arch: Arch) -> int:
    """Bytes in a long or a pointer."""
    return arch.bits // 8


def pack_words(arch: Arch, values: Iterable[int]) -> bytes:
    """Unsigned words, one after the other; each must fit."""
    words = tuple(values)
    return _layout(arch, f"{len(words)}W").pack(*words)


def unpack_words(arch: Arch, data: bytes) -> tuple[int, ...]:
    """The inverse of `pack_words`; len(data) must be a multiple of the word size."""
    return _layout(arch, f"{len(data) // word_size(arch)}W").unpack(data)


class Stat(NamedTuple):
    """What stat and statx report about a file. Devices are split in major and minor; times are (seconds, nanoseconds)."""

    dev: tuple[int, int]
    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: tuple[int, int]
    size: int
    blksize: int
    blocks: int
    """512-byte units."""
    atime: tuple[int, int]
    mtime: tuple[int, int]
    ctime: tuple[int, int]
    btime: tuple[int, int] | None = None


def encode_dev(major: int, minor: int) -> int:
    """The 32-bit device number of stat (include/linux/kdev_t.h:new_encode_dev)."""
    return (minor & 0xFF | major << 8 | (minor & ~0xFF) << 12) & 0xFFFF_FFFF


def decode_dev(dev: int) -> tuple[int, int]:
    """(major, minor): the inverse of `encode_dev`."""
    return (dev & 0xFFF00) >> 8, dev & 0xFF | dev >> 12 & 0xFFF00


_STAT_X86_64 = "QQQIIIxxxxQqqq6Q24x"
_STAT_GENERIC64 = "QQIIIIQ8xqixxxxq6Q8x"


def stat_size(arch: Arch) -> int:
    """Bytes in struct stat. NotImplementedError where `pack_stat` has no layout."""
    return _layout(arch, _stat_format(arch)).size


def _stat_format(arch: Arch) -> str:
    if arch.name == "x86_64":
        return _STAT_X86_64
    if arch.name in ("arm64", "riscv64"):
        return _STAT_GENERIC64
    raise NotImplementedError(f"struct stat of {arch.name}")


def pack_stat(arch: Arch, stat: Stat) -> bytes:
    """struct stat of x86-64 or, on arm64 and riscv64, of asm-generic/stat.h (fs/stat.c:cp_new_stat)."""
    fmt = _stat_format(arch)
    mask = 0xFFFF_FFFF_FFFF_FFFF
    times = [value & mask for pair in (stat.atime, stat.mtime, stat.ctime) for value in pair]
    if fmt is _STAT_X86_64:
        order = (stat.nlink, stat.mode, stat.uid, stat.gid)
    else:
        order = (stat.mode, stat.nlink, stat.uid, stat.gid)
    head = (encode_dev(*stat.dev), stat.ino, *order, encode_dev(*stat.rdev), stat.size, stat.blksize, stat.blocks)
    return _layout(arch, fmt).pack(*head, *times)


def pack_statx(arch: Arch, stat: Stat, mask: int, mnt_id: int = 0) -> bytes:
    """struct statx (256 bytes, the same everywhere). `mask` is stx_mask: which fields are valid."""
    times = [part for pair in (stat.atime, stat.btime or (0, 0), stat.ctime, stat.mtime) for part in pair]
    return _layout(arch, "IIQIIIHxxQQQQ" + "qI4x" * 4 + "IIIIQ104x").pack(
        mask, stat.blksize, 0, stat.nlink, stat.uid, stat.gid, stat.mode & 0xFFFF, stat.ino, stat.size, stat.blocks, 0,
        *times, *stat.rdev, *stat.dev, mnt_id,
    )  # fmt: skip


class Statfs(NamedTuple):
    """struct statfs; sizes in blocks of `bsize` bytes."""

    type: int
    bsize: int
    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    fsid: tuple[int, int]
    namelen: int
    frsize: int
    flags: int


def pack_statfs(arch: Arch, statfs: Statfs) -> bytes:
    """struct statfs of the 64-bit ABIs (asm-generic/statfs.h). NotImplementedError for 32-bit ABIs and those that differ."""
    if arch.bits != 64 or family(arch.name) in ("mips", "s390"):
        raise NotImplementedError(f"struct statfs of {arch.name}")
    first, fsid, last = statfs[:7], statfs.fsid, statfs[8:]
    return _layout(arch, "7QIIqqq32x").pack(*first, *(part & 0xFFFF_FFFF for part in fsid), *last)


def pack_timespec(arch: Arch, seconds: int, fraction: int) -> bytes:
    """struct timespec or timeval: two longs (`fraction` in the unit of the structure)."""
    return _layout(arch, "ww").pack(seconds, fraction)


def unpack_timespec(arch: Arch, data: bytes) -> tuple[int, int]:
    """The inverse of `pack_timespec`; both parts signed."""
    seconds, fraction = _layout(arch, "ww").unpack(data)
    return seconds, fraction


def timespec_size(arch: Arch) -> int:
    return 2 * word_size(arch)


def pack_timespec64(arch: Arch, seconds: int, nanoseconds: int) -> bytes:
    """struct __kernel_timespec of the time64 calls: 16 bytes everywhere."""
    return _layout(arch, "qq").pack(seconds, nanoseconds)


def pack_itimerval(arch: Arch, interval: tuple[int, int], value: tuple[int, int]) -> bytes:
    """struct itimerval (microseconds) or itimerspec (nanoseconds)."""
    return _layout(arch, "wwww").pack(*interval, *value)


def unpack_iovec(arch: Arch, data: bytes) -> list[tuple[int, int]]:
    """[(base, length), ...] from an array of struct iovec; a partial last element is ignored."""
    size = 2 * word_size(arch)
    words = unpack_words(arch, data[: len(data) // size * size])
    return list(zip(words[::2], words[1::2], strict=True))


def iovec_size(arch: Arch) -> int:
    return 2 * word_size(arch)


class Utsname(NamedTuple):
    sysname: str
    nodename: str
    release: str
    version: str
    machine: str
    domainname: str


def pack_utsname(names: Utsname) -> bytes:
    """struct new_utsname: six fields of 65 bytes, each cut to 64 and NUL terminated."""
    return b"".join(name.encode(errors="surrogateescape")[:64].ljust(65, b"\0") for name in names)


def pack_rlimit64(arch: Arch, soft: int, hard: int) -> bytes:
    """struct rlimit64, two u64; it is also struct rlimit of 64-bit ABIs. RLIM64_INFINITY is all ones."""
    return _layout(arch, "QQ").pack(soft, hard)


def unpack_rlimit64(arch: Arch, data: bytes) -> tuple[int, int]:
    """(soft, hard)."""
    soft, hard = _layout(arch, "QQ").unpack(data)
    return soft, hard


class Sysinfo(NamedTuple):
    """Memory amounts in units of `mem_unit` bytes; loads are fixed point, 16 fraction bits."""

    uptime: int
    loads: tuple[int, int, int]
    totalram: int
    freeram: int
    sharedram: int
    bufferram: int
    totalswap: int
    freeswap: int
    procs: int
    totalhigh: int = 0
    freehigh: int = 0
    mem_unit: int = 1


def pack_sysinfo(arch: Arch, info: Sysinfo) -> bytes:
    """struct sysinfo: 112 bytes in 64-bit ABIs, 64 in the others."""
    gap, tail = ("xxxx", "4x") if arch.bits == 64 else ("", "8x")
    layout = _layout(arch, f"w9WHxx{gap}WWI{tail}")
    return layout.pack(info.uptime, *info.loads, *info[2:8], *info[8:])


class Rusage(NamedTuple):
    """struct rusage; times are (seconds, microseconds), maxrss in KiB."""

    utime: tuple[int, int]
    stime: tuple[int, int]
    maxrss: int = 0
    ixrss: int = 0
    idrss: int = 0
    isrss: int = 0
    minflt: int = 0
    majflt: int = 0
    nswap: int = 0
    inblock: int = 0
    oublock: int = 0
    msgsnd: int = 0
    msgrcv: int = 0
    nsignals: int = 0
    nvcsw: int = 0
    nivcsw: int = 0


def pack_rusage(arch: Arch, usage: Rusage) -> bytes:
    return _layout(arch, "18w").pack(*usage.utime, *usage.stime, *usage[2:])


def pack_tms(arch: Arch, utime: int, stime: int, cutime: int, cstime: int) -> bytes:
    """struct tms, in clock ticks (AT_CLKTCK: 100 a second)."""
    return _layout(arch, "4w").pack(utime, stime, cutime, cstime)


class Termios(NamedTuple):
    """The kernel's struct termios (TCGETS); `cc` has 19 bytes."""

    iflag: int
    oflag: int
    cflag: int
    lflag: int
    line: int
    cc: bytes


TERMIOS_SIZE = 36


def _termios_check(arch: Arch) -> None:
    if family(arch.name) in ("mips", "powerpc", "sparc"):
        raise NotImplementedError(f"struct termios of {arch.name}")


def pack_termios(arch: Arch, termios: Termios) -> bytes:
    """asm-generic/termbits.h: 36 bytes. NotImplementedError on mips, powerpc and sparc, which order it differently."""
    _termios_check(arch)
    return _layout(arch, "4IB19s").pack(*termios)


def unpack_termios(arch: Arch, data: bytes) -> Termios:
    """The inverse of `pack_termios`."""
    _termios_check(arch)
    return Termios(*_layout(arch, "4IB19s").unpack(data))


def pack_winsize(arch: Arch, rows: int, columns: int, xpixel: int = 0, ypixel: int = 0) -> bytes:
    return _layout(arch, "4H").pack(rows, columns, xpixel, ypixel)


def unpack_winsize(arch: Arch, data: bytes) -> tuple[int, int, int, int]:
    """(rows, columns, xpixel, ypixel)."""
    rows, columns, xpixel, ypixel = _layout(arch, "4H").unpack(data)
    return rows, columns, xpixel, ypixel


def dirent64_size(name: bytes) -> int:
    """d_reclen: 19 bytes before the name, its NUL, rounded up to 8 (fs/readdir.c:filldir64)."""
    return (19 + len(name) + 1 + 7) & ~7


def pack_dirent64(arch: Arch, ino: int, offset: int, kind: int, name: bytes) -> bytes:
    """struct linux_dirent64; `offset` is where the next entry starts, `kind` a DT_ value."""
    size = dirent64_size(name)
    return (_layout(arch, "QqHB").pack(ino, offset, size, kind) + name).ljust(size, b"\0")


POLLFD_SIZE = 8


def unpack_pollfds(arch: Arch, data: bytes) -> list[tuple[int, int]]:
    """[(fd, events), ...] from an array of struct pollfd."""
    return [(fd, events) for fd, events, _ in _layout(arch, "iHH").iter_unpack(data)]


def pack_pollfd(arch: Arch, fd: int, events: int, revents: int) -> bytes:
    return _layout(arch, "iHH").pack(fd, events, revents)


def epoll_layout(arch: Arch) -> Struct:
    """struct epoll_event: the events, and 64 bits of data, which on some follow without a gap."""
    return _layout(arch, "IQ" if arch.name in ("x86_64", "i386", "m68k") else "I4xQ")


class Flock(NamedTuple):
    """struct flock: `start` relative to `whence`, length 0 to the end of the file."""

    type: int
    whence: int
    start: int
    length: int
    pid: int


def pack_flock(arch: Arch, flock: Flock) -> bytes:
    """struct flock of the 64-bit ABIs (32 bytes). NotImplementedError for 32-bit ABIs."""
    return _layout(arch, _flock_format(arch)).pack(*flock)


def unpack_flock(arch: Arch, data: bytes) -> Flock:
    """The inverse of `pack_flock`."""
    return Flock(*_layout(arch, _flock_format(arch)).unpack(data))


def _flock_format(arch: Arch) -> str:
    if arch.bits != 64:
        raise NotImplementedError(f"struct flock of {arch.name}")
    return "hhxxxxqqi4x"
