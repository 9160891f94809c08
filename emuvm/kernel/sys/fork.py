"""fork, vfork, clone, clone3, and what of a process its child does not have.

Owns: their arguments. A child is a process of the host with emuvm in it. Threads, and processes that share memory, descriptors or
directories, cannot be made: ENOSYS. A child of vfork has a copy of the memory, and its parent, which waits, gets what it wrote.
Must not know how children are waited for (`wait`). Source: kernel/fork.c.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING

from emuvm.abi.controls import Process as P
from emuvm.abi.errno import Errno
from emuvm.abi.flags import rlimit_for
from emuvm.abi.signals import NSIG, SIG_DFL, SIG_IGN, Signal
from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import Residency
from emuvm.errors import EngineError, GuestError
from emuvm.kernel.errands import serve
from emuvm.kernel.host_family import Family
from emuvm.kernel.lent import Lent
from emuvm.kernel.registry import syscall
from emuvm.kernel.sys.pidfd import PidFile
from emuvm.kernel.sys.time import limit_cpu
from emuvm.mm import rules
from emuvm.mm.types import VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_ALONE = "a process of its own; what shares memory, descriptors or directories is ENOSYS, and so are threads"
_SHARING = P.CLONE_FS | P.CLONE_FILES | P.CLONE_SIGHAND | P.CLONE_THREAD | P.CLONE_PARENT | P.CLONE_INTO_CGROUP
_REALTIME = (1, 2)
"""SCHED_FIFO, SCHED_RR."""
_SMALLEST, _PAGE = 64, 4096
_CLONE_ARGS = Struct("<11Q")
"""struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup."""


class Wanted(NamedTuple):
    """What a child is to be: the lowest byte of the flags is its last signal; addresses in the guest."""

    flags: int
    stack: int = 0
    parent_tid: int = 0
    child_tid: int = 0
    tls: int = 0
    pidfd: int = 0


@syscall("fork", level="partial", note=_ALONE)
def fork(proc: Process) -> int:
    return _fork(proc, "fork", Wanted(Signal.SIGCHLD))


@syscall("vfork", level="partial", note=_ALONE)
def vfork(proc: Process) -> int:
    return _fork(proc, "vfork", Wanted(P.CLONE_VFORK | P.CLONE_VM | Signal.SIGCHLD))


@syscall("clone", "ulong ulong ulong ulong ulong", level="partial", note=_ALONE)
def clone(proc: Process, *args: int) -> int:
    named = dict(zip(proc.arch.clone_args, args, strict=True))
    flags = named["flags"] & 0xFFFF_FFFF
    _check(flags)
    if flags & P.CLONE_PIDFD and flags & P.CLONE_PARENT_SETTID:
        raise GuestError(Errno.EINVAL, "both would be stored at one place")
    parent = named["parent_tid"]
    return _fork(proc, "clone", Wanted(flags, named["stack"], parent, named["child_tid"], named["tls"], parent))


@syscall("clone3", "ptr size", level="partial", note=_ALONE)
def clone3(proc: Process, at: int, size: int) -> int:
    if size > _PAGE or size < _SMALLEST:
        raise GuestError(Errno.E2BIG if size > _PAGE else Errno.EINVAL, f"{size} bytes of arguments")
    data = proc.mem.read(at, size)
    if any(data[_CLONE_ARGS.size :]):
        raise GuestError(Errno.E2BIG, "arguments that nobody knows")
    fields = _CLONE_ARGS.unpack(data.ljust(_CLONE_ARGS.size, b"\0")[: _CLONE_ARGS.size])
    flags, pidfd_at, child, parent, signal, stack, length, tls, tids, count, _ = fields
    known = 0xFFFF_FFFF & ~(P.CSIGNAL | P.CLONE_DETACHED) | P.CLONE_CLEAR_SIGHAND | P.CLONE_INTO_CGROUP | P.CLONE_NEWTIME
    if count > 32 or (count != 0) != (tids != 0) or signal & ~P.CSIGNAL or signal > NSIG:
        raise GuestError(Errno.EINVAL, f"signal {signal}, {count} numbers")
    if flags & ~known or flags & P.CLONE_CLEAR_SIGHAND and flags & P.CLONE_SIGHAND or bool(stack) != bool(length):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}, {length} bytes of stack")
    if flags & (P.CLONE_THREAD | P.CLONE_PARENT) and signal:
        raise GuestError(Errno.EINVAL, "a thread ends without a signal")
    _check(flags)
    if count:
        raise GuestError(Errno.EPERM, "a process cannot choose its number")
    if flags & P.CLONE_PIDFD and flags & P.CLONE_PARENT_SETTID and pidfd_at == parent:
        raise GuestError(Errno.EINVAL, "both would be stored at one place")
    return _fork(proc, "clone3", Wanted(flags | signal, stack + length, parent, child, tls, pidfd_at))


def _check(flags: int) -> None:
    """What copy_process refuses."""
    filesystems = flags & P.CLONE_FS and flags & (P.CLONE_NEWNS | P.CLONE_NEWUSER)
    incomplete = (flags & P.CLONE_THREAD and not flags & P.CLONE_SIGHAND) or (flags & P.CLONE_SIGHAND and not flags & P.CLONE_VM)
    if filesystems or incomplete or (flags & P.CLONE_THREAD and flags & (P.CLONE_NEWUSER | P.CLONE_NEWPID)):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")


def _fork(proc: Process, name: str, wanted: Wanted) -> int:
    flags, signals = wanted.flags, proc.host_signals
    lends = bool(flags & P.CLONE_VFORK)
    shares = flags & _SHARING or (flags & P.CLONE_VM and not lends) or flags & P.CSIGNAL != Signal.SIGCHLD
    if signals is None or not proc.may_fork or shares:
        return proc.dispatcher.missing(name)
    if flags & P.NAMESPACES:
        raise GuestError(Errno.EPERM, "a program keeps its namespaces")
    users = proc.system.credentials.uids
    if proc.family is None:
        proc.family = Family(users.real, users.saved)
    proc.mm.sync()
    signals.changed, signals.served = _look_after(proc)
    signals.share(proc.family.mail.fileno())
    zeros = _zeros(proc)
    lent = Lent(proc) if lends else None
    try:
        pid = proc.family.fork(users.real, users.saved)
    except BaseException:
        if lent is not None:
            lent.close()
        raise
    if pid:
        if flags & P.CLONE_PARENT_SETTID:
            _store(proc, wanted.parent_tid, pid)
        if flags & P.CLONE_PIDFD:
            _store(proc, wanted.pidfd, proc.files.add(PidFile(pid, 0), cloexec=True))
        if lent is not None:
            lent.wait(proc)
        return pid
    if proc.lent is not None:
        proc.lent.kept_out()
    proc.lent = lent
    if lent is not None:
        lent.taken(proc, copy=bool(flags & P.CLONE_VM))
    _become(proc, flags, zeros)
    if wanted.stack:
        proc.engine.set("sp", wanted.stack)
    if flags & P.CLONE_SETTLS:
        proc.engine.set(proc.arch.tls, wanted.tls)
    proc.clear_child_tid = wanted.child_tid if flags & P.CLONE_CHILD_CLEARTID else 0
    if flags & P.CLONE_CHILD_SETTID:
        _store(proc, wanted.child_tid, proc.pid)
    if flags & P.CLONE_PARENT_SETTID and flags & P.CLONE_VM:
        _store(proc, wanted.parent_tid, proc.pid)
    return 0


def _store(proc: Process, at: int, pid: int) -> None:
    """Where it cannot be stored it is not."""
    try:
        proc.mem.write_u32(at, pid)
    except (GuestError, EngineError):
        return


def _look_after(proc: Process) -> tuple[Callable[[], object], Callable[[], None]]:
    """What is done when a child changes, and when somebody asks for something."""
    family, signals = proc.family, proc.signals
    assert family is not None
    return lambda: family.changed(reap=signals.no_zombies), lambda: family.serve(lambda request: serve(proc, request))


def _zeros(proc: Process) -> list[tuple[int, int]]:
    """Pages that were read, and never written, of areas whose pages a child gets: the host may see other areas, and not copy them."""
    found = []
    for vma in proc.space:
        if rules.anonymous(vma) and rules.copied(vma) and not vma.flags & (VmFlag.MAYSHARE | VmFlag.DONTCOPY | VmFlag.WIPEONFORK):
            pieces = proc.engine.memory.resident(vma.start, vma.end, cached=False)
            found += [(low, high) for low, high, bits in pieces if not bits & (Residency.PRIVATE | Residency.FILE)]
    return found


def _become(proc: Process, flags: int, zeros: list[tuple[int, int]]) -> None:
    """The process is the child from now on (copy_process)."""
    assert proc.host_signals is not None
    proc.born(proc.host_signals)
    if flags & P.CLONE_CLEAR_SIGHAND:
        actions = proc.signals.actions
        proc.signals.actions = {n: a for n, a in actions.items() if a.handler in (SIG_IGN, SIG_DFL)}
    proc.mm.inherited()
    for low, high in zeros:
        proc.engine.memory.populate(low, high, write=False)
    if proc.controls.get("sched_reset_on_fork"):
        realtime = proc.controls.get("sched_policy", 0) in _REALTIME
        if realtime:
            proc.controls["sched_policy"] = proc.controls["sched_priority"] = 0
        if realtime or proc.nice < 0:
            proc.controls["nice"] = 0
        proc.controls["sched_reset_on_fork"] = 0
    for name in ("pdeathsig", "subreaper", "futex_slots", "timer_restore"):
        proc.controls.pop(name, None)
    if proc.controls.get("mdwe", 0) & 2:  # PR_MDWE_NO_INHERIT
        proc.controls.pop("mdwe")
        proc.mm.deny_write_exec = False
    number = rlimit_for(proc.arch.name).RLIMIT_CPU
    if number in proc.rlimits:
        limit_cpu(proc, proc.rlimits[number][0])
