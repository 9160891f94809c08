"""What becomes of a map's regions when a range is taken out of it, or gets others: functions of values, nothing is told to anybody.

Owns: these plans of `AddressSpace`. Must not know updates and subscribers.
"""

from __future__ import annotations

from emuvm.mm import vmamap
from emuvm.mm.cut import clip, join
from emuvm.mm.types import Vma


def place(root: vmamap.Root, addr: int, end: int, regions: list[Vma]) -> tuple[int, int, list[Vma], list[Vma]]:
    """How exactly `regions` come to lie in [addr, end): (the key range to be replaced, by what, the pieces that go)."""
    left: Vma | None = None
    right: Vma | None = None
    gone: list[Vma] = []
    lo, hi, cut = addr, end, False
    for vma in vmamap.overlapping(root, addr - 1, end + 1):
        if vma.end <= addr:
            left = vma
        elif vma.start >= end:
            right = vma
        else:
            rest, middle, tail = clip(vma, addr, end)
            gone.append(middle)
            if rest is not None:
                left, lo = rest, vma.start
            if tail is not None:
                right, cut = tail, True
    # A neighbour that was neither cut nor joined stays as it is in the tree.
    if left is not None:
        if (one := join(left, regions[0])) is not None:
            regions = [one, *regions[1:]]
            lo = left.start
        elif lo < addr:
            regions = [left, *regions]
    if right is not None:
        if (one := join(regions[-1], right)) is not None:
            regions = [*regions[:-1], one]
            hi = end + 1
        elif cut:
            regions = [*regions, right]
    return lo, hi, regions, gone


def cut_out(root: vmamap.Root, addr: int, end: int) -> tuple[list[Vma], list[Vma], int, int]:
    """What stays of the regions around [addr, end), what goes, and the key range the former replace."""
    kept: list[Vma] = []
    gone: list[Vma] = []
    touched = vmamap.overlapping(root, addr, end)
    for vma in touched:
        left, middle, right = clip(vma, addr, end)
        gone.append(middle)
        kept += [piece for piece in (left, right) if piece is not None]
    return kept, gone, (touched[0].start if touched else addr), (touched[-1].start + 1 if touched else addr)
