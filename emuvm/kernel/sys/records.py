"""Reading files that consist of records: eventfd, timerfd, signalfd.

Must not know what a record says. Sources: fs/eventfd.c, fs/timerfd.c, fs/signalfd.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Poll
from emuvm.errors import GuestError
from emuvm.kernel.sys.io import Buffers, first, ready, scatter, usable_bytes
from emuvm.kernel.usermem import WRITE

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process


def read_records(proc: Process, file: OpenFile, buffers: Buffers, wanted: int) -> int:
    """Whole records, of which one for which there is no room is lost."""
    unit = file.unit
    wanted = min(wanted, unit) if file.one_by_one else wanted // unit * unit
    if wanted < unit:
        raise GuestError(Errno.EINVAL, f"{wanted} bytes for a record of {unit}")
    buffers = first(buffers, wanted)
    usable = usable_bytes(proc, buffers, WRITE)
    ready(proc, file, Poll.POLLIN)
    data = file.read(min(wanted, usable // unit * unit + unit))
    scatter(proc, first(buffers, usable), data)
    if len(data) <= usable:
        return len(data)
    if file.in_parts and usable:
        return usable
    if usable < unit:
        raise GuestError(Errno.EFAULT, "a record has no room in the buffer")
    return usable // unit * unit
