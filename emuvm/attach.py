"""emuvm for a Uc that somebody else created and runs.

Owns: the Attached object, its life, and the memory system calls it can serve. Must not know how the engine is mirrored.

    with attach(uc) as vm:
        buffer = vm.mmap(length=0x8000, prot=3)
        vm.mprotect(buffer + 0x1000, 0x1000, 1)
        uc.emu_start(...)

Nothing here needs Linux: host memory comes from Python's mmap module. All operations may be used inside Unicorn hooks,
also on the page that is running: taking away its memory or its execute permission makes the next instruction fault.
(An instruction that was already translated together with the current one may still run when the hook is a code, block or
memory hook; after system calls none is.) `emu_start` inside a hook is Unicorn's own affair and not made safer.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from emuvm.abi.arch import BY_NAME, X86_64, Arch
from emuvm.abi.errno import Errno
from emuvm.abi.flags_mm import map_for, prot_for
from emuvm.abi.numbers import table
from emuvm.engine import unicorn_adopt
from emuvm.engine.base import FaultStop
from emuvm.engine.portable import PortablePages
from emuvm.engine.unicorn_regions import RegionsMemory
from emuvm.errors import BadArgument, EmuvmError, EngineError, GuestError
from emuvm.mm.advice import madvise as advise
from emuvm.mm.layout import Layout
from emuvm.mm.linux import Limits, LinuxMm, MapRequest
from emuvm.mm.remap import Remap, mremap
from emuvm.mm.space import AddressSpace, Holes, ProtFilter, Snapshot
from emuvm.mm.types import File, Update, Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.engine.unicorn_adopt import Uc

_ANY = int(VmFlag.MAYREAD | VmFlag.MAYWRITE | VmFlag.MAYEXEC)
_NAME = "_emuvm_attached"
_KEPT = "_emuvm_pages"


class AttachError(EmuvmError):
    """The Uc is attached already, or not attached any more."""


class OpenFile:
    """A Python file as what `File` backings need: a file descriptor and the current size."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def fileno(self) -> int:
        return int(self._file.fileno())

    def size(self) -> int:
        """Bytes in the file now; its position is not moved."""
        place = self._file.tell()
        end = int(self._file.seek(0, 2))
        self._file.seek(place)
        return end

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpenFile) and other._file is self._file

    def __hash__(self) -> int:
        return id(self._file)


def attach(
    uc: Uc,
    *,
    start: int = 0,
    length: int | None = None,
    page_size: int | None = None,
    arch: Arch | None = None,
    limits: Limits | None = None,
    brk: int | None = None,
    syscalls: bool = False,
    files: Callable[[int], Any] | None = None,
) -> Attached:
    """Put an address space under `uc`; what the engine has mapped in [start, start + length) is adopted as it is.

    The default range is what the architecture gives user programs; regions outside stay the caller's own affair. `arch` is
    read from the engine when not given. `brk` is where the heap starts: by default behind the highest adopted area in the
    lower half. `syscalls`: serve mmap, munmap, mprotect, mremap, brk and madvise (x86-64, arm64); all other calls, and
    file mappings unless `files(fd)` returns an open binary file, reach the hooks added after this call, as ever.

    AttachError: attached already. EmuvmError: with syscalls, a system-call hook is there already.
    """
    if of(uc) is not None:
        raise AttachError("this Uc is attached already; emuvm.of(uc) returns it")
    name, bits, big = unicorn_adopt.architecture(uc)
    if arch is None:
        arch = BY_NAME.get(name) or _plain_arch(name, bits, big)
    if length is None:
        length = max(arch.task_size - start, arch.page_size)
    space = AddressSpace(start, length, page_size or max(arch.page_size, unicorn_adopt.page_size(uc)))
    return Attached(uc, arch, space, limits, brk, syscalls, files)


def of(uc: Uc) -> Attached | None:
    """The Attached of this Uc, or None."""
    found: Attached | None = getattr(uc, _NAME, None)
    return found


