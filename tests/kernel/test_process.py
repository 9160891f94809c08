"""Dispatch, faults and signals of a process, on the engine without CPU."""

from __future__ import annotations

import pytest

from emuvm.abi.arch import X86_64
from emuvm.abi.errno import Errno
from emuvm.abi.sigframes import Sigaction, pack_sigaction, pack_sigset
from emuvm.abi.signals import SIG_IGN, Code, Signal
from emuvm.engine.base import Access, FaultStop, SyscallStop, Trap, TrapStop
from emuvm.errors import EmulatorBug
from emuvm.kernel import fault
from emuvm.kernel.process import ExitStatus
from emuvm.mm.linux import MapRequest
from tests.kernel.guest import BASE, Guest, N


@pytest.fixture
def guest() -> Guest:
    return Guest()


def test_failures_become_errno_values(guest: Guest) -> None:
    assert guest.call("munmap", 1, 4096) == -Errno.EINVAL
    assert guest.call("uname", 0) == -Errno.EFAULT
    assert guest.call("arch_prctl", 0x3001, 0) == -Errno.EINVAL


def test_unknown_calls_are_counted_and_told_once(guest: Guest) -> None:
    for _ in range(3):
        assert guest.call("io_uring_setup", 1, 2) == -Errno.ENOSYS
    assert guest.proc.dispatcher.unknown == {"io_uring_setup": 3}
    assert len(guest.proc.reporter.lines) == 1 and "io_uring_setup" in guest.proc.reporter.lines[0]


def test_pure_calls_run_in_the_hook_and_others_do_not(guest: Guest) -> None:
    assert guest.fast("getppid") == guest.proc.ppid == guest.call("getppid")
    assert guest.fast("clock_gettime", 1, 0) == -Errno.EFAULT
    assert guest.fast("clock_gettime", 1, BASE) == 0 and guest.proc.mem.read_word(BASE) > 0
    assert guest.fast("mincore", BASE, 0x1000, BASE + 0x1000) == 0
    assert guest.fast("munmap", BASE, 4096) is None and guest.space.query(BASE) is not None
    assert guest.proc.dispatcher.fast(99999, (0,) * 6) is None


def test_a_pure_call_that_needs_the_stack_to_grow_is_made_again_outside(guest: Guest) -> None:
    top = X86_64.stack_top
    guest.proc.mm.mmap(MapRequest(top - 0x4000, 0x4000, 3, fixed=True, growsdown=True))
    assert guest.fast("clock_gettime", 1, top - 0x9000) is None
    assert guest.call("clock_gettime", 1, top - 0x9000) == 0


def test_a_bug_in_a_handler_stops_the_run_with_call_and_map(guest: Guest) -> None:
    guest.proc.system = None  # type: ignore[assignment]
    with pytest.raises(EmulatorBug) as caught:
        guest.call("getpgrp")
    assert "getpgrp()" in str(caught.value) and f"{BASE:08x}-" in str(caught.value)


def test_the_loop_ends_with_the_exit_code(guest: Guest) -> None:
    guest.engine.script = [SyscallStop(N["getpid"], (0,) * 6), SyscallStop(N["exit_group"], (0x1FE, 0, 0, 0, 0, 0))]
    assert guest.proc.run() == ExitStatus(0xFE) and guest.proc.run().shell == 0xFE


def test_faults_grow_the_stack_or_end_the_program(guest: Guest) -> None:
    top = X86_64.stack_top
    guest.proc.mm.mmap(MapRequest(top - 0x4000, 0x4000, 3, fixed=True, growsdown=True))
    guest.engine.script = [FaultStop(top - 0x8000, Access.WRITE, 8, False), FaultStop(0x10, Access.READ, 1, False)]
    assert guest.proc.run().shell == 139
    assert guest.space.query(top - 0x8000) is not None
    assert "0x10" in guest.proc.reporter.lines[-1] and "SEGV_MAPERR" in guest.proc.reporter.lines[-1]


@pytest.mark.parametrize(
    ("stop", "signal", "code", "address"),
    [
        (FaultStop(BASE, Access.EXEC, 1, True), Signal.SIGSEGV, Code.SEGV_ACCERR, BASE),
        (FaultStop(BASE, Access.READ, 1, True, bus=True), Signal.SIGBUS, Code.BUS_ADRERR, BASE),
        (FaultStop(1 << 50, Access.READ, 1, False), Signal.SIGSEGV, Code.SI_KERNEL, 0),
        (FaultStop((1 << 64) - 4096, Access.READ, 1, False), Signal.SIGSEGV, Code.SEGV_MAPERR, (1 << 64) - 4096),
    ],
)
def test_what_a_fault_becomes(guest: Guest, stop: FaultStop, signal: int, code: int, address: int) -> None:
    assert fault.explain(guest.proc, stop)[:3] == (signal, code, address)


@pytest.mark.parametrize(
    ("trap", "status"), [(Trap.ILLEGAL, 132), (Trap.BREAKPOINT, 133), (Trap.DIVIDE, 136), (Trap.PROTECTION, 139), (Trap.ALIGNMENT, 135)]
)
def test_cpu_exceptions(guest: Guest, trap: Trap, status: int) -> None:
    guest.engine.script = [TrapStop(trap, 0)]
    assert guest.proc.run().shell == status


def action(guest: Guest, signal: int, handler: int) -> int:
    guest.proc.mem.write(BASE, pack_sigaction(X86_64, Sigaction(handler, 0x0400_0000, 0x1234, 0)))
    return guest.call("rt_sigaction", signal, BASE, BASE + 0x100, 8)


