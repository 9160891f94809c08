"""Pipes of the host and buffers of which only the beginning is there.

Owns: having the kernel itself read or write against a buffer that ends in a missing page, so that what is queued, handed out, stored
and left behind is what it does for any program (fs/pipe.c: whole pipe buffers or an error); looking at what waits in a pipe, and putting
it back. Must not know guests.

    staging   [ .......... | bytes that can be used ][ no access ]
                             ^ where the call begins   ^ the first bad byte
"""

from __future__ import annotations

import ctypes
import os

from emuvm.kernel import hostfd
from emuvm.kernel.hostfd import available, host_call

_PAGE = 4096
_SET_SIZE, _GET_SIZE = 1031, 1032
"""F_SETPIPE_SZ, F_GETPIPE_SZ."""
_READ_WRITE, _NONE, _PRIVATE_ANONYMOUS = 3, 0, 0x22
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_uint64
_libc.mmap.argtypes = (ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
_libc.munmap.argtypes = (ctypes.c_uint64, ctypes.c_size_t)
_libc.mprotect.argtypes = (ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int)
_libc.read.restype = _libc.write.restype = ctypes.c_ssize_t
_libc.read.argtypes = _libc.write.argtypes = (ctypes.c_int, ctypes.c_uint64, ctypes.c_size_t)


class Staging:
    """Host memory of `usable` bytes that end where the next page may not be accessed. A context manager."""

    def __init__(self, usable: int) -> None:
        self._length = -(-usable // _PAGE) * _PAGE + _PAGE
        self._base: int = _libc.mmap(0, self._length, _READ_WRITE, _PRIVATE_ANONYMOUS, -1, 0)
        if self._base == (1 << 64) - 1:
            raise MemoryError("no room to stage a buffer")
        _libc.mprotect(self._base + self._length - _PAGE, _PAGE, _NONE)
        self.start = self._base + self._length - _PAGE - usable

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *error: object) -> None:
        _libc.munmap(self._base, self._length)


def read_some(fd: int, usable: int, wanted: int) -> tuple[int, bytes]:
    """read(2) of `wanted` bytes into a buffer of which `usable` are there: (the result or -errno, the bytes that were stored).

    Something must be in the pipe: it does not wait.
    """
    before = available(fd)
    with Staging(usable) as staging:
        result: int = _libc.read(fd, staging.start, wanted)
        error = ctypes.get_errno()
        stored = max(result, 0)
        if stored < min(before, wanted):
            stored = usable  # it went on, up to the bad page
        data = ctypes.string_at(staging.start, stored)
    return (result if result >= 0 else -error), data


@host_call
def write_some(fd: int, data: bytes, wanted: int) -> int:
    """write(2) of `wanted` bytes of which `data` are there, the rest missing: the count."""
    with Staging(len(data)) as staging:
        ctypes.memmove(staging.start, data, len(data))
        result: int = _libc.write(fd, staging.start, wanted)
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def peek(fd: int) -> bytes:
    """What waits in a pipe, of which this is either end, and goes on waiting."""
    waiting = available(fd)
    if not waiting:
        return b""
    reader, writer = hostfd.pipe(hostfd.NONBLOCK)
    own = _open_again(fd, os.O_RDONLY)
    try:
        hostfd.control(writer, _SET_SIZE, hostfd.control(fd, _GET_SIZE))
        return hostfd.read(reader, hostfd.tee(own, writer, waiting, 0))
    finally:
        for number in (reader, writer, own):
            hostfd.close(number)


def refill(fd: int, data: bytes) -> None:
    """Have these bytes wait in a pipe, of which this is either end, and no others."""
    if peek(fd) == data:
        return
    reader, writer = _open_again(fd, os.O_RDONLY), _open_again(fd, os.O_WRONLY)
    try:
        hostfd.drain(reader)
        if data:
            hostfd.write(writer, data)
    finally:
        hostfd.close(reader)
        hostfd.close(writer)


@host_call
def _open_again(fd: int, flags: int) -> int:
    """An end of its own, which never waits."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_CLOEXEC)
