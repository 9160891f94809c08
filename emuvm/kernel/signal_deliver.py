"""Taking signals: default actions, handlers, and what becomes of the system call that one interrupted.

Owns: the loop at the way back to user code (kernel/signal.c:get_signal, arch_do_signal_or_restart). Must not know frames
(`signal_frames`), nor why a call waited.

    take a signal -> ignore it | stop | end the program | make a frame, go on with the handler's registers
    none left     -> the call that was interrupted is made again, the mask that it had replaced comes back
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.numbers import numbers
from emuvm.abi.sigframes import Sigaction, StackT
from emuvm.abi.signals import (
    SA_NODEFER,
    SA_RESETHAND,
    SA_RESTART,
    SIG_DFL,
    SIG_IGN,
    SS_AUTODISARM,
    SS_DISABLE,
    Action,
    Code,
    Signal,
    default_action,
)
from emuvm.errors import GuestError
from emuvm.kernel import rseq
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.signal_frames import BadFrame, Frames, frames
from emuvm.kernel.signal_restart import Interrupted, Restart, rewind

if TYPE_CHECKING:
    from emuvm.kernel.process import Process


class Delivery:
    """How one process takes its signals."""

    def __init__(self, proc: Process) -> None:
        self.proc = proc
        self._frames: Frames = frames(proc)

    def deliver(self, interrupted: Interrupted | None = None) -> None:
        """Take every signal that is ready. `interrupted`: the call that is being left without a result."""
        proc, state = self.proc, self.proc.signals
        while proc.ended is None:
            self.run_arrivals()
            info = self.take(~state.mask)
            if info is None:
                break
            if proc.tracer is not None and info.signal != Signal.SIGKILL:
                proc.tracer.signal(info)
            action = state.actions.get(info.signal)
            if info.signal == Signal.SIGKILL or action is None or action.handler == SIG_DFL:
                self._default(info)
            elif action.handler != SIG_IGN:
                if interrupted is not None:
                    self._result_for_handler(interrupted, action)
                    interrupted = None
                self.enter(info, action)
                if not state.due:
                    break
        if proc.ended is not None:
            return
        if interrupted is not None:
            self._again(interrupted)
        if state.saved_mask is not None:
            mask, state.saved_mask = state.saved_mask, None
            state.set_mask(mask)
            if state.due:
                self.deliver()

    def run_arrivals(self) -> None:
        """Have done what other threads want; nothing is due any more."""
        state = self.proc.signals
        state.due = False
        while state.arrivals:
            state.arrivals.pop(0)()

    def ready(self) -> bool:
        """Is there a signal to take? What is due may come to nothing."""
        self.run_arrivals()
        state = self.proc.signals
        state.due = bool(state.pending & ~state.mask)
        return state.due

    def take(self, ready: int) -> SignalInfo | None:
        """The next pending signal of a mask. A timer's is dropped if the timer has been set anew, and starts the timer again."""
        while True:
            info: SignalInfo | None = self.proc.signals.take(ready)
            if info is None:
                return None
            if info.signal == Signal.SIGALRM and self.proc.timers is not None:
                self.proc.timers.alarm_taken()
            if info.timer is None:
                return info
            info = info.timer.taken(info)
            if info is not None:
                return info

    def _default(self, info: SignalInfo) -> None:
        proc, signal = self.proc, info.signal
        kind = default_action(signal)
        if kind is Action.STOP:
            proc.system.stop(signal)
        elif kind in (Action.TERMINATE, Action.CORE):
            proc.die(info)

    def enter(self, info: SignalInfo, action: Sigaction) -> None:
        """Run a handler (handle_signal and signal_setup_done)."""
        state, signal = self.proc.signals, info.signal
        if action.flags & SA_RESETHAND:
            state.actions[signal] = action._replace(handler=SIG_DFL)
        mask = state.mask if state.saved_mask is None else state.saved_mask
        if not rseq.interrupt(self.proc):
            return
        try:
            self._frames.enter(info, action, mask)
        except GuestError as error:
            why = f"there is no room for the frame of the handler of signal {signal}: {error.why}"
            state.force(SignalInfo(Signal.SIGSEGV, Code.SI_KERNEL, 0, why), fatal=signal == Signal.SIGSEGV)
            return
        finally:
            state.faulted = False
        state.saved_mask = None
        blocked = state.mask | action.mask
        if not action.flags & SA_NODEFER:
            blocked |= 1 << signal - 1
        state.set_mask(blocked)
        if state.altstack.flags & SS_AUTODISARM:
            state.altstack = StackT(0, SS_DISABLE, 0)

    # -- the interrupted call -------------------------------------------------------------------------------------------

    def _result_for_handler(self, call: Interrupted, action: Sigaction) -> None:
        if call.kind is Restart.ALWAYS or (call.kind is Restart.UNLESS_TOLD and action.flags & SA_RESTART):
            rewind(self.proc)
        else:
            self.proc.engine.set_result(-Errno.EINTR)

    def _again(self, call: Interrupted) -> None:
        """No handler ran: the call goes on, one that waits for a time with what is left of it."""
        proc = self.proc
        if call.kind is Restart.NEVER:
            proc.engine.set_result(-Errno.EINTR)
            return
        rewind(self.proc)
        if call.kind is Restart.REST:
            proc.restart_block = call.again
            proc.engine.set(proc.arch.syscall_number, numbers(proc.arch.name)["restart_syscall"])

    # -- coming back ------------------------------------------------------------------------------------------------------

    def sigreturn(self) -> None:
        """rt_sigreturn: everything as the frame says, or SIGSEGV."""
        proc, state = self.proc, self.proc.signals
        proc.restart_block = None
        try:
            self._frames.leave()
        except BadFrame as bad:
            if not bad.returned:
                proc.engine.set_result(0)
            state.force(bad.info)
