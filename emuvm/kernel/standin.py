"""Locks on files that the host does not have: they are held on files without a name that stand in for them.

Owns: these files, one for each path that was locked, and a description of its own for each that locks. Must not know what a lock is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.flags import Open, convert_open
from emuvm.kernel import hostfd, hostfs

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process


class StandIn:
    """A descriptor of the host, closed with its last user: its locks go then."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        hostfd.close(self.fd)


def lock_fd(proc: Process, file: OpenFile) -> int:
    """The descriptor of the host on which an open file's locks are held, with the file's mode, size and position."""
    if file.host_fd >= 0:
        return file.host_fd
    if file.stand_in is None:
        if file.path not in proc.kept.stand_ins:
            proc.kept.stand_ins[file.path] = StandIn(hostfd.memory_file(0 if file.is_directory else file.stat().size))
        mode = convert_open(file.flags & Open.O_ACCMODE, Open, hostfd.HOST_OPEN)
        file.stand_in = StandIn(hostfs.reopen(proc.kept.stand_ins[file.path].fd, mode))
    own: int = file.stand_in.fd
    hostfd.lseek(own, max(0, getattr(file, "offset", 0)), 0)
    return own
