"""Watching a run: what a process tells somebody who looks on, system calls apart.

Owns: the Tracer protocol. Must not know who watches, nor how it is shown. System calls are watched in `Dispatcher.watch`;
`Process.tracer` is None unless somebody watches, so every use is

    if proc.tracer is not None:
        proc.tracer.signal(info)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from emuvm.kernel.process import ExitStatus
    from emuvm.kernel.siginfo import SignalInfo


class Tracer(Protocol):
    """Somebody who watches one process. The methods only look, and never raise."""

    def signal(self, info: SignalInfo) -> None:
        """A signal is taken: called once, after it left the pending set and before its handler's frame is built, or it kills.

        Like a real tracer it also hears of signals whose action is to ignore them, but not of SIGKILL.
        """

    def born(self) -> bool:
        """The process is a child of the one that was watched from here on: is it watched too?"""

    def exited(self, status: ExitStatus | None) -> None:
        """The last word, from whoever runs the process (`running.started`): it has ended. None: the run was broken off."""
