"""Paths that are looked at: open, stat, access, readlink, directories read, the current directory.

Must not know policy (`emuvm.kernel.fs`) nor how made-up files look (`emuvm.kernel.procfs`). What changes the file system is
in `kernel.sys.change`. Sources: fs/open.c, fs/stat.c, fs/namei.c, fs/readdir.c, fs/d_path.c, fs/statfs.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Access, At, Mode, Open, convert_open, open_for
from emuvm.abi.structs import Stat, Statfs, dirent64_size, pack_dirent64, pack_stat, pack_statfs, pack_statx
from emuvm.errors import GuestError
from emuvm.kernel import hostfd, hostfs, procfs
from emuvm.kernel.fs import PATH_FLAGS, Hidden
from emuvm.kernel.registry import syscall
from emuvm.kernel.usermem import WRITE, Deferred

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_ST_VALID, _ST_RELATIME = 0x20, 0x1000
"""f_flags of mounts, as /proc/mounts shows them."""
_PROC_SUPER_MAGIC, _SYSFS_MAGIC = 0x9FA0, 0x6265_6572
_T = TypeVar("_T")


def resolve(proc: Process, dirfd: int, path: bytes) -> bytes:
    """A path argument as an absolute guest path. EBADF, ENOTDIR, ENOENT for an empty one."""
    if path.startswith(b"/") or dirfd == At.AT_FDCWD or not path:
        absolute: bytes = proc.fs.absolute(path)
    else:
        file: OpenFile = proc.files.get(dirfd)
        if not file.is_directory:
            raise GuestError(Errno.ENOTDIR, f"descriptor {dirfd}")
        base = proc.fs.guest_path(file.host_fd) if file.host_fd >= 0 else file.path
        absolute = proc.fs.absolute(path, base or b"/")
    if len(absolute) > 2 * 4096:
        raise GuestError(Errno.ENAMETOOLONG, "path")
    return absolute


def inner(proc: Process, path: bytes, follow: bool = True) -> tuple[bytes, bytes | None]:
    """(path, name in the guest's own /proc or None); links in there are followed to other paths."""
    where, name = procfs.locate(proc, path, follow)
    if name and (follow or path.endswith(b"/")):
        elsewhere = procfs.target(proc, name)
        if elsewhere is not None:
            return elsewhere, None
    return where, name


def _at(proc: Process, path: bytes, action: Callable[[bytes], _T]) -> _T:
    """Do something with an absolute path; again with the path it leads to when that is in the guest's own /proc: /etc/mtab."""
    try:
        return action(path)
    except Hidden as found:
        name = procfs.inner(proc, found.where)
        if name is None:
            raise
        return action(found.where)


def _known(proc: Process) -> int:
    """All O_ bits of the architecture."""
    names = open_for(proc.arch.name)
    bits = 0
    for name in vars(Open):
        if name.startswith("O_"):
            bits |= getattr(names, name)
    return bits


# -- open -----------------------------------------------------------------------------------------------------------------


def open_path(proc: Process, path: bytes, flags: int, mode: int) -> int:
    """Open an absolute path; flags are generic. The new descriptor."""
    file = _at(proc, path, lambda where: _open_file(proc, where, flags, mode))
    number: int = proc.files.add(file, bool(flags & Open.O_CLOEXEC))
    return number


def _open_file(proc: Process, path: bytes, flags: int, mode: int) -> OpenFile:
    follow = not (flags & Open.O_NOFOLLOW or flags & (Open.O_CREAT | Open.O_EXCL) == Open.O_CREAT | Open.O_EXCL)
    where, name = inner(proc, path, follow)
    writes = flags & Open.O_ACCMODE != Open.O_RDONLY
    if name is None or (name.startswith(b"/") and writes and proc.fs.allow_all):
        return proc.fs.open(where, flags, mode, proc.umask)  # type: ignore[no-any-return]
    if name.startswith(b"fd/") and follow:
        return _open_again(proc, name, flags)
    return procfs.open_file(proc, name, where, flags)


def _open_again(proc: Process, name: bytes, flags: int) -> OpenFile:
    """Opening /proc/self/fd/N opens its file anew."""
    file = procfs.descriptor(proc, name)
    if file.host_fd < 0:
        found = procfs.inner(proc, file.path)
        if found is None:
            raise GuestError(Errno.ENXIO, "cannot be opened again")
        return procfs.open_file(proc, found, file.path, flags)
    if flags & Open.O_DIRECTORY and not file.is_directory:
        raise GuestError(Errno.ENOTDIR, "not a directory")
    if flags & Open.O_PATH:
        return file.again(hostfs.reopen(file.host_fd, hostfs.PATH), flags & (Open.O_PATH | Open.O_DIRECTORY | Open.O_NOFOLLOW))
    wants_write = flags & Open.O_ACCMODE != Open.O_RDONLY or flags & Open.O_TRUNC
    if wants_write and not (file.writable() or file.own or proc.fs.may_change(file.host_fd)):
        proc.fs.refused(file.name)
    proc.fs.not_running(file.host_fd, flags)
    if flags & Open.O_TRUNC:
        file.check_size(0)
    kept = flags & (Open.O_ACCMODE | Open.O_APPEND | Open.O_NONBLOCK | Open.O_TRUNC | Open.O_DIRECT)
    fd = hostfs.reopen(file.host_fd, convert_open(kept, Open, hostfd.HOST_OPEN))
    return file.again(fd, kept & ~Open.O_TRUNC | Open.O_LARGEFILE)


def _open(proc: Process, dirfd: int, path: bytes, flags: int, mode: int) -> int:
    if proc.mem.deferred and path not in procfs.AT_ONCE:
        raise Deferred  # the host may make us wait
    generic = convert_open(flags, open_for(proc.arch.name), Open)
    _make_sense(generic & PATH_FLAGS if generic & Open.O_PATH else generic)
    return open_path(proc, resolve(proc, dirfd, path), generic, mode)


def _make_sense(flags: int) -> None:
    """EINVAL before anything is looked up (fs/open.c:build_open_flags)."""
    if flags & (Open.O_CREAT | Open.O_DIRECTORY) == Open.O_CREAT | Open.O_DIRECTORY:
        raise GuestError(Errno.EINVAL, "a folder is not made by open")
    if flags & Open.O_TMPFILE == Open.O_TMPFILE and not flags & Open.O_ACCMODE:
        raise GuestError(Errno.EINVAL, "a file without a name is not for reading")


@syscall("open", "path flags mode", pure=True)
def open(proc: Process, path: bytes, flags: int, mode: int) -> int:
    return _open(proc, At.AT_FDCWD, path, flags, mode)


@syscall("openat", "fd path flags mode", pure=True)
def openat(proc: Process, dirfd: int, path: bytes, flags: int, mode: int) -> int:
    return _open(proc, dirfd, path, flags, mode)


@syscall("creat", "path mode")
def creat(proc: Process, path: bytes, mode: int) -> int:
    return open_path(proc, resolve(proc, At.AT_FDCWD, path), Open.O_CREAT | Open.O_WRONLY | Open.O_TRUNC, mode)


@syscall("openat2", "fd path ptr size", level="partial", note="RESOLVE flags other than NO_MAGICLINKS and CACHED get EINVAL")
def openat2(proc: Process, dirfd: int, path: bytes, how: int, size: int) -> int:
    if size < 24:
        raise GuestError(Errno.EINVAL, f"{size} bytes of struct open_how")
    data = proc.mem.read(how, min(size, 4096))
    if any(data[24:]):
        raise GuestError(Errno.E2BIG, "unknown fields of struct open_how")
    flags, mode, resolution = struct.unpack(">3Q" if proc.arch.big_endian else "<3Q", data[:24])
    generic = convert_open(flags & 0xFFFF_FFFF, open_for(proc.arch.name), Open)
    creates = bool(generic & Open.O_CREAT) or generic & Open.O_TMPFILE == Open.O_TMPFILE
    unknown = flags >> 32 or flags & ~_known(proc) or resolution & ~At.RESOLVE_NO_MAGICLINKS
    if unknown or mode & ~0o7777 or (mode and not creates):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}, mode {mode:o}, resolve {resolution:#x}")
    if generic & Open.O_PATH and generic & ~PATH_FLAGS:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x} beside O_PATH")
    _make_sense(generic)
    return open_path(proc, resolve(proc, dirfd, path), generic, mode)


