"""Paths that are changed: made, removed, renamed, given other modes, owners and times.

Must not know policy beyond asking `proc.fs`. Errors come in the order of a file system that is mounted read-only:
first the directory is looked up, then EROFS, and EEXIST before EROFS where the kernel looks first. Sources: fs/namei.c
(filename_create, do_unlinkat, do_renameat2), fs/open.c, fs/utimes.c, fs/xattr.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emuvm.abi.controls import Clock, Seal
from emuvm.abi.errno import Errno
from emuvm.abi.flags import At, Mode
from emuvm.abi.structs import timespec_size, unpack_timespec
from emuvm.errors import GuestError
from emuvm.kernel import hostfd, hostfs, procfs
from emuvm.kernel.fs import HARMLESS, Node
from emuvm.kernel.memfd import X_BITS, MemFile
from emuvm.kernel.registry import syscall
from emuvm.kernel.sys.fs import inner, resolve
from emuvm.kernel.sys.io import too_big

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_SECOND = 1_000_000_000
_KEEP = 0xFFFF_FFFF


def _outside_proc(proc: Process, path: bytes) -> bytes:
    """An absolute path that is to be changed; EPERM in the guest's own /proc."""
    where, name = procfs.locate(proc, path, follow=False)
    if name is not None:
        raise GuestError(Errno.EPERM, "/proc cannot be changed")
    return where


# -- making names ---------------------------------------------------------------------------------------------------------


def _make(proc: Process, dirfd: int, path: bytes, make: Callable[[int, bytes], None]) -> int:
    """filename_create: EEXIST before EROFS."""
    where = _outside_proc(proc, resolve(proc, dirfd, path))
    parent, name = proc.fs.place(where)
    with parent:
        if name.rstrip(b"/") in (b".", b"..") or hostfs.exists(parent.fd, name.rstrip(b"/")):
            raise GuestError(Errno.EEXIST, "exists already")
        proc.fs.changing(parent.fd, where)
        make(parent.fd, name)
    return 0


@syscall("mkdir", "path mode")
def mkdir(proc: Process, path: bytes, mode: int) -> int:
    return mkdirat(proc, At.AT_FDCWD, path, mode)


@syscall("mkdirat", "fd path mode")
def mkdirat(proc: Process, dirfd: int, path: bytes, mode: int) -> int:
    return _make(proc, dirfd, path, lambda parent, name: hostfs.make_directory(parent, name, mode & 0o1777, proc.umask))


@syscall("mknod", "path mode uint")
def mknod(proc: Process, path: bytes, mode: int, device: int) -> int:
    return mknodat(proc, At.AT_FDCWD, path, mode, device)


@syscall("mknodat", "fd path mode uint", level="partial", note="devices get EPERM")
def mknodat(proc: Process, dirfd: int, path: bytes, mode: int, device: int) -> int:
    kind = mode & Mode.S_IFMT
    if kind == Mode.S_IFDIR:
        raise GuestError(Errno.EPERM, "not for directories")
    if kind not in (0, Mode.S_IFREG, Mode.S_IFIFO, Mode.S_IFSOCK, Mode.S_IFCHR, Mode.S_IFBLK):
        raise GuestError(Errno.EINVAL, f"mode {mode:o}")
    if kind in (Mode.S_IFCHR, Mode.S_IFBLK):
        raise GuestError(Errno.EPERM, "devices are not made")
    return _make(proc, dirfd, path, lambda parent, name: hostfs.make_node(parent, name, mode, (0, 0), proc.umask))


@syscall("symlink", "path path")
def symlink(proc: Process, text: bytes, path: bytes) -> int:
    return symlinkat(proc, text, At.AT_FDCWD, path)


@syscall("symlinkat", "path fd path")
def symlinkat(proc: Process, text: bytes, dirfd: int, path: bytes) -> int:
    if not text:
        raise GuestError(Errno.ENOENT, "empty text")
    return _make(proc, dirfd, path, lambda parent, name: hostfs.make_symlink(text, parent, name))


@syscall("link", "path path")
def link(proc: Process, old: bytes, new: bytes) -> int:
    return linkat(proc, At.AT_FDCWD, old, At.AT_FDCWD, new, 0)


def _node_of(proc: Process, fd: int) -> Node:
    """A handle on what is open. EXDEV for files that emuvm makes up: they are on no file system of the host."""
    file: OpenFile = proc.files.get(fd)
    if file.host_fd < 0:
        raise GuestError(Errno.EXDEV, "not on a file system of the host")
    return Node(hostfd.duplicate(file.host_fd))


