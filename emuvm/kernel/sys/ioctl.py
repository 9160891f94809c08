"""ioctl: terminals, and the few requests that every descriptor knows.

Must not know which descriptors are terminals: the host tells. A request that is not in the table gets ENOTTY, as from a
driver that does not know it. Source: fs/ioctl.c, drivers/tty/tty_ioctl.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.controls import Ioctl, ioctl_for
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open
from emuvm.abi.structs import TERMIOS_SIZE, Termios, pack_termios, pack_winsize, unpack_termios, unpack_winsize
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.registry import syscall

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_TERMIOS = struct.Struct("@4IB19s")
_WINSIZE = struct.Struct("@4H")
_INT = struct.Struct("@i")


@syscall(
    "ioctl", "fd uint ulong",
    level="partial", note="terminals, FIONREAD, FIONBIO, FIOCLEX, PROCMAP_QUERY, PAGEMAP_SCAN; others get ENOTTY",
)  # fmt: skip
def ioctl(proc: Process, fd: int, request: int, argument: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    names = ioctl_for(proc.arch.name)
    if request in (names.FIOCLEX, names.FIONCLEX):
        proc.files.set_cloexec(fd, request == names.FIOCLEX)
        return 0
    if request == names.FIONBIO:
        on = proc.mem.read_u32(argument)
        file.set_status(file.status() & ~Open.O_NONBLOCK | (Open.O_NONBLOCK if on else 0))
        return 0
    if file.host_fd < 0:
        own = getattr(file, "requests", {}).get(request)
        if own is not None:
            return own(argument)  # type: ignore[no-any-return]
        raise GuestError(Errno.ENOTTY, f"request {request:#x}")
    for name, serve in _REQUESTS.items():
        if request == getattr(names, name):
            serve(proc, file.host_fd, getattr(Ioctl, name), argument)
            return 0
    raise GuestError(Errno.ENOTTY, f"request {request:#x}")


def _get_termios(proc: Process, fd: int, request: int, to: int) -> None:
    found = Termios(*_TERMIOS.unpack(hostfd.ioctl(fd, request, bytes(TERMIOS_SIZE))))
    proc.mem.write(to, pack_termios(proc.arch, found))


def _set_termios(proc: Process, fd: int, request: int, at: int) -> None:
    hostfd.ioctl(fd, Ioctl.TCGETS, bytes(TERMIOS_SIZE))
    hostfd.ioctl(fd, request, _TERMIOS.pack(*unpack_termios(proc.arch, proc.mem.read(at, TERMIOS_SIZE))))


def _get_winsize(proc: Process, fd: int, request: int, to: int) -> None:
    rows, columns, x, y = _WINSIZE.unpack(hostfd.ioctl(fd, request, bytes(8)))
    proc.mem.write(to, pack_winsize(proc.arch, rows, columns, x, y))


def _set_winsize(proc: Process, fd: int, request: int, at: int) -> None:
    hostfd.ioctl(fd, request, _WINSIZE.pack(*unpack_winsize(proc.arch, proc.mem.read(at, 8))))


def _get_int(proc: Process, fd: int, request: int, to: int) -> None:
    proc.mem.write_u32(to, _INT.unpack(hostfd.ioctl(fd, request, bytes(4)))[0])


def _set_int(proc: Process, fd: int, request: int, at: int) -> None:
    value = proc.mem.read_u32(at)
    hostfd.ioctl(fd, request, _INT.pack(value - (value >> 31 << 32)))


def _number(proc: Process, fd: int, request: int, argument: int) -> None:
    """The argument is no address."""
    hostfd.ioctl(fd, request, argument & 0x7FFF_FFFF)


_REQUESTS: dict[str, Callable[[Process, int, int, int], None]] = {
    "TCGETS": _get_termios,
    "TIOCGWINSZ": _get_winsize,
    "FIONREAD": _get_int,
    "TCSETS": _set_termios,
    "TCSETSW": _set_termios,
    "TCSETSF": _set_termios,
    "TIOCSWINSZ": _set_winsize,
    "TIOCGPGRP": _get_int,
    "TIOCSPGRP": _set_int,
    "TIOCGSID": _get_int,
    "TIOCGETD": _get_int,
    "TIOCOUTQ": _get_int,
    "TIOCGPTN": _get_int,
    "TCSBRK": _number,
    "TCSBRKP": _number,
    "TCXONC": _number,
    "TCFLSH": _number,
}
