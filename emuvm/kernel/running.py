"""A whole run: from a request to a process that is started, watched, and taken down.

Owns: PATH search, the environment, the time limit, closing. Must not know how options are written on a command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from emuvm.errors import EngineError, GuestError
from emuvm.kernel.boot import NotOpened, Options, boot
from emuvm.kernel.host_run import TimeLimiter, environment, write_stderr
from emuvm.kernel.host_signals import HostSignals
from emuvm.kernel.request import Request
from emuvm.mm.linux import INFINITY
from emuvm_loaders import LoadError, printable

if TYPE_CHECKING:
    from emuvm.kernel.process import ExitStatus, Process

_ENOENT, _ENOTDIR = 2, 20
_DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"


class Refused(Exception):
    """The program cannot be run: one line that says why. `missing`: there is no such file."""

    def __init__(self, program: str, reason: str, *, missing: bool) -> None:
        self.missing = missing
        super().__init__(f"{printable(program)}: {reason}")


@contextmanager
def started(wanted: Request, begin: Callable[[Process], object] | None = None) -> Iterator[Process]:
    """The process, ready to run; closed at the end. Refused. `begin`: as for `boot`; who traces hooks on there."""
    env = environment(wanted.environment)
    options = Options(
        root=wanted.root,
        writable=wanted.writable,
        allow_all=wanted.allow_all,
        adapter="regions" if wanted.engine == "regions" else "paged",
        memory=INFINITY if wanted.memory is None else wanted.memory,
        kernel=wanted.kernel,
    )
    proc = _boot(wanted, env, options, begin)
    watchers: list[HostSignals | TimeLimiter] = []
    try:
        proc.host_signals = HostSignals(proc)
        proc.may_fork = proc.host_signals.active
        watchers.append(proc.host_signals)
        if wanted.timeout is not None:
            watchers.append(TimeLimiter(proc, wanted.timeout))
        yield proc
    finally:
        for watcher in reversed(watchers):
            watcher.cancel()
        if proc.tracer is not None:
            proc.tracer.exited(proc.ended)
        proc.close()


def _boot(wanted: Request, env: list[bytes], options: Options, begin: Callable[[Process], object] | None) -> Process:
    argv = [text.encode(errors="surrogateescape") for text in (wanted.program, *wanted.args)]
    missing: NotOpened | None = None
    for path in _candidates(wanted.program, env):
        try:
            return boot(path, argv, env, options, write_stderr, begin)
        except NotOpened as error:
            if error.errno not in (_ENOENT, _ENOTDIR):
                raise Refused(path, error.reason, missing=False) from error
            missing = missing or error
        except LoadError as error:
            raise Refused(path, error.reason, missing=False) from error
        except GuestError as error:
            raise Refused(path, error.why, missing=False) from error
        except EngineError as error:
            hint = "; --engine regions needs less address space" if options.adapter == "paged" else ""
            raise Refused(path, f"the CPU engine cannot start: {error}{hint}", missing=False) from error
    raise Refused(wanted.program, "no such file", missing=True) from missing


def _candidates(program: str, env: Sequence[bytes]) -> Iterator[str]:
    """The path itself, then, for a name without a slash, the directories of PATH."""
    yield program
    if "/" in program or not program:
        return
    path = next((item[5:] for item in env if item.startswith(b"PATH=")), _DEFAULT_PATH)
    for directory in path.split(b":"):
        yield f"{directory.decode(errors='surrogateescape') or '.'}/{program}"


def run(
    program: str,
    *args: str,
    root: str = "/",
    writable: Sequence[str] = (),
    allow_all: bool = False,
    env: Sequence[str] = (),
    engine: str = "paged",
    memory: int | None = None,
    timeout: float | None = None,
) -> ExitStatus:
    """Run a static Linux program with this process's standard streams; how it ended. Refused when it cannot be run."""
    request = Request(program, args, root, tuple(writable), allow_all, tuple(env), engine, memory, timeout)
    with started(request) as proc:
        return proc.run()
