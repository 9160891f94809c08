"""`emuvm run --trace-vma`: every change of the address space, as lines of JSON.

Owns: the schema. Must not know how regions are stored or mirrored. An object a line, in this order of members:

    time     seconds since the trace began, to the microsecond
    cause    what changed it: "exec" (the program's first mappings), "fault" (a stack that grew), or the system call with its
             arguments as --strace shows them before it runs, e.g. "mprotect(0x7f0000000000, 4096, PROT_READ)"
    call     the name of that call; null otherwise
    step     number of the operation, from 0: the updates of one operation, which all happen or none, have the same number
    op       "map" | "unmap" | "protect" | "move" (or what else mm.types.Kind names)
    start    first byte of the range concerned, "0x..."; for a move, of the old range
    end      first byte behind it
    old      the region before, cut to the range; null for map
    new      the region after; null for unmap; for a move at its new address
    refused  true in an operation that an engine or another subscriber refused: nothing has changed; else the member is missing

    region   {"start": "0x...", "end": "0x...", "prot": "rw-", "flags": as VmFlags of /proc/self/smaps, e.g. "mr mw me ac",
              "name": as in /proc/self/maps, "offset": "0x..." in the file, or null, "backing": "anonymous" | "file" | "other"}

The lines of a system call are written when it is over, in the order in which things happened.
"""

from __future__ import annotations

from collections.abc import Callable
from json import dumps
from typing import TYPE_CHECKING, Any

from emuvm.abi.tuples import NamedTuple
from emuvm.kernel.dispatch import Bound
from emuvm.mm.types import Anon, File, Update, Vma, VmFlag
from emuvm.tools.strace_format import Formatter

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_LETTERS = {
    "SHARED": "sh", "MAYREAD": "mr", "MAYWRITE": "mw", "MAYEXEC": "me", "MAYSHARE": "ms", "GROWSDOWN": "gd", "PFNMAP": "pf",
    "LOCKED": "lo", "IO": "io", "SEQ_READ": "sr", "RAND_READ": "rr", "DONTCOPY": "dc", "DONTEXPAND": "de", "LOCKONFAULT": "lf",
    "ACCOUNT": "ac", "NORESERVE": "nr", "HUGETLB": "ht", "SYNC": "sf", "WIPEONFORK": "wf", "DONTDUMP": "dd", "MIXEDMAP": "mm",
    "HUGEPAGE": "hg", "NOHUGEPAGE": "nh", "MERGEABLE": "mg", "DROPPABLE": "dp", "SEALED": "sl",
}  # fmt: skip
_FLAGS = tuple((getattr(VmFlag, name), letters) for name, letters in _LETTERS.items() if getattr(VmFlag, name, 0))


class _Seen(NamedTuple):
    """An update, when it came, and what its old region was called then."""

    update: Update
    time: float
    name: str


class VmaTrace:
    """Listens to the space of one process, and not to those of its children."""

    def __init__(self, proc: Process, write: Callable[[str], object]) -> None:
        self._proc = proc
        self._write = write
        self._formatter = Formatter(proc.arch, proc.mem)
        self._began = proc.system.monotonic()
        self._call: tuple[str | None, str] | None = None
        self._open: list[_Seen] = []
        """Updates of the operation that is being delivered."""
        self._refused: list[_Seen] = []
        self._settled: list[tuple[list[_Seen], bool]] = []
        """Operations (refused?) that are still to be written."""
        self._step = 0
        proc.space.subscribe(self._update, committed=self._committed)
        proc.dispatcher.watch(self._watch)

    def _watch(self, name: str, bound: Bound) -> Bound:
        def traced(args: tuple[int, ...]) -> int:
            self._call = name, self._formatter.begin(name, args).inputs()
            try:
                return bound(args)
            finally:
                self._flush()
                self._call = None

        return traced

    # -- what the space tells ---------------------------------------------------------------------------------------------

    def _update(self, update: Update) -> None:
        """The inverse of the last update, made of the very same regions, takes it back: the operation is being refused."""
        last = self._open[-1].update if self._open else None
        if last is not None and update.old is last.new and update.new is last.old:
            self._refused.insert(0, self._open.pop())
            if not self._open:
                self._settle(self._refused, refused=True)
                self._refused = []
            return
        name = self._proc.area_name(update.old) if update.old is not None else ""
        self._open.append(_Seen(update, self._proc.system.monotonic() - self._began, name))

    def _committed(self) -> None:
        self._settle(self._open, refused=False)
        self._open = []

    def _settle(self, updates: list[_Seen], *, refused: bool) -> None:
        self._settled.append((updates, refused))
        if self._call is None:
            self._flush()

    # -- writing ----------------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        settled, self._settled = self._settled, []
        if self._proc.is_child:  # another process's space, which nobody asked for
            return
        call, cause = self._call or (None, "exec" if self._proc.plan is None else "fault")
        for updates, refused in settled:
            for seen in updates:
                update = seen.update
                record: dict[str, Any] = {
                    "time": round(seen.time, 6), "cause": cause, "call": call, "step": self._step, "op": update.kind.value,
                    "start": f"{update.start:#x}", "end": f"{update.end:#x}",
                    "old": None if update.old is None else region(update.old, seen.name),
                    "new": None if update.new is None else region(update.new, self._proc.area_name(update.new)),
                }  # fmt: skip
                if refused:
                    record["refused"] = True
                self._write(dumps(record) + "\n")
            self._step += 1


def region(vma: Vma, name: str) -> dict[str, Any]:
    """A region as the schema has it."""
    backing = vma.backing
    kind = "anonymous" if backing is None or isinstance(backing, Anon) else "file" if isinstance(backing, File) else "other"
    return {
        "start": f"{vma.start:#x}",
        "end": f"{vma.end:#x}",
        "prot": "".join(letter if vma.prot & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4))),
        "flags": " ".join(letters for bit, letters in _FLAGS if vma.flags & bit),
        "name": name,
        "offset": f"{backing.offset:#x}" if isinstance(backing, File) else None,
        "backing": kind,
    }
