"""`emuvm info`: every fact is there, whatever the file; trouble goes to stderr as one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from emuvm.abi.arch import BY_NAME
from emuvm.tools.info import describe, main, place
from emuvm_loaders import load, load_raw
from emuvm_loaders.machines import ARCHES
from tests.loaders.elfbytes import GNU_STACK, INTERP, LOAD, NOTE, TLS, Ph, elf, note, text_and_data


def info(data: bytes) -> str:
    image = load(data, name="prog")
    return describe(image, place(image))


def test_a_static_program() -> None:
    text = info(text_and_data())
    for line in (
        "kind          static executable",
        "architecture  x86_64 (machine 62, 64-bit, little-endian, flags 0x0)",
        "entry         0x401000",
        "headers       3 of 56 bytes at file offset 0x40, address 0x400040",
        "stack         rw- (PT_GNU_STACK)",
        "interpreter   none needed",
        "  LOAD               0x1f00           0x402f00      0x180     0x2300 rw-  0x1000",
        "  00400000-00402000 r-xp 00000000 prog, segment 0",
        "  00402000-00404000 rw-p 00001000 prog, segment 1, zero from 0x403080 to 0x404000",
        "  00404000-00406000 rw-p 00000000 [zeros], segment 1",
        "  00406000          rw-p          [heap] starts here",
    ):
        assert line in text.splitlines()


def test_notes_tls_and_stack() -> None:
    tag = b"\0\0\0\0\3\0\0\0\2\0\0\0\0\0\0\0"
    data = note(b"GNU\0", 3, bytes(range(20))) + note(b"GNU\0", 1, tag) + note(b"X\x1b\0", 7, b"\1\2")
    text = info(
        elf(
            Ph(LOAD, 0, 0x400000, 0x1000, 0x1000, 5),
            Ph(NOTE, 0x800, 0, len(data), 0, align=4, data=data),
            Ph(TLS, 0x100, 0x400100, 8, 24, align=16),
            Ph(GNU_STACK, flags=7),
            entry=0x400000,
        )
    )
    assert "note          build id 000102030405060708090a0b0c0d0e0f10111213" in text
    assert "note          ABI tag Linux 3.2.0" in text
    assert "note          X\\x1b type 0x7, 2 bytes 0102" in text
    assert "TLS           24 bytes, 8 of them from address 0x400100, aligned to 16" in text
    assert "stack         rwx (PT_GNU_STACK)" in text


def test_static_pie_is_shown_where_linux_puts_it() -> None:
    text = info(elf(Ph(LOAD, 0, 0, 0x1000, 0x2000, 6), type=3, entry=0x100))
    assert "kind          static position independent executable" in text
    assert "entry         0x100, planned at 0x7ffff7ffd100" in text
    assert "  7ffff7ffe000-7ffff7fff000 rw-p 00000000 [zeros], segment 0" in text
    assert "  555555554000          rw-p          [heap] starts here" in text


def test_a_dynamic_program_names_its_interpreter() -> None:
    text = info(elf(Ph(LOAD, 0, 0, 0x1000, 0x1000, 5), Ph(INTERP, 0x800, 0, 11, 11, data=b"/lib/ld.so\0"), type=3, entry=0x100))
    assert "interpreter   a dynamic executable: it needs the interpreter /lib/ld.so, and only static programs can be run" in text
    assert "  555555554000-555555555000 r-xp" in text


@pytest.mark.parametrize("arch", sorted(ARCHES))
def test_every_architecture(arch: str) -> None:
    machine, bits, big = ARCHES[arch]
    headers = Ph(LOAD, 0, 0x400000, 0x1200, 0x1200, 5), Ph(LOAD, 0x3F00, 0x405F00, 0x180, 0x2300, 6), Ph(GNU_STACK, flags=6)
    text = info(elf(*headers, machine=machine, bits=bits, big=big, entry=0x400100, size=0x4080))
    assert f"architecture  {arch} (machine {machine}, {bits}-bit, {'big' if big else 'little'}-endian" in text
    runs = arch in BY_NAME and BY_NAME[arch].runnable
    assert ("emuvm does not run" in text) == (not runs)
    last = [line for line in text.splitlines() if "prog, segment" in line][-1].split()
    assert last[1:3] == ["rw-p", "00002000" if arch == "sparc64" else "00003000"], "sparc64 has pages of 8 KiB"


def test_the_loaders_names_are_those_of_the_architecture_table() -> None:
    for arch in BY_NAME.values():
        assert ARCHES[arch.name] == (arch.elf_machine, arch.bits, arch.big_endian)


def test_read_implies_exec_is_said() -> None:
    text = info(elf(Ph(LOAD, 0, 0x400000, 1, 1, 4), machine=3, bits=32, entry=0x400000))
    assert "stack         rwx (no PT_GNU_STACK); readable pages become executable (READ_IMPLIES_EXEC)" in text
    assert "00400000-00401000 r-xp" in text


def test_a_raw_image() -> None:
    image = load_raw(b"abc", 0x8000, "arm64", name="rom")
    text = describe(image, place(image))
    assert "kind          flat blob" in text
    assert "00008000-00009000 rwxp 00000000 rom, segment 0" in text


def test_main(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prog"
    path.write_bytes(text_and_data())
    assert main(str(path)) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"file          {path}\n")
    assert err == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"#!/bin/sh\n", "a script for '/bin/sh', not a program"),
        (b"hello", "not an ELF file: it starts with 68 65 6c 6c"),
        (elf(Ph(GNU_STACK)), "the file has no segment to load"),
    ],
)
def test_main_on_trouble(data: bytes, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prog"
    path.write_bytes(data)
    assert main(str(path)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"emuvm: {path}: {reason}")
    assert err.count("\n") == 1
