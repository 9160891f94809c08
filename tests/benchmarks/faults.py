"""CPU time of a fault that the guest handles: write barrier, lazy memory, guard page. Prints a markdown table.

    python -m tests.benchmarks.faults [--against TREE] [--rounds N] [--count N] [--arch A,B] [MODE...]

A figure is the difference of a long and a short run over the faults between them, so that start-up drops out; user and system time of
the child, the least of several rounds in which everybody runs in turn. getppid, a call that does nothing, is the measure of the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_suffix(".c")
COMPILERS = {"x86_64": ("x86_64-linux-gnu-gcc", "gcc"), "arm64": ("aarch64-linux-gnu-gcc",)}
FLAGS = "-O2 -ffreestanding -fno-builtin -fno-stack-protector -fno-pie -no-pie -static -nostdlib -s".split()
MODES = {
    "barrier": "write barrier, pages in order",
    "lazy": "lazy pages, in order",
    "one": "one page, protected again each time",
    "skip": "the handler steps over the store",
    "getppid": "getppid, no fault",
}
START = "from emuvm.cli import script; script()"


def build(arch: str, place: Path) -> Path | None:
    """The guest, compiled; None where there is no compiler for it."""
    for compiler in COMPILERS[arch]:
        if shutil.which(compiler):
            program = place / arch
            subprocess.run([compiler, *FLAGS, f"-I{ROOT / 'samples' / 'guest'}", "-o", program, SOURCE], check=True)
            return program
    return None


def cost(command: list[str], tree: Path | None) -> float:
    """CPU seconds of one run."""
    environment = dict(os.environ)
    if tree is not None:
        environment["PYTHONPATH"] = f"{tree}:{tree / 'loaders'}"
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def measure(program: Path, mode: str, count: int, rounds: int, trees: dict[str, Path | None]) -> dict[str, float]:
    """Who -> µs a fault. Who runs natively has no tree, and makes many more faults: they are cheap."""
    best: dict[tuple[str, int], float] = {}
    short = count // 8
    for _ in range(rounds):
        for name, tree in trees.items():
            for faults in (short, short + count):
                guest = [str(program), mode, str(faults if tree is not None else faults * 50)]
                command = guest if tree is None else [sys.executable, "-P", "-c", START, "run", *guest]
                best[name, faults] = min(best.get((name, faults), 1e9), cost(command, tree))
    return {
        name: (best[name, short + count] - best[name, short]) / count * 1e6 / (50 if tree is None else 1) for name, tree in trees.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--against", type=Path, help="another source tree of emuvm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=4000, help="faults a run")
    parser.add_argument("--arch", default=",".join(COMPILERS))
    parser.add_argument("modes", nargs="*", metavar="MODE", help=", ".join(MODES))
    options = parser.parse_args()
    trees = {"before": options.against.resolve(), "emuvm": ROOT} if options.against else {"emuvm": ROOT}
    native = os.uname().machine.replace("aarch64", "arm64")
    print("| µs of CPU a fault | native | " + " | ".join(trees) + (" | before/emuvm" if options.against else "") + " |")
    print("|---" * (2 + len(trees) + bool(options.against)) + "|")
    with tempfile.TemporaryDirectory() as place:
        for arch in options.arch.split(","):
            program = build(arch, Path(place))
            for mode in (options.modes or MODES) if program is not None else ():
                assert program is not None
                who: dict[str, Path | None] = {"native": None} if arch == native else {}
                found = measure(program, mode, options.count, options.rounds, {**who, **trees})
                figures = [f"{found['native']:.2f}" if who else "-", *(f"{found[name]:.1f}" for name in trees)]
                if options.against:
                    figures.append(f"{found['before'] / found['emuvm']:.2f}")
                print(f"| {arch}: {MODES[mode]} | " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    main()
