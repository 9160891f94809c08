"""CPU time and peak memory of programs: native, qemu-user, the plain script (bare.py), emuvm. Prints a markdown table.

    python tests/benchmarks/run_speed.py [--rounds N] [--slow] [WORK...]     WORK: the beginning of a row's name

CPU seconds are user + system of the child process, the least of several alternating rounds. Where a row says "per", it is the
difference of a long and a short run of the same program over the difference of their lengths, so that start-up drops out.
--slow also runs what takes minutes: one engine region a mapping, 5 000 of them.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "samples" / "bin" / "x86_64"
LIBC_HELLO = ROOT / "samples" / "guest" / "libc" / "hello.c"
START = "from emuvm.cli import script; script()"
NO_MODULE = "import sys; sys.modules['emuvm.engine.native._fill'] = None; "
PR_SET_CHILD_SUBREAPER = 36
SLOW = ("bare", "emuvm, regions")
"""Who has one engine region a mapping: thousands of them take minutes."""
MIB = 1 << 20


class Run(NamedTuple):
    """What a child process cost."""

    seconds: float
    peak: int
    """Most resident memory, in bytes."""


class Work(NamedTuple):
    """A row: programs to run, and what to make of their costs."""

    name: str
    short: list[str]
    """The program and arguments of the short run; empty: there is only one run."""
    long: list[str]
    value: Callable[[Run, Run], float]
    """Of the short run (the long one, if there is none) and the long run."""
    unit: str
    ratio: float | None = None
    """emuvm is to take at most this share of what the plain script takes."""
    limit: float | None = None
    """emuvm is to take at most this much, in the row's unit."""
    rounds: int = 7
    unfit: tuple[str, ...] = ()
    """Who is left out, but with --slow."""


def seconds(short: Run, long: Run) -> float:
    return long.seconds - short.seconds


def whole(_: Run, long: Run) -> float:
    return long.seconds


def peak(_: Run, long: Run) -> float:
    return long.peak / MIB


def more_memory(short: Run, long: Run) -> float:
    return (long.peak - short.peak) / MIB


def per(count: int) -> Callable[[Run, Run], float]:
    """Microseconds per unit of work, when the long run does `count` units more."""
    return lambda short, long: (long.seconds - short.seconds) / count * 1e6


def works(libc_hello: str | None) -> list[Work]:
    """All rows. `libc_hello`: the compiled one, if there is a compiler."""

    def sample(name: str, *args: int) -> list[str]:
        return [str(BIN / name), *map(str, args)]

    found = [
        Work("sha256 12 MiB", sample("sha256", 0), sample("sha256", 12), seconds, "s", ratio=1 / 3),
        Work("sha256 12 MiB, with start-up", [], sample("sha256", 12), whole, "s"),
        Work("sieve 5 M", sample("sieve", 10), sample("sieve", 5_000_000), seconds, "s", ratio=1 / 3),
        Work("sieve 5 M, with start-up", [], sample("sieve", 5_000_000), whole, "s"),
        Work("getppid, per call", sample("getppid", 1000), sample("getppid", 51_000), per(50_000), "µs", ratio=1 / 2.5, limit=6),
        Work("mmap round, none live", sample("rounds", 20, 0), sample("rounds", 1020, 0), per(1000), "µs", ratio=2 / 3),
        Work("mmap round, 1 000 live", sample("rounds", 2, 1000), sample("rounds", 102, 1000), per(100), "µs", ratio=1 / 30, rounds=5),
        Work("mmap round, 5 000 live", sample("rounds", 20, 5000), sample("rounds", 1020, 5000), per(1000), "µs", rounds=7, unfit=SLOW),
        Work("hello, no libc", [], sample("hello"), whole, "s", ratio=1.5, rounds=15),
        Work("memory of hello, no libc", [], sample("hello"), peak, "MiB", limit=45, rounds=3),
        Work("memory of a 1 TiB reservation", sample("reserve", 0), sample("reserve", 1 << 20), more_memory, "MiB", limit=5, rounds=3),
    ]  # fmt: skip
    if libc_hello:
        found.insert(9, Work("hello, static glibc", [], [libc_hello], whole, "s", ratio=1.5, rounds=15))
        found.insert(11, Work("memory of hello, static glibc", [], [libc_hello], peak, "MiB", limit=45, rounds=3))
    return found


