"""Copies between emuvm and guest memory, as the guest itself could make them.

Owns: access checks page by page, partial copies, strings, iovecs, small integers. Must not know system calls. Every
method raises GuestError(EFAULT) where the guest may not access the memory; a copy out that fails has stored what comes before
the first byte that cannot be, as Linux's do, an integer nothing.
Addresses are guest addresses, lengths bytes. Rights are the mapping's (arch/*/mm: protection_map); pages of a file mapping
that lie behind the end of the file are not accessible, nor are guarded ones; stacks grow. Source: LINUX uaccess, lib/iov_iter.c.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from emuvm.abi.arch import Arch
from emuvm.abi.errno import Errno
from emuvm.abi.structs import iovec_size, unpack_iovec
from emuvm.engine.base import Memory
from emuvm.errors import GuestError
from emuvm.mm.rules import secret
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import File, Vma, VmFlag

READ, WRITE = 1, 2
IOV_MAX = 1024
_STRING_STEP = 256
MAX_RW_COUNT = 0x7FFF_F000
"""The most one read or write transfers (include/linux/fs.h)."""


class Deferred(Exception):
    """The call cannot be finished inside the engine's hook, and is to be made again outside. Nothing has been done yet."""


def _nothing(vma: Vma) -> None:
    return


def _no_growth(address: int) -> bool:
    return False


