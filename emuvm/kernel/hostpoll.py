"""The host's epoll, and descriptors that only say whether there is something to read.

Owns: these calls, and which descriptors the host's epoll knows. Must not know guests. Failures are GuestError.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping
from typing import Any

from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.hostfd import host_call

Key = Any
"""What somebody calls a file that is watched; hashable."""


class Epoll:
    """An epoll instance. It owns the descriptors it is given to watch."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._register = host_call(self._epoll.register)
        self._modify = host_call(self._epoll.modify)
        self._fds: dict[Key, tuple[int, int]] = {}
        """Descriptor and events."""
        self._keys: dict[int, Key] = {}

    def fileno(self) -> int:
        return self._epoll.fileno()

    def known(self) -> dict[Key, int]:
        """What is watched, and for which events."""
        return {key: events for key, (_, events) in self._fds.items()}

    def add(self, key: Key, fd: int, events: int) -> None:
        """Watch a descriptor, which is closed with the end of that, or if it cannot be."""
        try:
            self._register(fd, events)
        except GuestError:
            hostfd.close(fd)
            raise
        self._fds[key], self._keys[fd] = (fd, events), key

    def modify(self, key: Key, events: int) -> None:
        fd, _ = self._fds[key]
        self._modify(fd, events)
        self._fds[key] = fd, events

    def remove(self, key: Key) -> None:
        fd, _ = self._fds.pop(key)
        del self._keys[fd]
        self._epoll.unregister(fd)
        hostfd.close(fd)

    def become(self, wanted: Mapping[Key, tuple[Callable[[], int], int]]) -> None:
        """Watch these and no others: {key: (a function that gives a descriptor, events)}. What is ready is told again, in this order:
        that is why nothing that is known already stays."""
        for key in list(self._fds):
            self.remove(key)
        for key, (descriptor, events) in wanted.items():
            self.add(key, descriptor(), events)

    def ready(self, count: int) -> list[tuple[Key, int]]:
        """(key, events) of at most `count` that are ready now."""
        return [(self._keys[fd], events) for fd, events in self._epoll.poll(0, count)]

    def close(self) -> None:
        for key in list(self._fds):
            self.remove(key)
        self._epoll.close()


def can_poll(fd: int) -> bool:
    """Does its driver know poll(2)?"""
    with select.epoll() as probe:
        try:
            host_call(probe.register)(fd, 0)
        except GuestError:
            return False
    return True


def show(fd: int, on: bool, *, anew: bool = False) -> None:
    """Have an eventfd be readable, or not. `anew`: who waits for edges is told even if it is already."""
    now = hostfd.readable(fd, 0)
    if on and (anew or not now):
        hostfd.write(fd, (1).to_bytes(8, "little"))
    elif now and not on:
        hostfd.read(fd, 8)
