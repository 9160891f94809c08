"""The texts of /proc/PID that do not tell of memory: status, stat, limits, descriptors, arguments.

Owns: their formats. Must not know how files are read. Identity and usage are those of emuvm's own process, as everywhere.
Sources: fs/proc/{array,base,fd}.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open, convert_open, open_for
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import GuestError
from emuvm.kernel import host_proc
from emuvm.kernel.procfs_files import number
from emuvm.kernel.procfs_pages import never_huge, usage
from emuvm.mm.types import VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_PAGE = 4096
_INFINITY = (1 << 63) - 1
_TICK = 10_000_000
_RANDOMIZE = 0x40_0000
"""PF_RANDOMIZE: emuvm places everything without chance."""
_NO_GROUP = 0xFFFF_FFFF
_COMM = 15
_SLACK = 50_000
_FILTER = 0x1FF
"""The bits of coredump_filter that mean something."""


# -- what lies in the program's memory ------------------------------------------------------------------------------------


class Bounds(NamedTuple):
    """Where the parts of the program lie; all 0 before there is one."""

    start_code: int = 0
    end_code: int = 0
    start_data: int = 0
    end_data: int = 0
    start_stack: int = 0
    arg_start: int = 0
    arg_end: int = 0
    env_start: int = 0
    env_end: int = 0


def bounds(proc: Process) -> Bounds:
    plan, stack = proc.plan, proc.stack_info
    if plan is None or stack is None:
        return Bounds()
    return Bounds(
        plan.start_code, plan.end_code, plan.start_data, plan.end_data, stack.start,
        stack.arg_start, stack.arg_end, stack.env_start, stack.env_end,
    )  # fmt: skip


def _memory(proc: Process, start: int, end: int) -> bytes:
    """Guest memory as far as the program lets it be read."""
    if end <= start:
        return b""
    try:
        found: bytes = proc.mem.read_some(start, end - start)
    except GuestError:
        return b""
    return found


def cmdline(proc: Process) -> bytes:
    """The arguments, or what the program has written over them (fs/proc/base.c:get_mm_cmdline)."""
    stack = bounds(proc)
    if _memory(proc, stack.arg_end - 1, stack.arg_end) not in (b"", b"\0"):
        title = _memory(proc, stack.arg_start, min(stack.arg_start + _PAGE, stack.env_end))
        return title[: title.find(b"\0") + 1] or title
    return _memory(proc, stack.arg_start, stack.arg_end)


def environ(proc: Process) -> bytes:
    stack = bounds(proc)
    return _memory(proc, stack.env_start, stack.env_end)


def auxv(proc: Process) -> bytes:
    vector: bytes = proc.stack_info.auxv if proc.stack_info is not None else b""
    return vector


# -- names ----------------------------------------------------------------------------------------------------------------


def comm(proc: Process) -> bytes:
    return proc.name + b"\n"


def set_comm(proc: Process, data: bytes) -> None:
    """At most 15 bytes of the name count, up to a NUL."""
    proc.name = data[:_COMM].partition(b"\0")[0]


def _escaped(name: bytes) -> str:
    return name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").decode("utf-8", "surrogateescape")


# -- stat, status ---------------------------------------------------------------------------------------------------------


def _masks(proc: Process) -> tuple[int, int, int]:
    """(blocked, ignored, caught) signals, bit n-1 for signal n."""
    if proc.handled is not None:
        proc.handled.collect()
    signals = proc.signals
    ignored = sum(1 << n - 1 for n, action in signals.actions.items() if action.handler == 1)
    caught = sum(1 << n - 1 for n, action in signals.actions.items() if action.handler > 1)
    return signals.mask, ignored, caught


def stat(proc: Process) -> bytes:
    now, at, system = usage(proc), bounds(proc), proc.system
    user, kernel = (value // _TICK for value in system.cpu_times())
    host = host_proc.fields()
    terminal, foreground, flags, started, cpu = (
        int(host[n - 3]) if len(host) > n - 3 else absent for n, absent in ((7, 0), (8, -1), (9, 0), (22, 0), (39, 0))
    )
    if proc.sid != system.session():
        terminal, foreground = 0, -1  # a new session has none
    minor, major = system.usage()[4:6]
    pending, blocked, ignored, caught = (mask & 0x7FFF_FFFF for mask in (proc.signals.thread.bits, *_masks(proc)))
    nice, policy, realtime = proc.nice, proc.controls.get("sched_policy", 0), proc.controls.get("sched_priority", 0)
    values = [
        "R", proc.ppid, proc.pgid, proc.sid, terminal, foreground, flags & ~_RANDOMIZE, minor, 0, major, 0, user, kernel, 0, 0,
        -1 - realtime if realtime else 20 + nice, nice, 1, 0, started, now.total, now.rss // proc.space.page_size, limit(proc, 5)[0],
        at.start_code, at.end_code, at.start_stack, 0, 0, pending, blocked, ignored, caught, 0, 0, 0, 17, cpu, realtime, policy, 0, 0, 0,
        at.start_data, at.end_data, proc.mm.start_brk, at.arg_start, at.arg_end, at.env_start, at.env_end, 0,
    ]  # fmt: skip
    return b"%d (%s) %s\n" % (proc.pid, proc.name, " ".join(map(str, values)).encode())


def _mask_rows(mask: int, bits: int) -> str:
    """A bit map as the kernel prints it: groups of eight hexadecimal digits, the first one as short as it goes."""
    digits = f"{mask:0{-(-bits // 4)}x}"
    head = len(digits) % 8
    return ",".join(([digits[:head]] if head else []) + [digits[i : i + 8] for i in range(head, len(digits), 8)])


def _ranges(numbers: list[int]) -> str:
    """'0-3,8': a list of numbers as the kernel prints it."""
    found: list[list[int]] = []
    for value in sorted(numbers):
        if found and found[-1][1] == value - 1:
            found[-1][1] = value
        else:
            found.append([value, value])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in found)


def _memory_rows(proc: Process) -> list[tuple[str, object]]:
    now = usage(proc)
    text = min(now.text, now.exec)
    sizes = (
        ("VmPeak", now.peak), ("VmSize", now.total), ("VmLck", now.locked), ("VmPin", 0), ("VmHWM", now.peak_rss), ("VmRSS", now.rss),
        ("RssAnon", now.anon), ("RssFile", now.file), ("RssShmem", now.shmem), ("VmData", now.data), ("VmStk", now.stack),
        ("VmExe", text), ("VmLib", now.exec - text), ("VmPTE", now.tables), ("VmSwap", 0), ("HugetlbPages", 0),
    )  # fmt: skip
    rows: list[tuple[str, object]] = [(name, f"{size >> 10:>8} kB") for name, size in sizes]
    tags = 0xFF_FFFF_FFFF_FFFF if proc.arch.name == "arm64" else 0xFFFF_FFFF_FFFF_FFFF
    return [*rows, ("CoreDumping", 0), ("THP_enabled", int(not never_huge(proc))), ("untag_mask", f"{tags:#x}")]


_SPECULATION = {
    "Speculation_Store_Bypass": {9: "thread force mitigated", 5: "thread mitigated", 3: "thread vulnerable"},
    "SpeculationIndirectBranch": {9: "conditional force disabled", 5: "conditional disabled", 3: "conditional enabled"},
}
"""What prctl(PR_SET_SPECULATION_CTRL) may set, in words; the features in the order of their numbers."""


_OF_THE_HOST = (*_SPECULATION, "Cpus_allowed", "Mems_allowed", "Mems_allowed_list")
"""Rows of status that are the host's."""


