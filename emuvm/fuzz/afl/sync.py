"""Taking over what other instances in the same output folder have found, AFL++'s among them.

Owns: whom to take from, and what was taken already (.synced/NAME, four bytes: the next number). Must not know what is done with an input.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from emuvm.fuzz.afl.folder import QUEUE, Folder, fields, inputs_in, number, write

_MOST = 1 << 20
"""Longer inputs are not taken, in bytes."""


class Sync:
    """One instance's view of the others."""

    def __init__(self, folder: Folder, *, main: bool = False) -> None:
        self._folder = folder
        self._main = main

    def others(self) -> list[Path]:
        """Folders to take from: all for the main instance, or if there is no main one; otherwise the main one only."""
        try:
            found = sorted(
                path
                for path in self._folder.out.iterdir()
                if path.name != self._folder.name and not path.name.startswith(".") and (path / QUEUE).is_dir()
            )
        except OSError:
            return []
        leaders = [path for path in found if (path / "is_main_node").exists()]
        return found if self._main or not leaders else leaders

    def news(self) -> Iterator[tuple[str, int, bytes]]:
        """(instance, number, data) of everything that has come since last time. Noted for each instance when all of its was handed out."""
        for other in self.others():
            mark = self._folder.path / ".synced" / other.name
            begin = _read(mark)
            for path in inputs_in(other / QUEUE):
                identity = number(path.name) or 0
                if identity < begin:
                    continue
                try:
                    data = path.read_bytes() if fields(path.name).get("sync") != self._folder.name else b""
                except OSError:
                    data = b""  # AFL removes entries now and then
                if 0 < len(data) <= _MOST:
                    yield other.name, identity, data
                begin = identity + 1
            if begin != _read(mark):
                write(mark, begin.to_bytes(4, "little"))


def _read(mark: Path) -> int:
    try:
        return int.from_bytes(mark.read_bytes()[:4], "little")
    except OSError:
        return 0
