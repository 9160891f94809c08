"""Moving data between files and memory: read and write in all their forms.

Must not know what kinds of files there are beyond what `OpenFile` tells. How much of a buffer can be used is settled before
anything leaves or enters a file, so that no byte is lost: a short count instead. Sources: fs/read_write.c, fs/pipe.c;
user copies as LINUX describes them in lib/iov_iter.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emuvm.abi.controls import Fd
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open, Poll
from emuvm.abi.signals import Signal
from emuvm.errors import GuestError
from emuvm.kernel import hostfd, hostfs
from emuvm.kernel.registry import syscall
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.signal_restart import Interrupted
from emuvm.kernel.usermem import MAX_RW_COUNT, READ, WRITE, Deferred
from emuvm.mm.types import File, Vma

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

PIPE_PAGE, _COUNTER = 4096, 8
Buffers = list[tuple[int, int]]


def source(proc: Process, fd: int) -> OpenFile:
    file = proc.files.opened(fd)
    if not file.readable():
        raise GuestError(Errno.EBADF, f"descriptor {fd} is not open for reading")
    if file.refuses_read:
        raise GuestError(Errno.EINVAL, f"descriptor {fd} is of a kind that is not read")
    return file  # type: ignore[no-any-return]


def sink(proc: Process, fd: int) -> OpenFile:
    file = proc.files.opened(fd)
    if not file.writable():
        raise GuestError(Errno.EBADF, f"descriptor {fd} is not open for writing")
    return file  # type: ignore[no-any-return]


def _written(proc: Process, fd: int) -> OpenFile:
    """For the calls that write from user memory: EINVAL for a kind that cannot be (FMODE_CAN_WRITE)."""
    file = sink(proc, fd)
    if file.refuses_write:
        raise GuestError(Errno.EINVAL, f"descriptor {fd} is of a kind that is not written")
    return file


def _now(proc: Process, file: OpenFile) -> None:
    """Inside the engine's hook only what does not wait is done: a terminal or a pipe has to be asked outside."""
    if proc.mem.deferred and not file.prompt:
        raise Deferred


def usable_bytes(proc: Process, buffers: Buffers, access: int, grow: bool = True) -> int:
    """How many bytes of the buffers, in order, can be accessed before the first that cannot, if stacks may `grow` for it.
    EFAULT beyond user addresses.
    """
    total = 0
    for address, length in buffers:
        if not length:
            continue
        proc.mem.access_ok(address, length)
        count = proc.mem.accessible(address, length, access, grow)
        total += count
        if count < length:
            break
    return total


def scatter(proc: Process, buffers: Buffers, data: bytes) -> int:
    done = 0
    for address, length in buffers:
        if not length:
            continue
        part = data[done : done + length] if length < len(data) or done else data
        if not part:
            break
        proc.mem.write(address, part)
        done += len(part)
    return done


def gather(proc: Process, buffers: Buffers, count: int) -> bytes:
    parts = []
    for address, length in buffers:
        length = min(length, count)
        parts.append(proc.mem.read(address, length))
        count -= length
        if not count:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_into(proc: Process, file: OpenFile, buffers: Buffers, offset: int | None, flags: int = 0) -> int:
    """Read once into the buffers; the count. `offset` None: from the file's own. `flags` are RWF_ bits."""
    if file.at_hand and len(buffers) == 1 and not flags:
        data = file.peek(buffers[0][1]) if offset is None else file.pread(buffers[0][1], offset)
        if proc.mem.stored(buffers[0][0], data):
            return file.skip(len(data)) if offset is None else len(data)
    wanted = total(buffers)
    if file.unit:
        from emuvm.kernel.sys.records import read_records

        return read_records(proc, file, buffers, wanted)
    if file.is_directory:
        raise GuestError(Errno.EOPNOTSUPP if flags & ~Fd.RWF_HIPRI else Errno.EISDIR, "a directory")
    if file.is_pipe and offset is None and wanted and not flags:
        return _read_pipe(proc, file, buffers, wanted)
    if file.is_regular and not flags and any(type(v.backing) is File for v in _regions(proc, buffers)):
        from emuvm.kernel.sys.selfwrite import maps, read_itself

        if maps(proc, file, buffers):
            return read_itself(proc, file, buffers, offset)
    if (file.is_regular or file.host_fd >= 0 and file.discards) and not _mapped(proc, buffers):
        buffers = first(buffers, _left(file, wanted, offset))
        wanted = total(buffers)
    usable = usable_bytes(proc, buffers, WRITE)
    if usable < wanted:
        usable = _limited(proc, file, usable, offset)
    if not usable and wanted:
        return 0
    ready(proc, file, Poll.POLLIN)
    if flags:
        data = hostfd.preadv(file.host_fd, usable, -1 if offset is None else offset, flags)
    else:
        data = file.read(usable) if offset is None else file.pread(usable, offset)
    return scatter(proc, buffers, data)


