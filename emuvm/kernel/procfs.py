"""The guest's own /proc/PID: what a program can read about itself.

Owns: which of these files there are, and their text. Must not know how files are opened or paths looked up on the host: that
is `emuvm.kernel.fs`, which is asked for everything else in /proc. Formats: fs/proc/{array,base,task_mmu}.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Mode, Open, Poll, Seek
from emuvm.abi.structs import Stat
from emuvm.errors import GuestError
from emuvm.kernel.files import OpenFile, TextFile
from emuvm.mm.types import VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_DEVICE = (0, 22)
_BLOCK = 1024
_NOBODY_LOGGED_IN = 0xFFFF_FFFF
_DT_DIR, _DT_LINK, _DT_FILE = 4, 10, 8
_LINKED = frozenset((b"exe", b"cwd", b"root"))
_DIRECTORIES = frozenset((b"", b"fd", b"task"))


def inner(proc: Process, path: bytes) -> bytes | None:
    """What an absolute guest path means inside the guest's own /proc directory: b'' the directory itself, b'maps', b'fd/1'.

    None: something else, or a spelling with '..' (the host then says whether it is anything the guest may see).
    """
    if path.startswith(b"/dev/"):
        path = _DEVICES.get(path, path)
        if path.startswith(b"/dev/fd/"):
            path = b"/proc/self/fd/" + path[8:]
        elif path in (b"/dev/fd", b"/dev/fd/"):
            path = b"/proc/self/fd"
    if not path.startswith(b"/") or b"proc" not in path[:8]:
        return None
    words = [word for word in path.split(b"/") if word not in (b"", b".")]
    if len(words) < 2 or words[0] != b"proc" or b".." in words:
        return None
    if words[1:] == [b"mounts"]:
        return b"mounts"
    if words[1] == b"thread-self" or (words[1] in _own(proc) and words[2:3] == [b"task"] and len(words) > 3):
        rest = words[4:] if words[1] != b"thread-self" else words[2:]
        return b"/".join(rest)
    return b"/".join(words[2:]) if words[1] in _own(proc) else None


_DEVICES = {b"/dev/stdin": b"/proc/self/fd/0", b"/dev/stdout": b"/proc/self/fd/1", b"/dev/stderr": b"/proc/self/fd/2"}


def _own(proc: Process) -> tuple[bytes, bytes]:
    return b"self", b"%d" % proc.pid


def is_link_to_self(path: bytes) -> bool:
    """Is this /proc/self itself, which is a symbolic link?"""
    words = [word for word in path.split(b"/") if word not in (b"", b".")]
    return words == [b"proc", b"self"]


# -- what there is --------------------------------------------------------------------------------------------------------


def link(proc: Process, name: bytes) -> bytes:
    """readlink(2) inside the directory. EINVAL for what is no link, ENOENT."""
    if name == b"exe":
        return proc.exe
    if name == b"cwd":
        return proc.fs.cwd  # type: ignore[no-any-return]
    if name == b"root":
        return b"/"
    if name.startswith(b"fd/"):
        return descriptor(proc, name).name
    _known(name)
    raise GuestError(Errno.EINVAL, "not a symbolic link")


def descriptor(proc: Process, name: bytes) -> OpenFile:
    """The open file of b'fd/N'; ENOENT."""
    digits = name[3:]
    if digits.isdigit() and len(digits) < 8:
        for number, file in proc.files.items():
            if number == int(digits):
                return file  # type: ignore[no-any-return]
    raise GuestError(Errno.ENOENT, "no such descriptor")


def target(proc: Process, name: bytes) -> bytes | None:
    """The path that following a link leads to; None when `name` is no link to a path."""
    return link(proc, name) if name in _LINKED else None


def _known(name: bytes) -> None:
    if name not in _TEXTS and name not in _DIRECTORIES and name not in _LINKED:
        raise GuestError(Errno.ENOENT, "no such file in /proc/self")


def status(proc: Process, name: bytes) -> Stat:
    """lstat(2) inside the directory. ENOENT."""
    if name.startswith(b"fd/"):
        file = descriptor(proc, name)
        bits = (0o400 if file.readable() else 0) | (0o200 if file.writable() else 0)
        mode = Mode.S_IFLNK | bits | bits >> 2 & 0o100 | 0o100
    else:
        _known(name)
        if name in _DIRECTORIES:
            mode = Mode.S_IFDIR | (0o500 if name == b"fd" else 0o555)
        elif name in _LINKED:
            mode = Mode.S_IFLNK | 0o777
        else:
            mode = Mode.S_IFREG | (0o400 if name in (b"environ", b"auxv") else 0o444)
    seconds = divmod(proc.system.clock(0), 1_000_000_000)
    return Stat(
        _DEVICE, inode(proc, name), mode, 9 if mode & Mode.S_IFMT == Mode.S_IFDIR else 1, proc.system.euid, proc.system.egid,
        (0, 0), 0 if mode & Mode.S_IFMT != Mode.S_IFLNK else 64, _BLOCK, 0, seconds, seconds, seconds,
    )  # fmt: skip


def inode(proc: Process, name: bytes) -> int:
    """A number that stays the same during a run."""
    return (proc.pid << 16) + (sum((i + 1) * byte for i, byte in enumerate(name)) & 0xFFFF) + 1


def open_file(proc: Process, name: bytes, path: bytes, flags: int) -> OpenFile:
    """Open a text or a directory. ENOENT; EACCES for writing."""
    _known(name)
    if name in _DIRECTORIES:
        if flags & (Open.O_ACCMODE | Open.O_CREAT):
            raise GuestError(Errno.EISDIR, "a directory")
        return MadeDirectory(path, status(proc, name), lambda: entries(proc, name))
    if flags & Open.O_DIRECTORY:
        raise GuestError(Errno.ENOTDIR, "not a directory")
    if flags & Open.O_ACCMODE:
        raise GuestError(Errno.EACCES, "read-only")
    return TextFile(_TEXTS[name](proc), path, status(proc, name))


def entries(proc: Process, name: bytes) -> list[tuple[int, int, bytes]]:
    """(inode, d_type, name) of what a directory holds."""
    found = [(inode(proc, name), _DT_DIR, b"."), (inode(proc, b".."), _DT_DIR, b"..")]
    if name == b"fd":
        return found + [(inode(proc, b"fd/%d" % fd), _DT_LINK, b"%d" % fd) for fd, _ in proc.files.items()]
    if name == b"task":
        return [*found, (inode(proc, b""), _DT_DIR, b"%d" % proc.tid)]
    kinds = [(n, _DT_DIR) for n in _DIRECTORIES if n] + [(n, _DT_LINK) for n in _LINKED] + [(n, _DT_FILE) for n in _TEXTS]
    return found + [(inode(proc, n), kind, n) for n, kind in sorted(kinds)]


class MadeDirectory(OpenFile):
    """A directory that emuvm makes up. The offset counts entries."""

    is_directory = True

    def __init__(self, path: bytes, stat: Stat, listing: Callable[[], list[tuple[int, int, bytes]]]) -> None:
        super().__init__(Open.O_RDONLY | Open.O_DIRECTORY | Open.O_LARGEFILE, path)
        self.listing = listing
        """What is in it now, asked for at every reading."""
        self.offset = 0
        self._stat = stat

    def read(self, length: int) -> bytes:
        raise GuestError(Errno.EISDIR, "a directory")

    def seek(self, offset: int, whence: int) -> int:
        if whence == Seek.SEEK_CUR:
            offset += self.offset
        if whence > Seek.SEEK_CUR or offset < 0:
            raise GuestError(Errno.EINVAL, f"offset {offset}")
        self.offset = offset
        return offset

    def stat(self) -> Stat:
        return self._stat

    def ready(self) -> int:
        return Poll.POLLIN | Poll.POLLRDNORM | Poll.POLLOUT | Poll.POLLWRNORM


# -- texts ----------------------------------------------------------------------------------------------------------------


def _memory(proc: Process, start: int, end: int) -> bytes:
    """Guest memory for display: empty where the program has taken it away."""
    try:
        return proc.mem.read(start, end - start)
    except GuestError:
        return b""


def _maps(proc: Process) -> bytes:
    return proc.maps().encode("utf-8", "surrogateescape")


def _comm(proc: Process) -> bytes:
    return proc.name + b"\n"


def _cmdline(proc: Process) -> bytes:
    return _memory(proc, proc.stack_info.arg_start, proc.stack_info.arg_end)


def _environ(proc: Process) -> bytes:
    return _memory(proc, proc.stack_info.env_start, proc.stack_info.env_end)


def _auxv(proc: Process) -> bytes:
    vector: bytes = proc.stack_info.auxv
    return vector


def _pages(proc: Process) -> tuple[int, int, int, int]:
    """(total, code, data and stack, shared) pages."""
    total = code = data = shared = 0
    for vma in proc.space:
        size = vma.end - vma.start
        total += size
        if vma.prot & 4 and not vma.prot & 2:
            code += size
        elif vma.prot & 2 and not vma.flags & VmFlag.SHARED:
            data += size
        if vma.flags & VmFlag.SHARED:
            shared += size
    page = proc.space.page_size
    return total // page, code // page, data // page, shared // page


def _statm(proc: Process) -> bytes:
    total, code, data, shared = _pages(proc)
    return b"%d %d %d %d 0 %d 0\n" % (total, total, shared, code, data)


def _stat(proc: Process) -> bytes:
    total = _pages(proc)[0] * proc.space.page_size
    plan, stack, system = proc.plan, proc.stack_info, proc.system
    user, kernel = (value // 10_000_000 for value in system.cpu_times())
    limit = proc.mm.limits.address_space
    name = proc.name.decode("utf-8", "backslashreplace")
    values = [
        system.ppid, system.pgid, system.session(), 0, -1, 0x400000, 0, 0, 0, 0, user, kernel, 0, 0, 20, 0, 1, 0, 0, total,
        total // proc.space.page_size, limit, plan.start_code, plan.end_code, stack.sp, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0,
        0, plan.start_data, plan.end_data, proc.mm.start_brk, stack.arg_start, stack.arg_end, stack.env_start, stack.env_end, 0,
    ]  # fmt: skip
    return f"{proc.pid} ({name}) R {' '.join(map(str, values))}\n".encode()


def _status(proc: Process) -> bytes:
    total, code, data, _ = (pages * proc.space.page_size // 1024 for pages in _pages(proc))
    system, signals = proc.system, proc.signals
    ignored = sum(1 << n - 1 for n, action in signals.actions.items() if action.handler == 1)
    caught = sum(1 << n - 1 for n, action in signals.actions.items() if action.handler > 1)
    name = proc.name.decode("utf-8", "backslashreplace")
    rows = [
        ("Name", name), ("Umask", f"{proc.umask:04o}"), ("State", "R (running)"), ("Tgid", proc.pid), ("Ngid", 0), ("Pid", proc.pid),
        ("PPid", system.ppid), ("TracerPid", 0), ("Uid", f"{system.uid}\t{system.euid}\t{system.euid}\t{system.euid}"),
        ("Gid", f"{system.gid}\t{system.egid}\t{system.egid}\t{system.egid}"), ("FDSize", 64),
        ("Groups", " ".join(map(str, system.groups)) + " "), ("VmPeak", f"{total:8} kB"), ("VmSize", f"{total:8} kB"),
        ("VmLck", f"{0:8} kB"), ("VmPin", f"{0:8} kB"), ("VmHWM", f"{total:8} kB"), ("VmRSS", f"{total:8} kB"),
        ("VmData", f"{data:8} kB"), ("VmExe", f"{code:8} kB"), ("VmLib", f"{0:8} kB"), ("VmSwap", f"{0:8} kB"), ("Threads", 1),
        ("SigPnd", f"{0:016x}"), ("ShdPnd", f"{signals.pending:016x}"), ("SigBlk", f"{signals.mask:016x}"),
        ("SigIgn", f"{ignored:016x}"), ("SigCgt", f"{caught:016x}"), ("NoNewPrivs", int(proc.no_new_privs)), ("Seccomp", 0),
    ]  # fmt: skip
    return "".join(f"{key}:\t{value}\n" for key, value in rows).encode()


_LIMITS = (
    ("Max cpu time", 0, "seconds"), ("Max file size", 1, "bytes"), ("Max data size", 2, "bytes"), ("Max stack size", 3, "bytes"),
    ("Max core file size", 4, "bytes"), ("Max resident set", 5, "bytes"), ("Max processes", 6, "processes"), ("Max open files", 7, "files"),
    ("Max locked memory", 8, "bytes"), ("Max address space", 9, "bytes"), ("Max file locks", 10, "locks"),
    ("Max pending signals", 11, "signals"), ("Max msgqueue size", 12, "bytes"), ("Max nice priority", 13, ""),
    ("Max realtime priority", 14, ""), ("Max realtime timeout", 15, "us"),
)  # fmt: skip


def _limits(proc: Process) -> bytes:
    rows = [f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10} \n"]
    own = {2: proc.mm.limits.data, 3: proc.mm.limits.stack, 9: proc.mm.limits.address_space}
    for title, number, unit in _LIMITS:
        soft, hard = proc.rlimits.get(number) or proc.system.limit(number)
        soft = own.get(number, soft)
        shown = ["unlimited" if value >= (1 << 63) - 1 else str(value) for value in (soft, hard)]
        rows.append(f"{title:<25} {shown[0]:<20} {shown[1]:<20} {unit:<10} \n")
    return "".join(rows).encode()


def _mounts(proc: Process) -> bytes:
    return b"root / emuvm %s 0 0\n" % (b"rw" if proc.fs.allow_all else b"ro")


_TEXTS: dict[bytes, Callable[[Process], bytes]] = {
    b"maps": _maps,
    b"comm": _comm,
    b"cmdline": _cmdline,
    b"environ": _environ,
    b"auxv": _auxv,
    b"statm": _statm,
    b"stat": _stat,
    b"status": _status,
    b"limits": _limits,
    b"mounts": _mounts,
    b"cgroup": lambda proc: b"0::/\n",
    b"loginuid": lambda proc: b"%d" % (_NOBODY_LOGGED_IN,),
}
