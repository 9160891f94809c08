"""ELF headers -> Image: every architecture of the tables, and each of Linux's refusals."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from emuvm_loaders import BytesSource, Image, LoadError, R, Segment, W, X, load, require_static
from emuvm_loaders.machines import ARCHES
from tests.loaders.elfbytes import GNU_PROPERTY, GNU_STACK, INTERP, LOAD, NOTE, TLS, Ph, elf, note, text_and_data

ENOEXEC, EIO, ENOENT = 8, 5, 2
TEXT = Ph(LOAD, 0, 0x400000, 0x1000, 0x1000, R | X)


def refused(data: bytes, reason: str, errno: int = ENOEXEC) -> None:
    with pytest.raises(LoadError, match=reason) as caught:
        load(data)
    assert caught.value.errno == errno
    assert caught.value.reason == str(caught.value)


@pytest.mark.parametrize("arch", sorted(ARCHES))
def test_every_architecture_parses(arch: str) -> None:
    machine, bits, big = ARCHES[arch]
    image = load(text_and_data(machine=machine, bits=bits, big=big, e_flags=0x100))
    assert (image.arch, image.machine, image.bits, image.big_endian) == (arch, machine, bits, big)
    assert (image.type, image.entry, image.e_flags, image.pie) == ("exec", 0x401000, 0x100, False)
    assert image.segments == (
        Segment("LOAD", 0, 0x400000, 0x1200, 0x1200, R | X, 0x1000),
        Segment("LOAD", 0x1F00, 0x402F00, 0x180, 0x2300, R | W, 0x1000),
    )
    assert (image.phoff, image.phentsize, image.phnum) == ((64, 56, 3) if bits == 64 else (52, 32, 3))
    assert image.phdr_address == 0x400000 + image.phoff
    assert image.stack_flags == R | W


def test_a_machine_without_a_name_parses_too() -> None:
    assert load(text_and_data(machine=0xF00D)).arch == ""
    assert load(text_and_data(machine=62, big=True)).arch == ""


def test_mips_abis() -> None:
    assert load(text_and_data(machine=8, bits=32, big=True, e_flags=0x20)).arch == "mipsn32"
    assert load(text_and_data(machine=8, bits=32, big=False, e_flags=0x1000)).arch == "mips32le"
    refused(text_and_data(machine=8, bits=32, big=True, e_flags=0x2000), "another ABI than o32")


def test_arm_and_ppc64_rules() -> None:
    assert load(text_and_data(machine=40, bits=32, entry=0x401001, e_flags=0x5000400)).entry == 0x401001
    refused(text_and_data(machine=40, bits=32, entry=0x401002), "neither Thumb")
    refused(text_and_data(machine=40, bits=32, osabi=65), "FDPIC")
    refused(text_and_data(machine=40, bits=32, e_flags=0x08), "26-bit")
    refused(text_and_data(machine=21, big=True, e_flags=3), "ABI version 3")


def test_no_elf() -> None:
    refused(b"MZ\x90\x00" + bytes(100), "not an ELF file: it starts with 4d 5a 90 00")
    refused(b"\x7fELF", "header is cut off")
    good = text_and_data()
    refused(good[:4] + b"\x03" + good[5:], "class 3")
    refused(good[:5] + b"\x00" + good[6:], "data 0")


@pytest.mark.parametrize(("number", "reason"), [(0, "no type"), (1, "object file"), (4, "core dump"), (0xFE00, "not a program")])
def test_types_that_are_no_programs(number: int, reason: str) -> None:
    refused(text_and_data(type=number), reason)


def test_program_header_table() -> None:
    refused(text_and_data(phnum=0), "no program headers")
    refused(text_and_data(phentsize=32), "32 bytes each, not 56")
    refused(text_and_data(phnum=0xFFFF), "more than 64 KiB")
    refused(text_and_data(phoff=1 << 40), "ends before its program headers")
    refused(text_and_data(phoff=1 << 63), "file offset 0x8000000000000000")
    assert load(elf(*[TEXT] * 1170)).phnum == 1170
    refused(elf(*[TEXT] * 1171), "more than 64 KiB")
    assert load(elf(*[TEXT] * 2048, bits=32, machine=3)).phnum == 2048, "64 KiB exactly"
    refused(elf(*[TEXT] * 2049, bits=32, machine=3), "more than 64 KiB")


def test_header_versions_are_ignored_as_linux_does() -> None:
    data = bytearray(text_and_data())
    data[6] = 77
    data[20:24] = struct.pack("<I", 99)
    assert load(bytes(data)).entry == 0x401000


def test_table_far_from_the_start_and_phdr_address() -> None:
    image = load(elf(Ph(LOAD, 0, 0x400000, 0x100, 0x100), Ph(LOAD, 0x5000, 0x805000, 0x1000, 0x1000), phoff=0x5100))
    assert image.phdr_address == 0x805100
    # in two segments: the last one counts; in none: 0
    twice = load(elf(Ph(LOAD, 0, 0x400000, 0x1000, 0x1000), Ph(LOAD, 0, 0x700000, 0x1000, 0x1000)))
    assert twice.phdr_address == 0x700040
    assert load(elf(Ph(LOAD, 0, 0x400000, 0x40, 0x1000))).phdr_address == 0


def test_interpreter() -> None:
    def with_path(path: bytes, filesz: int | None = None) -> bytes:
        return elf(TEXT, Ph(INTERP, 0x800, 0x400800, len(path) if filesz is None else filesz, 0, data=path), size=0x900)

    image = load(with_path(b"/lib/ld.so\0"))
    assert image.interpreter == "/lib/ld.so"
    with pytest.raises(LoadError, match=r"needs the interpreter /lib/ld\.so") as caught:
        require_static(image)
    assert caught.value.errno == ENOENT
    assert load(with_path(b"/lib/a\0b\0")).interpreter == "/lib/a"
    assert load(with_path(b"/\xff\0")).interpreter == "/\udcff"
    refused(with_path(b"\0"), "1 bytes")
    refused(with_path(b"/lib/ld.so"), "zero byte")
    refused(with_path(b"x" * 4096 + b"\0"), "4097 bytes")
    refused(with_path(b"/x\0", 0x200), "ends before the interpreter", EIO)
    two = elf(TEXT, Ph(INTERP, 0x800, 0, 3, 0, data=b"/a\0"), Ph(INTERP, 0x810, 0, 3, 0, data=b"/b\0"))
    assert load(two).interpreter == "/a", "only the first counts"


def test_interpreter_cannot_drive_a_terminal() -> None:
    image = load(elf(TEXT, Ph(INTERP, 0x800, 0, 8, 0, data=b"/\x1b[2J\xff\n\0")))
    with pytest.raises(LoadError) as caught:
        require_static(image)
    assert caught.value.reason.isprintable()


def test_static_is_let_through() -> None:
    image = load(text_and_data())
    assert require_static(image) is image


def test_stack_flags_last_one_wins() -> None:
    assert load(elf(TEXT)).stack_flags is None
    assert load(elf(TEXT, Ph(GNU_STACK, flags=R | W), Ph(GNU_STACK, flags=R | W | X))).stack_flags == R | W | X


def test_tls_is_reported() -> None:
    tls = load(elf(TEXT, Ph(TLS, 0x100, 0x400100, 0x10, 0x28, R, 8))).tls
    assert tls == Segment("TLS", 0x100, 0x400100, 0x10, 0x28, R, 8)


@pytest.mark.parametrize("big", [False, True])
def test_notes(big: bool) -> None:
    data = note(b"GNU\0", 3, b"\xab" * 20, big=big) + note(b"Go\0", 4, b"id", big=big) + note(b"", 1, b"", big=big)
    image = load(elf(TEXT, Ph(NOTE, 0x800, 0, len(data), len(data), align=4, data=data), big=big))
    assert [(n.owner, n.type, n.desc) for n in image.notes] == [("GNU", 3, b"\xab" * 20), ("Go", 4, b"id"), ("", 1, b"")]
    assert image.note("GNU", 3) == b"\xab" * 20
    assert image.note("GNU", 99) is None


def test_notes_aligned_to_eight_and_broken_ones() -> None:
    wide = note(b"GNU\0", 5, b"1234", align=8) + note(b"GNU\0", 3, b"x", align=8)
    notes = load(elf(TEXT, Ph(NOTE, 0x800, 0, len(wide), 0, align=8, data=wide))).notes
    assert [(n.owner, n.type, n.desc) for n in notes] == [("GNU", 5, b"1234"), ("GNU", 3, b"x")]
    endless = struct.pack("<III", 4, 0xFFFF_FFFF, 3) + b"GNU\0"
    image = load(elf(TEXT, Ph(NOTE, 0x800, 0, 1 << 60, 1 << 60, data=note(b"A\0", 1, b"") + endless)))
    assert [n.owner for n in image.notes] == ["A"]
    short = note(b"A\0", 1, b"") + note(b"B\0", 1, b"12345678")[:-1]
    assert [n.owner for n in load(elf(TEXT, Ph(NOTE, 0x800, 0, len(short), 0, data=short))).notes] == ["A"]


def test_the_number_of_notes_is_bounded() -> None:
    many = b"".join(note(b"A\0", n, b"") for n in range(2000))
    assert len(load(elf(TEXT, *[Ph(NOTE, 0x2000, 0, len(many), 0, data=many)] * 40)).notes) <= 256


def test_the_bytes_read_for_notes_are_bounded() -> None:
    class Counting(BytesSource):
        total = 0

        def read_at(self, offset: int, length: int) -> bytes:
            data = super().read_at(offset, length)
            self.total += len(data)
            return data

    source = Counting(elf(TEXT, *[Ph(NOTE, 0x10000, 0, 1 << 60, 0)] * 1000, size=0x10000) + b"\xff" * (1 << 20))
    assert load(source).notes == (), "all of them claim to be endless"
    assert source.total < 0x30000


def properties(*entries: tuple[int, bytes], bits: int = 64, owner: bytes = b"GNU\0", number: int = 5) -> bytes:
    align = 8 if bits == 64 else 4
    body = b"".join(struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % align) for kind, data in entries)
    return struct.pack("<III", 4, len(body), number) + owner + body


def with_properties(data: bytes, *, filesz: int | None = None, machine: int = 183, bits: int = 64) -> bytes:
    header = Ph(GNU_PROPERTY, 0x800, 0, len(data) if filesz is None else filesz, 0, data=data)
    return elf(TEXT, header, machine=machine, bits=bits)


def test_properties() -> None:
    image = load(with_properties(properties((0xC000_0000, b"\1\0\0\0"))))
    assert [(p.type, p.data) for p in image.properties] == [(0xC000_0000, b"\1\0\0\0")]
    small = load(with_properties(properties((1, b"abcd"), (2, b""), bits=32), machine=3, bits=32))
    assert [p.type for p in small.properties] == [1, 2]
    assert load(with_properties(b"rubbish", machine=243)).properties == (), "riscv kernels do not look"


def test_the_last_property_header_counts() -> None:
    first, last = properties((1, b"")), properties((2, b""))
    headers = [Ph(GNU_PROPERTY, at, 0, len(d), 0, data=d) for at, d in ((0x800, first), (0x900, last))]
    assert [p.type for p in load(elf(TEXT, *headers)).properties] == [2]


def test_malformed_properties() -> None:
    good = properties((0xC000_0000, b"\1\0\0\0"))
    refused(with_properties(good, filesz=1025), "1025 bytes")
    refused(with_properties(good[:12]), "too short", EIO)
    refused(with_properties(properties(owner=b"GNX\0")), "not hold a GNU property")
    refused(with_properties(properties(number=6)), "not hold a GNU property")
    refused(with_properties(good[:-8]), "longer than its segment")
    refused(with_properties(properties((2, b""), (1, b""))), "not sorted")
    refused(with_properties(properties((2, b""), (2, b""))), "not sorted")
    refused(with_properties(struct.pack("<III", 4, 4, 5) + b"GNU\0" + bytes(4)), "cut off")
    unpadded = struct.pack("<III", 4, 12, 5) + b"GNU\0" + struct.pack("<II", 1, 4) + bytes(4)
    refused(with_properties(unpadded), "longer than its note")
    refused(with_properties(struct.pack("<III", 4, 8, 5) + b"GNU\0" + struct.pack("<II", 1, 4)), "longer than its note")


def test_image_is_frozen_and_data_is_what_the_file_holds() -> None:
    image: Image = load(elf(Ph(LOAD, 0x1000, 0x401000, 8, 16, data=b"abcdefgh"), Ph(LOAD, 0x1004, 0, 100, 100)))
    assert image.data(image.segments[0]) == b"abcdefgh"
    assert image.data(image.segments[1]) == b"efgh", "the file ends there"
    with pytest.raises(AttributeError):
        image.entry = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        image.segments[0].vaddr = 1  # type: ignore[misc]


def test_repr_is_one_readable_line() -> None:
    image = load(text_and_data(), name="prog")
    assert repr(image) == "<Image 'prog' exec x86_64 64-bit little entry=0x401000 r-x@0x400000+0x1200 rw-@0x402f00+0x2300>"


def test_pyelftools_comes_late_and_without_the_debugger() -> None:
    """Start-up time: importing the package must not import the parser, and loading must not import pdb."""
    program = """if True:
        import sys
        sys.path.insert(0, sys.argv[1])
        import emuvm_loaders
        assert not any(name.startswith(("elftools", "emuvm.", "unicorn")) for name in sys.modules)
        before = set(sys.modules)
        emuvm_loaders.load(bytes.fromhex(sys.argv[2]))
        assert not {"pdb", "elftools.dwarf", "elftools.elf.elffile"} & (set(sys.modules) - before)
        import elftools.construct.debug, pdb
        assert elftools.construct.debug.pdb.post_mortem is pdb.post_mortem and pdb.Pdb
    """
    package_root = str(Path(sys.modules["emuvm_loaders"].__file__ or "").parent.parent)
    done = subprocess.run([sys.executable, "-c", program, package_root, text_and_data(size=0).hex()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
