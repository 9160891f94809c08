"""Faults that the program's own SIGSEGV handler answers again and again: when the engine may run the handler without asking.

Owns: that decision, and taking over what happened meanwhile. Must not know how the engine does it (`engine.base.HandledFaults`).

    Process.run:  arm -> engine.run: fault, handler, rt_sigreturn, fault, ... -> collect: mask, last fault, trap

Armed is only who would be answered in the same way by `fault`, `signal_deliver` and `signal_frames`: nobody watches, nothing is pending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.sigframes import Sigaction
from emuvm.abi.sigframes_arm64 import RETURN
from emuvm.abi.sigframes_x86 import PAGE_FAULT
from emuvm.abi.signals import (
    SA_NODEFER,
    SA_ONSTACK,
    SA_RESETHAND,
    SA_RESTORER,
    SA_SIGINFO,
    SIG_IGN,
    SS_AUTODISARM,
    UNBLOCKABLE,
    Code,
    Signal,
)
from emuvm.engine.base import Access, FaultStop

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_SIGSEGV, _WRITING = int(Signal.SIGSEGV), 17


class Handled:
    """The faults of one process. Made when its handler has run once."""

    def __init__(self, proc: Process) -> None:
        self._proc = proc
        self._faults = proc.engine.handled_faults()
        self._state = None if self._faults is None else self._faults.state

    def arm(self) -> None:
        """The engine is about to run."""
        state, proc, faults = self._state, self._proc, self._faults
        if state is None or faults is None:
            return
        signals = proc.signals
        if (
            signals.thread.bits
            or signals.process.bits
            or signals.due
            or signals.saved_mask is not None
            or proc.restart_block is not None
            or proc.tracer is not None
            or proc.dispatcher.watched
        ):
            return
        action, stack = signals.actions.get(_SIGSEGV), signals.altstack
        if faults.prepared != (action, stack):
            faults.prepared = (action, stack)
            faults.usable = action is not None and self._prepare(action)
        state.mask, state.sequence = signals.mask, proc.controls.get("rseq", 0)
        state.armed = faults.usable

    def _prepare(self, action: Sigaction) -> bool:
        """May its handler be run so, with the alternate stack as it is? Then all is ready for it."""
        proc, faults, stack, flags = self._proc, self._faults, self._proc.signals.altstack, action.flags
        if action.handler <= SIG_IGN or flags & SA_RESETHAND or stack.flags & SS_AUTODISARM or faults is None:
            return False
        back = action.restorer
        if not flags & SA_RESTORER:
            if not proc.vdso:
                return False
            back = proc.vdso + RETURN
        adds = (action.mask | (0 if flags & SA_NODEFER else 1 << _SIGSEGV - 1)) & ~UNBLOCKABLE
        handler = action.handler, back, adds
        alternate, info = bool(flags & SA_ONSTACK), bool(flags & SA_SIGINFO)
        return faults.prepare(_SIGSEGV, Code.SEGV_ACCERR, handler, stack, alternate=alternate, info=info)

    def collect(self) -> None:
        """What happened since `arm`. Until the next one every fault and every return comes here."""
        state = self._state
        if state is None:
            return
        state.armed = 0
        if not state.count:
            return
        state.count = 0
        proc = self._proc
        signals = proc.signals
        signals.mask = state.mask
        if state.access:
            address, code = state.address, state.code
            proc.fault = FaultStop(address, Access.WRITE if state.access == _WRITING else Access.READ, 0, mapped=True)
            signals.trap = (code, PAGE_FAULT, address) if proc.arch.name == "x86_64" else (address, code, 0)
            state.access = 0
