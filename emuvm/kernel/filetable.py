"""The descriptor table.

Owns: descriptors, close-on-exec, and which open files are kept for snapshots. Must not know what an open file is made of. Every method
raises GuestError. Source: fs/file.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open, convert_open
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.files import HostOpenFile, OpenFile


class FileTable:
    """The descriptors of a process. `streams`: what it starts with from 0 on; None: the host's standard streams, as far as they are
    open, and the host's limits."""

    def __init__(self, streams: Sequence[OpenFile] | None = None) -> None:
        self._files: dict[int, OpenFile] = {}
        self._cloexec: set[int] = set()
        self._full_below = 0
        """No number below it is free."""
        self._highest = -1
        """The highest number ever in use."""
        self.limit = 1024
        """RLIMIT_NOFILE, soft."""
        self.size_limit: int | None = None
        """RLIMIT_FSIZE, soft; None: unlimited."""
        for number, file in enumerate(streams or ()):
            self._put(number, file)
        if streams is None:
            self.limit, self.size_limit = hostfd.open_limit(), hostfd.size_limit()
            for number, fd in hostfd.standard_streams():
                flags = convert_open(hostfd.control(fd, hostfd.F_GETFL), hostfd.HOST_OPEN, Open)
                self._put(number, HostOpenFile(fd, flags, b""))

    def get(self, fd: int) -> OpenFile:
        """Whatever is open as `fd`, O_PATH included. EBADF."""
        try:
            return self._files[fd]
        except KeyError:
            raise GuestError(Errno.EBADF, f"descriptor {fd}") from None

    def opened(self, fd: int) -> OpenFile:
        """As `get`, but a descriptor made with O_PATH is EBADF too (fs/file.c:fget)."""
        file = self.get(fd)
        if file.flags & Open.O_PATH:
            raise GuestError(Errno.EBADF, f"descriptor {fd} is only a path")
        return file

    @property
    def capacity(self) -> int:
        """How many numbers the kernel's table has room for: select looks no further (fs/file.c:alloc_fdtable)."""
        return 64 if self._highest < 64 else 128 << (self._highest // 128).bit_length()

    def items(self) -> Iterator[tuple[int, OpenFile]]:
        """(fd, file), ascending."""
        return iter(sorted(self._files.items()))

    def add(self, file: OpenFile, cloexec: bool = False, lowest: int = 0) -> int:
        """Give `file` the lowest free number not below `lowest`. EMFILE: the file is closed then, if nobody else has it."""
        number = self._lowest(lowest)
        if number >= self.limit:
            if not file.users:
                file.close()
            raise GuestError(Errno.EMFILE, f"{self.limit} descriptors")
        self._put(number, file)
        if cloexec:
            self._cloexec.add(number)
        return number

    def _lowest(self, lowest: int) -> int:
        number = max(lowest, self._full_below)
        while number in self._files:
            number += 1
        if lowest <= self._full_below:
            self._full_below = number
        return number

    def _put(self, number: int, file: OpenFile) -> None:
        file.users += 1
        self._files[number] = file
        self._highest = max(self._highest, number)

    def replace(self, number: int, file: OpenFile, cloexec: bool) -> None:
        """dup2: `number` becomes another name of `file`; what it was is closed."""
        if not 0 <= number < self.limit:
            raise GuestError(Errno.EBADF, f"descriptor {number}")
        before = self._files.get(number)
        self._put(number, file)
        if before is not None:
            self._release(before)
        self._cloexec.discard(number)
        if cloexec:
            self._cloexec.add(number)

    def close(self, fd: int) -> None:
        """EBADF."""
        file = self._files.pop(fd, None)
        if file is None:
            raise GuestError(Errno.EBADF, f"descriptor {fd}")
        self._full_below = min(self._full_below, fd)
        self._cloexec.discard(fd)
        self._release(file)

    @staticmethod
    def _release(file: OpenFile) -> None:
        file.users -= 1
        if not file.users:
            FileTable._end(file)

    @staticmethod
    def _end(file: OpenFile) -> None:
        """The program has it open no more; snapshots may."""
        for epoll in file.watchers:
            epoll.forget(file)
        if not file.holders:
            file.close()

    # -- snapshots --------------------------------------------------------------------------------------------------------

    def hold(self) -> set[OpenFile]:
        """What is open now, which from now on is not closed with its last descriptor."""
        held = set(self._files.values())
        for file in held:
            file.holders += 1
        return held

    def let_go(self, held: set[OpenFile]) -> None:
        """The end of `hold`."""
        for file in held:
            file.holders -= 1
            if not file.users and not file.holders:
                file.close()

    def close_others(self, held: set[OpenFile]) -> None:
        """Close what was opened since `hold`. The table itself is put back by whoever knows what was in it."""
        if held.issuperset(self._files.values()):
            return
        for file in set(self._files.values()) - held:
            file.users = 0
            self._end(file)

    def cloexec(self, fd: int) -> bool:
        self.get(fd)
        return fd in self._cloexec

    def set_cloexec(self, fd: int, on: bool) -> None:
        self.get(fd)
        (self._cloexec.add if on else self._cloexec.discard)(fd)

    def close_on_exec(self) -> None:
        for fd in sorted(self._cloexec):
            self.close(fd)

    def close_all(self) -> None:
        for fd in sorted(self._files):
            self.close(fd)
