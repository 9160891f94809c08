"""Starting a program in a process: the second half of execve, for the first program and for every later one.

Owns: from a program file to mappings, stack and registers. Must not know how paths become files, nor run anything on the
host. `prepare` may fail and changes nothing; `install` is the point of no return (fs/binfmt_elf.c:load_elf_binary).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emuvm.abi.auxv import Facts
from emuvm.abi.controls import Prctl
from emuvm.abi.errno import Errno
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import GuestError
from emuvm.kernel import hostfd, procfs, rseq
from emuvm.kernel.files import MappedFile
from emuvm.kernel.stack import InitialStack, build_stack
from emuvm.mm.linux import MapRequest
from emuvm.mm.types import File, VmFlag
from emuvm_loaders import Image, LoadError, Plan, ScriptError, Source, load, plan, require_static, span

if TYPE_CHECKING:
    from emuvm.abi.arch import Arch
    from emuvm.kernel.process import Process

MIN_ADDRESS = 0x10000
"""vm.mmap_min_addr."""
_COMM = 15
_MINSIGSTKSZ = {"x86_64": 1216, "arm64": 4720}
"""AT_MINSIGSTKSZ: the largest signal frame, with all padding (`MINIMUM` in abi.sigframes_x86 and sigframes_arm64)."""
_SCRIPTS = 6
"""How often an interpreter may itself be a script, and one more (fs/exec.c:exec_binprm)."""


class Prepared(NamedTuple):
    """Everything execve needs once it can no longer fail."""

    image: Image
    plan: Plan
    stack: InitialStack
    name: bytes
    exe: bytes


def layout(arch: Arch, image: Image, mmap_base: int) -> Plan:
    """Where the image goes: a static-pie directly below `mmap_base`, its heap to ELF_ET_DYN_BASE. LoadError."""
    bias = 0
    if image.pie:
        room = span(image, arch.page_size)
        bias = (mmap_base - room.length & -room.align) - room.start
    return plan(
        image, task_size=arch.task_size, page_size=arch.page_size, bias=bias, min_address=MIN_ADDRESS, et_dyn_base=arch.elf_et_dyn_base
    )


def prepare(proc: Process, source: Source | str, path: bytes, argv: Sequence[bytes], envp: Sequence[bytes], exe: bytes = b"") -> Prepared:
    """Look at the program and lay everything out. LoadError (with the errno of execve), GuestError E2BIG."""
    image = require_static(load(source, name=path.decode(errors="surrogateescape")))
    if image.arch != proc.arch.name:
        raise LoadError(f"a program for {image.arch or f'machine {image.machine}'}, but this process runs {proc.arch.name}")
    planned = layout(proc.arch, image, proc.mm.layout.mmap_base)
    host = proc.system
    facts = Facts(
        phdr=planned.phdr_address, phnum=image.phnum, entry=planned.entry, uid=host.uid, euid=host.euid, gid=host.gid, egid=host.egid,
        minsigstksz=_MINSIGSTKSZ.get(proc.arch.name, 0),
        rseq_size=rseq.FEATURES if proc.mm.kernel >= (6, 3) else 0, rseq_align=rseq.ALIGN,
    )  # fmt: skip
    limit = min(proc.mm.limits.stack, 1 << 40)
    stack = build_stack(proc.arch, argv, envp, path, facts, host.random(16), stack_limit=limit)
    return Prepared(image, planned, stack, path.rsplit(b"/", 1)[-1][:_COMM], exe or path)


def install(proc: Process, new: Prepared) -> None:
    """Replace what the process runs. Failures from here on are emuvm's own or the host's lack of memory."""
    arch, mm, memory = proc.arch, proc.mm, proc.engine.memory
    again = proc.plan is not None
    kept, mm.def_flags = mm.def_flags & VmFlag.MERGEABLE, 0
    if again:
        proc.returned()
        proc.space.clear()
        proc.kept.peak_rss = mm.totals.peak = 0
    top = arch.stack_top
    mm.mmap(
        MapRequest(new.stack.vma_start, top - new.stack.vma_start, new.plan.stack_prot, fixed=True, growsdown=True)
    )
    mm.def_flags = kept
    source = new.image.source
    mappable = hasattr(source, "fileno")
    for mapping in new.plan.mappings:
        in_file = mapping.kind == "file"
        backing = File(source, mapping.offset) if in_file and mappable else None
        mm.mmap(MapRequest(mapping.address, mapping.length, mapping.prot, backing=backing, fixed=True))
        if in_file and not mappable:
            memory.write(mapping.address, source.read_at(mapping.offset, mapping.length))
        if mapping.zero_end > mapping.zero_start:
            memory.write(mapping.zero_start, bytes(mapping.zero_end - mapping.zero_start))
    mm.set_brk(new.plan.brk)
    mm.data_bytes = new.plan.end_data - new.plan.start_data
    memory.write(new.stack.start, new.stack.data)
    proc.plan, proc.stack_info = new.plan, new.stack
    proc.name, proc.exe = new.name, new.exe
    if proc.fs is not None:
        proc.fs.running(source)
    proc.personality = proc.personality & ~Prctl.READ_IMPLIES_EXEC | (Prctl.READ_IMPLIES_EXEC if new.plan.read_implies_exec else 0)
    _map_trampoline(proc)
    proc.clear_child_tid = 0
    proc.controls.pop("rseq", None)
    proc.dumpable = 1
    _start_registers(proc, new, again)


def _map_trampoline(proc: Process) -> None:
    """The one thing of the kernel's vDSO that programs need: where handlers without SA_RESTORER return to (arm64)."""
    if proc.arch.name == "arm64":
        from emuvm.abi.sigframes_arm64 import TRAMPOLINE

        proc.vdso = proc.mm.mmap(MapRequest(0, proc.arch.page_size, 5, may=5))
        proc.engine.memory.write(proc.vdso, TRAMPOLINE)


