"""From the name of a made-up file to the file: which module writes its text, and how it is read.

Owns: that table. Must not know paths or permissions (`procfs`), nor formats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Mode, Open, Poll
from emuvm.abi.structs import Stat
from emuvm.errors import GuestError
from emuvm.kernel import host_proc, procfs, procfs_memory, procfs_pages, procfs_query, procfs_scan, procfs_system, procfs_task
from emuvm.kernel.fs import PATH_FLAGS
from emuvm.kernel.procfs_files import MadeDirectory, MadeFile, NumberFile, OrderFile, PlainFile, SequenceFile, SettingFile, each, single
from emuvm.kernel.procfs_mem import MemoryFile, PagemapFile

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_KEPT = Open.O_ACCMODE | Open.O_APPEND | Open.O_NONBLOCK | Open.O_DSYNC | Open.O_SYNC | Open.O_DIRECTORY | Open.O_NOFOLLOW | Open.O_PATH
_IN_SEQUENCE = (b"comm", b"timerslack_ns")
"""Settings that are read through a seq_file."""
_POLLED = (b"mounts", b"mountinfo", b"/proc/swaps")
"""Files that poll(2) says are to be read, and tells of news."""
Text = Callable[["Process"], bytes]
Record = Callable[["Process", int], "tuple[bytes, int] | None"]
Store = Callable[["Process", bytes], None]


def _host(path: str) -> Text:
    return lambda proc: host_proc.text(path)


def _nothing(proc: Process) -> bytes:
    return b""


def _stack(proc: Process) -> bytes:
    raise GuestError(Errno.EACCES, "the kernel's stack is not shown")


SINGLE: dict[bytes, Text] = {
    b"status": procfs_task.status,
    b"personality": procfs_task.personality,
    b"limits": procfs_task.limits,
    b"syscall": procfs_task.system_call,
    b"stat": procfs_task.stat,
    b"statm": procfs_pages.statm,
    b"smaps_rollup": procfs_pages.smaps_rollup,
    b"wchan": procfs_task.wchan,
    b"stack": _stack,
    b"schedstat": _host("/proc/self/schedstat"),
    b"cpuset": lambda proc: b"/\n",
    b"cgroup": lambda proc: b"0::/\n",
    b"oom_score": procfs_task.oom_score,
    b"io": _host("/proc/self/io"),
    b"uid_map": procfs_task.identity_map,
    b"gid_map": procfs_task.identity_map,
    b"projid_map": procfs_task.identity_map,
    b"setgroups": lambda proc: b"allow\n",
    b"timers": _nothing,
    b"children": _nothing,
    b"ksm_stat": procfs_task.merged,
    b"ksm_merging_pages": lambda proc: b"0\n",
    b"timens_offsets": lambda proc: b"".join(b"%-10s %10d %9d\n" % (name, 0, 0) for name in (b"monotonic", b"boottime")),
}
"""Files that are one record."""
RECORDS: dict[bytes, Record] = {
    b"mounts": procfs_system.mount_line,
    b"mountinfo": procfs_system.mount_info,
    b"mountstats": procfs_system.mount_stat,
    b"/proc/cpuinfo": procfs_system.processors,
}
PLAIN: dict[bytes, Text] = {
    b"cmdline": procfs_task.cmdline,
    b"environ": procfs_task.environ,
    b"auxv": procfs_task.auxv,
    b"loginuid": procfs_task.nobody,
    b"sessionid": procfs_task.nobody,
}
SETTINGS: dict[bytes, tuple[Text, Store, bool]] = {
    b"comm": (procfs_task.comm, procfs_task.set_comm, False),
    b"oom_score_adj": (procfs_task.oom_score_adj, procfs_task.set_oom_score_adj, True),
    b"oom_adj": (procfs_task.oom_adj, procfs_task.set_oom_adj, True),
    b"coredump_filter": (procfs_task.coredump_filter, procfs_task.set_coredump_filter, True),
    b"timerslack_ns": (procfs_task.timer_slack, procfs_task.set_timer_slack, False),
}
"""Text, what is done with what is written, and whether there is an end to seek from."""


def make(proc: Process, name: bytes, path: bytes, flags: int, stat: Stat) -> OpenFile:
    """The open file; `path` is what /proc/self/fd will show."""
    file = _make(proc, name, path, flags, stat)
    # Of /proc/PID only the files about mounts have a splice_read (fs/proc/base.c, fs/proc_namespace.c); mm/swapfile.c has none either.
    file.splices = name in RECORDS or (name.startswith(b"/") and name != b"/proc/swaps")
    file.no_pwrite = isinstance(file, SequenceFile) or name in _IN_SEQUENCE or (name.startswith(b"/sys/") and not file.writable())
    if isinstance(file, PlainFile):
        file.limit = None if name == b"oom_score_adj" or name.startswith(b"/proc/sys/") else file.limit
        file.news = name.startswith(b"/sys/")
    if isinstance(file, MadeFile):
        file.polls = Poll.POLLIN | Poll.POLLRDNORM if name in _POLLED else file.polls
        file.unknown_request = Errno.EINVAL if name == b"pagemap" else Errno.ENOTTY
    return file


def _make(proc: Process, name: bytes, path: bytes, flags: int, stat: Stat) -> OpenFile:
    flags = flags & _KEPT | Open.O_LARGEFILE
    if flags & Open.O_PATH:
        flags &= PATH_FLAGS
    if stat.mode & Mode.S_IFMT == Mode.S_IFDIR:
        return MadeDirectory(path, flags, stat, lambda: procfs.entries(proc, name))
    if stat.mode & Mode.S_IFMT == Mode.S_IFLNK:
        return MadeFile(path, flags, stat)
    if name in RECORDS:
        record = RECORDS[name]
        return SequenceFile(path, flags, stat, each(lambda key: record(proc, key)))
    if name == b"maps":
        sequence = SequenceFile(path, flags, stat, lambda key: procfs_memory.maps(proc, key))
        sequence.requests = {procfs_query.REQUEST: lambda address: procfs_query.query(proc, address)}
        return sequence
    if name == b"smaps":
        return SequenceFile(path, flags, stat, procfs_pages.Smaps(proc))
    text = SINGLE.get(name)
    if text is None and name.startswith(b"fdinfo/"):
        file, fd = procfs.descriptor(proc, name), int(name[7:])
        return SequenceFile(path, flags, stat, single(lambda: procfs_task.descriptor_info(proc, fd, file)))
    if name.startswith(b"/"):
        made = procfs_system.tree()[name]
        if made.kind in ("plain", "number"):
            return (PlainFile if made.kind == "plain" else NumberFile)(path, flags, stat, lambda: made.text(proc))
        text = made.text
    if text is not None:
        shown = text
        return SequenceFile(path, flags, stat, single(lambda: shown(proc)))
    if name in PLAIN:
        plain = PLAIN[name]
        return PlainFile(path, flags, stat, lambda: plain(proc))
    if name in SETTINGS:
        read, store, ends = SETTINGS[name]
        return SettingFile(path, flags, stat, lambda: read(proc), lambda data: store(proc, data), ends)
    if name == b"clear_refs":
        return OrderFile(path, flags, stat, lambda data: procfs_task.clear_refs(proc, data))
    if name in (b"mem", b"pagemap"):
        file = (MemoryFile if name == b"mem" else PagemapFile)(proc, path, flags, stat)
        if name == b"pagemap":
            file.requests = {procfs_scan.REQUEST: lambda address: procfs_scan.scan(proc, address)}
        return file
    return MadeFile(path, flags, stat)
