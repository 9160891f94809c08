"""Moving data: read and write in all their forms, sendfile and its kin.

Must not know what kinds of files there are beyond what `OpenFile` tells. How much of a buffer can be used is settled before
anything leaves or enters a file, so that no byte is lost: a short count instead. Sources: fs/read_write.c, fs/pipe.c,
fs/splice.c; user copies as LINUX describes them in lib/iov_iter.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emuvm.abi.controls import Fd
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open, Poll
from emuvm.abi.signals import Signal
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.registry import syscall
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.signal_restart import Interrupted
from emuvm.kernel.usermem import MAX_RW_COUNT, READ, WRITE, Deferred

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_PIPE_PAGE = 4096
_COPY = 1 << 20
Buffers = list[tuple[int, int]]


def _input(proc: Process, fd: int) -> OpenFile:
    file = proc.files.opened(fd)
    if not file.readable():
        raise GuestError(Errno.EBADF, f"descriptor {fd} is not open for reading")
    return file  # type: ignore[no-any-return]


def _output(proc: Process, fd: int) -> OpenFile:
    file = proc.files.opened(fd)
    if not file.writable():
        raise GuestError(Errno.EBADF, f"descriptor {fd} is not open for writing")
    return file  # type: ignore[no-any-return]


def _now(proc: Process, file: OpenFile) -> None:
    """Inside the engine's hook only what does not wait is done: a terminal or a pipe has to be asked outside."""
    if proc.mem.deferred and not file.prompt:
        raise Deferred


def _usable(proc: Process, buffers: Buffers, access: int) -> int:
    """How many bytes of the buffers, in order, can be accessed before the first that cannot. EFAULT beyond user addresses."""
    total = 0
    for address, length in buffers:
        if not length:
            continue
        proc.mem.access_ok(address, length)
        count = proc.mem.accessible(address, length, access)
        total += count
        if count < length:
            break
    return total


def _scatter(proc: Process, buffers: Buffers, data: bytes) -> int:
    done = 0
    for address, length in buffers:
        part = data[done : done + length] if length < len(data) or done else data
        if not part:
            break
        proc.mem.write(address, part)
        done += len(part)
    return done


def _gather(proc: Process, buffers: Buffers, count: int) -> bytes:
    parts = []
    for address, length in buffers:
        length = min(length, count)
        parts.append(proc.mem.read(address, length))
        count -= length
        if not count:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_into(proc: Process, file: OpenFile, buffers: Buffers, offset: int | None) -> int:
    """Read once into the buffers; the count. `offset` None: from the file's own."""
    wanted = sum(length for _, length in buffers)
    if file.is_directory:
        raise GuestError(Errno.EISDIR, "a directory")
    usable = _usable(proc, buffers, WRITE)
    if usable < wanted:
        usable = _limited(proc, file, usable, offset)
    if not usable and wanted:
        return 0
    _ready(proc, file, Poll.POLLIN)
    data = file.read(usable) if offset is None else file.pread(usable, offset)
    return _scatter(proc, buffers, data)


def _limited(proc: Process, file: OpenFile, usable: int, offset: int | None) -> int:
    """How much may leave a file when the buffer has bad pages behind `usable` bytes; 0 when the file is at its end, else EFAULT."""
    if file.is_pipe and offset is None:
        if not file.status() & Open.O_NONBLOCK:
            _ready(proc, file, Poll.POLLIN)
            hostfd.wait([(file.host_fd, Poll.POLLIN)], None)
        present = hostfd.available(file.host_fd)
        if not present:
            return usable or 1  # The end, or EAGAIN: no buffer is needed for either.
        if present > usable:
            # A pipe hands out whole buffers or leaves them where they are.
            usable = usable // _PIPE_PAGE * _PIPE_PAGE
    elif not usable:
        at_end = getattr(file, "is_null", False)
        if getattr(file, "is_regular", False) or file.host_fd < 0:
            position = file.seek(0, 1) if offset is None else offset
            at_end = not file.pread(1, position)
        if at_end:
            return 0
    if not usable:
        raise GuestError(Errno.EFAULT, "nothing of the buffer can be written")
    return usable