@syscall("linkat", "fd path fd path int")
def linkat(proc: Process, old_dirfd: int, old: bytes, dirfd: int, path: bytes, flags: int) -> int:
    if flags & ~(At.AT_SYMLINK_FOLLOW | At.AT_EMPTY_PATH):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    source = b""
    if not old and flags & At.AT_EMPTY_PATH and old_dirfd != At.AT_FDCWD:
        found = _node_of(proc, old_dirfd)
    else:
        source = _outside_proc(proc, resolve(proc, old_dirfd, old))
        found = proc.fs.node(source, bool(flags & At.AT_SYMLINK_FOLLOW))
    with found as node:
        # The new name could be used to change what the old one names.
        allowed = proc.fs.may_change(node.fd)

        def make(parent: int, name: bytes) -> None:
            if not allowed:
                raise GuestError(Errno.EXDEV, "from a place that may not be changed")
            if node.kind == Mode.S_IFDIR:
                raise GuestError(Errno.EPERM, "a directory")
            if node.kind == Mode.S_IFLNK and source:
                old_parent, old_name = proc.fs.place(source)
                with old_parent:
                    hostfs.link_symlink(old_parent.fd, old_name, parent, name)
            else:
                hostfs.make_link(node.fd, parent, name)

        return _make(proc, dirfd, path, make)


# -- removing, renaming -----------------------------------------------------------------------------------------------------


def _remove(proc: Process, dirfd: int, path: bytes, directory: bool) -> int:
    where = _outside_proc(proc, resolve(proc, dirfd, path))
    parent, name = proc.fs.place(where)
    with parent:
        last = name.rstrip(b"/")
        if directory and last in (b".", b".."):
            raise GuestError(Errno.EINVAL if last == b"." else Errno.ENOTEMPTY, "not this way")
        if not directory and last in (b".", b".."):
            raise GuestError(Errno.EISDIR, "a directory")
        proc.fs.changing(parent.fd, where)
        hostfs.remove(parent.fd, name, directory)
    return 0


@syscall("unlink", "path")
def unlink(proc: Process, path: bytes) -> int:
    return _remove(proc, At.AT_FDCWD, path, False)


@syscall("rmdir", "path")
def rmdir(proc: Process, path: bytes) -> int:
    return _remove(proc, At.AT_FDCWD, path, True)


@syscall("unlinkat", "fd path int")
def unlinkat(proc: Process, dirfd: int, path: bytes, flags: int) -> int:
    if flags & ~At.AT_REMOVEDIR:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    return _remove(proc, dirfd, path, bool(flags))


@syscall("rename", "path path")
def rename(proc: Process, old: bytes, new: bytes) -> int:
    return renameat2(proc, At.AT_FDCWD, old, At.AT_FDCWD, new, 0)


@syscall("renameat", "fd path fd path")
def renameat(proc: Process, old_dirfd: int, old: bytes, dirfd: int, new: bytes) -> int:
    return renameat2(proc, old_dirfd, old, dirfd, new, 0)


@syscall("renameat2", "fd path fd path uint")
def renameat2(proc: Process, old_dirfd: int, old: bytes, dirfd: int, new: bytes, flags: int) -> int:
    exchange = flags & At.RENAME_EXCHANGE
    if flags & ~7 or (exchange and flags & (At.RENAME_NOREPLACE | At.RENAME_WHITEOUT)):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    source, target = (_outside_proc(proc, resolve(proc, fd, path)) for fd, path in ((old_dirfd, old), (dirfd, new)))
    parent, name = proc.fs.place(source)
    with parent:
        to, to_name = proc.fs.place(target)
        with to:
            for last in (name, to_name):
                if last.rstrip(b"/") in (b".", b".."):
                    raise GuestError(Errno.EBUSY, "not this way")
            proc.fs.changing(parent.fd, source)
            proc.fs.changing(to.fd, target)
            hostfs.rename(parent.fd, name, to.fd, to_name, flags)
    return 0


# -- modes, owners, times, sizes --------------------------------------------------------------------------------------------


