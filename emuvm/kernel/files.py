"""Open files.

Owns: open file descriptions, what dup'ed descriptors share: flags, offset. Must not know descriptors (`filetable`), guest
memory, paths or single system calls. Flags are generic O_ bits (`abi.flags.Open`); data are bytes. Every method raises
GuestError. Sources: fs/file.c, fs/read_write.c, fs/pipe.c.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Mode, Open, Poll, convert_open
from emuvm.abi.structs import Stat
from emuvm.errors import GuestError
from emuvm.kernel import hostfd, hostpipe

_SETTABLE = Open.O_APPEND | Open.O_NONBLOCK | Open.O_DIRECT | Open.O_NOATIME
_NULL, _ZERO, _FULL = 0x103, 0x105, 0x107
"""Device numbers: memory devices 1:3, 1:5, 1:7."""
_CHUNK = 8 << 20
_STREAM_CHUNK = 1 << 20


class OpenFile:
    """An open file description; this base is a file that can do nothing. `path` is the guest path it was opened with."""

    host_fd = -1
    is_directory = False
    is_pipe = False
    is_regular = False
    prompt = False
    """Reading, writing and closing never wait, and need no registers."""
    at_hand = False
    """Its bytes are emuvm's, and nothing maps it: reading them asks and changes nobody."""
    accepts = False
    """Writing takes everything, whatever the limits, and needs nothing but the bytes."""
    discards = False
    """Writing takes everything without looking at it."""
    is_full = False
    """Writing finds no room, whatever the data (/dev/full)."""
    refuses_write = False
    """Its kind cannot be written, whatever it was opened for (no FMODE_CAN_WRITE)."""
    is_huge = False
    """Of huge pages."""
    unit: int = 0
    """Bytes of a record: less is not read (EINVAL)."""
    in_parts = False
    """Of a record that has room in part that part is read; else it is EFAULT. Lost is the rest in both cases."""
    one_by_one = True
    """Of its records one at a time is read."""
    is_zero = False  # it is /dev/zero
    refuses_read = False
    """The same for reading (no FMODE_CAN_READ)."""
    no_offsets = False
    """It has no positions at all (neither FMODE_PREAD nor FMODE_PWRITE)."""
    tells: int = 0xFFFF
    """Those poll(2) bits of its host descriptor that mean something."""
    owner: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Who is told of input: kind, process, and the user ids of who said so (F_SETOWN_EX)."""
    signal: int = 0  # F_SETSIG
    lease: int | None = None
    watchers: frozenset[Any] = frozenset()
    """The epoll files that watch it."""
    watches = False
    """It is one of these."""
    splices = True
    """sendfile(2) and splice(2) can take data from it (f_op->splice_read)."""
    own = False
    """It belongs to the program, not to the host: changing it asks nobody."""
    guarded = False
    """Writing may be refused by what only `admit` knows: the host must not write by itself."""
    noexec = False  # it lies on a mount whose files cannot be executed, nor mapped for it
    map_limit = (1 << 64) - 1
    """The highest offset at which a mapping may end (mm/mmap.c:file_mmap_size_max)."""

    no_pwrite = False
    """It has no positions to write at (FMODE_PWRITE)."""
    created = False  # by being opened
    only_shared = False
    """It cannot be mapped privately."""
    hint: int = 0
    stand_in: Any = None
    """F_SET_RW_HINT, and what locks are held on, of a file that the host does not have (`kernel.standin`)."""

    def __init__(self, flags: int, path: bytes) -> None:
        self.flags = flags
        self.path = path
        self.users = 0
        """Descriptors that refer to it."""
        self.holders = 0
        """Snapshots that may bring it back: it is not closed with its last descriptor."""

    @property
    def name(self) -> bytes:
        """What /proc/self/fd shows."""
        return self.path

    def readable(self) -> bool:
        return self.flags & (Open.O_ACCMODE | Open.O_PATH) in (Open.O_RDONLY, Open.O_RDWR)

    def writable(self) -> bool:
        return self.flags & (Open.O_ACCMODE | Open.O_PATH) in (Open.O_WRONLY, Open.O_RDWR)

    def writes_to(self, identity: tuple[tuple[int, int], int]) -> bool:
        """Does it keep the file of this device and inode number from being executed?"""
        return False

    def status(self) -> int:
        """What F_GETFL tells, in generic bits."""
        return self.flags

    def set_status(self, flags: int) -> None:
        """F_SETFL: only O_APPEND, O_NONBLOCK, O_DIRECT and O_NOATIME change."""
        self.flags = self.flags & ~_SETTABLE | flags & _SETTABLE

    def read(self, length: int) -> bytes:
        """From the offset on, which moves along; empty at the end."""
        raise GuestError(Errno.EINVAL, "cannot be read")

    def write(self, data: bytes) -> int:
        raise GuestError(Errno.EINVAL, "cannot be written")

    def pread(self, length: int, offset: int) -> bytes:
        raise GuestError(Errno.ESPIPE, "has no offsets")

    def pwrite(self, data: bytes, offset: int) -> int:
        raise GuestError(Errno.ESPIPE, "has no offsets")

    def peek(self, length: int) -> bytes:
        """What `read` would give; the offset stays."""
        return self.pread(length, self.seek(0, 1))

    def skip(self, length: int) -> int:
        """Move the offset along by what `peek` gave."""
        self.seek(length, 1)
        return length

    def seek(self, offset: int, whence: int) -> int:
        raise GuestError(Errno.ESPIPE, "has no offsets")

    def truncate(self, length: int) -> None:
        raise GuestError(Errno.EINVAL, "cannot be truncated")

    def check_size(self, length: int) -> None:
        """EPERM when the file must not get this size."""

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2)."""
        raise GuestError(Errno.EOPNOTSUPP, "has no storage")

    def again(self, host_fd: int, flags: int) -> OpenFile:
        """The description of a second opening of the same file of the host."""
        return HostOpenFile(host_fd, flags, self.path)

    def stat(self) -> Stat:
        raise GuestError(Errno.EBADF, "no status")

    def mappable(self) -> Any:
        """What stands in the regions that map it: one object for each open file description, as vm_file. ENODEV."""
        raise GuestError(Errno.ENODEV, "cannot be mapped")

    def admit(self, position: int, length: int) -> int:
        """How much of `length` bytes may be written at `position`; EPERM nothing."""
        return length

    def append_only(self) -> bool:
        """Does the file system let the file be appended to only? Asked for descriptors open for writing."""
        return False

    def write_sealed(self) -> bool:
        """Is it a memfd whose seals forbid new shared writable mappings?"""
        return False

    def check_flags(self, flags: int) -> None:
        """EOPNOTSUPP: RWF_ flags that it does not know, or the host has to be asked."""
        raise GuestError(Errno.EOPNOTSUPP, f"flags {flags:#x}")

    def ready(self) -> int:
        """poll(2) bits of files without a host descriptor: always ready."""
        return Poll.POLLIN | Poll.POLLRDNORM | Poll.POLLOUT | Poll.POLLWRNORM

    def details(self, lines: list[str]) -> list[str]:
        """What fdinfo shows besides position, flags, mount and inode, of which `lines` are the host's."""
        return lines

    def outside(self) -> Any:
        """What of it lies with the host, and goes back with a snapshot; equal values, equal states. None: nothing."""
        return None

    def bring_back(self, kept: Any) -> None:
        """Make that what `outside` told. Its own attributes have gone back already."""

    def close(self) -> None:
        """The last descriptor is closed."""


