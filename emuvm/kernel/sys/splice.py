"""Moving data from file to file: sendfile, copy_file_range, splice, tee, vmsplice.

Must not know kinds of files beyond what `OpenFile` tells. The host moves the data, between its own descriptors; seals and
RLIMIT_FSIZE shorten the request before. Sources: fs/splice.c, fs/read_write.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from emuvm.abi.controls import Fd
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Mode, Open, Poll
from emuvm.abi.signals import Signal
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.registry import syscall
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.sys.io import room, sink, source, too_big
from emuvm.kernel.usermem import MAX_RW_COUNT, READ
from emuvm.mm.rules import secret

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_R = TypeVar("_R")
_COPY = 1 << 20
_FLAGS = Fd.SPLICE_F_MOVE | Fd.SPLICE_F_NONBLOCK | Fd.SPLICE_F_MORE | Fd.SPLICE_F_GIFT


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _position(proc: Process, at: int) -> int | None:
    return _signed(proc.mem.read_u64(at)) if at else None


def _place(file: OpenFile, at: int | None) -> int:
    """The offset that is meant: the caller's, or the file's own."""
    return file.seek(0, 1) if at is None else at


def _shortened(
    proc: Process, reader: OpenFile, writer: OpenFile, count: int, start: int | None, target: int | None, flags: int = 0
) -> int:
    """How much of `count` the writer takes, given what there is to read."""
    if not writer.is_regular or not (writer.guarded or proc.files.size_limit is not None) or reader.host_fd < 0:
        return count
    if reader.is_pipe:
        if not (flags & Fd.SPLICE_F_NONBLOCK or reader.status() & Open.O_NONBLOCK):
            proc.system.wait([(reader.host_fd, Poll.POLLIN)], None)
        present = hostfd.available(reader.host_fd)
    else:
        present = max(0, reader.stat().size - _place(reader, start))
    return room(proc, writer, min(count, present), target) if present else count


def _at_limit(
    proc: Process, reader: OpenFile, writer: OpenFile, wanted: int, done: int, start: int | None, target: int | None
) -> None:
    """A file that came to RLIMIT_FSIZE while there was more: the kernel tries once more, which gives SIGXFSZ (iter_file_splice_write).

    `start` and `target`: where the move has got to.
    """
    limit = proc.files.size_limit
    if limit is None or not writer.is_regular or not 0 < done < wanted:
        return
    if reader.is_pipe:
        more = hostfd.available(reader.host_fd) > 0
    else:
        more = reader.stat().size > _place(reader, start)
    if more and _place(writer, target) >= limit:
        too_big(proc)


def _ready(proc: Process, file: OpenFile, events: int, flags: int = 0) -> None:
    """Where a host's call may wait for a pipe, wait so that signals end it: Interrupted."""
    if file.is_pipe and proc.wake is not None and not (flags & Fd.SPLICE_F_NONBLOCK or file.status() & Open.O_NONBLOCK):
        from emuvm.kernel.waiting import ready

        ready(proc, file.host_fd, events)


def _spliced(reader: OpenFile) -> None:
    """fs/splice.c:do_splice_read: EINVAL for what cannot be read this way."""
    if not reader.splices:
        raise GuestError(Errno.EINVAL, "its kind cannot be spliced")


def _broken(proc: Process, move: Callable[[], _R]) -> _R:
    """Move; a pipe that nobody reads sends its signal."""
    try:
        return move()
    except GuestError as error:
        if error.errno == Errno.EPIPE:
            proc.kill(SignalInfo(Signal.SIGPIPE, 0), thread=True)
        raise


def _copy_loop(proc: Process, reader: OpenFile, writer: OpenFile, start: int | None, count: int) -> int:
    """Through a buffer of our own, for files that the host does not have. The writer's own position counts."""
    done = 0
    while done < count:
        step = min(_COPY, count - done)
        data = reader.read(step) if start is None else reader.pread(step, start + done)
        if not data:
            break
        try:
            allowed = room(proc, writer, len(data), None)
            written = writer.write(data[:allowed])
        except GuestError:
            if start is None:
                reader.seek(-len(data), 1)
            if done:
                break
            raise
        done += written
        if written < len(data):
            if start is None:
                reader.seek(written - len(data), 1)
            if written < allowed:
                break
    return done


