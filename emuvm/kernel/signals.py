"""The signals of a process with one thread: actions, mask, what is pending, the alternate stack.

Owns: which signal is dropped, queued, and taken next (kernel/signal.c). Must not know frames, engines or system calls; what
taking a signal does is `signal_deliver`.

A signal is pending for the thread (`thread`: tgkill, faults) or for the process (`process`: kill, timers). `due` says that
something waits to be taken; other threads of emuvm's own set it too, see `post`.
"""

from __future__ import annotations

from collections.abc import Callable

from emuvm.abi.arch import Arch
from emuvm.abi.errno import Errno
from emuvm.abi.flags_mm import family
from emuvm.abi.sigframes import Sigaction, StackT
from emuvm.abi.signals import (
    MINSIGSTKSZ,
    SA_NOCLDSTOP,
    SA_NOCLDWAIT,
    SIG_DFL,
    SIG_IGN,
    SIGRTMIN,
    SS_AUTODISARM,
    SS_DISABLE,
    SS_ONSTACK,
    STOPPING,
    SYNCHRONOUS,
    UNBLOCKABLE,
    Action,
    Signal,
    default_action,
)
from emuvm.errors import GuestError
from emuvm.kernel.siginfo import SignalInfo

_CONT = 1 << Signal.SIGCONT - 1


class Pending:
    """A queue of signals: one of each kind below SIGRTMIN, any number of each real-time signal, in order."""

    __slots__ = ("bits", "queued")

    def __init__(self) -> None:
        self.bits = 0
        """Bit n-1 for signal n."""
        self.queued: dict[int, list[SignalInfo]] = {}

    def add(self, info: SignalInfo) -> bool:
        """Queue a signal; False when it is dropped because it is pending already."""
        signal, bit = info.signal, 1 << info.signal - 1
        if self.bits & bit:
            if signal < SIGRTMIN and info.timer is None:  # a timer has its own place in the queue (posixtimer_send_sigqueue)
                return False
            self.queued[signal].append(info)
            return True
        self.bits |= bit
        self.queued[signal] = [info]
        return True

    def take(self, ready: int) -> SignalInfo | None:
        """The next one of the mask `ready`: those of the running instruction first, then by number."""
        ready &= self.bits
        if not ready:
            return None
        first = ready & SYNCHRONOUS or ready
        signal = (first & -first).bit_length()
        waiting = self.queued[signal]
        info = waiting.pop(0)
        if not waiting:
            del self.queued[signal]
            self.bits &= ~(1 << signal - 1)
        return info

    def drop(self, mask: int) -> None:
        """Forget the signals of a mask."""
        gone = self.bits & mask
        self.bits &= ~mask
        while gone:
            for info in self.queued.pop((gone & -gone).bit_length()):
                if info.timer is not None:
                    info.timer.dropped()
            gone &= gone - 1

    def count(self) -> int:
        return sum(map(len, self.queued.values()))


