"""Flat blobs: bytes without any header, for an address and an architecture that the user names.

Owns: building the Image. Must not know ELF.
"""

from __future__ import annotations

from emuvm_loaders.image import EINVAL, ENOEXEC, Image, LoadError, R, Segment, W, X
from emuvm_loaders.machines import ARCHES
from emuvm_loaders.source import Source


def load_raw(
    source: Source, name: str, address: int, arch: str, *, entry: int | None = None, memory: int | None = None, flags: int = R | W | X
) -> Image:
    """An Image of one segment at `address`, entered at `entry` (default: its first byte).

    `memory` is the segment's size in memory if larger than the file: zeros follow. `flags` are its R, W, X bits.
    EINVAL for an unknown architecture or an address outside it, ENOEXEC for an empty file.
    """
    if arch not in ARCHES:
        raise LoadError(f"unknown architecture {arch!r}; known are {', '.join(sorted(ARCHES))}", EINVAL)
    machine, bits, big_endian = ARCHES[arch]
    size = source.size()
    length = size if memory is None else memory
    if size == 0:
        raise LoadError("the file is empty", ENOEXEC)
    if length < size:
        raise LoadError(f"{size} bytes do not fit into {length}", EINVAL)
    if address < 0 or address + length > 1 << bits:
        raise LoadError(f"{length:#x} bytes at {address:#x} lie outside a {bits}-bit address space", EINVAL)
    start = address if entry is None else entry
    if not address <= start < address + length:
        raise LoadError(f"the entry address {start:#x} lies outside the image", EINVAL)
    segment = Segment("LOAD", 0, address, size, length, flags, 1)
    return Image(name, "raw", arch, machine, bits, big_endian, start, source, (segment,), stack_flags=R | W)
