"""Changing who the process is: ids, groups, capabilities.

Owns: these calls' arguments. Must not know the rules (`kernel.credentials`). A change concerns what the kernel model asks for, as
memory locking and System V segments; files are opened with what emuvm itself may. Sources: kernel/sys.c, groups.c, capability.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.kernel.credentials import Credentials
from emuvm.kernel.registry import syscall

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_NGROUPS_MAX = 65536
_FILES = "files are still opened with what emuvm may"


def change(proc: Process, how: Callable[[Credentials], object]) -> int:
    """Change the credentials, and everything that has a copy of what follows from them."""
    creds = proc.system.credentials
    before = creds.changes
    how(creds)
    if creds.changes != before:
        proc.dumpable = 0
        proc.controls.pop("pdeathsig", None)
    apply(proc)
    return 0


def apply(proc: Process) -> None:
    """Tell the memory side what the process may, and the other processes of the run who it is."""
    creds = proc.system.credentials
    if proc.family is not None:
        proc.family.enter(proc.pid, creds.uids.real, creds.uids.saved)
    proc.mm.limits.ipc_lock = creds.capable(Cap.CAP_IPC_LOCK)
    proc.mm.raw_io = creds.capable(Cap.CAP_SYS_RAWIO)


@syscall("setuid", "uint", level="partial", note=_FILES)
def setuid(proc: Process, uid: int) -> int:
    return change(proc, lambda creds: creds.set_uid(uid))


@syscall("setgid", "uint", level="partial", note=_FILES)
def setgid(proc: Process, gid: int) -> int:
    return change(proc, lambda creds: creds.set_gid(gid))


@syscall("setreuid", "uint uint", level="partial", note=_FILES)
def setreuid(proc: Process, real: int, effective: int) -> int:
    return change(proc, lambda creds: creds.set_reuid(real, effective))


@syscall("setregid", "uint uint", level="partial", note=_FILES)
def setregid(proc: Process, real: int, effective: int) -> int:
    return change(proc, lambda creds: creds.set_regid(real, effective))


@syscall("setresuid", "uint uint uint", level="partial", note=_FILES)
def setresuid(proc: Process, real: int, effective: int, saved: int) -> int:
    return change(proc, lambda creds: creds.set_resuid(real, effective, saved))


@syscall("setresgid", "uint uint uint", level="partial", note=_FILES)
def setresgid(proc: Process, real: int, effective: int, saved: int) -> int:
    return change(proc, lambda creds: creds.set_resgid(real, effective, saved))


@syscall("setfsuid", "uint", level="partial", note=_FILES)
def setfsuid(proc: Process, uid: int) -> int:
    before = proc.system.credentials.uids.fs
    change(proc, lambda creds: creds.set_fsuid(uid))
    return before


@syscall("setfsgid", "uint", level="partial", note=_FILES)
def setfsgid(proc: Process, gid: int) -> int:
    before = proc.system.credentials.gids.fs
    change(proc, lambda creds: creds.set_fsgid(gid))
    return before


@syscall("setgroups", "uint ptr", level="partial", note=_FILES)
def setgroups(proc: Process, count: int, at: int) -> int:
    if not proc.system.credentials.may_set_groups():
        raise GuestError(Errno.EPERM, "CAP_SETGID")
    if count > _NGROUPS_MAX:
        raise GuestError(Errno.EINVAL, f"{count} groups")
    data = proc.mem.read(at, 4 * count)
    order = "big" if proc.arch.big_endian else "little"
    groups = [int.from_bytes(data[n : n + 4], order) for n in range(0, len(data), 4)]  # type: ignore[arg-type]
    if 0xFFFF_FFFF in groups:
        raise GuestError(Errno.EINVAL, "no gid")
    return change(proc, lambda creds: creds.set_groups(groups))


# -- capabilities -----------------------------------------------------------------------------------------------------------


def _words(proc: Process, header: int) -> int:
    """How many words each set has in the version the header tells; EINVAL after telling the right one."""
    version = proc.mem.read_u32(header)
    if version == Cap.VERSION_1:
        return 1
    if version in (Cap.VERSION_2, Cap.VERSION_3):
        return 2
    proc.mem.write_u32(header, Cap.VERSION_3)
    raise GuestError(Errno.EINVAL, f"version {version:#x}")


@syscall("capget", "ptr ptr", level="partial", note="of the process itself")
def capget(proc: Process, header: int, data: int) -> int:
    try:
        words = _words(proc, header)
    except GuestError as error:
        if error.errno == Errno.EINVAL and not data:
            return 0
        raise
    if not data:
        return 0
    pid = proc.mem.read_u32(header + 4)
    if pid >> 31:
        raise GuestError(Errno.EINVAL, "a negative pid")
    if pid not in (0, proc.pid):
        raise GuestError(Errno.ESRCH, f"process {pid}")
    creds = proc.system.credentials
    order = "big" if proc.arch.big_endian else "little"
    sets = (creds.effective, creds.permitted, creds.inheritable)
    values = [value >> 32 * word & 0xFFFF_FFFF for word in range(words) for value in sets]
    proc.mem.write(data, b"".join(value.to_bytes(4, order) for value in values))  # type: ignore[arg-type]
    return 0


@syscall("capset", "ptr ptr")
def capset(proc: Process, header: int, data: int) -> int:
    words = _words(proc, header)
    if proc.mem.read_u32(header + 4) not in (0, proc.pid):
        raise GuestError(Errno.EPERM, "another process")
    raw = proc.mem.read(data, 12 * words)
    order = "big" if proc.arch.big_endian else "little"
    values = [int.from_bytes(raw[n : n + 4], order) for n in range(0, len(raw), 4)]  # type: ignore[arg-type]
    effective, permitted, inheritable = (sum(values[3 * word + n] << 32 * word for word in range(words)) for n in range(3))
    return change(proc, lambda creds: creds.set_caps(effective, permitted, inheritable))
