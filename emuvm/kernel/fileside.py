"""What the process side asks of the file side.

Owns: these protocols, nothing else. `emuvm.kernel.filetable.FileTable` is a Descriptors, `emuvm.kernel.fs.Filesystem` a Programs,
made as `Filesystem(root, writable, allow_all, reporter)` and `FileTable()`; `reporter.once(key, text)` gives a notice once.
"""

from __future__ import annotations

from typing import Any, Protocol

from emuvm_loaders import Source


class Mappable(Protocol):
    """An open file, as mmap sees it."""

    def readable(self) -> bool: ...

    def writable(self) -> bool: ...

    def mappable(self) -> Any:
        """What `mm.types.File.file` shall be: equal for the same file, with fileno() and size(). GuestError ENODEV."""


class Descriptors(Protocol):
    """The descriptor table."""

    def get(self, fd: int) -> Mappable:
        """GuestError EBADF."""

    def close_on_exec(self) -> None: ...

    def close_all(self) -> None: ...


class Programs(Protocol):
    """Where execve finds files."""

    def open_program(self, path: bytes) -> tuple[Source, bytes]:
        """The file at a guest path, and its resolved guest path (/proc/self/exe).

        GuestError as execve: ENOENT, EACCES for what is not an executable regular file, ...
        """
