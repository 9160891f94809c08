"""The guest's own /proc: which files there are, where a path leads, what they look like from outside.

Owns: names, links, kinds, permissions. Must not know what the files say: `procfs_open` has a maker for each, and it is imported
when a program first opens one. How paths are looked up on the host is `emuvm.kernel.fs`, which is asked for everything else.

    /proc/self/maps      -> b"maps"             the process's own directory: /proc/self, /proc/PID, /proc/thread-self,
    /proc/self/fd/1      -> b"fd/1"             /proc/self/task/TID
    /proc/meminfo        -> b"/proc/meminfo"    made-up files elsewhere: names begin with a slash
    /proc/self/cwd/x     -> /where/it/is/x      None: no made-up file, but the path may be another one now

Formats: fs/proc/{base,root,self}.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Mode, Open
from emuvm.abi.structs import Stat
from emuvm.errors import GuestError

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_BLOCK = 1024
_SYS = b"/sys/"
_STRICT = (b"/proc/sys/", _SYS)
"""Where root, too, may write only what has a bit for it (proc_sys_permission, kernfs_fop_open)."""
_DIR, _LINK = Mode.S_IFDIR, Mode.S_IFLNK
_TYPES = {Mode.S_IFDIR: 4, Mode.S_IFLNK: 10, Mode.S_IFREG: 8}
"""d_type of directory entries."""
_LINKS = 40
_ENTRIES: dict[bytes, int] = {
    b"task": _DIR | 0o555, b"fd": _DIR | 0o500, b"map_files": _DIR | 0o500, b"fdinfo": _DIR | 0o555, b"environ": 0o400, b"auxv": 0o400,
    b"status": 0o444, b"personality": 0o400, b"limits": 0o444, b"comm": 0o644, b"syscall": 0o400, b"cmdline": 0o444, b"stat": 0o444,
    b"statm": 0o444, b"maps": 0o444, b"children": 0o444, b"mem": 0o600, b"cwd": _LINK | 0o777, b"root": _LINK | 0o777,
    b"exe": _LINK | 0o777, b"mounts": 0o444, b"mountinfo": 0o444, b"mountstats": 0o400, b"clear_refs": 0o200, b"smaps": 0o444,
    b"smaps_rollup": 0o444, b"pagemap": 0o400, b"wchan": 0o444, b"stack": 0o400, b"schedstat": 0o444, b"cpuset": 0o444,
    b"cgroup": 0o444, b"oom_score": 0o444, b"oom_adj": 0o644, b"oom_score_adj": 0o644, b"loginuid": 0o644, b"sessionid": 0o444,
    b"coredump_filter": 0o644, b"io": 0o400, b"uid_map": 0o644, b"gid_map": 0o644, b"projid_map": 0o644, b"setgroups": 0o644,
    b"timers": 0o444, b"timerslack_ns": 0o666, b"timens_offsets": 0o644, b"ksm_merging_pages": 0o400, b"ksm_stat": 0o400,
}  # fmt: skip
"""What is in /proc/PID, in the kernel's order: type (none: a regular file) and permissions."""
_PROCESS_ONLY = frozenset((b"task", b"map_files", b"mountstats", b"coredump_filter", b"timers", b"timerslack_ns"))
_THREAD_ONLY = frozenset((b"children",))
PROMPT = frozenset((b"maps", b"smaps", b"smaps_rollup", b"status", b"statm", b"pagemap"))
"""Files that programs read often, and that can be opened and read inside the engine's hook."""
AT_ONCE = frozenset(b"/proc/self/" + name for name in PROMPT)
_FOLLOWED = (b"fd/", b"map_files/", b"cwd", b"root", b"exe")
_DEVICES = {b"/dev/stdin": b"/proc/self/fd/0", b"/dev/stdout": b"/proc/self/fd/1", b"/dev/stderr": b"/proc/self/fd/2"}
_ALIASES = {b"/proc/self": b"", b"/proc/thread-self": b"/task", b"/proc/mounts": b"/mounts"}


# -- where a path leads ---------------------------------------------------------------------------------------------------