def _write_from(proc: Process, file: OpenFile, buffers: Buffers, offset: int | None) -> int:
    """Write once from the buffers; the count."""
    wanted = sum(length for _, length in buffers)
    if file.discards:
        for address, length in buffers:
            proc.mem.access_ok(address, length)
        return wanted
    usable = _usable(proc, buffers, READ)
    if usable < wanted:
        if file.is_pipe:
            # What does not fill a page of the pipe because of the bad one is not queued.
            usable = usable // _PIPE_PAGE * _PIPE_PAGE
        if not usable:
            raise GuestError(Errno.EFAULT, "nothing of the buffer can be read")
    data = _gather(proc, buffers, usable) if usable else b""
    if offset is not None:
        return file.pwrite(data, offset)
    try:
        return file.write(data) if file.prompt or proc.wake is None else _write_in_parts(proc, file, data)
    except GuestError as error:
        if error.errno == Errno.EPIPE:
            proc.kill(SignalInfo(Signal.SIGPIPE, 0), thread=True)
        raise


def _ready(proc: Process, file: OpenFile, events: int) -> None:
    """Where a host's call may wait, wait so that signals end it: Interrupted."""
    if not file.prompt and proc.wake is not None and file.host_fd >= 0 and not file.status() & Open.O_NONBLOCK:
        from emuvm.kernel.waiting import ready

        ready(proc, file.host_fd, events)


def _write_in_parts(proc: Process, file: OpenFile, data: bytes) -> int:
    """To what may be full: a pipe that is ready takes a page without waiting. A signal ends it with what is written so far."""
    if file.status() & Open.O_NONBLOCK:
        return file.write(data)
    done = 0
    while True:
        try:
            _ready(proc, file, Poll.POLLOUT)
            count = file.write(data[done : done + _PIPE_PAGE])
        except (Interrupted, GuestError) as error:
            if not done:
                raise
            if isinstance(error, GuestError) and error.errno == Errno.EPIPE:
                proc.kill(SignalInfo(Signal.SIGPIPE, 0), thread=True)
            return done
        done += count
        if done >= len(data) or not count:
            return done


def _one(address: int, length: int) -> Buffers:
    return [(address, min(length, MAX_RW_COUNT))]


def _positive(length: int, bits: int) -> None:
    if length >> (bits - 1):
        raise GuestError(Errno.EINVAL, "negative length")


@syscall("read", "fd ptr size", pure=True)
def read(proc: Process, fd: int, to: int, length: int) -> int:
    file = _input(proc, fd)
    _now(proc, file)
    _positive(length, proc.arch.bits)
    proc.mem.access_ok(to, length)
    return _read_into(proc, file, _one(to, length), None)


@syscall("write", "fd ptr size", pure=True)
def write(proc: Process, fd: int, at: int, length: int) -> int:
    file = _output(proc, fd)
    _now(proc, file)
    _positive(length, proc.arch.bits)
    proc.mem.access_ok(at, length)
    return _write_from(proc, file, _one(at, length), None)


@syscall("pread64", "fd ptr size off")
def pread64(proc: Process, fd: int, to: int, length: int, offset: int) -> int:
    if offset < 0:
        raise GuestError(Errno.EINVAL, f"offset {offset}")
    file = proc.files.opened(fd)
    _seekable(file)
    file = _input(proc, fd)
    _positive(length, proc.arch.bits)
    proc.mem.access_ok(to, length)
    return _read_into(proc, file, _one(to, length), offset)


