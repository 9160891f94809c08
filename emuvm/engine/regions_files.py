"""Files behind the regions of a space whose pages are `portable.PortablePages`.

Owns: which file position is behind a region, and pages that come into being because their file has grown. Must not know Unicorn.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from emuvm.engine.base import host_file, is_shared
from emuvm.engine.portable import Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emuvm.engine.portable import PortablePages
    from emuvm.mm.types import Vma

_WRITE = 2


def source_of(vma: Vma) -> Source | None:
    """The host file behind a region; None for plain memory."""
    backing = host_file(vma)
    return None if backing is None else Source(backing.file, backing.offset, is_shared(vma))


def grown(pages: PortablePages, regions: Iterable[Vma], start: int, end: int) -> None:
    """Pages in [start, end) that were behind the end of their file when they were mapped come into being."""
    for vma in regions:
        source = source_of(vma)
        for low, high in pages.hollows(max(start, vma.start), min(end, vma.end)) if source is not None else ():
            if source is not None and source.offset + low - vma.start < source.file.size():
                fresh = Source(source.file, source.offset + low - vma.start, source.shared)
                pages.install(low, pages.open_file(fresh, high - low, writable=bool(vma.prot & _WRITE)))


def behind_the_end(pages: PortablePages, regions: Iterable[Vma], start: int, end: int) -> list[tuple[int, int, int]]:
    """(start, end, Residency bits) of what the page cache holds of files behind their ends. Nothing away from Linux."""
    found: list[tuple[int, int, int]] = []
    for vma in regions if sys.platform == "linux" else ():
        if host_file(vma) is not None:
            from emuvm.engine import residency

            found += residency.behind_the_end(vma, pages.hollows(max(start, vma.start), min(end, vma.end)))
    return found
