"""AFL's fork-server protocol, spoken by one process that never forks for a run.

Owns: the words of the protocol, and the order of them. Must not know how inputs are run, nor the host (host_forkserver).

    emuvm                         AFL
    hello, what we can      ->
                            <-    what it takes of it (only if shared test cases were offered)
                            <-    run; 1 if the last run took too long
    number of the process   ->
    wait status             ->                                          ... and again

A run that spends its budget tells AFL nothing: AFL waits for its own time (-t) and kills the stand-in process. Only so AFL counts a
timeout and saves the input in hangs/; a status of SIGKILL would be a crash for it.

Without AFL on the other side (afl-showmap for one input, or a person) the input is run once and the process ends as the target did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import PurePath

from emuvm.engine.unicorn_blocks import MAP_SIZE
from emuvm.errors import EmuvmError
from emuvm.fuzz.afl import host_forkserver as host
from emuvm.fuzz.afl.protocol import Target
from emuvm.fuzz.outcome import Kind, Outcome

_ENABLED, _SHARED_INPUT, _HAS_SIZE = 0x8000_0001, 0x0100_0000, 0x4000_0000
_MAX_INPUT = 1 << 20
"""The size of AFL's shared test case, in bytes, behind its length in four bytes."""
_NAMES = (".cur_input", ".afl-showmap-temp-", ".afl-tmin-temp-", ".afl-cmin-temp", ".afl-analyze-temp-")
"""What AFL's tools put in the place of @@: a file name that begins so."""


def find_input(command: Sequence[str], named: str | None = None) -> tuple[list[str], str | None]:
    """The command with @@ in place of the file that AFL put there, and that file; None: none, so standard input.

    `named`: the file, for names that are not AFL's own (afl-fuzz -f).
    """
    for index, word in enumerate(command[1:], 1):
        if named and named in word:
            return [*command[:index], word.replace(named, "@@"), *command[index + 1 :]], named
        if not named and PurePath(word).name.startswith(_NAMES):
            # As in --file=@@: what stands before the path is not part of it.
            begin = word.rfind("=") + 1
            return [*command[:index], word[:begin] + "@@", *command[index + 1 :]], word[begin:]
    if named:
        raise EmuvmError(f"--afl-input {named} is in no argument of the target")
    return list(command), None


def wait_status(outcome: Outcome) -> int:
    """As waitpid(2) tells it, of a run that ended."""
    return outcome.signal if outcome.kind is Kind.CRASH else (outcome.code & 0xFF) << 8


class ForkServer:
    """Runs what AFL asks for.

    path      the file AFL writes inputs to if it does not share memory; None: standard input
    cleanup   called, in another process, if AFL kills this one
    """

    def __init__(
        self, target: Target, path: str | None = None, *, max_len: int = _MAX_INPUT, cleanup: Callable[[], object] | None = None
    ) -> None:
        self._target = target
        self._path = path
        self._cleanup = cleanup
        self._max_len = min(max_len, _MAX_INPUT)
        self.runs = 0
        number = host.environment("__AFL_SHM_ID")
        self._trace = host.buffer(_attach(number), MAP_SIZE) if number else None

    def serve(self) -> int:
        """Until AFL goes away: 0. Or one run, if nobody is there: its exit code; a crash ends this process by its signal."""
        shared = host.environment("__AFL_SHM_FUZZ_ID")
        size = (MAP_SIZE - 1) << 1
        if not host.send(_ENABLED | _HAS_SIZE | size | (_SHARED_INPUT if shared else 0)):
            return self._once()
        source = self._own_source()
        if shared:
            if (taken := host.receive()) is None:
                return 0
            if taken & _SHARED_INPUT:
                source = self._shared_source(_attach(shared))
        with ExitStack() as stack:
            if self._cleanup is not None:
                # Made first: it must not hold the pipe that tells the stand-in of our end.
                stack.callback(host.Janitor(self._cleanup).close)
            stand_in = host.StandIn()
            stack.callback(stand_in.close)
            self._loop(source, stand_in)
        return 0

    def _loop(self, source: Callable[[], bytes], stand_in: host.StandIn) -> None:
        run, trace, counters = self._target.run, self._trace, self._target.counters.view
        while (late := host.receive()) is not None:
            if late:
                stand_in.replace()
            if not host.send(stand_in.pid):
                return
            outcome = run(source())
            self.runs += 1
            if trace is not None:
                trace[:] = counters
            status = wait_status(outcome) if outcome.kind is not Kind.HANG else stand_in.killed()
            if status is None or not host.send(status):
                return

    def _own_source(self) -> Callable[[], bytes]:
        path, longest = self._path, self._max_len
        if path is None:
            return lambda: host.standard_input()[:longest]
        return lambda: host.file(path)[:longest]

    def _shared_source(self, address: int) -> Callable[[], bytes]:
        memory, longest = host.buffer(address, 4 + _MAX_INPUT), self._max_len

        def source() -> bytes:
            length = int.from_bytes(memory[:4], "little")
            return bytes(memory[4 : 4 + min(length, longest)])

        return source

    def _once(self) -> int:
        outcome = self._target.run(self._own_source()())
        if self._trace is not None:
            self._trace[:] = self._target.counters.view
        if outcome.kind is Kind.CRASH:
            host.die(outcome.signal)
        if outcome.kind is Kind.HANG:
            if self._trace is None:
                raise EmuvmError("the target used up its budget of blocks")
            host.sleep_for_ever()
        return outcome.code


def _attach(number: str) -> int:
    try:
        return host.attach_shared(number)
    except OSError as error:
        raise EmuvmError(f"the memory that AFL shares cannot be used: {error}") from None