# -- stat -----------------------------------------------------------------------------------------------------------------


def stat_path(proc: Process, path: bytes, follow: bool) -> Stat:
    """The status of an absolute path."""
    return _at(proc, path, lambda where: _status(proc, where, follow))


def _status(proc: Process, path: bytes, follow: bool) -> Stat:
    where, name = inner(proc, path, follow)
    if name is not None:
        if follow and name.startswith(b"fd/"):
            return procfs.descriptor(proc, name).stat()
        return procfs.status(proc, name)
    with proc.fs.node(where, follow) as node:
        return hostfd.to_stat(node.info)


def _stat_at(proc: Process, dirfd: int, path: bytes | None, flags: int) -> Stat:
    if not path:
        if not flags & At.AT_EMPTY_PATH:
            raise GuestError(Errno.EFAULT if path is None else Errno.ENOENT, "empty path")
        if dirfd == At.AT_FDCWD:
            return stat_path(proc, proc.fs.cwd, True)
        status: Stat = proc.files.get(dirfd).stat()
        return status
    return stat_path(proc, resolve(proc, dirfd, path), not flags & At.AT_SYMLINK_NOFOLLOW)


def _put(proc: Process, to: int, status: Stat) -> int:
    proc.mem.write(to, pack_stat(proc.arch, status))
    return 0


