"""Compares random walks by the host's kernel and by emuvm, for as many seeds as asked: `python -m tests.oracle.runner --help`.

A difference is shrunk to the shortest sequence that still shows it, printed, and with --save kept in regressions/, which the tests
replay. Ends with "N seeds, M differences"; the exit status is 1 if there were any.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.oracle.walks import (
    ARCHES,
    ENGINES,
    HERE,
    HOST,
    JUDGE,
    MODES,
    Difference,
    Emulator,
    Outcome,
    Unavailable,
    Walk,
    by_the_host,
    compare,
    numbers,
    only,
    shrink,
    within,
    without,
)

REGRESSIONS = HERE / "regressions"


@dataclass
class Tally:
    """What is known so far; shared by the workers."""

    walks: int = 0
    differences: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


def one_walk(
    walk: Walk, arch: str, engine: str, emulator: Emulator, ignored: frozenset[str] = frozenset(), mask: str = ""
) -> tuple[Outcome, Outcome, Difference | None]:
    walk = within(walk, engine)
    host, ours = by_the_host(walk), emulator.run(walk, arch, engine)
    if ignored or mask:
        host, ours = without(host, ignored, mask), without(ours, ignored, mask)
    return host, ours, compare(host, ours)


def save(walk: Walk, difference: Difference) -> Path:
    """Keep a shrunk walk as a test. The first line is replayed, the others are for people."""
    REGRESSIONS.mkdir(exist_ok=True)
    path = REGRESSIONS / f"{walk.mode}-{walk.seed}-{difference.operation}.txt"
    path.write_text(" ".join(walk.words()) + "\n" + "".join(f"# {line}\n" for line in difference.text(20).splitlines()))
    return path


def load(path: Path) -> Walk:
    words = path.read_text().splitlines()[0].split()
    portable = words[0] == "portable"
    mode, seed, count, *kept = words[portable:]
    return Walk(mode, int(seed), int(count), numbers(kept[0]) if kept else None, portable)


def work(walk: Walk, options: argparse.Namespace, tally: Tally, emulators: threading.local) -> None:
    """One walk on every engine and architecture asked for."""
    walk = replace(walk, portable=walk.portable or bool({*options.arch} - {HOST}))
    if not hasattr(emulators, "mine"):
        emulators.mine = Emulator()
    if options.only:
        walk = only(walk, options.only)
    if options.skip:
        walk = only(walk, options.skip, skip=True)
    for arch in options.arch:
        for engine in options.engines:
            host, ours, difference = one_walk(walk, arch, engine, emulators.mine, options.ignore, options.mask)
            where = f"{walk.mode} seed {walk.seed} on {arch} {engine}"
            text = ""
            if difference is not None:
                shrunk, smallest = walk, difference
                with tally.lock:
                    seen = tally.differences[difference.name]
                if not options.no_shrink and seen < options.each:
                    shrunk, smallest = shrink(
                        walk, difference, lambda tried: one_walk(tried, arch, engine, emulators.mine, options.ignore, options.mask)[2]  # noqa: B023
                    )
                if seen < options.each:
                    text = f"\n== {difference.name}: {where}\n   walk {' '.join(shrunk.words())}\n{smallest.text(16)}"
                    if options.save:
                        text += f"\n   saved as {save(shrunk, smallest)}"
            with tally.lock:
                tally.walks += 1
                tally.seconds["host"] += host.seconds
                tally.seconds[f"{arch} {engine}"] += ours.seconds
                if difference is not None:
                    tally.differences[difference.name] += 1
                if text:
                    print(text, flush=True)


def parse(words: list[str] | None) -> argparse.Namespace:
    def names(text: str) -> frozenset[str]:
        return frozenset(text.split(","))

    def several(known: tuple[str, ...], *more: str) -> Callable[[str], list[str]]:
        def chosen(text: str) -> list[str]:
            names = text.replace(",", " ").split() or list(known)
            if unknown := [name for name in names if name not in known and name not in more]:
                raise argparse.ArgumentTypeError(f"{unknown[0]}: one of {', '.join(known)}")
            return names

        return chosen

    parser = argparse.ArgumentParser(prog="python -m tests.oracle.runner", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds, shared out among the modes in turn")
    parser.add_argument("--start", type=int, default=1, help="the first seed")
    parser.add_argument("--ops", type=int, default=400, help="operations a walk")
    parser.add_argument("--modes", type=several(MODES), default=list(MODES), help="default: all")
    parser.add_argument("--engines", type=several(ENGINES, JUDGE), default=list(ENGINES), help="default: both; host: the host again")
    parser.add_argument("--arch", type=several(ARCHES), default=["x86_64"], help="default: x86_64; arm64 is judged by the same host")
    parser.add_argument("--kept", type=numbers, help="do only these operations, as 0-4,9")
    parser.add_argument("--only", type=names, help="operations to do: their names as in the transcripts, separated by commas")
    parser.add_argument("--skip", type=names, help="operations not to do")
    parser.add_argument("--ignore", type=names, default=frozenset(), help="parts of the state not to compare: totals,smaps,...")
    parser.add_argument("--mask", default="", help="a regular expression; what it matches is not compared")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--each", type=int, default=1, help="how many differences of a kind are shrunk and shown")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--save", action="store_true", help="keep shrunk walks in tests/oracle/regressions")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    options = parse(words)
    tally, emulators, began = Tally(), threading.local(), time.monotonic()
    told = began
    seeds = range(options.start, options.start + options.seeds)
    walks = [Walk(mode, seed, options.ops, options.kept) for seed in seeds for mode in options.modes]
    with ThreadPoolExecutor(options.jobs) as pool:
        running = [pool.submit(work, walk, options, tally, emulators) for walk in walks]
        for done, future in enumerate(running, 1):
            try:
                future.result()
            except Unavailable as error:
                print(f"cannot run: {error}", file=sys.stderr)
                return 2
            if time.monotonic() - told > 20:
                told = time.monotonic()
                print(f"-- {done} of {len(walks)} walks, {sum(tally.differences.values())} differences, {told - began:.0f} s", flush=True)
    for name, count in tally.differences.most_common():
        print(f"{count:6}  {name}")
    for name, seconds in sorted(tally.seconds.items()):
        runs = tally.walks if name == "host" else tally.walks / len(options.arch) / len(options.engines)
        print(f"{seconds / runs:8.3f} s of CPU a walk  {name}")
    print(f"{options.seeds} seeds, {sum(tally.differences.values())} differences")
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main())
