"""Changes that come again: a program that is put back to a snapshot takes the same steps once more, and the same way back.

Owns: which tree an edit led to, and which updates lead from one tree to another. Must not know what the updates mean to anybody.

A tree is never modified, so what was made of it by an edit can be given out again. Then the trees of two runs that did the same are not
only equal but the same object, and the way back is found by looking at which object it is. Remembered are regions without a backing,
with Linux's books of anonymous memory, and of files that the snapshot has: two of those that are equal are interchangeable. Other
backings may not be, and must not live longer for being remembered: a tree that got one meanwhile, and all that come of it, are not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emuvm.mm import vmamap
from emuvm.mm.delivery import Call, Subscribers
from emuvm.mm.types import Anon, File, Update, Vma

_MOST = 1024
"""So many trees are remembered; then all is forgotten."""
_PLAIN = (type(None), Anon)
_IDENTITY: Any = object.__eq__


class Way:
    """The updates that lead back, and the regions that go."""

    __slots__ = ("accepted", "again", "context", "gone", "same", "subscribers", "updates")

    def __init__(self, same: object, context: object, updates: list[Update], gone: list[Vma]) -> None:
        self.same, self.context = same, context
        self.updates, self.gone = updates, gone
        self.subscribers: Subscribers | None = None
        self.again: list[Call] | None = None
        self.accepted = False
        """Nobody refused it when it was gone."""

    def at_once(self, subscribers: Subscribers) -> list[Call] | None:
        """What does all of it, a function for each subscriber; None if one of them has to see each update."""
        if self.subscribers is not subscribers:
            self.subscribers, self.again = subscribers, _at_once(subscribers, self.updates)
        return self.again


def _at_once(subscribers: Subscribers, updates: list[Update]) -> list[Call] | None:
    found: list[Call] = []
    if not updates:
        return found
    for subscriber in subscribers:
        again = subscriber.prepare(updates) if subscriber.prepare is not None else None
        if again is None:
            return None
        found.append((again, ()))
    return found


class Ways:
    """What is remembered of the changes that begin at one tree, the snapshot's, and of the ways back to it."""

    def __init__(self, then: vmamap.Root) -> None:
        self._then = then
        files = (vma.backing.file for vma in vmamap.ascending(then) if type(vma.backing) is File)
        self._files = {id(file) for file in files if type(file).__eq__ is _IDENTITY}
        """Of the snapshot, and equal only to themselves."""
        self._begin()

    @staticmethod
    def none() -> None:
        """Nothing is remembered."""

    def _begin(self) -> None:
        self._trees: dict[tuple[int, int, int, tuple[Vma, ...]], vmamap.Root] = {}
        self._ways: dict[int, Way] = {}
        self._known: dict[int, vmamap.Root] = {id(self._then): self._then}
        """The snapshot's tree and those made of it, kept so that their identity stays theirs."""

    def replace(self, root: vmamap.Root, lo: int, hi: int, regions: list[Vma]) -> vmamap.Root:
        """`vmamap.replace`, or what it gave for the same arguments before."""
        if id(root) not in self._known:
            return vmamap.replace(root, lo, hi, regions)
        for vma in regions:
            if not self._lasting(vma.backing):
                return vmamap.replace(root, lo, hi, regions)
        key = (id(root), lo, hi, tuple(regions))
        if key in self._trees:
            return self._trees[key]
        made = vmamap.replace(root, lo, hi, regions)
        if len(self._trees) >= _MOST:
            self._begin()
        elif id(root) in self._known:
            self._known[id(made)] = made
            self._trees[key] = made
        return made

    def _lasting(self, backing: Any) -> bool:
        return type(backing) in _PLAIN or (type(backing) is File and id(backing.file) in self._files)

    def find(self, now: vmamap.Root, same: Callable[[Vma, Vma], bool], context: Any) -> Way | None:
        """The way from `now` if it was gone before, with the same idea of what may stay and for the same context."""
        way = self._ways.get(id(now))
        return way if way is not None and way.same is same and way.context is context else None

    def keep(self, now: vmamap.Root, way: Way) -> None:
        """Remember the way from there if it may be gone again as it is: of files, others would go then."""
        if id(now) in self._known and all(update.old is None or self._lasting(update.old.backing) for update in way.updates):
            self._ways[id(now)] = way