@syscall("sendfile", "fd fd ptr size")
@syscall("sendfile64", "fd fd ptr size")
def sendfile(proc: Process, to: int, source_fd: int, position: int, count: int) -> int:
    start = _position(proc, position)
    after = start
    try:
        done, after = _send(proc, to, source_fd, start, count)
    finally:
        if after is not None:
            proc.mem.write_u64(position, after)
    return done


def _send(proc: Process, to: int, source_fd: int, start: int | None, count: int) -> tuple[int, int | None]:
    """Bytes moved, and the source's position then."""
    reader = source(proc, source_fd)
    if start is not None:
        if reader.is_pipe:
            raise GuestError(Errno.ESPIPE, "a pipe")
        if start < 0:
            raise GuestError(Errno.EINVAL, f"offset {start}")
    if count >> (proc.arch.bits - 1):
        raise GuestError(Errno.EINVAL, "negative length")
    writer = sink(proc, to)
    count = min(count, MAX_RW_COUNT)
    if writer.status() & Open.O_APPEND and not writer.is_pipe:
        raise GuestError(Errno.EINVAL, "opened for appending")
    _ready(proc, writer, Poll.POLLOUT)
    if count:
        _spliced(reader)
    wanted, count = count, _shortened(proc, reader, writer, count, start, None)
    if reader.host_fd < 0:
        done = _broken(proc, lambda: _copy_loop(proc, reader, writer, start, count))
        return done, None if start is None else start + done
    done, after = _broken(proc, lambda: hostfd.sendfile(writer.host_fd, reader.host_fd, start, count))
    _at_limit(proc, reader, writer, wanted, done, after, None)
    return done, after


def _check_kinds(reader: OpenFile, writer: OpenFile) -> None:
    """fs/read_write.c:generic_file_rw_checks: regular files, opened for it; then EXDEV between those of the host and others."""
    kinds = {file.stat().mode & Mode.S_IFMT for file in (reader, writer)}
    if Mode.S_IFDIR in kinds:
        raise GuestError(Errno.EISDIR, "a directory")
    if kinds != {Mode.S_IFREG}:
        raise GuestError(Errno.EINVAL, "no regular file")
    if not (reader.readable() and writer.writable()) or writer.status() & Open.O_APPEND:
        raise GuestError(Errno.EBADF, "not opened for it")
    if reader.host_fd < 0 or writer.host_fd < 0:
        raise GuestError(Errno.EXDEV, "not between files of one file system")


def _check_copy(proc: Process, reader: OpenFile, writer: OpenFile, count: int, start: int | None, target: int | None) -> None:
    """mm/filemap.c:generic_copy_file_checks: RLIMIT_FSIZE, even for nothing; EINVAL within one file on itself."""
    source_at, to_at = _place(reader, start), _place(writer, target)
    limit = proc.files.size_limit
    if limit is not None and to_at >= limit:
        raise too_big(proc)
    mine, other = reader.stat(), writer.stat()
    count = min(count, max(0, mine.size - source_at), count if limit is None else limit - to_at)
    if (mine.dev, mine.ino) == (other.dev, other.ino) and to_at + count > source_at and to_at < source_at + count:
        raise GuestError(Errno.EINVAL, "the ranges overlap")


@syscall("copy_file_range", "fd ptr fd ptr size uint")
def copy_file_range(proc: Process, source_fd: int, source_at: int, to: int, to_at: int, count: int, flags: int) -> int:
    reader, writer = proc.files.opened(source_fd), proc.files.opened(to)
    start, target = _position(proc, source_at), _position(proc, to_at)
    if flags:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    _check_kinds(reader, writer)
    count = min(count, MAX_RW_COUNT)
    _check_copy(proc, reader, writer, count, start, target)
    count = _shortened(proc, reader, writer, count, start, target)
    done = hostfd.copy_file_range(reader.host_fd, writer.host_fd, count, start, target)
    if done:
        if start is not None:
            proc.mem.write_u64(source_at, start + done)
        if target is not None:
            proc.mem.write_u64(to_at, target + done)
    return done


