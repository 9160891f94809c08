"""The process: identity, limits, names, threads' bookkeeping, ending, execve.

Owns: what a process is told about itself. Must not know how a program is loaded (`kernel.execve`) or files. There is one
process with one thread; making another is ENOSYS. Identity is that of emuvm's own process. Sources: kernel/sys.c, fork.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.controls import Prctl
from emuvm.abi.controls import Process as P
from emuvm.abi.errno import Errno
from emuvm.abi.flags import rlimit_for
from emuvm.abi.structs import Rusage, pack_rlimit64, pack_rusage, pack_words, unpack_rlimit64
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_NR_OPEN = 1 << 20
"""The sysctl fs.nr_open: what RLIMIT_NOFILE is cut to."""
_INFINITY = (1 << 64) - 1
_ARG_LIMIT = 6 << 20
_ARG_STRING = 32 * 4096
_ROBUST_HEAD = 24


@syscall("getpid", pure=True)
def getpid(proc: Process) -> int:
    return proc.pid


@syscall("gettid", pure=True)
def gettid(proc: Process) -> int:
    return proc.tid


@syscall("getppid", pure=True)
def getppid(proc: Process) -> int:
    return proc.ppid


@syscall("getuid", pure=True)
def getuid(proc: Process) -> int:
    return proc.system.uid


@syscall("geteuid", pure=True)
def geteuid(proc: Process) -> int:
    return proc.system.euid


@syscall("getgid", pure=True)
def getgid(proc: Process) -> int:
    return proc.system.gid


@syscall("getegid", pure=True)
def getegid(proc: Process) -> int:
    return proc.system.egid


def _three(proc: Process, values: tuple[int, int, int], addresses: tuple[int, int, int]) -> int:
    for address, value in zip(addresses, values, strict=True):
        proc.mem.write_u32(address, value)
    return 0


@syscall("getresuid", "ptr ptr ptr")
def getresuid(proc: Process, real: int, effective: int, saved: int) -> int:
    return _three(proc, (proc.system.uid, proc.system.euid, proc.system.euid), (real, effective, saved))


@syscall("getresgid", "ptr ptr ptr")
def getresgid(proc: Process, real: int, effective: int, saved: int) -> int:
    return _three(proc, (proc.system.gid, proc.system.egid, proc.system.egid), (real, effective, saved))


@syscall("getgroups", "int ptr")
def getgroups(proc: Process, size: int, to: int) -> int:
    groups = proc.system.groups
    if size < 0 or (size and size < len(groups)):
        raise GuestError(Errno.EINVAL, f"room for {size} of {len(groups)} groups")
    if size:
        order = "big" if proc.arch.big_endian else "little"
        proc.mem.write(to, b"".join(g.to_bytes(4, order) for g in groups))  # type: ignore[arg-type]
    return len(groups)


def _same(wanted: tuple[int, ...], present: tuple[int, ...]) -> int:
    """Changing identity succeeds when it changes nothing (all ones: leave alone)."""
    if any(value not in (0xFFFF_FFFF, *present) for value in wanted):
        raise GuestError(Errno.EPERM, "a program keeps the identity it was started with")
    return 0


@syscall("setuid", "uint", level="partial", note="only to what it is")
def setuid(proc: Process, uid: int) -> int:
    return _same((uid,), (proc.system.uid, proc.system.euid))


@syscall("setgid", "uint", level="partial", note="only to what it is")
def setgid(proc: Process, gid: int) -> int:
    return _same((gid,), (proc.system.gid, proc.system.egid))


@syscall("setreuid", "uint uint", level="partial", note="only to what it is")
def setreuid(proc: Process, real: int, effective: int) -> int:
    return _same((real, effective), (proc.system.uid, proc.system.euid))


@syscall("setregid", "uint uint", level="partial", note="only to what it is")
def setregid(proc: Process, real: int, effective: int) -> int:
    return _same((real, effective), (proc.system.gid, proc.system.egid))


@syscall("setresuid", "uint uint uint", level="partial", note="only to what it is")
def setresuid(proc: Process, real: int, effective: int, saved: int) -> int:
    return _same((real, effective, saved), (proc.system.uid, proc.system.euid))


@syscall("setresgid", "uint uint uint", level="partial", note="only to what it is")
def setresgid(proc: Process, real: int, effective: int, saved: int) -> int:
    return _same((real, effective, saved), (proc.system.gid, proc.system.egid))


@syscall("getpgrp")
def getpgrp(proc: Process) -> int:
    return proc.system.pgid


@syscall("getpgid", "int")
def getpgid(proc: Process, pid: int) -> int:
    try:
        return proc.system.group_of(pid)
    except OSError as error:
        raise GuestError(Errno.ESRCH, f"process {pid}") from error


@syscall("getsid", "int")
def getsid(proc: Process, pid: int) -> int:
    try:
        return proc.system.session(pid)
    except OSError as error:
        raise GuestError(Errno.ESRCH, f"process {pid}") from error


@syscall("setpgid", "int int", level="partial", note="only to what it is")
def setpgid(proc: Process, pid: int, group: int) -> int:
    if group < 0 or pid not in (0, proc.pid):
        raise GuestError(Errno.EINVAL if group < 0 else Errno.ESRCH, f"process {pid}, group {group}")
    if (group or proc.pid) != proc.system.pgid:
        raise GuestError(Errno.EPERM, "a program keeps the process group it was started in")
    return 0


@syscall("setsid", level="partial", note="EPERM: a program keeps its session")
def setsid(proc: Process) -> int:
    raise GuestError(Errno.EPERM, "a program keeps the session it was started in")


# -- threads' bookkeeping, ending ---------------------------------------------------------------------------------------


@syscall("set_tid_address", "ptr", pure=True)
def set_tid_address(proc: Process, address: int) -> int:
    proc.clear_child_tid = address
    return proc.tid


@syscall("set_robust_list", "ptr size", pure=True)
def set_robust_list(proc: Process, head: int, length: int) -> int:
    if length != (_ROBUST_HEAD if proc.arch.bits == 64 else _ROBUST_HEAD // 2):
        raise GuestError(Errno.EINVAL, f"a list head of {length} bytes")
    proc.robust_list = head
    return 0


@syscall("rseq", "ptr uint int uint", pure=True, level="partial", note="ENOSYS, which libraries take for an old kernel")
def rseq(proc: Process, area: int, length: int, flags: int, signature: int) -> int:
    raise GuestError(Errno.ENOSYS, "no restartable sequences")


@syscall("exit", "int")
@syscall("exit_group", "int")
def exit_group(proc: Process, code: int) -> int:
    proc.exit(code)
    return 0


@syscall("wait4", "int ptr int ptr", level="partial", note="ECHILD: there are no children in this version")
def wait4(proc: Process, pid: int, status: int, options: int, usage: int) -> int:
    raise GuestError(Errno.ECHILD, "no children")


@syscall("waitid", "int int ptr int ptr", level="partial", note="ECHILD: there are no children in this version")
def waitid(proc: Process, kind: int, pid: int, info: int, options: int, usage: int) -> int:
    raise GuestError(Errno.ECHILD, "no children")


@syscall("sched_yield", pure=True)
def sched_yield(proc: Process) -> int:
    return 0


@syscall("sched_getaffinity", "int uint ptr")
def sched_getaffinity(proc: Process, pid: int, length: int, to: int) -> int:
    word = proc.arch.bits // 8
    mask = sum(1 << cpu for cpu in proc.system.cpus())
    size = -(-mask.bit_length() // proc.arch.bits) * word
    if length < size or length % word:
        raise GuestError(Errno.EINVAL, f"{length} bytes")
    words = [mask >> proc.arch.bits * n & (1 << proc.arch.bits) - 1 for n in range(size // word)]
    proc.mem.write(to, pack_words(proc.arch, words))
    return size


@syscall("sched_setaffinity", "int uint ptr", level="accepted", note="there is one thread, and the host places it")
def sched_setaffinity(proc: Process, pid: int, length: int, mask: int) -> int:
    proc.mem.check(mask, min(length, 128), 1)
    return 0


@syscall("getpriority", "int int")
def getpriority(proc: Process, which: int, who: int) -> int:
    if which not in (P.PRIO_PROCESS, P.PRIO_PGRP, P.PRIO_USER):
        raise GuestError(Errno.EINVAL, f"which {which}")
    return 20 - proc.system.nice()


@syscall("setpriority", "int int int", level="partial", note="EACCES unless it changes nothing")
def setpriority(proc: Process, which: int, who: int, value: int) -> int:
    if max(-20, min(19, value)) != proc.system.nice():
        raise GuestError(Errno.EACCES, "the host's priorities are not the program's to set")
    return 0


# -- limits, usage --------------------------------------------------------------------------------------------------------


def limit(proc: Process, number: int) -> tuple[int, int]:
    """(soft, hard) of a resource limit; those of the address space are the process's own, the others start as the host's."""
    names = rlimit_for(proc.arch.name)
    if not 0 <= number < names.RLIM_NLIMITS:
        raise GuestError(Errno.EINVAL, f"limit {number}")
    own = {names.RLIMIT_AS: proc.mm.limits.address_space, names.RLIMIT_DATA: proc.mm.limits.data, names.RLIMIT_STACK: proc.mm.limits.stack}
    if number in proc.rlimits:
        return proc.rlimits[number]
    if number in own:
        return own[number], _INFINITY
    return proc.system.limit(number)


def set_limit(proc: Process, number: int, soft: int, hard: int) -> None:
    """EINVAL soft above hard; EPERM a hard limit raised."""
    names = rlimit_for(proc.arch.name)
    _, ceiling = limit(proc, number)
    if soft > hard:
        raise GuestError(Errno.EINVAL, "the soft limit is above the hard one")
    if hard > ceiling:
        raise GuestError(Errno.EPERM, "a hard limit cannot be raised")
    proc.rlimits[number] = (soft, hard)
    if number == names.RLIMIT_AS:
        proc.mm.limits.address_space = soft
    elif number == names.RLIMIT_DATA:
        proc.mm.limits.data = soft
    elif number == names.RLIMIT_STACK:
        proc.mm.limits.stack = soft
    elif number == names.RLIMIT_NOFILE and proc.files is not None:
        proc.files.limit = min(soft, _NR_OPEN)


@syscall(
    "prlimit64", "int uint ptr ptr",
    level="partial", note="of the process itself; limits other than AS, DATA, STACK, NOFILE have no effect",
)
def prlimit64(proc: Process, pid: int, number: int, new: int, old: int) -> int:
    if pid not in (0, proc.pid):
        raise GuestError(Errno.EPERM if proc.system.process_exists(pid) else Errno.ESRCH, f"process {pid}")
    wanted = unpack_rlimit64(proc.arch, proc.mem.read(new, 16)) if new else None
    before = limit(proc, number)
    if wanted is not None:
        set_limit(proc, number, *wanted)
    if old:
        proc.mem.write(old, pack_rlimit64(proc.arch, *before))
    return 0


def _clip(proc: Process, value: int) -> int:
    return min(value, (1 << proc.arch.bits) - 1)


@syscall("getrlimit", "uint ptr")
@syscall("ugetrlimit", "uint ptr")
def getrlimit(proc: Process, number: int, to: int) -> int:
    proc.mem.write(to, pack_words(proc.arch, (_clip(proc, value) for value in limit(proc, number))))
    return 0


@syscall("setrlimit", "uint ptr", level="partial", note="limits other than AS, DATA, STACK, NOFILE have no effect")
def setrlimit(proc: Process, number: int, at: int) -> int:
    soft, hard = proc.mem.read_word(at), proc.mem.read_word(at + proc.arch.bits // 8)
    top = (1 << proc.arch.bits) - 1
    set_limit(proc, number, _INFINITY if soft == top else soft, _INFINITY if hard == top else hard)
    return 0


@syscall("getrusage", "int ptr", level="partial", note="emuvm's own usage; children have used nothing")
def getrusage(proc: Process, who: int, to: int) -> int:
    if who not in (P.RUSAGE_SELF, P.RUSAGE_CHILDREN, P.RUSAGE_THREAD):
        raise GuestError(Errno.EINVAL, f"who {who}")
    usage = Rusage((0, 0), (0, 0))
    if who != P.RUSAGE_CHILDREN:
        user, system = proc.system.cpu_times()
        pairs = [(t // 1_000_000_000, t % 1_000_000_000 // 1000) for t in (user, system)]
        usage = Rusage(pairs[0], pairs[1], *proc.system.usage())
    proc.mem.write(to, pack_rusage(proc.arch, usage))
    return 0


# -- names, modes ---------------------------------------------------------------------------------------------------------


@syscall("prctl", "int ulong ulong ulong ulong", level="partial", note="names, dumpable, no_new_privs, timer slack; seccomp is EINVAL")
def prctl(proc: Process, option: int, first: int, second: int, third: int, fourth: int) -> int:
    if option == Prctl.PR_SET_NAME:
        proc.name = _name(proc, first)
    elif option == Prctl.PR_GET_NAME:
        proc.mem.write(first, proc.name.ljust(16, b"\0"))
    elif option == Prctl.PR_GET_DUMPABLE:
        return proc.dumpable
    elif option == Prctl.PR_SET_DUMPABLE:
        if first not in (0, 1):
            raise GuestError(Errno.EINVAL, f"dumpable {first}")
        proc.dumpable = first
    elif option == Prctl.PR_GET_NO_NEW_PRIVS:
        return int(proc.no_new_privs)
    elif option == Prctl.PR_SET_NO_NEW_PRIVS:
        if first != 1 or second or third or fourth:
            raise GuestError(Errno.EINVAL, "no_new_privs can only be set")
        proc.no_new_privs = True
    elif option == Prctl.PR_GET_TIMERSLACK:
        return 50_000
    elif option in (Prctl.PR_SET_TIMERSLACK, Prctl.PR_SET_PDEATHSIG):
        return 0
    else:
        raise GuestError(Errno.EINVAL, f"prctl {option}")
    return 0


def _name(proc: Process, address: int) -> bytes:
    """At most 15 bytes, ended by a NUL or not."""
    name = bytearray()
    while len(name) < 15:
        byte = proc.mem.read(address + len(name), 1)
        if byte == b"\0":
            break
        name += byte
    return bytes(name)


@syscall("arch_prctl", "int ptr")
def arch_prctl(proc: Process, code: int, address: int) -> int:
    registers = {Prctl.ARCH_SET_FS: "fs_base", Prctl.ARCH_GET_FS: "fs_base", Prctl.ARCH_SET_GS: "gs_base", Prctl.ARCH_GET_GS: "gs_base"}
    if code in (Prctl.ARCH_SET_FS, Prctl.ARCH_SET_GS):
        if address >= proc.arch.task_size:
            raise GuestError(Errno.EPERM, f"{address:#x} is not a user address")
        proc.engine.set(registers[code], address)
    elif code in (Prctl.ARCH_GET_FS, Prctl.ARCH_GET_GS):
        proc.mem.write_word(address, proc.engine.get(registers[code]))
    else:
        raise GuestError(Errno.EINVAL, f"arch_prctl {code:#x}")
    return 0


@syscall("personality", "uint")
def personality(proc: Process, persona: int) -> int:
    before = proc.personality
    if persona != 0xFFFF_FFFF:
        proc.personality = persona
    return before


@syscall(
    "execve", "path ptr ptr",
    level="partial", note="static programs of the same architecture. Nothing runs on the host",
)
def execve(proc: Process, path: bytes, argv: int, envp: int) -> int:
    from emuvm.kernel.execve import replace

    arguments = proc.mem.read_strings(argv, _ARG_LIMIT, _ARG_STRING)
    environment = proc.mem.read_strings(envp, _ARG_LIMIT, _ARG_STRING)
    replace(proc, path, arguments, environment)
    return 0
