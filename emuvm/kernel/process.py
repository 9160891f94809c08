"""A guest process: its parts, its identity, and the loop that runs it.

Owns: what belongs to one process, how it ends, signals with default actions. Must not know single system calls, nor how
memory or files work. Guest handlers are not run in this version: a signal that has one ends the process, and the report
says so.

    run():  engine.run() -> Stop:   SyscallStop -> dispatch     FaultStop -> fault     TrapStop -> fault     LimitStop -> time limit
"""

from __future__ import annotations

from typing import Any

from emuvm.abi.arch import Arch
from emuvm.abi.sigframes import Sigaction, StackT
from emuvm.abi.signals import SIG_DFL, SIG_IGN, SS_DISABLE, Action, Signal, default_action
from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import Engine, FaultStop, LimitStop, SyscallStop, TrapStop
from emuvm.errors import EmulatorBug, EmuvmError
from emuvm.kernel import fault
from emuvm.kernel.dispatch import Dispatcher, TimeLimit
from emuvm.kernel.host_system import HostSystem
from emuvm.kernel.report import Reporter
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.usermem import UserMemory
from emuvm.mm.linux import LinuxMm
from emuvm.mm.maps import line
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import File, Vma, VmFlag
from emuvm_loaders import printable


class ExitStatus(NamedTuple):
    """How a process ended: `signal` is 0 after exit(code)."""

    code: int
    signal: int = 0

    @property
    def shell(self) -> int:
        """As a shell shows it: the exit code, or 128 + signal."""
        return 128 + self.signal if self.signal else self.code


class Signals:
    """Signal state: actions, mask, pending set, alternate stack. Masks have bit n-1 for signal n."""

    def __init__(self) -> None:
        self.actions: dict[int, Sigaction] = {}
        """Signals without an entry have the default action."""
        self.mask = 0
        self.pending = 0
        self.altstack = StackT(0, SS_DISABLE, 0)

    def handler(self, signal: int) -> int:
        """SIG_DFL, SIG_IGN or the guest address of a handler."""
        action = self.actions.get(signal)
        return action.handler if action is not None else SIG_DFL

    def reset_for_exec(self) -> None:
        """Handlers are gone after execve, ignored signals stay ignored, mask and pending signals too (fs/exec.c)."""
        self.actions = {n: a for n, a in self.actions.items() if a.handler == SIG_IGN}
        self.altstack = StackT(0, SS_DISABLE, 0)


