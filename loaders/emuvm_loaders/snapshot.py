"""Files that hold a whole process (written by `emuvm.fuzz.savefile`) -> a frozen Saved.

Owns: the file format, and the checks that make its parts fit together. Must not know emuvm, nor what becomes of the process.

    head      44 bytes     magic, version, where the header lies, checksums
    blocks                 zlib streams of at most 1 MiB of contents each
    header    JSON         everything else; ends the file

emuvm/fuzz/FORMAT.md describes every field. Nothing is allocated that the file does not hold: a block is unpacked when it is asked for,
and never to more than it may have.
"""

from __future__ import annotations

import json
import struct
import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from emuvm_loaders.image import EIO, LoadError
from emuvm_loaders.shape import HEX, SIGNED, Each, Maybe, Named, check
from emuvm_loaders.source import Source

MAGIC, VERSION = b"EMUVMSAV", 2
HEAD = struct.Struct("<8sIIQQIII")
"""Magic, version, 0, offset and length of the header, CRC-32 of the header, 0, CRC-32 of the head up to here."""
BLOCK = 1 << 20
"""Most bytes of contents in a block."""
PAGE = 4096
MOST_HEADER = 64 << 20
_SLACK = 4096
"""Bytes by which a zlib stream may be longer than what it holds."""
_MOST_FD = 1 << 20

REGISTERS: dict[str, tuple[str, ...]] = {
    "x86_64": tuple("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags fs_base gs_base".split()),
    "arm64": (*(f"x{n}" for n in range(31)), "sp", "pc", "nzcv", "tpidr_el0"),
}
"""The registers that a file has, by architecture."""
FPU = {"x86_64": 512, "arm64": 528}
"""Bytes of floating point and vector registers: as FXSAVE64, as struct fpsimd_context."""

_RANGE = (int, int)
_BACKING = {"mapped": Maybe(int), "offset": int, "anon": int, "name": Maybe(str)}
_INTS = "pid tid ppid clear_child_tid robust_list umask personality dumpable vdso oom_score_adj coredump_filter timer_slack peak_rss"
_LIMITS = "address_space data data_hard stack max_map_count commit memlock overcommit ipc_lock"
_CREDENTIALS = "inheritable permitted effective bounding ambient securebits changes"
_SEGMENT = "id sequence size mode uid gid cuid cgid cpid lpid attached content"
_PLACES = "sp start arg_start arg_end env_start env_end execfn random vma_start"
PLAN = "bias page_size start end brk entry phdr_address start_code end_code start_data end_data stack_prot data_prot"
"""Names of a Plan's numbers."""
SHAPE: dict[str, Any] = {
    "arch": str,
    "kernel": (int, int),
    "registers": Named(int),
    "fpu": HEX,
    "areas": Each((int, int, int, int, int, int, Maybe(_BACKING))),
    "pages": Each((int, int)),
    "touched": Each(_RANGE),
    "guards": Each(_RANGE),
    "contents": Each({"size": int, "mode": int, "seals": int, "mtime": SIGNED, "named": bool, "data": Maybe(Each((int, int)))}),
    "mapped": Each({"kind": str, "path": str, "content": Maybe(int), "open": Maybe(int), "write": bool, "segment": Maybe(int)}),
    "open": Each({"kind": str, "path": str, "flags": int, "offset": int, "content": Maybe(int), "what": str}),
    "descriptors": Each((int, int, bool)),
    "files": {"limit": int, "size_limit": Maybe(int), "highest": SIGNED},
    "segments": Each({**dict.fromkeys(_SEGMENT.split(), int), **dict.fromkeys(("key", "atime", "dtime", "ctime"), SIGNED)}),
    "ipc": Maybe({"next": int, "last": SIGNED, "sequence": int, "watched": bool}),
    "mm": {
        **dict.fromkeys("start_brk brk_now data_bytes def_flags lowest last_anon peak lost_locks".split(), int),
        **dict.fromkeys("anon_names deny_write_exec raw_io".split(), bool),
        "limits": dict.fromkeys(_LIMITS.split(), int),
    },
    "process": {
        **dict.fromkeys(_INTS.split(), SIGNED),
        "name": str, "exe": str, "cwd": str, "no_new_privs": bool, "controls": Named(SIGNED), "rlimits": Each((int, int, int)),
        "policies": Each((int, int, int, int, SIGNED)),
    },
    "credentials": {"uids": (int,) * 4, "gids": (int,) * 4, "groups": Each(int), **dict.fromkeys(_CREDENTIALS.split(), int)},
    "stack": Maybe({**dict.fromkeys(_PLACES.split(), int), "auxv": HEX}),
    "plan": Maybe({**dict.fromkeys(PLAN.split(), int), "read_implies_exec": bool}),
    "signals": {
        "actions": Each((int, int, int, int, int)), "mask": int, "saved_mask": Maybe(int), "altstack": (int, int, int),
        "trap": (int, int, int), "faulted": bool,
        "pending": Each((bool, int, SIGNED, Maybe(int), str, Maybe(HEX), SIGNED)),
    },
    "timers": Each((int, int, int)),
    "simulated": Maybe({"seed": HEX, "start": int, "drawn": int, "other": int, "blocks": int}),
    "notes": Each(str),
    "blocks": Each((int, int, int, int)),
}  # fmt: skip
KINDS = {
    "mapped": frozenset(("source", "file", "memory", "memfd", "segment", "zero", "huge", "gigantic")),
    "open": frozenset(("stream", "file", "memfd", "pipe", "made", "input", "output", "random", "lost")),
}
_NEEDS_CONTENT = frozenset(("memory", "memfd", "pipe", "input"))


