"""A guest process: its parts, its identity, and the loop that runs it.

Owns: what belongs to one process, how it ends, how signals are sent to it. Must not know single system calls, nor how
memory, files or signals work.

    run():  engine.run() -> Stop:   SyscallStop -> dispatch     FaultStop -> fault     TrapStop -> fault
                                    LimitStop -> time limit, or a signal came meanwhile      then: signals that are due are taken
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from emuvm.abi.arch import Arch
from emuvm.abi.signals import Signal
from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import BreakStop, BudgetStop, Engine, FaultStop, LimitStop, SyscallStop, TrapStop
from emuvm.errors import EmulatorBug, EmuvmError, OutOfBudget, Pause
from emuvm.kernel import fault
from emuvm.kernel.dispatch import Dispatcher, TimeLimit
from emuvm.kernel.host_run import TimeLimiter
from emuvm.kernel.host_system import HostSystem
from emuvm.kernel.report import Reporter
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.signals import Signals
from emuvm.kernel.usermem import UserMemory
from emuvm.kernel.waiting import Wake
from emuvm.mm.linux import LinuxMm
from emuvm.mm.maps import line
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import File, Vma, VmFlag
from emuvm_loaders import printable

if TYPE_CHECKING:
    from emuvm.kernel.handled import Handled
    from emuvm.kernel.host_family import Family
    from emuvm.kernel.host_signals import HostSignals
    from emuvm.kernel.lent import Lent
    from emuvm.kernel.signal_deliver import Delivery
    from emuvm.kernel.signal_restart import Interrupted
    from emuvm.kernel.timers import Bell, Timers
    from emuvm.kernel.tracing import Tracer

_SLACK = 0.01
"""A time limit that is over but for this, in seconds, is over."""


class ExitStatus(NamedTuple):
    """How a process ended: `signal` is 0 after exit(code). `late`: its time limit ended it."""

    code: int
    signal: int = 0
    late: bool = False

    @property
    def shell(self) -> int:
        """As a shell shows it: the exit code, or 128 + signal."""
        return 128 + self.signal if self.signal else self.code


class Kept:
    """What a process has and only /proc/self shows or sets."""

    oom_score_adj = 0
    coredump_filter = 0x33
    timer_slack = 50_000
    """Nanoseconds, as prctl(PR_SET_TIMERSLACK) sets it."""
    peak_rss = 0
    """The most memory seen in use, in bytes (VmHWM)."""
    peak_known = 0
    """emuvm's own peak, in KiB, when that was last looked at; -1: look whenever much memory goes."""

    def __init__(self) -> None:
        self.map_lines: dict[int, tuple[tuple[Any, ...], bytes]] = {}
        """Lines of maps by where their regions start: what they were made of, and their text."""
        self.map_names: tuple[int, ...] = ()
        """What the names in these lines depend on: the break, the vdso, the stack."""
        self.policies: list[Any] = []
        """Memory policies that areas or the process have had (`kernel.sys.numa`)."""
        self.stand_ins: dict[bytes, Any] = {}
        """What locks on files are held on that the host does not have, by path (`kernel.standin`)."""


