"""The host's /proc, read for what a program is told: facts of the whole system, and of emuvm's own descriptors and identity.

Owns: these questions to the host. Must not know guests. What cannot be read is empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

_PIECE = 1 << 16


def text(path: str) -> bytes:
    """A whole file; empty when it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    parts = []
    try:
        while part := os.read(fd, _PIECE):
            parts.append(part)
    except OSError:
        return b""
    finally:
        os.close(fd)
    return b"".join(parts)


def exists(path: str) -> bool:
    return os.path.exists(path)


def mode(path: str) -> int:
    """The permissions of a file that exists."""
    return os.stat(path).st_mode & 0o777


def rows(path: str) -> dict[str, str]:
    """A file of lines 'name: value', blanks around both taken away; the first of equal names counts."""
    found: dict[str, str] = {}
    for row in text(path).decode("utf-8", "surrogateescape").splitlines():
        name, colon, value = row.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def some(path: str, names: Iterable[str]) -> dict[str, str]:
    """Those of `rows` that have these names, without looking at the others."""
    found, data = {}, b"\n" + text(path)
    for name in names:
        head = b"\n%s:" % name.encode()
        at = data.find(head)
        if at >= 0:
            at += len(head)
            stop = data.find(b"\n", at)
            found[name] = data[at : stop if stop >= 0 else len(data)].decode("utf-8", "surrogateescape").strip()
    return found


def descriptor(fd: int) -> list[str]:
    """The lines of fdinfo of one of emuvm's descriptors."""
    return text(f"/proc/self/fdinfo/{fd}").decode("utf-8", "surrogateescape").splitlines()


def fields() -> list[bytes]:
    """/proc/self/stat behind the name: the first is the state, number 3 in proc(5)."""
    return text("/proc/self/stat").rpartition(b")")[2].split()
