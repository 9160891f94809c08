"""Where the bytes of an image come from: memory, or an open regular file.

Owns: the Source protocol and its two implementations; the only file here that touches the host. Must not know any
file format. Nothing reads a whole file: a header parser asks for the few hundred bytes it needs.
"""

from __future__ import annotations

import os
from typing import Protocol


class Source(Protocol):
    """Random access to the bytes of one file. `size` is asked again each time: a file may grow."""

    def size(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; fewer only at the end of the file. Never allocates more than the file holds."""


class BytesSource:
    """A file in memory."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = bytes(data)

    def size(self) -> int:
        return len(self._data)

    def read_at(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


class FileSource:
    """A regular file, held open (as execve holds it) so that later reads see the same file whatever happens to its name.

    It has what `emuvm.engine.base.HostFile` asks for, so it can back guest pages directly. Raises OSError as open(2)
    does, IsADirectoryError for a directory, PermissionError for anything else that is not a regular file; a FIFO or
    device is never waited for.
    """

    __slots__ = ("_fd", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._fd = -1
        self.path = os.fspath(path)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
        self._fd = os.open(self.path, flags)
        kind = os.fstat(self._fd).st_mode & 0o170000
        if kind == 0o040000:
            self.close()
            raise IsADirectoryError("is a directory")
        if kind != 0o100000:
            self.close()
            raise PermissionError("not a regular file")

    def fileno(self) -> int:
        return self._fd

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        length = min(length, self.size() - offset)
        parts = []
        while length > 0:
            part = self._read(offset, length)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)

    def _read(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._fd, length, offset)
        os.lseek(self._fd, offset, os.SEEK_SET)
        return os.read(self._fd, length)

    def close(self) -> None:
        """Give the descriptor back; also happens when the last reference goes."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()
