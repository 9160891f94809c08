"""What it costs to put a process back: dirty pages, guest sizes, layout changes. Prints a markdown table.

    python -m tests.benchmarks.snapshot [--runs N]

Each cell: median µs of `Snapshot.restore` over many runs, and behind it those of run and restore together. `whole` is the plain way:
the guest's writable memory copied back with one call, registers by uc_context_restore, nothing else.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from emuvm.errors import Pause
from emuvm.fuzz.snapshot import Snapshot
from emuvm.kernel.dispatch import Bound
from emuvm.kernel.process import Process
from emuvm.kernel.request import Request
from emuvm.kernel.running import started

ROOT = Path(__file__).resolve().parents[2]
FLAGS = "-O2 -ffreestanding -fno-builtin -fno-stack-protector -fno-pie -no-pie -static -nostdlib -s".split()
SIZES = (1, 16, 256)
RUNS = ((1, 0), (16, 0), (100, 0), (16, 5))


def build(place: Path) -> Path:
    program = place / "snapshot"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["gcc", *FLAGS, f"-I{ROOT / 'samples' / 'guest'}", "-o", program, source], check=True)
    return program


def pause_at(proc: Process, wanted: str) -> None:
    """Run to the first call of that name; it is made when the process goes on."""
    passed = False

    def watch(name: str, bound: Bound) -> Bound:
        def call(args: tuple[int, ...]) -> int:
            nonlocal passed
            if name == wanted and not passed:
                passed = True
                raise Pause("here")
            return bound(args)

        return call

    proc.dispatcher.watch(watch)
    try:
        proc.run()
    except Pause:
        return
    raise SystemExit(f"the guest ended before {wanted}")


Way = Callable[[Process], Callable[[], None]]


def measure(program: Path, mib: int, pages: int, layout: int, runs: int, way: Way) -> tuple[float, float]:
    """(restore, run and restore), medians in µs."""
    with started(Request(str(program), (str(mib), str(pages), str(layout)))) as proc:
        pause_at(proc, "sched_yield")
        restore = way(proc)
        alone, both = [], []
        for _ in range(runs):
            began = time.perf_counter()
            proc.run()
            ran = time.perf_counter()
            restore()
            done = time.perf_counter()
            alone.append(done - ran)
            both.append(done - began)
        return statistics.median(alone[5:]) * 1e6, statistics.median(both[5:]) * 1e6


def snapshot(proc: Process) -> Callable[[], None]:
    return Snapshot.take(proc).restore


def whole(proc: Process) -> Callable[[], None]:
    """Copies everything that is writable."""
    engine = proc.engine
    kept = [(vma.start, engine.memory.read(vma.start, vma.size)) for vma in proc.space if vma.prot & 2]
    host = engine.memory.host
    targets = [(host.pointer(start), data, len(data)) for start, data in kept]
    registers = engine.save()

    def restore() -> None:
        for pointer, data, length in targets:
            ctypes.memmove(pointer, data, length)
        engine.restore(registers)
        proc.ended = None

    return restore


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        print("| pages written, layout changes | " + " | ".join(f"{mib} MiB" for mib in SIZES) + " |")
        print("|---|" + "---|" * len(SIZES))
        for pages, layout in RUNS:
            cells = [measure(program, mib, pages, layout, options.runs, snapshot) for mib in SIZES]
            print(f"| {pages}, {layout} | " + " | ".join(f"{alone:.1f} ({both:.1f})" for alone, both in cells) + " |", flush=True)
        cells = [measure(program, mib, 16, 0, max(20, options.runs // 10), whole) for mib in SIZES]
        print("| whole: 16, 0 | " + " | ".join(f"{alone:.1f} ({both:.1f})" for alone, both in cells) + " |")


if __name__ == "__main__":
    main()