def _change(proc: Process, dirfd: int, path: bytes, follow: bool, change: Callable[[int], None]) -> int:
    """Change what a path leads to: ENOENT before EROFS."""
    where, name = inner(proc, resolve(proc, dirfd, path), follow)
    if name is not None:
        raise GuestError(Errno.EPERM, "/proc/self cannot be changed")
    with proc.fs.node(where, follow) as node:
        proc.fs.changing(node.fd, where)
        change(node.fd)
    return 0


def _change_open(proc: Process, fd: int, change: Callable[[int], None]) -> int:
    """The same for an open file. Changing needs the right of its place, whatever it was opened for."""
    file: OpenFile = proc.files.opened(fd)
    if file.host_fd < 0:
        raise GuestError(Errno.EPERM, "what emuvm makes cannot be changed")
    if not file.own:
        proc.fs.changing(file.host_fd, file.name)
    change(file.host_fd)
    return 0


def _keeps(path: bytes) -> bool:
    """Is it a made-up file whose mode may be set? Not those of a process and of /proc/sys."""
    top, _, rest = path[1:].partition(b"/")
    part = rest.partition(b"/")[0]
    return top != b"proc" or not (part.isdigit() or part == b"sys")


def _set_mode(proc: Process, fd: int, mode: int) -> None:
    """chmod of a file of the host, or of a memfd, whose seals forbid more than the host's file does (mm/shmem.c:shmem_setattr)."""
    for _, file in proc.files.items():
        if isinstance(file, MemFile) and file.inode.seals & Seal.F_SEAL_EXEC:
            mine, changed = file.stat(), hostfd.stat(fd)
            if (mine.dev, mine.ino) == (changed.dev, changed.ino) and (mine.mode ^ mode) & X_BITS:
                raise GuestError(Errno.EPERM, "the memfd is sealed")
    hostfs.change_mode(fd, mode)


@syscall("chmod", "path mode")
def chmod(proc: Process, path: bytes, mode: int) -> int:
    return _change(proc, At.AT_FDCWD, path, True, lambda fd: _set_mode(proc, fd, mode & 0o7777))


@syscall("fchmodat", "fd path mode")
def fchmodat(proc: Process, dirfd: int, path: bytes, mode: int) -> int:
    return _change(proc, dirfd, path, True, lambda fd: _set_mode(proc, fd, mode & 0o7777))


@syscall("fchmodat2", "fd path mode uint")
def fchmodat2(proc: Process, dirfd: int, path: bytes, mode: int, flags: int) -> int:
    if flags & ~(At.AT_SYMLINK_NOFOLLOW | At.AT_EMPTY_PATH):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    if not path and flags & At.AT_EMPTY_PATH:
        return fchmod(proc, dirfd, mode)
    return _change(proc, dirfd, path, not flags & At.AT_SYMLINK_NOFOLLOW, lambda fd: _set_mode(proc, fd, mode & 0o7777))


