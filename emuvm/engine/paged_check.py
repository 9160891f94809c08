"""Does the paged mirror hold what the space says? For tests and verification.

Owns: that comparison. Must not change anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.engine.base import cannot_shrink
from emuvm.engine.hostmem import WINDOW_BITS
from emuvm.engine.pagetable import OWN, PAGE
from emuvm.errors import EmulatorBug
from emuvm.mm.types import RIGHTS

if TYPE_CHECKING:
    from emuvm.engine.filepages import FilePages
    from emuvm.engine.unicorn_paged import PagedMemory


def verify(memory: PagedMemory, windows: set[int], extents: FilePages, pending: int) -> None:
    """EmulatorBug unless page bytes, windows and file pages agree with the space."""
    for page, rights in memory.table.granted():
        vma = memory.space.query(page)
        if vma is None or memory.rights[vma.prot & RIGHTS] != rights:
            raise EmulatorBug(f"the page table grants {rights} at {page:#x}, the space has {vma}")
        if memory.table.byte(page) & OWN and not cannot_shrink(vma):
            raise EmulatorBug(f"the page at {page:#x} is said to be of no file that may shrink, the space has {vma}")
        if memory.withheld is not None and memory.withheld(page, page + PAGE):
            raise EmulatorBug(f"the page table grants {rights} at {page:#x}, which is withheld")
    engine = sorted((start, end + 1) for start, end, _ in memory.uc.mem_regions())
    if engine != sorted((n << WINDOW_BITS, n + 1 << WINDOW_BITS) for n in windows):
        raise EmulatorBug(f"the engine's regions {engine} are not the windows {sorted(windows)}")
    extents.verify(memory.space)
    if pending:
        raise EmulatorBug(f"{pending} updates were neither committed nor undone")
