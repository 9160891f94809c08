"""A program that is run again and again from one moment on, each time with another input.

Owns: bringing the program to that moment, placing the input, and what came of each run. Must not know where inputs come from, nor
what becomes of outcomes.

    boot on a simulated host -> run to `at` -> snapshot;   then for each input: restore, place it, run, tell the outcome

Everything but the input is the same in every run: memory, registers, files, clocks, random bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from emuvm.abi.signals import code_name
from emuvm.engine.base import FaultStop
from emuvm.engine.native_code import native as native_code
from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import EmuvmError, GuestError, OutOfBudget, Pause, Stuck
from emuvm.fuzz.backtrace import frames, stack_hash
from emuvm.fuzz.coverage import Map
from emuvm.fuzz.hooks import Hooks
from emuvm.fuzz.host_watchdog import Watchdog
from emuvm.fuzz.inputs import PLACES, Place
from emuvm.fuzz.outcome import Calls, Fault, Kind, Outcome
from emuvm.fuzz.results import Results, split
from emuvm.fuzz.simhost import SimHost
from emuvm.fuzz.snapshot import Snapshot
from emuvm.kernel.boot import Options, boot
from emuvm.kernel.siginfo import SignalInfo
from emuvm_loaders import LoadError

if TYPE_CHECKING:
    from emuvm.fuzz.afl.compare import Pair, Texts
    from emuvm.fuzz.comparing import Comparing
    from emuvm.kernel.process import Process

Input = Literal["stdin", "@@", "argv", "mmap"] | Callable[["Process", bytes], None]
Begin = Callable[["Process"], object] | None
BUDGET = 50_000_000
_SETUP = 2_000_000_000
"""Blocks until the snapshot, at most."""


class HarnessError(EmuvmError):
    """The program cannot be brought to where the runs are to begin."""


class Harness:
    """Close it when done, or use it in a `with`.

    program   a static program on this host; it becomes /bin/NAME of the guest. `args`: its arguments; "@@" is the path of the input.
              Or a file with a process, of `Snapshot.save` or a core file: it goes on from there; files it maps are to be among `files`
    input     how the input is given: "stdin"; "@@": a file named by that argument; "argv": the argument "@@" itself, or a last one;
              "mmap": the file for a program that maps it, but with a function as `at` memory, whose address and length are the
              function's first two arguments; or a Python function (process, data) that places it
    at        where each run begins: "first-read" (the first call that reads or maps the input), "entry" (where a saved process stands),
              "main" or another symbol, or an address. It is reached with `first`, an input of the set-up
    files     more files of the guest: path -> bytes. `root`: a directory of this host as its /, read-only, instead of files in memory
    seed      of clocks, random bytes
    budget    basic blocks that a run may execute before it counts as hung; a second for each 10 million of them, but at least one, where
              neither the C module nor `coverage` is there: then blocks are not counted
    max_len   inputs are cut to so many bytes
    results   inputs may carry a schedule of what system calls return (fuzz.results)
    paranoid  after so many runs each time, everything is compared with the beginning: `checks`, `unstable`
    presence  pages that a run touched are absent in the next one, as mincore and smaps tell; costs some hundred microseconds a run
    kernel    whose memory rules: a version such as "6.1", "host", or "" for the newest that is known
    begin     called with the process while its address space is still empty: the moment to subscribe
    """

    def __init__(
        self,
        program: str | Path,
        args: Sequence[str] = (),
        *,
        input: Input = "stdin",
        at: str | int | None = None,
        files: Mapping[str, bytes] | None = None,
        env: Mapping[str, str] | None = None,
        root: str | None = None,
        seed: int = 0,
        budget: int = BUDGET,
        coverage: bool = True,
        max_len: int = 1 << 20,
        memory: int | None = None,
        first: bytes = b"",
        results: bool = False,
        paranoid: int = 0,
        presence: bool = False,
        kernel: str = "",
        begin: Callable[[Process], object] | None = None,
        native: bool = True,
    ) -> None:
        self.budget = budget
        self.max_len = max_len
        self.counters = Map()
        self.map = self.counters.view
        """Edge counters of the last run: 65536, writable."""
        self.runs = 0
        self.checks = 0
        self.unstable: list[tuple[int, list[str]]] = []
        """(runs until then, what differed) of the paranoid checks that found something."""
        self._paranoid = paranoid
        self._presence = presence
        self._coverage = coverage
        self._watchdog: Watchdog | None = None
        self._comparing: Comparing | None = None
        self._snapshot: Snapshot | None = None
        self._host = SimHost(program, files or {}, seed, root)
        try:
            self._place = Place.make(input, at, self._host, max_len)
            options = Options(root=root or "/", memory=(1 << 64) - 1 if memory is None else memory, kernel=kernel)
            if _is_saved(self._host.bytes):
                self.proc: Process = self._go_on(program, args, env, input, options, native, begin)
            else:
                self.proc = self._boot(program, args, env or {}, options, native, begin)
        except BaseException:
            self._host.close()
            raise
        try:
            assert isinstance(self.proc.engine, UnicornEngine)
            self.engine: UnicornEngine = self.proc.engine
            self._system = self._host.sim
            if coverage or (native and native_code() is not None):
                self._blocks = self._system.engine = self.engine.blocks()
            else:
                self._watchdog = Watchdog(max(1.0, budget / 10_000_000), self._overdue)
            self._log: list[tuple[int, tuple[int, ...], int | None]] = []
            self.hooks = Hooks(self.proc)
            self._results = Results(self.proc) if results else None
            self._begin(at if at is not None else self._place.begin, first)
        except BaseException:
            self.close()
            raise

    def _boot(
        self, program: str | Path, args: Sequence[str], env: Mapping[str, str], options: Options, native: bool, begin: Begin
    ) -> Process:  # fmt: skip
        name = self._host.program
        argv = self._place.arguments([name.rpartition("/")[2].encode(), *(arg.encode(errors="surrogateescape") for arg in args)])
        envp = [f"{key}={value}".encode(errors="surrogateescape") for key, value in env.items()]
        try:
            return boot(name, argv, envp, options, begin=begin, host=self._host, native=native)
        except LoadError as error:
            raise HarnessError(f"{program}: {error.reason}") from None
        except GuestError as error:
            raise HarnessError(f"{program}: {error.why or error.errno.name}") from None

    def _go_on(
        self, program: str | Path, args: Sequence[str], env: Mapping[str, str] | None, wanted: Input, options: Options, native: bool,
        begin: Begin,
    ) -> Process:  # fmt: skip
        from emuvm.fuzz.resume import ResumeError, resume

        if args or env or wanted in ("@@", "argv"):
            raise HarnessError(f"{program}: a process that goes on has its arguments and environment: input by stdin, mmap or a function")
        host = self._host
        streams = {0: host.stdin, 1: host.stdout, 2: host.stderr}
        try:
            return resume(program, options=options, files=streams, native=native, begin=begin, host=host)
        except LoadError as error:
            raise HarnessError(f"{program}: {error.reason}") from None
        except ResumeError as error:
            raise HarnessError(f"{program}: {error}") from None

    # -- to the moment ------------------------------------------------------------------------------------------------------

    def _begin(self, at: str | int, first: bytes) -> None:
        self.proc.listen()
        self.engine.replace_counters(self._system.ticks, self._system.random)
        self._system.begin(_SETUP)
        self._place.prepare(self.proc, first)
        self._go_to(at)
        self._system.settle()
        self._host.keep(self._place.names)
        self._snapshot = Snapshot.take(self.proc, presence=self._presence)
        if self._coverage:
            self._blocks.count(self.counters.address)
        self.proc.dispatcher.log = self._log

    def _go_to(self, at: str | int) -> None:
        if at == "entry":
            return
        proc = self.proc
        watch = None
        if at == "first-read":
            watch = self._place.watcher(proc)
            proc.dispatcher.watch(watch, self._place.reading)
        else:
            self.engine.break_at(self.address(at))
        try:
            proc.run()
        except (OutOfBudget, Stuck) as error:
            raise HarnessError(f"the program does not come to {_shown(at)}: {error}") from None
        except Pause:
            return
        finally:
            self.engine.break_at(None)
            if watch is not None:
                proc.dispatcher.unwatch(watch)
        ended = proc.ended
        assert ended is not None
        how = f"died by signal {int(ended.signal)}" if ended.signal else f"ended with exit code {ended.code}"
        said = bytes(self._host.stderr.data[-200:]).decode(errors="backslashreplace")
        raise HarnessError(f"the program {how} before it came to {_shown(at)}{f': {said}' if said else ''}")

    def address(self, place: str | int) -> int:
        """Where in memory: an address as it is, a symbol of the program, or "0x..."; HarnessError: there is no such symbol."""
        if isinstance(place, int):
            return place
        if place.startswith("0x"):
            try:
                return int(place, 16)
            except ValueError:
                raise HarnessError(f"{place}: not an address") from None
        from emuvm_loaders.symbols import symbols

        try:
            found = symbols(self._host.bytes).address(place)
        except LoadError as error:
            raise HarnessError(f"no symbol {place}: {error.reason}") from None
        if found is None:
            raise HarnessError(f"the program has no symbol {place}: begin at an address, or at first-read")
        return int(found) + self.bias

    @property
    def bias(self) -> int:
        """By how much the program lies higher in memory than its file says."""
        plan = self.proc.plan
        return 0 if plan is None else int(plan.bias)

    @property
    def program(self) -> bytes:
        """The program's file."""
        return self._host.bytes

    # -- runs ---------------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """The process as it was at the moment where runs begin."""
        snapshot = self._snapshot
        if snapshot is None:
            raise EmuvmError("the harness is closed")
        snapshot.restore()
        if self._host.touched:
            self._host.restore()

    def run(self, data: bytes) -> Outcome:
        """One run from the beginning. The process stays as it ended until the next one."""
        self.reset()
        if self._paranoid and self.runs and self.runs % self._paranoid == 0:
            self._check()
        proc, log = self.proc, self._log
        log.clear()
        self.runs += 1
        if self._results is not None:
            data, schedule = split(data)
            self._results.begin(schedule)
        self._place.put(proc, data[: self.max_len])
        if self._coverage:
            self.counters.clear()
        system = self._system
        before = system.blocks()
        system.begin(self.budget)
        if self._watchdog is not None:
            self._watchdog.begin()
        try:
            proc.run()
            stuck = system.overdue
        except (OutOfBudget, Stuck):
            stuck = True
        if self._watchdog is not None:
            self._watchdog.end()
        blocks = system.blocks() - before
        host, calls = self._host, Calls(tuple(log), proc.dispatcher.name)
        out, err = bytes(host.stdout.data), bytes(host.stderr.data)
        pc = self.engine.get("pc")
        ended = proc.ended
        if not stuck and ended is not None and not ended.signal:
            return Outcome(Kind.EXIT, ended.code, 0, None, pc, (), 0, blocks, calls, out, err)
        trace = frames(proc)
        kind, signal = (Kind.HANG, 0) if stuck or ended is None else (Kind.CRASH, int(ended.signal))
        fault = None if stuck else self._fault(host.death)
        return Outcome(kind, 0, signal, fault, pc, trace, stack_hash(pc, trace), blocks, calls, out, err)

    def _overdue(self) -> None:
        self._system.overdue = True
        self.engine.stop()

    def compare(self, data: bytes) -> list[Pair | Texts]:
        """The operands of the comparisons that a run with this input makes; such a run takes some hundred times as long."""
        if self._comparing is None:
            from emuvm.fuzz.comparing import Comparing

            self._comparing = Comparing(self)
        return self._comparing.run(data)

    def _fault(self, info: SignalInfo | None) -> Fault | None:
        if info is None:
            return None
        stop = self.proc.fault
        access = stop.access.value if isinstance(stop, FaultStop) and info.signal in (7, 11) and info.code > 0 else ""
        return Fault(info.address, access, code_name(info.signal, info.code))

    def hook(
        self,
        name: str,
        *,
        enter: Callable[..., object] | None = None,
        replace: Callable[..., int | None] | None = None,
        exit: Callable[..., int | None] | None = None,
    ) -> None:
        """See `fuzz.hooks.Hooks.add`."""
        self.hooks.add(name, enter=enter, replace=replace, exit=exit)

    def _check(self) -> None:
        self.checks += 1
        found = self.differences()
        if found:
            self.unstable.append((self.runs, found))

    @property
    def stability(self) -> float:
        """The share of paranoid checks that found nothing, 1 before the first."""
        return 1 - len(self.unstable) / self.checks if self.checks else 1.0

    def differences(self) -> list[str]:
        """What is not as at the beginning, in words, after a `reset`; slow. Empty: nothing."""
        self.reset()
        assert self._snapshot is not None
        return self._snapshot.differences() + [f"file {path}" for path in self._host.differences()]

    def close(self) -> None:
        """Give everything back."""
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None
        if self._watchdog is not None:
            self._watchdog.close()
        self._place.close()
        self.proc.close()
        self._host.close()

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _is_saved(data: bytes) -> bool:
    """Is that a process instead of a program?"""
    from emuvm_loaders.core import is_core
    from emuvm_loaders.snapshot import is_snapshot

    return is_snapshot(data) or is_core(data)


def _shown(at: str | int) -> str:
    return f"{at:#x}" if isinstance(at, int) else {"first-read": "reading its input"}.get(at, at)


__all__ = ["BUDGET", "PLACES", "Harness", "HarnessError"]
