"""Files with a whole process, made by hand field by field: what the loader takes, and what it says about the others."""

from __future__ import annotations

import copy
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emuvm_loaders import LoadError
from emuvm_loaders.shape import HEX, SIGNED, Each, Maybe, Named, check
from emuvm_loaders.snapshot import BLOCK, HEAD, MAGIC, REGISTERS, SHAPE, VERSION, is_snapshot, load_snapshot

Header = dict[str, Any]


def _zero(spec: Any) -> Any:
    """The emptiest value of a shape."""
    if spec in (int, SIGNED):
        return 0
    if spec is bool:
        return False
    if spec in (str, HEX):
        return ""
    if isinstance(spec, Maybe):
        return None
    if isinstance(spec, Each):
        return []
    if isinstance(spec, Named):
        return {}
    if isinstance(spec, tuple):
        return [_zero(part) for part in spec]
    return {name: _zero(part) for name, part in spec.items()}


def file_of(header: Header, blocks: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    head = HEAD.pack(MAGIC, VERSION, 0, HEAD.size + len(blocks), len(text), zlib.crc32(text), 0, 0)[:-4]
    return head + zlib.crc32(head).to_bytes(4, "little") + blocks + text


def small() -> tuple[Header, bytes]:
    """Two areas, one of them with a page of contents, and a file in memory that is open and mapped."""
    header = _zero(SHAPE)
    header.update(arch="arm64", kernel=[6, 18], registers=dict.fromkeys(REGISTERS["arm64"], 7), fpu="00" * 528)
    stored = [zlib.compress(b"a" * 4096), zlib.compress(b"memory")]
    header["blocks"] = [
        [HEAD.size, len(stored[0]), 4096, zlib.crc32(b"a" * 4096)],
        [HEAD.size + len(stored[0]), len(stored[1]), 6, zlib.crc32(b"memory")],
    ]
    anon = {"mapped": None, "offset": 0x10000, "anon": 1, "name": None}
    shown = {"mapped": 0, "offset": 4096, "anon": 0, "name": None}
    header["areas"] = [[0x10000, 0x14000, 3, 0x70, 0x10000, 0x4000, anon], [0x14000, 0x16000, 1, 0xF8, 0x14000, 0x2000, shown]]
    header["pages"], header["touched"], header["guards"] = [[0x11000, 0]], [[0x12000, 0x13000]], [[0x13000, 0x15000]]
    header["contents"] = [{"size": 6, "mode": 0o600, "seals": 0, "mtime": -1, "named": False, "data": [[0, 1]]}]
    header["mapped"] = [{"kind": "memfd", "path": "/memfd:x", "content": 0, "open": 0, "write": True, "segment": None}]
    header["open"] = [{"kind": "memfd", "path": "/memfd:\udcff", "flags": 2, "offset": 0, "content": 0, "what": ""}]
    header["descriptors"] = [[3, 0, True]]
    return header, b"".join(stored)


def test_a_whole_file(tmp_path: Path) -> None:
    header, blocks = small()
    (tmp_path / "saved").write_bytes(file_of(header, blocks))
    saved = load_snapshot(tmp_path / "saved")
    assert saved.arch == "arm64" and saved.header["areas"][0][:4] == (0x10000, 0x14000, 3, 0x70)
    assert saved.block(0) == b"a" * 4096 and saved.block(1) == b"memory" and saved.held == 4102 and saved.length(1) == 6
    assert is_snapshot(file_of(header)) and not is_snapshot(b"\x7fELF")
    with pytest.raises(TypeError):
        saved.header["arch"] = "x86_64"  # type: ignore[index]
    with pytest.raises(TypeError):
        saved.header["process"]["pid"] = 3
    assert isinstance(saved.header["registers"]["x3"], int) and saved.header["open"][0]["path"].encode(errors="surrogateescape")[-1] == 0xFF


def _set(*path: Any) -> Callable[[Header], None]:
    """Store the last item at the place that the others name."""

    def change(header: Header) -> None:
        place: Any = header
        for name in path[:-2]:
            place = place[name]
        place[path[-2]] = path[-1]

    return change


WRONG = [
    (_set("arch", "sparc"), "'sparc', which is not known"),
    (_set("arch", "x86_64"), "registers are not those"),
    (_set("registers", "x3", -1), "registers.x3 is not a number"),
    (_set("registers", "x3", 1 << 64), "registers.x3 is not a number"),
    (_set("registers", "x3", 1.5), "registers.x3 is not a number"),
    (_set("registers", "x3", True), "registers.x3 is not a number"),
    (_set("fpu", "0"), "fpu is not hexadecimal"),
    (_set("fpu", "00"), "registers are not those"),
    (_set("areas", 0, 0, 0x10001), "an area at"),
    (_set("areas", 0, 1, 0x10000), "an area at"),
    (_set("areas", 1, 0, 0x13000), "an area at 0x13000"),
    (_set("areas", 0, 4, 0x11000), "mapping it was cut from"),
    (_set("areas", 0, 5, 0x3000), "mapping it was cut from"),
    (_set("areas", 0, 6, {}), "has no header.areas.0..6..*mapped"),
    (_set("areas", 1, 6, "mapped", 1), "number 1 of 1 mapped"),
    (_set("areas", 1, 6, "offset", 5), "inside a page of its file"),
    (_set("areas", 1, 6, "name", "a\0b"), "name is not a text"),
    (_set("areas", 1, 6, "name", "\ud800"), "name is not a text"),
    (_set("areas", 0, [1, 2]), "a list of 7"),
    (_set("areas", {}), "areas is not a list"),
    (_set("pages", 0, 0, 0x11001), "contents at"),
    (_set("pages", 0, 0, 0x9000), "contents at 0x9000 where no area is"),
    (_set("pages", 0, 0, 0x16000), "contents at 0x16000 where no area is"),
    (_set("pages", 0, 1, 2), "number 2 of 2 blocks"),
    (_set("pages", 0, 1, 1), "contents at 0x11000"),
    (_set("pages", [[0x11000, 0], [0x11000, 0]]), "contents at 0x11000"),
    (_set("touched", 0, 1, 0x15000), "touched"),
    (_set("touched", 0, 1, 0x12000), "touched"),
    (_set("guards", 0, 1, 0x17000), "guards"),
    (_set("guards", 0, 0, 0x17000), "guards"),
    (_set("contents", 0, "data", [[0, 1], [3, 1]]), "overlap"),
    (_set("contents", 0, "data", [[4096, 1]]), "behind its end"),
    (_set("contents", 0, "data", None), "without contents"),
    (_set("contents", 0, "size", 1 << 63), "a file of"),
    (_set("mapped", 0, "kind", "made"), "unknown kind"),
    (_set("mapped", 0, "kind", "segment"), "without a segment"),
    (_set("mapped", 0, "content", None), "without contents"),
    (_set("mapped", 0, "open", 1), "number 1 of 1 open"),
    (_set("open", 0, "kind", "socket"), "unknown kind"),
    (_set("open", 0, "content", 1), "number 1 of 1 contents"),
    (_set("descriptors", [[3, 0, True], [3, 0, True]]), "descriptor 3"),
    (_set("descriptors", 0, 0, 1 << 21), "descriptor 2097152"),
    (_set("descriptors", 0, 1, 1), "number 1 of 1 open"),
    (_set("files", "highest", 1 << 30), "highest descriptor"),
    (_set("signals", "actions", [[65, 0, 0, 0, 0]]), "signal 65"),
    (_set("signals", "pending", [[True, 0, 0, None, "", None, 0]]), "signal 0"),
    (_set("timers", [[3, 1, 1]]), "timer 3"),
    (_set("process", {}), "has no header.process"),
    (_set("process", None), "process is not an object"),
    (_set("blocks", 0, 0, 0), "block 0 lies where it cannot be"),
    (_set("blocks", 0, 1, 1 << 40), "block 0 lies where it cannot be"),
    (_set("blocks", 0, 2, BLOCK + 1), "block 0 should hold"),
    (_set("blocks", []), "bytes that belong to nothing"),
]


@pytest.mark.parametrize(("change", "why"), WRONG, ids=[f"{n}-{why[:30]}" for n, (_, why) in enumerate(WRONG)])
def test_headers_that_contradict_themselves(change: Callable[[Header], None], why: str) -> None:
    header, blocks = small()
    header = copy.deepcopy(header)
    change(header)
    with pytest.raises(LoadError, match=why):
        load_snapshot(file_of(header, blocks))


def test_damaged_files() -> None:
    """Cut off anywhere, or with a byte changed anywhere: always an error, whenever the byte is looked at."""
    data = file_of(*small())
    for length in range(len(data)):
        with pytest.raises(LoadError):
            load_snapshot(data[:length])
    with pytest.raises(LoadError, match="cut off, or was added to"):
        load_snapshot(data + b"x")
    rng, caught = random.Random(1), 0
    for place in [*range(HEAD.size + 20), *rng.sample(range(len(data)), 300)]:
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        try:
            saved = load_snapshot(bytes(changed))
            found = [saved.block(number) for number in range(2)]
        except LoadError as error:
            assert "damaged" in error.reason or "not a saved process" in error.reason
            caught += 1
        else:
            assert found == [b"a" * 4096, b"memory"]  # zlib pads its streams with bits that nobody looks at
    assert caught > 300


def test_blocks_that_burst() -> None:
    """A stream that unpacks to far more than it should is stopped, and costs no memory."""
    header, _ = small()
    bomb = zlib.compress(bytes(200 << 20), 9)
    header["blocks"] = [[HEAD.size, len(bomb), 4096, 0], [HEAD.size + len(bomb), 1, 6, 0]]
    data = file_of(header, bomb + b"x")
    tracemalloc.start()
    try:
        saved = load_snapshot(data)
        for number in range(2):
            with pytest.raises(LoadError, match="damaged"):
                saved.block(number)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such file"):
        load_snapshot(tmp_path / "missing")
    with pytest.raises(LoadError, match="directory"):
        load_snapshot(tmp_path)
    for data, why in ((b"", "empty"), (b"EMUVMSA", "not a saved"), (b"\x7fELF" * 20, "not a saved")):
        with pytest.raises(LoadError, match=why):
            load_snapshot(data)
    head = HEAD.pack(MAGIC, VERSION + 1, 0, HEAD.size, 0, 0, 0, 0)[:-4]
    with pytest.raises(LoadError, match="version 3"):
        load_snapshot(head + zlib.crc32(head).to_bytes(4, "little"))
    head = HEAD.pack(MAGIC, VERSION, 0, HEAD.size, 1 << 60, 0, 0, 0)[:-4]
    with pytest.raises(LoadError, match="header of"):
        load_snapshot(head + zlib.crc32(head).to_bytes(4, "little"))
    for text in (b"", b"[", b"[" * 100_000, b"null", b"[]", b"1" * 10_000, b'{"arch":NaN}', b"\xff"):
        head = HEAD.pack(MAGIC, VERSION, 0, HEAD.size, len(text), zlib.crc32(text), 0, 0)[:-4]
        with pytest.raises(LoadError):
            load_snapshot(head + zlib.crc32(head).to_bytes(4, "little") + text)


def test_shapes() -> None:
    assert check((int, SIGNED, bool), [1, -1, False], "x") == (1, -1, False)
    assert check(Each(Maybe(HEX)), [None, "0aff"], "x") == (None, b"\x0a\xff")
    assert dict(check(Named(str), {"a": "b"}, "x")) == {"a": "b"}
    assert dict(check({"a": int}, {"a": 1, "later": 2}, "x")) == {"a": 1}
    for spec, value in ((Each(int), (1,)), ((int,), [1, 2]), (Named(int), []), (str, b""), (bool, 1), (SIGNED, -(1 << 63) - 1)):
        with pytest.raises(LoadError, match="x"):
            check(spec, value, "x")


def test_many_areas() -> None:
    """As many as Linux allows."""
    header, blocks = small()
    header["areas"] = [[n << 13, (n << 13) + 4096, 3, 0, n << 13, 4096, None] for n in range(65530)]
    header["pages"], header["touched"], header["guards"] = [], [[n << 13, (n << 13) + 4096] for n in range(65530)], []
    assert len(load_snapshot(file_of(header, blocks)).header["areas"]) == 65530
