"""Names of addresses, from the symbol tables of an ELF file.

Owns: which symbols count, and the look-up. Must not know what is done with names. Addresses are those of the file: who moved a position
independent image adds its bias.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from emuvm_loaders.image import EIO, LoadError
from emuvm_loaders.source import Source

_TABLES = (".symtab", ".dynsym")
_KINDS = ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE", "STT_GNU_IFUNC", "STT_LOOS")
_MOST = 4_000_000
BROKEN = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError, MemoryError, zlib.error)
"""What pyelftools falls over when tables make no sense, beside its own errors."""
_MAPPING = re.compile(r"\$[adtx](\..*)?")
"""Of arm64 and arm: they tell code from data, and name nothing."""
_NEAR = 4096
"""So far behind a symbol without a size its name is still used."""


class Symbol(NamedTuple):
    """A named place. `size` in bytes, 0 where the file does not say."""

    address: int
    size: int
    name: str
    function: bool


class Symbols:
    """Look-up both ways."""

    def __init__(self, found: list[Symbol]) -> None:
        # Of several names for one place a function with a size is the best, and a short name without underscores in front.
        order = sorted(found, key=lambda s: (s.address, s.function, s.size > 0, -s.name.count("_"), -len(s.name)))
        self._by_name: dict[str, Symbol] = {}
        for symbol in order:
            self._by_name[symbol.name] = symbol
        best = {symbol.address: symbol for symbol in order}
        self._places = list(best.values())
        self._starts = [symbol.address for symbol in self._places]

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Symbol]:
        return iter(self._places)

    def address(self, name: str) -> int | None:
        """Where a name is; None: there is no such symbol."""
        found = self._by_name.get(name)
        return None if found is None else found.address

    def name_at(self, address: int) -> tuple[str, int] | None:
        """(name, bytes behind it) of the symbol an address lies in, or behind if its size is not known."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        found = self._places[index]
        offset = address - found.address
        return (found.name, offset) if offset < (found.size or _NEAR) else None


def read_all(source: str | Path | bytes | bytearray | memoryview | Source) -> bytes:
    """The whole file. LoadError: it cannot be read."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    try:
        if isinstance(source, (str, Path)):
            return Path(source).read_bytes()
        return source.read_at(0, source.size())
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror or error}", error.errno or EIO) from None
    except ValueError as error:  # a path with a zero byte
        raise LoadError(f"not a path: {error}") from None


def symbols(source: str | Path | bytes | bytearray | memoryview | Source) -> Symbols:
    """The symbols of an ELF file; none of a stripped one. LoadError: it cannot be read, or its tables make no sense."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    found: list[Symbol] = []
    data = read_all(source)
    try:
        file = ELFFile(BytesIO(data))
        for name in _TABLES:
            table = file.get_section_by_name(name)
            if not isinstance(table, SymbolTableSection):
                continue
            if table.num_symbols() > min(_MOST, len(data)):
                raise LoadError(f"the symbol table {name} is longer than the file")
            for entry in table.iter_symbols():
                kind = entry["st_info"]["type"]
                # An absolute symbol is a number, not a place: small ones would give names to null pointers.
                if entry["st_shndx"] in ("SHN_UNDEF", "SHN_ABS") or kind not in _KINDS:
                    continue
                if entry.name and not _MAPPING.fullmatch(entry.name):
                    found.append(Symbol(entry["st_value"], entry["st_size"], entry.name, kind == "STT_FUNC"))
    except LoadError:
        raise
    except (ELFError, *BROKEN) as error:
        raise LoadError(f"its symbol tables cannot be read: {error}") from None
    return Symbols(found)
