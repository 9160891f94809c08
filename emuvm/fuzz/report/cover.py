"""Which code inputs have executed: basic blocks, and what is known of them.

Owns: collecting blocks, drcov and lcov files. Must not know where files lie, nor HTML.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from emuvm.errors import EmuvmError
from emuvm_loaders import LoadError
from emuvm_loaders.lines import Lines, lines
from emuvm_loaders.symbols import Symbols, symbols

if TYPE_CHECKING:
    from emuvm.fuzz.harness import Harness

Block = tuple[int, int]
"""(address in memory, size in bytes)."""


class Cover:
    """Blocks executed by some inputs. `hits`: block -> how many inputs executed it."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self.hits: Counter[Block] = Counter()
        self.inputs = 0

    def add(self, data: bytes) -> int:
        """Run an input; how many blocks it was the first to execute."""
        found: dict[Block, None] = {}
        detach = self._harness.engine.trace_blocks(lambda address, size: found.setdefault((address, size)))
        try:
            self._harness.run(data)
        finally:
            detach()
        before = len(self.hits)
        self.hits.update(found.keys())
        self.inputs += 1
        return len(self.hits) - before

    def collect(self, inputs: Iterable[tuple[str, bytes]]) -> None:
        """Run all of them."""
        for _, data in inputs:
            try:
                self.add(data)
            except EmuvmError:
                continue  # no test case of this target

    # -- drcov --------------------------------------------------------------------------------------------------------------

    def drcov(self) -> bytes:
        """A file of DynamoRIO's drcov, version 2 with a module table of version 2: what Lighthouse and its like read."""
        proc = self._harness.proc
        path = self._harness.proc.exe.decode("utf-8", "replace")
        start, end = proc.plan.start, proc.plan.end
        inside = sorted(block for block in self.hits if start <= block[0] < end)
        head = "DRCOV VERSION: 2\nDRCOV FLAVOR: emuvm\n"
        modules = "Module Table: version 2, count 1\nColumns: id, base, end, entry, checksum, timestamp, path\n"
        modules += f" 0, {start:#018x}, {end:#018x}, {proc.plan.entry:#018x}, 0x00000000, 0x00000000, {path}\n"
        table = f"BB Table: {len(inside)} bbs\n"
        rows = b"".join(struct.pack("<IHH", address - start, min(size, 0xFFFF), 0) for address, size in inside)
        return (head + modules + table).encode() + rows

    # -- lines and functions --------------------------------------------------------------------------------------------------

    def line_hits(self) -> dict[str, dict[int, int]]:
        """File -> line -> how many inputs executed code of it, for every line that has code. Empty without debug information."""
        try:
            known = lines(self._harness.program)
        except LoadError:
            known = Lines([])
        bias = self._harness.bias
        found: dict[str, dict[int, int]] = {}
        for row in known:
            found.setdefault(row.file, {}).setdefault(row.line, 0)
        for (address, size), count in self.hits.items():
            for row in known.inside(address - bias, address - bias + size):
                hits = found[row.file]
                hits[row.line] = max(hits[row.line], count)
        return found

    def functions(self) -> list[tuple[str, int, int]]:
        """(name, address in the file, how many inputs entered it) of every function that has symbols."""
        try:
            known = symbols(self._harness.program)
        except LoadError:
            known = Symbols([])
        entered: dict[int, int] = {}
        for (address, _), count in self.hits.items():
            entered[address - self._harness.bias] = max(entered.get(address - self._harness.bias, 0), count)
        return [(symbol.name, symbol.address, entered.get(symbol.address, 0)) for symbol in known if symbol.function]

    def lcov(self) -> str:
        """A tracefile as genhtml and others read it (geninfo(1))."""
        try:
            known = lines(self._harness.program)
        except LoadError:
            known = Lines([])
        by_file: dict[str, list[tuple[str, int, int]]] = {}
        for function, address, count in self.functions():
            place = known.at(address)
            if place is not None:
                by_file.setdefault(place[0], []).append((function, place[1], count))
        out = ["TN:"]
        for path, hits in sorted(self.line_hits().items()):
            out.append(f"SF:{path}")
            functions = sorted(by_file.get(path, []), key=lambda entry: entry[1])
            out += [f"FN:{line},{function}" for function, line, _ in functions]
            out += [f"FNDA:{count},{function}" for function, _, count in functions]
            out += [f"FNF:{len(functions)}", f"FNH:{sum(1 for entry in functions if entry[2])}"]
            out += [f"DA:{line},{count}" for line, count in sorted(hits.items())]
            out += [f"LF:{len(hits)}", f"LH:{sum(1 for count in hits.values() if count)}", "end_of_record"]
        return "\n".join(out) + "\n"
