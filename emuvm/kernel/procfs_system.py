"""Made-up files that are not about the process: /proc/meminfo, cpuinfo, mounts, /proc/sys, huge-page settings in /sys.

Owns: which of them emuvm answers itself, so that they agree with the emulated CPU and the model of memory and are there with
every root, and their text. Must not know how they are read. What only the host can know is the host's answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi import cpuinfo
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import GuestError
from emuvm.kernel import host_proc, hostfd, hostfs

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_PROC = b"/proc"
_HUGE_PAGES = b"/sys/kernel/mm/transparent_hugepage"
_FILESYSTEMS = {
    0x9FA0: "proc", 0x62656572: "sysfs", 0x01021994: "tmpfs", 0x1CD1: "devpts", 0xEF53: "ext4", 0x58465342: "xfs",
    0x9123683E: "btrfs", 0x794C7630: "overlay", 0x6969: "nfs", 0x01021997: "9p", 0x65735546: "fuse", 0x63677270: "cgroup2",
    0x27E0EB: "cgroup", 0xF2F52010: "f2fs", 0x2FC12FC1: "zfs", 0x73717368: "squashfs", 0xE0F5E1E2: "erofs",
}  # fmt: skip
"""f_type -> the name in /proc/mounts; statfs(2)."""
_MOUNTS = (b"/", b"/proc", b"/sys", b"/dev", b"/dev/pts", b"/dev/shm", b"/tmp", b"/run")
"""Where a file system may be mounted that programs look for; those that are one of their own are shown."""
_HOST_TEXTS = ("stat", "loadavg", "uptime", "version", "filesystems", "swaps", "vmstat", "meminfo", "devices", "cgroups")
_COPIED = (
    "vm/admin_reserve_kbytes", "vm/compaction_proactiveness", "vm/dirty_background_ratio", "vm/dirty_ratio", "vm/hugetlb_shm_group",
    "vm/memfd_noexec", "vm/min_free_kbytes", "vm/oom_kill_allocating_task", "vm/page-cluster", "vm/panic_on_oom", "vm/swappiness",
    "vm/unprivileged_userfaultfd", "vm/user_reserve_kbytes", "vm/vfs_cache_pressure", "vm/zone_reclaim_mode",
    "kernel/auto_msgmni", "kernel/cap_last_cap", "kernel/core_pattern", "kernel/core_uses_pid", "kernel/domainname",
    "kernel/hostname", "kernel/kptr_restrict", "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/ngroups_max",
    "kernel/osrelease", "kernel/ostype", "kernel/overflowgid", "kernel/overflowuid", "kernel/pid_max", "kernel/printk",
    "kernel/random/boot_id", "kernel/random/entropy_avail", "kernel/random/poolsize", "kernel/random/urandom_min_reseed_secs",
    "kernel/random/uuid", "kernel/random/write_wakeup_threshold", "kernel/sched_rr_timeslice_ms", "kernel/sem", "kernel/shmall",
    "kernel/shmmax", "kernel/shmmni", "kernel/tainted", "kernel/threads-max", "kernel/version",
    "fs/aio-max-nr", "fs/file-max", "fs/file-nr", "fs/inode-nr", "fs/nr_open", "fs/overflowgid", "fs/overflowuid",
    "fs/pipe-max-size", "fs/pipe-user-pages-soft", "fs/pipe-user-pages-hard",
)  # fmt: skip
"""Settings of /proc/sys that are the host's; those it does not have are not there."""
_WORDS = frozenset((
    "kernel/arch", "kernel/core_pattern", "kernel/domainname", "kernel/hostname", "kernel/osrelease", "kernel/ostype",
    "kernel/random/boot_id", "kernel/random/uuid", "kernel/version",
))  # fmt: skip
"""Those that are text; all others are numbers."""


class Made(NamedTuple):
    """A file: its permissions, its text, its st_size; `records`: a file of several records (one for each '\\n\\n' paragraph or line)."""

    mode: int
    text: Callable[[Process], bytes]
    size: int = 0
    kind: str = "sequence"


