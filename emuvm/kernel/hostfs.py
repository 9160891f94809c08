"""The host's file systems: looking up paths inside a root, and everything that is done to a path.

Owns: every use of host paths by a running guest. Must not know guests or what they may do. A path is looked up with
openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), which gives a handle (an O_PATH descriptor); what is done to it then is done
to the handle, so that nothing can change places in between. Failures are GuestError with the host's errno.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.kernel.hostfd import failure, host_call

_SYS_OPENAT2 = 437
_SYS_GETDENTS64 = {"x86_64": 217, "i686": 220, "ppc64le": 202, "s390x": 220}.get(os.uname().machine, 61)
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x2, 0x10
_AT_FDCWD, _AT_EMPTY_PATH, _AT_SYMLINK_FOLLOW = -100, 0x1000, 0x400
_DIRENT = struct.Struct("=QqHB")
_STATFS = struct.Struct("@7QiiQQQ4Q")
"""struct statfs of 64-bit hosts."""
PATH, DIRECTORY, NOFOLLOW, CLOEXEC = os.O_PATH, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_CLOEXEC


class _How(ctypes.Structure):
    """struct open_how (openat2(2))."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


_libc: Any = ctypes.CDLL(None, use_errno=True)
_syscall: Any = _libc.syscall
_syscall.restype = ctypes.c_long