class Signals:
    """Signal state. Masks have bit n-1 for signal n."""

    def __init__(self) -> None:
        self.actions: dict[int, Sigaction] = {}
        """Signals without an entry have the default action."""
        self.mask = 0
        self.saved_mask: int | None = None
        """The mask to come back to after a call that waited with another one (sigsuspend, ppoll, pselect6)."""
        self.thread = Pending()
        self.process = Pending()
        self.altstack = StackT(0, SS_DISABLE, 0)
        """As it was given, SS_ONSTACK and SS_DISABLE among the flags."""
        self.due = False
        """A signal may be ready to be taken."""
        self.trap = (0, 0, 0)
        """x86: (error code, trap number, cr2), arm64: (fault address, ESR, 0) of the last exception: signal frames show it."""
        self.faulted = False
        """The last stop was a fault, not a trap: x86 shows it in the flags of the frame."""
        self.arrivals: list[Callable[[], None]] = []
        """What other threads of emuvm want done before signals are taken; each item once."""
        self.listeners: list[Callable[[], None]] = []
        """Called after each change of what is pending."""

    @property
    def pending(self) -> int:
        """Mask of everything pending."""
        return self.thread.bits | self.process.bits

    def handler(self, signal: int) -> int:
        """SIG_DFL, SIG_IGN or the guest address of a handler."""
        action = self.actions.get(signal)
        return action.handler if action is not None else SIG_DFL

    def set_mask(self, mask: int) -> None:
        """Block these signals and no others (set_current_blocked)."""
        self.mask = mask & ~UNBLOCKABLE
        if (self.thread.bits | self.process.bits) & ~self.mask:
            self.due = True

    def ignored(self, signal: int) -> bool:
        """Does the action say that nothing happens? (sig_handler_ignored)"""
        handler = self.handler(signal)
        return handler == SIG_IGN or (handler == SIG_DFL and default_action(signal) in (Action.IGNORE, Action.CONTINUE))

    @property
    def no_stops(self) -> bool:
        """Does the process not want to hear of children that stop (SA_NOCLDSTOP)?"""
        action = self.actions.get(Signal.SIGCHLD)
        return action is not None and bool(action.flags & SA_NOCLDSTOP)

    @property
    def no_zombies(self) -> bool:
        """Does nobody want to know how children end?"""
        action = self.actions.get(Signal.SIGCHLD)
        return action is not None and (action.handler == SIG_IGN or bool(action.flags & SA_NOCLDWAIT))

    def unheeded(self, signal: int) -> bool:
        """Would a signal sent now be dropped because its action is to ignore it?"""
        return not self.mask & 1 << signal - 1 and self.ignored(signal)

    def send(self, info: SignalInfo, *, thread: bool) -> None:
        """Queue a signal, unless it is ignored or pending already."""
        signal, bit = info.signal, 1 << info.signal - 1
        if bit & STOPPING:
            self._drop(_CONT)
        elif bit == _CONT:
            self._drop(STOPPING)
        if not self.mask & bit:
            # A blocked signal is kept: its action may be another one when it is unblocked.
            if self.ignored(signal):
                return
            self.due = True
        (self.thread if thread else self.process).add(info)
        self._tell()

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()

    def force(self, info: SignalInfo, *, fatal: bool = False) -> None:
        """A signal that cannot be blocked or ignored: then its action becomes the default one (force_sig_info_to_task)."""
        signal, bit = info.signal, 1 << info.signal - 1
        if fatal or self.mask & bit or self.handler(signal) == SIG_IGN:
            self.actions.pop(signal, None)
            self.mask &= ~bit
        self.thread.add(info)
        self.due = True

    def take(self, ready: int) -> SignalInfo | None:
        """The next pending signal of the mask `ready`, no longer pending."""
        info = self.thread.take(ready) or self.process.take(ready)
        if self.listeners:
            self._tell()
        return info

    def _drop(self, mask: int) -> None:
        self.thread.drop(mask)
        self.process.drop(mask)
        if self.listeners:
            self._tell()

    def set_action(self, signal: int, action: Sigaction) -> None:
        """rt_sigaction: a pending signal that is ignored from now on is forgotten, blocked or not."""
        self.actions[signal] = action
        if action.handler <= SIG_IGN and self.ignored(signal):
            self._drop(1 << signal - 1)

    def on_stack(self, sp: int) -> bool:
        """Is the alternate stack in use? With SS_AUTODISARM nobody asks."""
        stack = self.altstack
        return not stack.flags & SS_AUTODISARM and 0 < sp - stack.sp <= stack.size

    def stack_flags(self, sp: int) -> int:
        """What sigaltstack tells about the state: SS_DISABLE, SS_ONSTACK or 0."""
        if not self.altstack.size:
            return SS_DISABLE
        return SS_ONSTACK if self.on_stack(sp) else 0

    def set_altstack(self, stack: StackT, sp: int, minimum: int) -> None:
        """sigaltstack: EPERM while it is in use, EINVAL, ENOMEM (do_sigaltstack)."""
        if self.on_stack(sp):
            raise GuestError(Errno.EPERM, "the alternate stack is in use")
        mode = stack.flags & ~SS_AUTODISARM & 0xFFFF_FFFF
        if mode not in (0, SS_ONSTACK, SS_DISABLE):
            raise GuestError(Errno.EINVAL, f"flags {stack.flags:#x}")
        if mode == SS_DISABLE:
            stack = StackT(0, stack.flags, 0)
        elif stack.size < minimum and stack != self.altstack:
            raise GuestError(Errno.ENOMEM, f"{stack.size} bytes are too few")
        self.altstack = stack

    def inherit(self, ignored: int) -> None:
        """What whoever started the program ignored stays ignored: bit n-1 for signal n."""
        for signal in range(1, 65):
            if ignored >> signal - 1 & 1:
                self.actions[signal] = Sigaction(SIG_IGN, 0, 0, 0)

    def inherited(self) -> None:
        """They are a child's from now on: nothing is pending for it (kernel/fork.c:copy_process)."""
        self.thread, self.process = Pending(), Pending()
        self.arrivals.clear()
        self.due = False
        self._tell()

    def reset_for_exec(self) -> None:
        """Handlers are gone after execve, ignored signals stay ignored, mask and pending signals too (flush_signal_handlers)."""
        self.actions = {n: Sigaction(SIG_IGN, 0, 0, 0) for n, a in self.actions.items() if a.handler == SIG_IGN}
        self.altstack = StackT(0, self.altstack.flags, 0)
        self.saved_mask = None


def minimum_stack(arch: Arch) -> int:
    """The smallest alternate stack."""
    return MINSIGSTKSZ.get(family(arch.name), 2048)
