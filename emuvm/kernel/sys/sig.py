"""The signal system calls.

Owns: their arguments, and sending signals to oneself. Must not know how a signal is taken. Sources: kernel/signal.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.sigframes import (
    SIGINFO_SIZE,
    pack_sigaction,
    pack_sigset,
    pack_stack_t,
    sigaction_size,
    sigset_size,
    stack_t_size,
    unpack_sigaction,
    unpack_siginfo,
    unpack_sigset,
    unpack_stack_t,
)
from emuvm.abi.signals import (
    NSIG,
    SA_KNOWN,
    SIG_BLOCK,
    SIG_DFL,
    SIG_IGN,
    SIG_SETMASK,
    SIG_UNBLOCK,
    SIGRTMIN,
    SS_AUTODISARM,
    UNBLOCKABLE,
    Code,
    Signal,
)
from emuvm.abi.structs import timespec_size, unpack_timespec
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.signal_restart import Interrupted, Restart
from emuvm.kernel.signals import minimum_stack

if TYPE_CHECKING:
    from emuvm.kernel.host_family import Relative
    from emuvm.kernel.process import Process

_SECOND = 1_000_000_000
_BILLION_YEARS = 1 << 62
_PENDING_LIMIT = 11
"""RLIMIT_SIGPENDING."""


def _size(proc: Process, size: int) -> None:
    if size != sigset_size(proc.arch):
        raise GuestError(Errno.EINVAL, f"signal sets of {size} bytes")


def _read_set(proc: Process, at: int, size: int) -> int:
    _size(proc, size)
    return unpack_sigset(proc.arch, proc.mem.read(at, size)) & ~UNBLOCKABLE


@syscall("rt_sigaction", "int ptr ptr size")
def rt_sigaction(proc: Process, signal: int, new: int, old: int, size: int) -> int:
    _size(proc, size)
    action = unpack_sigaction(proc.arch, proc.mem.read(new, sigaction_size(proc.arch))) if new else None
    if not 1 <= signal <= NSIG or (new and signal in (Signal.SIGKILL, Signal.SIGSTOP)):
        raise GuestError(Errno.EINVAL, f"signal {signal}")
    state = proc.signals
    before = state.actions.get(signal)
    if action is not None:
        state.set_action(signal, action._replace(mask=action.mask & ~UNBLOCKABLE, flags=action.flags & SA_KNOWN))
        if action.handler != SIG_DFL:
            _attend(proc, 1 << signal - 1)
        if before is not None and before.handler == SIG_IGN and proc.timers is not None and not state.ignored(signal):
            proc.timers.wanted(signal)
    if old:
        blank = bytes(sigaction_size(proc.arch))
        proc.mem.write(old, blank if before is None else pack_sigaction(proc.arch, before))
    return 0


def _attend(proc: Process, mask: int) -> None:
    """Signals that do not simply end the program any more: those from other processes shall reach it."""
    if proc.host_signals is not None:
        proc.host_signals.attend(mask)


@syscall("rt_sigprocmask", "int ptr ptr size")
def rt_sigprocmask(proc: Process, how: int, new: int, old: int, size: int) -> int:
    _size(proc, size)
    state = proc.signals
    before = state.mask
    if new:
        mask = _read_set(proc, new, size)
        if how == SIG_BLOCK:
            mask |= before
        elif how == SIG_UNBLOCK:
            mask = before & ~mask
        elif how != SIG_SETMASK:
            raise GuestError(Errno.EINVAL, f"how {how}")
        state.set_mask(mask)
        if mask & ~before:
            _attend(proc, mask & ~before)
    if old:
        proc.mem.write(old, pack_sigset(proc.arch, before))
    return 0


@syscall("rt_sigpending", "ptr size")
def rt_sigpending(proc: Process, to: int, size: int) -> int:
    _hear(proc)
    if size > sigset_size(proc.arch):
        raise GuestError(Errno.EINVAL, f"signal sets of {size} bytes")
    proc.mem.write(to, pack_sigset(proc.arch, proc.signals.pending & proc.signals.mask)[:size])
    return 0


@syscall("rt_sigreturn")
def rt_sigreturn(proc: Process) -> int:
    proc.delivery.sigreturn()
    proc.replaced = True
    return 0


@syscall("restart_syscall")
def restart_syscall(proc: Process) -> int:
    again, proc.restart_block = proc.restart_block, None
    if again is None:
        raise GuestError(Errno.EINTR, "nothing was interrupted")
    return again()


@syscall("sigaltstack", "ptr ptr")
def sigaltstack(proc: Process, new: int, old: int) -> int:
    state, sp = proc.signals, proc.engine.get("sp")
    stack = unpack_stack_t(proc.arch, proc.mem.read(new, stack_t_size(proc.arch))) if new else None
    before = state.altstack
    before = before._replace(flags=state.stack_flags(sp) | before.flags & SS_AUTODISARM)
    if stack is not None:
        state.set_altstack(stack, sp, minimum_stack(proc.arch))
    if old:
        proc.mem.write(old, pack_stack_t(proc.arch, before))
    return 0


# -- waiting for signals --------------------------------------------------------------------------------------------------


def _hear(proc: Process) -> None:
    """What the host has for the program is known, down to the last moment."""
    if proc.host_signals is not None:
        proc.host_signals.drain()


def _wait_for_any(proc: Process) -> int:
    """Until a signal is taken. The time limit is all that may end this otherwise."""
    from emuvm.kernel.waiting import wait

    proc.listen()
    while not proc.signals.due:
        wait(proc, {}, None)
    raise Interrupted(Restart.UNHANDLED)


@syscall("pause")
def pause(proc: Process) -> int:
    return _wait_for_any(proc)


@syscall("rt_sigsuspend", "ptr size")
def rt_sigsuspend(proc: Process, mask: int, size: int) -> int:
    wanted = _read_set(proc, mask, size)
    proc.signals.saved_mask = proc.signals.mask
    _attend(proc, wanted)
    proc.signals.set_mask(wanted)
    return _wait_for_any(proc)


@syscall("rt_sigtimedwait", "ptr ptr ptr size")
def rt_sigtimedwait(proc: Process, wanted: int, to: int, timeout: int, size: int) -> int:
    from emuvm.kernel.waiting import wait

    mask = _read_set(proc, wanted, size)
    until = None
    if timeout:
        seconds, fraction = unpack_timespec(proc.arch, proc.mem.read(timeout, timespec_size(proc.arch)))
        if seconds < 0 or not 0 <= fraction < _SECOND:
            raise GuestError(Errno.EINVAL, f"{seconds} s and {fraction} ns")
        until = proc.system.monotonic_ns() + min(seconds * _SECOND + fraction, _BILLION_YEARS)
    state = proc.signals
    _hear(proc)
    found = proc.delivery.take(mask)
    if found is None and (until is None or until > proc.system.monotonic_ns()):
        proc.listen()
        before = state.mask
        # Those waited for interrupt the wait, and are not taken as usual.
        state.mask = before & ~mask
        while True:
            over = wait(proc, {}, until) is not None
            proc.delivery.run_arrivals()
            if over or state.pending & ~state.mask:
                break
        state.set_mask(before)
        found = proc.delivery.take(mask)
        if found is None:
            raise GuestError(Errno.EAGAIN if over else Errno.EINTR, "no such signal came")
    if found is None:
        raise GuestError(Errno.EAGAIN, "no such signal is pending")
    if to:
        from emuvm.kernel.signal_frames import siginfo

        proc.mem.write(to, siginfo(proc, found))
    return found.signal


# -- sending --------------------------------------------------------------------------------------------------------------


def send(proc: Process, signal: int, code: int, *, thread: bool) -> int:
    if not 0 <= signal <= NSIG:
        raise GuestError(Errno.EINVAL, f"signal {signal}")
    if signal:
        if thread:
            _room(proc, signal)
        proc.kill(SignalInfo(signal, code, None, "sent by the program itself"), thread=thread)
    return 0


def _room(proc: Process, signal: int) -> None:
    """EAGAIN when a real-time signal finds the queue full (RLIMIT_SIGPENDING)."""
    state = proc.signals
    if signal >= SIGRTMIN and state.pending >> SIGRTMIN - 1:
        count = state.thread.count() + state.process.count()
        limit = proc.rlimits.get(_PENDING_LIMIT) or proc.system.limit(_PENDING_LIMIT)
        if count >= limit[0]:
            raise GuestError(Errno.EAGAIN, f"{count} signals are pending")


_OUT_OF_REACH = "to the program's own processes; others are out of reach (EPERM), and 0 only tests"


@syscall("kill", "int int", level="partial", note=_OUT_OF_REACH)
def kill(proc: Process, pid: int, signal: int) -> int:
    if pid == -(1 << 31):
        raise GuestError(Errno.ESRCH, "no such group")
    if not 0 <= signal <= NSIG:
        raise GuestError(Errno.EINVAL, f"signal {signal}")
    if pid == proc.pid or (proc.family is None and pid in (0, -proc.pgid)):
        return send(proc, signal, Code.SI_USER, thread=False)
    if pid > 0:
        relative = _relative(proc, pid, signal)
        if relative is not None:
            _permit(proc, relative, signal)
            assert proc.family is not None
            proc.family.kill(pid, signal)
        return 0
    return _kill_group(proc, pid, signal)


def _relative(proc: Process, pid: int, signal: int) -> Relative | None:
    """Another process of the run. ESRCH there is none of this number, EPERM it is a stranger; None: one that could be sent 0, no more."""
    found = proc.family.find(pid) if proc.family is not None else None
    if found is None:
        if not proc.system.process_exists(pid):
            raise GuestError(Errno.ESRCH, f"process {pid}")
        if signal or not proc.system.may_signal(pid) or not proc.system.credentials.may_signal(proc.system.owner(pid)):
            raise GuestError(Errno.EPERM, f"process {pid}")
    return found


def _permit(proc: Process, to: Relative, signal: int) -> None:
    """EPERM (kernel/signal.c:check_kill_permission)."""
    credentials = proc.system.credentials
    if credentials.may_signal(to.real) or credentials.may_signal(to.saved):
        return
    if signal != Signal.SIGCONT or proc.system.session(to.pid) != proc.sid:
        raise GuestError(Errno.EPERM, f"process {to.pid}")


def _kill_group(proc: Process, pid: int, signal: int) -> int:
    """Each process of a group, -1: every other one. It succeeds if one does."""
    group = -pid or proc.pgid
    error = GuestError(Errno.ESRCH, f"group {group}")
    done = mine = False
    for relative in proc.family or ():
        if relative.pid == proc.pid:
            mine = pid != -1 and proc.pgid == group
            continue
        try:
            if pid == -1 or proc.system.group_of(relative.pid) == group:
                _permit(proc, relative, signal)
                assert proc.family is not None
                proc.family.kill(relative.pid, signal)
                done = True
        except (GuestError, OSError) as failed:
            error = failed if isinstance(failed, GuestError) else error
    if mine:
        return send(proc, signal, Code.SI_USER, thread=False)
    if not done:
        raise error
    return 0


@syscall("tkill", "int int")
def tkill(proc: Process, tid: int, signal: int) -> int:
    if tid <= 0:
        raise GuestError(Errno.EINVAL, f"thread {tid}")
    if tid != proc.tid:
        return to_relative(proc, tid, signal, thread=True)
    return send(proc, signal, Code.SI_TKILL, thread=True)


@syscall("tgkill", "int int int")
def tgkill(proc: Process, tgid: int, tid: int, signal: int) -> int:
    if tid <= 0 or tgid <= 0:
        raise GuestError(Errno.EINVAL, f"thread {tid} of {tgid}")
    if tid != proc.tid or tgid != proc.pid:
        return to_relative(proc, tid if tid == tgid else -1, signal, thread=True)
    return send(proc, signal, Code.SI_TKILL, thread=True)


def to_relative(proc: Process, pid: int, signal: int, *, thread: bool, group: bool = False) -> int:
    """To another process of the run, its one thread, or its group. ESRCH."""
    relative = proc.family.find(pid) if proc.family is not None else None
    if relative is None:
        raise GuestError(Errno.ESRCH, f"process {pid}")
    if not 0 <= signal <= NSIG:
        raise GuestError(Errno.EINVAL, f"signal {signal}")
    if group:
        return _kill_group(proc, -proc.system.group_of(pid), signal)
    _permit(proc, relative, signal)
    assert proc.family is not None
    proc.family.kill(pid, signal, thread=thread)
    return 0


@syscall("rt_sigqueueinfo", "int int ptr", level="partial", note=_OUT_OF_REACH)
def rt_sigqueueinfo(proc: Process, pid: int, signal: int, at: int) -> int:
    return queue(proc, signal, at, pid, thread=False)


@syscall("rt_tgsigqueueinfo", "int int int ptr", level="partial", note="to oneself only")
def rt_tgsigqueueinfo(proc: Process, tgid: int, tid: int, signal: int, at: int) -> int:
    data = proc.mem.read(at, SIGINFO_SIZE)
    if tid <= 0 or tgid <= 0:
        raise GuestError(Errno.EINVAL, f"thread {tid} of {tgid}")
    del data
    return queue(proc, signal, at, tgid if tid == tgid else -1, thread=True)


_FIELDS_END = 48 - 16
"""The kernel keeps 48 bytes of a siginfo; the rest must be zero unless it knows the kind."""
_KNOWN_CODES = frozenset((Code.SI_QUEUE, Code.SI_TIMER, Code.SI_MESGQ, Code.SI_SIGIO, Code.SI_TKILL, -60))


def check_fields(proc: Process, data: bytes) -> None:
    """E2BIG: a siginfo of a kind that the kernel does not know, with more than it keeps."""
    _, code, _, fields = unpack_siginfo(proc.arch, data)
    if code not in _KNOWN_CODES and any(fields[_FIELDS_END:]) and code != Code.SI_USER:
        raise GuestError(Errno.E2BIG, f"si_code {code} with unknown fields")


def queue(proc: Process, signal: int, at: int, pid: int, *, thread: bool) -> int:
    data = proc.mem.read(at, SIGINFO_SIZE)
    _, code, errno, fields = unpack_siginfo(proc.arch, data)
    check_fields(proc, data)
    if pid != proc.pid:
        if code >= 0 or code == Code.SI_TKILL:
            raise GuestError(Errno.EPERM, "others are not told lies")
        relative = proc.family.find(pid) if proc.family is not None else None
        if relative is None or not 0 <= signal <= NSIG:
            raise GuestError(Errno.EINVAL if relative else Errno.ESRCH, f"signal {signal} to process {pid}")
        _permit(proc, relative, signal)
        assert proc.family is not None
        proc.family.queue(pid, signal, data[:8] + code.to_bytes(4, "little", signed=True) + data[12:])
        return 0
    if not 0 <= signal <= NSIG:
        raise GuestError(Errno.EINVAL, f"signal {signal}")
    if signal:
        _room(proc, signal)
        proc.kill(SignalInfo(signal, code, None, "sent by the program itself", fields[:_FIELDS_END], errno), thread=thread)
    return 0