def locate(proc: Process, path: bytes, follow: bool = True) -> tuple[bytes, bytes | None]:
    """(path, name): what an absolute guest path means in the guest's own /proc; the path may lead elsewhere then.

    `follow`: of the last name, when it is /proc/self or the like; links inside the directory are `target`'s. ENOTDIR, ELOOP.
    """
    for _ in range(_LINKS):
        if path.startswith(b"/dev/"):
            path = _device(path)
        if b"/proc" not in path[:8] and b"/sys" not in path[:8]:
            return path, None
        words = [word for word in path.split(b"/") if word not in (b"", b".")]
        if not words or words[0] not in (b"proc", b"sys"):
            return path, None
        again = _walk(proc, words, follow or path.endswith(b"/"))
        if isinstance(again, list):
            return _named(proc, again, path)
        path = again
    raise GuestError(Errno.ELOOP, "too many links")


def inner(proc: Process, path: bytes) -> bytes | None:
    """The name that a path has in the guest's own /proc, or None."""
    return locate(proc, path)[1]


def _device(path: bytes) -> bytes:
    path = _DEVICES.get(path, path)
    if path.startswith(b"/dev/fd/"):
        return b"/proc/self/fd/" + path[8:]
    return b"/proc/self/fd" if path == b"/dev/fd" else path


def _walk(proc: Process, words: list[bytes], follow: bool) -> list[bytes] | bytes:
    """The words without links and dots, or another path that they lead to."""
    here: list[bytes] = []
    pid = b"%d" % proc.pid
    for index, word in enumerate(words):
        last = index == len(words) - 1
        if word == b"..":
            here = here[:-1]
            if not here:
                return b"/" + b"/".join(words[index + 1 :])
            continue
        here = [*here, word]
        if len(here) == 2 and here[0] == b"proc" and (follow or not last):
            if word == b"self":
                here = [b"proc", pid]
            elif word == b"thread-self":
                here = [b"proc", pid, b"task", b"%d" % proc.tid]
            elif word == b"mounts":
                here = [b"proc", pid, b"mounts"]
        if last or here[:2] != [b"proc", pid]:
            continue
        name = _own(proc, here)
        if name and name.startswith(_FOLLOWED):
            return link(proc, name).rstrip(b"/") + b"/" + b"/".join(words[index + 1 :])
        if name and not status(proc, name).mode & _DIR:
            raise GuestError(Errno.ENOTDIR, "not a directory")
    return here


def _own(proc: Process, words: list[bytes]) -> bytes:
    """The name of /proc/PID/...; what is in task/TID is called as in the process's directory."""
    rest = words[2:]
    if rest[:1] == [b"task"] and len(rest) > 2:
        name = b"/".join(rest[2:])
        if rest[1] != b"%d" % proc.tid or name.split(b"/")[0] in _PROCESS_ONLY:
            raise GuestError(Errno.ENOENT, "no such thread, or no such file of a thread")
        return name
    if rest and rest[0] in _THREAD_ONLY:
        raise GuestError(Errno.ENOENT, "only threads have it")
    return b"/".join(rest)


def _named(proc: Process, words: list[bytes], path: bytes) -> tuple[bytes, bytes | None]:
    where = b"/" + b"/".join(words)
    if words[:2] == [b"proc", b"%d" % proc.pid]:
        return where, _own(proc, words)
    if where in _ALIASES:
        return where, where
    if words[0] == b"sys" and words[1:3] != [b"kernel", b"mm"] and len(words) > 1:
        return path, None
    from emuvm.kernel.procfs_system import inside, tree

    if where in tree() or (inside(where) and not _on_the_host(proc, where)):
        return where, where
    return path, None


def _on_the_host(proc: Process, where: bytes) -> bool:
    """Does the host show such a directory of the kernel's, or only an empty one or none?"""
    try:
        with proc.fs.node(where, directory=True) as node:
            return not where.startswith(b"/proc") or node.info.st_dev == proc.fs.root.proc_device
    except GuestError:
        return False


# -- links ----------------------------------------------------------------------------------------------------------------


def link(proc: Process, name: bytes) -> bytes:
    """readlink(2) of a made-up name. EINVAL for what is no link, ENOENT."""
    if name in _ALIASES:
        if name == b"/proc/mounts":
            return b"self/mounts"
        return b"%d" % proc.pid if name == b"/proc/self" else b"%d/task/%d" % (proc.pid, proc.tid)
    if name == b"exe":
        from emuvm.kernel.procfs_memory import program

        return program(proc)
    if name == b"cwd":
        return proc.fs.cwd  # type: ignore[no-any-return]
    if name == b"root":
        return b"/"
    if name.startswith(b"fd/"):
        return _shown(proc, descriptor(proc, name))
    if name.startswith(b"map_files/"):
        return _mapped(proc, name)
    if not status(proc, name).mode & Mode.S_IFMT == _LINK:
        raise GuestError(Errno.EINVAL, "not a symbolic link")
    raise GuestError(Errno.ENOENT, "no such link")


