"""Processes from files: `resume` goes on with what `fuzz.savefile` or a kernel that dumped core has written.

Owns: making the parts of a process as a file describes them, in the order in which they need each other. Must not know file formats:
those are `emuvm_loaders.snapshot` and `emuvm_loaders.core`; a core file's part is `fuzz.resume_core`, descriptors are `fuzz.reopen`.

    contents of files in memory -> descriptors -> what regions map -> regions, by one change -> pages -> guards -> kernel state -> registers

The file says what the process had; what it may do with this host is the caller's to say: `options`. A file from somebody else can make
the process open what the root lets any guest open, and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emuvm.abi.arch import BY_NAME
from emuvm.abi.controls import Clock
from emuvm.abi.sigframes import Sigaction, StackT
from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import EngineError
from emuvm.fuzz.reopen import Reopened, ResumeError, told
from emuvm.fuzz.simhost import SimSystem
from emuvm.kernel.boot import Host, Options
from emuvm.kernel.credentials import Credentials, Ids
from emuvm.kernel.execve import go_on
from emuvm.kernel.process import Process
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.stack import InitialStack
from emuvm.kernel.sysv import Namespace, Segment
from emuvm.mm.limits import Limits
from emuvm.mm.linux import LinuxMm
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Anon, File, Kind, Update, Vma, VmFlag
from emuvm_loaders import LoadError, Plan
from emuvm_loaders.snapshot import REGISTERS, Saved, is_snapshot, load_snapshot

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.host_system import HostSystem
    from emuvm.kernel.report import Reporter

__all__ = ["MOST", "ResumeError", "resume"]

MOST = 8 << 30
"""Bytes of contents that a file may have."""
_PRIVATE_KEY = 0


def resume(
    path: str | Path | bytes | Saved,
    *,
    options: Options = Options(),  # noqa: B008 - immutable
    files: Mapping[int, OpenFile] | None = None,
    partial: bool = False,
    most: int = MOST,
    native: bool = True,
    write: Callable[[str], object] | None = None,
    begin: Callable[[Process], object] | None = None,
    host: Host | None = None,
) -> Process:
    """The process of a file, standing still where it was. Close it when done.

    options    where its files are and what it may do with them; `memory` and `kernel` are the file's
    files      descriptors that become these open files, whatever they were. Its standard streams are this process's otherwise
    partial    go on without what cannot be brought back: such descriptors give EIO; each is told as a notice (`write` takes them)
    most       bytes of contents it may have
    host       the world around it; None: this host
    begin      called with the process while its address space is still empty: the moment to subscribe

    LoadError: the file is none, or damaged. ResumeError: something cannot be brought back; it says everything that cannot.
    """
    if isinstance(path, Saved):
        saved = path
    elif _is_core(path):
        from emuvm.fuzz.resume_core import resume_core

        return resume_core(
            path, options=options, partial=partial, most=most, native=native, write=write, begin=begin, files=files, host=host or Host()
        )
    else:
        saved = load_snapshot(path if isinstance(path, bytes) else str(path))
    if saved.held > most:
        raise LoadError(f"it holds {saved.held} bytes, {most} are allowed")
    host, header = host or Host(), saved.header
    reporter = host.reporter(write)
    fs = host.filesystem(options, reporter)
    reopened = Reopened(saved, fs, host.files())
    proc: Process | None = None
    try:
        with told():
            proc = _process(saved, options, native, host, reopened, reporter)
            if begin is not None:
                begin(proc)
            reopened.descriptors(proc, files or {})
            _ipc(proc, saved, reopened)
            _memory(proc, saved, reopened)
            _state(proc, header)
            go_on(proc)
            reopened.change_directory(header["process"]["cwd"])
            reopened.settle(header["notes"], partial, reporter)
            return proc
    finally:
        reopened.close()
        if not reopened.settled:
            if proc is not None:
                proc.close()
            else:
                reopened.table.close_all()
                fs.close()


def _is_core(path: str | Path | bytes) -> bool:
    """ELF or one of ours? Missing files are for the loader to complain of."""
    if isinstance(path, bytes):
        return path[:4] == b"\x7fELF"
    try:
        with Path(path).open("rb") as file:
            head = file.read(8)
    except (OSError, ValueError):
        return False
    return head[:4] == b"\x7fELF" and not is_snapshot(head)


def _process(
    saved: Saved, options: Options, native: bool, host: Host, reopened: Reopened, reporter: Reporter
) -> Process:
    """An empty process with the file's limits and rules."""
    header = saved.header
    arch = BY_NAME[saved.arch]
    space = AddressSpace(0, arch.task_size, arch.page_size)
    if header["areas"] and header["areas"][-1][1] > space.end:
        raise LoadError(f"it has memory above {space.end:#x}, where {arch.name} has none")
    engine = UnicornEngine(arch, space, adapter=options.adapter, native=native)
    limits = Limits()
    for name, value in header["mm"]["limits"].items():
        setattr(limits, name, bool(value) if name == "ipc_lock" else value)
    mm = LinuxMm(space, arch, limits, kernel=header["kernel"])
    system: HostSystem = host.system()
    if header["simulated"] is not None:
        system = _simulated(header["simulated"], system)
    proc = Process(arch, space, mm, engine, files=reopened.table, fs=reopened.fs, system=system, reporter=reporter)
    space.checking = host.system().switched_on("EMUVM_CHECK")
    return proc


