"""The process: identity, limits, names, threads' bookkeeping, ending, execve.

Owns: what a process is told about itself. Must not know how a program is loaded (`kernel.execve`), files, or how processes are made.
Identity is that of emuvm's own process. Sources: kernel/sys.c, fork.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.controls import Prctl
from emuvm.abi.controls import Process as P
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Rlimit, rlimit_for
from emuvm.abi.structs import Rusage, pack_rlimit64, pack_rusage, pack_words, unpack_rlimit64, unpack_words
from emuvm.errors import GuestError
from emuvm.kernel import rseq as restartable
from emuvm.kernel.registry import syscall

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_NR_OPEN = 1 << 20
"""The sysctl fs.nr_open: what RLIMIT_NOFILE is cut to."""
_INFINITY = (1 << 64) - 1
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
    return _three(proc, proc.system.credentials.uids[:3], (real, effective, saved))


@syscall("getresgid", "ptr ptr ptr")
def getresgid(proc: Process, real: int, effective: int, saved: int) -> int:
    return _three(proc, proc.system.credentials.gids[:3], (real, effective, saved))


@syscall("getgroups", "int ptr")
def getgroups(proc: Process, size: int, to: int) -> int:
    groups = proc.system.groups
    if size < 0 or (size and size < len(groups)):
        raise GuestError(Errno.EINVAL, f"room for {size} of {len(groups)} groups")
    if size:
        order = "big" if proc.arch.big_endian else "little"
        proc.mem.write(to, b"".join(g.to_bytes(4, order) for g in groups))  # type: ignore[arg-type]
    return len(groups)


@syscall("getpgrp")
def getpgrp(proc: Process) -> int:
    return proc.pgid


@syscall("getpgid", "int")
def getpgid(proc: Process, pid: int) -> int:
    if pid in (0, proc.pid, proc.tid):
        return proc.pgid
    try:
        return proc.system.group_of(pid)
    except OSError as error:
        raise GuestError(Errno.ESRCH, f"process {pid}") from error


@syscall("getsid", "int")
def getsid(proc: Process, pid: int) -> int:
    if pid in (0, proc.pid, proc.tid):
        return proc.sid
    try:
        return proc.system.session(pid)
    except OSError as error:
        raise GuestError(Errno.ESRCH, f"process {pid}") from error


_TOLD = "where there can be only one process it is remembered, and told again"


@syscall("setpgid", "int int", level="partial", note="of the program's own processes; " + _TOLD)
def setpgid(proc: Process, pid: int, group: int) -> int:
    if proc.may_fork:
        if (group or pid) < 0:
            raise GuestError(Errno.EINVAL, f"group {group or pid}")
        if pid not in (0, proc.pid) and (proc.family is None or proc.family.find(pid) is None):
            raise GuestError(Errno.ESRCH, f"process {pid}")
        proc.system.set_group(pid, group)
        return 0
    group = group or pid or proc.pid
    if group < 0 or pid not in (0, proc.pid):
        raise GuestError(Errno.EINVAL if group < 0 else Errno.ESRCH, f"process {pid}, group {group}")
    if proc.sid == proc.pid or group not in (proc.pid, proc.pgid, proc.system.pgid):
        raise GuestError(Errno.EPERM, f"group {group}")
    proc.controls["pgid"] = group
    return 0


@syscall("setsid", level="partial", note=_TOLD)
def setsid(proc: Process) -> int:
    if proc.may_fork:
        return proc.system.new_session()
    if proc.pid in (proc.sid, proc.pgid):
        raise GuestError(Errno.EPERM, "it leads a group already")
    proc.controls["pgid"] = proc.controls["sid"] = proc.pid
    return proc.pid


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


@syscall("rseq", "ptr uint int uint")
def rseq(proc: Process, area: int, length: int, flags: int, signature: int) -> int:
    restartable.register(proc, area, length, flags & 0xFFFF_FFFF, signature)
    return 0


@syscall("exit", "int")
@syscall("exit_group", "int")
def exit_group(proc: Process, code: int) -> int:
    proc.exit(code)
    return 0


_ALONE = P.CLONE_FS | P.CLONE_FILES | P.CLONE_SYSVSEM | P.CLONE_THREAD | P.CLONE_SIGHAND | P.CLONE_VM


@syscall("unshare", "ulong", level="partial", note="of what nobody else has; EPERM for namespaces")
def unshare(proc: Process, flags: int) -> int:
    if flags & ~(_ALONE | P.NAMESPACES):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    if flags & P.NAMESPACES:
        raise GuestError(Errno.EPERM, "a program keeps its namespaces")
    return 0


@syscall("sched_yield", pure=True)
def sched_yield(proc: Process) -> int:
    return 0


# -- limits, usage --------------------------------------------------------------------------------------------------------


def limit(proc: Process, number: int) -> tuple[int, int]:
    """(soft, hard) of a resource limit: what the process set, or what it started with."""
    names = rlimit_for(proc.arch.name)
    if not 0 <= number < names.RLIM_NLIMITS:
        raise GuestError(Errno.EINVAL, f"limit {number}")
    known = proc.rlimits.get(number)
    if known is not None:
        return known
    if number == names.RLIMIT_DATA:  # --mem is part of it
        return proc.mm.limits.data, proc.mm.limits.data_hard
    generic = next(n for name, n in vars(Rlimit).items() if name.startswith("RLIMIT_") and getattr(names, name) == number)
    return proc.system.limit(generic)


def set_limit(proc: Process, number: int, soft: int, hard: int) -> None:
    """kernel/sys.c:do_prlimit. EINVAL number, soft above hard; EPERM a hard limit raised without CAP_SYS_RESOURCE."""
    names = rlimit_for(proc.arch.name)
    _, ceiling = limit(proc, number)
    if soft > hard:
        raise GuestError(Errno.EINVAL, "the soft limit is above the hard one")
    if number == names.RLIMIT_NOFILE and hard > _NR_OPEN:
        raise GuestError(Errno.EPERM, "more than fs.nr_open")
    if hard > ceiling and not proc.system.credentials.capable(Cap.CAP_SYS_RESOURCE):
        raise GuestError(Errno.EPERM, "a hard limit cannot be raised")
    proc.rlimits[number] = (soft, hard)
    limits = proc.mm.limits
    if number == names.RLIMIT_AS:
        limits.address_space = soft
    elif number == names.RLIMIT_DATA:
        limits.data, limits.data_hard = soft, hard
    elif number == names.RLIMIT_STACK:
        limits.stack = soft
    elif number == names.RLIMIT_MEMLOCK:
        limits.memlock = soft
    elif number == names.RLIMIT_NOFILE and proc.files is not None:
        proc.files.limit = soft
    elif number == names.RLIMIT_CPU:
        from emuvm.kernel.sys.time import limit_cpu

        limit_cpu(proc, soft)
    elif number == names.RLIMIT_FSIZE and proc.files is not None:
        proc.files.size_limit = None if soft == _INFINITY else soft


_LIMITS_NOTE = "of the process itself; AS, DATA, STACK, MEMLOCK, NOFILE, FSIZE, SIGPENDING and CPU have an effect, others are remembered"


@syscall("prlimit64", "int uint ptr ptr", level="partial", note=_LIMITS_NOTE)
def prlimit64(proc: Process, pid: int, number: int, new: int, old: int) -> int:
    wanted = unpack_rlimit64(proc.arch, proc.mem.read(new, 16)) if new else None
    if pid not in (0, proc.pid):
        raise GuestError(Errno.EPERM if pid > 0 and proc.system.process_exists(pid) else Errno.ESRCH, f"process {pid}")
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


@syscall("setrlimit", "uint ptr", level="partial", note=_LIMITS_NOTE)
def setrlimit(proc: Process, number: int, at: int) -> int:
    soft, hard = unpack_words(proc.arch, proc.mem.read(at, proc.arch.bits // 4))
    top = (1 << proc.arch.bits) - 1
    set_limit(proc, number, _INFINITY if soft == top else soft, _INFINITY if hard == top else hard)
    return 0


@syscall("getrusage", "int ptr", level="partial", note="emuvm's own usage")
def getrusage(proc: Process, who: int, to: int) -> int:
    if who not in (P.RUSAGE_SELF, P.RUSAGE_CHILDREN, P.RUSAGE_THREAD):
        raise GuestError(Errno.EINVAL, f"who {who}")
    usage = Rusage((0, 0), (0, 0))
    if who != P.RUSAGE_CHILDREN:
        user, system = proc.system.cpu_times()
        pairs = [(t // 1_000_000_000, t % 1_000_000_000 // 1000) for t in (user, system)]
        usage = Rusage(pairs[0], pairs[1], *proc.system.usage())
    elif proc.family is not None:
        usage = proc.family.children_usage()
    proc.mem.write(to, pack_rusage(proc.arch, usage))
    return 0


# -- modes ----------------------------------------------------------------------------------------------------------------


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