def _speculation(proc: Process, feature: int, on_the_host: str) -> str:
    words = list(_SPECULATION.values())[feature]
    return words.get(proc.controls.get(f"speculation{feature}", 0), on_the_host)


def status(proc: Process) -> bytes:
    system, host, creds = proc.system, host_proc.some("/proc/self/status", _OF_THE_HOST), proc.system.credentials
    blocked, ignored, caught = _masks(proc)
    pending = proc.signals.thread, proc.signals.process
    groups, pid = " ".join(map(str, creds.groups)) + " ", proc.pid
    capabilities = (creds.inheritable, creds.permitted, creds.effective, creds.bounding, creds.ambient)
    cpus = sorted(proc.cpus)
    usage_now = system.usage()
    rows: list[tuple[str, object]] = [
        ("Name", _escaped(proc.name)), ("Umask", f"{proc.umask:04o}"), ("State", "R (running)"), ("Tgid", pid),
        ("Ngid", 0), ("Pid", proc.tid), ("PPid", proc.ppid), ("TracerPid", 0),
        ("Uid", "\t".join(map(str, creds.uids))), ("Gid", "\t".join(map(str, creds.gids))),
        ("FDSize", proc.files.capacity), ("Groups", groups), ("NStgid", pid), ("NSpid", proc.tid), ("NSpgid", proc.pgid),
        ("NSsid", proc.sid), ("Kthread", 0), *_memory_rows(proc), ("Threads", 1),
        ("SigQ", f"{sum(queue.count() for queue in pending)}/{limit(proc, 11)[0]}"), ("SigPnd", f"{pending[0].bits:016x}"),
        ("ShdPnd", f"{pending[1].bits:016x}"), ("SigBlk", f"{blocked:016x}"),
        ("SigIgn", f"{ignored:016x}"), ("SigCgt", f"{caught:016x}"),
        *[(name, f"{mask:016x}") for name, mask in zip(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), capabilities, strict=True)],
        ("NoNewPrivs", int(proc.no_new_privs)), ("Seccomp", 0), ("Seccomp_filters", 0),
        *[(name, _speculation(proc, index, host[name])) for index, name in enumerate(_SPECULATION) if name in host],
        ("Cpus_allowed", _mask_rows(sum(1 << cpu for cpu in cpus), 4 * len(host.get("Cpus_allowed", "0").replace(",", "")))),
        ("Cpus_allowed_list", _ranges(cpus)),
        *[(name, host[name]) for name in ("Mems_allowed", "Mems_allowed_list") if name in host],
        ("voluntary_ctxt_switches", usage_now[12]), ("nonvoluntary_ctxt_switches", usage_now[13]),
    ]  # fmt: skip
    return "".join(f"{key}:\t{value}\n" for key, value in rows).encode("utf-8", "surrogateescape")


