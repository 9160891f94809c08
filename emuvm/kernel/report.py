"""What emuvm tells people about a run, on stderr only.

Owns: one-line notices (each at most once where asked), and the report after a fatal signal. Must not know how output is
written: a reporter is given a `write(text)`; it never raises because of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.signals import DESCRIPTIONS, Signal, code_name, name
from emuvm.kernel.siginfo import SignalInfo
from emuvm.mm.types import Vma

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_AROUND = 2
"""How many areas a report shows on each side of an address."""
_QUIET = frozenset((Signal.SIGINT, Signal.SIGPIPE, Signal.SIGTERM, Signal.SIGHUP, Signal.SIGKILL))
"""Signals that people send on purpose: one line is enough."""


class Reporter:
    """Notices of one run. Without `write` everything is only kept in `lines`."""

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        self._write = write
        self._seen: set[str] = set()
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        """One notice; 'emuvm: ' is put in front."""
        self.text(f"emuvm: {text}\n")

    def once(self, key: str, text: str) -> None:
        """A notice that is given only once for each key."""
        if key not in self._seen:
            self._seen.add(key)
            self.line(text)

    def text(self, text: str) -> None:
        """Whole lines, as they are."""
        self.lines.append(text)
        if self._write is not None:
            try:
                self._write(text)
            except (OSError, ValueError):
                self._write = None

    def death(self, proc: Process, info: SignalInfo) -> None:
        """The report after a fatal signal."""
        title = f"{name(info.signal)} ({DESCRIPTIONS.get(info.signal, 'real-time signal')})"
        if info.signal in _QUIET:
            self.line(f"the program was ended by {title}")
            return
        lines = [f"emuvm: the program was ended by {title}", f"  cause      {code_name(info.signal, info.code)}"]
        if info.why:
            lines[-1] += f": {info.why}"
        if info.address is not None:
            lines.append(f"  address    {info.address:#x}")
        pc = proc.engine.get("pc")
        lines.append(f"  pc         {pc:#x}")
        lines += registers(proc)
        for label, address in (("address", info.address), ("pc", pc), ("sp", proc.engine.get("sp"))):
            if address is not None and not (label == "pc" and address == info.address):
                lines.append(f"  around {label} {address:#x}")
                lines += around(proc, address)
        self.text("\n".join(lines) + "\n")


def registers(proc: Process) -> list[str]:
    """The architecture's registers, four to a line."""
    width = proc.arch.bits // 4
    cells = []
    for register in proc.arch.report_registers:
        try:
            cells.append(f"{register:>9} {proc.engine.get(register):0{width}x}")
        except (KeyError, ValueError):
            continue
    return ["  " + " ".join(cells[i : i + 4]) for i in range(0, len(cells), 4)]


def around(proc: Process, address: int) -> list[str]:
    """The areas next to an address, and a mark where it lies."""
    lines: list[str] = []
    before: list[Vma] = []
    after: list[Vma] = []
    for vma in proc.space:
        if vma.end <= address:
            before = [*before[-_AROUND + 1 :], vma]
        elif len(after) <= _AROUND:
            after.append(vma)
        else:
            break
    inside = bool(after) and address in after[0]
    for vma in (*before, *after[: _AROUND + inside]):
        if not inside and after and vma is after[0]:
            lines.append(f"    {address:012x}              <- not mapped")
        letters = "".join(c if vma.prot & bit else "-" for c, bit in (("r", 1), ("w", 2), ("x", 4)))
        shown = proc.area_name(vma)
        mark = "   <-" if address in vma else ""
        lines.append(f"    {vma.start:012x}-{vma.end:012x} {letters}{' ' + shown if shown else ''}{mark}")
    if not inside and not after:
        lines.append(f"    {address:012x}              <- not mapped")
    return lines