def _mapped(proc: Process, buffers: Buffers) -> bool:
    """Does each buffer lie in one region? Otherwise looking at it may make a stack grow."""
    for address, length in buffers:
        vma = proc.space.query(address)
        if length and (vma is None or address + length > vma.end):
            return False
    return True


def _left(file: OpenFile, wanted: int, offset: int | None) -> int:
    """How many of the bytes are in the file: the kernel looks at no more of the buffers."""
    if file.discards:
        return wanted if file.is_zero or file.is_full else 0
    position = file.seek(0, 1) if offset is None else offset
    _verify(wanted, position)
    return max(0, min(wanted, hostfs.end(file.host_fd, file.stat().size) - position))


def _read_pipe(proc: Process, file: OpenFile, buffers: Buffers, wanted: int) -> int:
    """From a pipe: only as much of the buffers is looked at as there is to read; whole pipe buffers are handed out or stay."""
    for address, length in buffers:
        proc.mem.access_ok(address, length)
    if not file.status() & Open.O_NONBLOCK:
        ready(proc, file, Poll.POLLIN)
        proc.system.wait([(file.host_fd, Poll.POLLIN)], None)
    present = hostfd.available(file.host_fd)
    if not present:
        return len(file.read(1))  # the end, or EAGAIN: no buffer is needed for either
    near = first(buffers, min(present, wanted))
    usable = usable_bytes(proc, near, WRITE)
    if usable >= min(present, wanted):
        return scatter(proc, near, file.read(usable))
    from emuvm.kernel.hostpipe import read_some

    result, stored = read_some(file.host_fd, usable, min(present, wanted))
    scatter(proc, near, stored)
    if result < 0:
        raise GuestError(-result, "part of the buffer cannot be written")
    return result


def _limited(proc: Process, file: OpenFile, usable: int, offset: int | None) -> int:
    """How much may leave a file when the buffer has bad pages behind `usable` bytes; 0 when the file is at its end, else EFAULT."""
    if not usable:
        at_end = getattr(file, "is_null", False)
        if getattr(file, "is_regular", False) or file.host_fd < 0:
            position = file.seek(0, 1) if offset is None else offset
            at_end = not file.pread(1, position)
        if at_end:
            return 0
    if not usable:
        raise GuestError(Errno.EFAULT, "nothing of the buffer can be written")
    return usable


def room(proc: Process, file: OpenFile, length: int, offset: int | None, append: bool = False) -> int:
    """How much of `length` bytes may be written, at `offset` or where the file stands: RLIMIT_FSIZE and seals.

    EFBIG with SIGXFSZ, EPERM: nothing.
    """
    limit = proc.files.size_limit
    if not length or not file.is_regular or (limit is None and not file.guarded):
        return length
    if append or file.status() & Open.O_APPEND:
        position = file.stat().size
    else:
        position = file.seek(0, 1) if offset is None else offset
    if limit is not None:
        if position >= limit:
            raise too_big(proc)
        length = min(length, limit - position)
    return file.admit(position, length)