# -- limits ---------------------------------------------------------------------------------------------------------------

_LIMITS = (
    ("Max cpu time", 0, "seconds"), ("Max file size", 1, "bytes"), ("Max data size", 2, "bytes"), ("Max stack size", 3, "bytes"),
    ("Max core file size", 4, "bytes"), ("Max resident set", 5, "bytes"), ("Max processes", 6, "processes"), ("Max open files", 7, "files"),
    ("Max locked memory", 8, "bytes"), ("Max address space", 9, "bytes"), ("Max file locks", 10, "locks"),
    ("Max pending signals", 11, "signals"), ("Max msgqueue size", 12, "bytes"), ("Max nice priority", 13, ""),
    ("Max realtime priority", 14, ""), ("Max realtime timeout", 15, "us"),
)  # fmt: skip
_DATA = 2


def limit(proc: Process, which: int) -> tuple[int, int]:
    """(soft, hard) of a resource limit by its generic number."""
    if which in proc.rlimits:
        return proc.rlimits[which]
    if which == _DATA:
        return proc.mm.limits.data, proc.mm.limits.data_hard
    return proc.system.limit(which)


def limits(proc: Process) -> bytes:
    rows = [f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10}\n"]
    for title, which, unit in _LIMITS:
        soft, hard = ("unlimited" if value >= _INFINITY else str(value) for value in limit(proc, which))
        rows.append(f"{title:<25} {soft:<20} {hard:<20} {unit:<10}\n" if unit else f"{title:<25} {soft:<20} {hard:<20} \n")
    return "".join(rows).encode()


# -- descriptors ----------------------------------------------------------------------------------------------------------


_COMMON = 4
"""Lines of fdinfo that all files have."""


