"""Copies to and from guest memory: rights, partial copies, strings, iovecs, file ends, stack growth."""

from __future__ import annotations

from pathlib import Path

import pytest

from emuvm.abi.arch import X86_64
from emuvm.abi.errno import Errno
from emuvm.engine.memory import MemoryEngine
from emuvm.errors import GuestError
from emuvm.kernel.usermem import READ, WRITE, Deferred, UserMemory
from emuvm.mm.linux import LinuxMm, MapRequest
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Anon, File
from emuvm_loaders import FileSource
from tests.kernel.guest import Guest

PAGE = 4096
BASE = 0x100000


def build() -> tuple[UserMemory, LinuxMm]:
    space = AddressSpace(0, X86_64.task_size)
    engine = MemoryEngine(X86_64, space)
    mm = LinuxMm(space, X86_64)
    return UserMemory(space, engine.memory, X86_64, mm.grow_stack), mm


def errno_of(call: object, *args: object) -> int:
    with pytest.raises(GuestError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.errno


def test_copies_cross_areas_with_equal_access_and_obey_rights() -> None:
    mem, _ = build()
    mem.space.map_at(BASE, PAGE, 3)
    mem.space.map_at(BASE + PAGE, PAGE, 7)
    mem.space.map_at(BASE + 2 * PAGE, PAGE, 1)
    mem.space.map_at(BASE + 3 * PAGE, PAGE, 0)
    mem.write(BASE + PAGE - 3, b"abcdef")
    assert mem.read(BASE + PAGE - 4, 8) == b"\0abcdef\0"
    assert errno_of(mem.write, BASE + 2 * PAGE - 1, b"xy") == Errno.EFAULT
    assert mem.read(BASE + 2 * PAGE - 1, 2) == b"x\0", "a failing copy stores what it can, as copy_to_user does"
    assert errno_of(mem.write_u32, BASE + 2 * PAGE - 2, 0x41414141) == Errno.EFAULT
    assert mem.read(BASE + 2 * PAGE - 2, 1) == b"\0", "an integer is stored as a whole"
    assert mem.write_some(BASE + 2 * PAGE - 1, b"xy") == 1
    assert mem.read(BASE + 2 * PAGE - 1, 2) == b"x\0"
    assert mem.read_some(BASE + 3 * PAGE - 2, 10) == b"\0\0"
    assert errno_of(mem.read_some, BASE + 3 * PAGE, 1) == Errno.EFAULT
    assert errno_of(mem.write_some, BASE + 2 * PAGE, b"z") == Errno.EFAULT
    assert mem.read(1, 0) == b"" and mem.write_some(1, b"") == 0, "nothing to copy never faults"


def test_write_only_memory_is_readable_as_on_the_cpu() -> None:
    mem, _ = build()
    mem.space.map_at(BASE, PAGE, 2)
    assert mem.read(BASE, 2) == b"\0\0"


def test_beyond_user_addresses_nothing_is_done() -> None:
    mem, _ = build()
    end = X86_64.task_size
    mem.space.map_at(end - PAGE, PAGE, 3)
    assert mem.read(end - 2, 2) == b"\0\0"
    assert errno_of(mem.read_some, end - 2, 3) == Errno.EFAULT
    assert errno_of(mem.write_some, end - 2, b"abc") == Errno.EFAULT
    assert mem.read(end - 2, 2) == b"\0\0"


def test_pages_behind_the_end_of_a_file_fault(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * (PAGE + 10))
    mem, mm = build()
    at = mm.mmap(MapRequest(0, 4 * PAGE, 3, File(FileSource(path), 0)))
    assert mem.read(at + PAGE + 8, 4) == b"xx\0\0"
    assert len(mem.read_some(at, 4 * PAGE)) == 2 * PAGE
    assert errno_of(mem.read, at + 2 * PAGE, 1) == Errno.EFAULT


def test_strings() -> None:
    mem, _ = build()
    mem.space.map_at(BASE, 2 * PAGE, 3)
    mem.write(BASE, b"a" * 700 + b"\0")
    assert mem.read_cstr(BASE, 4096) == b"a" * 700
    assert mem.read_cstr(BASE, 701) == b"a" * 700
    assert errno_of(mem.read_cstr, BASE, 700) == Errno.ENAMETOOLONG
    mem.write(BASE + 2 * PAGE - 3, b"ab\0")
    assert mem.read_cstr(BASE + 2 * PAGE - 3, 4096) == b"ab"
    mem.write(BASE + 2 * PAGE - 3, b"abc")
    assert errno_of(mem.read_cstr, BASE + 2 * PAGE - 3, 4096) == Errno.EFAULT
    assert errno_of(mem.read_cstr, 0, 4096) == Errno.EFAULT


def test_string_arrays() -> None:
    mem, _ = build()
    mem.space.map_at(BASE, PAGE, 3)
    mem.write(BASE, b"one\0two\0")
    for index, value in enumerate((BASE, BASE + 4, 0)):
        mem.write_word(BASE + 64 + 8 * index, value)
    assert mem.read_strings(BASE + 64, 1000, 100) == [b"one", b"two"]
    assert mem.read_strings(0, 1000, 100) == []
    assert errno_of(mem.read_strings, BASE + 64, 1000, 3) == Errno.E2BIG
    assert errno_of(mem.read_strings, BASE + 64, 20, 100) == Errno.E2BIG


def test_iovecs() -> None:
    mem, _ = build()
    mem.space.map_at(BASE, PAGE, 3)
    for index, value in enumerate((BASE, 5, 0, 0, BASE + 9, 1 << 40)):
        mem.write_word(BASE + 8 * index, value)
    vectors = mem.read_iovec(BASE, 3)
    assert vectors == [(BASE, 5), (0, 0), (BASE + 9, 0x7FFF_F000 - 5)]
    assert mem.read_iovec(BASE, 0) == []
    assert errno_of(mem.read_iovec, BASE, 1025) == Errno.EINVAL
    assert errno_of(mem.read_iovec, BASE, -1) == Errno.EINVAL
    mem.write_word(BASE + 8, 1 << 63)
    assert errno_of(mem.read_iovec, BASE, 1) == Errno.EINVAL
    mem.write_word(BASE + 8, 1 << 47)
    assert mem.read_iovec(BASE, 1) == [(BASE, 0x7FFF_F000)]
    assert errno_of(mem.read_iovec, BASE, 2) == Errno.EFAULT
    mem.write_word(BASE + 24, 1 << 63)
    assert errno_of(mem.read_iovec, BASE, 2) == Errno.EINVAL


def test_integers_are_little_endian_words() -> None:
    mem, _ = build()
    mem.space.map_at(BASE, PAGE, 3)
    mem.write_word(BASE, -2)
    assert mem.read(BASE, 8) == b"\xfe" + b"\xff" * 7
    mem.write_u32(BASE, 0x1_0203_0405)
    assert mem.read_u32(BASE) == 0x0203_0405 and mem.read_word(BASE) == 0xFFFF_FFFF_0203_0405
    mem.write_u64(BASE, -1)
    assert mem.read_u64(BASE) == (1 << 64) - 1


def test_copies_make_the_stack_grow_but_not_inside_the_engine() -> None:
    mem, mm = build()
    top = X86_64.stack_top
    mm.mmap(MapRequest(top - 4 * PAGE, 4 * PAGE, 3, fixed=True, growsdown=True))
    low = top - 40 * PAGE
    mem.deferred = True
    with pytest.raises(Deferred):
        mem.write(low, b"stack")
    mem.deferred = False
    mem.write(low, b"stack")
    assert mem.read(low, 5) == b"stack"
    vma = mem.space.query(low)
    assert vma is not None and vma.end == top
    assert errno_of(mem.read, top - (9 << 20), 1) == Errno.EFAULT, "beyond the stack limit"


def test_guarded_pages_are_not_accessible() -> None:
    guest = Guest()
    guest.engine.memory.withheld = lambda start, end: (  # type: ignore[attr-defined]
        [(max(start, BASE + 0x2000), min(end, BASE + 0x3000))] if start < BASE + 0x3000 and end > BASE + 0x2000 else []
    )
    mem = guest.proc.mem
    assert mem.accessible(BASE, 0x4000, READ) == 0x2000
    assert mem.accessible(BASE + 0x2800, 0x1000, WRITE) == 0
    assert mem.accessible(BASE + 0x3000, 0x1000, WRITE) == 0x1000
    assert mem.write_some(BASE + 0x1FF0, bytes(0x20)) == 0x10
    for copy in (lambda: mem.read(BASE + 0x2000, 4), lambda: mem.write(BASE + 0x1FFE, b"1234"), lambda: mem.read_word(BASE + 0x1FFC)):
        with pytest.raises(GuestError) as caught:
            copy()
        assert caught.value.errno == Errno.EFAULT
    assert mem.read(BASE + 0x1FF0, 0x10) == bytes(14) + b"12"


def test_private_memory_with_a_history_is_plain_memory() -> None:
    guest = Guest()
    guest.space.map_at(BASE + 0x8000, 0x1000, 3, backing=Anon(BASE + 0x8000))
    guest.proc.mem.write(BASE + 0x8FF0, b"0123456789abcdef")
    assert guest.proc.mem.read(BASE + 0x8FF8, 8) == b"89abcdef"