class Process:
    """One guest process with one thread. `files`, `fs` and `host` are the file side's; see `emuvm.kernel.files`."""

    def __init__(
        self,
        arch: Arch,
        space: AddressSpace,
        mm: LinuxMm,
        engine: Engine,
        *,
        files: Any = None,
        fs: Any = None,
        host: Any = None,
        system: HostSystem | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self.arch = arch
        self.space = space
        self.mm = mm
        self.engine = engine
        mm.attach_pages(engine.memory)
        self.mem = UserMemory(space, engine.memory, arch, mm.grow_stack)
        self.files: Any = files
        self.fs: Any = fs
        self.host: Any = host
        self.reporter = reporter if reporter is not None else Reporter()
        self.signals = Signals()
        self.ended: ExitStatus | None = None
        self.deadline: float | None = None
        """Host monotonic time at which waiting calls stop waiting."""
        self.in_call = False
        """A system call is being worked on, and may wait: an interruption may raise TimeLimit."""
        self.system = HostSystem() if system is None else system
        """Identity and clocks."""
        self.pid = self.tid = self.system.pid
        self.ppid = self.system.ppid
        self.name = b""
        """What prctl(PR_GET_NAME) shows: at most 15 bytes."""
        self.exe = b""
        """Guest path of the program."""
        self.clear_child_tid = 0
        self.robust_list = 0
        self.umask = 0o22
        self.personality = 0
        self.no_new_privs = False
        self.dumpable = 1
        self.rlimits: dict[int, tuple[int, int]] = {}
        self.ipc: Any = None
        """System V objects (kernel.sysv), from the first use on."""
        self.controls: dict[str, int] = {}
        """What prctl and membarrier remember, by name."""
        self.stack_info: Any = None
        """The InitialStack: where arguments, environment and auxv lie."""
        self.plan: Any = None
        """The Plan of the image that runs."""
        self.replaced = False
        """The running call was an execve that succeeded: its result is not stored."""
        self.dispatcher = Dispatcher(self)
        engine.fast_call = self.dispatcher.fast

    # -- life -------------------------------------------------------------------------------------------------------------

    def run(self) -> ExitStatus:
        """Run until the process ends. EmulatorBug when emuvm itself fails: it carries the call and the map."""
        engine, dispatch = self.engine, self.dispatcher.call
        while self.ended is None:
            try:
                stop = engine.run()
            except (EmuvmError, KeyboardInterrupt, MemoryError):
                raise
            except Exception as error:
                raise EmulatorBug(f"{self.dispatcher.describe_last()}: {error!r}\n{self.maps()}") from error
            if type(stop) is SyscallStop:
                try:
                    dispatch(stop.number, stop.args)
                except TimeLimit:
                    self.time_limit()
            elif isinstance(stop, FaultStop):
                fault.memory(self, stop)
            elif isinstance(stop, TrapStop):
                fault.trap(self, stop)
            elif isinstance(stop, LimitStop):
                self.time_limit()
        return self.ended

    def exit(self, code: int) -> None:
        """End with an exit code, of which the low 8 bits count."""
        self.ended = ExitStatus(code & 0xFF)

    def time_limit(self) -> None:
        """End as SIGKILL does, and say why."""
        self.reporter.line("the time limit is over: the program is killed")
        self.ended = ExitStatus(0, Signal.SIGKILL)

    def close(self) -> None:
        """Give the engine and the files back."""
        self.engine.close()
        if self.files is not None:
            self.files.close_all()
        if self.fs is not None:
            self.fs.close()

    def area_name(self, vma: Vma) -> str:
        """What /proc/self/maps calls a region: '[stack]', '[heap]', a path, or nothing."""
        if vma.flags & VmFlag.GROWSDOWN:
            return "[stack]"
        if isinstance(vma.backing, File):
            file = vma.backing.file
            name = getattr(file, "name", None) or getattr(file, "path", "")
            return printable(name if isinstance(name, (str, bytes)) else "")
        if vma.start < self.mm.brk_now and vma.end > self.mm.start_brk:
            return "[heap]"
        return ""

    def maps(self) -> str:
        """The map as in /proc/self/maps, without device and inode numbers."""
        return "".join(line(vma, name=self.area_name(vma)) + "\n" for vma in self.space)

    # -- signals ------------------------------------------------------------------------------------------------------------

    def kill(self, info: SignalInfo, *, forced: bool = False) -> None:
        """Send this process a signal. `forced` (faults): blocking or ignoring it does not help (kernel/signal.c:force_sig)."""
        signal, bit = info.signal, 1 << (info.signal - 1)
        always = signal in (Signal.SIGKILL, Signal.SIGSTOP)
        handler = self.signals.handler(signal)
        if not forced and not always:
            if handler == SIG_IGN or (handler == SIG_DFL and default_action(signal) in (Action.IGNORE, Action.CONTINUE)):
                return
            if self.signals.mask & bit:
                self.signals.pending |= bit
                return
        if default_action(signal) is Action.STOP and (always or handler == SIG_DFL):
            self.reporter.once(f"stop{signal}", f"{Signal(signal).name} does not stop the program: emuvm has no job control")
            return
        self.ended = ExitStatus(0, signal)
        undelivered = not always and handler not in (SIG_DFL, SIG_IGN)
        self.reporter.death(self, info, undelivered)

    def deliver_pending(self) -> None:
        """Send the pending signals that are no longer blocked."""
        ready = self.signals.pending & ~self.signals.mask
        while ready and self.ended is None:
            signal = (ready & -ready).bit_length()
            self.signals.pending &= ~(1 << (signal - 1))
            ready &= ready - 1
            self.kill(SignalInfo(signal, 0))