def replace(proc: Process, path: bytes, argv: Sequence[bytes], envp: Sequence[bytes], called: bytes = b"") -> None:
    """The guest's execve. GuestError with the errno of execve; after that the new program's registers are in the engine.

    `called`: what the program is called by whom it starts, if that is not its path.
    """
    named, called = called, called or path  # AT_EXECFN and the name of a script's process are the script's
    for _ in range(_SCRIPTS):
        source, exe = _open(proc, path)
        if _written(proc, source):
            raise GuestError(Errno.ETXTBSY, "open for writing")
        try:
            new = prepare(proc, source, called, argv, envp, exe)
            break
        except ScriptError as script:
            extra = [] if script.argument is None else [script.argument]
            argv, path, named = [script.interpreter, *extra, named or path, *argv[1:]], script.interpreter, b""
        except LoadError as error:
            raise GuestError(error.errno, error.reason) from error
    else:
        raise GuestError(Errno.ELOOP, "scripts of scripts")
    install(proc, new)
    proc.signals.reset_for_exec()
    if proc.timers is not None:
        proc.timers.reset_for_exec()
    proc.files.close_on_exec()
    proc.replaced = True


def _open(proc: Process, path: bytes) -> tuple[Source, bytes]:
    """The file at a path, which may be one of the process's own: /proc/self/exe, /proc/self/fd/3."""
    name = procfs.inner(proc, proc.fs.absolute(path))
    if name is not None and name.startswith(b"fd/"):
        file = procfs.descriptor(proc, name)
        if file.host_fd < 0:
            raise GuestError(Errno.EACCES, "not a program")
        found: tuple[Source, bytes] = proc.fs.program_of(file.host_fd, file.name)
    else:
        target = procfs.target(proc, name) if name is not None else None
        found = proc.fs.open_program(target or path)
    return found


def _written(proc: Process, source: Any) -> bool:
    """Is the file open for writing, or mapped through a descriptor that was (deny_write_access)? Others of the host are not asked."""
    found = hostfd.stat(source.fileno())
    identity = (found.dev, found.ino)
    if any(file.writes_to(identity) for _, file in proc.files.items()):
        return True
    mapped = (vma.backing.file for vma in proc.space if type(vma.backing) is File and isinstance(vma.backing.file, MappedFile))
    return any(file.identity == identity and hostfd.control(file.fileno(), hostfd.F_GETFL) & 3 for file in mapped if file.inode is None)


def go_on(proc: Process) -> None:
    """A process that was saved runs the program that its code was mapped from."""
    vma = proc.space.query(proc.plan.start_code) if proc.plan is not None else None
    if vma is not None and type(vma.backing) is File:
        proc.fs.running(vma.backing.file)


def _start_registers(proc: Process, new: Prepared, again: bool) -> None:
    engine = proc.engine
    if again:
        engine.reset()
    engine.set("sp", new.stack.sp)
    engine.set("pc", new.plan.entry)