def _check(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise failure(OSError(error, os.strerror(error)))
    return result


class Root:
    """A host directory as the root of all look-ups."""

    def __init__(self, path: str) -> None:
        """GuestError: no such directory, or a host without openat2 (Linux 5.6)."""
        try:
            self.fd = os.open(path, PATH | DIRECTORY | CLOEXEC)
        except (OSError, ValueError) as error:
            raise GuestError(Errno.ENOENT, f"--root {path}: {getattr(error, 'strerror', None) or error}") from None
        self.real = os.path.realpath(os.fsencode(path)).rstrip(b"/")
        """Its host path, without a slash at the end: empty for /."""
        self._how = _How(0, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        try:
            os.close(self.handle(b"/", True))
        except GuestError as error:
            why = f"--root {path}: this host cannot look up paths inside a directory (openat2: {error.why})"
            raise GuestError(error.errno, why) from None
        try:
            self.proc_device: int | None = os.stat("/proc").st_dev
        except OSError:
            self.proc_device = None

    def handle(self, path: bytes, follow: bool, directory: bool = False) -> int:
        """An O_PATH descriptor for a path inside the root."""
        how = self._how
        how.flags = PATH | CLOEXEC | (0 if follow else NOFOLLOW) | (DIRECTORY if directory else 0)
        return _check(_syscall(_SYS_OPENAT2, self.fd, path, ctypes.byref(how), 24))

    def inside(self, real: bytes) -> bytes:
        """The path inside the root of a host path; empty when it lies outside."""
        if not self.real:
            return real
        return real[len(self.real) :] or b"/" if real == self.real or real.startswith(self.real + b"/") else b""

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _self(fd: int) -> bytes:
    return b"/proc/self/fd/%d" % fd


def working_directory() -> bytes:
    """The host's, or / when it is gone."""
    try:
        return os.getcwdb()
    except OSError:
        return b"/"


def umask() -> int:
    """emuvm's own, read without touching it."""
    try:
        with open("/proc/self/status", "rb") as file:
            for row in file:
                if row.startswith(b"Umask:"):
                    return int(row[6:], 8)
    except OSError:
        pass
    return 0o22


@contextmanager
def _masked(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


close = os.close
status = host_call(os.fstat)


@host_call
def reopen(fd: int, flags: int) -> int:
    """Open what a handle stands for. Never creates."""
    return os.open(_self(fd), flags & ~(os.O_CREAT | os.O_EXCL | NOFOLLOW) | CLOEXEC | os.O_NOCTTY)


@host_call
def create(parent: int, name: bytes, flags: int, mode: int, mask: int) -> int:
    """Make a file in a directory and open it; a symbolic link of that name is refused."""
    with _masked(mask):
        return os.open(name, flags | os.O_CREAT | NOFOLLOW | CLOEXEC | os.O_NOCTTY, mode, dir_fd=parent)


@host_call
def unnamed(parent: int, flags: int, mode: int, mask: int) -> int:
    """O_TMPFILE."""
    with _masked(mask):
        return os.open(_self(parent), flags | os.O_TMPFILE | CLOEXEC, mode)


@host_call
def may(fd: int, mode: int, effective: bool = False) -> bool:
    """access(2) on a handle; mode as there."""
    return os.access(_self(fd), mode, effective_ids=effective)


@host_call
def link_text(fd: int) -> bytes:
    """readlink(2) of a symbolic link's handle; EINVAL for others."""
    try:
        return os.readlink(b"", dir_fd=fd)
    except FileNotFoundError:
        raise GuestError(Errno.EINVAL, "not a symbolic link") from None


@host_call
def link_in(parent: int, name: bytes) -> bytes | None:
    """The text of the symbolic link `name`; None when there is none of that name or it is something else."""
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError:
        return None


@host_call
def exists(parent: int, name: bytes) -> bool:
    try:
        os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    return True


@host_call
def make_directory(parent: int, name: bytes, mode: int, mask: int) -> None:
    with _masked(mask):
        os.mkdir(name, mode, dir_fd=parent)


@host_call
def make_node(parent: int, name: bytes, mode: int, device: tuple[int, int], mask: int) -> None:
    with _masked(mask):
        os.mknod(name, mode, os.makedev(*device), dir_fd=parent)


@host_call
def make_symlink(text: bytes, parent: int, name: bytes) -> None:
    os.symlink(text, name, dir_fd=parent)


@host_call
def make_link(fd: int, parent: int, name: bytes) -> None:
    """A further name for what a handle stands for."""
    if _libc.linkat(_AT_FDCWD, _self(fd), parent, name, _AT_SYMLINK_FOLLOW):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def link_symlink(parent: int, name: bytes, to: int, to_name: bytes) -> None:
    """A further name for a symbolic link itself, which a handle cannot be linked as."""
    _check(_libc.linkat(parent, name, to, to_name, 0))


@host_call
def remove(parent: int, name: bytes, directory: bool) -> None:
    if directory:
        os.rmdir(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)


def rename(parent: int, name: bytes, to: int, to_name: bytes, flags: int) -> None:
    _check(_libc.renameat2(parent, name, to, to_name, flags))


@host_call
def change_mode(fd: int, mode: int) -> None:
    os.chmod(_self(fd), mode)


@host_call
def change_owner(fd: int, uid: int, gid: int) -> None:
    """Of what the handle stands for, be it a symbolic link."""
    if _libc.fchownat(fd, b"", uid & 0xFFFF_FFFF, gid & 0xFFFF_FFFF, _AT_EMPTY_PATH):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


_TIMES = struct.Struct("@4q")


def change_times(fd: int, times: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """(seconds, nanoseconds) for access and modification, with UTIME_NOW and UTIME_OMIT as nanoseconds."""
    _check(_libc.utimensat(fd, b"", _TIMES.pack(*times[0], *times[1]), _AT_EMPTY_PATH))


@host_call
def truncate(fd: int, length: int) -> None:
    os.truncate(_self(fd), length)


_NO_SIZES = (0x9FA0, 0x64626720, 0x74726163, 0x27E0EB, 0x63677270)
"""/proc, debugfs, tracefs and cgroups: their files are made while they are read."""


def end(fd: int, size: int) -> int:
    """Where reading a file of that st_size comes to its end at the latest: a made file of the host says 0 whatever it holds."""
    return 1 << 63 if not size and fd >= 0 and statfs(fd)[0] in _NO_SIZES else size


def statfs(fd: int) -> tuple[int, ...]:
    """f_type, f_bsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, fsid (2), f_namelen, f_frsize, f_flags."""
    buffer = ctypes.create_string_buffer(256)
    _check(_libc.fstatfs64(fd, buffer))
    return _STATFS.unpack_from(buffer)[:12]


def statx(fd: int, flags: int, mask: int) -> bytes:
    """The 256 bytes of struct statx, of a handle; the host's byte order."""
    buffer = ctypes.create_string_buffer(256)
    _check(_libc.statx(fd, b"", flags | _AT_EMPTY_PATH, mask, buffer))
    return buffer.raw


def directory_entries(fd: int, space: int) -> list[tuple[int, int, int, bytes]]:
    """The next (inode, offset behind the entry, type, name) that fit into `space` bytes; the directory's offset moves along."""
    buffer = ctypes.create_string_buffer(max(space, 24))
    count = _check(_syscall(_SYS_GETDENTS64, fd, buffer, space))
    data, at = buffer.raw[:count], 0
    found = []
    while at < count:
        inode, offset, length, kind = _DIRENT.unpack_from(data, at)
        found.append((inode, offset, kind, data[at + 19 : data.index(b"\0", at + 19)]))
        at += length
    return found


@host_call
def get_attribute(fd: int, name: bytes) -> bytes:
    return os.getxattr(_self(fd), name)


@host_call
def list_attributes(fd: int) -> list[str]:
    return os.listxattr(_self(fd))


@host_call
def set_attribute(fd: int, name: bytes, value: bytes, flags: int) -> None:
    os.setxattr(_self(fd), name, value, flags)


@host_call
def remove_attribute(fd: int, name: bytes) -> None:
    os.removexattr(_self(fd), name)
