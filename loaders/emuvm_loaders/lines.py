"""Source lines of addresses, from the DWARF line tables of an ELF file.

Owns: reading the tables into ranges. Must not know what is done with lines. Addresses are those of the file, ranges half-open.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from emuvm_loaders.image import LoadError
from emuvm_loaders.source import Source
from emuvm_loaders.symbols import BROKEN, read_all

_MOST = 5_000_000


class Row(NamedTuple):
    """The code of [start, end) comes from a line of a file."""

    start: int
    end: int
    file: str
    line: int


class Lines:
    """Look-up by address; iteration gives all rows, ascending."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = sorted(rows)
        self._starts = [row.start for row in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def at(self, address: int) -> tuple[str, int] | None:
        """(file, line) of the code at an address; None: not known."""
        index = bisect_right(self._starts, address) - 1
        if index < 0 or address >= self._rows[index].end:
            return None
        return self._rows[index].file, self._rows[index].line

    def inside(self, start: int, end: int) -> Iterator[Row]:
        """The rows that have code in [start, end)."""
        index = max(0, bisect_right(self._starts, start) - 1)
        while index < len(self._rows) and self._rows[index].start < end:
            if self._rows[index].end > start:
                yield self._rows[index]
            index += 1


def lines(source: str | Path | bytes | bytearray | memoryview | Source) -> Lines:
    """The line tables of an ELF file; empty without debug information. Units that make no sense are left out. LoadError: no ELF file."""
    from elftools.common.exceptions import DWARFError, ELFError
    from elftools.elf.elffile import ELFFile

    broken = (DWARFError, ELFError, *BROKEN)
    rows: list[Row] = []
    data = read_all(source)
    try:
        file = ELFFile(BytesIO(data))
        if not file.has_dwarf_info():
            return Lines([])
        dwarf = file.get_dwarf_info()
    except broken as error:
        raise LoadError(f"its debug information cannot be read: {error}") from None
    try:
        for unit in dwarf.iter_CUs():
            try:
                rows += _unit(dwarf, unit)
            except broken:
                continue
            if len(rows) > _MOST:
                break
    except broken:
        pass  # what was read so far is something
    return Lines(rows)


def _unit(dwarf: Any, unit: Any) -> list[Row]:
    program = dwarf.line_program_for_CU(unit)
    if program is None:
        return []
    top = unit.get_top_DIE()
    folder = top.attributes.get("DW_AT_comp_dir")
    base = folder.value.decode("utf-8", "replace") if folder is not None else ""
    names: dict[int, str] = {}
    rows: list[Row] = []
    last: Any = None
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        if last is not None and last.address < state.address and last.line:
            if last.file not in names:
                names[last.file] = _name(program, last.file, base)
            rows.append(Row(last.address, state.address, names[last.file], last.line))
        last = None if state.end_sequence else state
    return rows


def _name(program: Any, number: int, base: str) -> str:
    """DWARF 5 counts files and folders from 0, with the unit's own first; before it counted files from 1, and folder 0 was the unit's."""
    header = program["file_entry"]
    version = program["version"]
    entry = header[number] if version >= 5 else header[number - 1]
    name = entry.name.decode("utf-8", "replace")
    folders = program["include_directory"]
    index = entry.dir_index
    folder = ""
    if version >= 5 or index:
        found = folders[index] if version >= 5 else folders[index - 1]
        folder = found.decode("utf-8", "replace")
    path = Path(base, folder, name)
    return str(path)
