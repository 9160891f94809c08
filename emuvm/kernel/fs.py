"""What a guest may do with the host's files: policy, and from guest paths to handles.

Owns: the root, the current directory, which files may be opened or changed. Must not know system calls or guest memory.

    path -> absolute (text) -> /proc of the guest itself?  -> emuvm.kernel.procfs
                            -> hostfs.Root.handle          -> Node: handle and status; where it really lies decides

The host is read-only: a change needs `--rw DIR` with the changed place really inside DIR, or `--allow-all`. Whatever the
spelling of a path, files of /proc that tell of host processes are out of reach: where a look-up led is asked, not what it
was called. Devices other than the harmless ones cannot be opened. Errors come in the order of a read-only file system
(fs/namei.c); every method raises GuestError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Mode, Open, convert_open
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import GuestError
from emuvm.kernel import hostfd, hostfs
from emuvm.kernel.files import HostOpenFile
from emuvm_loaders import FileSource, Source

if TYPE_CHECKING:
    from emuvm.kernel.report import Reporter

PATH_MAX = 4096
NAME_MAX = 255
HARMLESS = frozenset(((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)))
"""null, zero, full, random, urandom, tty: opened and written by anybody."""
_HIDDEN = frozenset((b"self", b"thread-self", b"kcore", b"kmsg", b"kpagecgroup", b"kpagecount", b"kpageflags"))
_LINKS = 40
_STATUS = Open.O_ACCMODE | Open.O_APPEND | Open.O_NONBLOCK | Open.O_DSYNC | Open.O_SYNC | Open.O_DIRECT | Open.O_NOATIME | Open.O_PATH
_REOPEN = _STATUS & ~Open.O_PATH | Open.O_TRUNC | Open.O_DIRECTORY
_KEPT = _STATUS | Open.O_DIRECTORY | Open.O_NOFOLLOW
"""What F_GETFL shows of the flags of open."""
PATH_FLAGS = Open.O_PATH | Open.O_DIRECTORY | Open.O_NOFOLLOW
"""What it shows with O_PATH."""


class Node:
    """A handle on what a path led to, with its status; closed at the end of a `with`."""

    __slots__ = ("fd", "info")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.info = hostfs.status(fd)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        hostfs.close(self.fd)

    @property
    def kind(self) -> int:
        """The S_IFMT bits."""
        return self.info.st_mode & Mode.S_IFMT

    @property
    def device(self) -> tuple[int, int]:
        return hostfd.decode_device(self.info.st_rdev)


class Hidden(GuestError):
    """A path led into the directory of a process in the host's /proc, which is ENOENT; `where` is the guest path it led to."""

    def __init__(self, where: bytes) -> None:
        super().__init__(Errno.ENOENT, "a process of the host")
        self.where = where


class Place(NamedTuple):
    """A name in a directory: where a file is made or removed. Close `parent.fd`, or use `with place.parent`."""

    parent: Node
    name: bytes


