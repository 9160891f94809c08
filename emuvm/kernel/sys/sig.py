"""The signal system calls.

Owns: signal state as programs set it, and sending signals to oneself. Must not know how a signal ends a process. Handlers
are recorded but not run in this version. Sources: kernel/signal.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.sigframes import (
    StackT,
    pack_sigaction,
    pack_sigset,
    pack_stack_t,
    sigaction_size,
    sigset_size,
    stack_t_size,
    unpack_sigaction,
    unpack_sigset,
    unpack_stack_t,
)  # fmt: skip
from emuvm.abi.signals import NSIG, SIG_BLOCK, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, Code, Signal
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.siginfo import SignalInfo

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_UNBLOCKABLE = 1 << (Signal.SIGKILL - 1) | 1 << (Signal.SIGSTOP - 1)
_MINSIGSTKSZ = 2048
_NOT_RUN = "handlers are recorded, but not run: a caught signal ends the program"


def _size(proc: Process, size: int) -> None:
    if size != sigset_size(proc.arch):
        raise GuestError(Errno.EINVAL, f"signal sets of {size} bytes")


@syscall("rt_sigaction", "int ptr ptr size", level="partial", note=_NOT_RUN)
def rt_sigaction(proc: Process, signal: int, new: int, old: int, size: int) -> int:
    _size(proc, size)
    action = unpack_sigaction(proc.arch, proc.mem.read(new, sigaction_size(proc.arch))) if new else None
    if not 1 <= signal <= NSIG or (new and signal in (Signal.SIGKILL, Signal.SIGSTOP)):
        raise GuestError(Errno.EINVAL, f"signal {signal}")
    state = proc.signals
    before = state.actions.get(signal)
    if action is not None:
        state.actions[signal] = action._replace(mask=action.mask & ~_UNBLOCKABLE)
        if action.handler == SIG_IGN:
            state.pending &= ~(1 << (signal - 1))
    if old:
        blank = bytes(sigaction_size(proc.arch))
        proc.mem.write(old, blank if before is None else pack_sigaction(proc.arch, before))
    return 0


@syscall("rt_sigprocmask", "int ptr ptr size")
def rt_sigprocmask(proc: Process, how: int, new: int, old: int, size: int) -> int:
    _size(proc, size)
    state = proc.signals
    before = state.mask
    if new:
        mask = unpack_sigset(proc.arch, proc.mem.read(new, size)) & ~_UNBLOCKABLE
        if how == SIG_BLOCK:
            state.mask |= mask
        elif how == SIG_UNBLOCK:
            state.mask &= ~mask
        elif how == SIG_SETMASK:
            state.mask = mask
        else:
            raise GuestError(Errno.EINVAL, f"how {how}")
    if old:
        proc.mem.write(old, pack_sigset(proc.arch, before))
    if state.pending:
        proc.deliver_pending()
    return 0


@syscall("rt_sigpending", "ptr size")
def rt_sigpending(proc: Process, to: int, size: int) -> int:
    if size > sigset_size(proc.arch):
        raise GuestError(Errno.EINVAL, f"signal sets of {size} bytes")
    proc.mem.write(to, pack_sigset(proc.arch, proc.signals.pending & proc.signals.mask)[:size])
    return 0


@syscall("sigaltstack", "ptr ptr", level="partial", note=_NOT_RUN)
def sigaltstack(proc: Process, new: int, old: int) -> int:
    state = proc.signals
    stack = unpack_stack_t(proc.arch, proc.mem.read(new, stack_t_size(proc.arch))) if new else None
    before = state.altstack
    if stack is not None:
        mode = stack.flags & ~SS_AUTODISARM & 0xFFFF_FFFF
        if mode not in (0, SS_ONSTACK, SS_DISABLE):
            raise GuestError(Errno.EINVAL, f"flags {stack.flags:#x}")
        if mode == SS_DISABLE:
            stack = StackT(0, SS_DISABLE, 0)
        elif stack.size < _MINSIGSTKSZ:
            raise GuestError(Errno.ENOMEM, f"{stack.size} bytes are too few")
        else:
            stack = stack._replace(flags=stack.flags & ~SS_ONSTACK)
        state.altstack = stack
    if old:
        proc.mem.write(old, pack_stack_t(proc.arch, before))
    return 0


def _send(proc: Process, signal: int, code: int) -> int:
    if not 0 <= signal <= NSIG:
        raise GuestError(Errno.EINVAL, f"signal {signal}")
    if signal:
        proc.kill(SignalInfo(signal, code, None, "sent by the program itself"))
    return 0


@syscall("kill", "int int", level="partial", note="to oneself, or 0 to test; other processes are out of reach (EPERM)")
def kill(proc: Process, pid: int, signal: int) -> int:
    if not 0 <= signal <= NSIG:
        raise GuestError(Errno.EINVAL, f"signal {signal}")
    if pid in (proc.pid, 0, -proc.system.pgid):
        return _send(proc, signal, Code.SI_USER)
    raise GuestError(Errno.ESRCH if pid < 0 or not proc.system.process_exists(pid) else Errno.EPERM, f"process {pid}")


@syscall("tkill", "int int")
def tkill(proc: Process, tid: int, signal: int) -> int:
    if tid <= 0:
        raise GuestError(Errno.EINVAL, f"thread {tid}")
    if tid != proc.tid:
        raise GuestError(Errno.ESRCH, f"thread {tid}")
    return _send(proc, signal, Code.SI_TKILL)


@syscall("tgkill", "int int int")
def tgkill(proc: Process, tgid: int, tid: int, signal: int) -> int:
    if tid <= 0 or tgid <= 0:
        raise GuestError(Errno.EINVAL, f"thread {tid} of {tgid}")
    if tid != proc.tid or tgid != proc.pid:
        raise GuestError(Errno.ESRCH, f"thread {tid} of {tgid}")
    return _send(proc, signal, Code.SI_TKILL)


