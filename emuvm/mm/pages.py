"""What the memory calls ask of whoever holds page contents.

Owns: the Pages protocol and its stand-in. Must not know engines; `engine.base.Memory` fits the protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Pages(Protocol):
    """Contents and presence of pages. Ranges are whole pages that are mapped throughout. Errors: EngineError, nothing changed."""

    withheld: Callable[[int, int], list[tuple[int, int]]] | None

    def take_written(self) -> list[int]:
        """Private pages in the order of their first write since the last call; pages may come again."""

    def residency(self, start: int, end: int) -> bytes:
        """A byte a page: 1 present, 2 private copy, 4 of a file or shared object."""

    def populate(self, start: int, end: int, *, write: bool) -> None:
        """Touch every page."""

    def discard(self, address: int, length: int) -> None:
        """Private pages lose what was written to them; shared ones stay."""

    def punch(self, address: int, length: int) -> None:
        """The pages of a shared object read zero for everybody."""

    def may_free(self, start: int, end: int) -> None:
        """MADV_FREE: the host may take private pages until they are written again."""

    def page_out(self, start: int, end: int) -> None:
        """MADV_PAGEOUT: the host takes what it can bring back, and what it may free."""

    def withdraw(self, start: int, end: int) -> None:
        """`withheld` answers differently now."""


class NoPages:
    """For an address space without contents: nothing is ever written or present."""

    withheld: Callable[[int, int], list[tuple[int, int]]] | None = None

    def take_written(self) -> list[int]:
        return []

    def residency(self, start: int, end: int) -> bytes:
        return bytes(end - start >> 12)

    def populate(self, start: int, end: int, *, write: bool) -> None:
        return

    def discard(self, address: int, length: int) -> None:
        return

    def punch(self, address: int, length: int) -> None:
        return

    def may_free(self, start: int, end: int) -> None:
        return

    def page_out(self, start: int, end: int) -> None:
        return

    def withdraw(self, start: int, end: int) -> None:
        return
