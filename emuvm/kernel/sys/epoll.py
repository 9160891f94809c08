"""epoll.

Owns: which descriptors an epoll instance watches, and the structures in guest memory. Readiness, edges and nesting are an epoll's of
the host, which watches duplicates: what it tells apart is a file and a number, as the guest's does. Source: fs/eventpoll.c.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from emuvm.abi.controls import Epoll as E
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open, Poll, convert_open, open_for
from emuvm.abi.structs import epoll_layout
from emuvm.errors import GuestError
from emuvm.kernel import hostfd, hostpoll
from emuvm.kernel.files import HostOpenFile, OpenFile
from emuvm.kernel.registry import syscall
from emuvm.kernel.signal_restart import Interrupted, Restart
from emuvm.kernel.sys.io import usable_bytes
from emuvm.kernel.sys.poll import masked, until_after, wait_for_hosts
from emuvm.kernel.sys.time import read_timespec
from emuvm.kernel.usermem import WRITE

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_INT_MAX = (1 << 31) - 1
_MODES = E.EPOLLET | E.EPOLLONESHOT | E.EPOLLWAKEUP | E.EPOLLEXCLUSIVE
_ALWAYS = Poll.POLLERR | Poll.POLLHUP
_WITH_EXCLUSIVE = Poll.POLLIN | Poll.POLLOUT | Poll.POLLERR | Poll.POLLHUP | E.EPOLLWAKEUP | E.EPOLLET | E.EPOLLEXCLUSIVE


class _Item:
    """A file that is watched under a descriptor, as the program asked for it."""

    __slots__ = ("data", "events")

    def __init__(self, events: int, data: int) -> None:
        self.events, self.data = events, data


class EpollFile(HostOpenFile):
    """An epoll instance. Its keys with the host are those of `_items`: a file and a number."""

    refuses_read = refuses_write = no_offsets = own = watches = True
    splices = False

    def __init__(self) -> None:
        self._host = hostpoll.Epoll()
        super().__init__(self._host.fileno(), Open.O_RDWR, b"anon_inode:[eventpoll]")
        self._items: dict[tuple[OpenFile, int], _Item] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        return True

    def item(self, file: OpenFile, number: int) -> _Item | None:
        return self._items.get((file, number))

    def watched(self, number: int) -> list[OpenFile]:
        """What is watched under this number."""
        return [file for file, under in self._items if under == number]

    def add(self, file: OpenFile, number: int, events: int, data: int) -> None:
        self._host.add((file, number), _duplicate(file), _told(file, events))
        self._items[file, number] = _Item(events | _ALWAYS, data)
        file.watchers |= {self}

    def modify(self, file: OpenFile, number: int, events: int, data: int) -> None:
        self._host.modify((file, number), _told(file, events))
        item = self._items[file, number]
        item.events, item.data = events | _ALWAYS, data

    def remove(self, file: OpenFile, number: int) -> None:
        self._host.remove((file, number))
        del self._items[file, number]
        if not any(watched is file for watched, _ in self._items):
            file.watchers -= {self}

    def forget(self, file: OpenFile) -> None:
        """The file is closed for good."""
        for watched, number in list(self._items):
            if watched is file:
                self.remove(file, number)

    def ready(self, count: int = 1) -> list[tuple[int, int]]:  # type: ignore[override]
        """(events, data) of what is ready now."""
        found = []
        for key, events in self._host.ready(min(count, max(1, len(self._items)))):
            item = self._items[key]
            if item.events & E.EPOLLONESHOT:
                item.events &= _MODES
            found.append((events, item.data))
        return found

    def outside(self) -> dict[hostpoll.Key, int]:
        """What the host watches. Which edges it has told of nobody knows: they may be told again."""
        return self._host.known()

    def bring_back(self, kept: dict[hostpoll.Key, int]) -> None:
        wanted = {}
        for key, item in self._items.items():
            armed = item.events & ~_MODES
            wanted[key] = partial(_duplicate, key[0]), kept[key] if armed else kept[key] & _MODES
        self._host.become(wanted)

    def details(self, lines: list[str]) -> list[str]:
        """fdinfo: the descriptors are the guest's."""
        shown = []
        for (file, number), item in sorted(self._items.items(), key=lambda pair: pair[0][1]):
            status = file.stat()
            device = status.dev[0] << 20 | status.dev[1]
            place = f"pos:0 ino:{status.ino:x} sdev:{device:x}"
            shown.append(f"tfd: {number:8} events: {item.events:8x} data: {item.data:16x}  {place}")
        return [line for line in lines if not line.startswith("tfd:")] + shown

    def close(self) -> None:
        for file, number in list(self._items):
            self.remove(file, number)
        self._host.close()
        self.host_fd = -1


def _duplicate(file: OpenFile) -> int:
    """A descriptor of the host for the same file; a made-up one is the host's of the same name, as far as waiting goes."""
    return hostfd.duplicate(file.host_fd) if file.host_fd >= 0 else hostfd.open_device(file.path, 0)


def _told(file: OpenFile, events: int) -> int:
    return events & (file.tells | _MODES)


def _can_poll(file: OpenFile) -> bool:
    if file.is_regular or file.is_directory or file.discards:
        return False
    if file.host_fd >= 0:
        return isinstance(file, EpollFile) or hostpoll.can_poll(file.host_fd)
    try:
        fd = _duplicate(file)
    except GuestError:
        return False
    try:
        return hostpoll.can_poll(fd)
    finally:
        hostfd.close(fd)