_EXT4, _XFS, _BTRFS, _TMPFS = 0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994
PLACING = frozenset((_EXT4, _XFS, _BTRFS))
"""File systems that align large mappings to large pages."""
SYNCHRONOUS = frozenset((_EXT4, _XFS))
"""File systems that know MAP_SYNC (FOP_MMAP_SYNC), though only for files on memory devices."""


def filesystem(fd: int) -> int:
    """The magic number of the file system that a host file lies on; 0 where there is none."""
    from emuvm.kernel import hostfs

    try:
        return hostfs.statfs(fd)[0]
    except GuestError:
        return 0


class MappedFile:
    """What stands in a VMA for an open file: it outlives the descriptor. One per open file description, as vm_file."""

    _fd = -1
    inode: Any = None
    """Equal for all objects that map the same memfd."""
    secret = False
    """It is a memfd_secret's."""
    vm_flags = 0
    """Flags that its mappings have by nature."""

    @property
    def restorable(self) -> bool:
        """Is it memory that nobody but the guest sees?"""
        return self.inode is not None

    def __init__(self, fd: int, path: bytes) -> None:
        self._fd = fd
        self.path = path

    def fileno(self) -> int:
        return self._fd

    def size(self) -> int:
        return hostfd.size(self._fd)

    def may_punch(self) -> bool:
        """May pages be taken out of it (MADV_REMOVE)? Not when it is sealed against writing."""
        return self.inode is None or not self.inode.write_sealed

    @cached_property
    def in_memory(self) -> bool:
        """Is it a file of a file system in memory, whose holes have no pages until they are read?"""
        return filesystem(self._fd) == _TMPFS

    @cached_property
    def places_itself(self) -> bool:
        """Does its file system search for addresses itself, to align large mappings (thp_get_unmapped_area)?"""
        return filesystem(self._fd) in PLACING

    def stat(self) -> Stat:
        """Its status: device and inode number as in /proc/self/maps."""
        return hostfd.stat(self._fd)

    @cached_property
    def identity(self) -> tuple[tuple[int, int], int]:
        """(device, inode number), which an open file keeps."""
        found = hostfd.stat(self._fd)
        return found.dev, found.ino

    def __del__(self) -> None:
        if self._fd >= 0:
            hostfd.close(self._fd)


