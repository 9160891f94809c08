"""Signal state, frames, delivery and timers, without a CPU. What the kernel itself does is compared in tests/native/test_signals.py."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from emuvm.abi import sigframes_arm64, sigframes_x86
from emuvm.abi.arch import ARM64, X86_64
from emuvm.abi.errno import Errno
from emuvm.abi.sigframes import Sigaction, pack_sigaction, pack_siginfo, pack_sigset, unpack_siginfo
from emuvm.abi.signals import SA_NODEFER, SA_RESTART, SA_RESTORER, SA_SIGINFO, SIG_IGN, Code, Signal
from emuvm.engine.base import Access, FaultStop, LimitStop, Stop, SyscallStop
from emuvm.kernel.host_signals import Bell, HostSignals
from emuvm.kernel.process import ExitStatus
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.signals import Pending, Signals
from emuvm.kernel.timers import Timer, Timers
from emuvm.kernel.usermem import READ
from tests.kernel.guest import BASE, Guest, N

STACK = BASE + 0x3800
HANDLER = 0x4000
RESTORER = 0x5000


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    made.engine.set("rsp", STACK)
    yield made
    made.proc.close()


def catch(guest: Guest, number: int, flags: int = 0, mask: int = 0, handler: int = HANDLER) -> None:
    guest.proc.mem.write(BASE, pack_sigaction(X86_64, Sigaction(handler, flags | SA_RESTORER, RESTORER, mask)))
    assert guest.call("rt_sigaction", number, BASE, 0, 8) == 0


def bit(number: int) -> int:
    return 1 << number - 1


# -- state --------------------------------------------------------------------------------------------------------------------


def test_pending_signals_come_in_the_kernels_order() -> None:
    queue = Pending()
    for number in (40, Signal.SIGTERM, 35, Signal.SIGSEGV, Signal.SIGHUP, 40, Signal.SIGTERM):
        queue.add(SignalInfo(number, queue.count()))
    taken = []
    while (info := queue.take(~0)) is not None:
        taken.append((info.signal, info.code))
    assert taken == [(11, 3), (1, 4), (15, 1), (35, 2), (40, 0), (40, 5)]
    assert queue.bits == 0 and queue.count() == 0 and queue.queued == {}


def test_pending_signals_are_taken_by_mask_and_dropped() -> None:
    queue = Pending()
    for number in (1, 2, 40, 40):
        queue.add(SignalInfo(number, 0))
    assert queue.take(bit(3)) is None
    queue.drop(bit(40) | bit(1) | bit(5))
    assert queue.bits == bit(2) and queue.count() == 1


def test_a_forced_signal_loses_its_handler_only_when_blocked_or_ignored() -> None:
    state = Signals()
    state.actions[11] = Sigaction(HANDLER, 0, 0, 0)
    state.force(SignalInfo(11, 1))
    assert state.handler(11) == HANDLER and state.due
    state.mask = bit(11) | bit(3)
    state.force(SignalInfo(11, 1))
    assert state.handler(11) == 0 and state.mask == bit(3)
    state.actions[11] = Sigaction(SIG_IGN, 0, 0, 0)
    state.force(SignalInfo(11, 1))
    assert state.handler(11) == 0


# -- frames -------------------------------------------------------------------------------------------------------------------


def test_the_frame_of_x86_64_has_the_kernels_offsets(guest: Guest) -> None:
    """Offsets as of offsetof() in <ucontext.h>: gregs at 40, fpregs at 224, mask at 296 of ucontext_t; siginfo behind it."""
    catch(guest, Signal.SIGUSR1, SA_SIGINFO, bit(Signal.SIGHUP))
    for n, name in enumerate(sigframes_x86.REGISTERS):
        guest.engine.set(name, 0x1000 + n)
    guest.engine.set("rsp", STACK)
    guest.proc.signals.mask = bit(Signal.SIGUSR2)
    guest.proc.signals.trap = (6, 14, 0xCAFE)
    guest.call("kill", guest.proc.pid, Signal.SIGUSR1)
    engine, mem = guest.engine, guest.proc.mem
    at = engine.get("rsp")
    context, info = at + 8, at + 312
    assert at % 16 == 8 and at < STACK - 128 and mem.read_word(at) == RESTORER
    assert (engine.get("rdi"), engine.get("rsi"), engine.get("rdx"), engine.get("rax")) == (Signal.SIGUSR1, info, context, 0)
    assert engine.get("rip") == HANDLER
    saved = {name: mem.read_word(context + 40 + 8 * n) for n, name in enumerate(sigframes_x86.REGISTERS)}
    assert saved == {name: 0x1000 + n for n, name in enumerate(sigframes_x86.REGISTERS)} | {"rsp": STACK, "rax": 0}
    assert mem.read_word(context) == 7 and mem.read_word(context + 184) == 0x2B << 48 | 0x33
    assert [mem.read_word(context + offset) for offset in (192, 200, 208, 216)] == [6, 14, bit(Signal.SIGUSR2), 0xCAFE]
    fpu = mem.read_word(context + 224)
    assert fpu % 64 == 0 and fpu + 580 <= STACK - 128 and fpu >= info + 128
    assert mem.read_u32(fpu + 464) == 0x46505853 and mem.read_u32(fpu + 576) == 0x46505845
    assert mem.read_word(context + 296) == bit(Signal.SIGUSR2)
    assert unpack_siginfo(X86_64, mem.read(info, 128))[:3] == (Signal.SIGUSR1, Code.SI_USER, 0)
    assert guest.proc.signals.mask == bit(Signal.SIGUSR2) | bit(Signal.SIGHUP) | bit(Signal.SIGUSR1)
    assert engine.fpu_state() == sigframes_x86.INITIAL_FPU


def test_sigreturn_brings_everything_back(guest: Guest) -> None:
    catch(guest, Signal.SIGUSR1, SA_NODEFER)
    before = {name: 0x2000 + n for n, name in enumerate(sigframes_x86.REGISTERS)} | {"rsp": STACK, "eflags": 0x202}
    for name, value in before.items():
        guest.engine.set(name, value)
    image = bytearray(sigframes_x86.INITIAL_FPU)
    image[160:164] = b"xmm0"
    guest.engine.set_fpu_state(bytes(image))
    guest.call("kill", guest.proc.pid, Signal.SIGUSR1)
    guest.engine.set("rbx", 0)
    guest.engine.set("rsp", guest.engine.get("rsp") + 8)
    guest.proc.signals.mask = bit(5)
    guest.call("rt_sigreturn")
    assert {name: guest.engine.get(name) for name in before} == before | {"rax": 0}
    assert guest.proc.signals.mask == 0
    assert guest.engine.fpu_state()[160:164] == b"xmm0"


def test_a_frame_without_room_is_fatal(guest: Guest) -> None:
    catch(guest, Signal.SIGUSR1)
    guest.engine.set("rsp", BASE)
    guest.call("kill", guest.proc.pid, Signal.SIGUSR1)
    assert guest.proc.ended == ExitStatus(0, Signal.SIGSEGV)
    assert "no room for the frame" in guest.proc.reporter.lines[-1]


def test_a_handler_of_sigsegv_without_a_stack_does_not_run_for_ever(guest: Guest) -> None:
    catch(guest, Signal.SIGSEGV)
    guest.engine.set("rsp", BASE)
    guest.engine.script = [FaultStop(0x10, Access.READ, 1, False)]
    assert guest.proc.run() == ExitStatus(0, Signal.SIGSEGV)


@pytest.mark.parametrize("at", [0, 24, 40, 311])
def test_a_frame_that_cannot_be_read_is_fatal(guest: Guest, at: int) -> None:
    guest.engine.set("rsp", BASE + 0x4000 - at)
    guest.call("rt_sigreturn")
    assert guest.proc.ended == ExitStatus(0, Signal.SIGSEGV)


def test_xsave_images() -> None:
    """What XRSTOR refuses, what it sets to the initial state, and what the kernel takes for a plain FXSAVE image."""
    registers = [0] * len(sigframes_x86.REGISTERS)
    image = bytearray(sigframes_x86.INITIAL_FPU)
    image[160:164], image[40:44] = b"xmm0", b"st0 "
    data = sigframes_x86.build(0, registers, bytes(image), 0, (0, 0, 0), (0, 0, 0), 0, bytes(128))
    state = bytearray(data[sigframes_x86.FPSTATE :])
    assert len(state) == 580 and sigframes_x86.is_extended(bytes(state[:512]))

    def load(offset: int, value: bytes) -> bytes | None:
        changed = bytearray(state)
        changed[offset : offset + len(value)] = value
        return sigframes_x86.fpu_from(bytes(changed))

    whole = load(0, b"")
    assert whole is not None and whole[160:164] == b"xmm0" and whole[40:44] == b"st0 "
    assert load(24, b"\0\0\1\0") is None, "a reserved bit of MXCSR"
    assert load(520, b"\1") is None and load(528, b"\1") is None, "XCOMP_BV and what follows it"
    assert load(512, b"\4") is None, "a component the CPU has not"
    assert load(540, b"\1") is not None, "nobody looks at the rest of the header"
    no_sse, no_x87 = load(512, b"\1"), load(512, b"\2")
    assert no_sse is not None and no_sse[160:164] == bytes(4) and no_sse[40:44] == b"st0 "
    assert no_x87 is not None and no_x87[160:164] == b"xmm0" and no_x87[40:44] == bytes(4)
    plain = load(576, b"\0\0\0\0")
    assert plain is not None and plain[160:164] == b"xmm0", "without the second magic number the header does not count"


def test_the_frame_of_arm64() -> None:
    """Offsets as of offsetof() in <asm/sigcontext.h> and <asm/ucontext.h>."""
    registers = [*range(100, 133), 0x6000_0000]
    fpu = (0x46508001).to_bytes(4, "little") + (528).to_bytes(4, "little") + bytes(range(256)) * 2 + bytes(8)
    data = sigframes_arm64.build(registers, fpu, (1, 2, 3), (0xABC, 0x92000046), 0x55, bytes(128))

    def word(offset: int) -> int:
        return int.from_bytes(data[offset : offset + 8], "little")

    assert [word(128 + offset) for offset in (0, 8, 16, 24, 32, 40)] == [0, 0, 1, 2, 3, 0x55]
    assert word(304) == 0xABC and [word(312 + 8 * n) for n in range(34)] == registers
    assert data[592 : 592 + 528] == fpu and word(1120) == 16 << 32 | 0x45535201 and word(1128) == 0x92000046
    assert word(1136) == 0 and len(data) == 1144
    good = sigframes_arm64.Restored(data)
    assert good.fpu == fpu and good.mask == 0x55 and good.stack == (1, 2, 3)

    def restored(offset: int, value: bytes) -> bytes | None:
        return sigframes_arm64.Restored(data[:offset] + value + data[offset + len(value) :]).fpu

    data = sigframes_arm64.build(registers, fpu, (1, 2, 3), (0, 0), 0, bytes(128))
    assert restored(0, b"") == fpu and len(data) == 1128
    assert restored(592, b"\2") is None, "an unknown record"
    assert restored(596, b"\x20\2") is None, "a record of the wrong size"
    assert restored(1124, b"\1") is None, "an end with a size"
    assert restored(576, b"\5") is None, "another mode than EL0"
    assert sigframes_arm64.Restored(data[:1120]).fpu is None, "no end"


# -- delivery -----------------------------------------------------------------------------------------------------------------


def test_frames_stack_and_run_from_the_last_one_made(guest: Guest) -> None:
    catch(guest, Signal.SIGUSR1, handler=0x4001)
    catch(guest, Signal.SIGUSR2, handler=0x4002)
    guest.proc.signals.mask = bit(10) | bit(12)
    guest.call("kill", guest.proc.pid, 12)
    guest.call("kill", guest.proc.pid, 10)
    guest.proc.mem.write(BASE, pack_sigset(X86_64, 0))
    guest.call("rt_sigprocmask", 2, BASE, 0, 8)
    assert guest.engine.get("rip") == 0x4002
    context = guest.engine.get("rsp") + 8
    assert guest.proc.mem.read_word(context + 40 + 8 * sigframes_x86.RIP) == 0x4001


def test_a_signal_inside_a_fast_call_stops_the_engine(guest: Guest) -> None:
    catch(guest, Signal.SIGXFSZ)
    guest.proc.mem.deferred = True
    guest.proc.kill(SignalInfo(Signal.SIGXFSZ, 0), thread=True)
    guest.proc.mem.deferred = False
    assert guest.engine.run() == LimitStop()


def arrive(guest: Guest, number: int) -> None:
    guest.proc.post(lambda: guest.proc.kill(SignalInfo(number, 0)))


def later(seconds: float, guest: Guest, number: int) -> threading.Timer:
    timer = threading.Timer(seconds, arrive, (guest, number))
    timer.start()
    return timer


def seconds(guest: Guest, value: float) -> int:
    guest.proc.mem.write(BASE + 0x800, int(value).to_bytes(8, "little") + int(value % 1 * 1e9).to_bytes(8, "little"))
    return BASE + 0x800


@pytest.mark.parametrize("flags", [0, SA_RESTART])
def test_a_sleep_is_interrupted_and_tells_the_rest(guest: Guest, flags: int) -> None:
    catch(guest, Signal.SIGUSR1, flags)
    guest.proc.listen()
    later(0.05, guest, Signal.SIGUSR1)
    guest.engine.set("rip", 0x9002)
    guest.call("nanosleep", seconds(guest, 30), BASE + 0x900)
    assert guest.engine.get("rip") == HANDLER
    context = guest.engine.get("rsp") + 8
    assert guest.signed(guest.proc.mem.read_word(context + 40 + 8 * sigframes_x86.RAX)) == -Errno.EINTR
    assert 20 < guest.proc.mem.read_word(BASE + 0x900) < 30


@pytest.mark.parametrize(("flags", "back"), [(0, 0), (SA_RESTART, 2)])
def test_a_read_is_interrupted_or_made_again(guest: Guest, flags: int, back: int) -> None:
    from emuvm.kernel.filetable import FileTable

    guest.proc.files = FileTable()
    catch(guest, Signal.SIGUSR1, flags)
    guest.proc.listen()
    assert guest.call("pipe2", BASE + 0x700, 0) == 0
    fd = guest.proc.mem.read_u32(BASE + 0x700)
    later(0.05, guest, Signal.SIGUSR1)
    guest.engine.set("rip", 0x9002)
    guest.engine.set("rax", 0)
    guest.call("read", fd, BASE + 0x900, 16)
    context = guest.engine.get("rsp") + 8
    assert guest.proc.mem.read_word(context + 40 + 8 * sigframes_x86.RIP) == 0x9002 - back
    result = guest.signed(guest.proc.mem.read_word(context + 40 + 8 * sigframes_x86.RAX))
    assert result == (0 if back else -Errno.EINTR)


def test_an_ignored_signal_does_not_end_a_wait(guest: Guest) -> None:
    catch(guest, Signal.SIGUSR1, handler=SIG_IGN)
    guest.proc.listen()
    timer = later(0.02, guest, Signal.SIGUSR1)
    began = time.monotonic()
    assert guest.call("nanosleep", seconds(guest, 0.15), 0) == 0
    timer.join()
    assert time.monotonic() - began >= 0.15


def test_a_deadly_signal_ends_a_wait(guest: Guest) -> None:
    guest.proc.listen()
    later(0.02, guest, Signal.SIGTERM)
    guest.call("pause")
    assert guest.proc.ended == ExitStatus(0, Signal.SIGTERM)


def test_a_wait_for_signals_ends_with_the_time_limit(guest: Guest) -> None:
    guest.proc.deadline = guest.proc.system.monotonic() + 0.05
    guest.engine.script = [SyscallStop(N["pause"], (0,) * 6)]
    assert guest.proc.run().shell == 137


def test_no_handler_the_sleep_goes_on_with_restart_syscall(guest: Guest) -> None:
    """A signal that is taken without effect: the call is made again, with what is left."""
    guest.proc.listen()
    guest.engine.set("rip", 0x9002)
    until = guest.proc.system.monotonic_ns() + 10**10
    from emuvm.kernel.signal_restart import Interrupted, Restart

    guest.proc.deliver(Interrupted(Restart.REST, lambda: 77 if until else 0))
    assert guest.engine.get("rip") == 0x9000 and guest.engine.get("rax") == N["restart_syscall"]
    assert guest.call("restart_syscall") == 77
    assert guest.call("restart_syscall") == -Errno.EINTR


def test_the_loop_takes_signals_that_arrive_while_the_guest_computes(guest: Guest) -> None:
    catch(guest, Signal.SIGUSR1)
    guest.proc.listen()

    def compute() -> Stop:
        arrive(guest, Signal.SIGUSR1)
        return LimitStop()

    guest.engine.script = [compute, SyscallStop(N["exit_group"], (3, 0, 0, 0, 0, 0))]
    assert guest.proc.run() == ExitStatus(3)
    assert guest.engine.get("rip") == HANDLER


# -- timers -------------------------------------------------------------------------------------------------------------------


class Clocks:
    """Time that a test moves, and a bell that notes when it is to ring."""

    def __init__(self) -> None:
        self.now = 1_000_000_000
        self.sent: list[SignalInfo] = []
        self.rings: list[float] = []

    def set(self, at: float) -> None:
        self.rings.append(at)

    def close(self) -> None:
        self.rings.clear()


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def timers(clocks: Clocks) -> Timers:
    return Timers(clocks.sent.append, lambda _: clocks.now, lambda: clocks.now, clocks)


def test_the_real_timer_goes_on_when_its_signal_is_taken(timers: Timers, clocks: Clocks) -> None:
    timer = timers.intervals[0]
    timer.set(clocks.now + 100, 1000)
    timers.check()
    assert clocks.sent == [] and clocks.rings and timer.left() == 100
    clocks.now += 150
    timers.check()
    assert [info.signal for info in clocks.sent] == [Signal.SIGALRM] and timer.running_left() == 0
    clocks.now += 5000
    timers.check()
    assert len(clocks.sent) == 1
    timers.alarm_taken()
    assert timer.running_left() == 950


def test_the_cpu_timers_go_on_at_once(timers: Timers, clocks: Clocks) -> None:
    timers.intervals[2].set(clocks.now + 100, 1000)
    for _ in range(3):
        clocks.now += 1000
        timers.check()
    assert [info.signal for info in clocks.sent] == [Signal.SIGPROF] * 3


def test_overruns_of_posix_timers(timers: Timers, clocks: Clocks) -> None:
    fired: list[Timer] = []

    def send(timer: Timer) -> bool:
        fired.append(timer)
        return True

    timers.add(timers.next_number(), 1, 18, send)
    timer = timers.posix[0]
    timer.set(clocks.now + 100, 100)
    clocks.now += 555
    timers.check()
    assert fired == [timer] and timer.left() == 45
    assert timer.taken() == 4 and timer.left() == 45
    timer.set(0, 0)
    assert timer.left() == 0 and timer.overrun == 0


def test_a_timer_nobody_listens_to_rests_until_somebody_does(timers: Timers, clocks: Clocks) -> None:
    asked: list[bool] = []
    answers = [False, False, True]

    def send(timer: Timer) -> bool:
        asked.append(answers[len(asked)])
        return asked[-1]

    timers.add(timers.next_number(), 1, 18, send)
    timer = timers.posix[0]
    timer.set(clocks.now + 100, 100)
    clocks.now += 250
    timers.check()
    assert timer.left() == 50 and asked == [False]
    clocks.now += 100
    timers.check()
    timers.wanted(17)
    assert asked == [False], "nobody asks again, and another signal is another's"
    timers.wanted(18)
    assert asked == [False, False] and timer.unwanted
    timers.wanted(18)
    timers.wanted(18)
    assert asked == [False, False, True] and timer.taken() == 2 and not timer.unwanted


def test_a_bell_rings_at_the_time_set_last() -> None:
    rung = threading.Event()
    bell = Bell(rung.set)
    bell.set(time.monotonic() + 30)
    time.sleep(0.01)
    bell.set(time.monotonic() + 0.02)
    assert rung.wait(5)
    bell.close()


def test_alarm_through_the_calls(guest: Guest) -> None:
    assert guest.call("alarm", 100) == 0 and guest.call("alarm", 0) == 100 and guest.call("alarm", 0) == 0
    catch(guest, Signal.SIGALRM)
    guest.proc.mem.write(BASE + 0x800, bytes(24) + (20_000).to_bytes(8, "little"))
    assert guest.call("setitimer", 0, BASE + 0x800, 0) == 0
    guest.call("pause")
    assert guest.engine.get("rip") == HANDLER


# -- the host -----------------------------------------------------------------------------------------------------------------


def test_signals_of_the_host_reach_a_guest_that_cares(guest: Guest) -> None:
    host = guest.proc.host_signals = HostSignals(guest.proc)
    before = signal.getsignal(signal.SIGUSR1)
    try:
        catch(guest, Signal.SIGUSR1)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        guest.call("pause")
        assert guest.engine.get("rip") == HANDLER
        info = guest.engine.get("rsp") + 312
        assert guest.proc.mem.accessible(info, 128, READ) == 128
    finally:
        host.cancel()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_the_hosts_own_signals_are_left_alone(guest: Guest) -> None:
    host = guest.proc.host_signals = HostSignals(guest.proc)
    try:
        before = [signal.getsignal(n) for n in (signal.SIGSEGV, signal.SIGPIPE, signal.SIGBUS)]
        for number in (Signal.SIGSEGV, Signal.SIGPIPE, Signal.SIGBUS):
            catch(guest, number)
        assert [signal.getsignal(n) for n in (signal.SIGSEGV, signal.SIGPIPE, signal.SIGBUS)] == before
    finally:
        host.cancel()


def test_siginfo_round_trip() -> None:
    for arch in (X86_64, ARM64):
        data = pack_siginfo(arch, 35, -1, b"0123456789abcdef", 7)
        assert len(data) == 128 and unpack_siginfo(arch, data) == (35, -1, 7, b"0123456789abcdef" + bytes(96))