def check_size(proc: Process, file: OpenFile, length: int) -> None:
    """inode_newsize_ok: EFBIG with SIGXFSZ when the file would grow beyond RLIMIT_FSIZE."""
    limit = proc.files.size_limit
    if limit is not None and limit < length and file.is_regular and length > file.stat().size:
        raise too_big(proc)


def too_big(proc: Process) -> GuestError:
    """What a file beyond RLIMIT_FSIZE earns. Inside the engine's hook no signal can be taken: Deferred."""
    if proc.mem.deferred:
        raise Deferred
    proc.kill(SignalInfo(Signal.SIGXFSZ, 0), thread=True)
    return GuestError(Errno.EFBIG, "beyond RLIMIT_FSIZE")


def _write_from(proc: Process, file: OpenFile, buffers: Buffers, offset: int | None, flags: int = 0) -> int:
    """Write once from the buffers; the count. `flags` are RWF_ bits."""
    if file.accepts and len(buffers) == 1 and offset is None and not flags and (data := proc.mem.glance(*buffers[0])) is not None:
        return file.write(data)
    wanted = total(buffers)
    if file.discards:
        for address, length in buffers:
            proc.mem.access_ok(address, length)
        if file.is_full:
            raise GuestError(Errno.ENOSPC, "full")
        return wanted
    if file.unit:  # an eventfd
        if wanted < _COUNTER:
            raise GuestError(Errno.EINVAL, f"{wanted} bytes for a counter")
        if usable_bytes(proc, first(buffers, _COUNTER), READ) < _COUNTER:
            raise GuestError(Errno.EFAULT, "the counter cannot be read")
    if file.guarded or proc.files.size_limit is not None:
        wanted = room(proc, file, wanted, offset, bool(flags & Fd.RWF_APPEND))
        buffers = first(buffers, wanted)
    if file.is_regular and not flags and any(type(v.backing) is File for v in _regions(proc, buffers)):
        from emuvm.kernel.sys.selfwrite import maps, write_itself

        if maps(proc, file, buffers):
            return write_itself(proc, file, buffers, offset)
    if file.is_pipe and wanted and file.status() & Open.O_NONBLOCK:
        from emuvm.kernel.sys.pipewrite import write_now

        return write_now(proc, file, buffers, wanted)
    usable = usable_bytes(proc, buffers, READ)
    if usable < wanted:
        if file.is_pipe:
            # What does not fill a page of the pipe because of the bad one is not queued, but was looked at.
            gather(proc, buffers, usable)
            usable = usable // PIPE_PAGE * PIPE_PAGE
        elif not usable:
            if file.is_regular and offset is None:
                _verify(wanted, file.seek(0, 1))
            write_nothing(file, wanted, offset, flags)
        if not usable and not file.is_pipe:
            raise GuestError(Errno.EFAULT, "nothing of the buffer can be read")
    if wanted and not usable:
        raise GuestError(Errno.EFAULT, "nothing of the buffer can be read")
    data = gather(proc, buffers, usable) if usable else b""
    if usable < wanted and file.is_regular and not flags:
        done = file.write(data) if offset is None else file.pwrite(data, offset)
        write_nothing(file, wanted - done, None if offset is None else offset + done)
        return done
    if flags:
        done = hostfd.pwritev(file.host_fd, data, -1 if offset is None else offset, flags)
        if usable < wanted:
            write_nothing(file, wanted - done, None if offset is None else offset + done, flags)
        return done
    if offset is not None:
        return file.pwrite(data, offset)
    return send(proc, file, data)


def _regions(proc: Process, buffers: Buffers) -> list[Vma]:
    """The regions below the buffers."""
    found: list[Vma] = []
    for address, length in buffers:
        if length and address + length <= proc.space.end:
            found += proc.space.regions(address, length)
    return found