class Saved(NamedTuple):
    """A process as it was. `header` has what `SHAPE` says, read-only; numbers in it that point to others do so within their bounds."""

    name: str
    """Where it came from, for messages."""
    arch: str
    header: Mapping[str, Any]
    source: Source

    def block(self, number: int) -> bytes:
        """The contents in a block. LoadError: it is damaged."""
        offset, stored, length, checksum = self.header["blocks"][number]
        data = _read(self.source, offset, stored)
        unpacker = zlib.decompressobj()
        try:
            found = unpacker.decompress(data, length + 1)
        except zlib.error as error:
            raise LoadError(f"block {number} is damaged: {error}", EIO) from None
        if len(found) != length or not unpacker.eof or zlib.crc32(found) != checksum:
            raise LoadError(f"block {number} is damaged", EIO)
        return found

    def length(self, number: int) -> int:
        """Bytes in a block, when it is unpacked."""
        size: int = self.header["blocks"][number][2]
        return size

    @property
    def held(self) -> int:
        """Bytes of contents in all."""
        return sum(block[2] for block in self.header["blocks"])


def load_snapshot(source: str | Path | bytes | bytearray | memoryview | Source, *, name: str | None = None) -> Saved:
    """What a file holds. LoadError: it cannot be read, is none of this kind, is truncated, damaged, or contradicts itself."""
    from emuvm_loaders import _open

    opened, name = _open(source, name)
    try:
        return _load(opened, name)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror or error}", error.errno or EIO) from error


def is_snapshot(head: bytes) -> bool:
    """Does a file that begins so hold a process?"""
    return head[: len(MAGIC)] == MAGIC


def _load(source: Source, name: str) -> Saved:
    head = source.read_at(0, HEAD.size)
    if not is_snapshot(head):
        raise LoadError("not a saved process" if head else "the file is empty")
    if len(head) < HEAD.size:
        raise LoadError("the file is cut off in its head")
    _, version, zero, offset, length, checksum, rest, own = HEAD.unpack(head)
    if zlib.crc32(head[:-4]) != own:
        raise LoadError("its head is damaged", EIO)
    if version != VERSION or zero or rest:
        raise LoadError(f"a saved process of version {version}; only version {VERSION} is known")
    if length > MOST_HEADER:
        raise LoadError(f"a header of {length} bytes, {MOST_HEADER} are the most")
    size = source.size()
    if offset < HEAD.size or offset + length != size:
        raise LoadError(f"the file has {size} bytes and should have {offset + length}: it is cut off, or was added to", EIO)
    text = _read(source, offset, length)
    if zlib.crc32(text) != checksum:
        raise LoadError("its header is damaged", EIO)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"its header is no JSON: {str(error)[:100]}") from None
    header = check(SHAPE, found, "header")
    _check_blocks(header, offset)
    _check_cpu(header)
    _check_memory(header)
    _check_files(header)
    return Saved(name, header["arch"], header, source)


def _read(source: Source, offset: int, length: int) -> bytes:
    data = source.read_at(offset, length)
    if len(data) != length:
        raise LoadError("the file is cut off", EIO)
    return data


def _check_blocks(header: Mapping[str, Any], end: int) -> None:
    place = HEAD.size
    for number, (offset, stored, length, _) in enumerate(header["blocks"]):
        if offset != place or not 0 < stored <= BLOCK + _SLACK or offset + stored > end:
            raise LoadError(f"block {number} lies where it cannot be")
        if not 0 < length <= BLOCK:
            raise LoadError(f"block {number} should hold {length} bytes")
        place = offset + stored
    if place != end:
        raise LoadError("between its blocks and its header are bytes that belong to nothing")