def _shown(proc: Process, file: OpenFile) -> bytes:
    """What a descriptor is a link to: where its file is now, renamed or removed."""
    if file.host_fd < 0:
        return file.name
    from emuvm.kernel import hostfd

    now = file.name if file.path.startswith(b"anon_inode:") or file.only_shared else hostfd.link(file.host_fd)
    inside: bytes = proc.fs.root.inside(now) if now.startswith(b"/") and not now.startswith(b"/memfd:") else now
    return inside or file.name


def _mapped(proc: Process, name: bytes) -> bytes:
    from emuvm.kernel.procfs_memory import mapped_file

    found = mapped_file(proc, name[10:])
    if found is None:
        raise GuestError(Errno.ENOENT, "no such mapping of a file")
    return found


def descriptor(proc: Process, name: bytes) -> OpenFile:
    """The open file of b'fd/N' or b'fdinfo/N'; ENOENT."""
    digits = name.partition(b"/")[2]
    if digits.isdigit() and len(digits) < 8 and (digits == b"0" or digits[:1] != b"0"):
        try:
            return proc.files.get(int(digits))  # type: ignore[no-any-return]
        except GuestError:
            pass
    raise GuestError(Errno.ENOENT, "no such descriptor")


def target(proc: Process, name: bytes) -> bytes | None:
    """The path that following a link leads to; None when `name` is no link to a path."""
    return link(proc, name) if name in (b"exe", b"cwd", b"root") or name.startswith(b"map_files/") else None


# -- what there is --------------------------------------------------------------------------------------------------------


def _mode(proc: Process, name: bytes) -> int:
    """Type and permissions. ENOENT."""
    if name in _ALIASES:
        return _LINK | 0o777
    if name.startswith(b"/"):
        from emuvm.kernel.procfs_system import tree

        made = tree().get(name)
        return _DIR | 0o555 if made is None else Mode.S_IFREG | made.mode
    if name in (b"", b"task/%d" % proc.tid):
        return _DIR | 0o555
    if name.startswith(b"fd/"):
        file = descriptor(proc, name)
        return _LINK | (0o500 if file.readable() else 0) | (0o300 if file.writable() else 0)
    if name.startswith(b"fdinfo/"):
        descriptor(proc, name)
        return Mode.S_IFREG | 0o444
    if name.startswith(b"map_files/"):
        _mapped(proc, name)
        return _LINK | 0o600
    if name not in _ENTRIES:
        raise GuestError(Errno.ENOENT, "no such file in /proc/self")
    mode = _ENTRIES[name]
    return mode if mode & Mode.S_IFMT else mode | Mode.S_IFREG


def _size(proc: Process, name: bytes) -> int:
    if name.startswith(b"/"):
        from emuvm.kernel.procfs_system import tree

        made = tree().get(name)
        return 0 if made is None else made.size
    if name == b"fd":
        return sum(1 for _ in proc.files.items())
    return 64 if name.startswith((b"fd/", b"map_files/")) else 0


def status(proc: Process, name: bytes) -> Stat:
    """lstat(2) of a made-up name. ENOENT."""
    from emuvm.kernel.procfs_system import proc_device

    mode = _mode(proc, name)
    seconds = divmod(proc.system.clock(0), 1_000_000_000)
    links = 1
    if mode & Mode.S_IFMT == _DIR:
        links = 2 + sum(1 for _, kind, entry in entries(proc, name) if kind == _TYPES[_DIR] and entry not in (b".", b".."))
    return Stat(
        proc_device(proc), inode(proc, name), mode, links, *_owner(proc, name), (0, 0), _size(proc, name),
        4096 if name.startswith(_SYS) else _BLOCK, 0,
        seconds, seconds, seconds,
    )  # fmt: skip


def _owner(proc: Process, name: bytes) -> tuple[int, int]:
    """The user and group of a file: root's, unless it is the process's own and that may be looked into."""
    if name.startswith(b"/") or proc.dumpable != 1:
        return 0, 0
    return proc.system.euid, proc.system.egid