# -- processors, memory ---------------------------------------------------------------------------------------------------


def processors(proc: Process, key: int) -> tuple[bytes, int] | None:
    """The records of cpuinfo: a processor each, for every one the program may run on."""
    cpus = sorted(proc.system.cpus())
    if key >= len(cpus):
        return None
    rate = host_proc.rows("/proc/cpuinfo").get("cpu MHz", "")
    mhz = float(rate) if rate.replace(".", "", 1).isdigit() else 1000.0
    return cpuinfo.processor(proc.arch, cpus[key], len(cpus), mhz).encode(), key + 1


# -- mounts ---------------------------------------------------------------------------------------------------------------


class Mount(NamedTuple):
    """A row of mountinfo."""

    number: int
    parent: int
    device: tuple[int, int]
    where: bytes
    options: str
    kind: str
    source: str


def mounts(proc: Process) -> list[Mount]:
    """The root, and what is mounted below it: /proc is always there."""
    rows: list[Mount] = []
    for where in _MOUNTS:
        row = _proc_row(proc, rows) if where == _PROC else _host_row(proc, rows, where)
        if row is not None:
            rows.append(row)
    return rows


def _host_row(proc: Process, above: list[Mount], where: bytes) -> Mount | None:
    try:
        with proc.fs.node(where, directory=True) as node:
            device = hostfd.decode_device(node.info.st_dev)
            number = _mount_number(node.fd)
            magic = hostfs.statfs(node.fd)[0]
            writable = proc.fs.may_change(node.fd)
    except GuestError:
        return None
    parent = next((row for row in reversed(above) if where.startswith(row.where.rstrip(b"/") + b"/")), None)
    if parent is not None and parent.device == device:
        return None
    kind = _FILESYSTEMS.get(magic, "rootfs")
    if where == b"/dev" and kind == "tmpfs":
        kind = "devtmpfs"
    source = "/dev/root" if parent is None else kind
    return Mount(number, parent.number if parent else 1, device, where, f"{'rw' if writable else 'ro'},relatime", kind, source)


def _proc_row(proc: Process, above: list[Mount]) -> Mount:
    return Mount(proc_mount(proc), above[0].number if above else 1, proc_device(proc), _PROC, "rw,relatime", "proc", "proc")


def _mount_number(fd: int) -> int:
    return next((int(line[7:]) for line in host_proc.descriptor(fd) if line.startswith("mnt_id:")), 0)


def proc_mount(proc: Process) -> int:
    """The number of the mount that made-up files of /proc lie on."""
    try:
        with proc.fs.node(_PROC, directory=True) as node:
            if node.info.st_dev == proc.fs.root.proc_device:
                return _mount_number(node.fd)
    except GuestError:
        pass
    return _mount_number(proc.fs.root.fd) + 1


def proc_device(proc: Process) -> tuple[int, int]:
    """st_dev of made-up files."""
    device = proc.fs.root.proc_device if proc.fs is not None else None
    return (0, 22) if device is None else hostfd.decode_device(device)


def _quoted(text: bytes) -> str:
    for byte in b"\\ \t\n#":
        text = text.replace(bytes((byte,)), b"\\%03o" % byte)
    return text.decode("utf-8", "surrogateescape")


def mount_line(proc: Process, key: int) -> tuple[bytes, int] | None:
    """The records of mounts."""
    rows = mounts(proc)
    if key >= len(rows):
        return None
    row = rows[key]
    return f"{row.source} {_quoted(row.where)} {row.kind} {row.options} 0 0\n".encode("utf-8", "surrogateescape"), key + 1


