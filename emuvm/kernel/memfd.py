"""Files in memory that memfd_create makes: their seals.

Owns: what seals forbid of an open memfd, and how they are added. Must not know guest memory; who maps a file is told by the
caller. The file itself is a memfd of the host; the seals are kept here, because what emuvm maps on the host is not what the
guest has mapped, and because the host's cannot be taken back when a process goes back to what it was. Sources: mm/memfd.c, mm/shmem.c.
"""

from __future__ import annotations

from typing import Any

from emuvm.abi.controls import Fd, Seal
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open
from emuvm.abi.structs import Stat
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.files import HostOpenFile
from emuvm.kernel.shmem import HugeMemory
from emuvm.mm.types import VmFlag

X_BITS = 0o111
_IMPLIED = Seal.F_SEAL_SHRINK | Seal.F_SEAL_GROW | Seal.F_SEAL_WRITE | Seal.F_SEAL_FUTURE_WRITE
_NO_WRITE = Seal.F_SEAL_WRITE | Seal.F_SEAL_FUTURE_WRITE
_PAGE, _SIZE_SHIFT = 4096, 26


class Sealed:
    """The seals of one memfd, however often it is open."""

    def __init__(self, seals: int) -> None:
        self.seals = seals

    @property
    def write_sealed(self) -> bool:
        """Do they forbid all further writing?"""
        return bool(self.seals & _NO_WRITE)


class MemFile(HostOpenFile):
    """An open memfd; also what regions hold tells by `owns` whether it maps this one."""

    own = True
    original = False
    """It is what memfd_create made, which does not count as open for writing (fs/file_table.c:alloc_file_pseudo)."""

    def __init__(self, host_fd: int, flags: int, path: bytes, inode: Sealed) -> None:
        super().__init__(host_fd, flags, path)
        self.inode = inode

    def again(self, host_fd: int, flags: int) -> MemFile:
        return MemFile(host_fd, flags, self.path, self.inode)

    def mappable(self) -> Any:
        mapped: Any = super().mappable()
        mapped.inode = self.inode
        return mapped

    def writes_to(self, identity: tuple[tuple[int, int], int]) -> bool:
        return not self.original and super().writes_to(identity)

    def write_sealed(self) -> bool:
        return self.inode.write_sealed

    # -- what seals forbid --------------------------------------------------------------------------------------------------

    @property
    def guarded(self) -> bool:  # type: ignore[override]
        return bool(self.inode.seals & (_NO_WRITE | Seal.F_SEAL_GROW))

    def admit(self, position: int, length: int) -> int:
        seals = self.inode.seals
        if not length or not seals & (_NO_WRITE | Seal.F_SEAL_GROW):
            return length
        if seals & _NO_WRITE:
            raise GuestError(Errno.EPERM, "sealed against writing")
        size = hostfd.size(self.host_fd)
        if position + length <= size:
            return length
        # Written page by page: those before the one that would grow the file.
        fits = size // _PAGE * _PAGE - position
        if fits <= 0:
            raise GuestError(Errno.EPERM, "sealed against growing")
        return fits

    def check_size(self, length: int) -> None:
        size = hostfd.size(self.host_fd)
        seals = self.inode.seals
        if length < size and seals & Seal.F_SEAL_SHRINK or length > size and seals & Seal.F_SEAL_GROW:
            raise GuestError(Errno.EPERM, "sealed against another size")

    def check_allocate(self, mode: int, end: int) -> None:
        if mode & ~(Fd.FALLOC_FL_KEEP_SIZE | Fd.FALLOC_FL_PUNCH_HOLE):
            raise GuestError(Errno.EOPNOTSUPP, f"mode {mode:#x}")
        if mode & Fd.FALLOC_FL_PUNCH_HOLE:
            if not mode & Fd.FALLOC_FL_KEEP_SIZE:
                raise GuestError(Errno.EOPNOTSUPP, "a hole that changes the size")
            if self.write_sealed():
                raise GuestError(Errno.EPERM, "sealed against writing")
        elif self.inode.seals & Seal.F_SEAL_GROW and end > hostfd.size(self.host_fd):
            raise GuestError(Errno.EPERM, "sealed against growing")

    # -- fcntl --------------------------------------------------------------------------------------------------------------

    def add_seals(self, seals: int, mapped_writable: bool) -> None:
        """F_ADD_SEALS. `mapped_writable`: there is a shared mapping that is, or could be made, writable (EBUSY)."""
        if not self.writable():
            raise GuestError(Errno.EPERM, "not open for writing")
        if seals & ~Seal.F_ALL_SEALS:
            raise GuestError(Errno.EINVAL, f"seals {seals:#x}")
        present = self.inode.seals
        if present & Seal.F_SEAL_SEAL:
            raise GuestError(Errno.EPERM, "sealed against seals")
        if seals & Seal.F_SEAL_EXEC and self.stat().mode & X_BITS:
            seals |= _IMPLIED
        if seals & Seal.F_SEAL_WRITE and not present & Seal.F_SEAL_WRITE and mapped_writable:
            raise GuestError(Errno.EBUSY, "mapped shared and writable")
        self.inode.seals = present | seals


