"""A process from an ELF core file: what the kernel would have gone on with, as far as such a file tells.

Owns: the regions that a core's areas become, what is guessed, and system calls that were interrupted. Must not know the file's layout
(`emuvm_loaders.core`). A core has no descriptors, signal actions or limits: standard streams are this process's, the rest as at a start.

    area of a file, wholly or partly left out   -> the file, mapped; written pages over it       anything else -> plain memory
    the vDSO of the host's kernel               -> its functions become system calls: what they read is the host's own
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emuvm.abi import auxv
from emuvm.abi.arch import BY_NAME
from emuvm.abi.flags import Open
from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import GuestError
from emuvm.fuzz.reopen import ResumeError, encoded, told
from emuvm.kernel import hostfd
from emuvm.kernel.boot import Host, Options
from emuvm.kernel.execve import go_on
from emuvm.kernel.process import Process
from emuvm.kernel.stack import InitialStack
from emuvm.mm.limits import Limits
from emuvm.mm.linux import MAY, LinuxMm, MapRequest
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Anon, File, Kind, Update, Vma, VmFlag
from emuvm_loaders import LoadError, Plan, R, load, printable
from emuvm_loaders.core import Core, CoreArea, CoreFile, load_core
from emuvm_loaders.snapshot import PLAN, REGISTERS
from emuvm_loaders.symbols import symbols

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.fs import Filesystem

PAGE = 4096
_PIECE = 1 << 20
_IN_MEMORY = ("/dev/zero (deleted)", "/memfd:", "/SYSV", "/anon_hugepage", "[")
"""What NT_FILE calls objects that no file can be opened for: a core holds their bytes."""
_TRAP_FLAG = 0x100
_ERESTART = {-512, -513, -514, -516}
_EINTR = 4
_VDSO = {"clock_gettime": 228, "gettimeofday": 96, "time": 201, "getcpu": 309, "clock_getres": 229}
"""x86-64's functions there, and the system calls that do the same."""
_FPSIMD = struct.Struct("<II")
_FPSIMD_MAGIC = 0x4650_8001


def resume_core(
    path: str | Path | bytes,
    *,
    options: Options,
    partial: bool,
    most: int,
    native: bool,
    write: Callable[[str], object] | None,
    begin: Callable[[Process], object] | None,
    files: Mapping[int, OpenFile] | None,
    host: Host,
) -> Process:
    """See `fuzz.resume.resume`."""
    core = load_core(path if isinstance(path, bytes) else str(path))
    held = sum(area.held for area in core.areas)
    if held > most:
        raise LoadError(f"it holds {held} bytes, {most} are allowed")
    reporter = host.reporter(write)
    fs, table = host.filesystem(options, reporter), host.files()
    proc: Process | None = None
    done = False
    try:
        with told():
            arch = BY_NAME[core.arch]
            space = AddressSpace(0, arch.task_size, PAGE)
            engine = UnicornEngine(arch, space, adapter=options.adapter, native=native)
            proc = Process(arch, space, LinuxMm(space, arch, Limits()), engine, files=table, fs=fs, system=host.system(), reporter=reporter)
            if begin is not None:
                begin(proc)
            for fd, file in (files or {}).items():
                table.replace(fd, file, False)
            built = _Builder(proc, core, fs)
            built.build()
            go_on(proc)
            if built.missing and not partial:
                raise ResumeError(built.missing)
            for note in [*built.missing, *built.notes]:
                reporter.line(note)
            done = True
            return proc
    finally:
        if not done:
            if proc is not None:
                proc.close()
            else:
                table.close_all()
                fs.close()


