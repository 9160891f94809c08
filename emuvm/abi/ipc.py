"""System V shared memory: constants and structures of the 64-bit ABIs.

Owns facts as data. Must not know handlers. Values: include/uapi/linux/{ipc,shm}.h, asm-generic/{ipcbuf,shmbuf}.h.
"""

from __future__ import annotations

from functools import cache
from struct import Struct

from emuvm.abi.arch import Arch
from emuvm.abi.tuples import NamedTuple


class Ipc:
    """Flags and commands."""

    IPC_PRIVATE = 0
    IPC_CREAT = 0o1000
    IPC_EXCL = 0o2000
    IPC_RMID = 0
    IPC_SET = 1
    IPC_STAT = 2
    IPC_INFO = 3
    SHM_LOCK = 11
    SHM_UNLOCK = 12
    SHM_STAT = 13
    SHM_INFO = 14
    SHM_STAT_ANY = 15
    SHM_HUGETLB = 0o4000
    SHM_NORESERVE = 0o10000
    SHM_RDONLY = 0o10000
    SHM_RND = 0o20000
    SHM_REMAP = 0o40000
    SHM_EXEC = 0o100000
    SHM_DEST = 0o1000
    SHM_LOCKED = 0o2000


class ShmidDs(NamedTuple):
    """struct shmid64_ds with its struct ipc64_perm; times in seconds."""

    key: int
    uid: int
    gid: int
    cuid: int
    cgid: int
    mode: int
    seq: int
    segsz: int
    atime: int
    dtime: int
    ctime: int
    cpid: int
    lpid: int
    nattch: int


_SHMID_DS = "iIIIIIH22xQqqqiiQ16x"
SHMID_DS_SIZE = 112


def pack_shmid_ds(arch: Arch, ds: ShmidDs) -> bytes:
    """NotImplementedError for 32-bit ABIs."""
    key = (ds.key & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31)
    return _layout(arch, _SHMID_DS).pack(key, *ds[1:])


def unpack_shmid_ds(arch: Arch, data: bytes) -> ShmidDs:
    """The inverse of `pack_shmid_ds`."""
    return ShmidDs(*_layout(arch, _SHMID_DS).unpack(data))


def pack_shminfo(arch: Arch, maximum: int, minimum: int, count: int, total: int) -> bytes:
    """struct shminfo64."""
    return _layout(arch, "5Q32x").pack(maximum, minimum, count, count, total)


def pack_shm_info(arch: Arch, used: int, total: int, resident: int, swapped: int) -> bytes:
    """struct shm_info; sizes in pages."""
    return _layout(arch, "i4xQQQ16x").pack(used, total, resident, swapped)


@cache
def _layout(arch: Arch, fmt: str) -> Struct:
    if arch.bits != 64:
        raise NotImplementedError(f"struct shmid_ds of {arch.name}")
    return Struct((">" if arch.big_endian else "<") + fmt)
