"""What mmap makes of an open file: may it be mapped, what stands in the region, which rights the mapping may ever have.

Owns: the checks of mmap that concern the file, in the kernel's order. Must not know addresses, limits, or how mappings are
made. Sources: mm/mmap.c:do_mmap, mm/memfd.c:memfd_check_seals_mmap, drivers/char/mem.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emuvm.abi.errno import Errno
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import GuestError
from emuvm.kernel.shmem import SharedMemory

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile

_READ, _WRITE, _EXEC = 1, 2, 4


class FileMapping(NamedTuple):
    """What a mapping of a file is made of."""

    file: Any
    """The `file` of the region's `mm.types.File`; its offset is the one that was asked for."""
    may: int
    """The access rights that mprotect may ever give: VM_MAYREAD, VM_MAYWRITE, VM_MAYEXEC as PROT_ bits."""
    shared: bool
    """VM_SHARED is set. A shared mapping through a read-only descriptor has VM_MAYSHARE alone."""


def implied_exec(file: OpenFile | None, prot: int) -> int:
    """`prot` under the READ_IMPLIES_EXEC personality: files of noexec mounts are left out."""
    return prot | _EXEC if prot & _READ and (file is None or not file.noexec) else prot


def file_mapping(
    file: OpenFile,
    prot: int,
    offset: int,
    length: int,
    *,
    shared: bool,
    refusal: GuestError | None = None,
    growsdown: bool = False,
) -> FileMapping:
    """Check a mapping of `length` bytes (whole pages, not 0) of a file that was not opened with O_PATH.

    `prot` are the three access bits, READ_IMPLIES_EXEC applied. `refusal` is what the caller has against the type bits, to
    be raised in its place: EINVAL for the type, EOPNOTSUPP for flags that MAP_SHARED_VALIDATE does not know.
    EOVERFLOW the offsets; EACCES the descriptor's mode, an append-only file; EPERM noexec mounts and seals; ENODEV (for
    some files of /proc EIO) what cannot be mapped; EINVAL growsdown.
    """
    if length > file.map_limit or offset > file.map_limit - length:
        raise GuestError(Errno.EOVERFLOW, f"{length:#x} bytes from {offset:#x}")
    if refusal is not None:
        raise refusal
    may, whole = _READ | _WRITE | _EXEC, shared
    if shared:
        if prot & _WRITE and not file.writable():
            raise GuestError(Errno.EACCES, "a shared writable mapping needs a descriptor open for writing")
        if not file.writable():
            may, whole = _READ | _EXEC, False
        elif file.append_only():
            raise GuestError(Errno.EACCES, "the file can only be appended to")
    if not file.readable():
        raise GuestError(Errno.EACCES, "a mapping needs a descriptor open for reading")
    if file.noexec:
        if prot & _EXEC:
            raise GuestError(Errno.EPERM, "the file system is mounted noexec")
        may &= ~_EXEC
    mapped = file.mappable()
    if file.only_shared and not shared:
        raise GuestError(Errno.EINVAL, "it can only be shared")
    if growsdown:
        raise GuestError(Errno.EINVAL, "a file mapping cannot grow down")
    if whole and file.write_sealed():
        if prot & _WRITE:
            raise GuestError(Errno.EPERM, "sealed against writing")
        may &= ~_WRITE
    if whole and file.is_zero:
        # A new object each time, of just this size: with an offset part of the mapping lies behind its end.
        mapped = SharedMemory(length)
    return FileMapping(mapped, may, whole)
