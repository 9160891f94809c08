"""execve and execveat.

Owns: their arguments, and what of the process does not outlive its program. Must not know how a program is loaded (`kernel.execve`).
Source: fs/exec.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags import At, Mode
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_ARG_LIMIT = 6 << 20
_ARG_STRING = 32 * 4096
_STATIC = "static programs of the same architecture. Nothing runs on the host"


@syscall("execve", "path ptr ptr", level="partial", note=_STATIC)
def execve(proc: Process, path: bytes, argv: int, envp: int) -> int:
    return _execute(proc, path, argv, envp)


@syscall("execveat", "fd path ptr ptr flags", level="partial", note=_STATIC + "; AT_EXECVE_CHECK is EINVAL")
def execveat(proc: Process, dirfd: int, path: bytes, argv: int, envp: int, flags: int) -> int:
    from emuvm.kernel.sys.fs import resolve

    if not path and not flags & At.AT_EMPTY_PATH:
        raise GuestError(Errno.ENOENT, "an empty path")
    if flags & ~(At.AT_SYMLINK_NOFOLLOW | At.AT_EMPTY_PATH):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    called = path
    if not path.startswith(b"/") and dirfd != At.AT_FDCWD:
        called = b"/dev/fd/%d" % dirfd + (b"/" + path if path else b"")
    if not path:
        removed = not proc.files.get(dirfd).stat().nlink
        done = _execute(proc, b"/proc/self/fd/%d" % dirfd, argv, envp, called)
        name = proc.exe.rsplit(b"/", 1)[-1]
        proc.name = (name.removesuffix(b" (deleted)") if removed else name)[:15]
        return done
    where = resolve(proc, dirfd, path)
    if flags & At.AT_SYMLINK_NOFOLLOW:
        with proc.fs.node(where, False) as node:
            if node.kind == Mode.S_IFLNK:
                raise GuestError(Errno.ELOOP, "a symbolic link")
    return _execute(proc, where, argv, envp, called)


def _execute(proc: Process, path: bytes, argv: int, envp: int, called: bytes = b"") -> int:
    from emuvm.kernel.execve import replace

    arguments = proc.mem.read_strings(argv, _ARG_LIMIT, _ARG_STRING)
    environment = proc.mem.read_strings(envp, _ARG_LIMIT, _ARG_STRING)
    replace(proc, path, arguments, environment, called)
    _after_exec(proc)
    return 0


def _after_exec(proc: Process) -> None:
    """What of the process itself does not outlive its program (fs/exec.c:begin_new_exec)."""
    from emuvm.kernel.sys.identity import apply

    proc.system.credentials.after_exec()
    apply(proc)
    proc.dumpable = 1
    for name in ("membarrier", "membarrier_shown", "futex_slots", "timer_restore"):
        proc.controls.pop(name, None)
    if proc.controls.get("mdwe", 0) & 2:  # PR_MDWE_NO_INHERIT
        proc.controls.pop("mdwe")
        proc.mm.deny_write_exec = False
