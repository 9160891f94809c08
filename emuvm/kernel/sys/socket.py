"""Sockets, of which there are none: a call that makes one says so, one that wants one finds none.

Must not know the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall

if TYPE_CHECKING:
    from emuvm.kernel.process import Process


@syscall("socket", "int int int", level="accepted", note="there is no network: EAFNOSUPPORT")
@syscall("socketpair", "int int int ptr", level="accepted", note="there is no network: EAFNOSUPPORT")
def no_socket(proc: Process, family: int, *rest: Any) -> int:
    raise GuestError(Errno.EAFNOSUPPORT, f"socket family {family}: no network")


def _no_socket(proc: Process, fd: int, *rest: Any) -> int:
    proc.files.opened(fd)
    raise GuestError(Errno.ENOTSOCK, f"descriptor {fd}")


for _name, _kinds in (
    ("connect", "fd ptr int"),
    ("bind", "fd ptr int"),
    ("listen", "fd int"),
    ("accept", "fd ptr ptr"),
    ("accept4", "fd ptr ptr int"),
    ("getsockname", "fd ptr ptr"),
    ("getpeername", "fd ptr ptr"),
    ("sendto", "fd ptr size uint ptr int"),
    ("recvfrom", "fd ptr size uint ptr ptr"),
    ("sendmsg", "fd ptr uint"),
    ("recvmsg", "fd ptr uint"),
    ("sendmmsg", "fd ptr uint uint"),
    ("recvmmsg", "fd ptr uint uint ptr"),
    ("shutdown", "fd int"),
    ("setsockopt", "fd int int ptr int"),
    ("getsockopt", "fd int int ptr ptr"),
):
    syscall(_name, _kinds, level="accepted", note="no descriptor is a socket: ENOTSOCK")(_no_socket)
