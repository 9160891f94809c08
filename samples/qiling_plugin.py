"""emuvm under Qiling: its memory manager keeps its interface, the address space behind it is emuvm's.

    ql = Qiling(argv, rootfs)
    install(ql)
    ql.run()

Qiling's own manager changes the engine first and then its table, and finds only one table entry per call: an mprotect
across two areas leaves table and engine disagreeing. Here the table *is* the address space that the engine mirrors. The
memory system calls become Linux's: errno instead of Python exceptions, mremap exists. File mappings stay Qiling's copies.

Needs Qiling (tried with 1.4.6 on Unicorn 2.1.4). Run it:  python samples/qiling_plugin.py
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from emuvm.attach import Attached, attach
from emuvm.errors import EngineError


def install(ql: Any) -> Attached:
    """Put `ql`'s memory under emuvm: call it after Qiling(...), before run()."""
    old = ql.mem
    vm = attach(ql.uc, length=1 << ql.arch.bits)
    for start, end, _, label, _ in old.map_info:
        relabel(vm, start, end, label)
    ql._mem = manager_class(type(old))(ql, vm, old)
    for name, handler in linux_calls(vm).items():
        ql.os.set_syscall(name, handler)
    return vm


def relabel(vm: Attached, start: int, end: int, label: str) -> None:
    """Give [start, end) its Qiling label, which lives in the areas' backing: they are mapped anew and filled again."""
    for vma in vm.space.regions(start, end - start):
        low, high = max(start, vma.start), min(end, vma.end)
        contents = vm.read(low, high - low)
        try:
            vm.map_at(low, high - low, vma.prot, vma.flags, backing=label)
        except EngineError:
            continue  # device memory: it stays as it is
        if contents.count(0) != len(contents):
            vm.write(low, contents)


def manager_class(base: type) -> type:
    """A QlMemoryManager whose table is read from the address space."""

    class EmuvmMemoryManager(base):  # type: ignore[misc]
        def __init__(self, ql: Any, vm: Attached, old: Any) -> None:
            self.vm = vm
            super().__init__(ql)
            self.mmio_cbs = old.mmio_cbs

        @property
        def map_info(self) -> list[tuple[int, int, int, str, bool]]:
            devices = self.mmio_cbs
            return [(v.start, v.end, v.prot & 7, v.backing or "[mapped]", (v.start, v.end) in devices) for v in self.vm.space]

        @map_info.setter
        def map_info(self, value: object) -> None:
            """The table cannot be written: it follows from the space."""

        def add_mapinfo(self, mem_s: int, mem_e: int, mem_p: int, mem_info: str, is_mmio: bool = False) -> None:
            self.vm.adopt()

        def del_mapinfo(self, mem_s: int, mem_e: int) -> None:
            """Nothing to do: `unmap` has told the space."""

        def change_mapinfo(self, mem_s: int, mem_e: int, mem_p: int | None = None, mem_info: str | None = None) -> None:
            if mem_p is not None:
                self.vm.protect(mem_s, mem_e - mem_s, mem_p)
            if mem_info is not None:
                relabel(self.vm, mem_s, mem_e, mem_info)

        def map(self, addr: int, size: int, perms: int = 7, info: str | None = None) -> None:
            if self.vm.space.overlaps(addr, size):
                from qiling.exception import QlMemoryMappedError

                raise QlMemoryMappedError("Requested memory is unavailable")
            self.vm.map_at(addr, size, perms, backing=info or "[mapped]")

        def unmap(self, addr: int, size: int) -> None:
            self.vm.unmap(addr, size)

        def unmap_between(self, mem_s: int, mem_e: int) -> None:
            self.vm.unmap(mem_s, mem_e - mem_s)

        def unmap_all(self) -> None:
            self.vm.space.clear()

        def protect(self, addr: int, size: int, perms: int) -> None:
            start = self.align(addr)
            self.vm.protect(start, self.align_up(addr + size) - start, perms & 7)

        def read(self, addr: int, size: int) -> bytearray:
            return bytearray(self.vm.read(addr, size)) if self.mapped(addr, size) else super().read(addr, size)  # type: ignore[no-any-return]

        def write(self, addr: int, data: bytes) -> None:
            if self.mapped(addr, len(data)):
                self.vm.write(addr, bytes(data))
            else:
                super().write(addr, data)

        def mapped(self, addr: int, size: int) -> bool:
            """Ordinary memory, all of it? Devices, and errors for what is not mapped, are the engine's."""
            inside = size > 0 and addr + size <= self.vm.space.end and not self.vm.space.gaps(addr, size)
            return inside and not any(low < addr + size and addr < high for low, high in self.mmio_cbs)

    return EmuvmMemoryManager


