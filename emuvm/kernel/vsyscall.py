"""x86-64's vsyscall page: three calls at fixed addresses, made by jumping there (arch/x86/entry/vsyscall/vsyscall_64.c, vsyscall=xonly).

Owns: what happens at a jump into the page. Must not know how the calls work: the handlers of the system calls do that.

    ffffffffff600000  gettimeofday      ffffffffff600400  time      ffffffffff600800  getcpu
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.signals import Code, Signal
from emuvm.errors import GuestError
from emuvm.kernel import registry
from emuvm.kernel.siginfo import SignalInfo

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

PAGE = 0xFFFF_FFFF_FF60_0000
_CALLS = (("gettimeofday", 2, (16, 8)), ("time", 1, (8,)), ("getcpu", 3, (4, 4)))
"""Name, number of arguments, and bytes written through the first arguments; the third of getcpu is 0."""


def called(proc: Process) -> bool:
    """After a fault of execution: was it a jump into the page? Then the call was made, or SIGSEGV sent."""
    if proc.arch.name != "x86_64":
        return False
    address = proc.engine.get("pc")  # not every engine tells addresses of this height
    if address & ~0xFFF != PAGE:
        return False
    _call(proc, address)
    return True


def _call(proc: Process, address: int) -> None:
    engine, index = proc.engine, (address & 0xC00) >> 10
    spec = registry.find(_CALLS[index][0]) if not address & 0x3FF and index < len(_CALLS) else None
    try:
        back = proc.mem.read_word(engine.get("sp"))
    except GuestError:
        spec = None
    if spec is None:
        proc.kill(SignalInfo(Signal.SIGSEGV, Code.SI_KERNEL, 0, "a jump into the vsyscall page that is no call"), forced=True)
        return
    _, count, sizes = _CALLS[index]
    arguments = [engine.get(register) for register in proc.arch.syscall_args[: len(sizes)]]
    for argument, size in zip(arguments, sizes, strict=True):
        if argument and argument + size > proc.arch.task_size:
            why = "a vsyscall's result would go to the kernel"
            proc.kill(SignalInfo(Signal.SIGSEGV, Code.SEGV_MAPERR, argument, why), forced=True)
            return
    arguments += [0] * (count - len(arguments))
    try:
        result = spec.handler(proc, *arguments)
    except GuestError as error:
        if error.errno == Errno.EFAULT:
            proc.kill(SignalInfo(Signal.SIGSEGV, Code.SI_KERNEL, 0, "a vsyscall's result cannot be written"), forced=True)
            return
        result = -error.errno
    engine.set("rax", result & (1 << 64) - 1)
    engine.set("sp", engine.get("sp") + 8)
    engine.set("pc", back)
