"""Executions per CPU second on a JSON parser of some 26 000 instructions an input, in several ways. Prints a markdown table.

    python -m tests.benchmarks.fuzz [--seconds N]

    snapshot          the harness: restore, input, run; with and without edge coverage, with the C module and without
    plain script      `bare.py` with a stack of 8 MiB: context_restore, and everything that is writable by uc.mem_write; no coverage
    whole areas       the harness, but all writable areas copied back by one memmove each, 0.2 MiB: what is to be gained by knowing pages
    new engine        everything made anew for each run, from the program's first instruction
    Qiling            where it is installed: save and restore around each run
    AFL++ qemu mode   where afl-qemu-trace is installed: afl-fuzz for some seconds, by its own count

All of them get the same three inputs in turn. The ways are measured one after the other, twice; the better half counts.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unicorn import Uc
from unicorn import x86_const as x86

from emuvm.fuzz.coverage import Seen
from emuvm.fuzz.harness import Harness
from tests.benchmarks.bare import REGS, Bare

SOURCE = Path(__file__).with_name("fuzz_target.c")
ENTRIES = (1, 3, 7)
Run = Callable[[bytes], object]


def seeds() -> list[bytes]:
    """JSON texts of some 9 000, 23 000 and 50 000 instructions."""
    rng = random.Random(1)

    def row(number: int) -> str:
        return (
            f'{{"id": {number}, "name": "entry {number * 37}\\u00e9", "tags": ["a", "b\\n", "c{number}"], '
            f'"value": {rng.random() * 1000:.3f}, "ok": {rng.choice(("true", "false"))}, "none": null}}'
        )

    return [f'{{"rows": [{", ".join(row(n) for n in range(count))}], "count": {count}}}'.encode() for count in ENTRIES]


def build(place: Path) -> Path:
    program = place / "target"
    subprocess.run(["gcc", "-O2", "-static", "-o", program, SOURCE], check=True)
    return program


@contextmanager
def snapshot(program: Path, *, coverage: bool = True, native: bool = True, judge: bool = False) -> Iterator[Run]:
    """`judge`: look for new edges after each run, too, as a fuzzer does."""
    with Harness(program, coverage=coverage, native=native) as harness:
        seen = Seen(use_native=native)

        def run(data: bytes) -> None:
            harness.run(data)
            seen.merge(harness.counters)

        yield run if judge else harness.run


@contextmanager
def whole_areas(program: Path) -> Iterator[Run]:
    with Harness(program) as harness:
        proc, engine = harness.proc, harness.engine
        host = proc.engine.memory.host  # type: ignore[attr-defined]
        kept = [(vma.start, engine.memory.read(vma.start, vma.size)) for vma in proc.space if vma.prot & 2]
        targets = [(host.pointer(start), data, len(data)) for start, data in kept]
        restore = harness.reset

        def reset() -> None:
            for pointer, data, length in targets:
                ctypes.memmove(pointer, data, length)
            restore()

        harness.reset = reset  # type: ignore[method-assign]
        yield harness.run


class Plain(Bare):
    """The plain script as people fuzz with it: from the first read on, again and again."""

    def __init__(self, program: Path) -> None:
        super().__init__([str(program)])
        self.data = b""
        self.waits = True
        self.uc.emu_start(self.entry, 0)
        self.uc.reg_write(x86.UC_X86_REG_RIP, self.at)
        self.context = self.uc.context_save()
        regions = [(start, end - start + 1) for start, end, prot in self.uc.mem_regions() if prot & 2]
        self.kept = [(start, bytes(self.uc.mem_read(start, size))) for start, size in regions]
        self.kept_brk, self.waits = self.brk, False

    def syscall(self, uc: Uc, _: object) -> None:
        number, _fd, at, count = uc.reg_read_batch(REGS[:4])
        if number == 0:
            if self.waits:
                self.at = uc.reg_read(x86.UC_X86_REG_RIP)
                uc.emu_stop()
                return
            piece, self.data = self.data[:count], self.data[count:]
            uc.mem_write(at, piece)
            uc.reg_write(x86.UC_X86_REG_RAX, len(piece))
        elif number == 1:
            uc.mem_read(at, count)
            uc.reg_write(x86.UC_X86_REG_RAX, count)
        else:
            super().syscall(uc, _)

    def once(self, data: bytes) -> int:
        self.uc.context_restore(self.context)
        for start, content in self.kept:
            self.uc.mem_write(start, content)
        self.brk, self.data = self.kept_brk, data
        self.uc.emu_start(self.at, 0)
        return self.status


@contextmanager
def plain(program: Path) -> Iterator[Run]:
    yield Plain(program).once


@contextmanager
def new_engine(program: Path) -> Iterator[Run]:
    def run(data: bytes) -> None:
        with Harness(program, at="entry") as harness:
            harness.run(data)

    yield run


@contextmanager
def qiling(program: Path) -> Iterator[Run]:
    from qiling import Qiling
    from qiling.const import QL_VERBOSE
    from qiling.extensions.pipe import SimpleInStream, SimpleOutStream

    root = program.parent / "root"
    root.mkdir(exist_ok=True)
    inside = shutil.copy(program, root)
    ql = Qiling([inside], str(root), verbose=QL_VERBOSE.OFF)
    ql.os.stdin, ql.os.stdout = SimpleInStream(0), SimpleOutStream(1)
    from emuvm_loaders.symbols import symbols

    main = symbols(program).address("main")
    ql.run(end=main)
    kept = ql.save()

    def run(data: bytes) -> None:
        ql.restore(kept)
        ql.os.stdin = SimpleInStream(0)
        ql.os.stdin.write(data)
        ql.run(begin=main, end=1)  # without an end it would be the last one, main

    yield run


def rate(run: Run, inputs: list[bytes], seconds: float) -> float:
    """Executions per second of CPU time."""
    for data in inputs * 3:
        run(data)
    count, began, used = 0, time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        for data in inputs:
            run(data)
        count += len(inputs)
    return count / (time.process_time() - used)


WAYS: dict[str, Callable[[Path], object]] = {
    "snapshot, edge coverage": lambda p: snapshot(p),
    "snapshot, edge coverage, new edges looked for": lambda p: snapshot(p, judge=True),
    "snapshot, no coverage": lambda p: snapshot(p, coverage=False),
    "snapshot, without the C module, no coverage": lambda p: snapshot(p, coverage=False, native=False),
    "snapshot, without the C module, edge coverage": lambda p: snapshot(p, native=False),
    "whole areas, edge coverage": whole_areas,
    "plain script, full copy": plain,
    "new engine per run": new_engine,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each way, twice")
    options = parser.parse_args()
    ways = dict(WAYS)
    try:
        import qiling as _  # noqa: F401

        ways["Qiling, save and restore"] = qiling
    except ImportError:
        print("Qiling is not installed")
    if shutil.which("afl-qemu-trace") is None:
        print("AFL++ has no qemu mode here")
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        inputs = seeds()
        found: dict[str, float] = {}
        for _ in range(2):
            for name, way in ways.items():
                with way(program) as run:  # type: ignore[attr-defined]
                    found[name] = max(found.get(name, 0.0), rate(run, inputs, options.seconds))
    copied = found["plain script, full copy"]
    print("| way | executions per CPU second | of full copy |\n|---|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value:,.0f} | {value / copied:.2f} |")


if __name__ == "__main__":
    main()
