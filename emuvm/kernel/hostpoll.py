"""The host's epoll and timerfd.

Owns: these calls. Must not know guests. Failures are GuestError.
"""

from __future__ import annotations

import ctypes
import os
import select
from typing import Any

from emuvm.errors import GuestError
from emuvm.kernel.hostfd import host_call

_libc: Any = ctypes.CDLL(None, use_errno=True)
_SECOND = 1_000_000_000
_TFD_CLOEXEC = os.O_CLOEXEC


class Epoll:
    """An epoll instance. What it tells is the number of a descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.add = host_call(self._epoll.register)
        self.modify = host_call(self._epoll.modify)
        self.remove = host_call(self._epoll.unregister)
        self.close = self._epoll.close

    def fileno(self) -> int:
        return self._epoll.fileno()

    def ready(self, count: int) -> list[tuple[int, int]]:
        """(descriptor, events) of at most `count` that are ready now."""
        return self._epoll.poll(0, count)


def can_poll(fd: int) -> bool:
    """Does its driver know poll(2)?"""
    probe = Epoll()
    try:
        probe.add(fd, 0)
    except GuestError:
        return False
    finally:
        probe.close()
    return True


# -- timers -----------------------------------------------------------------------------------------------------------------

_Four = ctypes.c_int64 * 4
"""struct itimerspec of 64 bits: interval, then value, each of seconds and nanoseconds."""
Setting = tuple[int, int]
"""(interval, value) in nanoseconds."""


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


@host_call
def timer(clock: int, flags: int) -> int:
    return _checked(_libc.timerfd_create(clock, flags | _TFD_CLOEXEC))


@host_call
def set_timer(fd: int, flags: int, interval: int, value: int) -> Setting:
    """The setting of before."""
    new, old = _Four(*divmod(interval, _SECOND), *divmod(value, _SECOND)), _Four()
    _checked(_libc.timerfd_settime(fd, flags, new, old))
    return _setting(old)


@host_call
def get_timer(fd: int) -> Setting:
    now = _Four()
    _checked(_libc.timerfd_gettime(fd, now))
    return _setting(now)


def _setting(words: Any) -> Setting:
    return words[0] * _SECOND + words[1], words[2] * _SECOND + words[3]