class ZeroDevice:
    """/dev/zero in a region of private memory: it gives its name, the memory is plain (drivers/char/mem.c:mmap_zero)."""

    places_itself = True

    def __init__(self, path: bytes, stat: Stat) -> None:
        self.path = path
        self._stat = stat

    def stat(self) -> Stat:
        return self._stat


class HostOpenFile(OpenFile):
    """A file of the host. Owns the descriptor `host_fd`; the offset is the host's, so that whoever shares it sees it move."""

    def __init__(self, host_fd: int, flags: int, path: bytes) -> None:
        super().__init__(flags, path)
        self.host_fd = host_fd
        self._mode, self._device = hostfd.kind(host_fd)
        self._kind = self._mode & Mode.S_IFMT
        self.is_directory = self._kind == Mode.S_IFDIR
        self.is_pipe = self._kind == Mode.S_IFIFO
        self.is_regular = self._kind == Mode.S_IFREG
        memory_device = self._device if self._kind == Mode.S_IFCHR else 0
        self.discards = memory_device in (_NULL, _ZERO, _FULL)
        self.is_full = memory_device == _FULL
        self.is_null = memory_device == _NULL
        self.is_zero = memory_device == _ZERO
        self.prompt = self.is_regular or self.discards
        self._fills = self.is_regular or memory_device >> 8 == 1
        self._mapped: MappedFile | ZeroDevice | None = None

    @property
    def name(self) -> bytes:
        return self.path or hostfd.link(self.host_fd)

    def writes_to(self, identity: tuple[tuple[int, int], int]) -> bool:
        if not self.is_regular or not self.writable():
            return False
        found = hostfd.stat(self.host_fd)
        return (found.dev, found.ino) == identity

    def status(self) -> int:
        now = convert_open(hostfd.control(self.host_fd, hostfd.F_GETFL), hostfd.HOST_OPEN, Open)
        return self.flags & ~_SETTABLE | now & _SETTABLE

    def set_status(self, flags: int) -> None:
        super().set_status(flags)
        now = hostfd.control(self.host_fd, hostfd.F_GETFL)
        settable = convert_open(_SETTABLE, Open, hostfd.HOST_OPEN)
        hostfd.control(self.host_fd, hostfd.F_SETFL, now & ~settable | convert_open(flags & _SETTABLE, Open, hostfd.HOST_OPEN))

    def outside(self) -> Any:
        """A file for reading: its offset. The program's own pipe: what waits in it."""
        if self.is_pipe and self.own and self.readable():
            return hostpipe.peek(self.host_fd)
        return self.seek(0, 1) if self.is_regular and self.readable() and not self.no_offsets else None

    def bring_back(self, kept: Any) -> None:
        if self.is_pipe:
            hostpipe.refill(self.host_fd, kept)
        else:
            self.seek(kept, 0)

    def read(self, length: int) -> bytes:
        if self.is_directory:
            raise GuestError(Errno.EISDIR, "a directory")
        if not self._fills:
            return hostfd.read(self.host_fd, min(length, _STREAM_CHUNK))
        if length <= _CHUNK:
            return hostfd.read(self.host_fd, length)
        parts: list[bytes] = []
        while length:
            part = hostfd.read(self.host_fd, min(length, _CHUNK))
            parts.append(part)
            length -= len(part)
            if len(part) < _CHUNK:
                break
        return b"".join(parts)

    def write(self, data: bytes) -> int:
        return hostfd.write(self.host_fd, data)

    def pread(self, length: int, offset: int) -> bytes:
        if self.is_directory:
            raise GuestError(Errno.EISDIR, "a directory")
        parts: list[bytes] = []
        while True:
            part = hostfd.pread(self.host_fd, min(length, _CHUNK), offset)
            parts.append(part)
            length -= len(part)
            offset += len(part)
            if not length or len(part) < _CHUNK:
                return b"".join(parts)

    def pwrite(self, data: bytes, offset: int) -> int:
        return hostfd.pwrite(self.host_fd, data, offset)

    def seek(self, offset: int, whence: int) -> int:
        return hostfd.lseek(self.host_fd, offset, whence)

    def truncate(self, length: int) -> None:
        if self.own:
            self.check_size(length)
        hostfd.ftruncate(self.host_fd, length)

    def check_allocate(self, mode: int, end: int) -> None:
        """EPERM, EOPNOTSUPP when the file must not be changed so."""

    def allocate(self, mode: int, offset: int, length: int) -> None:
        self.check_allocate(mode, offset + length)
        hostfd.allocate(self.host_fd, mode, offset, length)

    def stat(self) -> Stat:
        return hostfd.stat(self.host_fd)

    @cached_property
    def map_limit(self) -> int:  # type: ignore[override]
        return (1 << 63) - 1 if self._kind in (Mode.S_IFREG, Mode.S_IFBLK, Mode.S_IFSOCK) else (1 << 64) - 1

    @cached_property
    def _mapping(self) -> tuple[bool, int]:
        """(noexec, errno of an attempt to map it), by the host's word: it alone knows its file systems."""
        return hostfd.try_mapping(self.host_fd)

    @property
    def noexec(self) -> bool:  # type: ignore[override]
        return self._mapping[0]

    def append_only(self) -> bool:
        return self.is_regular and hostfd.append_only(self.host_fd)

    def mappable(self) -> MappedFile | ZeroDevice:
        if self._mapped is None:
            if not (self.is_regular or self.is_zero) or self._mapping[1]:
                raise GuestError(Errno.EIO if self._mapping[1] == Errno.EIO else Errno.ENODEV, "cannot be mapped")
            if self.is_zero:
                self._mapped = ZeroDevice(self.name, self.stat())
            else:
                self._mapped = MappedFile(hostfd.duplicate(self.host_fd), self.name)
        return self._mapped

    def close(self) -> None:
        hostfd.close(self.host_fd)
        self.host_fd = -1
        self._mapped = None
