"""Kinds of made-up files: how a program's reads, writes and seeks move through them.

Owns: seq_file's buffering (fs/seq_file.c), plain texts, settings, made-up directories. Must not know what any file says:
that is given as a function, asked when the program reads, never when it opens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open, Poll, Seek
from emuvm.abi.structs import Stat
from emuvm.errors import GuestError
from emuvm.kernel.files import OpenFile

_BUFFER = 4096
_ALWAYS = Poll.POLLIN | Poll.POLLRDNORM | Poll.POLLOUT | Poll.POLLWRNORM

Record = Callable[[int], "tuple[bytes, int] | None"]
"""key -> (the first record at or behind `key`, the key behind it), None at the end. The first key is 0."""
Records = Callable[[int], "Iterable[tuple[bytes, int]]"]
"""key -> the records at or behind `key`, each with the key behind it: all made at one moment, as far as they are taken."""
Text = Callable[[], bytes]
Listing = Callable[[], "list[tuple[int, int, bytes]]"]
"""(inode, d_type, name) of every entry."""


_HIPRI, _RWF = 1, 0x136
"""RWF_HIPRI; RWF_DSYNC, SYNC, APPEND, NOAPPEND and NOSIGNAL."""
_LIMIT = 0x7FFF_FFFF
"""s_maxbytes of file systems that do not say otherwise: no position is beyond (fs/super.c)."""


def moved(now: int, size: int, offset: int, whence: int, limit: int | None = _LIMIT) -> int:
    """The new position (fs/read_write.c:generic_file_llseek; without a limit default_llseek). ENXIO, EINVAL."""
    if whence == Seek.SEEK_CUR:
        offset += now
    elif whence == Seek.SEEK_END:
        offset += size
    elif whence in (Seek.SEEK_DATA, Seek.SEEK_HOLE):
        if offset >= size or (offset < 0 and limit is not None):
            raise GuestError(Errno.ENXIO, f"{offset} is not in the file")
        offset = size if whence == Seek.SEEK_HOLE else offset
    elif whence != Seek.SEEK_SET:
        raise GuestError(Errno.EINVAL, f"whence {whence}")
    if offset < 0 or (limit is not None and offset > limit):
        raise GuestError(Errno.EINVAL, f"offset {offset}")
    return offset


class MadeFile(OpenFile):
    """A file of emuvm's own making, with an offset. Unless it is `prompt` its text is not made inside the engine's hook."""

    noexec = True
    map_limit = (1 << 63) - 1

    def __init__(self, path: bytes, flags: int, stat: Stat) -> None:
        super().__init__(flags, path)
        self._stat = stat
        self.offset = 0

    requests: dict[int, Callable[[int], int]] = {}
    """ioctl(2): request -> what serves its argument."""

    def stat(self) -> Stat:
        return self._stat

    polls = _ALWAYS
    unknown_request = Errno.ENOTTY
    """ioctl(2) of what it does not serve."""

    def ready(self) -> int:
        return self.polls

    def set_status(self, flags: int) -> None:
        if flags & Open.O_DIRECT:
            raise GuestError(Errno.EINVAL, "it cannot be read around a cache")
        super().set_status(flags)

    def check_flags(self, flags: int) -> None:
        if flags & ~(_HIPRI | (_RWF if self.splices else 0)):  # who has a splice_read has a read_iter, which knows more
            super().check_flags(flags)

    signed = True
    """Positions end where 63 bits do (fs/read_write.c:rw_verify_area)."""

    def _verify(self, length: int) -> None:
        if self.signed and not 0 <= self.offset < (1 << 63) - length:
            raise GuestError(Errno.EINVAL, f"{length} bytes from {self.offset:#x} on")

    def read(self, length: int) -> bytes:
        self._verify(length)
        data = self.pread(length, self.offset)
        self.offset += len(data)
        return data

    def write(self, data: bytes) -> int:
        self._verify(len(data))
        count = self.pwrite(data, self.offset)
        self.offset += count
        return count

    def pread(self, length: int, offset: int) -> bytes:
        raise GuestError(Errno.EINVAL, "cannot be read")

    def pwrite(self, data: bytes, offset: int) -> int:
        raise GuestError(Errno.EINVAL, "cannot be written")

    def truncate(self, length: int) -> None:
        """Allowed, and nothing happens."""

    def seek(self, offset: int, whence: int) -> int:
        """Absolute and relative, never behind the start; there is no end to seek from (fs/seq_file.c:seq_lseek)."""
        if whence == Seek.SEEK_CUR:
            offset += self.offset
        elif whence != Seek.SEEK_SET:
            raise GuestError(Errno.EINVAL, "no end to seek from")
        if offset < 0:
            raise GuestError(Errno.EINVAL, f"offset {offset}")
        self.offset = offset
        return offset

    def mappable(self) -> Any:
        """ENODEV, but EIO for what lies in /proc itself (fs/proc/inode.c:proc_reg_mmap)."""
        directory, _, _ = self.path.rpartition(b"/")
        raise GuestError(Errno.EIO if directory in (b"/proc", b"/proc/net") else Errno.ENODEV, "cannot be mapped")


class SequenceFile(MadeFile):
    """A file of records that are made as they are read, through a buffer: a read ends with a whole record where it can.

    The buffer holds a page, or a record that is longer; what did not fit into a read is kept for the next one, so that every
    record is of one moment although the file as a whole is not.
    """

    def __init__(self, path: bytes, flags: int, stat: Stat, records: Records) -> None:
        super().__init__(path, flags, stat)
        self._records = records
        self._kept = b""
        self._key = 0
        self._position = 0
        """The offset that `_kept` begins at."""
        self._size = _BUFFER

    def pread(self, length: int, offset: int) -> bytes:
        if offset == 0:
            self._key, self._kept = 0, b""
        if offset != self._position or offset == 0:
            self._traverse(offset)
        out, self._kept = self._kept[:length], self._kept[length:]
        if not self._kept:
            more = self._fill(length - len(out))
            out, self._kept = out + more[: length - len(out)], more[length - len(out) :]
        self._position = offset + len(out)
        return out

    def _fill(self, wanted: int) -> bytes:
        """Records until there are `wanted` bytes or the buffer is full; at least one, unless at the end."""
        parts: list[bytes] = []
        count = 0
        for data, key in self._records(self._key):
            if not parts:
                while len(data) >= self._size:
                    self._size *= 2
            elif count + len(data) >= self._size:
                break
            parts.append(data)
            count += len(data)
            self._key = key
            if count >= wanted:
                break
        return b"".join(parts)

    def _traverse(self, offset: int) -> None:
        """Make everything anew up to `offset`."""
        self._key, self._kept, passed = 0, b"", 0
        for data, key in self._records(0) if offset else ():
            self._key = key
            if passed + len(data) > offset:
                self._kept = data[offset - passed :]
            passed += len(data)
            if passed >= offset:
                break
        self._position = offset


def each(record: Record) -> Records:
    """Records that are made one by one."""

    def records(key: int) -> Iterator[tuple[bytes, int]]:
        while (found := record(key)) is not None:
            yield found
            key = found[1]

    return records


def single(text: Text) -> Records:
    """The records of a file that is one (fs/seq_file.c:single_open)."""
    return lambda key: () if key else ((text(), 1),)


class PlainFile(MadeFile):
    """Bytes made at each read. `ends`: there is an end to seek from, and up to `limit` a position."""

    limit: int | None = _LIMIT
    news = False
    """poll(2) tells of a change until it is read (fs/kernfs/file.c:kernfs_generic_poll)."""

    def __init__(self, path: bytes, flags: int, stat: Stat, text: Text, ends: bool = True) -> None:
        super().__init__(path, flags, stat)
        self._text = text
        self._ends = ends

    def pread(self, length: int, offset: int) -> bytes:
        self.news = False
        return self._text()[offset : offset + length]

    def ready(self) -> int:
        return super().ready() | (Poll.POLLERR | Poll.POLLPRI if self.news else 0)

    def seek(self, offset: int, whence: int) -> int:
        if not self._ends:
            return super().seek(offset, whence)
        self.offset = moved(self.offset, self._stat.size, offset, whence, self.limit)
        return self.offset


class NumberFile(PlainFile):
    """Numbers of /proc/sys: they are read from the start, or not at all (kernel/sysctl.c:__do_proc_dointvec)."""

    def pread(self, length: int, offset: int) -> bytes:
        return b"" if offset else super().pread(length, 0)


class SettingFile(PlainFile):
    """A short text that can be written; `store` gets what was written, whatever the offset."""

    def __init__(self, path: bytes, flags: int, stat: Stat, text: Text, store: Callable[[bytes], None], ends: bool = True) -> None:
        super().__init__(path, flags, stat, text, ends)
        self._store = store

    def pwrite(self, data: bytes, offset: int) -> int:
        self._store(data)
        return len(data)


class OrderFile(MadeFile):
    """A file that is only written to: each write is an order. Its offset never moves."""

    def __init__(self, path: bytes, flags: int, stat: Stat, obey: Callable[[bytes], None]) -> None:
        super().__init__(path, flags, stat)
        self._obey = obey

    def write(self, data: bytes) -> int:
        return self.pwrite(data, 0)

    def pwrite(self, data: bytes, offset: int) -> int:
        self._obey(data)
        return len(data)

    def seek(self, offset: int, whence: int) -> int:
        return 0


class MadeDirectory(OpenFile):
    """A directory that emuvm makes up. The offset counts entries."""

    is_directory = True
    noexec = True

    def __init__(self, path: bytes, flags: int, stat: Stat, listing: Listing) -> None:
        super().__init__(flags, path)
        self.listing = listing
        """What is in it now, asked for at every reading."""
        self.offset = 0
        self._stat = stat

    def read(self, length: int) -> bytes:
        raise GuestError(Errno.EISDIR, "a directory")

    def pread(self, length: int, offset: int) -> bytes:
        raise GuestError(Errno.EISDIR, "a directory")

    def seek(self, offset: int, whence: int) -> int:
        self.offset = moved(self.offset, 0, offset, whence)  # the end is 0: nobody knows it
        return self.offset

    def check_flags(self, flags: int) -> None:
        if flags & ~_HIPRI:
            super().check_flags(flags)

    def set_status(self, flags: int) -> None:
        if flags & Open.O_DIRECT:
            raise GuestError(Errno.EINVAL, "it cannot be read around a cache")
        super().set_status(flags)

    def stat(self) -> Stat:
        return self._stat

    def ready(self) -> int:
        return _ALWAYS


def number(data: bytes, base: int = 0, signed: bool = True) -> int:
    """A number that was written, blanks around it ignored; base 0: by its prefix. EINVAL (lib/kstrtox.c)."""
    text = data[:21].partition(b"\0")[0].strip(b" \t\n\r\v\f")
    digits = text[1:] if text[:1] == b"+" or (signed and text[:1] == b"-") else text
    if not base:
        base = 16 if digits[:2].lower() == b"0x" else 8 if digits[:1] == b"0" else 10
        digits = digits[2:] if base == 16 else digits
    allowed = b"0123456789abcdefABCDEF" if base == 16 else b"0123456789"[:base]
    if not digits or digits.strip(allowed):
        raise GuestError(Errno.EINVAL, "not a number")
    return -int(digits, base) if text[:1] == b"-" else int(digits, base)
