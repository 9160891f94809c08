"""Programs of system calls under emuvm.

Owns: the harness around the runner, and making calls fail. Must not know the host's side, nor what results are good for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emuvm.errors import EmulatorBug, EmuvmError, EngineError, GuestError
from emuvm.fuzz.harness import Harness
from emuvm.fuzz.outcome import Outcome
from emuvm.fuzz.sequences.elf import Runner, runner
from emuvm.fuzz.sequences.encode import RESULT_SIZE, Result, encode, results, with_maps
from emuvm.fuzz.sequences.feedback import step_of
from emuvm.fuzz.sequences.host_native import LIMITS, remove, temporary_file
from emuvm.fuzz.sequences.program import PROGRAM, RESULTS, Program
from emuvm.kernel.host_system import HostSystem
from emuvm.kernel.procfs_pages import Smaps
from emuvm.kernel.sys.proc import set_limit

if TYPE_CHECKING:
    from emuvm.kernel.process import Process
    from emuvm.mm.types import Update

_PLACE = {"x86_64": "rbp", "arm64": "x20"}
"""The register that holds where the result of the call goes that is being made."""
BUDGET = 2_000_000


class Broken(EmuvmError):
    """emuvm failed: `name` is the kind of failure, the text says the rest."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        super().__init__(f"{name}: {text}")


class Emulated:
    """Close it. `like_host`: by the rules and settings of the host's kernel, else of the newest that is known. `checking`: the
    invariants of the address space are checked after every change of it, and after each run that the engine agrees with it. `begin`: as
    `Harness` has it."""

    def __init__(
        self, arch: str = "x86_64", *, like_host: bool = False, seed: int = 0, budget: int = BUDGET, checking: bool = True,
        native: bool = True, begin: Callable[[Process], object] | None = None,
    ) -> None:  # fmt: skip
        self.arch = arch
        self.budget = budget
        self._subscribe = begin
        self._like_host, self._seed, self._checking, self._native = like_host, seed, checking, native
        self._runner: Runner = runner(arch)
        self._file = temporary_file("runner", self._runner.file)
        self._harness: Harness | None = None
        self._program: Program = ()
        self._failing: dict[int, int] = {}
        self.outcome: Outcome | None = None
        """Of the last run."""
        self.steps: dict[int, list[tuple[Any, ...]]] = {}
        """The changes of the address space that each call of the last run asked for, see `feedback.step_of`."""

    # -- the process --------------------------------------------------------------------------------------------------------

    def _begin(self, proc: Process) -> None:
        """The process exists, its memory is still empty."""
        for which, most in LIMITS.items():
            set_limit(proc, int(which), most, most)
        proc.space.checking = self._checking
        if self._like_host:
            proc.mm.lowest = HostSystem().lowest_address()
        if self._subscribe is not None:
            self._subscribe(proc)

    def harness(self) -> Harness:
        """The one that runs programs; made when it is first needed."""
        if self._harness is None:
            found = Harness(
                self._file, input=self._put, at=self._runner.labels["ready"], seed=self._seed, budget=self.budget, coverage=False,
                begin=self._begin, native=self._native, presence=self._like_host, kernel=HostSystem().uname()[2] if self._like_host else "",
            )  # fmt: skip
            self._harness = found
        return self._harness

    def _put(self, proc: Process, data: bytes) -> None:
        if data:
            proc.engine.memory.write(PROGRAM, data)
        self.steps = {}
        self._failing = {number: call.fail_nth for number, call in enumerate(self._program) if call.fail_nth}
        proc.space.subscribe(self._watch)  # the next restore forgets it

    def _watch(self, update: Update) -> None:
        """A subscriber of the space: notes the change, and refuses the n-th one that a call asks for if the program says so."""
        assert self._harness is not None
        number = (self._harness.engine.get(_PLACE[self.arch]) - RESULTS) // RESULT_SIZE
        steps = self.steps.setdefault(number, [])
        steps.append(step_of(update))
        if len(steps) == self._failing.get(number, 0):
            raise EngineError(f"change {len(steps)} of call {number} is to fail")

    # -- runs ---------------------------------------------------------------------------------------------------------------

    def run(self, program: Program) -> list[Result | None]:
        """The results, None for calls that were not made. Broken: emuvm itself failed. ProgramError: it cannot be encoded."""
        data = self._encoded(program)
        harness = self.harness()
        harness.budget = self.budget
        self._program = program
        try:
            self.outcome = outcome = self._run(harness, data)
        except (EmulatorBug, EngineError, GuestError, AssertionError, LookupError, TypeError, ValueError) as error:
            self._give_up()
            raise Broken(type(error).__name__, str(error)) from error
        size = len(program) * RESULT_SIZE
        if outcome.signal:  # the results may have gone with the runner's memory: once more, and each is told at once
            return results(self._run(harness, self._encoded(program, 1)).stdout, len(program))
        if len(outcome.stdout) == size:
            return results(outcome.stdout, len(program))
        try:
            return results(harness.engine.memory.read(RESULTS, size), len(program))
        except (EmuvmError, ValueError, OverflowError):
            return [None] * len(program)

    def _encoded(self, program: Program, results_to: int = 0) -> bytes:
        """Byte for byte what the host's runner gets, so that what lies behind a buffer is alike, too."""
        return encode(with_maps(program, 0), self.arch, results_to, only=len(program))

    def _run(self, harness: Harness, data: bytes) -> Outcome:
        self._failing = {}  # putting back, which comes first, changes memory, too
        outcome = harness.run(data)
        if self._checking:
            harness.proc.space.check()
            harness.engine.memory.verify()
        return outcome

    def _give_up(self) -> None:
        """Whatever state emuvm is in: the next run gets a new one."""
        if self._harness is not None:
            harness, self._harness = self._harness, None
            try:
                harness.close()
            except EmuvmError:
                return

    def maps(self) -> bytes:
        """/proc/self/smaps as the last run left it."""
        assert self._harness is not None
        return b"".join(record for record, _ in Smaps(self._harness.proc)(0))

    def ended(self) -> str:
        """How the last run ended, as the host's side tells it."""
        outcome = self.outcome
        if outcome is None:
            return ""
        if outcome.signal:
            return f"signal {outcome.signal}"
        return f"exit {outcome.code}" if outcome.kind.value == "exit" else "timeout"

    def close(self) -> None:
        """Give everything back."""
        self._give_up()
        remove(self._file)

    def __enter__(self) -> Emulated:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