def linux_calls(vm: Attached) -> dict[str, Callable[..., int]]:
    """Handlers for ql.os.set_syscall; Qiling reads their parameters."""

    def mmap(ql: Any, addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
        result = vm.syscall("mmap", addr, length, prot, flags, fd, offset)
        if result is None:  # of a file: Qiling knows its descriptors
            from qiling.os.posix.syscall.mman import ql_syscall_mmap

            return int(ql_syscall_mmap(ql, addr, length, prot, flags, fd, offset))
        return result

    def munmap(ql: Any, addr: int, length: int) -> int:
        return vm.syscall("munmap", addr, length) or 0

    def mprotect(ql: Any, addr: int, length: int, prot: int) -> int:
        return vm.syscall("mprotect", addr, length, prot) or 0

    def mremap(ql: Any, old: int, old_length: int, new_length: int, flags: int, to: int) -> int:
        return vm.syscall("mremap", old, old_length, new_length, flags, to) or 0

    def madvise(ql: Any, addr: int, length: int, advice: int) -> int:
        return vm.syscall("madvise", addr, length, advice) or 0

    return {"mmap": mmap, "munmap": munmap, "mprotect": mprotect, "mremap": mremap, "madvise": madvise}


# -- a guest that shows it --------------------------------------------------------------------------------------------


def call(number: int, *args: int) -> bytes:
    """Machine code (x86-64): a system call."""
    load = (b"\xbf", b"\xbe", b"\xba", b"\x41\xba", b"\x41\xb8", b"\x41\xb9")
    return b"\xb8" + struct.pack("<I", number) + b"".join(o + struct.pack("<i", a) for o, a in zip(load, args, strict=False)) + b"\x0f\x05"


AREA = 0x2000_0000
FIXED = 0x32  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
GUEST = b"".join(
    (
        call(9, AREA, 0x2000, 3, FIXED, -1, 0),
        call(9, AREA + 0x2000, 0x2000, 1, FIXED, -1, 0),
        call(10, AREA + 0x1000, 0x2000, 5),  # mprotect across both
        call(9, AREA + 0x1000, 0x2000, 3, FIXED, -1, 0),  # and once more over both, which must now be replaced
        call(10, AREA, 0x4000, 1),
        call(60, 0),
    )
)


def table(ql: Any) -> list[tuple[int, int, int]]:
    """(start, end, rights) of Qiling's table in the guest's area, neighbours with equal rights as one."""
    out: list[tuple[int, int, int]] = []
    for start, end, rights, *_ in ql.mem.map_info:
        if not AREA <= start < AREA + 0x4000:
            continue
        if out and out[-1][1] == start and out[-1][2] == rights:
            start = out.pop()[0]
        out.append((start, end, rights))
    return out


def run(rootfs: str, *, with_emuvm: bool) -> tuple[str, list[tuple[int, int, int]]]:
    """(what the run ended with, Qiling's table of the area)."""
    from qiling import Qiling
    from qiling.const import QL_ARCH, QL_OS, QL_VERBOSE

    ql = Qiling(code=GUEST, rootfs=rootfs, archtype=QL_ARCH.X8664, ostype=QL_OS.LINUX, verbose=QL_VERBOSE.DISABLED)
    vm = install(ql) if with_emuvm else None
    outcome = "ok"
    try:
        ql.run()
    except Exception as error:  # noqa: BLE001 - whatever Qiling lets escape is the point of the comparison
        outcome = f"{type(error).__name__}: {error}"
    if vm is not None:
        vm.verify()
    return outcome, table(ql)


def main() -> None:
    from tempfile import TemporaryDirectory

    try:
        import qiling  # noqa: F401
    except ImportError:
        print("Qiling is not installed (pip install qiling): nothing to show")
        return
    with TemporaryDirectory() as rootfs:
        for with_emuvm in (False, True):
            outcome, areas = run(rootfs, with_emuvm=with_emuvm)
            print("with emuvm:   " if with_emuvm else "Qiling alone: ", outcome)
            for start, end, rights in areas:
                print(f"    {start:#x}-{end:#x} {''.join(c if rights & b else '-' for c, b in (('r', 1), ('w', 2), ('x', 4)))}")
    print("the guest asked for r-- in all of 0x20000000-0x20004000")


if __name__ == "__main__":
    main()