def _check_cpu(header: Mapping[str, Any]) -> None:
    names = REGISTERS.get(header["arch"])
    if names is None:
        raise LoadError(f"a process for {header['arch'][:20]!r}, which is not known")
    if header["registers"].keys() != set(names) or len(header["fpu"]) != FPU[header["arch"]]:
        raise LoadError(f"its registers are not those of {header['arch']}")
    for signal, *_ in header["signals"]["actions"]:
        _must(1 <= signal <= 64, f"an action for signal {signal}")
    for _, signal, code, *_ in header["signals"]["pending"]:
        _must(1 <= signal <= 64 and -(1 << 31) <= code < 1 << 31, f"a pending signal {signal}")
    for which, _, _ in header["timers"]:
        _must(which <= 2, f"interval timer {which}")


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise LoadError(f"its header contradicts itself: {what}")


def _point(header: Mapping[str, Any], section: str, number: int | None) -> None:
    """An index into a section, or None."""
    if number is not None and not 0 <= number < len(header[section]):
        raise LoadError(f"its header contradicts itself: number {number} of {len(header[section])} {section}")


def _check_memory(header: Mapping[str, Any]) -> None:
    before, starts, ends = 0, [], []
    for start, end, _, _, base, length, backing in header["areas"]:
        _must(before <= start < end and not (start | end) % PAGE, f"an area at {start:#x}-{end:#x}")
        _must(base <= start and end <= base + length, f"the area at {start:#x} is not in the mapping it was cut from")
        if backing is not None:
            _point(header, "mapped", backing["mapped"])
            _must(backing["mapped"] is None or not backing["offset"] % PAGE, f"the area at {start:#x} begins inside a page of its file")
        starts.append(start)
        ends.append(end)
        before = end
    before = 0
    for address, number in header["pages"]:
        _point(header, "blocks", number)
        length = header["blocks"][number][2]
        place = bisect_right(starts, address) - 1
        _must(not (address | length) % PAGE and address >= before, f"contents at {address:#x}")
        _must(place >= 0 and address + length <= ends[place], f"contents at {address:#x} where no area is")
        before = address + length
    for name in ("touched", "guards"):
        _check_ranges(header[name], starts, ends, name)


def _check_ranges(ranges: Sequence[tuple[int, int]], starts: list[int], ends: list[int], name: str) -> None:
    """Whole pages of areas, each range in one (a guarded range may go on in the next)."""
    before = 0
    for start, end in ranges:
        _must(before <= start < end and not (start | end) % PAGE, f"{name} {start:#x}-{end:#x}")
        place = bisect_right(starts, start) - 1
        _must(place >= 0 and start < ends[place], f"{name} {start:#x} where no area is")
        while name == "guards" and ends[place] < end and place + 1 < len(starts) and starts[place + 1] == ends[place]:
            place += 1
        _must(end <= ends[place], f"{name} {start:#x}-{end:#x} where no area is")
        before = end


def _check_files(header: Mapping[str, Any]) -> None:
    for content in header["contents"]:
        place = 0
        for position, number in content["data"] or ():
            _point(header, "blocks", number)
            _must(place <= position, "pieces of a file overlap")
            place = position + header["blocks"][number][2]
            _must(place <= content["size"] + -content["size"] % PAGE, "a file's bytes lie behind its end")
        _must(content["size"] < 1 << 62, f"a file of {content['size']} bytes")
    for section in ("mapped", "open"):
        for item in header[section]:
            _must(item["kind"] in KINDS[section], f"{section} of the unknown kind {item['kind'][:20]!r}")
            _point(header, "contents", item["content"])
            found = None if item["content"] is None else header["contents"][item["content"]]
            _must(item["kind"] not in _NEEDS_CONTENT or (found is not None and found["data"] is not None), f"{section} without contents")
    for item in header["mapped"]:
        _point(header, "open", item["open"])
        _point(header, "segments", item["segment"])
        _must(item["kind"] != "segment" or item["segment"] is not None, "a System V mapping without a segment")
    for segment in header["segments"]:
        _point(header, "contents", segment["content"])
        _must(header["contents"][segment["content"]]["data"] is not None, "a segment without contents")
    seen = set()
    for fd, number, _ in header["descriptors"]:
        _point(header, "open", number)
        _must(fd < _MOST_FD and fd not in seen, f"descriptor {fd}")
        seen.add(fd)
    _must(header["files"]["highest"] < _MOST_FD, "its highest descriptor")
