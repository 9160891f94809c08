"""Does the engine of a `unicorn_regions.RegionsMemory` hold what the space says?

Owns: the comparison. Must not change anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.errors import EmulatorBug
from emuvm.mm.types import RIGHTS

if TYPE_CHECKING:
    from emuvm.engine.unicorn_mirror import Region
    from emuvm.engine.unicorn_regions import RegionsMemory

_WRITE = 2


def check(memory: RegionsMemory) -> None:
    """EmulatorBug unless the engine's regions are those noted, and those are what the space says."""
    lo, hi = memory.space.start, memory.space.end
    regions, absent = memory.mirror.regions, memory.mirror.absent
    actual = sorted((max(s, lo), min(e + 1, hi), p) for s, e, p in memory.uc.mem_regions() if s < hi and e >= lo)
    noted = memory.engine_regions
    if _coalesce(actual) != _coalesce(noted):
        raise EmulatorBug(f"engine regions {_text(actual)} differ from those noted: {_text(noted)}")
    for start, end, region in regions:
        _check_region(memory, start, end, region)
    for start, end, _ in absent:
        if regions.whole(start, end) or memory.space.gaps(start, end - start):
            raise EmulatorBug(f"{start:#x}-{end:#x} is noted as absent from the engine, and is there or not in the space")
    for vma in memory.space:
        for low, high in regions.gaps(vma.start, vma.end) if memory.effective(vma) else ():
            for first, last in absent.gaps(low, high):
                raise EmulatorBug(f"the engine lacks {first:#x}-{last:#x} of {vma}")


def _check_region(memory: RegionsMemory, start: int, end: int, region: Region) -> None:
    for low, high in memory.space.gaps(start, end - start):
        raise EmulatorBug(f"the engine has {low:#x}-{high:#x}, the space has not")
    if memory.withheld is not None and memory.withheld(start, end):
        raise EmulatorBug(f"the engine has {start:#x}-{end:#x}, of which {memory.withheld(start, end)} is withheld")
    for vma in memory.space.regions(start, end - start):
        allowed = {memory.effective(vma)} if region.pointer else {memory.effective(vma), vma.prot & RIGHTS}
        if memory.writes is not None and not memory.writes.is_open(vma, max(start, vma.start), min(end, vma.end)):
            allowed = {memory.effective(vma) & ~_WRITE}
        elif memory.writes is not None:
            # The kernel side may have written: the guest gets the right when it does.
            allowed.add(memory.effective(vma) & ~_WRITE)
        if region.rights not in allowed:
            raise EmulatorBug(f"the engine has rights {region.rights} at {start:#x}-{end:#x}, the space {vma}")
    if region.pointer and list(memory.pages.spans(start, end)) != [(start, end, region.pointer)]:
        raise EmulatorBug(f"the engine's region {start:#x}-{end:#x} is not the memory of those pages")


def _coalesce(regions: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    out: list[tuple[int, int, int]] = []
    for start, end, rights in regions:
        if out and out[-1][1] == start and out[-1][2] == rights:
            out[-1] = (out[-1][0], end, rights)
        else:
            out.append((start, end, rights))
    return out


def _text(regions: list[tuple[int, int, int]]) -> str:
    return " ".join(f"{start:#x}-{end:#x}:{rights}" for start, end, rights in regions) or "none"