def send(proc: Process, file: OpenFile, data: bytes, wanted: int = 0) -> int:
    """Write at the file's own place. SIGPIPE where nobody reads. `wanted`: to a pipe, with so many bytes of which the rest is missing."""
    try:
        if wanted > len(data):
            from emuvm.kernel.hostpipe import write_some

            return write_some(file.host_fd, data, wanted)
        return file.write(data) if file.prompt or proc.wake is None else _write_in_parts(proc, file, data)
    except GuestError as error:
        if error.errno == Errno.EPIPE:
            proc.kill(SignalInfo(Signal.SIGPIPE, 0), thread=True)
        raise


def write_nothing(file: OpenFile, wanted: int, offset: int | None, flags: int = 0) -> None:
    """A write whose buffer is missing may leave something behind in the file all the same."""
    if file.is_regular and file.host_fd >= 0:
        hostfd.write_from_nowhere(file.host_fd, wanted, offset, flags)


def total(buffers: Buffers) -> int:
    return sum(length for _, length in buffers)


def first(buffers: Buffers, count: int) -> Buffers:
    """The buffers cut to `count` bytes."""
    cut = []
    for address, length in buffers:
        cut.append((address, min(length, count)))
        count -= cut[-1][1]
    return cut


def ready(proc: Process, file: OpenFile, events: int) -> None:
    """Where a host's call may wait, wait so that signals end it: Interrupted."""
    if not file.prompt and proc.wake is not None and file.host_fd >= 0 and not file.status() & Open.O_NONBLOCK:
        from emuvm.kernel import waiting

        waiting.ready(proc, file.host_fd, events)


def _write_in_parts(proc: Process, file: OpenFile, data: bytes) -> int:
    """To what may be full: a pipe that is ready takes a page without waiting. A signal ends it with what is written so far."""
    if file.status() & Open.O_NONBLOCK:
        return file.write(data)
    done = 0
    while True:
        try:
            ready(proc, file, Poll.POLLOUT)
            count = file.write(data[done : done + PIPE_PAGE])
        except (Interrupted, GuestError) as error:
            if not done:
                raise
            if isinstance(error, GuestError) and error.errno == Errno.EPIPE:
                proc.kill(SignalInfo(Signal.SIGPIPE, 0), thread=True)
            return done
        done += count
        if done >= len(data) or not count:
            return done


def _verify(length: int, offset: int, file: OpenFile | None = None) -> None:
    """Positions do not reach beyond what 63 bits can say, unless they are addresses (fs/read_write.c:rw_verify_area)."""
    if offset + length >= 1 << 63 and getattr(file, "signed", True):
        raise GuestError(Errno.EINVAL, f"{length} bytes from {offset:#x} on")


def _one(address: int, length: int) -> Buffers:
    return [(address, min(length, MAX_RW_COUNT))]


def _positive(length: int, bits: int) -> None:
    if length >> (bits - 1):
        raise GuestError(Errno.EINVAL, "negative length")


@syscall("read", "fd ptr size", pure=True)
def read(proc: Process, fd: int, to: int, length: int) -> int:
    file = source(proc, fd)
    _now(proc, file)
    proc.mem.access_ok(to, length)
    _positive(length, proc.arch.bits)
    return _read_into(proc, file, _one(to, length), None)


@syscall("write", "fd ptr size", pure=True)
def write(proc: Process, fd: int, at: int, length: int) -> int:
    file = _written(proc, fd)
    _now(proc, file)
    proc.mem.access_ok(at, length)
    _positive(length, proc.arch.bits)
    return _write_from(proc, file, _one(at, length), None)


@syscall("pread64", "fd ptr size off", pure=True)
def pread64(proc: Process, fd: int, to: int, length: int, offset: int) -> int:
    if offset < 0:
        raise GuestError(Errno.EINVAL, f"offset {offset}")
    file = proc.files.opened(fd)
    _seekable(file)
    file = source(proc, fd)
    _now(proc, file)
    proc.mem.access_ok(to, length)
    _positive(length, proc.arch.bits)
    _verify(length, offset, file)
    return _read_into(proc, file, _one(to, length), offset)