def runners() -> dict[str, list[str]]:
    """Who runs the programs: the words to put before them. The first emuvm is the one that targets are about."""
    found: dict[str, list[str]] = {"native": []}
    if qemu := shutil.which("qemu-x86_64"):
        found["qemu-user"] = [qemu]
    found["bare"] = [sys.executable, str(ROOT / "tests" / "benchmarks" / "bare.py")]
    found["emuvm"] = [sys.executable, "-c", START, "run"]
    found["emuvm, Python fill"] = [sys.executable, "-c", NO_MODULE + START, "run"]
    found["emuvm, regions"] = [sys.executable, "-c", START, "run", "--engine", "regions"]
    return found


def environment() -> dict[str, str]:
    """Modules are found in the tree and compiled once."""
    left = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EMUVM"))}
    return {**left, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "loaders")])}


def measure(command: list[str]) -> Run | None:
    """What a command costs, or None if it fails.

    A shell starts it and ends; as the subreaper we then wait for it. A child of our own would count our memory as its peak, because
    the kernel keeps the high-water mark of what a process was before it executed another program; the shell is small.
    """
    shell = os.posix_spawn(
        "/bin/sh", ["sh", "-c", '"$@" &', "sh", *command], environment(),
        file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)],
    )  # fmt: skip
    os.waitpid(shell, 0)
    _, status, usage = os.wait4(-1, 0)
    return Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024) if status == 0 else None


def results(work: Work, rounds: int, slow: bool) -> dict[str, float]:
    """The row's value for everybody who can do it."""
    who = {name: prefix for name, prefix in runners().items() if slow or name not in work.unfit}
    least: dict[str, list[Run]] = {}
    for _ in range(rounds):
        for name, prefix in list(who.items()):
            runs = [measure([*prefix, *program]) for program in (work.short, work.long) if program]
            good = [run for run in runs if run is not None]
            if len(good) < len(runs):
                print(f"{work.name}: {name} cannot", file=sys.stderr)
                del who[name]
                least.pop(name, None)
                continue
            before = least.get(name, good)
            least[name] = [Run(min(a.seconds, b.seconds), min(a.peak, b.peak)) for a, b in zip(before, good, strict=True)]
    return {name: work.value(runs[0], runs[-1]) for name, runs in least.items()}


def verdict(work: Work, values: dict[str, float]) -> tuple[str, str]:
    """(target, whether it is reached)."""
    ours, bare = values.get("emuvm"), values.get("bare")
    wanted, reached = [], True
    if work.ratio is not None:
        wanted.append(f"{work.ratio:.3g} of bare")
        reached = ours is not None and bare is not None and ours <= work.ratio * bare
    if work.limit is not None:
        wanted.append(f"{work.limit:g} {work.unit}")
        reached = reached and ours is not None and ours <= work.limit
    return ", ".join(wanted), ("yes" if reached else "NO") if wanted else ""


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.001 else "0"


def table(chosen: list[Work], rounds: int | None, slow: bool) -> None:
    """Print a row as soon as it is measured; the growth from no live mapping to 5 000 at the end."""
    names = list(runners())
    print("| CPU time, memory | unit | " + " | ".join(names) + " | emuvm/bare | to reach | reached |")
    print("|---" * (len(names) + 5) + "|")
    seen: dict[str, float] = {}
    for work in chosen:
        values = results(work, rounds or work.rounds, slow)
        seen[work.name] = values.get("emuvm", 0.0)
        bare = values.get("bare")
        ratio = number(values["emuvm"] / bare) if bare and "emuvm" in values and work.unit != "MiB" else ""
        cells = [work.name, work.unit, *(number(values.get(name)) for name in names), ratio, *verdict(work, values)]
        print("| " + " | ".join(cells) + " |", flush=True)
    none, many = seen.get("mmap round, none live"), seen.get("mmap round, 5 000 live")
    if none and many:
        print(f"\nemuvm, 5 000 live over none live: {many / none:.2f}, to reach 1.3: {'yes' if many <= 1.3 * none else 'NO'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, help="how often everything is run (default: by row)")
    parser.add_argument("--slow", action="store_true", help="let everybody do everything")
    parser.add_argument("work", nargs="*", help="only rows whose names begin so")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        libc_hello = str(Path(folder) / "hello") if shutil.which("gcc") else None
        if libc_hello:
            subprocess.run(["gcc", "-O2", "-static", "-no-pie", "-o", libc_hello, str(LIBC_HELLO)], check=True)
        chosen = [work for work in works(libc_hello) if not options.work or work.name.startswith(tuple(options.work))]
        table(chosen, options.rounds, options.slow)


if __name__ == "__main__":
    main()
