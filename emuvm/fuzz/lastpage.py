"""The bytes behind the end of a file in memory, in its last page.

Owns: reading and storing them. They are nobody's for read(2) and write(2), but who maps the file sees and keeps them.
"""

from __future__ import annotations

import ctypes

from emuvm.engine.hostmem import data_ranges, host_map, host_unmap

_PAGE = 4096


def tail(fd: int, size: int) -> bytes:
    """Those of a file of `size` bytes; nothing when they are zero."""
    inside = size % _PAGE
    if not inside or not data_ranges(fd, size - inside, size):
        return b""  # looking into a hole would fill it
    pointer = host_map(_PAGE, fd=fd, offset=size - inside, shared=True, writable=False)
    try:
        return ctypes.string_at(pointer + inside, _PAGE - inside).rstrip(b"\0")
    finally:
        host_unmap(pointer, _PAGE)


def put_tail(fd: int, size: int, data: bytes) -> None:
    """Store what `tail` gave; more than fits is left out."""
    inside = size % _PAGE
    if not inside or not data:
        return
    pointer = host_map(_PAGE, fd=fd, offset=size - inside, shared=True)
    try:
        ctypes.memmove(pointer + inside, data, min(len(data), _PAGE - inside))
    finally:
        host_unmap(pointer, _PAGE)
