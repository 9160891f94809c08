"""From a system-call number to its handler and back: the one place where failures become -errno.

Owns: the table number -> bound handler of one process (filled when a call is first made), the fast path inside the
engine's hook, what happens to unknown calls. Must not know any single call.

    GuestError  -> -errno      TimeLimit -> passed on       anything else -> EmulatorBug, with the call and the map
    Interrupted -> no result: the signal that is due decides whether the call is made again
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.numbers import table
from emuvm.errors import EmulatorBug, GuestError, Pause
from emuvm.kernel import registry
from emuvm.kernel.signal_restart import Interrupted, rewind
from emuvm.kernel.usermem import Deferred

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

Bound = Callable[[tuple[int, ...]], int]
Watcher = Callable[[str, Bound], Bound]
"""(name, what makes the call) -> what makes it and is watched; a call without a name in the table is 'number 1234'."""


class TimeLimit(Exception):
    """The time limit ended a system call that was waiting. Raised by whoever notices it; `Process.run` takes it."""


class Dispatcher:
    """The system calls of one process."""

    def __init__(self, proc: Process) -> None:
        self._proc = proc
        self._names = table(proc.arch.name)
        self._word = (1 << proc.arch.bits) - 1
        self._fast: dict[int, Bound | None] = {}
        self._slow: dict[int, Bound] = {}
        self._last: tuple[int, tuple[int, ...]] = (-1, ())
        self._watchers: list[tuple[Watcher, frozenset[str] | None]] = []
        self.log: list[tuple[int, tuple[int, ...], int | None]] | None = None
        """While it is a list, every call goes there when it is over: number, raw arguments, result; None: it did not return."""
        self.unknown: dict[str, int] = {}
        """Calls answered with ENOSYS for want of a handler, by name, with how often."""

    def fast(self, number: int, args: tuple[int, ...]) -> int | None:
        """FastCall of the engine: run a pure handler at once; None for every other call."""
        try:
            bound = self._fast[number]
        except KeyError:
            bound = self._fast[number] = self._bind_fast(number)
        if bound is None:
            return None
        try:
            result = bound(args)
        except GuestError as error:
            result = -error.errno
        except Deferred:
            return None
        if self.log is not None:
            self.log.append((number, args, result))
        return result if result >= 0 else result & self._word

    def watch(self, watcher: Watcher, names: frozenset[str] | None = None) -> None:
        """Have every call of these names, None: every call, known or not, made through what `watcher` makes of it, and none of them
        inside the engine's hook."""
        self._watchers.append((watcher, names))
        self._fast.clear()
        self._slow.clear()

    def unseen(self) -> None:
        """Nobody watches any more."""
        self.log = None
        self._watchers.clear()
        self._fast.clear()
        self._slow.clear()

    def unwatch(self, watcher: Watcher) -> None:
        """The end of `watch`."""
        self._watchers = [entry for entry in self._watchers if entry[0] is not watcher]
        self._fast.clear()
        self._slow.clear()

    @property
    def watched(self) -> bool:
        """Does somebody want to see calls?"""
        return self.log is not None or bool(self._watchers)

    def name(self, number: int) -> str:
        """What the call is called, 'number 1234' if it has no name."""
        return self._names.get(number, f"number {number}")

    def _bind_fast(self, number: int) -> Bound | None:
        name = self.name(number)
        if self._proc.arch.error_flag or any(names is None or name in names for _, names in self._watchers):
            return None
        spec = registry.find(name)
        if spec is None or not spec.pure:
            return None
        bound = registry.bind(spec, self._proc, self._proc.arch.bits, self._proc.mem)
        if not spec.kinds:
            return bound
        mem = self._proc.mem

        def careful(args: tuple[int, ...]) -> int:
            self._last = (number, args)
            mem.deferred = True
            try:
                return bound(args)
            finally:
                mem.deferred = False

        return careful

    def call(self, number: int, args: tuple[int, ...]) -> None:
        """Serve one SyscallStop: the result goes into the engine, unless the call ended or replaced the program.

        Signals that are due then are taken.
        """
        proc = self._proc
        self._last = (number, args)
        bound = self._slow.get(number)
        if bound is None:
            bound = self._bind(number)
        proc.in_call = True
        try:
            result = bound(args)
        except GuestError as error:
            result = -error.errno
        except Interrupted as interrupted:
            proc.in_call = False
            proc.deliver(interrupted)
            return
        except Pause:
            rewind(proc)
            raise
        except (EmulatorBug, TimeLimit, KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:
            raise EmulatorBug(f"{self.describe_last()} failed: {error!r}\n{proc.maps()}") from error
        finally:
            proc.in_call = False
        if self.log is not None:
            self.log.append((number, args, result if proc.ended is None and not proc.replaced else None))
        if proc.replaced:
            proc.replaced = False
        elif proc.ended is None:
            proc.engine.set_result(result)
        if proc.signals.due and proc.ended is None:
            proc.deliver()

    def _bind(self, number: int) -> Bound:
        name = self.name(number)
        spec = registry.find(name)
        if spec is None:
            return self._watched(name, lambda args: self.missing(name))
        bound = self._watched(name, registry.bind(spec, self._proc, self._proc.arch.bits, self._proc.mem))
        self._slow[number] = bound
        return bound

    def _watched(self, name: str, bound: Bound) -> Bound:
        for watcher, names in self._watchers:
            if names is None or name in names:
                bound = watcher(name, bound)
        return bound

    def missing(self, name: str) -> int:
        """A call for which there is no handler, or none for what is asked: ENOSYS, counted and reported once."""
        self.unknown[name] = self.unknown.get(name, 0) + 1
        self._proc.reporter.once(name, f"system call {name} is not implemented: the program gets ENOSYS")
        return -Errno.ENOSYS

    @property
    def last_call(self) -> tuple[int, tuple[int, ...]]:
        """(number, raw arguments) of the last call that was begun; -1 before the first."""
        return self._last

    def describe_last(self) -> str:
        """The last call that was begun, for messages: 'write(0x1, 0x7ffe..., 0x5)'."""
        number, args = self._last
        if number < 0:
            return "no system call yet"
        name = self.name(number)
        spec = registry.find(name)
        shown = args if spec is None else args[: len(spec.kinds)]
        return f"{name}({', '.join(f'{a:#x}' for a in shown)})"
