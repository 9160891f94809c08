"""Several instances on one machine, over one output folder: a main one and secondary ones, each a process of its own.

Owns: the command line of each, starting and ending them together, and the sum of what they report. Must not know what they do: they
share their finds through the folder as any instances do.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emuvm.engine.unicorn_blocks import MAP_SIZE
from emuvm.errors import EmuvmError
from emuvm.fuzz.afl import host_clock
from emuvm.fuzz.afl.folder import QUEUE, inputs_in, read_stats
from emuvm.fuzz.afl.host_signals import Interrupts
from emuvm.fuzz.afl.screen import Screen
from emuvm.fuzz.afl.stats import Stats

_LOOK_EVERY = 0.5
_PATIENCE = 20.0
"""Seconds that an instance may take to end when it was asked to."""
_LOGS = ".logs"
MOST = 256
EMUVM = (sys.executable, "-m", "emuvm", "fuzz")


@dataclass(frozen=True)
class Instance:
    """One of them: its name and its words behind `emuvm fuzz`."""

    name: str
    words: tuple[str, ...]


def instances(
    count: int, *, out: Path, options: Sequence[str], target: Sequence[str], seeds: str, seed: int, name: str = "main", main: bool = True
) -> list[Instance]:
    """Who is to be started. `options`: all but -i, -o, -s, -M, -S and -j; `seeds`: of -i. Instance n has the seed of the first plus n.

    `main` False: none is a main instance, one elsewhere is. One that has no session when the others resume begins with what they have.
    """
    found = []
    for index in range(count):
        this = name if index == 0 else f"{name[:28]}-{index:02}"
        begin = seeds
        if seeds == "-" and not inputs_in(out / this / QUEUE):
            begin = str(out / name / QUEUE)
        role = "-M" if main and index == 0 else "-S"
        words = ["-i", begin, "-o", str(out), role, this, "-s", str(seed + index), *options, "--", *target]
        found.append(Instance(this, tuple(words)))
    return found


class Crew:
    """The processes of several instances."""

    def __init__(self, out: Path, members: Sequence[Instance], command: Sequence[str] = EMUVM) -> None:
        self._out = out
        self._members = list(members)
        self._command = list(command)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """All of them. EmuvmError: one cannot be started, and then none is."""
        try:
            logs = self._out / _LOGS
            logs.mkdir(parents=True, exist_ok=True)
            more = {"AFL_NO_UI": "1", "AFL_FUZZER_STATS_UPDATE_INTERVAL": "1", "EMUVM_FUZZ_PARENT": str(host_clock.pid())}
            environment = host_clock.environment(**more)
            for member in self._members:
                with (logs / member.name).open("wb") as log:
                    self._processes[member.name] = subprocess.Popen(
                        [*self._command, *member.words],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env=environment,
                        # Ctrl-C is for us; we tell them.
                        start_new_session=True,
                    )
        except OSError as error:
            self.stop()
            raise EmuvmError(f"an instance cannot be started: {error}") from None

    def running(self) -> int:
        """How many are."""
        return sum(process.poll() is None for process in self._processes.values())

    def failures(self) -> list[str]:
        """Of those that ended on their own with an error: name, and the last line they wrote."""
        return [
            f"{name}: {self._last_line(name) or f'exit code {process.returncode}'}"
            for name, process in self._processes.items()
            if process.poll() not in (None, 0)
        ]

    def _last_line(self, name: str) -> str:
        try:
            lines = (self._out / _LOGS / name).read_text(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line.strip()), "")

    def stop(self) -> None:
        """Ask all to end and wait until they have; who does not listen is killed, which loses nothing but its statistics."""
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self._processes.values():
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def total(self) -> Stats:
        """What all have come to: sums; the edges of all together; everything else of whoever has most."""
        folders = [self._out / member.name for member in self._members]
        total = add(read_stats(folder / "fuzzer_stats") for folder in folders)
        virgin = (1 << MAP_SIZE * 8) - 1
        for folder in folders:
            try:
                bitmap = (folder / "fuzz_bitmap").read_bytes()
            except OSError:
                continue
            if len(bitmap) == MAP_SIZE:
                virgin &= int.from_bytes(bitmap, "little")
        total.edges_found = MAP_SIZE - virgin.to_bytes(MAP_SIZE, "little").count(0xFF)
        return total


_SUMS = ("execs_done", "saved_crashes", "saved_hangs", "corpus_imported", "corpus_found", "pending_total", "pending_favs")
_MOSTS = ("corpus_count", "corpus_favored", "max_depth", "cycles_done", "last_find", "last_crash", "last_hang", "last_update")


def add(many: Iterable[dict[str, str]]) -> Stats:
    """One Stats of several fuzzer_stats, as `read_stats` gives them."""
    total = Stats()
    for stats in many:
        if not stats:
            continue
        for key in _SUMS:
            setattr(total, key, getattr(total, key) + int(_number(stats, key)))
        for key in _MOSTS:
            setattr(total, key, max(getattr(total, key), int(_number(stats, key))))
        total.budget = max(total.budget, int(_number(stats, "exec_budget")))
        total.stability = min(total.stability, _number(stats, "stability") or 100.0)
        begun = _number(stats, "last_update") - _number(stats, "run_time")
        if begun > 0:
            total.start_time = min(total.start_time or begun, begun)
    return total


def _number(stats: dict[str, str], key: str) -> float:
    try:
        return float(stats.get(key, "0").rstrip("%"))
    except ValueError:
        return 0.0


def run(crew: Crew, screen: Screen, banner: str) -> int:
    """Start them all and wait until they have ended, or Ctrl-C ends them: an exit code. EmuvmError: one cannot be started."""
    shown: set[str] = set()
    with Interrupts() as interrupts:
        crew.start()
        try:
            running = True
            while running and not interrupts.wanted:
                host_clock.wait(_LOOK_EVERY)
                running = crew.running() > 0
                for failure in crew.failures():
                    if failure not in shown:
                        shown.add(failure)
                        screen.say(f"an instance has ended: {failure}")
                total = crew.total()
                total.banner, total.stage = banner, f"{crew.running()} instances"
                screen.show(total, last=not running)
        finally:
            crew.stop()
            screen.close()
    total = crew.total()
    screen.show(total, last=True)
    screen.close()
    return 1 if shown else 0