def inode(proc: Process, name: bytes) -> int:
    """A number that stays the same during a run."""
    start = 0xF000_0000 if name.startswith(b"/") else proc.pid << 16 & 0xFFFF_FFFF
    return start + (sum((i + 1) * byte for i, byte in enumerate(name)) & 0xFFFF) + 1


def allowed(proc: Process, name: bytes, access: int) -> bool:
    """May the program's user access it (4 read, 2 write, 1 execute)? Root may, but not execute what nobody may."""
    mode, creds = _mode(proc, name), proc.system.credentials
    if name.startswith(_STRICT[0]):
        bits = mode >> 6 if not creds.uids.effective else mode >> 3 if not creds.gids.effective or 0 in creds.groups else mode
        return not access & ~bits & 7
    if creds.capable(Cap.CAP_DAC_OVERRIDE):
        return not access & 1 or bool(mode & 0o111)
    bits = mode >> 6 if creds.uids.fs == _owner(proc, name)[0] else mode
    return not access & ~bits & 7


def open_file(proc: Process, name: bytes, path: bytes, flags: int) -> OpenFile:
    """Open a made-up file or directory. ENOENT, EEXIST, EISDIR, ENOTDIR, ELOOP, EACCES, EROFS."""
    from emuvm.kernel.procfs_open import make

    creating = flags & Open.O_CREAT and not flags & Open.O_PATH
    stat = status(proc, name)
    if creating and flags & Open.O_EXCL:
        raise GuestError(Errno.EEXIST, "exists already")
    kind, wanted = stat.mode & Mode.S_IFMT, ((flags & Open.O_ACCMODE) + 1) & 3 or 3
    access = (4 if wanted & 1 else 0) | (2 if wanted & 2 else 0)
    if flags & Open.O_DIRECTORY and kind != _DIR:
        raise GuestError(Errno.ENOTDIR, "not a directory")
    if not flags & Open.O_PATH:
        if kind == _LINK:
            raise GuestError(Errno.ELOOP, "a symbolic link")
        if kind == _DIR and (access & 2 or creating):
            raise GuestError(Errno.EISDIR, "a directory")
        if not allowed(proc, name, access):
            raise GuestError(Errno.EACCES, "permissions")
        if access & 2 and name.startswith(_STRICT) and not stat.mode & 0o222:
            raise GuestError(Errno.EACCES, "nobody may write it")
        if access & 2 and name.startswith(b"/"):
            raise GuestError(Errno.EROFS, "settings of the host")
        if flags & Open.O_DIRECT:
            raise GuestError(Errno.EINVAL, "it cannot be read around a cache")
    file = make(proc, name, path, flags, stat)
    file.prompt = name in PROMPT
    return file


def entries(proc: Process, name: bytes) -> list[tuple[int, int, bytes]]:
    """(inode, d_type, name) of what a directory holds."""
    directory = _TYPES[_DIR]
    found = [(inode(proc, name), directory, b"."), (inode(proc, b".." + name), directory, b"..")]
    if name.startswith(b"/"):
        return found + _system_entries(proc, name)
    if name in (b"fd", b"fdinfo"):
        kind = _TYPES[_LINK if name == b"fd" else Mode.S_IFREG]
        return found + [(inode(proc, name + b"/%d" % fd), kind, b"%d" % fd) for fd, _ in proc.files.items()]
    if name == b"task":
        return [*found, (inode(proc, b"task/%d" % proc.tid), directory, b"%d" % proc.tid)]
    if name == b"map_files":
        from emuvm.kernel.procfs_memory import mapped_files

        return found + [(inode(proc, b"map_files/" + entry), _TYPES[_LINK], entry) for entry in mapped_files(proc)]
    missing = _PROCESS_ONLY if name else _THREAD_ONLY
    for entry, mode in _ENTRIES.items():
        if entry not in missing:
            found.append((inode(proc, entry), _TYPES[mode & Mode.S_IFMT or Mode.S_IFREG], entry))
    return found


def _system_entries(proc: Process, name: bytes) -> list[tuple[int, int, bytes]]:
    from emuvm.kernel.procfs_system import inside

    found = []
    if name == b"/proc":
        found = [(inode(proc, b""), _TYPES[_DIR], b"%d" % proc.pid)]
        found += [(inode(proc, alias), _TYPES[_LINK], alias[6:]) for alias in _ALIASES]
    for entry, is_directory in inside(name).items():
        found.append((inode(proc, name + b"/" + entry), _TYPES[_DIR if is_directory else Mode.S_IFREG], entry))
    return found
