"""The state of a process's kernel side, and putting it back in place.

Owns: which objects belong to it, found once by following references, and their attributes and contents at a moment. Must not know what
any of them means, nor memory and registers.

Objects are put back, not replaced: whoever holds one goes on holding it. What has come since is forgotten with the last reference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from itertools import compress
from operator import ne
from typing import Any

from emuvm.engine.native_code import native

_OURS = ("emuvm.kernel", "emuvm.mm", "emuvm.fuzz.sim")
_OPAQUE = frozenset(
    (
        "emuvm.mm.space.AddressSpace",
        "emuvm.mm.space.Snapshot",
        "emuvm.kernel.dispatch.Dispatcher",  # tables that only grow, and counts for whoever asks in the end
        "emuvm.kernel.report.Reporter",  # what was said was said
        "emuvm.kernel.host_signals.HostSignals",
        "emuvm.kernel.host_signals.Bell",
        "emuvm.kernel.waiting.Wake",
        "emuvm.kernel.hostfs.Root",
        "emuvm.fuzz.simhost.SimHost",
        "emuvm.kernel.usermem.UserMemory",
        "emuvm.kernel.shmem.HugeMemory",
        "emuvm.kernel.shmem.SharedMemory",
        "emuvm.kernel.files.MappedFile",
        "emuvm.kernel.hostpoll.Epoll",
    )
)
"""Not looked into: they have no state of the guest's, or somebody else puts it back."""
_UNKEPT = frozenset(("holders", "engine", "space", "arch", "wake", "host_signals", "tracer", "handled"))
"""Attributes that are not state: who counts on an object, parts with an own way back, and who listens or watches."""


class State:
    """What can be reached from some objects, as it is now. `restore` may be called any number of times."""

    def __init__(self, *roots: object) -> None:
        self._items: list[object] = []
        self._live: list[dict[str, Any]] = []
        self._kept: list[dict[str, Any]] = []
        self._counts: list[int] = []
        """Objects, their attributes, what these were, and how many there were."""
        self._slots: list[tuple[object, tuple[tuple[str, Any], ...]]] = []
        self._containers: list[Any] = []
        self._contents: list[Any] = []
        """Containers, and what was in them."""
        code = native()
        self._put_back = code.put_back if code is not None else _put_back
        seen: set[int] = set()
        waiting = list(roots)
        while waiting:
            item = waiting.pop()
            if id(item) in seen:
                continue
            if isinstance(item, (tuple, frozenset)):
                waiting += item
            elif isinstance(item, (list, deque, bytearray, dict, set)) or _has_state(item):
                seen.add(id(item))
                waiting += self._keep(item)

    def _keep(self, item: Any) -> Iterator[object]:
        """Note an object; what it refers to."""
        if isinstance(item, (dict, set, list, deque, bytearray)):
            self._containers.append(item)
            self._contents.append(item.copy())
            if isinstance(item, dict):
                yield from item.values()
            if not isinstance(item, bytearray):
                yield from item
        else:
            values = getattr(item, "__dict__", None)
            if values is not None:
                kept = {name: value for name, value in values.items() if name not in _UNKEPT}
                self._items.append(item)
                self._live.append(values)
                self._kept.append(kept)
                self._counts.append(len(values))
                yield from kept.values()
            slots = tuple((name, getattr(item, name)) for name in _slots(item))
            if slots:
                self._slots.append((item, slots))
                yield from (value for _, value in slots)

    def restore(self) -> None:
        """Put everything back that differs."""
        self._put_back(self._live, self._kept)
        if list(map(len, self._live)) != self._counts:
            for values, kept in zip(self._live, self._kept, strict=True):
                for name in [name for name in values if name not in kept and name not in _UNKEPT]:
                    del values[name]
        for item, slots in self._slots:
            for name, value in slots:
                setattr(item, name, value)
        pairs = zip(self._containers, self._contents, strict=True)
        for container, contents in compress(pairs, map(ne, self._containers, self._contents)):
            _refill(container, contents)

    def differences(self) -> list[str]:
        """What differs from the state as it was kept, in words: for verification."""
        found = []
        for item, values, kept in zip(self._items, self._live, self._kept, strict=True):
            for name, value in kept.items():
                if (now := values.get(name)) is not value and now != value:
                    found.append(f"{type(item).__name__}.{name} is {now!r}, was {value!r}")
        for item, slots in self._slots:
            for name, value in slots:
                if (now := getattr(item, name)) != value:
                    found.append(f"{type(item).__name__}.{name} is {now!r}, was {value!r}")
        for container, contents in zip(self._containers, self._contents, strict=True):
            if container != contents:
                found.append(f"a {type(container).__name__} is {container!r}, was {contents!r}")
        return found


def _put_back(live: list[dict[str, Any]], kept: list[dict[str, Any]]) -> None:
    """Twin: native/fill.c, put_back. By map: a loop in Python costs as much again."""
    deque(map(dict.update, live, kept), maxlen=0)


def _refill(container: Any, contents: Any) -> None:
    if isinstance(container, (list, bytearray)):
        container[:] = contents
        return
    container.clear()
    (container.extend if isinstance(container, deque) else container.update)(contents)


def _slots(item: object) -> list[str]:
    return [
        name
        for kind in type(item).__mro__
        for name in getattr(kind, "__slots__", ())
        if name not in ("__dict__", "__weakref__") and name not in _UNKEPT and hasattr(item, name)
    ]


def _has_state(item: object) -> bool:
    kind = type(item)
    module: str = kind.__module__
    if not module.startswith(_OURS) or kind is type:
        return False
    return f"{module}.{kind.__qualname__}" not in _OPAQUE and not callable(item) and not isinstance(item, Enum)