@syscall("pwrite64", "fd ptr size off")
def pwrite64(proc: Process, fd: int, at: int, length: int, offset: int) -> int:
    if offset < 0:
        raise GuestError(Errno.EINVAL, f"offset {offset}")
    _seekable(proc.files.opened(fd), writing=True)
    file = _written(proc, fd)
    proc.mem.access_ok(at, length)
    _positive(length, proc.arch.bits)
    _verify(length, offset, file)
    return _write_from(proc, file, _one(at, length), offset)


def _seekable(file: OpenFile, writing: bool = False) -> None:
    """ESPIPE for what has no offsets (FMODE_PREAD, FMODE_PWRITE)."""
    if file.is_pipe or file.no_offsets or (writing and file.no_pwrite):
        raise GuestError(Errno.ESPIPE, "no offsets")


@syscall("readv", "fd ptr ulong")
def readv(proc: Process, fd: int, vector: int, count: int) -> int:
    file, buffers = source(proc, fd), proc.mem.read_iovec(vector, count)
    return _read_into(proc, file, buffers, None) if total(buffers) else 0


@syscall("writev", "fd ptr ulong")
def writev(proc: Process, fd: int, vector: int, count: int) -> int:
    file = _written(proc, fd)
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
    file, buffers = source(proc, fd), proc.mem.read_iovec(vector, count)
    _verify(total(buffers), offset, file)
    return _read_into(proc, file, buffers, offset) if total(buffers) else 0


def _pwritev(proc: Process, fd: int, vector: int, count: int, offset: int) -> int:
    if offset < 0:
        raise GuestError(Errno.EINVAL, f"offset {offset}")
    _seekable(proc.files.opened(fd), writing=True)
    file = _written(proc, fd)
    buffers = proc.mem.read_iovec(vector, count)
    _verify(total(buffers), offset, file)
    return _write_from(proc, file, buffers, offset)


@syscall("preadv2", "fd ptr ulong long long int")
def preadv2(proc: Process, fd: int, vector: int, count: int, low: int, high: int, flags: int) -> int:
    offset = _offset(proc, low, high)
    if not flags:
        return readv(proc, fd, vector, count) if offset == -1 else _preadv(proc, fd, vector, count, offset)
    return _with_flags(proc, fd, vector, count, offset, flags, _read_into, source)


@syscall("pwritev2", "fd ptr ulong long long int")
def pwritev2(proc: Process, fd: int, vector: int, count: int, low: int, high: int, flags: int) -> int:
    offset = _offset(proc, low, high)
    if not flags:
        return writev(proc, fd, vector, count) if offset == -1 else _pwritev(proc, fd, vector, count, offset)
    return _with_flags(proc, fd, vector, count, offset, flags, _write_from, _written)


def _with_flags(
    proc: Process, fd: int, vector: int, count: int, offset: int, flags: int, move: Any, which: Callable[[Process, int], OpenFile]
) -> int:
    """RWF_ flags: what they mean for a file, and whether they exist, is for the host to say."""
    if offset < -1:
        raise GuestError(Errno.EINVAL, f"offset {offset}")
    if offset >= 0:
        _seekable(proc.files.opened(fd), writing=move is _write_from)
    file = which(proc, fd)
    buffers = proc.mem.read_iovec(vector, count)
    wanted = total(buffers)
    if offset >= 0:
        _verify(wanted, offset, file)
    if file.host_fd < 0 and wanted:
        file.check_flags(flags)
        flags = 0
    if wanted and file.is_regular:  # they are looked at before the file's end and the buffers are
        hostfd.check_flags(file.host_fd, offset, flags, writing=move is _write_from)
    return move(proc, file, buffers, None if offset == -1 else offset, flags) if wanted else 0