# -- the calls ----------------------------------------------------------------------------------------------------------------


@syscall("epoll_create", "int")
def epoll_create(proc: Process, size: int) -> int:
    if size <= 0:
        raise GuestError(Errno.EINVAL, f"size {size}")
    return epoll_create1(proc, 0)


@syscall("epoll_create1", "flags")
def epoll_create1(proc: Process, flags: int) -> int:
    names = open_for(proc.arch.name)
    if flags & ~names.O_CLOEXEC:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    number: int = proc.files.add(EpollFile(), bool(convert_open(flags, names, Open)))
    return number


@syscall("epoll_ctl", "fd int fd ptr")
def epoll_ctl(proc: Process, epfd: int, operation: int, fd: int, at: int) -> int:
    events = data = 0
    if operation != E.EPOLL_CTL_DEL:
        layout = epoll_layout(proc.arch)
        events, data = layout.unpack(proc.mem.read(at, layout.size))
    epoll, file = proc.files.opened(epfd), proc.files.opened(fd)
    if not _can_poll(file):
        raise GuestError(Errno.EPERM, f"descriptor {fd} cannot be waited for")
    if epoll is file or not isinstance(epoll, EpollFile):
        raise GuestError(Errno.EINVAL, f"descriptor {epfd} cannot watch {fd}")
    if operation != E.EPOLL_CTL_DEL and events & E.EPOLLEXCLUSIVE:
        if operation == E.EPOLL_CTL_MOD or (
            operation == E.EPOLL_CTL_ADD and (isinstance(file, EpollFile) or events & ~_WITH_EXCLUSIVE)
        ):
            raise GuestError(Errno.EINVAL, f"events {events:#x}")
    item = epoll.item(file, fd)
    if operation == E.EPOLL_CTL_ADD:
        if item is not None:
            # A loop is found before the descriptor is; of what is watched already there can be none.
            raise GuestError(Errno.EEXIST, f"descriptor {fd} is watched already")
        epoll.add(file, fd, events, data)
        return 0
    if operation not in (E.EPOLL_CTL_DEL, E.EPOLL_CTL_MOD):
        raise GuestError(Errno.EINVAL, f"operation {operation}")
    if item is None:
        raise GuestError(Errno.ENOENT, f"descriptor {fd} is not watched")
    if operation == E.EPOLL_CTL_DEL:
        epoll.remove(file, fd)
    elif item.events & E.EPOLLEXCLUSIVE:
        raise GuestError(Errno.EINVAL, "what is watched exclusively stays as it is")
    else:
        epoll.modify(file, fd, events, data)
    return 0


def _until(proc: Process, nanoseconds: int | None) -> int | None:
    """0: only a look, which no signal interrupts."""
    return until_after(proc, nanoseconds) if nanoseconds else nanoseconds


def _wait(proc: Process, epfd: int, at: int, count: int, until: int | None) -> int:
    layout = epoll_layout(proc.arch)
    epoll = proc.files.opened(epfd)
    if not 0 < count <= _INT_MAX // layout.size:
        raise GuestError(Errno.EINVAL, f"{count} events")
    proc.mem.access_ok(at, count * layout.size)
    if not isinstance(epoll, EpollFile):
        raise GuestError(Errno.EINVAL, f"descriptor {epfd} is no epoll")
    room = min(count, max(1, len(epoll)))
    fits = usable_bytes(proc, [(at, room * layout.size)], WRITE) // layout.size
    wanted = {epoll.host_fd: int(Poll.POLLIN)}
    if proc.signals.due:
        proc.delivery.ready()  # a signalfd may have news
    if proc.timers is not None:
        proc.timers.check()  # and so may a timerfd
    while True:
        found = epoll.ready(fits) if fits else []
        if found:
            proc.mem.write(at, b"".join(layout.pack(*event) for event in found))
            return len(found)
        try:
            told = proc.system.wait(wanted.items(), 0) if until == 0 else wait_for_hosts(proc, wanted, until)
        except Interrupted:
            raise Interrupted(Restart.NEVER) from None
        if not told:
            return 0
        if not fits:
            raise GuestError(Errno.EFAULT, f"no event can be stored at {at:#x}")


@syscall("epoll_wait", "fd ptr int int")
def epoll_wait(proc: Process, epfd: int, at: int, count: int, milliseconds: int) -> int:
    return _wait(proc, epfd, at, count, _until(proc, None if milliseconds < 0 else milliseconds * 1_000_000))


@syscall("epoll_pwait", "fd ptr int int ptr size")
def epoll_pwait(proc: Process, epfd: int, at: int, count: int, milliseconds: int, mask: int, size: int) -> int:
    return masked(proc, mask, size, lambda: epoll_wait(proc, epfd, at, count, milliseconds))


@syscall("epoll_pwait2", "fd ptr int ptr ptr size")
def epoll_pwait2(proc: Process, epfd: int, at: int, count: int, timeout: int, mask: int, size: int) -> int:
    until = _until(proc, read_timespec(proc, timeout) if timeout else None)
    return masked(proc, mask, size, lambda: _wait(proc, epfd, at, count, until))
