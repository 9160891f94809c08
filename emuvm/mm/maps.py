"""The text of /proc/PID/maps (fs/proc/task_mmu.c:show_map_vma).

Owns: the line format. Must not know where names and inode numbers come from: backings may offer `maps_name()`.
"""

from __future__ import annotations

from collections.abc import Iterable

from emuvm.mm.types import File, Vma, VmFlag

_NAME_COLUMN = 73


def line(vma: Vma, *, device: tuple[int, int] = (0, 0), inode: int = 0, name: str = "") -> str:
    """One line, without the newline. The offset is 0 for anonymous regions."""
    letters = "".join(c if vma.prot & bit else "-" for c, bit in (("r", 1), ("w", 2), ("x", 4)))
    letters += "s" if vma.flags & VmFlag.MAYSHARE else "p"
    offset = vma.backing.offset if isinstance(vma.backing, File) else 0
    text = f"{vma.start:08x}-{vma.end:08x} {letters} {offset:08x} {device[0]:02x}:{device[1]:02x} {inode} "
    return text.ljust(_NAME_COLUMN) + name if name else text


def text(regions: Iterable[Vma]) -> str:
    """All lines; a plain string backing is shown as the name."""
    lines = []
    for vma in regions:
        source = vma.backing.file if isinstance(vma.backing, File) else vma.backing
        lines.append(line(vma, name=source if isinstance(source, str) else "") + "\n")
    return "".join(lines)