@syscall("fchmod", "fd mode")
def fchmod(proc: Process, fd: int, mode: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    status = file.stat()
    if not (status.mode ^ mode) & 0o7777 and (_keeps(file.path) if file.host_fd < 0 else status.rdev in HARMLESS):
        return 0  # nothing but a time would change
    return _change_open(proc, fd, lambda host: _set_mode(proc, host, mode & 0o7777))


@syscall("chown", "path uint uint")
def chown(proc: Process, path: bytes, uid: int, gid: int) -> int:
    return _change(proc, At.AT_FDCWD, path, True, lambda fd: hostfs.change_owner(fd, uid, gid))


@syscall("lchown", "path uint uint")
def lchown(proc: Process, path: bytes, uid: int, gid: int) -> int:
    return _change(proc, At.AT_FDCWD, path, False, lambda fd: hostfs.change_owner(fd, uid, gid))


@syscall("fchown", "fd uint uint")
def fchown(proc: Process, fd: int, uid: int, gid: int) -> int:
    return _change_open(proc, fd, lambda host: hostfs.change_owner(host, uid, gid))


@syscall("fchownat", "fd path uint uint int")
def fchownat(proc: Process, dirfd: int, path: bytes, uid: int, gid: int, flags: int) -> int:
    if flags & ~(At.AT_SYMLINK_NOFOLLOW | At.AT_EMPTY_PATH):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    if not path and flags & At.AT_EMPTY_PATH:
        return fchown(proc, dirfd, uid, gid)
    return _change(proc, dirfd, path, not flags & At.AT_SYMLINK_NOFOLLOW, lambda fd: hostfs.change_owner(fd, uid, gid))


Times = tuple[tuple[int, int], tuple[int, int]]
_NOW: Times = ((0, Clock.UTIME_NOW), (0, Clock.UTIME_NOW))


def _utimes(proc: Process, dirfd: int, path: bytes | None, times: Times, flags: int) -> int:
    def change(fd: int) -> None:
        for _, fraction in times:
            if not 0 <= fraction < _SECOND and fraction not in (Clock.UTIME_NOW, Clock.UTIME_OMIT):
                raise GuestError(Errno.EINVAL, f"{fraction} ns")
        hostfs.change_times(fd, times)

    if path is None or (not path and flags & At.AT_EMPTY_PATH):
        return _change_open(proc, dirfd, change)
    return _change(proc, dirfd, path, not flags & At.AT_SYMLINK_NOFOLLOW, change)


@syscall("utimensat", "fd path? ptr int")
def utimensat(proc: Process, dirfd: int, path: bytes | None, at: int, flags: int) -> int:
    times = _NOW
    if at:
        size = timespec_size(proc.arch)
        first, second = (unpack_timespec(proc.arch, proc.mem.read(at + i * size, size)) for i in range(2))
        if first[1] == second[1] == Clock.UTIME_OMIT:
            return 0
        times = (first, second)
    if flags & ~(At.AT_SYMLINK_NOFOLLOW | At.AT_EMPTY_PATH):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    if path is None and dirfd == At.AT_FDCWD:
        raise GuestError(Errno.EFAULT, "no path")
    return _utimes(proc, dirfd, path, times, flags)


def _timevals(proc: Process, at: int) -> Times:
    if not at:
        return _NOW
    size = timespec_size(proc.arch)
    pairs = [unpack_timespec(proc.arch, proc.mem.read(at + i * size, size)) for i in range(2)]
    for _, micro in pairs:
        if not 0 <= micro < 1_000_000:
            raise GuestError(Errno.EINVAL, f"{micro} us")
    (first, a), (second, b) = pairs
    return (first, a * 1000), (second, b * 1000)


@syscall("utimes", "path ptr")
def utimes(proc: Process, path: bytes, at: int) -> int:
    return _utimes(proc, At.AT_FDCWD, path, _timevals(proc, at), 0)


@syscall("futimesat", "fd path? ptr")
def futimesat(proc: Process, dirfd: int, path: bytes | None, at: int) -> int:
    return _utimes(proc, dirfd, path, _timevals(proc, at), 0)


@syscall("utime", "path ptr")
def utime(proc: Process, path: bytes, at: int) -> int:
    times = _NOW
    if at:
        access, modified = unpack_timespec(proc.arch, proc.mem.read(at, timespec_size(proc.arch)))
        times = ((access, 0), (modified, 0))
    return _utimes(proc, At.AT_FDCWD, path, times, 0)


@syscall("truncate", "path off")
@syscall("truncate64", "path off")
def truncate(proc: Process, path: bytes, length: int) -> int:
    if length < 0:
        raise GuestError(Errno.EINVAL, f"length {length}")
    where, name = inner(proc, resolve(proc, At.AT_FDCWD, path))
    if name is not None:
        raise GuestError(Errno.EINVAL, "not a regular file")
    with proc.fs.node(where) as node:
        if node.kind == Mode.S_IFDIR:
            raise GuestError(Errno.EISDIR, "a directory")
        if node.kind != Mode.S_IFREG:
            raise GuestError(Errno.EINVAL, "not a regular file")
        proc.fs.changing(node.fd, where)
        proc.fs.not_running(node.fd)
        limit = proc.files.size_limit
        if limit is not None and node.info.st_size < length > limit:
            raise too_big(proc)
        hostfs.truncate(node.fd, length)
    return 0


@syscall("umask", "uint")
def umask(proc: Process, mask: int) -> int:
    before, proc.umask = proc.umask, mask & 0o777
    return before


# -- extended attributes ----------------------------------------------------------------------------------------------------

_XATTR_SIZE_MAX = 0x1_0000


def _answer(proc: Process, data: bytes, to: int, size: int) -> int:
    if size:
        if len(data) > size:
            raise GuestError(Errno.ERANGE, f"{len(data)} bytes")
        proc.mem.write(to, data)
    return len(data)


def _get(proc: Process, path: bytes, follow: bool, name: bytes, to: int, size: int) -> int:
    where, made = inner(proc, resolve(proc, At.AT_FDCWD, path), follow)
    if made is not None:
        raise GuestError(Errno.EOPNOTSUPP, "no attributes")
    with proc.fs.node(where, follow) as node:
        return _answer(proc, hostfs.get_attribute(node.fd, name), to, size)


def _list(proc: Process, path: bytes, follow: bool, to: int, size: int) -> int:
    where, made = inner(proc, resolve(proc, At.AT_FDCWD, path), follow)
    if made is not None:
        return 0
    with proc.fs.node(where, follow) as node:
        return _answer(proc, _names(node.fd), to, size)


def _names(fd: int) -> bytes:
    return b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in hostfs.list_attributes(fd))