@syscall("pwrite64", "fd ptr size off")
def pwrite64(proc: Process, fd: int, at: int, length: int, offset: int) -> int:
    if offset < 0:
        raise GuestError(Errno.EINVAL, f"offset {offset}")
    _seekable(proc.files.opened(fd))
    file = _output(proc, fd)
    _positive(length, proc.arch.bits)
    proc.mem.access_ok(at, length)
    return _write_from(proc, file, _one(at, length), offset)


def _seekable(file: OpenFile) -> None:
    """ESPIPE for what has no offsets (FMODE_PREAD)."""
    if file.is_pipe:
        raise GuestError(Errno.ESPIPE, "a pipe")


@syscall("readv", "fd ptr ulong")
def readv(proc: Process, fd: int, vector: int, count: int) -> int:
    file = _input(proc, fd)
    return _read_into(proc, file, proc.mem.read_iovec(vector, count), None)


@syscall("writev", "fd ptr ulong")
def writev(proc: Process, fd: int, vector: int, count: int) -> int:
    file = _output(proc, fd)
    return _write_from(proc, file, proc.mem.read_iovec(vector, count), None)


def _offset(proc: Process, low: int, high: int) -> int:
    """The position of the vector calls comes as two longs, of which a 64-bit kernel takes the low one."""
    return low if proc.arch.bits == 64 else (low & 0xFFFF_FFFF) | high << 32


@syscall("preadv", "fd ptr ulong long long")
def preadv(proc: Process, fd: int, vector: int, count: int, low: int, high: int) -> int:
    return _preadv(proc, fd, vector, count, _offset(proc, low, high))


@syscall("pwritev", "fd ptr ulong long long")
def pwritev(proc: Process, fd: int, vector: int, count: int, low: int, high: int) -> int:
    return _pwritev(proc, fd, vector, count, _offset(proc, low, high))


def _preadv(proc: Process, fd: int, vector: int, count: int, offset: int) -> int:
    if offset < 0:
        raise GuestError(Errno.EINVAL, f"offset {offset}")
    _seekable(proc.files.opened(fd))
    return _read_into(proc, _input(proc, fd), proc.mem.read_iovec(vector, count), offset)


def _pwritev(proc: Process, fd: int, vector: int, count: int, offset: int) -> int:
    if offset < 0:
        raise GuestError(Errno.EINVAL, f"offset {offset}")
    _seekable(proc.files.opened(fd))
    return _write_from(proc, _output(proc, fd), proc.mem.read_iovec(vector, count), offset)


_RWF = Fd.RWF_HIPRI | Fd.RWF_DSYNC | Fd.RWF_SYNC | Fd.RWF_NOWAIT | Fd.RWF_APPEND


def _hints(flags: int) -> None:
    if flags & ~_RWF or flags & (Fd.RWF_NOWAIT | Fd.RWF_APPEND):
        raise GuestError(Errno.EOPNOTSUPP, f"flags {flags:#x}")


@syscall("preadv2", "fd ptr ulong long long int", level="partial", note="RWF_NOWAIT gets EOPNOTSUPP")
def preadv2(proc: Process, fd: int, vector: int, count: int, low: int, high: int, flags: int) -> int:
    _hints(flags)
    offset = _offset(proc, low, high)
    return readv(proc, fd, vector, count) if offset == -1 else _preadv(proc, fd, vector, count, offset)


@syscall("pwritev2", "fd ptr ulong long long int", level="partial", note="RWF_NOWAIT and RWF_APPEND get EOPNOTSUPP")
def pwritev2(proc: Process, fd: int, vector: int, count: int, low: int, high: int, flags: int) -> int:
    _hints(flags)
    offset = _offset(proc, low, high)
    done = writev(proc, fd, vector, count) if offset == -1 else _pwritev(proc, fd, vector, count, offset)
    if flags & (Fd.RWF_SYNC | Fd.RWF_DSYNC):
        hostfd.fsync(proc.files.opened(fd).host_fd)
    return done


# -- from file to file ----------------------------------------------------------------------------------------------------