def _detached(update: Update) -> None:
    raise AttachError("detached: the engine does not follow this address space any more")


def _plain_arch(name: str, bits: int, big_endian: bool) -> Arch:
    """An architecture emuvm has no table for: all of the address space, mappings from its upper third downwards."""
    top = 1 << (20 if bits == 16 else 32 if bits == 32 else 47)
    return Arch(
        name=name, machine=name, bits=bits, big_endian=big_endian, elf_machine=0, page_size=4096, task_size=top, stack_top=top,
        mmap_base=top // 4 * 3, unmapped_base=top // 3 & ~0xFFFF, elf_et_dyn_base=0, syscall_number="", syscall_args=(),
        syscall_result="", pc="", sp="", tls="", report_registers=(), rights=X86_64.rights, platform="", hwcap=0,
    )  # fmt: skip


class Attached:
    """An address space mirrored into a running engine. Generic operations here and on `space`, Linux ones by their names.

    Linux operations raise GuestError with the errno the kernel gives. Areas made on `space` itself have whatever flags the
    caller gives them; those made here may later get any right from mprotect.
    """

    def __init__(
        self,
        uc: Uc,
        arch: Arch,
        space: AddressSpace,
        limits: Limits | None,
        brk: int | None,
        syscalls: bool,
        files: Callable[[int], Any] | None,
    ) -> None:
        self.uc = uc
        self.arch = arch
        self.space = space
        self.pages = PortablePages(space.page_size)
        self._files = files
        self._syscalls: unicorn_adopt.SyscallHook | None = None
        if syscalls:
            self._syscalls = unicorn_adopt.SyscallHook(uc, arch.name, self.serve)
        try:
            self.memory = RegionsMemory(uc, space, arch.rights, self.pages)
            try:
                self.adopt()
                self.mm = LinuxMm(space, arch, limits, Layout.of(arch, space))
                self.mm.attach_pages(self.memory)
                self.mm.set_brk(self._heap_start() if brk is None else brk)
            except BaseException:
                self.memory.close()
                raise
        except BaseException:
            if self._syscalls is not None:
                self._syscalls.close()
            raise
        setattr(uc, _NAME, self)
        # The engine uses this memory for as long as it lives, attached or not.
        vars(uc).setdefault(_KEPT, []).append(self.pages)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()

    def __repr__(self) -> str:
        state = "" if of(self.uc) is self else " detached"
        return f"<Attached {self.arch.name} {self.space.start:#x}-{self.space.end:#x} regions={len(self.space)}{state}>"

    def detach(self) -> None:
        """Leave the engine with its memory as it is now; areas it had not touched yet are mapped as far as the host can.

        Detaching twice does nothing.
        """
        if of(self.uc) is not self:
            return
        self.memory.complete()
        self.memory.close()
        if self._syscalls is not None:
            self._syscalls.close()
        delattr(self.uc, _NAME)
        self.space.subscribe(_detached)

    def adopt(self) -> list[Vma]:
        """Enter regions that were mapped with the engine's own calls since; the new areas. EngineError: not whole pages."""
        found = []
        space, mask = self.space, self.space.page_size - 1
        for start, end, rights, pinned in unicorn_adopt.regions(self.uc, space.start, space.end):
            for low, high in space.gaps(start, end - start):
                if (low | high) & mask:
                    what = f"the engine's region {low:#x}-{high:#x}"
                    raise EngineError(f"{what} is not in pages of {mask + 1:#x} bytes: give attach a smaller page_size")
                self.memory.adopt(low, high, rights, _ANY, pinned=pinned)
                vma = space.query(low)
                assert vma is not None, "just adopted"
                found.append(vma)
        return found

    # -- generic --------------------------------------------------------------------------------------------------------

    def map_any(self, length: int, prot: int, flags: int = _ANY, **options: Any) -> int:
        """AddressSpace.map_any."""
        return self.space.map_any(length, prot, flags, **options)

    def map_at(self, addr: int, length: int, prot: int, flags: int = _ANY, *, backing: Any = None, replace: bool = True) -> int:
        """AddressSpace.map_at."""
        return self.space.map_at(addr, length, prot, flags, backing=backing, replace=replace)

    def unmap(self, addr: int, length: int) -> None:
        """AddressSpace.unmap."""
        self.space.unmap(addr, length)

    def protect(self, addr: int, length: int, prot: int | ProtFilter, *, holes: Holes = "error") -> None:
        """AddressSpace.protect."""
        self.space.protect(addr, length, prot, holes=holes)

    def query(self, addr: int) -> Vma | None:
        """AddressSpace.query."""
        return self.space.query(addr)

    def maps(self) -> str:
        """The areas in the shape of /proc/self/maps."""
        return self.space.maps()

    def snapshot(self) -> Snapshot:
        """AddressSpace.snapshot: the areas and their rights, not the contents."""
        return self.space.snapshot()

    def restore(self, snap: Snapshot) -> None:
        """AddressSpace.restore. Areas that were gone come back with zeros."""
        self.space.restore(snap)

    def read(self, addr: int, length: int) -> bytes:
        """Contents, whatever the rights. EngineError where nothing is mapped."""
        return self.memory.read(addr, length)

    def write(self, addr: int, data: bytes) -> None:
        """Store, whatever the rights; code translated from the old bytes is dropped. EngineError where nothing is mapped."""
        self.memory.write(addr, data)

    def verify(self) -> None:
        """EmulatorBug when the engine's regions are not what the space says (see also `adopt`)."""
        self.memory.verify()

    def take_fault(self) -> FaultStop | None:
        """The last memory fault inside the space since this was last asked: exact address, kind, mapped or not."""
        return self.memory.take_fault()

    # -- Linux ----------------------------------------------------------------------------------------------------------

    def mmap(
        self,
        addr: int = 0,
        length: int = 0,
        prot: int = 0,
        *,
        file: Any = None,
        offset: int = 0,
        shared: bool = False,
        fixed: bool = False,
        replace: bool = True,
        noreserve: bool = False,
        low_2g: bool = False,
    ) -> int:
        """mmap(2). `file`: an open binary file, writable for shared mappings. With fixed, replace=False is MAP_FIXED_NOREPLACE."""
        backing, may = None, 7
        if file is not None:
            if shared and not getattr(file, "writable", bool)():
                may = 5
                if prot & 2:
                    raise GuestError(Errno.EACCES, "a shared writable mapping needs a writable file")
            if offset & (self.space.page_size - 1):
                raise BadArgument("offset", f"{offset:#x} is not a multiple of the page size")
            backing = File(file if hasattr(file, "size") else OpenFile(file), offset)
        request = MapRequest(
            addr=addr,
            length=length,
            prot=prot,
            backing=backing,
            shared=shared,
            fixed=fixed,
            replace=replace,
            noreserve=noreserve,
            low_2g=low_2g,
            may=may,
        )
        return self.mm.mmap(request)

    def munmap(self, addr: int, length: int) -> None:
        """munmap(2)."""
        self.mm.munmap(addr, length)

    def mprotect(self, addr: int, length: int, prot: int) -> None:
        """mprotect(2)."""
        self.mm.mprotect(addr, length, prot)

    def mremap(self, old: int, old_length: int, new_length: int, **options: Any) -> int:
        """mremap(2); options: maymove, fixed (the new address), dontunmap, hint (with dontunmap, a wish for the new address)."""
        fixed = options.pop("fixed", None)
        to = options.pop("hint", 0) if fixed is None else fixed
        return mremap(self.mm, Remap(old, old_length, new_length, fixed=fixed is not None, to=to, **options))

    def brk(self, value: int = 0) -> int:
        """brk(2), as the system call: the break afterwards."""
        return self.mm.brk(value)

    def madvise(self, addr: int, length: int, advice: int) -> None:
        """madvise(2)."""
        advise(self.mm, addr, length, advice)

    # -- serving system calls ---------------------------------------------------------------------------------------------

    def serve(self) -> bool:
        """For a system-call hook: if the registers ask for a memory call, do it, set the result, and return True."""
        arch = self.arch
        if not arch.syscall_args:
            raise EmuvmError(f"system calls of {arch.name} cannot be served")
        number = self.uc.reg_read(unicorn_adopt.register(arch.name, arch.syscall_number))
        name = table(arch.name).get(number, "")
        if name not in _CALLS:
            return False
        result = self.syscall(name, *(self.uc.reg_read(unicorn_adopt.register(arch.name, arg)) for arg in arch.syscall_args))
        if result is None:
            return False
        self.uc.reg_write(unicorn_adopt.register(arch.name, arch.syscall_result), result & ((1 << arch.bits) - 1))
        return True

    def syscall(self, name: str, *args: int) -> int | None:
        """A memory call with raw register values: its result, -errno when it fails; None: not one that is served here."""
        call = _CALLS.get(name)
        if call is None:
            return None
        try:
            return call(self, *args, *[0] * (6 - len(args)))
        except GuestError as error:
            return -error.errno

    def _heap_start(self) -> int:
        middle = self.space.start + (self.space.end - self.space.start) // 2
        ends = [vma.end for vma in self.space if vma.end <= middle]
        return max([self.mm.layout.min_addr, *ends])

    def _sys_mmap(self, addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int | None:
        bits = map_for(self.arch.name)
        if offset & (self.space.page_size - 1) or flags & bits.MAP_TYPE not in (1, 2, 3):
            raise GuestError(Errno.EINVAL, "offset or mapping type")
        file = None
        if not flags & bits.MAP_ANONYMOUS:
            file = self._files(fd & 0xFFFF_FFFF) if self._files is not None else None
            if file is None:
                return None
        noreplace = bool(flags & bits.MAP_FIXED_NOREPLACE)
        return self.mmap(
            addr,
            length,
            prot,
            file=file,
            offset=offset if file is not None else 0,
            shared=flags & bits.MAP_TYPE != bits.MAP_PRIVATE,
            fixed=noreplace or bool(flags & bits.MAP_FIXED),
            replace=not noreplace,
            noreserve=bool(flags & bits.MAP_NORESERVE),
            low_2g=bool(flags & bits.MAP_32BIT),
        )

    def _sys_munmap(self, addr: int, length: int, *rest: int) -> int:
        self.munmap(addr, length)
        return 0

    def _sys_mprotect(self, addr: int, length: int, prot: int, *rest: int) -> int:
        bits = prot_for(self.arch.name)
        if prot & ~(7 | bits.PROT_SEM | bits.PROT_BTI | bits.PROT_MTE | bits.PROT_GROWSDOWN):
            raise GuestError(Errno.EINVAL, "unknown protection bits")
        self.mm.mprotect(addr, length, prot & 7, growsdown=bool(prot & bits.PROT_GROWSDOWN))
        return 0

    def _sys_mremap(self, old: int, old_length: int, new_length: int, flags: int, to: int, *rest: int) -> int:
        if flags & ~7:
            raise GuestError(Errno.EINVAL, "unknown flags")
        maymove, fixed, dontunmap = (bool(flags & bit) for bit in (1, 2, 4))
        return mremap(self.mm, Remap(old, old_length, new_length, maymove, fixed, dontunmap, to))

    def _sys_brk(self, value: int, *rest: int) -> int:
        return self.brk(value)

    def _sys_madvise(self, addr: int, length: int, advice: int, *rest: int) -> int:
        self.madvise(addr, length, advice & 0xFFFF_FFFF)
        return 0


_CALLS: dict[str, Callable[..., int | None]] = {
    "mmap": Attached._sys_mmap,
    "munmap": Attached._sys_munmap,
    "mprotect": Attached._sys_mprotect,
    "mremap": Attached._sys_mremap,
    "brk": Attached._sys_brk,
    "madvise": Attached._sys_madvise,
}
