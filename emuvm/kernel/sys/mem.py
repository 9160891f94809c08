"""The memory system calls: raw bits in, `mm` requests out.

Owns: decoding of MAP_, PROT_, MREMAP_, MADV_ and MS_ bits, and what becomes of a host that refuses. Must not know how mappings are
made, nor what a file allows (`kernel.filemap`). Order of the checks: mm/mmap.c, mm/mprotect.c, mm/msync.c, Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from emuvm.abi.controls import Prctl
from emuvm.abi.errno import Errno
from emuvm.abi.flags_mm import MAP_DROPPABLE, Map, Memory, Prot, map_for, prot_for
from emuvm.abi.ipc import Ipc
from emuvm.errors import EngineError, GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.usermem import Deferred
from emuvm.mm import rules
from emuvm.mm.layout import HUGE
from emuvm.mm.linux import Backed, MapRequest
from emuvm.mm.types import File, Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_F = TypeVar("_F", bound=Callable[..., int])
_bits: dict[str, tuple[type[Map], type[Prot]]] = {}
_TAGGED = frozenset(("arm64",))
"""Architectures whose kernel strips the top byte off the addresses of all calls but mmap."""
_HUGE_SHIFT = 21
_LOCKED = int(VmFlag.LOCKED)
_MUCH = 1 << 20
"""From this many bytes on it is noted how much memory was in use before it goes."""


def untagged(proc: Process, addr: int) -> int:
    """untagged_addr: sign-extends from bit 55 on arm64, which is what user addresses need."""
    if proc.arch.name in _TAGGED and not addr >> 55 & 1:
        return addr & (1 << 56) - 1
    return addr


def enomem(handler: _F) -> _F:
    """A host or an engine that refuses is a kernel without memory: nothing has changed, and the guest is told ENOMEM."""

    @wraps(handler)
    def call(*args: Any) -> int:
        try:
            return handler(*args)
        except EngineError as error:
            raise GuestError(Errno.ENOMEM, str(error)) from error
        except MemoryError as error:
            raise GuestError(Errno.ENOMEM, "no memory for the change") from error

    return call  # type: ignore[return-value]


def _constants(proc: Process) -> tuple[type[Map], type[Prot]]:
    name = proc.arch.name
    found = _bits.get(name)
    if found is None:
        found = _bits[name] = (map_for(name), prot_for(name))
    return found


# -- mmap -------------------------------------------------------------------------------------------------------------------


@syscall("mmap", "ptr size ulong ulong fd off", note="MAP_HUGETLB: there are no huge pages to be touched", pure=True)
@enomem
def mmap(proc: Process, addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    bits, _ = _constants(proc)
    if offset & proc.space.page_size - 1:
        raise GuestError(Errno.EINVAL, "offset is not page aligned")
    return _mmap(proc, bits, addr, length, prot, flags, fd, offset & (1 << 64) - 1)


@syscall("mmap2", "ptr size ulong ulong fd ulong")
@enomem
def mmap2(proc: Process, addr: int, length: int, prot: int, flags: int, fd: int, pages: int) -> int:
    bits, _ = _constants(proc)
    return _mmap(proc, bits, addr, length, prot, flags, fd, pages << 12)


def _mmap(proc: Process, bits: type[Map], addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    file = None if flags & bits.MAP_ANONYMOUS else proc.files.opened(fd)
    if file is not None and file.is_huge:
        return _huge(proc, bits, addr, length, prot, flags, offset, file.huge, file)
    if flags & bits.MAP_HUGETLB:
        if file is not None:
            raise GuestError(Errno.EINVAL, "MAP_HUGETLB is for files of hugetlbfs")
        shift = flags >> bits.MAP_HUGE_SHIFT & bits.MAP_HUGE_MASK or _HUGE_SHIFT
        if shift not in (_HUGE_SHIFT, 30):
            raise GuestError(Errno.EINVAL, f"no huge pages of 2**{shift} bytes")
        return _huge(proc, bits, addr, length, prot, flags, offset, 1 << shift)
    rights = prot & 7
    if rights & 1 and proc.personality & Prctl.READ_IMPLIES_EXEC and (file is None or not file.noexec):
        rights |= 4
    kind = flags & bits.MAP_TYPE
    shared = kind in (bits.MAP_SHARED, bits.MAP_SHARED_VALIDATE)
    growsdown = bool(flags & bits.MAP_GROWSDOWN)
    request = MapRequest(
        addr,
        length,
        rights,
        shared=shared,
        fixed=bool(flags & (bits.MAP_FIXED | bits.MAP_FIXED_NOREPLACE)),
        replace=not flags & bits.MAP_FIXED_NOREPLACE,
        growsdown=growsdown,
        noreserve=bool(flags & bits.MAP_NORESERVE),
        stack=bool(flags & bits.MAP_STACK),
        low_2g=bool(flags & bits.MAP_32BIT),
        above_4g=bool(flags & bits.MAP_ABOVE4G),
        locked=bool(flags & bits.MAP_LOCKED),
        populate=flags & (bits.MAP_POPULATE | bits.MAP_NONBLOCK) == bits.MAP_POPULATE,
        vm_flags=VmFlag.SYNC if flags & bits.MAP_SYNC else 0,
    )
    if file is not None:
        return _map_file(proc, bits, file, request, flags, offset)
    if kind == bits.MAP_PRIVATE:
        return proc.mm.mmap(request)
    if kind == MAP_DROPPABLE and proc.mm.kernel >= (6, 11):
        extra = VmFlag.DROPPABLE | VmFlag.NORESERVE | VmFlag.WIPEONFORK | VmFlag.DONTDUMP
        request = request._replace(vm_flags=request.vm_flags | extra)
        return proc.mm.mmap(request._replace(open_backing=_not_droppable) if flags & bits.MAP_LOCKED or growsdown else request)
    return proc.mm.mmap(request._replace(open_backing=lambda: _shared_anonymous(proc, kind == bits.MAP_SHARED, request)))


def _not_droppable() -> Backed:
    raise GuestError(Errno.EINVAL, "droppable memory is not locked and does not grow")


def _huge(
    proc: Process, bits: type[Map], addr: int, length: int, prot: int, flags: int, offset: int, size: int, file: Any = None
) -> int:
    """Huge pages on a machine without any (fs/hugetlbfs/inode.c:hugetlb_get_unmapped_area and hugetlbfs_file_mmap): ENOMEM where they
    are reserved, with MAP_NORESERVE an area whose pages cannot be touched.
    """
    mask, fixed = size - 1, bool(flags & (bits.MAP_FIXED | bits.MAP_FIXED_NOREPLACE))
    length = length + mask & ~mask & (1 << 64) - 1
    if fixed and addr & mask and len(proc.space) <= proc.mm.limits.max_map_count and 0 < length <= proc.arch.task_size:
        raise GuestError(Errno.EINVAL, "not aligned to huge pages")

    def open_backing() -> Backed:
        refusal = _type_refusal(bits, flags)
        if file is not None:
            from emuvm.kernel.filemap import file_mapping

            found = file_mapping(file, rights, offset, length, shared=shared, refusal=refusal, growsdown=bool(flags & bits.MAP_GROWSDOWN))
            return Backed(File(found.file, offset), found.may, found.shared)
        if offset > (1 << 63) - 1 - length:
            raise GuestError(Errno.EOVERFLOW, "no file is so long")
        if refusal is None and flags & bits.MAP_GROWSDOWN:
            refusal = GuestError(Errno.EINVAL, "huge pages do not grow")
        if refusal is not None:
            raise refusal
        from emuvm.kernel.shmem import HugeMemory

        return Backed(File(HugeMemory(size), offset))

    rights = prot & 7 | (4 if prot & 1 and proc.personality & Prctl.READ_IMPLIES_EXEC else 0)
    replace, locked = not flags & bits.MAP_FIXED_NOREPLACE, bool(flags & bits.MAP_LOCKED)
    late = None if flags & bits.MAP_NORESERVE else GuestError(Errno.ENOMEM, "no huge pages")
    if offset & mask:
        late = GuestError(Errno.EINVAL, "the offset is not one of huge pages")
    shared = flags & bits.MAP_TYPE in (bits.MAP_SHARED, bits.MAP_SHARED_VALIDATE)
    where = MapRequest(addr, length, rights, shared=shared, low_2g=bool(flags & bits.MAP_32BIT), above_4g=bool(flags & bits.MAP_ABOVE4G))
    at = proc.mm.mmap(
        where._replace(
            fixed=fixed, replace=replace, locked=locked, open_backing=open_backing, late=late, huge=size, has_file=True, offset=offset,
            vm_flags=int(VmFlag.HUGETLB | VmFlag.DONTEXPAND | VmFlag.NORESERVE),
            populate=flags & (bits.MAP_POPULATE | bits.MAP_NONBLOCK) == bits.MAP_POPULATE,
        )
    )  # fmt: skip
    if file is not None and prot & 2:
        file.grow(offset + length)
    return at


def _type_refusal(bits: type[Map], flags: int, synchronous: bool = False) -> GuestError | None:
    """What is wrong with the type of a file mapping. `synchronous`: its file system knows MAP_SYNC."""
    kind = flags & bits.MAP_TYPE
    if kind == bits.MAP_SHARED_VALIDATE and flags & ~(_legacy(bits) | bits.MAP_TYPE | (bits.MAP_SYNC if synchronous else 0)):
        return GuestError(Errno.EOPNOTSUPP, f"flags {flags:#x}")
    if kind not in (bits.MAP_SHARED, bits.MAP_PRIVATE, bits.MAP_SHARED_VALIDATE):
        return GuestError(Errno.EINVAL, f"mapping type {kind}")
    return None


def _shared_anonymous(proc: Process, right_kind: bool, request: MapRequest) -> Backed:
    """The object behind a shared anonymous mapping: each gets its own."""
    if not right_kind or request.growsdown:
        raise GuestError(Errno.EINVAL, "mapping type, or a shared mapping that grows")
    if not request.noreserve:
        proc.mm.limits.enough_memory(request.length)
    from emuvm.kernel.shmem import SharedMemory

    mask = proc.space.page_size - 1
    return Backed(File(SharedMemory(request.length + mask & ~mask), 0))


def _map_file(proc: Process, bits: type[Map], file: Any, request: MapRequest, flags: int, offset: int) -> int:
    """A mapping of an open file: what the file has to say comes after the address is settled."""
    from emuvm.kernel.filemap import file_mapping
    from emuvm.kernel.files import PLACING, SYNCHRONOUS, filesystem

    where = filesystem(file.host_fd) if flags & bits.MAP_SYNC or request.length >= HUGE else 0
    mask, refusal = proc.space.page_size - 1, _type_refusal(bits, flags, where in SYNCHRONOUS)

    def open_backing() -> Backed:
        found = file_mapping(
            file, request.prot, offset, request.length + mask & ~mask, shared=request.shared, refusal=refusal, growsdown=growsdown
        )
        return Backed(File(found.file, offset), found.may, found.shared)

    growsdown = request.growsdown
    aligned = (where in PLACING and file.is_regular) or (file.is_zero and not request.shared)
    late = GuestError(Errno.EOPNOTSUPP, "MAP_SYNC is for memory devices") if flags & bits.MAP_SYNC and where in SYNCHRONOUS else None
    wanted = request._replace(growsdown=False, open_backing=open_backing, offset=offset, has_file=True, file_aligned=aligned, late=late)
    return proc.mm.mmap(wanted)


def _legacy(bits: type[Map]) -> int:
    """LEGACY_MAP_MASK: the flags that MAP_SHARED_VALIDATE knows."""
    return (
        bits.MAP_FIXED | bits.MAP_ANONYMOUS | bits.MAP_DENYWRITE | bits.MAP_EXECUTABLE | bits.MAP_UNINITIALIZED | bits.MAP_GROWSDOWN
        | bits.MAP_LOCKED | bits.MAP_NORESERVE | bits.MAP_POPULATE | bits.MAP_NONBLOCK | bits.MAP_STACK | bits.MAP_HUGETLB
        | bits.MAP_32BIT | bits.MAP_ABOVE4G | (21 | 30) << bits.MAP_HUGE_SHIFT
    )  # fmt: skip


def _gone_by_then(proc: Process, vma: Vma, start: int, end: int) -> GuestError | None:
    """A removed System V segment goes with its last region, before it could be mapped again (ipc/shm.c:shm_mmap); huge pages are not
    there to be reserved.
    """
    if vma.flags & VmFlag.HUGETLB:
        return GuestError(Errno.ENOMEM, "no huge pages")
    segment = getattr(vma.backing.file, "segment", None)
    if segment is None or not segment.mode & Ipc.SHM_DEST:
        return None
    for region in proc.space:
        if type(region.backing) is File and getattr(region.backing.file, "segment", None) is segment:
            if region.start < start or region.end > end:
                return None
    return GuestError(Errno.EINVAL, "the segment is gone")


@syscall("remap_file_pages", "ptr size ulong ulong ulong")
@enomem
def remap_file_pages(proc: Process, start: int, size: int, prot: int, page: int, flags: int) -> int:
    from emuvm.mm import remap

    bits, _ = _constants(proc)
    if prot:
        raise GuestError(Errno.EINVAL, "rights are not changed")

    def again(vma: Vma, start: int, size: int, offset: int) -> None:
        if offset + size >= 1 << 63:
            raise GuestError(Errno.EOVERFLOW, "no file is so long")
        if vma.flags & VmFlag.HUGETLB and (start | size) & rules.huge_page(vma) - 1:
            raise GuestError(Errno.EINVAL, "not aligned to huge pages")

        def open_backing() -> Backed:
            may, inode = vma.flags >> 4 & 7, getattr(vma.backing.file, "inode", None)
            if inode is not None and inode.write_sealed:
                if vma.prot & 2:
                    raise GuestError(Errno.EPERM, "sealed against writing")
                may &= ~2
            return Backed(File(vma.backing.file, offset), may)

        proc.mm.mmap(
            MapRequest(
                start, size, vma.prot, shared=True, fixed=True, locked=bool(vma.flags & VmFlag.LOCKED), offset=offset, has_file=True,
                populate=not flags & bits.MAP_NONBLOCK, open_backing=open_backing, late=_gone_by_then(proc, vma, start, start + size),
            )  # fmt: skip
        )

    remap.remap_file_pages(proc.mm, start, size, page, again)
    return 0


def _before_it_goes(proc: Process, length: int) -> None:
    """Let the peak of memory in use be noted where it may be left."""
    if length >= _MUCH:
        from emuvm.kernel.procfs_pages import remember_peak

        remember_peak(proc)


# -- munmap, mprotect, mremap, brk ------------------------------------------------------------------------------------------


@syscall("munmap", "ptr size")
@enomem
def munmap(proc: Process, addr: int, length: int) -> int:
    _before_it_goes(proc, length)
    proc.mm.munmap(untagged(proc, addr), length)
    return 0


def _protect(proc: Process, addr: int, length: int, prot: int, key: int = -1) -> int:
    if prot & ~7 or key != -1 or addr + length >> 62:
        return _protect_carefully(proc, addr, length, prot, key)
    if addr >> 55:
        addr = untagged(proc, addr)
    if prot & 1 and proc.personality & Prctl.READ_IMPLIES_EXEC:
        proc.mm.mprotect(addr, length, prot, implied_exec=True)
    else:
        proc.mm.mprotect(addr, length, prot)
    return 0


def _protect_carefully(proc: Process, addr: int, length: int, prot: int, key: int) -> int:
    """What has to be looked at first where arguments are unusual."""
    _, bits = _constants(proc)
    addr = untagged(proc, addr)
    grows = prot & (bits.PROT_GROWSDOWN | bits.PROT_GROWSUP)
    if grows == bits.PROT_GROWSDOWN | bits.PROT_GROWSUP:
        raise GuestError(Errno.EINVAL, "PROT_GROWSDOWN and PROT_GROWSUP")
    plain = prot & ~grows
    page = proc.space.page_size
    if addr & page - 1:
        raise GuestError(Errno.EINVAL, "address is not page aligned")
    if not length:
        return 0
    rounded = length + page - 1 & -page & (1 << 64) - 1
    if (addr + rounded) & (1 << 64) - 1 <= addr:
        raise GuestError(Errno.ENOMEM, "the range wraps around")
    # The CPU announces neither BTI nor MTE, so their bits are as unknown as any.
    if plain & ~(7 | bits.PROT_SEM | bits.PROT_SAO | bits.PROT_ADI):
        raise GuestError(Errno.EINVAL, f"rights {prot:#x}")
    if key != -1:
        raise GuestError(Errno.EINVAL, f"protection key {key} is not allocated")
    if grows & bits.PROT_GROWSUP:
        _nothing_grows_up(proc, addr, rounded)
    implied = bool(plain & 1 and proc.personality & Prctl.READ_IMPLIES_EXEC)
    proc.mm.mprotect(addr, length, plain & 7, growsdown=bool(grows), implied_exec=implied)
    return 0


def _nothing_grows_up(proc: Process, addr: int, length: int) -> None:
    """PROT_GROWSUP, for which there is no memory here: ENOMEM where nothing is mapped, else EINVAL."""
    vma = proc.space.query(addr) if addr < proc.space.end else None
    raise GuestError(Errno.ENOMEM if vma is None else Errno.EINVAL, "nothing grows upwards")


def _may_in_hook(proc: Process, addr: int, length: int, prot: int) -> bool:
    """May the rights change inside the engine's hook? When it is one region's, and none of them is to execute."""
    vma = proc.space.query(addr)
    if vma is None or addr + length > vma.end or (prot | vma.prot) & ~3 or vma.flags & _LOCKED:
        return False
    return proc.engine.memory.protects_in_hooks


@syscall("mprotect", "ptr size ulong", pure=True)
@enomem
def mprotect(proc: Process, addr: int, length: int, prot: int) -> int:
    if not proc.mem.deferred:
        return _protect(proc, addr, length, prot)
    if not _may_in_hook(proc, addr, length, prot):
        raise Deferred
    memory = proc.engine.memory
    memory.in_call = True
    try:
        return _protect(proc, addr, length, prot)
    finally:
        memory.in_call = False


@syscall("pkey_mprotect", "ptr size ulong int", note="the CPU has no protection keys", level="partial")
@enomem
def pkey_mprotect(proc: Process, addr: int, length: int, prot: int, key: int) -> int:
    return _protect(proc, addr, length, prot, key)


@syscall("pkey_alloc", "ulong ulong", note="the CPU has no protection keys", level="partial")
def pkey_alloc(proc: Process, flags: int, rights: int) -> int:
    raise GuestError(Errno.EINVAL, "no protection keys")


@syscall("pkey_free", "int", note="the CPU has no protection keys", level="partial")
def pkey_free(proc: Process, key: int) -> int:
    raise GuestError(Errno.EINVAL, "no protection keys")


@syscall("mremap", "ptr size size ulong ptr")
@enomem
def mremap(proc: Process, old: int, old_length: int, new_length: int, flags: int, to: int) -> int:
    from emuvm.mm import remap

    if flags & ~(Memory.MREMAP_MAYMOVE | Memory.MREMAP_FIXED | Memory.MREMAP_DONTUNMAP):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    bits = (Memory.MREMAP_MAYMOVE, Memory.MREMAP_FIXED, Memory.MREMAP_DONTUNMAP)
    maymove, fixed, dontunmap = (bool(flags & bit) for bit in bits)
    return remap.mremap(proc.mm, remap.Remap(untagged(proc, old), old_length, new_length, maymove, fixed, dontunmap, to))


@syscall("brk", "ptr", pure=True)
def brk(proc: Process, value: int) -> int:
    try:
        return proc.mm.brk(value, executable=bool(proc.personality & Prctl.READ_IMPLIES_EXEC))
    except (EngineError, MemoryError):
        return proc.mm.brk_now


# -- advice, locks, presence ------------------------------------------------------------------------------------------------


@syscall("madvise", "ptr size int", note="large pages, HWPOISON and writing pages out have no effect")
@enomem
def madvise(proc: Process, addr: int, length: int, advice: int) -> int:
    from emuvm.mm.advice import madvise as advise

    _before_it_goes(proc, length)
    advise(proc.mm, untagged(proc, addr), length, advice)
    return 0


@syscall("msync", "ptr size int")
@enomem
def msync(proc: Process, addr: int, length: int, flags: int) -> int:
    from emuvm.kernel.hostfd import fdatasync
    from emuvm.mm.locking import msync as parts

    for vma, _, _ in parts(proc.mm, untagged(proc, addr), length, flags):
        if rules.secret(vma):
            raise GuestError(Errno.EINVAL, "a file that is never written back")
        fdatasync(vma.backing.file.fileno())
    return 0


@syscall("mincore", "ptr size ptr", pure=True)
@enomem
def mincore(proc: Process, addr: int, length: int, vector: int) -> int:
    from emuvm.mm.locking import in_memory

    addr, page = untagged(proc, addr), proc.space.page_size
    if addr & page - 1:
        raise GuestError(Errno.EINVAL, "address is not page aligned")
    if addr + length > proc.arch.task_size:
        raise GuestError(Errno.ENOMEM, "beyond user addresses")
    pages = -(-length // page)
    proc.mem.access_ok(vector, pages)
    for part in in_memory(proc.mm, addr, pages):
        if proc.mem.write_some(vector, part) < len(part):
            raise GuestError(Errno.EFAULT, "the vector cannot be written")
        vector += len(part)
    return 0
