"""PROCMAP_QUERY: the ioctl of /proc/PID/maps that tells of one region (Linux 6.11).

Owns: the request, struct procmap_query, build ids. Must not know how regions are named (`procfs_memory`). Source:
fs/proc/task_mmu.c:do_procmap_query, lib/buildid.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.procfs_memory import name_of, place, region_at
from emuvm.mm.types import File, Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

REQUEST = 0xC068_6611
"""_IOWR('f', 17, struct procmap_query); architectures that number ioctls differently have another one, and no use for it here."""
_QUERY = "9Q4I2Q"
"""size, flags and address asked for; start, end, flags, page size, offset, inode; device (2), sizes and addresses of name and build id."""
_SIZE, _LEAST, _PAGE = 104, 24, 4096
_SHARED, _OR_NEXT, _OF_FILE, _KNOWN = 8, 0x10, 0x20, 0x3F
_NAME_MAX = 4096
_BUILD_ID_MAX = 20


def query(proc: Process, address: int) -> int:
    """Serve the ioctl. EFAULT, E2BIG, EINVAL the structure; ENOENT no such region; ENAMETOOLONG no room for a name or build id."""
    order = ">" if proc.arch.big_endian else "<"
    size = proc.mem.read_u64(address)
    if size > _PAGE:
        raise GuestError(Errno.E2BIG, f"{size} bytes")
    if size < _LEAST:
        raise GuestError(Errno.EINVAL, f"{size} bytes")
    data = proc.mem.read(address, size)
    if any(data[_SIZE:]):
        raise GuestError(Errno.E2BIG, "fields that are not known")
    request = struct.unpack(order + _QUERY, data[:_SIZE].ljust(_SIZE, b"\0"))
    flags, at, name_room, id_room, name_to, id_to = request[1], request[2], request[11], request[12], request[13], request[14]
    if flags & ~_KNOWN or bool(name_room) != bool(name_to) or bool(id_room) != bool(id_to):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    vma = _matching(proc, at, flags)
    where = place(proc, vma)
    device, inode, offset = (where.device, where.inode, vma.backing.offset) if where is not None else ((0, 0), 0, 0)
    build_id = _build_id(vma) if id_room else b""
    if len(build_id) > id_room:
        raise GuestError(Errno.ENAMETOOLONG, "no room for the build id")
    name = (name_of(proc, vma) if where is None else where.name) if name_room else b""
    name = name + b"\0" if name else b""
    if len(name) > min(name_room, _NAME_MAX):
        raise GuestError(Errno.ENAMETOOLONG, "no room for the name")
    rights = vma.prot & 7 | (_SHARED if vma.flags & VmFlag.MAYSHARE else 0)
    answer = struct.pack(
        order + _QUERY, size, flags, at, vma.start, vma.end, rights, proc.space.page_size, offset, inode,
        *device, len(name), len(build_id), name_to, id_to,
    )  # fmt: skip
    if name:
        proc.mem.write(name_to, name)
    if build_id:
        proc.mem.write(id_to, build_id)
    proc.mem.write(address, answer[:size])
    return 0


def _matching(proc: Process, address: int, flags: int) -> Vma:
    while True:
        vma = region_at(proc, address)
        if vma is None:
            break
        fits = not flags & _OF_FILE or isinstance(vma.backing, File)
        if fits and not flags & 7 & ~vma.prot and not (flags & _SHARED and not vma.flags & VmFlag.MAYSHARE):
            if flags & _OR_NEXT or vma.start <= address:
                return vma
        address = vma.end
        if not flags & _OR_NEXT:
            break
    raise GuestError(Errno.ENOENT, "no such region")


def _build_id(vma: Vma) -> bytes:
    """The GNU build id of the ELF file that a region maps, as far as it stands in the file's first page; empty: none."""
    file: Any = vma.backing.file if isinstance(vma.backing, File) else None
    if not hasattr(file, "fileno"):
        return b""
    try:
        page = hostfd.pread(file.fileno(), _PAGE, 0)
    except GuestError:
        return b""
    if page[:4] != b"\x7fELF" or len(page) < 64 or page[4] not in (1, 2) or page[5] not in (1, 2):
        return b""
    order, wide = "<" if page[5] == 1 else ">", page[4] == 2
    table = struct.unpack_from(order + ("Q" if wide else "I"), page, 32 if wide else 28)[0]
    count = struct.unpack_from(order + "H", page, 56 if wide else 44)[0]
    each = 56 if wide else 32
    if table + count * each > _PAGE:
        return b""
    for index in range(count):
        at = table + index * each
        kind = struct.unpack_from(order + "I", page, at)[0]
        offset, length = struct.unpack_from(order + ("Q16xQ" if wide else "I8xI"), page, at + (8 if wide else 4))
        if kind == 4 and offset + length <= len(page):
            found = _gnu_note(page[offset : offset + length], order)
            if found:
                return found
    return b""


def _gnu_note(notes: bytes, order: str) -> bytes:
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from(order + "3I", notes, at)
        start = at + 12 + (name_size + 3 & ~3)
        if kind == 3 and notes[at + 12 : at + 16] == b"GNU\0" and 0 < size <= _BUILD_ID_MAX and start + size <= len(notes):
            return notes[start : start + size]
        at = start + (size + 3 & ~3)
    return b""
