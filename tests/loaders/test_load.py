"""load() and load_raw(): what they accept as a source, and what they say about files that are no programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emuvm_loaders import BytesSource, FileSource, LoadError, Mapping, R, ScriptError, W, X, load, load_raw, plan
from tests.loaders.elfbytes import text_and_data

ENOENT, ENOEXEC, EACCES, ENOTDIR, EINVAL = 2, 8, 13, 20, 22


def refused(source: str | bytes | Path, reason: str, errno: int) -> LoadError:
    with pytest.raises(LoadError, match=reason) as caught:
        load(source)
    assert caught.value.errno == errno
    return caught.value


def test_all_kinds_of_sources_give_the_same(tmp_path: Path) -> None:
    data = text_and_data()
    path = tmp_path / "program"
    path.write_bytes(data)
    images = [load(s) for s in (data, bytearray(data), memoryview(data), path, str(path), BytesSource(data), FileSource(path))]
    assert len({plan(image, task_size=1 << 47) for image in images}) == 1
    assert {image.data(image.segments[1]) for image in images} == {data[0x1F00:0x2080]}
    assert [image.name for image in images[:5]] == ["<bytes>", "<bytes>", "<bytes>", str(path), str(path)]
    assert load(data, name="firmware").name == "firmware"


def test_the_file_loaded_stays_the_one_read(tmp_path: Path) -> None:
    path = tmp_path / "program"
    data = text_and_data()
    path.write_bytes(data)
    image = load(path)
    path.unlink()
    path.write_bytes(b"something else")
    assert image.source.read_at(0, 1 << 40) == data
    assert image.source.size() == len(data)


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(text_and_data())
    bad = tmp_path / "bad"
    bad.write_bytes(b"no program")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    if before is None:
        pytest.skip("no /proc/self/fd to count open files in")
    for _ in range(20):
        load(path)
        with pytest.raises(LoadError):
            load(bad)
        with pytest.raises(LoadError):
            load(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_reads_beyond_the_end(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"12345678")
    for source in (BytesSource(b"12345678"), FileSource(path)):
        assert source.read_at(6, 100) == b"78"
        assert source.read_at(8, 1) == b""
        assert source.read_at(1 << 70, 1 << 70) == b""
        assert source.read_at(2, 0) == b""


def test_files_that_are_no_programs(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    refused(empty, "is empty", ENOEXEC)
    refused(b"", "is empty", ENOEXEC)
    refused(tmp_path, "is a directory", EACCES)
    refused(tmp_path / "missing", "no such file", ENOENT)
    refused(empty / "below", "ot a directory", ENOTDIR)
    refused("a\0b", "not a path", ENOENT)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_special_files_are_refused_without_waiting(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    refused(fifo, "not a regular file", EACCES)
    refused("/dev/null", "not a regular file", EACCES)


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # root may read everything, so the host is made to refuse
    refused(tmp_path / "secret", "permission denied", EACCES)


def test_a_read_error_is_told() -> None:
    class Broken:
        def size(self) -> int:
            return 1000

        def read_at(self, offset: int, length: int) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(LoadError, match="cannot be read: Input/output error") as caught:
        load(Broken())
    assert caught.value.errno == 5


@pytest.mark.parametrize(
    ("data", "interpreter", "argument"),
    [
        (b"#!/bin/sh\necho\n", b"/bin/sh", None),
        (b"#! \t/usr/bin/env  python3 -u \t\nx", b"/usr/bin/env", b"python3 -u"),
        (b"#!/bin/sh", b"/bin/sh", None),
        (b"#!/x\t-a", b"/x", b"-a"),
    ],
)
def test_scripts(data: bytes, interpreter: bytes, argument: bytes | None) -> None:
    error = refused(data, f"a script for '{interpreter.decode()}", ENOEXEC)
    assert isinstance(error, ScriptError)
    assert (error.interpreter, error.argument) == (interpreter, argument)


def test_script_without_an_interpreter() -> None:
    refused(b"#!  \n/bin/sh", "names no interpreter", ENOEXEC)
    assert refused(b"#!/bin/\x1b[2J\xff\n", "a script", ENOEXEC).reason.isprintable()


def test_raw(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"\x90" * 0x1800)
    image = load_raw(path, 0x8000, "arm")
    assert (image.type, image.arch, image.machine, image.bits, image.big_endian) == ("raw", "arm", 40, 32, False)
    assert (image.entry, image.pie, image.interpreter, image.phdr_address) == (0x8000, False, None, 0)
    made = plan(image, task_size=1 << 31)
    assert made.mappings == (Mapping(0x8000, 0x2000, 7, "file", 0, 0x9800, 0x9800, 0),)
    assert (made.entry, made.brk, made.stack_prot) == (0x8000, 0xA000, 3)


def test_raw_options() -> None:
    image = load_raw(b"abc", 0x1000, "mips32", entry=0x1002, memory=0x2000, flags=R | W, name="rom")
    assert (image.name, image.entry, image.big_endian) == ("rom", 0x1002, True)
    made = plan(image, task_size=1 << 31)
    assert [(m.kind, m.prot, m.zero_start, m.zero_end) for m in made.mappings] == [("file", 3, 0x1003, 0x2000), ("anon", 3, 0x2000, 0x2000)]
    assert load_raw(b"abc", 0x1000, "x86_64").segments[0].flags == R | W | X


@pytest.mark.parametrize(
    ("address", "arch", "options", "reason"),
    [
        (0, "vax", {}, "unknown architecture 'vax'; known are alpha, "),
        (0xFFFF_FFFE, "i386", {}, "outside a 32-bit address space"),
        (-4096, "i386", {}, "outside a 32-bit"),
        (0x1000, "i386", {"entry": 0x1003}, "entry address 0x1003"),
        (0x1000, "i386", {"entry": 0xFFF}, "entry address 0xfff"),
        (0x1000, "i386", {"memory": 2}, "do not fit"),
    ],
)
def test_raw_refusals(address: int, arch: str, options: dict[str, int], reason: str) -> None:
    with pytest.raises(LoadError, match=reason) as caught:
        load_raw(b"abc", address, arch, **options)  # type: ignore[arg-type]
    assert caught.value.errno == EINVAL
    with pytest.raises(LoadError, match="place in a page"):
        plan(load_raw(b"abc", 0x1001, "i386"), task_size=1 << 31)
    with pytest.raises(LoadError, match="empty"):
        load_raw(b"", 0, "i386")