def _simulated(state: Mapping[str, Any], around: HostSystem) -> SimSystem:
    """A simulated host where it was: the one around, if that is one."""
    system = around if isinstance(around, SimSystem) else SimSystem(0)
    vars(system).update(
        _seed=state["seed"], _start=state["start"], _drawn=state["drawn"], _other=state["other"], _before=state["blocks"]
    )
    return system


def _ipc(proc: Process, saved: Saved, reopened: Reopened) -> None:
    """System V segments, with their numbers."""
    state = saved.header["ipc"]
    if state is None:
        return
    ipc = proc.ipc = Namespace(lambda: proc.system.clock(Clock.CLOCK_REALTIME) // 1_000_000_000, proc.space.page_size)
    vars(ipc).update(_next=state["next"], _last=state["last"], _sequence=state["sequence"])
    for entry in saved.header["segments"]:
        segment = Segment(entry["key"], entry["size"], entry["mode"], (entry["uid"], entry["gid"]), proc.space.page_size)
        for name, value in entry.items():
            if name != "content":
                setattr(segment, name, value)
        reopened.fill(segment.memory.fileno(), entry["content"])
        reopened.segments.append(segment)
        vars(ipc)["_slots"][segment.id & (1 << 15) - 1] = segment
        if segment.key != _PRIVATE_KEY:
            vars(ipc)["_keys"][segment.key] = segment


def _memory(proc: Process, saved: Saved, reopened: Reopened) -> None:
    """Regions, and what is in them."""
    header, space, memory, mm = saved.header, proc.space, proc.engine.memory, proc.mm
    shown: dict[int, Any] = {}
    areas = []
    for start, end, prot, flags, base, length, backing in header["areas"]:
        made: Any = None
        if backing is not None and backing["mapped"] is not None:
            number = backing["mapped"]
            if number not in shown:
                shown[number] = reopened.mapping(number)
            made = File(shown[number], backing["offset"], backing["anon"])
            if shown[number] is None:
                made = Anon(start, backing["anon"])
        elif backing is not None:
            name = backing["name"]
            made = Anon(backing["offset"], backing["anon"], None if name is None else name.encode("utf-8", "surrogateescape"))
        areas.append(Vma(start, end, prot, flags, made, base, length))
    put_areas(space, areas)
    if proc.ipc is not None and header["ipc"]["watched"]:
        proc.ipc.watch(space, header["process"]["pid"])
    for address, number in header["pages"]:
        memory.write(address, saved.block(number))
    for start, end in header["touched"]:
        try:
            memory.populate(start, end, write=False)
        except EngineError:
            continue  # pages behind the end of a file that is shorter now
    memory.take_written()
    for start, end in header["guards"]:
        mm.guards.add(start, end)
        memory.withdraw(start, end)
    state = header["mm"]
    for name in ("start_brk", "brk_now", "data_bytes", "def_flags", "lowest", "anon_names", "deny_write_exec", "raw_io"):
        setattr(mm, name, state[name])
    vars(mm.areas)["_last_anon"] = state["last_anon"]
    mm.totals.peak = max(mm.totals.peak, state["peak"])
    if state["lost_locks"]:
        mm.totals.count_lost_locks(state["lost_locks"])


def put_areas(space: AddressSpace, areas: list[Vma]) -> None:
    """Fill an empty space with regions, which stay as they are: one change for everybody who listens."""
    if areas:
        updates = [Update(Kind.MAP, vma.start, vma.end, None, vma, space.context) for vma in areas]
        space.rewrite([(space.start, space.end, areas)], updates)


def _state(proc: Process, header: Mapping[str, Any]) -> None:
    """The kernel's side of it, and the registers."""
    state = header["process"]
    for name in "pid tid ppid clear_child_tid robust_list umask personality dumpable vdso no_new_privs".split():
        setattr(proc, name, state[name])
    for name in ("oom_score_adj", "coredump_filter", "timer_slack", "peak_rss"):
        setattr(proc.kept, name, state[name])
    proc.name, proc.exe = (state[name].encode("utf-8", "surrogateescape") for name in ("name", "exe"))
    proc.controls = dict(state["controls"])
    if state["policies"]:
        from emuvm.kernel.sys.numa import Policy

        proc.kept.policies = [Policy(*policy) for policy in state["policies"]]
    named = max([proc.controls.get("mempolicy", 0), *(vma.flags >> VmFlag.POLICY_SHIFT for vma in proc.space)])
    if named > len(proc.kept.policies):
        raise ResumeError([f"memory policy {named} is named, and is not there"])
    proc.rlimits = {number: (soft, hard) for number, soft, hard in state["rlimits"]}
    found = header["credentials"]
    credentials = Credentials(Ids(*found["uids"]), Ids(*found["gids"]), list(found["groups"]))
    for name in "inheritable permitted effective bounding ambient securebits changes".split():
        setattr(credentials, name, found[name])
    vars(proc.system)["credentials"] = credentials
    if (stack := header["stack"]) is not None:
        proc.stack_info = InitialStack(**stack, data=b"")
    if (plan := header["plan"]) is not None:
        proc.plan = Plan(**plan, mappings=())
    _signals(proc, header["signals"])
    _timers(proc, header["timers"])
    names = REGISTERS[proc.arch.name]
    proc.engine.set_fpu_state(header["fpu"])
    proc.engine.set_many(names, [header["registers"][name] for name in names])


def _signals(proc: Process, state: Mapping[str, Any]) -> None:
    signals = proc.signals
    signals.actions = {number: Sigaction(*action) for number, *action in state["actions"]}
    signals.mask, signals.saved_mask = state["mask"], state["saved_mask"]
    signals.altstack, signals.trap, signals.faulted = StackT(*state["altstack"]), state["trap"], state["faulted"]
    for thread, signal, code, address, why, fields, errno in state["pending"]:
        (signals.thread if thread else signals.process).add(SignalInfo(signal, code, address, why, fields, errno))
    signals.due = bool(signals.pending & ~signals.mask)


def _timers(proc: Process, running: tuple[tuple[int, int, int], ...]) -> None:
    if not running:
        return
    from emuvm.kernel.sys.time import timers_of

    made = timers_of(proc)
    for which, left, interval in running:
        timer = made.intervals[which]
        timer.set(timer.now() + left, interval)
    made.check()
