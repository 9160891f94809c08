"""Mutants of the rules of Linux, tried in forks of one process that has imported everything: a fraction of a second for most.

A fork gets the changed code put into its modules and runs the probes, which are the tests of test_linux*.py and the recordings of
test_vectors.py, until one fails: those that caught mutants of the same module before come first.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from . import test_vectors

if TYPE_CHECKING:
    from .mutate import Mutant

FOLDER = Path(__file__).parent
MEMORY = 2 << 30
"""What a fork may map: a mutant may never stop to make areas."""
PATIENCE = 2.0
"""Seconds a probe may always take; to these is added twenty times what it takes unchanged."""


class Probe:
    """Something that fails when the rules are wrong, and how long it takes."""

    def __init__(self, name: str, run: Callable[[], object]) -> None:
        self.name = name
        self.run = run
        self.seconds = 0.0
        self.kills: Counter[str] = Counter()

    def promise(self, module: str) -> tuple[bool, float]:
        """Small for a probe that catches much in little time."""
        return self.name.endswith(".gz"), self.seconds / (1 + self.kills[module] * 20 + self.kills.total())


def _replay(path: Path) -> None:
    difference = test_vectors.replay(path)
    assert not difference, difference


def _call(test: FunctionType) -> None:
    """As pytest does, for a test without fixtures that has one parameter at the most."""
    marks = [mark.args for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    if not marks:
        test()
    for name, values in marks:
        for value in values:
            test(**{name: value})


def probes(recordings: int = 1000, patch: pytest.MonkeyPatch | None = None) -> list[Probe]:
    """All of them, tried once with the rules as they are. `patch`: who undoes what they need; without, it stays."""
    test_vectors.stand_ins(patch or pytest.MonkeyPatch())
    found = []
    for path in sorted(FOLDER.glob("test_linux*.py")):
        module = import_module(f"{__package__}.{path.stem}")
        tests = [(name, run) for name, run in vars(module).items() if name.startswith("test_") and isinstance(run, FunctionType)]
        found += [Probe(name, lambda run=run: _call(run)) for name, run in tests]  # type: ignore[misc]
    found += [Probe(path.name, lambda path=path: _replay(path)) for path in test_vectors.VECTORS[:recordings]]  # type: ignore[misc]
    for probe in found:
        begin = time.monotonic()
        probe.run()
        probe.seconds = time.monotonic() - begin
    gc.freeze()
    return found


def killer(mutant: Mutant, among: list[Probe], *, changed: bool = True) -> str | None:
    """The name of the probe that a mutant fails; None: it lives."""
    module = import_module(f"emuvm.mm.{mutant.file[:-3]}")
    source = mutant.source() if changed else None
    ordered = sorted(among, key=lambda probe: probe.promise(mutant.file))
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _try(module, source, ordered, writer)
    os.close(writer)
    with open(reader, encoding="utf-8") as answer:
        lines = answer.read().splitlines()
    status = os.waitpid(child, 0)[1]
    if status == 0:
        return None
    name = lines[-1] if lines else "import"
    for probe in ordered:
        if probe.name == name:
            probe.kills[mutant.file] += 1
    return name


def _try(module: ModuleType, source: str | None, ordered: list[Probe], writer: int) -> None:
    """In the child: tell each probe's name before it runs."""
    code = 1
    try:
        gc.disable()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if source is not None:
            transplant(module, source)
        for probe in ordered:
            os.write(writer, probe.name.encode() + b"\n")
            signal.setitimer(signal.ITIMER_REAL, PATIENCE + 20 * probe.seconds)
            probe.run()
        code = 0
    finally:
        os._exit(code)


def transplant(module: ModuleType, source: str) -> None:
    """Put the code and the constants of a changed source into a module that others have imported from."""
    fresh = ModuleType(module.__name__)
    fresh.__file__ = module.__file__
    exec(compile(source, str(module.__file__), "exec"), fresh.__dict__)  # noqa: S102 - it is our own source
    for name, new in list(fresh.__dict__.items()):
        old = module.__dict__.get(name)
        if name.startswith("__") or getattr(new, "__module__", module.__name__) != module.__name__:
            continue
        if isinstance(new, FunctionType):
            _code(old, new)
        elif isinstance(new, type):
            for key, part in list(new.__dict__.items()):
                _member(old, key, part)
        elif (isinstance(new, int) or type(new) in (bytes, dict, frozenset, tuple)) and old != new:
            _replace(name, old, new)


def _replace(name: str, old: Any, new: Any) -> None:
    """Everywhere a constant has been imported to."""
    for other in list(sys.modules.values()):
        for key, value in list(getattr(other, "__dict__", {}).items()):
            if value is old and (not isinstance(old, int) or key == name):
                setattr(other, key, new)


def _code(old: Any, new: FunctionType) -> None:
    old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__


def _member(old: Any, key: str, new: Any) -> None:
    now = old.__dict__.get(key)
    if isinstance(new, FunctionType) and isinstance(now, FunctionType) and now.__module__ == new.__module__:
        _code(now, new)
    elif isinstance(new, FunctionType) and key == "__new__" and isinstance(now, FunctionType | staticmethod):
        made = now.__func__ if isinstance(now, staticmethod) else now
        made.__defaults__ = new.__defaults__
    elif isinstance(new, property) and isinstance(now, property):
        _code(now.fget, new.fget)  # type: ignore[arg-type]
    elif isinstance(new, staticmethod | classmethod) and hasattr(now, "__func__"):
        _code(now.__func__, new.__func__)  # type: ignore[arg-type]
    elif type(new) is int and new != now:
        setattr(old, key, new)


def survivors(chosen: list[Mutant], *, recordings: int = 1000, verbose: bool = False) -> list[Mutant]:
    """The mutants that no probe notices."""
    among, alive, begin = probes(recordings), [], time.monotonic()
    for number, mutant in enumerate(chosen):
        if killer(mutant, among) is None:
            alive.append(mutant)
            if verbose:
                print(f"{number + 1}/{len(chosen)}  SURVIVED {mutant.file}:{mutant.line}: {mutant.what}", flush=True)
    if verbose and chosen:
        print(f"{(time.monotonic() - begin) / len(chosen):.2f} s a mutant")
    return alive