def _copy_loop(proc: Process, source: OpenFile, sink: OpenFile, start: int | None, count: int) -> int:
    """Through a buffer of our own, for files that the host cannot copy between."""
    done = 0
    while done < count:
        step = min(_COPY, count - done)
        data = source.read(step) if start is None else source.pread(step, start + done)
        if not data:
            break
        try:
            written = sink.write(data)
        except GuestError:
            if start is None:
                source.seek(-len(data), 1)
            if done:
                break
            raise
        done += written
        if written < len(data):
            if start is None:
                source.seek(written - len(data), 1)
            break
    return done


@syscall("sendfile", "fd fd ptr size")
@syscall("sendfile64", "fd fd ptr size")
def sendfile(proc: Process, to: int, source: int, position: int, count: int) -> int:
    start = None
    if position:
        start = _signed(proc.mem.read_u64(position))
        if start < 0:
            raise GuestError(Errno.EINVAL, f"offset {start}")
    reader = _input(proc, source)
    if start is not None:
        _seekable(reader)
    writer = _output(proc, to)
    count = min(count, MAX_RW_COUNT)
    try:
        if reader.host_fd < 0:
            done = _copy_loop(proc, reader, writer, start, count)
        else:
            done = hostfd.sendfile(writer.host_fd, reader.host_fd, start, count)
    except GuestError as error:
        if error.errno == Errno.EPIPE:
            proc.kill(SignalInfo(Signal.SIGPIPE, 0), thread=True)
        raise
    if start is not None:
        proc.mem.write_u64(position, start + done)
    return done


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _position(proc: Process, at: int) -> int | None:
    return _signed(proc.mem.read_u64(at)) if at else None


@syscall("copy_file_range", "fd ptr fd ptr size uint")
def copy_file_range(proc: Process, source: int, source_at: int, to: int, to_at: int, count: int, flags: int) -> int:
    if flags:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    reader, writer = _input(proc, source), _output(proc, to)
    start, target = _position(proc, source_at), _position(proc, to_at)
    if reader.host_fd < 0 or writer.host_fd < 0:
        raise GuestError(Errno.EXDEV, "not between files of one file system")
    done = hostfd.copy_file_range(reader.host_fd, writer.host_fd, min(count, MAX_RW_COUNT), start, target)
    if start is not None:
        proc.mem.write_u64(source_at, start + done)
    if target is not None:
        proc.mem.write_u64(to_at, target + done)
    return done


@syscall("socket", "int int int", level="accepted", note="there is no network: EAFNOSUPPORT")
@syscall("socketpair", "int int int ptr", level="accepted", note="there is no network: EAFNOSUPPORT")
def no_socket(proc: Process, family: int, *rest: Any) -> int:
    raise GuestError(Errno.EAFNOSUPPORT, f"socket family {family}: no network")


def _no_socket(proc: Process, fd: int, *rest: Any) -> int:
    proc.files.opened(fd)
    raise GuestError(Errno.ENOTSOCK, f"descriptor {fd}")


for _name, _kinds in (
    ("connect", "fd ptr int"),
    ("bind", "fd ptr int"),
    ("listen", "fd int"),
    ("accept", "fd ptr ptr"),
    ("accept4", "fd ptr ptr int"),
    ("getsockname", "fd ptr ptr"),
    ("getpeername", "fd ptr ptr"),
    ("sendto", "fd ptr size uint ptr int"),
    ("recvfrom", "fd ptr size uint ptr ptr"),
    ("sendmsg", "fd ptr uint"),
    ("recvmsg", "fd ptr uint"),
    ("sendmmsg", "fd ptr uint uint"),
    ("recvmmsg", "fd ptr uint uint ptr"),
    ("shutdown", "fd int"),
    ("setsockopt", "fd int int ptr int"),
    ("getsockopt", "fd int int ptr ptr"),
):
    syscall(_name, _kinds, level="accepted", note="no descriptor is a socket: ENOTSOCK")(_no_socket)