def create(name: bytes, flags: int) -> MemFile:
    """A new memfd (mm/memfd.c:memfd_create) under vm.memfd_noexec=0; the flags were checked. GuestError as the host's."""
    fd = hostfd.memfd_create(name, flags & ~(Fd.MFD_EXEC | Fd.MFD_NOEXEC_SEAL) | Fd.MFD_CLOEXEC | Fd.MFD_ALLOW_SEALING)
    seals = 0 if flags & Fd.MFD_ALLOW_SEALING else Seal.F_SEAL_SEAL
    if flags & Fd.MFD_NOEXEC_SEAL:
        hostfd.change_mode(fd, 0o666)
        seals = Seal.F_SEAL_EXEC
    mode, path = Open.O_RDWR | Open.O_LARGEFILE, b"/memfd:" + name + b" (deleted)"
    if flags & Fd.MFD_HUGETLB:
        return HugeFile(fd, mode, path, Sealed(seals), huge=1 << (flags >> _SIZE_SHIFT & 63 or 21))
    file = MemFile(fd, mode, path, Sealed(seals))
    file.original = True
    return file


class HugeFile(MemFile):
    """A memfd of huge pages, of which none are reserved."""

    refuses_write = is_huge = True

    def __init__(self, host_fd: int, flags: int, path: bytes, inode: Sealed, *, huge: int) -> None:
        super().__init__(host_fd, flags, path, inode)
        self.huge = huge

    def again(self, host_fd: int, flags: int) -> HugeFile:
        return HugeFile(host_fd, flags, self.path, self.inode, huge=self.huge)

    def check_size(self, length: int) -> None:
        if length & self.huge - 1:
            raise GuestError(Errno.EINVAL, "not a size of huge pages")
        super().check_size(length)

    def mappable(self) -> Any:
        """Whoever maps it finds no pages."""
        if self._mapped is None:
            self._mapped = HugeMemory(self.huge, self.path)
        return self._mapped

    def grow(self, length: int) -> None:
        """A writable mapping makes the file at least so long (fs/hugetlbfs/inode.c:hugetlbfs_file_mmap)."""
        if length > hostfd.size(self.host_fd):
            hostfd.ftruncate(self.host_fd, length)


class SecretFile(MemFile):
    """A memfd_secret: it can only be mapped, and gets its size once (mm/secretmem.c)."""

    refuses_read = refuses_write = no_offsets = only_shared = original = True
    noexec = True
    splices = False

    def again(self, host_fd: int, flags: int) -> MemFile:
        hostfd.close(host_fd)
        raise GuestError(Errno.ENXIO, "it is not opened")

    def seek(self, offset: int, whence: int) -> int:
        raise GuestError(Errno.ESPIPE, "has no offsets")

    def check_size(self, length: int) -> None:
        if hostfd.size(self.host_fd):
            raise GuestError(Errno.EINVAL, "it has its size already")

    def allocate(self, mode: int, offset: int, length: int) -> None:
        raise GuestError(Errno.EOPNOTSUPP, "it has no storage")

    def stat(self) -> Stat:
        return super().stat()._replace(nlink=1)

    def mappable(self) -> Any:
        mapped = super().mappable()
        mapped.secret, mapped.vm_flags = True, VmFlag.LOCKED | VmFlag.DONTDUMP
        return mapped


def create_secret() -> SecretFile:
    fd = hostfd.memfd_create(b"secretmem", Fd.MFD_CLOEXEC)
    hostfd.change_mode(fd, 0o600)
    return SecretFile(fd, Open.O_RDWR | Open.O_LARGEFILE, b"/secretmem (deleted)", Sealed(Seal.F_SEAL_SEAL))