class Filesystem:
    """Files as one run sees them. `root` is a host directory, `writable` guest directories."""

    source: type[FileSource] = FileSource
    """How a program's file is opened."""

    def __init__(self, root: str, writable: tuple[str, ...], allow_all: bool, reporter: Reporter) -> None:
        self.root = hostfs.Root(root)
        self.allow_all = allow_all
        self.umask = hostfs.umask()
        self._reporter = reporter
        self.cwd = self.root.inside(hostfs.working_directory()) or b"/"
        """Guest path of the current directory: absolute, without links, dots or a slash at the end."""
        self.program: tuple[int, int] | None = None
        """Device and inode number of the program that runs, whose file is not written to."""
        self._writable: list[bytes] = []
        for name in writable:
            try:
                with self.node(self.absolute(name.encode(errors="surrogateescape")), directory=True) as node:
                    self._writable.append(hostfd.link(node.fd))
            except GuestError as error:
                raise GuestError(error.errno, f"--rw {name}: {error.why or error.errno.name}") from None

    # -- paths ------------------------------------------------------------------------------------------------------------

    def absolute(self, path: bytes, base: bytes | None = None) -> bytes:
        """A guest path from `base` (default: the current directory) on; dots are left for the look-up."""
        if not path:
            raise GuestError(Errno.ENOENT, "empty path")
        if not path.startswith(b"/"):
            path = (self.cwd if base is None else base).rstrip(b"/") + b"/" + path
        return path

    def guest_path(self, fd: int) -> bytes:
        """Where a handle lies, as the guest names it; empty when that is outside its root."""
        return self.root.inside(hostfd.link(fd))

    def node(self, path: bytes, follow: bool = True, directory: bool = False) -> Node:
        """What an absolute path leads to. ENOENT also for what the guest must not see (`Hidden`)."""
        try:
            node = Node(self.root.handle(path, follow, directory))
        except GuestError as error:
            if error.errno == Errno.ELOOP and follow:
                self._link_to_proc(path)
            raise
        if node.info.st_dev == self.root.proc_device and not self._visible(node):
            where = self.guest_path(node.fd)
            hostfs.close(node.fd)
            raise Hidden(where)
        return node

    def _link_to_proc(self, path: bytes) -> None:
        """`Hidden` for a symbolic link to one of the links in /proc that lead to files, which the host is not to follow."""
        with Node(self.root.handle(path.rstrip(b"/"), False)) as node:
            text = hostfs.link_text(node.fd) if node.kind == Mode.S_IFLNK else b""
        if text.startswith((b"/proc/self/", b"/proc/thread-self/")):
            raise Hidden(text)

    def _visible(self, node: Node) -> bool:
        """Files of /proc that belong to a process of the host are not, nor the host's memory, whichever way they were found."""
        words = self.guest_path(node.fd).split(b"/")
        suspects = words[2:3] if words[1:2] == [b"proc"] else words
        return self.allow_all or not any(word.isdigit() or word in _HIDDEN for word in suspects)

    def place(self, path: bytes) -> Place:
        """The directory of an absolute path's last name, and that name, slashes behind it included."""
        bare = path.rstrip(b"/")
        head, _, name = bare.rpartition(b"/")
        if not name:
            name = b"."
        if len(name) > NAME_MAX:
            raise GuestError(Errno.ENAMETOOLONG, "name")
        return Place(self.node(head or b"/", directory=True), name + path[len(bare) :])

    # -- policy -----------------------------------------------------------------------------------------------------------

    def may_change(self, fd: int) -> bool:
        """May the file or directory behind a handle be changed?"""
        if self.allow_all:
            return True
        where = hostfd.link(fd)
        return any(where == base or base == b"/" or where.startswith(base + b"/") for base in self._writable)

    def changing(self, fd: int, path: bytes) -> None:
        """EROFS, with a hint once, unless what lies behind the handle may be changed."""
        if not self.may_change(fd):
            self.refused(path)

    def running(self, source: Any) -> None:
        """From now on this is the program that runs."""
        fileno = getattr(source, "fileno", None)
        info = None if fileno is None else hostfs.status(fileno())
        self.program = None if info is None else (info.st_dev, info.st_ino)

    def not_running(self, fd: int, flags: int = Open.O_WRONLY) -> None:
        """ETXTBSY for the file of the program that runs, to be opened for writing by who may do that (get_write_access)."""
        if flags & Open.O_ACCMODE in (Open.O_WRONLY, Open.O_RDWR) or flags & Open.O_TRUNC:
            info = hostfs.status(fd)
            if self.program == (info.st_dev, info.st_ino) and hostfs.may(fd, 2, effective=True):
                raise GuestError(Errno.ETXTBSY, "the program that runs")

    def refused(self, path: bytes) -> None:
        """EROFS for a path."""
        shown = path.decode("utf-8", "backslashreplace")
        self._reporter.once("erofs", f"{shown!r}: the host's files are read-only for the program; --rw DIR lets it write below DIR")
        raise GuestError(Errno.EROFS, shown)

    # -- opening ----------------------------------------------------------------------------------------------------------

    def open(self, path: bytes, flags: int, mode: int, mask: int) -> HostOpenFile:
        """Open an absolute path; flags are generic O_ bits. fs/namei.c:path_openat."""
        if flags & Open.O_TMPFILE == Open.O_TMPFILE:
            return self._unnamed(path, flags, mode, mask)
        creating = bool(flags & Open.O_CREAT) and not flags & Open.O_PATH
        follow = not (flags & Open.O_NOFOLLOW or (creating and flags & Open.O_EXCL))
        if creating and path.endswith(b"/"):
            with self.place(path).parent:
                pass  # it is looked up first
            raise GuestError(Errno.EISDIR, "a directory cannot be created by open")
        try:
            node = self.node(path, follow, bool(flags & Open.O_DIRECTORY) and not creating)
        except GuestError as error:
            if error.errno != Errno.ENOENT or not creating:
                raise
            return self._create(path, flags, mode, mask)
        try:
            if creating and flags & Open.O_EXCL:
                raise GuestError(Errno.EEXIST, "exists already")
            if flags & Open.O_PATH:
                file = HostOpenFile(node.fd, flags & PATH_FLAGS, self.guest_path(node.fd))
                node.fd = -1
                return file
            return self._reopen(node, path, flags, creating)
        finally:
            if node.fd >= 0:
                hostfs.close(node.fd)

    def _reopen(self, node: Node, path: bytes, flags: int, creating: bool) -> HostOpenFile:
        wants_write = flags & Open.O_ACCMODE != Open.O_RDONLY or bool(flags & Open.O_TRUNC)
        harmless = node.kind == Mode.S_IFCHR and node.device in HARMLESS
        if node.kind == Mode.S_IFLNK:
            raise GuestError(Errno.ELOOP, "a symbolic link")
        if node.kind == Mode.S_IFDIR and (wants_write or creating):
            raise GuestError(Errno.EISDIR, "a directory")
        if node.kind in (Mode.S_IFCHR, Mode.S_IFBLK) and not (harmless or self.allow_all):
            raise GuestError(Errno.EACCES, "a device of the host")
        if wants_write and not harmless and node.kind != Mode.S_IFSOCK:
            self.changing(node.fd, path)
            self.not_running(node.fd, flags)
        fd = hostfs.reopen(node.fd, convert_open(flags & _REOPEN, Open, hostfd.HOST_OPEN))
        return HostOpenFile(fd, flags & _KEPT | Open.O_LARGEFILE, self.guest_path(node.fd))

    def _create(self, path: bytes, flags: int, mode: int, mask: int) -> HostOpenFile:
        """The last name does not exist, or is a link to nothing, which is followed."""
        for _ in range(_LINKS):
            parent, name = self.place(path)
            with parent:
                text = None if flags & (Open.O_EXCL | Open.O_NOFOLLOW) else hostfs.link_in(parent.fd, name)
                if text is None:
                    self.changing(parent.fd, path)
                    host = convert_open(flags & (_STATUS | Open.O_EXCL | Open.O_TRUNC), Open, hostfd.HOST_OPEN)
                    fd = hostfs.create(parent.fd, name, host, mode & 0o7777, mask)
                    file = HostOpenFile(fd, flags & _KEPT | Open.O_LARGEFILE, self.guest_path(fd))
                    file.created = True
                    return file
                path = self.absolute(text, self.guest_path(parent.fd) or b"/")
        raise GuestError(Errno.ELOOP, "too many links")

    def _unnamed(self, path: bytes, flags: int, mode: int, mask: int) -> HostOpenFile:
        with self.node(path, directory=True) as node:
            if flags & Open.O_ACCMODE == Open.O_RDONLY:
                raise GuestError(Errno.EINVAL, "O_TMPFILE needs write access")
            self.changing(node.fd, path)
            fd = hostfs.unnamed(node.fd, convert_open(flags & _STATUS, Open, hostfd.HOST_OPEN), mode & 0o7777, mask)
            return HostOpenFile(fd, flags & _KEPT | Open.O_TMPFILE | Open.O_LARGEFILE, self.guest_path(fd))

    def open_program(self, path: bytes) -> tuple[Source, bytes]:
        """The file at a guest path, and its path without links. GuestError as execve (fs/exec.c:do_open_execat)."""
        with self.node(self.absolute(path)) as node:
            return self._program(node, path)

    def program_of(self, host_fd: int, path: bytes) -> tuple[Source, bytes]:
        """The same for a file that is open already: fexecve(3)."""
        with Node(hostfd.duplicate(host_fd)) as node:
            return self._program(node, path)

    def _program(self, node: Node, path: bytes) -> tuple[Source, bytes]:
        if node.kind == Mode.S_IFDIR:
            raise GuestError(Errno.EACCES, "is a directory")
        if node.kind != Mode.S_IFREG:
            raise GuestError(Errno.EACCES, "not a regular file")
        if not hostfs.may(node.fd, 1):
            raise GuestError(Errno.EACCES, "may not be executed")
        try:
            source = self.source(f"/proc/self/fd/{node.fd}")
        except OSError as error:
            raise GuestError(Errno.EACCES, error.strerror or "cannot be read") from None
        real = self.guest_path(node.fd) or path
        source.path = real.decode(errors="surrogateescape")
        return source, real

    def change_directory(self, path: bytes) -> None:
        """chdir(2) to an absolute path."""
        with self.node(path, directory=True) as node:
            if not hostfs.may(node.fd, 1, effective=True):
                raise GuestError(Errno.EACCES, "may not be entered")
            self.cwd = self.guest_path(node.fd) or b"/"

    def close(self) -> None:
        """Let go of the root. Paths cannot be looked up any more."""
        self.root.close()