def _value(proc: Process, at: int, size: int) -> bytes:
    if size > _XATTR_SIZE_MAX:
        raise GuestError(Errno.E2BIG, f"{size} bytes")
    return proc.mem.read(at, size)


@syscall("getxattr", "path str ptr size")
def getxattr(proc: Process, path: bytes, name: bytes, to: int, size: int) -> int:
    return _get(proc, path, True, name, to, size)


@syscall("lgetxattr", "path str ptr size")
def lgetxattr(proc: Process, path: bytes, name: bytes, to: int, size: int) -> int:
    return _get(proc, path, False, name, to, size)


@syscall("fgetxattr", "fd str ptr size")
def fgetxattr(proc: Process, fd: int, name: bytes, to: int, size: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    if file.host_fd < 0:
        raise GuestError(Errno.EOPNOTSUPP, "no attributes")
    return _answer(proc, hostfs.get_attribute(file.host_fd, name), to, size)


@syscall("listxattr", "path ptr size")
def listxattr(proc: Process, path: bytes, to: int, size: int) -> int:
    return _list(proc, path, True, to, size)


@syscall("llistxattr", "path ptr size")
def llistxattr(proc: Process, path: bytes, to: int, size: int) -> int:
    return _list(proc, path, False, to, size)


@syscall("flistxattr", "fd ptr size")
def flistxattr(proc: Process, fd: int, to: int, size: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    return _answer(proc, _names(file.host_fd) if file.host_fd >= 0 else b"", to, size)


@syscall("setxattr", "path str ptr size int")
def setxattr(proc: Process, path: bytes, name: bytes, at: int, size: int, flags: int) -> int:
    value = _value(proc, at, size)
    return _change(proc, At.AT_FDCWD, path, True, lambda fd: hostfs.set_attribute(fd, name, value, flags))


@syscall("lsetxattr", "path str ptr size int")
def lsetxattr(proc: Process, path: bytes, name: bytes, at: int, size: int, flags: int) -> int:
    value = _value(proc, at, size)
    return _change(proc, At.AT_FDCWD, path, False, lambda fd: hostfs.set_attribute(fd, name, value, flags))


@syscall("fsetxattr", "fd str ptr size int")
def fsetxattr(proc: Process, fd: int, name: bytes, at: int, size: int, flags: int) -> int:
    value = _value(proc, at, size)
    return _change_open(proc, fd, lambda host: hostfs.set_attribute(host, name, value, flags))


@syscall("removexattr", "path str")
def removexattr(proc: Process, path: bytes, name: bytes) -> int:
    return _change(proc, At.AT_FDCWD, path, True, lambda fd: hostfs.remove_attribute(fd, name))


@syscall("lremovexattr", "path str")
def lremovexattr(proc: Process, path: bytes, name: bytes) -> int:
    return _change(proc, At.AT_FDCWD, path, False, lambda fd: hostfs.remove_attribute(fd, name))


@syscall("fremovexattr", "fd str")
def fremovexattr(proc: Process, fd: int, name: bytes) -> int:
    return _change_open(proc, fd, lambda host: hostfs.remove_attribute(host, name))


def _forbidden(proc: Process, *arguments: Any) -> int:
    raise GuestError(Errno.EPERM, "only for the host's administrator")


for _name, _kinds in (
    ("chroot", "path"), ("mount", "ptr ptr ptr ulong ptr"), ("umount2", "ptr int"), ("pivot_root", "ptr ptr"), ("swapon", "ptr int"),
    ("swapoff", "ptr"), ("acct", "ptr"), ("sethostname", "ptr int"), ("setdomainname", "ptr int"), ("reboot", "int int uint ptr"),
):  # fmt: skip
    syscall(_name, _kinds, level="accepted", note="always EPERM")(_forbidden)
