"""Names and source lines of addresses."""

from __future__ import annotations

import random
import subprocess
from io import BytesIO
from pathlib import Path

import pytest

from emuvm_loaders import BytesSource, FileSource, LoadError
from emuvm_loaders.lines import Row, lines
from emuvm_loaders.symbols import Symbol, Symbols, symbols
from tests.fuzz.guests import build

SOURCE = "int other(int n)\n{\n    return n * 3;\n}\nint main(int c, char **v)\n{\n    return other(c);\n}\n"
OPTIONS = ("-fno-inline", "-fno-ipa-cp")


def test_names() -> None:
    found = symbols(build(SOURCE, "x86_64", *OPTIONS))
    main, other = found.address("main"), found.address("other")
    assert main is not None and other is not None
    assert found.name_at(main) == ("main", 0) and found.name_at(other + 3) == ("other", 3)
    assert found.address("nobody") is None and found.name_at(1) is None
    listed = subprocess.run(["nm", build(SOURCE, "x86_64", *OPTIONS)], capture_output=True, text=True, check=True).stdout
    rows = dict(reversed(line.split()[::2]) for line in listed.splitlines() if line.split()[1] in "Tt")
    assert all(found.address(name) == int(address, 16) for name, address in rows.items() if name in ("main", "other", "_start"))


def test_choice_of_names() -> None:
    found = Symbols(
        [Symbol(16, 0, "__alias", True), Symbol(16, 8, "name", True), Symbol(32, 4, "data", False), Symbol(64, 0, "open", False)]
    )
    assert found.name_at(17) == ("name", 1) and found.name_at(25) is None
    assert found.name_at(100) == ("open", 36) and found.name_at(64 + 4096) is None and found.address("__alias") == 16
    assert [symbol.name for symbol in found] == ["name", "data", "open"] and len(found) == 4


def test_arm64_and_stripped_programs() -> None:
    found = symbols(build(SOURCE, "arm64", *OPTIONS))
    assert found.address("main") and not any(symbol.name.startswith("$") for symbol in found)
    assert len(symbols(build(SOURCE, "x86_64", "-s"))) == 0 and len(lines(build(SOURCE, "x86_64", "-s"))) == 0


@pytest.mark.parametrize("version", ["4", "5"])
def test_lines(version: str) -> None:
    program = build(SOURCE, "x86_64", *OPTIONS, f"-gdwarf-{version}")
    found = lines(program)
    main = symbols(program).address("main")
    assert main is not None
    inside = [row.line for row in found.inside(main, main + 64) if row.line >= 6]
    assert 7 in inside
    assert found.at(0) is None
    for address in range(main + 4, main + 16):
        by_tool = subprocess.run(["addr2line", "-e", program, hex(address)], capture_output=True, text=True, check=True).stdout
        place = found.at(address)
        assert by_tool.split()[0].rpartition(":")[2] == (str(place[1]) if place is not None else "?")
    assert all(isinstance(row, Row) and row.start < row.end for row in found)


def test_files_that_are_none(tmp_path: Path) -> None:
    for read in (symbols, lines):
        with pytest.raises(LoadError):
            read(tmp_path / "missing")
        with pytest.raises(LoadError):
            read(b"no program")
        with pytest.raises(LoadError):
            read(b"")


def test_damaged_files() -> None:
    """Whatever stands in them: an answer or a LoadError, and soon."""
    data = build(SOURCE, "x86_64", "-g").read_bytes()
    rng = random.Random(7)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(20):
            place = rng.choice((rng.randrange(64), len(data) - 1 - rng.randrange(3000), rng.randrange(len(data))))
            damaged[place] = rng.randrange(256)
        for read in (symbols, lines):
            try:
                read(bytes(damaged[: rng.choice((len(damaged), rng.randrange(len(damaged))))]))
            except LoadError:
                continue


def test_sources_of_all_kinds() -> None:
    program = build(SOURCE, "x86_64", *OPTIONS, "-g")
    data = program.read_bytes()
    expected, rows = symbols(program).address("main"), list(lines(program))
    assert expected and rows
    for source in (str(program), data, bytearray(data), memoryview(data), BytesSource(data), FileSource(program)):
        assert symbols(source).address("main") == expected and list(lines(source)) == rows
    for read in (symbols, lines):
        with pytest.raises(LoadError, match="not a path"):
            read("zero\0byte")


def test_symbols_that_name_no_place() -> None:
    """Numbers (absolute symbols) would give names to null pointers; only mapping symbols are left out among those with a dollar."""
    text = 'int main(void) { return 0; }\n__asm__(".globl small\\nsmall = 8\\n.globl $x\\n$x: nop\\n.globl $xyz\\n$xyz: nop\\n");\n'
    found = symbols(build(text))
    assert found.address("small") is None and found.name_at(8) is None
    assert found.address("$xyz") and found.address("$x") is None


@pytest.mark.parametrize("version", ["4", "5"])
def test_files_are_those_of_addr2line(version: str) -> None:
    program = build(SOURCE, "x86_64", f"-gdwarf-{version}")
    known = lines(program)
    places = [place for row in known for place in (row.start, row.end - 1)]
    told = subprocess.run(["addr2line", "-e", program], input="\n".join(map(hex, places)), capture_output=True, text=True, check=True)
    expected = [line.partition(" (discriminator")[0] for line in told.stdout.splitlines()]
    assert [":".join(map(str, known.at(place) or ())) for place in places] == expected and len(places) > 4


@pytest.mark.parametrize("option", ["-gdwarf-4", "-gdwarf-5", "-gz"])
def test_damaged_tables(option: str) -> None:
    """Damage where it matters: in the tables themselves, compressed ones too, and in the headers of sections."""
    from elftools.elf.elffile import ELFFile

    data = build(SOURCE, "x86_64", "-g", option, "-nostdlib", "-Wl,-emain").read_bytes()
    file = ELFFile(BytesIO(data))
    parts = [part for part in file.iter_sections() if part.name.startswith((".debug", ".symtab", ".strtab"))]
    spans = [(part["sh_offset"], part["sh_size"]) for part in parts]
    spans += [(file["e_shoff"], 64 * file["e_shnum"]), (0, 64)]
    rng = random.Random(5)
    read_well = 0
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 6)):
            start, length = rng.choice(spans)
            damaged[start + rng.randrange(length)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        for read in (symbols, lines):
            try:
                read_well += len(list(read(damaged))) > 0
            except LoadError:
                continue
    assert read_well > 100, "the damage is not everywhere"
