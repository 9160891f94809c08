"""Writing to a pipe that may take less than all, without waiting.

Owns: how much of the memory is looked at on the way. Must not know other writes. Source: fs/pipe.c:pipe_write.

How much a pipe takes only the kernel knows, and to ask it the bytes must be at hand. So all that can be had without a change is
read, and memory that the kernel did not get to is made as absent afterwards as it was before. A stack grows only for what it did
get to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Poll
from emuvm.engine.base import Residency
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.sys.io import PIPE_PAGE, Buffers, first, gather, send, usable_bytes
from emuvm.kernel.usermem import READ
from emuvm.mm.rules import anonymous
from emuvm.mm.types import File, VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process


def write_now(proc: Process, file: OpenFile, buffers: Buffers, wanted: int) -> int:
    """Write to a pipe with O_NONBLOCK; the count. EAGAIN there is no room, EFAULT the first byte that has some cannot be read."""
    done = 0
    while True:
        rest = _behind(buffers, done)
        left = wanted - done
        there = usable_bytes(proc, rest, READ, grow=False)
        if there == left <= PIPE_PAGE and _has_room(file):
            return done + send(proc, file, gather(proc, rest, left))
        error: GuestError | None = None
        count, at_a_hole = 0, False
        try:
            count = _write_what_fits(proc, file, rest, there, left)
            at_a_hole = count < left and _has_room(file)
        except GuestError as raised:
            error, at_a_hole = raised, raised.errno == Errno.EFAULT
        done += count
        if at_a_hole and usable_bytes(proc, rest, READ) > there:
            continue  # a stack has grown
        if error is not None and not done:
            raise error
        return done


def _has_room(file: OpenFile) -> bool:
    return bool(hostfd.wait([(file.host_fd, Poll.POLLOUT)], 0))


def _behind(buffers: Buffers, done: int) -> Buffers:
    """The buffers without their first `done` bytes."""
    rest = []
    for address, length in buffers:
        skipped = min(length, done)
        done -= skipped
        if length > skipped:
            rest.append((address + skipped, length - skipped))
    return rest


def _write_what_fits(proc: Process, file: OpenFile, buffers: Buffers, count: int, wanted: int) -> int:
    """From buffers of which `count` of `wanted` bytes can be read."""
    memory, page = proc.mem.memory, proc.space.page_size
    ranges = [(at & -page, at + length + (-(at + length) % page)) for at, length in first(buffers, count) if length]
    before = [memory.residency(start, end) for start, end in ranges]
    data = gather(proc, buffers, count) if count else b""
    looked_at = 0
    try:
        done = looked_at = send(proc, file, data, wanted)
        if done < wanted and _has_room(file):
            looked_at += PIPE_PAGE  # missing memory ended it
    except GuestError as error:
        looked_at = PIPE_PAGE if error.errno == Errno.EFAULT else 0
        raise
    finally:
        touched = first(buffers, min(looked_at, count))
        reached = {at // page for base, length in touched for at in range(base & -page, base + length, page) if length}
        for (start, _), bits in zip(ranges, before, strict=True):
            for number, was in enumerate(bits, start // page):
                if not was & Residency.PRESENT and number not in reached:
                    _absent_again(proc, number * page)
    return done


def _absent_again(proc: Process, page: int) -> None:
    """A page that only emuvm has read, and that was nowhere before."""
    vma = proc.space.query(page)
    if vma is None:
        return
    if not vma.flags & VmFlag.MAYSHARE:
        if anonymous(vma):
            proc.mem.memory.discard(page, proc.space.page_size)
    elif type(vma.backing) is File and getattr(vma.backing.file, "in_memory", False):
        proc.mem.memory.punch(page, proc.space.page_size)