@syscall("splice", "fd ptr fd ptr size uint")
def splice(proc: Process, source_fd: int, source_at: int, to: int, to_at: int, count: int, flags: int) -> int:
    if not count:
        return 0
    if flags & ~_FLAGS:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    reader, writer = proc.files.opened(source_fd), proc.files.opened(to)
    if (reader.is_pipe and source_at) or (writer.is_pipe and to_at):
        raise GuestError(Errno.ESPIPE, "a pipe has no offsets")
    target, start = _position(proc, to_at), _position(proc, source_at)
    source(proc, source_fd), sink(proc, to)
    if not (reader.is_pipe or writer.is_pipe) or (not writer.is_pipe and writer.status() & Open.O_APPEND):
        raise GuestError(Errno.EINVAL, "no pipe, or opened for appending")
    if (start or 0) < 0 or (target or 0) < 0:
        raise GuestError(Errno.EINVAL, "a negative offset")
    _ready(proc, reader, Poll.POLLIN, flags)
    _ready(proc, writer, Poll.POLLOUT, flags)
    _spliced(reader)
    wanted = min(count, MAX_RW_COUNT)
    count = _shortened(proc, reader, writer, wanted, start, target, flags)
    if reader.host_fd < 0:
        done = _broken(proc, lambda: _copy_loop(proc, reader, writer, start, min(count, 16 * 4096)))
        start = None if start is None else start + done
    else:
        done, start, target = _broken(proc, lambda: hostfd.splice(reader.host_fd, writer.host_fd, count, start, target, flags))
        _at_limit(proc, reader, writer, wanted, done, start, target)
    if target is not None:
        proc.mem.write_u64(to_at, target)
    if start is not None:
        proc.mem.write_u64(source_at, start)
    return done


@syscall("tee", "fd fd size uint")
def tee(proc: Process, source_fd: int, to: int, count: int, flags: int) -> int:
    if flags & ~_FLAGS:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    if not count:
        return 0
    reader, writer = proc.files.opened(source_fd), proc.files.opened(to)
    source(proc, source_fd), sink(proc, to)
    if not (reader.is_pipe and writer.is_pipe):
        raise GuestError(Errno.EINVAL, "not pipes")
    _ready(proc, reader, Poll.POLLIN, flags)
    _ready(proc, writer, Poll.POLLOUT, flags)
    return _broken(proc, lambda: hostfd.tee(reader.host_fd, writer.host_fd, min(count, MAX_RW_COUNT), flags))


@syscall("vmsplice", "fd ptr ulong uint", level="partial", note="the pipe gets a copy: what is written to the memory later does not show")
def vmsplice(proc: Process, fd: int, vector: int, count: int, flags: int) -> int:
    if flags & ~_FLAGS:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    file: OpenFile = proc.files.opened(fd)
    filling = file.writable()
    if not filling and not file.readable():
        raise GuestError(Errno.EBADF, f"descriptor {fd}")
    buffers = [(base, length) for base, length in proc.mem.read_iovec(vector, count) if length]
    if not buffers:
        return 0
    if not file.is_pipe:
        raise GuestError(Errno.EBADF, "not a pipe")
    return _fill_pipe(proc, file, buffers, flags) if filling else _drain_pipe(proc, file, buffers, flags)


def _fill_pipe(proc: Process, file: OpenFile, buffers: list[tuple[int, int]], flags: int) -> int:
    parts: list[tuple[int, bytes]] = []
    for base, length in buffers:
        usable = proc.mem.accessible(base, length, READ)
        if any(secret(vma) for vma in (proc.space.regions(base, usable) if usable else ())):
            usable = proc.mem.pinnable(base, usable, READ)
        if usable:
            parts.append((base % proc.space.page_size, proc.mem.read(base, usable)))
        if usable < length:
            break
    if not parts:
        raise GuestError(Errno.EFAULT, "nothing of the memory can be read")
    _ready(proc, file, Poll.POLLOUT, flags)
    return _broken(proc, lambda: hostfd.vmsplice(file.host_fd, parts, flags))


def _drain_pipe(proc: Process, file: OpenFile, buffers: list[tuple[int, int]], flags: int) -> int:
    if not (flags & Fd.SPLICE_F_NONBLOCK or file.status() & Open.O_NONBLOCK):
        _ready(proc, file, Poll.POLLIN, flags)
        hostfd.wait([(file.host_fd, Poll.POLLIN)], None)
    present = hostfd.available(file.host_fd)
    if not present:
        if hostfd.wait([(file.host_fd, Poll.POLLIN)], 0).get(file.host_fd, 0) & Poll.POLLHUP:
            return 0
        raise GuestError(Errno.EAGAIN, "the pipe is empty")
    done = 0
    for base, length in buffers:
        step = min(length, present - done)
        if not step:
            break
        usable = proc.mem.accessible(base, step, 2)
        if usable:
            proc.mem.write(base, file.read(usable))
            done += usable
        if usable < step:
            break
    if not done:
        raise GuestError(Errno.EFAULT, "nothing of the memory can be written")
    return done
