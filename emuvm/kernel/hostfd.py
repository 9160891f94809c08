"""The host behind open descriptors: reading, writing, control, waiting.

Owns: every use of the host's descriptors once they are open. Must not know guests: numbers are the host's, buffers are
bytes. A failure is GuestError with the host's errno. Paths are `emuvm.kernel.hostfs`.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import select
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from emuvm.abi.errno import Errno
from emuvm.abi.flags import open_for
from emuvm.abi.structs import Stat, decode_dev
from emuvm.errors import GuestError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_NOWHERE = 8
"""An address where nothing of emuvm's own process is."""
_libc: Any = ctypes.CDLL(None, use_errno=True)
_HIGH = 256
"""Own copies of the standard streams lie here or above, out of the way of what libraries expect at 0, 1 and 2."""


def failure(error: OSError) -> GuestError:
    """What a guest is told about a failure of the host."""
    try:
        return GuestError(Errno(error.errno or Errno.EIO), error.strerror or "")
    except ValueError:
        return GuestError(Errno.EIO, str(error))


def host_call(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn the decorated function's OSError into GuestError, and values the host cannot take into EINVAL."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except OSError as error:
            raise failure(error) from None
        except (OverflowError, ValueError) as error:
            raise GuestError(Errno.EINVAL, str(error)) from None

    return call


read = host_call(os.read)
write = host_call(os.write)
pread = host_call(os.pread)
pwrite = host_call(os.pwrite)
lseek = host_call(os.lseek)
ftruncate = host_call(os.ftruncate)
change_mode = host_call(os.fchmod)
fsync = host_call(os.fsync)
fdatasync = host_call(os.fdatasync)
sync = os.sync
ioctl = host_call(fcntl.ioctl)
control = host_call(fcntl.fcntl)
flock = host_call(fcntl.flock)
fadvise = host_call(os.posix_fadvise)
copy_file_range = host_call(os.copy_file_range)
_PAGE = 4096
_PROT_READ, _PROT_EXEC, _MAP_SHARED, _MAP_PRIVATE = 1, 4, 1, 2
F_GETFL, F_SETFL, F_SETLEASE = fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_SETLEASE


def close(fd: int) -> None:
    """Close; a failure to write back is not told, as with Linux's exit."""
    try:
        os.close(fd)
    except OSError:
        pass


@host_call
def duplicate(fd: int) -> int:
    """Another descriptor of the same open file."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    except OSError as error:
        if error.errno == Errno.EBADF:
            raise
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)  # few descriptors are allowed


@host_call
def open_device(path: bytes, access: int) -> int:
    """A device of the host; `access` is one of O_RDONLY, O_WRONLY, O_RDWR."""
    return os.open(path, access | os.O_CLOEXEC)


@host_call
def pipe(flags: int) -> tuple[int, int]:
    """(read end, write end), close-on-exec on the host in any case."""
    return os.pipe2(flags | os.O_CLOEXEC)


NONBLOCK = os.O_NONBLOCK


def nudge(fd: int) -> None:
    """Write a byte to a pipe that does not block; when it is full that has been done often enough."""
    try:
        os.write(fd, b"\1")
    except OSError:
        pass


def drain(fd: int) -> None:
    """Empty a pipe that does not block."""
    try:
        while len(os.read(fd, 4096)) == 4096:
            pass
    except OSError:
        pass


def write_from_nowhere(fd: int, count: int, offset: int | None, flags: int = 0) -> None:
    """Have the kernel try to write `count` bytes from an address where nothing is: what such a failure does to a file is its own
    business (a memfd grows up to the offset).
    """
    if flags:
        _libc.pwritev2(fd, (ctypes.c_size_t * 2)(_NOWHERE, count), 1, ctypes.c_int64(-1 if offset is None else offset), flags)
    elif offset is None:
        _libc.write(fd, ctypes.c_void_p(_NOWHERE), ctypes.c_size_t(count))
    else:
        _libc.pwrite(fd, ctypes.c_void_p(_NOWHERE), ctypes.c_size_t(count), ctypes.c_int64(offset))


@host_call
def memory_file(size: int, name: str = "emuvm") -> int:
    """A file of `size` zero bytes in memory, without a name in any directory."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


@host_call
def preadv(fd: int, length: int, offset: int, flags: int) -> bytes:
    """preadv2(2) into one buffer; offset -1: the file's own."""
    buffer = bytearray(length)
    return bytes(buffer[: os.preadv(fd, [buffer], offset, flags)])


@host_call
def check_flags(fd: int, offset: int, flags: int, *, writing: bool) -> None:
    """The error that preadv2(2) or pwritev2(2) have for RWF_ flags that a file does not know; no data are moved.

    `offset` -1: the file's own.
    """
    vector = (ctypes.c_size_t * 2)(_NOWHERE, 1)
    call = _libc.pwritev2 if writing else _libc.preadv2
    if call(fd, vector, 1, ctypes.c_int64(offset), flags) < 0 and ctypes.get_errno() in (Errno.EOPNOTSUPP, Errno.EINVAL):
        raise OSError(ctypes.get_errno(), "RWF_ flags")


@host_call
def pwritev(fd: int, data: bytes, offset: int, flags: int) -> int:
    """pwritev2(2) from one buffer; offset -1: the file's own."""
    return os.pwritev(fd, [data], offset, flags)


@host_call
def sendfile(sink: int, source: int, start: int | None, count: int) -> tuple[int, int | None]:
    """Bytes moved, and what has become of the position: devices leave it where it is."""
    at = _box(start)
    done = _result(lambda: _libc.sendfile(sink, source, at, ctypes.c_size_t(count)))
    return done, at and at.contents.value


@host_call
def splice(source: int, sink: int, count: int, start: int | None, target: int | None, flags: int) -> tuple[int, int | None, int | None]:
    """As `sendfile`, with the position of either side."""
    at, to = _box(start), _box(target)
    done = _result(lambda: _libc.splice(source, at, sink, to, ctypes.c_size_t(count), flags))
    return done, at and at.contents.value, to and to.contents.value


def _box(position: int | None) -> Any:
    return None if position is None else ctypes.pointer(ctypes.c_int64(position))


@host_call
def tee(source: int, sink: int, count: int, flags: int) -> int:
    return _result(lambda: _libc.tee(source, sink, ctypes.c_size_t(count), flags))


@host_call
def vmsplice(fd: int, parts: list[tuple[int, bytes]], flags: int) -> int:
    """Give pages to a pipe: each part is the offset of its first byte in a page, and its bytes."""
    lengths = [-(-(offset + len(data)) // _PAGE) * _PAGE for offset, data in parts]
    with mmap.mmap(-1, sum(lengths)) as pages:
        holder = ctypes.c_char.from_buffer(pages)
        base, at = ctypes.addressof(holder), 0
        vectors = (ctypes.c_size_t * (2 * len(parts)))()
        for number, ((offset, data), length) in enumerate(zip(parts, lengths, strict=True)):
            pages[at + offset : at + offset + len(data)] = data
            vectors[2 * number], vectors[2 * number + 1] = base + at + offset, len(data)
            at += length
        del holder
        return _result(lambda: _libc.vmsplice(fd, vectors, ctypes.c_size_t(len(parts)), flags))


def _result(call: Callable[[], int]) -> int:
    """What a library call returns; it is made again after a signal whose Python handler did not raise."""
    while (value := call()) < 0:
        error = ctypes.get_errno()
        if error != Errno.EINTR:
            raise OSError(error, os.strerror(error))
    return value


@host_call
def memfd_create(name: bytes, flags: int) -> int:
    return os.memfd_create(os.fsdecode(name), flags)


@host_call
def eventfd(initial: int, flags: int) -> int:
    return os.eventfd(initial, flags | os.EFD_CLOEXEC)


@host_call
def signals(fd: int, mask: int) -> int:
    """signalfd(2) that does not wait; -1: a new one. Bit n-1 for signal n."""
    return _result(lambda: _libc.signalfd(fd, ctypes.byref(ctypes.c_uint64(mask)), os.O_CLOEXEC | os.O_NONBLOCK))


@host_call
def pidfd(pid: int) -> int:
    return os.pidfd_open(pid)


def standard_streams() -> list[tuple[int, int]]:
    """[(number, own descriptor)] of those of 0, 1 and 2 that are open."""
    streams = []
    for number in range(3):
        try:
            streams.append((number, duplicate(number)))
        except GuestError:
            continue
    return streams


def to_stat(found: os.stat_result) -> Stat:
    """A host's answer, field by field."""
    billion = 1_000_000_000
    return Stat(
        decode_device(found.st_dev),
        found.st_ino,
        found.st_mode,
        found.st_nlink,
        found.st_uid,
        found.st_gid,
        decode_device(found.st_rdev),
        found.st_size,
        found.st_blksize,
        found.st_blocks,
        divmod(found.st_atime_ns, billion),
        divmod(found.st_mtime_ns, billion),
        divmod(found.st_ctime_ns, billion),
    )


def decode_device(device: int) -> tuple[int, int]:
    """(major, minor) of a host st_dev."""
    return decode_dev(device) if device >> 32 == 0 else (os.major(device), os.minor(device))


@host_call
def stat(fd: int) -> Stat:
    return to_stat(os.fstat(fd))


@host_call
def size(fd: int) -> int:
    """Bytes in the file now."""
    return os.fstat(fd).st_size


@host_call
def kind(fd: int) -> tuple[int, int]:
    """(st_mode, st_rdev)."""
    found = os.fstat(fd)
    return found.st_mode, found.st_rdev


def link(fd: int) -> bytes:
    """What /proc/self/fd says a descriptor is: a path, 'pipe:[123]', ...; empty where the host has no such thing."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % fd)
    except OSError:
        return b""


def try_mapping(fd: int) -> tuple[bool, int]:
    """(whether it lies on a noexec mount, errno or 0): a page of a file open for reading is mapped, and let go of."""
    error = _map_page(fd, _PROT_READ | _PROT_EXEC, _MAP_PRIVATE)
    if error in (Errno.EPERM, Errno.EACCES):  # the mount, or a security policy of the host about which the guest need not know
        return error == Errno.EPERM, _map_page(fd, _PROT_READ, _MAP_PRIVATE)
    return False, error


def append_only(fd: int) -> bool:
    """Whether a file open for writing has the append-only attribute: the kernel refuses to map it shared."""
    return _map_page(fd, 0, _MAP_SHARED) == Errno.EACCES and _map_page(fd, 0, _MAP_PRIVATE) != Errno.EACCES


def _map_page(fd: int, prot: int, flags: int) -> int:
    """Map one page and take it away again: 0 or an errno. Nothing is read, so the file may be empty."""
    _libc.mmap.restype = ctypes.c_void_p
    pointer = _libc.mmap(None, ctypes.c_size_t(1), prot, flags, fd, ctypes.c_int64(0))
    if pointer == ctypes.c_void_p(-1).value:
        return ctypes.get_errno()
    _libc.munmap(ctypes.c_void_p(pointer), ctypes.c_size_t(1))
    return 0


def available(fd: int) -> int:
    """Bytes that can be read from a pipe or terminal at once."""
    return int.from_bytes(ioctl(fd, 0x541B, bytes(4)), "little")


@host_call
def wait(wanted: Iterable[tuple[int, int]], seconds: float | None) -> dict[int, int]:
    """poll(2): {fd: events} of the descriptors that are ready; None waits without end. The bits are Linux's."""
    poll = select.poll()
    for fd, events in wanted:
        poll.register(fd, events)
    return dict(poll.poll(None if seconds is None else max(0.0, seconds * 1000)))


def readable(fd: int, seconds: float) -> bool:
    """Wait for one descriptor, to the microsecond; -1: only wait."""
    fds = [fd] if fd >= 0 else []
    try:
        return bool(select.select(fds, [], [], seconds)[0])
    except ValueError:  # a number that select has no room for
        return bool(wait([(fd, select.POLLIN)], seconds))


@host_call
def allocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2) with any mode."""
    _result(lambda: _libc.fallocate64(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


_CACHESTAT = 451


@host_call
def cached(fd: int, offset: int, length: int) -> tuple[int, ...]:
    """cachestat(2): pages cached, dirty, under writeback, evicted, recently evicted."""
    counts = (ctypes.c_uint64 * 5)()
    _result(lambda: _libc.syscall(_CACHESTAT, fd, (ctypes.c_uint64 * 2)(offset, length), counts, 0))
    return tuple(counts)


def size_limit() -> int | None:
    """The soft limit of a file's size in bytes; None: unlimited."""
    import resource

    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def open_limit() -> int:
    """The soft limit of descriptors."""
    soft = os.sysconf("SC_OPEN_MAX")
    return soft if soft >= 0 else 1 << 20


_MACHINES = {"aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64", "mips64": "mips_n64"}
HOST_OPEN = open_for(_MACHINES.get(os.uname().machine, "x86_64"))
"""The host's numbering of the O_ bits."""