@syscall("stat", "path ptr", pure=True)
def stat(proc: Process, path: bytes, to: int) -> int:
    return _put(proc, to, _stat_at(proc, At.AT_FDCWD, path, 0))


@syscall("lstat", "path ptr", pure=True)
def lstat(proc: Process, path: bytes, to: int) -> int:
    return _put(proc, to, _stat_at(proc, At.AT_FDCWD, path, At.AT_SYMLINK_NOFOLLOW))


@syscall("fstat", "fd ptr", pure=True)
def fstat(proc: Process, fd: int, to: int) -> int:
    return _put(proc, to, proc.files.get(fd).stat())


@syscall("newfstatat", "fd path? ptr uint", pure=True)
def newfstatat(proc: Process, dirfd: int, path: bytes | None, to: int, flags: int) -> int:
    if flags & ~(At.AT_SYMLINK_NOFOLLOW | At.AT_NO_AUTOMOUNT | At.AT_EMPTY_PATH | At.AT_STATX_SYNC_TYPE):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    return _put(proc, to, _stat_at(proc, dirfd, path, flags))


@syscall("statx", "fd path? uint uint ptr", pure=True)
def statx(proc: Process, dirfd: int, path: bytes | None, flags: int, mask: int, to: int) -> int:
    known = At.AT_SYMLINK_NOFOLLOW | At.AT_NO_AUTOMOUNT | At.AT_EMPTY_PATH | At.AT_STATX_SYNC_TYPE
    if mask & At.STATX_RESERVED or flags & ~known or flags & At.AT_STATX_SYNC_TYPE == At.AT_STATX_SYNC_TYPE:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}, mask {mask:#x}")
    host = _statx_of_host(proc, dirfd, path, flags, mask) if not proc.arch.big_endian else None
    if host is None:
        host = pack_statx(proc.arch, _stat_at(proc, dirfd, path, flags), At.STATX_BASIC_STATS)
    proc.mem.write(to, host)
    return 0


def _statx_of_host(proc: Process, dirfd: int, path: bytes | None, flags: int, mask: int) -> bytes | None:
    """What the host says, which is more than struct stat holds; None for files that are emuvm's."""
    sync = flags & At.AT_STATX_SYNC_TYPE
    if not path:
        if not flags & At.AT_EMPTY_PATH or dirfd == At.AT_FDCWD:
            return None
        fd = proc.files.get(dirfd).host_fd
        return hostfs.statx(fd, sync, mask) if fd >= 0 else None
    follow = not flags & At.AT_SYMLINK_NOFOLLOW
    where, name = inner(proc, resolve(proc, dirfd, path), follow)
    if name is not None:
        return None
    try:
        with proc.fs.node(where, follow) as node:
            return hostfs.statx(node.fd, sync, mask)
    except Hidden:
        return None


def _statfs(fd: int) -> Statfs:
    kind, bsize, blocks, bfree, bavail, files, ffree, first, second, namelen, frsize, flags = hostfs.statfs(fd)
    return Statfs(kind, bsize, blocks, bfree, bavail, files, ffree, (first, second), namelen, frsize, flags)


@syscall("statfs", "path ptr")
def statfs(proc: Process, path: bytes, to: int) -> int:
    found = _at(proc, resolve(proc, At.AT_FDCWD, path), lambda where: _statfs_at(proc, where))
    proc.mem.write(to, pack_statfs(proc.arch, found))
    return 0


def _statfs_at(proc: Process, path: bytes) -> Statfs:
    where, name = inner(proc, path)
    if name is not None and name.startswith(b"fd/"):
        return _statfs_of(procfs.descriptor(proc, name))
    if name is not None:
        return _of_made(name)
    with proc.fs.node(where) as node:
        return _statfs(node.fd)


def _of_made(path: bytes) -> Statfs:
    magic = _SYSFS_MAGIC if path.startswith(b"/sys/") else _PROC_SUPER_MAGIC
    return Statfs(magic, 4096, 0, 0, 0, 0, 0, (0, 0), 255, 4096, _ST_VALID | _ST_RELATIME)


def _statfs_of(file: OpenFile) -> Statfs:
    return _statfs(file.host_fd) if file.host_fd >= 0 else _of_made(file.path)


@syscall("fstatfs", "fd ptr")
def fstatfs(proc: Process, fd: int, to: int) -> int:
    proc.mem.write(to, pack_statfs(proc.arch, _statfs_of(proc.files.get(fd))))
    return 0


# -- access, links ----------------------------------------------------------------------------------------------------------


def _access(proc: Process, dirfd: int, path: bytes, mode: int, flags: int) -> int:
    if mode & ~7 or flags & ~(At.AT_EACCESS | At.AT_SYMLINK_NOFOLLOW | At.AT_EMPTY_PATH):
        raise GuestError(Errno.EINVAL, f"mode {mode:#x}, flags {flags:#x}")
    if not path and flags & At.AT_EMPTY_PATH and dirfd != At.AT_FDCWD:
        proc.files.get(dirfd)
        path = b"/proc/self/fd/%d" % dirfd
    return _at(proc, resolve(proc, dirfd, path), lambda where: _accessible(proc, where, mode, flags))


def _accessible(proc: Process, path: bytes, mode: int, flags: int) -> int:
    follow = not flags & At.AT_SYMLINK_NOFOLLOW
    where, name = inner(proc, path, follow)
    if name is not None and name.startswith(b"fd/") and follow:
        return _usable(proc, procfs.descriptor(proc, name), mode)
    if name is not None:
        if not procfs.allowed(proc, name, mode):
            raise GuestError(Errno.EACCES, f"mode {mode:#x}")
        if mode & Access.W_OK and name.startswith(b"/") and not proc.fs.allow_all:
            raise GuestError(Errno.EROFS, "settings of the host")
        return 0
    with proc.fs.node(where, follow) as node:
        writable = node.kind not in (Mode.S_IFREG, Mode.S_IFDIR, Mode.S_IFLNK) or proc.fs.may_change(node.fd)
        if mode & Access.W_OK and not writable:
            raise GuestError(Errno.EROFS, "read-only")
        if mode and not hostfs.may(node.fd, mode, bool(flags & At.AT_EACCESS)):
            raise GuestError(Errno.EACCES, f"mode {mode:#x}")
    return 0


def _usable(proc: Process, file: OpenFile, mode: int) -> int:
    """access(2) of an open file."""
    status = file.stat()
    writable = status.mode & Mode.S_IFMT not in (Mode.S_IFREG, Mode.S_IFDIR) or file.host_fd < 0 or proc.fs.may_change(file.host_fd)
    if mode & Access.W_OK and not (writable or file.writable()):
        raise GuestError(Errno.EROFS, "read-only")
    if mode and file.host_fd >= 0 and not hostfs.may(file.host_fd, mode):
        raise GuestError(Errno.EACCES, f"mode {mode:#x}")
    return 0


@syscall("access", "path int", pure=True)
def access(proc: Process, path: bytes, mode: int) -> int:
    return _access(proc, At.AT_FDCWD, path, mode, 0)


@syscall("faccessat", "fd path int", pure=True)
def faccessat(proc: Process, dirfd: int, path: bytes, mode: int) -> int:
    return _access(proc, dirfd, path, mode, 0)


@syscall("faccessat2", "fd path int int", pure=True)
def faccessat2(proc: Process, dirfd: int, path: bytes, mode: int, flags: int) -> int:
    return _access(proc, dirfd, path, mode, flags)


def _readlink(proc: Process, dirfd: int, path: bytes, to: int, size: int) -> int:
    if size <= 0:
        raise GuestError(Errno.EINVAL, f"buffer of {size} bytes")
    if not path and dirfd != At.AT_FDCWD:
        file = proc.files.get(dirfd)
        if file.stat().mode & Mode.S_IFMT != Mode.S_IFLNK:
            raise GuestError(Errno.ENOENT, "not a symbolic link")
        text = hostfs.link_text(file.host_fd) if file.host_fd >= 0 else _link_text(proc, file.path)
    else:
        text = _at(proc, resolve(proc, dirfd, path), lambda where: _link_text(proc, where))
    text = text[:size]
    proc.mem.write(to, text)
    return len(text)


def _link_text(proc: Process, path: bytes) -> bytes:
    where, name = inner(proc, path, follow=False)
    if name is not None:
        return procfs.link(proc, name)
    with proc.fs.node(where, False) as node:
        if node.kind != Mode.S_IFLNK:
            raise GuestError(Errno.EINVAL, "not a symbolic link")
        return hostfs.link_text(node.fd)


@syscall("readlink", "path ptr int", pure=True)
def readlink(proc: Process, path: bytes, to: int, size: int) -> int:
    return _readlink(proc, At.AT_FDCWD, path, to, size)


@syscall("readlinkat", "fd path ptr int", pure=True)
def readlinkat(proc: Process, dirfd: int, path: bytes, to: int, size: int) -> int:
    return _readlink(proc, dirfd, path, to, size)


# -- directories ------------------------------------------------------------------------------------------------------------


@syscall("getcwd", "ptr ulong", pure=True)
def getcwd(proc: Process, to: int, size: int) -> int:
    text = proc.fs.cwd + b"\0"
    if len(text) > size:
        raise GuestError(Errno.ERANGE, f"buffer of {size} bytes")
    proc.mem.write(to, text)
    return len(text)


@syscall("chdir", "path")
def chdir(proc: Process, path: bytes) -> int:
    return _at(proc, resolve(proc, At.AT_FDCWD, path), lambda where: _change_directory(proc, where))


def _change_directory(proc: Process, path: bytes) -> int:
    where, name = inner(proc, path)
    if name is not None:
        if stat_path(proc, where, True).mode & Mode.S_IFMT != Mode.S_IFDIR:
            raise GuestError(Errno.ENOTDIR, "not a directory")
        if name.startswith(b"fd/"):
            where = procfs.link(proc, name)
    if name is None or name.startswith(b"fd/"):
        proc.fs.change_directory(where)
    else:
        proc.fs.cwd = where
    return 0


@syscall("fchdir", "fd")
def fchdir(proc: Process, fd: int) -> int:
    file: OpenFile = proc.files.get(fd)
    if not file.is_directory:
        raise GuestError(Errno.ENOTDIR, f"descriptor {fd}")
    if file.host_fd < 0:
        proc.fs.cwd = file.path
        return 0
    where = proc.fs.guest_path(file.host_fd)
    if not where:
        raise GuestError(Errno.EACCES, f"descriptor {fd} lies nowhere")
    proc.fs.change_directory(where)
    return 0


def _listing(proc: Process, file: OpenFile, room: int) -> list[tuple[int, int, int, bytes]]:
    """The next (inode, offset behind, type, name) of a directory that fit into `room` bytes; more may follow."""
    if file.host_fd < 0:
        at = file.seek(0, 1)
        made: list[tuple[int, int, bytes]] = file.listing()  # type: ignore[attr-defined]
        return [(inode, at + i + 1, kind, name) for i, (inode, kind, name) in enumerate(made[at:])]
    while True:
        found = hostfs.directory_entries(file.host_fd, room)
        shown = [entry for entry in found if _shown(proc, file, entry[3])]
        if shown or not found:
            return shown


def _shown(proc: Process, file: OpenFile, name: bytes) -> bool:
    """Processes of the host are left out of /proc, all but the one the guest is."""
    return not (name.isdigit() and file.path == b"/proc" and not proc.fs.allow_all and name != b"%d" % proc.pid)


@syscall("getdents64", "fd ptr uint")
def getdents64(proc: Process, fd: int, to: int, size: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    if not file.is_directory:
        raise GuestError(Errno.ENOTDIR, f"descriptor {fd}")
    proc.mem.access_ok(to, size)
    before = file.seek(0, 1)
    out = bytearray()
    entries = _listing(proc, file, min(size, 0x1_0000))
    position, bad = before, False
    for inode, offset, kind, name in entries:
        end = len(out) + dirent64_size(name)
        if end > size:
            break
        if proc.mem.accessible(to + len(out), end - len(out), WRITE) < end - len(out):
            bad = True
            break
        out += pack_dirent64(proc.arch, inode, offset, kind, name)
        position = offset
    if bad and not out:
        file.seek(before, 0)
        raise GuestError(Errno.EFAULT, f"{to:#x}")
    proc.mem.write(to, bytes(out))
    if entries and position != entries[-1][1]:
        file.seek(position, 0)
        if not out:
            raise GuestError(Errno.EINVAL, f"no entry fits into {size} bytes")
    elif file.host_fd < 0:
        file.seek(position, 0)
    return len(out)