def test_ignored_and_blocked_signals(guest: Guest) -> None:
    pid = guest.proc.pid
    assert action(guest, Signal.SIGTERM, SIG_IGN) == 0
    assert guest.call("kill", pid, Signal.SIGTERM) == 0 and guest.proc.ended is None
    assert guest.call("kill", pid, Signal.SIGCHLD) == 0 and guest.proc.ended is None
    guest.proc.mem.write(BASE, pack_sigset(X86_64, 1 << (Signal.SIGUSR1 - 1)))
    assert guest.call("rt_sigprocmask", 0, BASE, 0, 8) == 0
    assert guest.call("tgkill", pid, pid, Signal.SIGUSR1) == 0 and guest.proc.ended is None
    assert guest.call("rt_sigpending", BASE, 8) == 0 and guest.proc.mem.read_word(BASE) == 1 << (Signal.SIGUSR1 - 1)
    guest.call("rt_sigprocmask", 1, BASE, 0, 8)
    assert guest.proc.ended == ExitStatus(0, Signal.SIGUSR1)


def test_a_fault_cannot_be_ignored(guest: Guest) -> None:
    action(guest, Signal.SIGSEGV, SIG_IGN)
    guest.engine.script = [FaultStop(0x10, Access.READ, 1, False)]
    assert guest.proc.run().shell == 139


def test_a_handler_is_entered(guest: Guest) -> None:
    assert action(guest, Signal.SIGUSR2, 0x4000) == 0
    guest.engine.set("rsp", BASE + 0x3000)
    assert guest.call("kill", guest.proc.pid, Signal.SIGUSR2) == 0 and guest.proc.ended is None
    assert guest.engine.get("rip") == 0x4000 and guest.engine.get("rdi") == Signal.SIGUSR2
    assert guest.proc.mem.read_word(guest.engine.get("rsp")) == 0x1234, "it returns to the restorer"


def test_signal_arguments(guest: Guest) -> None:
    assert action(guest, Signal.SIGKILL, SIG_IGN) == -Errno.EINVAL
    assert action(guest, 65, SIG_IGN) == -Errno.EINVAL
    assert guest.call("rt_sigprocmask", 0, 0, 0, 4) == -Errno.EINVAL
    assert guest.call("tgkill", guest.proc.pid, 1 << 29, 0) == -Errno.ESRCH
    assert action(guest, Signal.SIGHUP, 0x4000) == 0 and action(guest, Signal.SIGHUP, 0) == 0
    assert guest.proc.mem.read_word(BASE + 0x100) == 0x4000, "the old action is returned"


def test_a_sleep_ends_with_the_time_limit(guest: Guest) -> None:
    guest.proc.deadline = guest.proc.system.monotonic() + 0.01
    guest.proc.mem.write_word(BASE, 60)
    guest.engine.script = [SyscallStop(N["nanosleep"], (BASE, 0, 0, 0, 0, 0))]
    assert guest.proc.run().shell == 137


def test_limits(guest: Guest) -> None:
    assert guest.call("prlimit64", 0, 3, 0, BASE) == 0 and guest.proc.mem.read_word(BASE) == 8 << 20
    guest.proc.mem.write_word(BASE, 1 << 20)
    guest.proc.mem.write_word(BASE + 8, 1 << 21)
    assert guest.call("prlimit64", 0, 3, BASE, 0) == 0 and guest.proc.mm.limits.stack == 1 << 20
    guest.proc.mem.write_word(BASE + 8, 1 << 22)
    assert guest.call("setrlimit", 3, BASE) == -Errno.EPERM
    assert guest.call("getrlimit", 99, BASE) == -Errno.EINVAL


def test_memory_calls_decode_their_bits(guest: Guest) -> None:
    at = guest.call("mmap", 0, 0x3000, 3, 0x22, -1, 0)
    assert at > 0 and guest.call("mprotect", at, 0x1000, 1) == 0
    assert guest.call("mmap", at, 0x1000, 3, 0x10_0022, -1, 0) == -Errno.EEXIST
    assert guest.call("mmap", 0, 0x1000, 3, 0x20, -1, 0) == -Errno.EINVAL
    assert guest.call("mmap", 0, 0x1000, 3, 0x22, -1, 5) == -Errno.EINVAL
    assert guest.call("mprotect", at, 0x1000, 0x40) == -Errno.EINVAL
    guest.proc.mem.write(at + 0x1000, b"x")
    assert guest.call("mincore", at, 0x3000, BASE) == 0 and guest.proc.mem.read(BASE, 4) == b"\0\1\0\0"
    assert guest.call("madvise", at, 0x3000, 4) == 0 and guest.proc.mem.read(at + 0x1000, 1) == b"\0"
    assert guest.call("mincore", at, 0x3000, BASE) == 0 and guest.proc.mem.read(BASE, 4) == b"\0\0\0\0"
    assert guest.call("munmap", at, 0x3000) == 0 and guest.call("msync", at, 0x1000, 4) == -Errno.ENOMEM


def test_futexes_of_a_single_thread(guest: Guest) -> None:
    guest.proc.mem.write_u32(BASE, 5)
    assert guest.call("futex", BASE, 128, 4, 0) == -Errno.EAGAIN
    assert guest.call("futex", BASE, 129, 1) == 0
    guest.proc.mem.write(BASE + 16, bytes(8) + (1000).to_bytes(8, "little"))
    assert guest.call("futex", BASE, 128, 5, BASE + 16) == -Errno.ETIMEDOUT