def mount_info(proc: Process, key: int) -> tuple[bytes, int] | None:
    """The records of mountinfo."""
    rows = mounts(proc)
    if key >= len(rows):
        return None
    row = rows[key]
    rights, _, rest = row.options.partition(",")
    text = (
        f"{row.number} {row.parent} {row.device[0]}:{row.device[1]} / {_quoted(row.where)} {rights},{rest}"
        f" - {row.kind} {row.source} {rights}\n"
    )
    return text.encode("utf-8", "surrogateescape"), key + 1


def mount_stat(proc: Process, key: int) -> tuple[bytes, int] | None:
    """The records of mountstats."""
    rows = mounts(proc)
    if key >= len(rows):
        return None
    row = rows[key]
    return f"device {row.source} mounted on {_quoted(row.where)} with fstype {row.kind}\n".encode("utf-8", "surrogateescape"), key + 1


# -- settings -------------------------------------------------------------------------------------------------------------


def _host(path: str) -> Callable[[Process], bytes]:
    return lambda proc: host_proc.text(path)


def _value(text: str) -> Callable[[Process], bytes]:
    return lambda proc: text.encode() + b"\n"


_MODEL: dict[bytes, Callable[[Process], bytes]] = {
    b"vm/overcommit_memory": _value("0"),
    b"vm/overcommit_ratio": _value("50"),
    b"vm/overcommit_kbytes": _value("0"),
    b"vm/max_map_count": lambda proc: b"%d\n" % proc.mm.limits.max_map_count,
    b"vm/mmap_min_addr": lambda proc: b"%d\n" % proc.mm.lowest,
    b"vm/legacy_va_layout": _value("0"),
    b"vm/nr_hugepages": _value("0"),
    b"vm/nr_hugepages_mempolicy": _value("0"),
    b"vm/nr_overcommit_hugepages": _value("0"),
    b"kernel/randomize_va_space": _value("0"),
    b"kernel/arch": lambda proc: proc.arch.machine.encode() + b"\n",
}
"""Settings of /proc/sys that the model of memory decides."""
_LARGE: dict[bytes, Callable[[Process], bytes]] = {
    b"enabled": _value("always [madvise] never"),
    b"defrag": _value("always defer defer+madvise madvise [never]"),
    b"shmem_enabled": _value("always within_size advise [never] deny force"),
    b"hpage_pmd_size": _value(str(2 << 20)),
    b"use_zero_page": _value("1"),
}
"""/sys/kernel/mm/transparent_hugepage: only who asks may get huge pages, and none are made for it, so nobody ever gets one."""


def _tree() -> dict[bytes, Made]:
    made = {b"/proc/cpuinfo": Made(0o444, lambda proc: b"", kind="processors")}
    for name in _HOST_TEXTS:
        if host_proc.exists(f"/proc/{name}"):
            made[b"/proc/" + name.encode()] = Made(0o444, _host(f"/proc/{name}"))
    for name in _COPIED:
        if host_proc.exists(f"/proc/sys/{name}"):
            path, kind = f"/proc/sys/{name}", "plain" if name in _WORDS else "number"
            made[path.encode()] = Made(host_proc.mode(path), _host(path), kind=kind)
    for setting, text in _MODEL.items():
        made[b"/proc/sys/" + setting] = Made(0o644, text, kind="plain" if setting.decode() in _WORDS else "number")
    for setting, text in _LARGE.items():
        made[_HUGE_PAGES + b"/" + setting] = Made(0o444 if setting == b"hpage_pmd_size" else 0o644, text, 4096, "plain")
    return made


_cache: dict[bytes, Made] = {}


def tree() -> dict[bytes, Made]:
    """Every made-up file outside the process's directory, by its path."""
    if not _cache:
        _cache.update(_tree())
    return _cache


def inside(directory: bytes) -> dict[bytes, bool]:
    """The names directly below a directory of the tree -> is it a directory? Empty for what is none."""
    start = directory.rstrip(b"/") + b"/"
    found: dict[bytes, bool] = {}
    for path in tree():
        if path.startswith(start):
            name, slash, _ = path[len(start) :].partition(b"/")
            found[name] = bool(slash)
    return found