class _Builder:
    """Fills one process. `missing`: what keeps it from going on as it was; `notes`: what should be known."""

    def __init__(self, proc: Process, core: Core, fs: Filesystem) -> None:
        self.proc, self.core, self.fs = proc, core, fs
        self.missing: list[str] = []
        self.notes: list[str] = []
        self._opened: dict[str, tuple[Any, str]] = {}
        self._areas = [area for area in core.areas if area.end <= proc.space.end]  # the vsyscall page is above all of them
        self._exe = ""
        self._areas = sorted([*self._areas, *self._left_out()])

    def _left_out(self) -> list[CoreArea]:
        """Regions of files that have no area at all: gdb leaves those out that nobody wrote to. Their rights are the program headers'."""
        found = []
        for file in self.core.files:
            covered = any(area.start < file.end and file.start < area.end for area in self.core.areas)
            if not covered and file.end <= self.proc.space.end:
                found.append(CoreArea(file.start, file.end, self._rights(file), 0, 0))
        return [one for n, one in enumerate(found) if not n or found[n - 1].end <= one.start]

    def _rights(self, file: CoreFile) -> int:
        try:
            opened = self.fs.open(self.fs.absolute(encoded(file.path)), Open.O_RDONLY | Open.O_NONBLOCK, 0, 0)
            try:
                image = load(hostfd.pread(opened.host_fd, opened.stat().size, 0))
            finally:
                opened.close()
        except (GuestError, LoadError):
            return R
        for segment in image.segments:
            if segment.offset & -PAGE <= file.offset < segment.offset + segment.filesz:
                return segment.flags & 7
        return R

    def build(self) -> None:
        """All of it."""
        proc, core = self.proc, self.core
        if core.threads > 1:
            self.notes.append(f"the core has {core.threads} threads: only the first one goes on")
        regions = [(area, self._region(area)) for area in self._areas]
        updates = [Update(Kind.MAP, vma.start, vma.end, None, vma, None) for _, vma in regions]
        if regions:
            proc.space.rewrite([(proc.space.start, proc.space.end, [vma for _, vma in regions])], updates)
        for area, vma in regions:
            self._contents(area, isinstance(vma.backing, File))
        proc.mm.sync()
        self._calls_for_the_vdso()
        self._identity()
        self._heap()
        self._registers()

    # -- memory -------------------------------------------------------------------------------------------------------------

    def _region(self, area: CoreArea) -> Vma:
        prot = (1 if area.flags & 4 else 0) | (area.flags & 2) | (4 if area.flags & 1 else 0)
        flags = MAY | (VmFlag.ACCOUNT if prot & 2 else 0)
        if self._is_stack(area):
            flags |= VmFlag.GROWSDOWN
        backing: Any = Anon(area.start)
        named = self._file_of(area)
        if named is not None and not named.path.startswith(_IN_MEMORY):
            file = self._open(named, area)
            if file is not None:
                backing = File(file, named.offset + area.start - named.start)
        return Vma(area.start, area.end, prot, flags, backing, area.start, area.end - area.start)

    def _is_stack(self, area: CoreArea) -> bool:
        place = self.core.auxiliary(auxv.AT_RANDOM) or self.core.registers.get("rsp", self.core.registers.get("sp", 0))
        return area.start <= place < area.end

    def _file_of(self, area: CoreArea) -> CoreFile | None:
        for file in self.core.files:
            if file.start <= area.start and area.end <= file.end:
                return file
        return None

    def _open(self, named: CoreFile, area: CoreArea) -> Any:
        """What to map for an area; None: plain memory does, or there is nothing to do."""
        offset = named.offset + area.start - named.start
        if named.path not in self._opened:
            self._opened[named.path] = self._file(named.path)
        file, why = self._opened[named.path]
        if not why and offset + (area.end - area.start) - PAGE >= file.size():
            why = f"it has only {file.size()} bytes now"
        if not why:
            return file
        if area.held < area.end - area.start:
            lacks = area.end - area.start - area.held
            self.missing.append(f"{printable(named.path)}: {why}, and the core lacks {lacks:#x} bytes of it at {area.start + area.held:#x}")
        return None

    def _file(self, path: str) -> tuple[Any, str]:
        """(what to map, '') or (None, why it cannot be the file that was mapped): its beginning tells, if the core has that."""
        try:
            file = self.fs.open(self.fs.absolute(encoded(path)), Open.O_RDONLY | Open.O_NONBLOCK, 0, 0)
            try:
                found: Any = file.mappable()
            finally:
                file.close()
        except GuestError as error:
            return None, error.why or error.errno.name
        for area in self._areas:
            named = self._file_of(area)
            if named is None or named.path != path or named.offset or area.start != named.start or area.flags & 2 or area.held < PAGE:
                continue
            if hostfd.pread(found.fileno(), PAGE, 0) != self.core.data(area, area.start, PAGE):
                return None, "it is another file now"
        return found, ""

    def _contents(self, area: CoreArea, in_file: bool) -> None:
        """Store what the core holds, but for pages that are so already."""
        memory, end = self.proc.engine.memory, area.start + area.held
        for low in range(area.start, end, _PIECE):
            data = self.core.data(area, low, min(_PIECE, end - low))
            there = memory.read(low, len(data)) if in_file else bytes(len(data))
            if data == there:
                continue
            for at in range(0, len(data), PAGE):
                if data[at : at + PAGE] != there[at : at + PAGE]:
                    memory.write(low + at, data[at : at + PAGE])

    def _calls_for_the_vdso(self) -> None:
        start = self.core.auxiliary(auxv.AT_SYSINFO_EHDR)
        if self.core.arch == "arm64":
            from emuvm.abi.sigframes_arm64 import TRAMPOLINE

            self.proc.vdso = self.proc.mm.mmap(MapRequest(0, PAGE, 5, may=5))
            self.proc.engine.memory.write(self.proc.vdso, TRAMPOLINE)
        vma = self.proc.space.query(start) if start else None
        if start is None or vma is None:
            return
        if self.core.arch != "x86_64":
            self.notes.append("the host's vDSO is not there: a program that asks it for the time goes wrong")
            return
        memory = self.proc.engine.memory
        try:
            found = symbols(memory.read(vma.start, vma.end - vma.start))
        except LoadError:
            return
        for name, number in _VDSO.items():
            place = found.address(f"__vdso_{name}")
            if place is not None and start <= start + place < vma.end - 8:
                memory.write(start + place, b"\xb8" + struct.pack("<I", number) + b"\x0f\x05\xc3")

    # -- the kernel's side ----------------------------------------------------------------------------------------------------

    def _identity(self) -> None:
        proc, core = self.proc, self.core
        proc.pid = proc.tid = core.pid if core.pid > 0 else proc.pid
        proc.ppid, proc.name = core.ppid, core.command
        proc.signals.set_mask(core.mask)
        entry = core.auxiliary(auxv.AT_ENTRY) or 0
        mine = next((file for file in core.files if file.start <= entry < file.end), None)
        self._exe = mine.path if mine is not None else ""
        proc.exe = encoded(self._exe)
        pieces = [file for file in core.files if mine is not None and file.path == mine.path]
        low, high = min((f.start for f in pieces), default=0), max((f.end for f in pieces), default=0)
        known = {"start": low, "end": high, "start_code": low, "end_code": high, "start_data": high, "end_data": high, "brk": high}
        known |= {"entry": entry, "phdr_address": core.auxiliary(auxv.AT_PHDR) or 0, "page_size": PAGE, "stack_prot": 3, "data_prot": 3}
        proc.plan = Plan(**{**dict.fromkeys(PLAN.split(), 0), **known}, mappings=(), read_implies_exec=False)
        sp = proc.arch.sp
        stack = dict.fromkeys("sp start arg_start arg_end env_start env_end vma_start".split(), 0)
        name, random = core.auxiliary(auxv.AT_EXECFN) or 0, core.auxiliary(auxv.AT_RANDOM) or 0
        proc.stack_info = InitialStack(**{**stack, "sp": core.registers.get(sp, 0)}, data=b"", auxv=core.auxv, execfn=name, random=random)

    def _heap(self) -> None:
        """The break is not in a core: it is taken to end with the writable memory that follows the program's, or to be there."""
        mm, end = self.proc.mm, self.proc.plan.end
        place, heap = end, None
        for area in self._areas:
            if area.start < place or self._file_of(area) is not None:
                continue
            if area.start == place and area.flags & 2 and heap is None and place == end:
                place = area.end  # its bss
            elif area.flags == 6 and area.start - end < 1 << 32 and not self._is_stack(area):
                heap = area
                break
            else:
                break
        mm.set_brk(place if heap is None else heap.start)
        if heap is not None:
            mm.brk_now = heap.end

    def _registers(self) -> None:
        proc, core = self.proc, self.core
        values = dict(core.registers)
        if core.arch == "x86_64":
            values["eflags"] &= ~_TRAP_FLAG
            result, call = _signed(values["rax"]), _signed(values["orig_rax"])
            if result in _ERESTART and call >= 0:
                if result == -516:
                    self.notes.append("it was waiting in a system call with a time limit, which begins anew")
                values["rax"], values["rip"] = call, values["rip"] - 2
        else:
            values["nzcv"] = values["pstate"] & 0xF000_0000
            if "tpidr_el0" not in values:
                values["tpidr_el0"] = 0
                self.notes.append("the core does not tell the thread pointer (tpidr_el0): it is 0")
            if _signed(values["x0"]) in _ERESTART:
                values["x0"] = -_EINTR
                self.notes.append("it was waiting in a system call, which gives EINTR: its first argument is not in the core")
        if core.fpu:
            fpu = core.fpu
            if core.arch == "arm64":
                fpu = _FPSIMD.pack(_FPSIMD_MAGIC, 528) + fpu[512:520] + fpu[:512]
            proc.engine.set_fpu_state(fpu)
        names = REGISTERS[core.arch]
        proc.engine.set_many(names, [values[name] for name in names])


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
