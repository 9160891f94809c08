"""What the four adapters share: listening to a space, refusing on demand, and saying what cannot be translated.

Owns: the Adapter base class. Must not know any of the recorded systems. Everything goes through public operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from emuvm.mm import AddressSpace, Kind, Update, Vma

WORD = 1 << 64
TOP = WORD - 1
"""The systems written in Rust have exclusive ends of 64 bits, so their highest byte cannot be used."""
MARK = 1 << 63
"""A bit of `prot` that is toggled and put back to make a needless change visible; see Adapter.touch."""


class Refused(Exception):
    """A subscriber refused an update, as the recorded failure injection did."""


class Untranslatable(Exception):
    """The call has no meaning as an operation on an address space."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One update as delivered, and the whole region it was cut from (None for MAP)."""

    update: Update
    region: Vma | None


class Adapter:
    """Runs a recorded system's calls on an AddressSpace and answers in that system's conventions."""

    read_only: ClassVar[frozenset[str]] = frozenset()
    """The calls that only look."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.space: AddressSpace | None = None
        self.heard: list[Heard] = []
        self.muted = False
        self.refuse_at: int | None = None
        self._undoing = False
        self._detours: dict[int, int] = {}

    # -- to be provided by each system

    def call(self, op: dict[str, Any]) -> Any:
        """Run the op; its result. `callbacks()` tells what was called back."""
        method: Callable[[dict[str, Any]], Any] = getattr(self, "do_" + op["op"])
        return method(op)

    def callbacks(self) -> list[list[Any]]:
        """The last op's callbacks in the system's layout."""
        raise NotImplementedError

    def areas(self) -> list[list[Any]]:
        """The region list in the system's layout."""
        raise NotImplementedError

    def load(self, areas: list[list[Any]], op: dict[str, Any]) -> None:
        """Make the space what the system was in after `op`. Raises Untranslatable if no address space can be in that state."""
        raise NotImplementedError

    # -- shared

    def begin(self, refuse_at: int | None = None) -> None:
        """Forget what was heard; refuse the `refuse_at`-th update (0 is the first) of what follows."""
        self.heard = []
        self.refuse_at = refuse_at
        self._undoing = False
        self._detours = {}

    def open(self, space: AddressSpace | None) -> None:
        """Use this space from now on."""
        self.space = space
        if space is not None:
            space.subscribe(self.hear)

    def hear(self, update: Update) -> None:
        """The subscriber."""
        if self.muted or self._undoing:
            return
        assert self.space is not None
        region = None if update.old is None else self.space.query(update.start)
        self.heard.append(Heard(update, region))
        if self.refuse_at == len(self.heard) - 1:
            self._undoing = True
            raise Refused

    def quietly(self, operation: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Run an operation that the recorded system would not have told anybody about."""
        self.muted = True
        try:
            return operation(*args, **named)
        finally:
            self.muted = False

    def pieces(self, start: int, end: int) -> list[Vma]:
        """The regions in [start, end), clamped: range and attributes only."""
        assert self.space is not None
        return [
            Vma(max(v.start, start), min(v.end, end), v.prot, v.flags, v.backing, v.base, v.length)
            for v in self.space.regions(start, end - start)
        ]

    def touch(self, start: int, end: int, new: Callable[[int], int | None]) -> None:
        """Protect the way the older systems do: a region whose rights stay the same is cut and reported all the same.

        emuvm sees that nothing changes and does nothing. So unchanged rights take a detour over the MARK bit, and the
        way back, which no old system had, is not listened to.
        """
        assert self.space is not None
        same = [piece for piece in self.pieces(start, end) if new(piece.prot) == piece.prot]
        self._detours = {piece.start: piece.prot for piece in same}

        def via(old: int) -> int | None:
            wanted = new(old)
            return old ^ MARK if wanted == old else wanted

        self.space.protect(start, end - start, via, holes="skip")
        for piece in same:
            self.quietly(self.space.protect, piece.start, piece.size, piece.prot)

    def wanted(self, update: Update) -> int:
        """The rights a PROTECT update of `touch` stands for."""
        assert update.kind is Kind.PROTECT and update.new is not None
        return self._detours.get(update.start, update.new.prot)
