"""ioctl: terminals, and the few requests that every descriptor knows.

Must not know which descriptors are terminals: the host tells. A request that is not in the table gets ENOTTY, as from a
driver that does not know it. Source: fs/ioctl.c, drivers/tty/tty_ioctl.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.controls import Ioctl, ioctl_for
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Mode, Open
from emuvm.abi.structs import TERMIOS_SIZE, Termios, pack_termios, pack_winsize, unpack_termios, unpack_winsize
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.registry import syscall

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_TERMIOS = struct.Struct("@4IB19s")
_WINSIZE = struct.Struct("@4H")
_INT, _LONG = struct.Struct("@i"), struct.Struct("@q")
_RANDOM = (0x108, 0x109)
"""/dev/random and /dev/urandom, whose driver does not say ENOTTY to what it does not know."""


@syscall(
    "ioctl", "fd uint ulong",
    level="partial", note="terminals, FIONREAD, FIGETBSZ, FIONBIO, FIOCLEX, PROCMAP_QUERY, PAGEMAP_SCAN; others get ENOTTY",
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
    if request == names.FIOASYNC:
        on = proc.mem.read_u32(argument)
        if on and not tells(file):
            raise GuestError(Errno.ENOTTY, "it tells nobody")
        file.flags = file.flags & ~Open.O_ASYNC | (Open.O_ASYNC if on else 0)
        return 0
    if file.host_fd < 0:
        return _of_made_file(proc, file, request, argument)
    if request == names.FIBMAP and file.is_regular:
        _may_map_blocks(proc)
    for name, serve in _REQUESTS.items():
        if request == getattr(names, name):
            serve(proc, file.host_fd, getattr(Ioctl, name), argument)
            return 0
    if request == names.FIEMAP:
        raise GuestError(Errno.EOPNOTSUPP, "where its blocks lie is not told")
    mode, device = hostfd.kind(file.host_fd)
    random = mode & Mode.S_IFMT == Mode.S_IFCHR and device in _RANDOM
    raise GuestError(Errno.EINVAL if random else Errno.ENOTTY, f"request {request:#x}")


def tells(file: OpenFile) -> bool:
    """Can it be asked for signals when there is something to read (f_op->fasync)? None are sent."""
    if file.host_fd < 0:
        return False
    mode, device = hostfd.kind(file.host_fd)
    kind = mode & Mode.S_IFMT
    return kind in (Mode.S_IFIFO, Mode.S_IFSOCK) or (kind == Mode.S_IFCHR and device in _RANDOM)


def _of_made_file(proc: Process, file: OpenFile, request: int, argument: int) -> int:
    """What every file system answers (fs/ioctl.c:do_vfs_ioctl, file_ioctl), and what some files know besides."""
    names, own = ioctl_for(proc.arch.name), getattr(file, "requests", {})
    status = file.stat() if request in (names.FIGETBSZ, names.FIONREAD, names.FIBMAP, names.FIOQSIZE) else None
    regular = status is not None and status.mode & Mode.S_IFMT == Mode.S_IFREG
    if request == names.FIGETBSZ and status is not None:
        proc.mem.write_u32(argument, status.blksize)
    elif request == names.FIONREAD and regular and status is not None:
        proc.mem.write_u32(argument, status.size - file.seek(0, 1) & 0xFFFF_FFFF)
    elif request == names.FIOQSIZE and (regular or file.is_directory):
        proc.mem.write_u64(argument, 0)
    elif request == names.FIBMAP and regular:
        _may_map_blocks(proc)
        proc.mem.read_u32(argument)
        raise GuestError(Errno.EINVAL, "it has no blocks")
    elif request == names.FIEMAP:
        raise GuestError(Errno.EOPNOTSUPP, "it has no blocks")
    elif request in own:
        return own[request](argument)  # type: ignore[no-any-return]
    else:
        raise GuestError(getattr(file, "unknown_request", Errno.ENOTTY), f"request {request:#x}")
    return 0


def _may_map_blocks(proc: Process) -> None:
    if not proc.system.credentials.capable(Cap.CAP_SYS_RAWIO):
        raise GuestError(Errno.EPERM, "no CAP_SYS_RAWIO")


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


def _change_int(proc: Process, fd: int, request: int, at: int) -> None:
    proc.mem.write_u32(at, _INT.unpack(hostfd.ioctl(fd, request, _INT.pack(proc.mem.read_u32(at) & 0x7FFF_FFFF)))[0])


def _get_long(proc: Process, fd: int, request: int, to: int) -> None:
    proc.mem.write_u64(to, _LONG.unpack(hostfd.ioctl(fd, request, bytes(8)))[0])


def _number(proc: Process, fd: int, request: int, argument: int) -> None:
    """The argument is no address."""
    hostfd.ioctl(fd, request, argument & 0x7FFF_FFFF)


_REQUESTS: dict[str, Callable[[Process, int, int, int], None]] = {
    "TCGETS": _get_termios,
    "TIOCGWINSZ": _get_winsize,
    "FIONREAD": _get_int,
    "FIGETBSZ": _get_int,
    "FIBMAP": _change_int,
    "FIOQSIZE": _get_long,
    "FS_IOC_GETFLAGS": _get_int,
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
