"""A program run plainly, as `emuvm run` does, on the engine with regions.

Owns: giving it its input and taking its output. Must not know harnesses.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

from emuvm.abi.signals import name
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import EmulatorBug, EmuvmError, EngineError
from emuvm.fuzz.outcome import Kind
from emuvm.kernel.report import Reporter
from emuvm.kernel.request import Request
from emuvm.kernel.running import Refused, started

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

SECONDS = 20.0


class Plain(NamedTuple):
    """How a plain run ended. `signal`: 0 unless it crashed. `lines`: what there is to say about it."""

    kind: Kind
    signal: int
    lines: list[str]


def run_plainly(
    program: str, args: Sequence[str], data: bytes, mode: str, request: Request, begin: Callable[[Process], object] | None = None
) -> Plain:
    """Run it once; its output is thrown away. `mode`: how the input is given: stdin, @@ or argv. `request`: the other conditions, and
    `begin` as for `boot`. EmuvmError: it cannot be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "input")
        path.write_bytes(data)
        given = [os.fsdecode(word) for word in _arguments([os.fsencode(word) for word in args], data, mode, os.fsencode(path))]
        wanted = request._replace(program=program, args=tuple(given), engine="regions", timeout=SECONDS)
        with _streams(path if mode == "stdin" else Path(os.devnull)), ExitStack() as stack:
            try:
                proc = stack.enter_context(started(wanted, begin))
                reporter = proc.reporter = Reporter()
                status = proc.run()
            except Refused as error:
                raise EmuvmError(str(error)) from None
            except (EmulatorBug, EngineError) as error:
                raise EmuvmError(f"internal error, the run is stopped: {error or type(error).__name__}") from None
    if status.late:
        return Plain(Kind.HANG, 0, [f"it did not end within {SECONDS:.0f} s"])
    if not status.signal:
        return Plain(Kind.EXIT, 0, [f"exit code {status.code}"])
    return Plain(Kind.CRASH, int(status.signal), [name(status.signal), *"".join(reporter.lines).splitlines()])


def _arguments(args: list[bytes], data: bytes, mode: str, path: bytes) -> list[bytes]:
    """As `fuzz.inputs` makes them. EmuvmError: not with this kind of input."""
    if mode == "@@":
        return [word.replace(b"@@", path) for word in args] if any(b"@@" in word for word in args) else [*args, path]
    if mode == "argv":
        text = data.partition(b"\0")[0]
        return [text if word == b"@@" else word for word in args] if b"@@" in args else [*args, text]
    return args


@contextmanager
def _streams(source: Path) -> Iterator[None]:
    """Standard input from a file, no output; Python's own stderr, where traces go, is left."""
    kept = [os.dup(number) for number in range(3)]
    given, sink = os.open(source, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    with ExitStack() as stack:
        if (stderr := sys.__stderr__) is not None and sys.stderr is stderr:
            stderr.flush()
            said = stack.enter_context(os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace"))
            stack.enter_context(redirect_stderr(said))
        try:
            for number, fd in enumerate((given, sink, sink)):
                os.dup2(fd, number)
            yield
        finally:
            for number, fd in enumerate(kept):
                os.dup2(fd, number)
            for fd in (*kept, given, sink):
                os.close(fd)
