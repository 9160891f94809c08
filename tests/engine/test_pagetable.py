"""Page bytes: both fills decide alike, and host memory does what it says."""

from __future__ import annotations

import ctypes
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from emuvm.engine import pagetable
from emuvm.engine.hostmem import WINDOW, HostMemory
from emuvm.engine.native_code import SOURCES, native
from emuvm.engine.pagetable import CODE, DIRTY, FETCH, PAGE, READ, WRITE, FillState, PageTable, R, W, X, native_fill


class Entry(ctypes.Structure):
    _fields_ = [("paddr", ctypes.c_uint64), ("perms", ctypes.c_uint32)]


CALL = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.POINTER(Entry), ctypes.c_void_p)


@pytest.mark.skipif(not native_fill(), reason="the C module is not built")
def test_native_and_python_fill_agree_on_every_byte() -> None:
    native, python = PageTable(), PageTable()
    call = CALL(native_fill())
    page = (5 << 40) + 7 * PAGE
    for table in (native, python):
        table.reserve(5)
    for bits in range(256):
        for access in (READ, WRITE, FETCH, 99):
            for table in (native, python):
                ctypes.c_uint8.from_address(table._tables[5] + 7).value = bits
            entry = Entry()
            got = call(None, page + 0x400, access, entry, ctypes.addressof(native.state))
            want = python.lookup(page + 0x400, access)
            assert (entry.perms if got else 0) == want, (bits, access)
            assert not got or entry.paddr == page + 0x400
            assert native.byte(page) == python.byte(page)
    assert native.take_dirty() == python.take_dirty() == {page}
    assert native.state.fills_left < python.state.fills_left
    native.state.fills_left = 0
    assert not call(None, page, READ, Entry(), ctypes.addressof(native.state))
    native.state.fills_left = 9
    assert not call(None, 6 << 40, READ, Entry(), ctypes.addressof(native.state))
    native.close()
    python.close()


def test_a_module_built_from_another_source_is_not_used(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    size, source = ctypes.sizeof(FillState), tmp_path / "handled.c"
    for name in SOURCES:
        tmp_path.joinpath(name).write_bytes(b"old" if name == source.name else b"")

    def built(*answer: int) -> int:
        module = SimpleNamespace(__file__=str(tmp_path / "_fill.so"), addresses=lambda: answer, merge=max, put_back=max, peek=max, poke=max)
        monkeypatch.setitem(sys.modules, "emuvm.engine.native._fill", module)
        monkeypatch.setattr("emuvm.engine.native._fill", module, raising=False)
        native.cache_clear()
        return native_fill()

    request.addfinalizer(native.cache_clear)
    others = 8192, 72, 1, 2, 3, 4, 5, 6, 7, 8
    assert built(4096, size, zlib.crc32(b"old"), *others) == 4096
    source.write_bytes(b"new")
    assert built(4096, size, zlib.crc32(b"new"), *others) == 4096
    assert built(4096, size, zlib.crc32(b"old"), *others) == 0
    assert built(4096, size) == built(4096, size, zlib.crc32(b"new"), 8192, 72) == 0, "one that has less to offer"
    assert built(4096, size + 8, zlib.crc32(b"new"), *others) == 0
    source.unlink()
    assert built(4096, size, zlib.crc32(b"old"), *others) == 4096, "an installed one has no sources beside it"


def test_rules() -> None:
    table = PageTable()
    table.reserve(0)
    assert table.lookup(0, READ) == 0
    table.grant(0, 2 * PAGE, R | W, code=False)
    assert table.lookup(0, READ) == R
    assert table.lookup(0, WRITE) == R | W
    assert table.lookup(0, READ) == R | W
    assert table.lookup(0, FETCH) == 0
    table.grant(0, PAGE, R | W | X, code=False)
    assert table.lookup(0, FETCH) == 0
    table.grant(0, PAGE, R | W | X, code=True)
    assert table.lookup(0, FETCH) == R | X
    assert table.lookup(0, WRITE) == R | W | X
    assert table.byte(0) & (DIRTY | CODE) == DIRTY | CODE
    assert table.withdraw(0, 4 * PAGE) == (True, [(0, PAGE)])
    assert table.withdraw(0, 4 * PAGE) == (False, [])
    assert table.lookup(0, READ) == 0
    assert table.clear(0, 4 * PAGE)
    assert not table.clear(0, 4 * PAGE)
    table.close()


def test_a_full_dirty_log_asks_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagetable, "_LOG", 4)
    table = PageTable()
    table.reserve(0)
    table.grant(0, 8 * PAGE, R | W, code=False)
    for n in range(4):
        assert table.lookup(n * PAGE, WRITE)
    assert table.lookup(4 * PAGE, WRITE) == 0
    table.grant(4 * PAGE, 5 * PAGE, R | W, code=False)
    assert table.lookup(4 * PAGE, WRITE)
    assert table.take_dirty() == {n * PAGE for n in range(5)}
    table.close()


def test_host_memory_across_windows_and_at_the_top() -> None:
    host = HostMemory()
    for border in (3 * WINDOW, 1 << 50):
        host.write(border - 3, b"abcdef")
        assert host.read(border - 3, 6) == b"abcdef"
        assert [(low, high) for low, high, _ in host.spans(border - 3, border + 3)] == [(border - 3, border), (border, border + 3)]
    host.write((1 << 64) - 2, b"zz")
    assert host.read((1 << 64) - 3, 3) == b"\0zz"
    host.move(3 * WINDOW - PAGE, 3 * WINDOW + PAGE, 8 * WINDOW - PAGE, anonymous=True)
    assert host.read(8 * WINDOW - 3, 6) == b"abcdef"
    assert host.read(3 * WINDOW - 3, 6) == bytes(6)
    host.discard(8 * WINDOW - PAGE, 8 * WINDOW + PAGE)
    assert host.read(8 * WINDOW - 3, 6) == bytes(6)
    assert host.pointer(20 * WINDOW) == 0
    host.close()