class Process:
    """One guest process with one thread. `files`, `fs` and `host` are the file side's; see `emuvm.kernel.files`."""

    ipc: Any = None
    """System V objects (kernel.sysv), from the first use on."""
    handled: Handled | None = None
    """From the first fault on that the program handles."""
    may_fork = False
    """It may have children, which are processes of the host."""
    family: Family | None = None
    """The processes of the run, from the first child on."""
    is_child = False
    """Another process of the run made it: emuvm's process ends with it."""
    lent: Lent | None = None
    """The loan of a parent that waits (vfork)."""
    controls: dict[str, int]
    """What prctl and membarrier remember, by name."""

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
        self.mem.missing = mm.written_beyond
        self.files: Any = files
        self.fs: Any = fs
        self.host: Any = host
        self.reporter = reporter if reporter is not None else Reporter()
        self.signals = Signals()
        self.ended: ExitStatus | None = None
        self.fault: FaultStop | TrapStop | None = None
        """The last one of the CPU."""
        self.deadline: float | None = None
        """Host monotonic time at which waiting calls stop waiting."""
        self.in_call = False
        """A system call is being worked on, and may wait: an interruption may raise TimeLimit."""
        self.system = HostSystem() if system is None else system
        """Identity and clocks."""
        self.pid = self.tid = self.system.pid
        self.name = b""
        """What prctl(PR_GET_NAME) shows: at most 15 bytes."""
        self.exe = b""
        """Guest path of the program."""
        self.kept = Kept()
        self.clear_child_tid = 0
        self.robust_list = 0
        self.umask = 0o22
        self.personality = 0
        self.no_new_privs = False
        self.dumpable = 1
        self.rlimits: dict[int, tuple[int, int]] = {}
        self.controls: dict[str, int] = {}
        self.stack_info: Any = None
        """The InitialStack: where arguments, environment and auxv lie."""
        self.plan: Any = None
        """The Plan of the image that runs."""
        self.replaced = False
        """The running call set all registers itself (execve, rt_sigreturn): its result is not stored."""
        self.restart_block: Callable[[], int] | None = None
        """What restart_syscall goes on with."""
        self.timers: Timers | None = None
        """Made with the first timer."""
        self.wake: Wake | None = None
        """There while signals can come from outside: waiting calls listen to it."""
        self.host_signals: HostSignals | None = None
        """Signals that the host sends to emuvm's own process; None: nobody passes them on."""
        self.vdso = 0
        """Where the code lies through which handlers return (arm64)."""
        self._delivery: Delivery | None = None
        self.tracer: Tracer | None = None
        self.dispatcher = Dispatcher(self)
        engine.fast_call = self.dispatcher.fast

    # -- life -------------------------------------------------------------------------------------------------------------

    def run(self) -> ExitStatus:
        """Run until the process ends. EmulatorBug when emuvm itself fails: it carries the call and the map. Pause: it stands still,
        for whoever asked for that. Does not return in a process that this one makes."""
        try:
            status = self._run()
        except BaseException as error:
            if self.is_child:
                self.reporter.line(f"internal error, process {self.pid} is stopped: {error or type(error).__name__}")
                self._leave(ExitStatus(70))
            raise
        if self.is_child:
            self._leave(status)
        return status

    def _leave(self, status: ExitStatus) -> NoReturn:
        """The end of a child is the end of emuvm's process."""
        if self.tracer is not None:
            self.tracer.exited(status)
        assert self.family is not None
        self.returned()
        self.family.end(status.code, status.signal)

    def returned(self) -> None:
        """What a parent lent it goes back: it runs another program now, or ends."""
        if self.lent is not None:
            self.lent.give_back(self)
            self.lent = None

    def _run(self) -> ExitStatus:
        engine, dispatch = self.engine, self.dispatcher.call
        while self.ended is None:
            handled = self.handled
            if handled is not None:
                handled.arm()
            try:
                stop = engine.run()
            except (EmuvmError, KeyboardInterrupt, MemoryError):
                raise
            except Exception as error:
                raise EmulatorBug(f"{self.dispatcher.describe_last()}: {error!r}\n{self.maps()}") from error
            finally:
                if handled is not None:
                    handled.collect()
            if type(stop) is SyscallStop:
                try:
                    dispatch(stop.number, stop.args)
                except TimeLimit:
                    self.time_limit()
            elif isinstance(stop, FaultStop):
                self.fault = stop
                fault.memory(self, stop)
            elif isinstance(stop, TrapStop):
                self.fault = stop
                fault.trap(self, stop)
            elif isinstance(stop, LimitStop) and not self.signals.due and self._is_over():
                self.time_limit()
            elif isinstance(stop, BudgetStop):
                self.out_of_budget()
            elif isinstance(stop, BreakStop):
                raise Pause(f"at {stop.pc:#x}")
            if self.signals.due and self.ended is None:
                self.deliver()
        return self.ended

    def out_of_budget(self) -> None:
        """The engine's budget of blocks is spent: OutOfBudget, unless it was set to look at the timers."""
        if not self.system.blocks_spent():
            raise OutOfBudget("the budget of blocks is spent")

    def _is_over(self) -> bool:
        """Did somebody stop the engine for good, and not only for a signal that another stop has brought already?"""
        return self.system.overdue or self.wake is None or (self.deadline is not None and self.system.monotonic() >= self.deadline - _SLACK)

    def exit(self, code: int) -> None:
        """End with an exit code, of which the low 8 bits count."""
        self.ended = ExitStatus(code & 0xFF)

    def time_limit(self) -> None:
        """End as SIGKILL does, and say why."""
        self.reporter.line("the time limit is over: the program is killed")
        self.ended = ExitStatus(0, Signal.SIGKILL, late=True)

    def born(self, signals: HostSignals) -> None:
        """It is a child from now on: what of emuvm's own belongs to one process is made anew."""
        self.is_child = True
        self.system.born()
        self.pid = self.tid = self.system.pid
        self.robust_list = 0
        self.restart_block = None
        self.signals.inherited()
        if self.wake is not None:
            self.wake.close()
            self.wake = Wake()
        if self.timers is not None:
            self.timers.inherited(self.bell())
        assert self.family is not None
        signals.born(self.family.mail.fileno())
        if self.deadline is not None:
            TimeLimiter(self, self.deadline - self.system.monotonic())
        if self.tracer is None or not self.tracer.born():
            self.tracer = None
            self.dispatcher.unseen()

    def bell(self) -> Bell:
        """What has the timers looked at when a time comes."""
        return self.system.bell(lambda: self.post(self._look_at_timers))

    def _look_at_timers(self) -> None:
        if self.timers is not None:
            self.timers.check()

    def close(self) -> None:
        """Give the engine and the files back."""
        if self.timers is not None:
            self.timers.close()
        if self.wake is not None:
            self.wake.close()
            self.wake = None
        if self.family is not None:
            self.family.close()
            self.family = None
        self.engine.close()
        if self.files is not None:
            self.files.close_all()
        if self.fs is not None:
            self.fs.close()

    def area_name(self, vma: Vma) -> str:
        """What /proc/self/maps calls a region: '[stack]', '[heap]', a path, or nothing."""
        if vma.flags & VmFlag.GROWSDOWN:
            return "[stack]"
        if self.vdso and vma.start == self.vdso:
            return "[vdso]"
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

    def kill(self, info: SignalInfo, *, forced: bool = False, thread: bool = False) -> None:
        """Send this process a signal. `forced` (faults): blocking or ignoring it does not help. `thread`: to the thread, not the process.

        It is taken before the program goes on.
        """
        if self.handled is not None:
            self.handled.collect()
        if forced:
            self.signals.force(info)
            return
        if self.tracer is not None and self.signals.unheeded(info.signal):
            self.tracer.signal(info)
        self.signals.send(info, thread=thread)
        if self.mem.deferred and self.signals.due:
            self.engine.stop()

    def post(self, arrival: Callable[[], None]) -> None:
        """From any thread: have `arrival` called, which may send signals, as soon as the program can be interrupted."""
        self.signals.arrivals.append(arrival)
        self.signals.due = True
        self.engine.stop()
        if self.wake is not None:
            self.wake.wake()

    def listen(self) -> None:
        """From now on signals may come from outside at any time."""
        if self.wake is None:
            self.wake = Wake()
            self.engine.expect_stops()

    @property
    def ppid(self) -> int:
        """The parent's number."""
        return self.system.parent()

    @ppid.setter
    def ppid(self, pid: int) -> None:
        self.system.adopted(pid)

    @property
    def pgid(self) -> int:
        """The process group: the host's, or what the only process set."""
        return self.controls.get("pgid", self.system.pgid)

    @property
    def sid(self) -> int:
        """The session."""
        return self.controls.get("sid") or self.system.session()

    @property
    def nice(self) -> int:
        """The nice value: what the process set, or what emuvm was started with."""
        set_value = self.controls.get("nice")
        return self.system.nice() if set_value is None else set_value

    @property
    def cpus(self) -> set[int]:
        """The CPUs that it may run on."""
        chosen = self.controls.get("affinity")
        return self.system.cpus() if chosen is None else {cpu for cpu in range(chosen.bit_length()) if chosen >> cpu & 1}

    @property
    def delivery(self) -> Delivery:
        """How signals are taken; made when the first one comes."""
        if self._delivery is None:
            from emuvm.kernel.signal_deliver import Delivery

            self._delivery = Delivery(self)
        return self._delivery

    def deliver(self, interrupted: Interrupted | None = None) -> None:
        """Take the signals that are due. `interrupted`: the call that one of them ended."""
        self.delivery.deliver(interrupted)

    def die(self, info: SignalInfo) -> None:
        """End by a signal."""
        self.ended = ExitStatus(0, info.signal)
        if not self.is_child:
            self.reporter.death(self, info)
