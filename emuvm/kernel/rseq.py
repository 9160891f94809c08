"""Restartable sequences: the area that a thread registered, and where a signal that interrupts a sequence leads.

Owns: that area, and what is kept of it in `Process.controls`. Must not know how signals are taken. There is one thread, which nobody
preempts: only signals interrupt it, and it changes its CPU when it says so. Source: kernel/rseq.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.signals import Code, Signal
from emuvm.errors import GuestError
from emuvm.kernel.siginfo import SignalInfo

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

FIRST, FEATURES, ALIGN = 32, 28, 32
"""Bytes: the size that is always taken, what the kernel uses, and the alignment of the area."""
_AREA, _LENGTH, _SIGNATURE, _CPU = "rseq", "rseq_length", "rseq_signature", "rseq_cpu"
_SEQUENCE = 8
"""Where the area has the address of a struct rseq_cs."""
_UNREGISTER = 1
_CPU_UNINITIALIZED = 0xFFFF_FFFF


def area_of(proc: Process) -> int:
    """Where the registered area is; 0: there is none, as after execve."""
    return proc.controls.get(_AREA, 0)


def register(proc: Process, area: int, length: int, flags: int, signature: int) -> None:
    """rseq(2): EINVAL, EPERM for another signature, EBUSY, EFAULT."""
    kept, known = area_of(proc), (proc.controls.get(_LENGTH), proc.controls.get(_SIGNATURE))
    if flags & ~_UNREGISTER or (flags and (not kept or kept != area or length != known[0])):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}, {length} bytes at {area:#x}")
    if kept:
        if kept != area or length != known[0]:
            raise GuestError(Errno.EINVAL, f"{length} bytes at {area:#x}, where others are registered")
        if signature != known[1]:
            raise GuestError(Errno.EPERM, f"signature {signature:#x}")
        if not flags:
            raise GuestError(Errno.EBUSY, "registered already")
        _write(proc, area, length, 0, _CPU_UNINITIALIZED, 0)
        del proc.controls[_AREA]
        return
    if length < FIRST or area % ALIGN:
        raise GuestError(Errno.EINVAL, f"{length} bytes at {area:#x}")
    proc.mem.access_ok(area, length)
    proc.mem.write(area + _SEQUENCE, bytes(8))
    proc.controls.update({_AREA: area, _LENGTH: length, _SIGNATURE: signature})
    tell_cpu(proc)


def cpu(proc: Process) -> int:
    """The CPU that the thread is on: while an area says so, that one."""
    here, allowed = proc.controls.get(_CPU) if area_of(proc) else None, proc.cpus
    if here is None or here not in allowed:
        here = proc.system.processor()[0]
    return here if here in allowed else min(allowed)


def tell_cpu(proc: Process) -> None:
    """On the way back to the program: the area says where it runs. SIGSEGV when it cannot be written."""
    area = area_of(proc)
    if area:
        proc.controls[_CPU] = here = cpu(proc)
        try:
            _write(proc, area, proc.controls[_LENGTH], here, here, proc.system.processor()[1])
        except GuestError as error:
            _segv(proc, error.why)


def interrupt(proc: Process) -> bool:
    """A handler is about to run: a sequence that the thread is in is aborted. False: the area is bad, and the program ends."""
    area = area_of(proc)
    if not area:
        return True
    try:
        place = proc.mem.read_u64(area + _SEQUENCE)
        if place:
            _leave(proc, area, place)
    except GuestError as error:
        _segv(proc, error.why, fatal=True)
        return False
    return True


def _leave(proc: Process, area: int, place: int) -> None:
    order = ">" if proc.arch.big_endian else "<"
    version, flags, start, length, abort = struct.unpack(order + "IIQQQ", proc.mem.read(place, 32))
    end, top, pc = start + length, proc.arch.task_size, proc.engine.get("pc")
    if start >= top or end >= top or abort >= top or version or start <= abort < end:
        raise GuestError(Errno.EINVAL, f"the restartable sequence at {place:#x} is refused")
    if proc.mem.read_u32(abort - 4) != proc.controls[_SIGNATURE]:
        raise GuestError(Errno.EINVAL, f"no signature in front of {abort:#x}")
    inside = start <= pc < end
    if inside and (flags or proc.mem.read_u32(area + 16)):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x} of a restartable sequence")
    proc.mem.write_u64(area + _SEQUENCE, 0)
    if inside:
        proc.engine.set("pc", abort)


def _write(proc: Process, area: int, length: int, first: int, here: int, node: int) -> None:
    order = ">" if proc.arch.big_endian else "<"
    proc.mem.write(area, struct.pack(order + "II", first, here))
    proc.mem.write(area + 20, struct.pack(order + "II", node, 0))


def _segv(proc: Process, why: str, *, fatal: bool = False) -> None:
    """Fatal where a handler of SIGSEGV would come here again (force_sigsegv)."""
    proc.signals.force(SignalInfo(Signal.SIGSEGV, Code.SI_KERNEL, 0, f"restartable sequences: {why}"), fatal=fatal)
