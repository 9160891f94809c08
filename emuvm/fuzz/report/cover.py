"""Which code inputs have executed: basic blocks, and what is known of them.

Owns: collecting blocks, drcov and lcov files. Must not know where files lie, nor HTML.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING

from emuvm.errors import EmuvmError
from emuvm_loaders import LoadError, printable
from emuvm_loaders.lines import Lines, lines
from emuvm_loaders.symbols import Symbols, symbols

if TYPE_CHECKING:
    from emuvm.fuzz.harness import Harness

Block = tuple[int, int]
"""(address in memory, size in bytes)."""


class Cover:
    """Blocks executed by some inputs. `runs`: block -> which inputs executed it, a bit for each."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self.runs: dict[Block, int] = {}
        self.inputs = 0
        self.skipped = 0
        """Inputs that the target cannot be run with."""
        self._lines: Lines | None = None

    def add(self, data: bytes) -> int:
        """Run an input; how many blocks it was the first to execute. EmuvmError: it cannot be run; nothing of it counts."""
        found: set[Block] = set()
        detach = self._harness.engine.trace_blocks(lambda address, size: found.add((address, size)))
        try:
            self._harness.run(data)
        finally:
            detach()
        bit, before = 1 << self.inputs, len(self.runs)
        for block in found:
            self.runs[block] = self.runs.get(block, 0) | bit
        self.inputs += 1
        return len(self.runs) - before

    def collect(self, inputs: Iterable[tuple[str, bytes]]) -> None:
        """Run all of them."""
        for _, data in inputs:
            try:
                self.add(data)
            except EmuvmError:
                self.skipped += 1

    # -- drcov --------------------------------------------------------------------------------------------------------------

    def drcov(self) -> bytes:
        """A file of DynamoRIO's drcov, version 2 with a module table of version 2: what Lighthouse and its like read."""
        proc = self._harness.proc
        # A line of the table is one line, and the path its last column.
        path = printable(proc.exe)
        start, end = proc.plan.start, proc.plan.end
        inside = sorted(block for block in self.runs if start <= block[0] < end)
        head = "DRCOV VERSION: 2\nDRCOV FLAVOR: emuvm\n"
        modules = "Module Table: version 2, count 1\nColumns: id, base, end, entry, checksum, timestamp, path\n"
        modules += f" 0, {start:#018x}, {end:#018x}, {proc.plan.entry:#018x}, 0x00000000, 0x00000000, {path}\n"
        table = f"BB Table: {len(inside)} bbs\n"
        rows = b"".join(struct.pack("<IHH", address - start, min(size, 0xFFFF), 0) for address, size in inside)
        return (head + modules + table).encode() + rows

    # -- lines and functions --------------------------------------------------------------------------------------------------

    def lines(self) -> Lines:
        """Source lines of the program; none without debug information."""
        if self._lines is None:
            try:
                self._lines = lines(self._harness.program)
            except LoadError:
                self._lines = Lines([])
        return self._lines

    def line_hits(self) -> dict[str, dict[int, int]]:
        """File -> line -> how many inputs executed code of it, for every line that has code. Empty without debug information."""
        known, bias = self.lines(), self._harness.bias
        found: dict[str, dict[int, int]] = {}
        for row in known:
            found.setdefault(row.file, {}).setdefault(row.line, 0)
        for (address, size), runs in self.runs.items():
            for row in known.inside(address - bias, address - bias + size):
                found[row.file][row.line] |= runs
        return {file: {line: runs.bit_count() for line, runs in hits.items()} for file, hits in found.items()}

    def functions(self) -> list[tuple[str, int, int]]:
        """(name, address in the file, how many inputs executed code of it) of every function that has symbols.

        Not how many entered it: runs may begin inside.
        """
        try:
            known = symbols(self._harness.program)
        except LoadError:
            known = Symbols([])
        bias = self._harness.bias
        blocks = sorted((address - bias, size, runs) for (address, size), runs in self.runs.items())
        starts = [block[0] for block in blocks]
        found = []
        for symbol in known:
            if symbol.function:
                runs = 0
                for _, _, more in blocks[bisect_left(starts, symbol.address) : bisect_left(starts, symbol.address + max(symbol.size, 1))]:
                    runs |= more
                found.append((symbol.name, symbol.address, runs.bit_count()))
        return found

    def lcov(self) -> str:
        """A tracefile as genhtml and others read it (geninfo(1))."""
        known = self.lines()
        by_file: dict[str, list[tuple[str, int, int]]] = {}
        for function, address, count in self.functions():
            place = known.at(address)
            if place is not None:
                by_file.setdefault(place[0], []).append((function, place[1], count))
        out = ["TN:"]
        for path, hits in sorted(self.line_hits().items()):
            out.append(f"SF:{printable(path)}")
            functions = sorted(((printable(function), line, count) for function, line, count in by_file.get(path, [])), key=lambda f: f[1])
            out += [f"FN:{line},{function}" for function, line, _ in functions]
            out += [f"FNDA:{count},{function}" for function, _, count in functions]
            out += [f"FNF:{len(functions)}", f"FNH:{sum(1 for entry in functions if entry[2])}"]
            out += [f"DA:{line},{count}" for line, count in sorted(hits.items())]
            out += [f"LF:{len(hits)}", f"LH:{sum(1 for count in hits.values() if count)}", "end_of_record"]
        return "\n".join(out) + "\n"
