"""Signals of the generic Linux ABI: numbers, si_code values, default actions.

Owns facts as data (include/uapi/asm-generic/{signal,siginfo}.h, include/linux/signal.h). Must not know processes.
x86, arm, arm64, riscv, powerpc, s390 and m68k use these numbers; mips and sparc number some differently.
"""

from __future__ import annotations

from enum import Enum

from emuvm.abi.named import Named


class Signal(Named):
    """A signal as the guest sees it. Real-time signals are the plain numbers 32..64."""

    SIGHUP = 1
    SIGINT = 2
    SIGQUIT = 3
    SIGILL = 4
    SIGTRAP = 5
    SIGABRT = 6
    SIGBUS = 7
    SIGFPE = 8
    SIGKILL = 9
    SIGUSR1 = 10
    SIGSEGV = 11
    SIGUSR2 = 12
    SIGPIPE = 13
    SIGALRM = 14
    SIGTERM = 15
    SIGSTKFLT = 16
    SIGCHLD = 17
    SIGCONT = 18
    SIGSTOP = 19
    SIGTSTP = 20
    SIGTTIN = 21
    SIGTTOU = 22
    SIGURG = 23
    SIGXCPU = 24
    SIGXFSZ = 25
    SIGVTALRM = 26
    SIGPROF = 27
    SIGWINCH = 28
    SIGIO = 29
    SIGPWR = 30
    SIGSYS = 31


NSIG = 64
"""The highest signal number (mips: 128)."""
SIGRTMIN = 32

SIG_DFL = 0
SIG_IGN = 1
SIG_ERR = -1

SIG_BLOCK = 0
SIG_UNBLOCK = 1
SIG_SETMASK = 2

SA_NOCLDSTOP = 0x1
SA_NOCLDWAIT = 0x2
SA_SIGINFO = 0x4
SA_UNSUPPORTED = 0x400
SA_EXPOSE_TAGBITS = 0x800
SA_RESTORER = 0x0400_0000
"""Only on x86, arm, arm64, powerpc, s390 and sparc: the sigaction then carries sa_restorer."""
SA_ONSTACK = 0x0800_0000
SA_RESTART = 0x1000_0000
SA_NODEFER = 0x4000_0000
SA_RESETHAND = 0x8000_0000
SA_KNOWN = (
    SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_EXPOSE_TAGBITS | SA_RESTORER | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND
)
"""UAPI_SA_FLAGS: the kernel forgets the others."""

SS_ONSTACK = 1
SS_DISABLE = 2
SS_AUTODISARM = 1 << 31
MINSIGSTKSZ = {"arm64": 5120, "powerpc": 4096, "sparc": 4096}
"""The smallest alternate stack by family; 2048 elsewhere."""

SIGEV_SIGNAL = 0
SIGEV_NONE = 1
SIGEV_THREAD = 2
SIGEV_THREAD_ID = 4

SYNCHRONOUS = sum(1 << n - 1 for n in (4, 5, 7, 8, 11, 31))
"""Mask of the signals that the running instruction causes: they are taken first."""
UNBLOCKABLE = 1 << 9 - 1 | 1 << 19 - 1
STOPPING = sum(1 << n - 1 for n in (19, 20, 21, 22))


class Action(Enum):
    """What happens to a process that neither catches nor ignores a signal."""

    TERMINATE = "terminate"
    CORE = "core"
    IGNORE = "ignore"
    STOP = "stop"
    CONTINUE = "continue"


_CORE = {3, 4, 5, 6, 7, 8, 11, 24, 25, 31}
_IGNORE = {17, 23, 28}
_STOP = {19, 20, 21, 22}


def default_action(signal: int) -> Action:
    """The default action (include/linux/signal.h: sig_kernel_*); any signal number 1..NSIG."""
    if signal in _CORE:
        return Action.CORE
    if signal in _IGNORE:
        return Action.IGNORE
    if signal in _STOP:
        return Action.STOP
    return Action.CONTINUE if signal == Signal.SIGCONT else Action.TERMINATE


def name(signal: int) -> str:
    """'SIGSEGV'; 'SIGRT_3' for real-time signals."""
    if SIGRTMIN <= signal <= NSIG:
        return f"SIGRT_{signal - SIGRTMIN}"
    return Signal(signal).name


DESCRIPTIONS: dict[int, str] = {
    1: "Hangup", 2: "Interrupt", 3: "Quit", 4: "Illegal instruction", 5: "Trace/breakpoint trap", 6: "Aborted", 7: "Bus error",
    8: "Floating point exception", 9: "Killed", 10: "User defined signal 1", 11: "Segmentation fault",
    12: "User defined signal 2", 13: "Broken pipe", 14: "Alarm clock", 15: "Terminated", 16: "Stack fault", 17: "Child exited",
    18: "Continued", 19: "Stopped (signal)", 20: "Stopped", 21: "Stopped (tty input)", 22: "Stopped (tty output)",
    23: "Urgent I/O condition", 24: "CPU time limit exceeded", 25: "File size limit exceeded", 26: "Virtual timer expired",
    27: "Profiling timer expired", 28: "Window changed", 29: "I/O possible", 30: "Power failure", 31: "Bad system call",
}  # fmt: skip


class Code:
    """si_code values."""

    SI_USER = 0
    SI_KERNEL = 0x80
    SI_QUEUE = -1
    SI_TIMER = -2
    SI_MESGQ = -3
    SI_ASYNCIO = -4
    SI_SIGIO = -5
    SI_TKILL = -6

    ILL_ILLOPC = 1
    ILL_ILLOPN = 2
    ILL_ILLADR = 3
    ILL_ILLTRP = 4
    ILL_PRVOPC = 5
    ILL_PRVREG = 6
    ILL_COPROC = 7
    ILL_BADSTK = 8

    FPE_INTDIV = 1
    FPE_INTOVF = 2
    FPE_FLTDIV = 3
    FPE_FLTOVF = 4
    FPE_FLTUND = 5
    FPE_FLTRES = 6
    FPE_FLTINV = 7
    FPE_FLTSUB = 8

    SEGV_MAPERR = 1
    SEGV_ACCERR = 2
    SEGV_BNDERR = 3
    SEGV_PKUERR = 4

    BUS_ADRALN = 1
    BUS_ADRERR = 2
    BUS_OBJERR = 3
    BUS_MCEERR_AR = 4
    BUS_MCEERR_AO = 5

    TRAP_BRKPT = 1
    TRAP_TRACE = 2
    TRAP_BRANCH = 3
    TRAP_HWBKPT = 4

    CLD_EXITED = 1
    CLD_KILLED = 2
    CLD_DUMPED = 3
    CLD_TRAPPED = 4
    CLD_STOPPED = 5
    CLD_CONTINUED = 6

    POLL_IN = 1
    POLL_OUT = 2
    POLL_MSG = 3
    POLL_ERR = 4
    POLL_PRI = 5
    POLL_HUP = 6


_CODE_PREFIX = {4: "ILL_", 5: "TRAP_", 7: "BUS_", 8: "FPE_", 11: "SEGV_", 17: "CLD_", 29: "POLL_"}


def code_name(signal: int, code: int) -> str:
    """'SEGV_MAPERR' for (11, 1); the SI_ names for codes that any signal may carry; the number itself when it has no name."""
    prefix = _CODE_PREFIX.get(signal) if 0 < code < Code.SI_KERNEL else "SI_"
    for key, value in vars(Code).items():
        if prefix and key.startswith(prefix) and value == code:
            return key
    return str(code)