def descriptor_info(proc: Process, fd: int, file: OpenFile) -> bytes:
    """fdinfo/N. What kinds of files add to it is the host's."""
    flags = file.status() | (Open.O_CLOEXEC if proc.files.cloexec(fd) else 0)
    shown = f"0{convert_open(flags, Open, open_for(proc.arch.name)):o}"
    if file.host_fd >= 0:
        lines = host_proc.descriptor(file.host_fd)
        lines = lines[:_COMMON] + file.details(lines[_COMMON:])
    else:
        from emuvm.kernel.procfs_system import proc_mount

        lines = [f"pos:\t{getattr(file, 'offset', 0)}", "flags:", f"mnt_id:\t{proc_mount(proc)}", f"ino:\t{file.stat().ino}"]
    lines = [f"flags:\t{shown}" if line.startswith("flags:") else line for line in lines]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def merged(proc: Process) -> bytes:
    """ksm_stat: nothing is ever merged."""
    counts = b"".join(b"ksm_%s 0\n" % name for name in (b"rmap_items", b"zero_pages", b"merging_pages", b"process_profit"))
    wanted = any(vma.flags & VmFlag.MERGEABLE for vma in proc.space)
    words = [b"yes" if yes else b"no" for yes in (proc.mm.def_flags & VmFlag.MERGEABLE, wanted)]
    return counts + b"ksm_merge_any: %s\nksm_mergeable: %s\n" % (words[0], words[1])


# -- settings -------------------------------------------------------------------------------------------------------------


def oom_score_adj(proc: Process) -> bytes:
    return b"%d\n" % proc.kept.oom_score_adj


def set_oom_score_adj(proc: Process, data: bytes) -> None:
    value = number(data)
    if not -1000 <= value <= 1000:
        raise GuestError(Errno.EINVAL, f"{value} is not between -1000 and 1000")
    if value < proc.kept.oom_score_adj and not proc.system.credentials.capable(Cap.CAP_SYS_RESOURCE):
        raise GuestError(Errno.EACCES, "lowering it needs CAP_SYS_RESOURCE")
    proc.kept.oom_score_adj = value


def oom_adj(proc: Process) -> bytes:
    """The old scale, -17 to 15 (fs/proc/base.c:oom_adj_read)."""
    score = proc.kept.oom_score_adj
    value = 15 if score == 1000 else int(score * 17 / 1000)
    return b"%d\n" % min(value, 15)


def set_oom_adj(proc: Process, data: bytes) -> None:
    value = number(data)
    if not -17 <= value <= 15:
        raise GuestError(Errno.EINVAL, f"{value} is not between -17 and 15")
    set_oom_score_adj(proc, b"%d" % (1000 if value == 15 else int(value * 1000 / 17)))


def oom_score(proc: Process) -> bytes:
    """How likely the process is to be killed for memory: its part of the system's memory, and the adjustment (mm/oom_kill.c)."""
    memory = proc.system.memory()
    total = (memory.get("MemTotal", 0) + memory.get("SwapTotal", 0)) // proc.space.page_size or 1
    now = usage(proc)
    points = (now.rss + now.tables) // proc.space.page_size + proc.kept.oom_score_adj * total // 1000
    return b"%d\n" % max(0, (1000 + points * 1000 // total) * 2 // 3)


def coredump_filter(proc: Process) -> bytes:
    return b"%08x\n" % proc.kept.coredump_filter


def set_coredump_filter(proc: Process, data: bytes) -> None:
    proc.kept.coredump_filter = number(data, signed=False) & _FILTER


def timer_slack(proc: Process) -> bytes:
    return b"%d\n" % proc.kept.timer_slack


def set_timer_slack(proc: Process, data: bytes) -> None:
    """0 is the value the program started with."""
    proc.kept.timer_slack = number(data, 10, signed=False) or _SLACK


def clear_refs(proc: Process, data: bytes) -> None:
    """1 to 3 forget which pages were used, 4 which were written; 5 makes the peak of memory in use what it is now."""
    value = number(data, 10)
    if not 1 <= value <= 5:
        raise GuestError(Errno.EINVAL, f"order {value}")
    if value == 5:
        proc.kept.peak_rss, proc.kept.peak_known = 0, -1
        usage(proc)


def personality(proc: Process) -> bytes:
    return b"%08x\n" % proc.personality


def identity_map(proc: Process) -> bytes:
    return b"%10d %10d %10d\n" % (0, 0, _NO_GROUP)


def wchan(proc: Process) -> bytes:
    return b"0"


def nobody(proc: Process) -> bytes:
    """loginuid and sessionid where nobody has logged in."""
    return b"%d" % _NO_GROUP


def system_call(proc: Process) -> bytes:
    """syscall: the call the process is in, which is this read."""
    words, engine = proc.dispatcher.last_call, proc.engine
    shown = " ".join(f"{value:#x}" for value in (*words[1], engine.get("sp"), engine.get("pc")))
    return f"{words[0]} {shown}\n".encode()
