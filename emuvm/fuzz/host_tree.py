"""A directory of the host, in memory where there is such a file system, that is the root of one guest.

Owns: making it, putting it back, removing it. Must not know guests.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from emuvm.abi.tuples import NamedTuple
from emuvm.errors import EmuvmError

_IN_MEMORY = "/dev/shm"
_FOLDERS = ("bin", "dev", "etc", "proc", "tmp")


class _Entry(NamedTuple):
    """What a path was. `content`: a file's bytes, a link's text, nothing for a directory."""

    mode: int
    content: bytes


class Tree:
    """Close it when done: it is removed. `touched`: somebody may have changed something since `keep` or `restore`."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        place = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK | os.X_OK) else None
        self.path = tempfile.mkdtemp(prefix="emuvm-", dir=place)
        self.touched = False
        self._kept: dict[str, _Entry] = {}
        self._without: frozenset[str] = frozenset()
        try:
            for folder in _FOLDERS:
                os.mkdir(f"{self.path}/{folder}")
            for name, content in files.items():
                self.put(name, content)
        except BaseException:
            self.close()
            raise

    def put(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Make a file at a path below the root, and its directories. EmuvmError when the path leads out of it."""
        where = self._inside(name)
        try:
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_bytes(content)
            where.chmod(mode)
        except OSError as error:
            raise EmuvmError(f"the guest's file {name}: {error.strerror}") from None

    def _inside(self, name: str) -> Path:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if not parts or ".." in parts or "\0" in name:
            raise EmuvmError(f"the guest's file {name!r}: not a path below its root")
        return Path(self.path, *parts)

    def opened(self, name: str) -> int:
        """A descriptor of a file in it, for reading and writing."""
        return os.open(self._inside(name), os.O_RDWR | os.O_CLOEXEC)

    def keep(self, without: frozenset[str] = frozenset()) -> None:
        """What is there now is what `restore` brings back, but for files named in `without`."""
        self._without = frozenset(str(self._inside(name)) for name in without)
        self._kept = self._look()
        self.touched = False

    def _look(self) -> dict[str, _Entry]:
        found: dict[str, _Entry] = {}
        waiting = [self.path]
        while waiting:
            for entry in os.scandir(waiting.pop()):
                if entry.path in self._without:
                    continue
                mode = entry.stat(follow_symlinks=False).st_mode
                content = b""
                if stat.S_ISDIR(mode):
                    waiting.append(entry.path)
                elif stat.S_ISLNK(mode):
                    content = os.fsencode(os.readlink(entry.path))
                elif stat.S_ISREG(mode):
                    content = self._content(entry.path)
                found[entry.path] = _Entry(mode, content)
        return found

    @staticmethod
    def _content(path: str) -> bytes:
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError:
            return b""  # it was made unreadable; its mode differs, so that it is made anew

    def restore(self) -> None:
        """Put everything back. Files keep their identity where they are still there: who has them open sees the old content."""
        if not self.touched:
            return
        now = self._look()
        for path in sorted(now.keys() - self._kept.keys(), reverse=True):
            _remove(path, now[path].mode)
        for path in sorted(self._kept):
            before, after = self._kept[path], now.get(path)
            if after is not None and stat.S_IFMT(after.mode) != stat.S_IFMT(before.mode):
                _remove(path, after.mode)
                after = None
            if before != after:
                _make(path, before, after)
        self.touched = False

    def differences(self) -> list[str]:
        """Paths that are not as they were kept."""
        now = self._look()
        return sorted(path for path in now.keys() | self._kept.keys() if now.get(path) != self._kept.get(path))

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)


def _make(path: str, wanted: _Entry, present: _Entry | None) -> None:
    if stat.S_ISDIR(wanted.mode):
        if present is None:
            os.mkdir(path)
    elif stat.S_ISLNK(wanted.mode):
        if present is not None:
            os.unlink(path)
        os.symlink(os.fsdecode(wanted.content), path)
        return
    elif stat.S_ISREG(wanted.mode):
        if present is not None:
            os.chmod(path, 0o600)
        with open(path, "wb") as file:
            file.write(wanted.content)
    elif present is None:
        os.mknod(path, wanted.mode)
    os.chmod(path, stat.S_IMODE(wanted.mode))


def _remove(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)


def program(path: str | Path) -> bytes:
    """The bytes of a program on the host. EmuvmError."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise EmuvmError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def refill(fd: int, data: bytes) -> None:
    """Make `data` the whole content of an open file."""
    os.ftruncate(fd, 0)
    if data:
        os.pwrite(fd, data, 0)


def shut(fd: int) -> None:
    """Close a descriptor."""
    os.close(fd)