class UserMemory:
    """Guest memory as a system call sees it. `grow(address)` extends the stack to an address, if Linux would."""

    def __init__(self, space: AddressSpace, memory: Memory, arch: Arch, grow: Callable[[int], bool] = _no_growth) -> None:
        self.space = space
        self.memory = memory
        self.arch = arch
        self.grow = grow
        self._peek, self._poke = memory.peek, memory.poke
        self.deferred = False
        """True inside an engine hook: what needs the stack to grow, or may wait, raises Deferred instead."""
        self.missing: Callable[[Vma], None] = _nothing
        """Told of a write behind the end of a file that is mapped."""
        self._readable = tuple(bool(rights & READ) for rights in arch.rights)
        order = ">" if arch.big_endian else "<"
        self._word = Struct(order + ("Q" if arch.bits == 64 else "I"))
        self._u32 = Struct(order + "I")
        self._u64 = Struct(order + "Q")
        self._page = space.page_size

    # -- which bytes are accessible ---------------------------------------------------------------------------------------

    def access_ok(self, addr: int, length: int) -> None:
        """EFAULT when the range reaches beyond user addresses (access_ok); says nothing about mappings."""
        if addr + length > self.arch.task_size:
            raise GuestError(Errno.EFAULT, f"{addr:#x} and {length:#x} bytes on are not user addresses")

    def accessible(self, addr: int, length: int, access: int, grow: bool = True) -> int:
        """How many of `length` bytes from `addr` on may be accessed (READ or WRITE) without a break. `grow`: by making a stack longer."""
        done = 0
        while done < length:
            vma = self.space.query(addr + done)
            if vma is None:
                if not grow or not self._grown(addr + done):
                    break
                continue
            if not (self._readable[vma.prot & 7] if access == READ else vma.prot & WRITE):
                break
            end = self._end(vma)
            held = self._withheld(addr + done, min(end, addr + length))
            if held is not None:
                return max(done, held - addr)
            if end <= addr + done:
                if access == WRITE:
                    self.missing(vma)
                break
            done = end - addr
        return min(done, length)

    def pinnable(self, addr: int, length: int, access: int) -> int:
        """As `accessible` for get_user_pages: PROT_READ itself counts, whatever else lets the CPU read, and stacks do not grow."""
        done = 0
        while done < length:
            vma = self.space.query(addr + done) if 0 <= addr + done < self.space.end else None
            if vma is None or not vma.prot & access or vma.flags & (VmFlag.IO | VmFlag.PFNMAP) or secret(vma):
                break
            end = min(self._end(vma), addr + length)
            held = self._withheld(addr + done, end)
            if held is not None:
                return max(done, held - addr)
            if end <= addr + done:
                break
            done = end - addr
        return done

    def _withheld(self, start: int, end: int) -> int | None:
        """Where in the range memory begins that is mapped, but guarded: nobody may access it."""
        ask = self.memory.withheld
        if ask is None or start >= end:
            return None
        found = ask(start, end)
        return found[0][0] if found else None

    def _grown(self, address: int) -> bool:
        if not self.deferred:
            return self.grow(address)
        above = self.space.region_above(address) if address < self.space.end else None
        if above is not None and above.flags & 0x100:
            raise Deferred
        return False

    def _end(self, vma: Vma) -> int:
        """Where the region stops being accessible: its end, or the last page that holds bytes of its file."""
        backing = vma.backing
        if type(backing) is not File or not hasattr(backing.file, "size"):
            return vma.end
        present: int = backing.file.size() - backing.offset
        return min(vma.end, vma.start + (present + self._page - 1) // self._page * self._page)

    def check(self, addr: int, length: int, access: int) -> None:
        """EFAULT unless the whole range may be accessed."""
        self.access_ok(addr, length)
        if self.accessible(addr, length, access) < length:
            raise GuestError(Errno.EFAULT, f"{addr:#x}, {length} bytes")

    # -- copies -----------------------------------------------------------------------------------------------------------

    def read(self, addr: int, length: int) -> bytes:
        """All of the bytes, or EFAULT."""
        if (plain := self._peek(addr, length)) is not None or not length:
            return plain or b""
        vma = self.space.query(addr)
        if (
            vma is None
            or addr + length > vma.end
            or type(vma.backing) is File
            or not self._readable[vma.prot & 7]
            or self.memory.withheld is not None
        ):
            self.check(addr, length, READ)
        return self.memory.read(addr, length)

    def write(self, addr: int, data: bytes) -> None:
        """All of the bytes, or EFAULT and those before the first that cannot be stored (copy_to_user)."""
        if self._poke(addr, data) or not data:
            return
        vma = self.space.query(addr)
        if (
            vma is None
            or addr + len(data) > vma.end
            or type(vma.backing) is File
            or not vma.prot & WRITE
            or self.memory.withheld is not None
        ):
            self.access_ok(addr, len(data))
            count = self.accessible(addr, len(data), WRITE)
            if count < len(data):
                if count:
                    self.memory.write(addr, data[:count])
                raise GuestError(Errno.EFAULT, f"{addr + count:#x}")
        self.memory.write(addr, data)

    def stored(self, addr: int, data: bytes) -> bool:
        """As `write`, but whether all of the bytes could be stored."""
        if self._poke(addr, data):
            return True
        try:
            self.access_ok(addr, len(data))
            self.write(addr, data)
        except GuestError:
            return False
        return True

    def _put(self, addr: int, data: bytes) -> None:
        """All of the bytes, or EFAULT and none (put_user)."""
        if self._poke(addr, data):
            return
        vma = self.space.query(addr)
        if vma is None or addr + len(data) > vma.end or type(vma.backing) is File:
            self.check(addr, len(data), WRITE)
        self.write(addr, data)

    def read_some(self, addr: int, length: int) -> bytes:
        """The accessible bytes from `addr` on, at most `length`; EFAULT when not even the first is, or beyond user space."""
        if (plain := self._peek(addr, length)) is not None or not length:
            return plain or b""
        return self.memory.read(addr, self._some(addr, length, READ))

    def glance(self, addr: int, length: int) -> bytes | None:
        """The bytes if one look tells that all of them may be read; None: ask."""
        return self._peek(addr, length)

    def write_some(self, addr: int, data: bytes) -> int:
        """Store as much as is accessible from `addr` on; the count. EFAULT when not even the first byte is."""
        if self._poke(addr, data):
            return len(data)
        if not data:
            return 0
        count = self._some(addr, len(data), WRITE)
        self.memory.write(addr, data if count == len(data) else data[:count])
        return count

    def writable(self, addr: int, length: int) -> int:
        """How much a write_some of `length` bytes would store; EFAULT as there. To be asked before data leave a pipe."""
        return self._some(addr, length, WRITE) if length else 0

    def _some(self, addr: int, length: int, access: int) -> int:
        self.access_ok(addr, length)
        count = self.accessible(addr, length, access)
        if not count:
            raise GuestError(Errno.EFAULT, f"{addr:#x}")
        return count

    def read_cstr(self, addr: int, limit: int, too_long: int = Errno.ENAMETOOLONG) -> bytes:
        """The string at `addr` without its NUL. `too_long` is raised if there is no NUL in the first `limit` bytes."""
        parts: list[bytes] = []
        done = 0
        while done < limit:
            # Not across a page border before it is known that the string goes on there: looking makes pages present.
            step = min(_STRING_STEP, limit - done, self._page - (addr + done) % self._page)
            part = self._peek(addr + done, step)
            if part is None:
                self.access_ok(addr + done, 1)
                count = self.accessible(addr + done, step, READ)
                part = self.memory.read(addr + done, count) if count else b""
            end = part.find(b"\0")
            if end >= 0:
                self._look_ahead(addr, done + end)
                parts.append(part[:end])
                return b"".join(parts)
            if len(part) < step:
                raise GuestError(Errno.EFAULT, f"string at {addr:#x}")
            parts.append(part)
            done += step
        raise GuestError(too_long, f"string at {addr:#x}")

    def _look_ahead(self, addr: int, length: int) -> None:
        """The kernel reads strings by words from their beginning on: the word with the NUL may reach into the next page, and make that
        present (lib/strncpy_from_user.c).
        """
        word = self._word.size
        last = addr + (length // word + 1) * word - 1
        page = last & -self._page
        if page > addr + length and self.accessible(page, 1, READ):
            self.memory.read(page, 1)

    def read_strings(self, addr: int, limit: int, each: int) -> list[bytes]:
        """A NULL-terminated array of string pointers, as for execve; a NULL `addr` is an empty list. E2BIG beyond the limits."""
        strings: list[bytes] = []
        total = 0
        while addr:
            pointer = self.read_word(addr)
            if not pointer:
                break
            strings.append(self.read_cstr(pointer, each, Errno.E2BIG))
            total += len(strings[-1]) + 1 + self._word.size
            if total > limit:
                raise GuestError(Errno.E2BIG, "arguments and environment")
            addr += self._word.size
        return strings

    def read_iovec(self, addr: int, count: int) -> list[tuple[int, int]]:
        """[(base, length)], their sum capped at MAX_RW_COUNT (lib/iov_iter.c:__import_iovec).

        EINVAL too many, or a negative length; EFAULT the array, or a buffer beyond user addresses. Of the number the kernel takes
        32 bits.
        """
        count &= 0xFFFF_FFFF
        if not 0 <= count <= IOV_MAX:
            raise GuestError(Errno.EINVAL, f"{count} iovecs")
        vectors = unpack_iovec(self.arch, self.read(addr, count * iovec_size(self.arch)))
        if any(length >> (self.arch.bits - 1) for _, length in vectors):
            raise GuestError(Errno.EINVAL, "negative iovec length")
        room, result = MAX_RW_COUNT, []
        if count == 1:
            # One vector is cut before it is looked at.
            vectors = [(base, min(length, room)) for base, length in vectors]
        for base, length in vectors:
            self.access_ok(base, length)
            result.append((base, min(length, room)))
            room -= result[-1][1]
        return result

    # -- integers ---------------------------------------------------------------------------------------------------------

    def read_word(self, addr: int) -> int:
        """An unsigned long or pointer."""
        value: int = self._word.unpack(self.read(addr, self._word.size))[0]
        return value

    def write_word(self, addr: int, value: int) -> None:
        """A long, signed or unsigned."""
        self._put(addr, self._word.pack(value & ((1 << self.arch.bits) - 1)))

    def read_u32(self, addr: int) -> int:
        value: int = self._u32.unpack(self.read(addr, 4))[0]
        return value

    def write_u32(self, addr: int, value: int) -> None:
        self._put(addr, self._u32.pack(value & 0xFFFF_FFFF))

    def read_u64(self, addr: int) -> int:
        value: int = self._u64.unpack(self.read(addr, 8))[0]
        return value

    def write_u64(self, addr: int, value: int) -> None:
        self._put(addr, self._u64.pack(value & 0xFFFF_FFFF_FFFF_FFFF))
