"""The host's /proc, read for what a program is told: facts of the whole system, and of emuvm's own descriptors and identity.

Owns: these questions to the host. Must not know guests. What cannot be read is empty.
"""

from __future__ import annotations

import os


def text(path: str) -> bytes:
    """A whole file; empty when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError):
        return b""


def exists(path: str) -> bool:
    return os.path.exists(path)


def rows(path: str) -> dict[str, str]:
    """A file of lines 'name: value', blanks around both taken away; the first of equal names counts."""
    found: dict[str, str] = {}
    for row in text(path).decode("utf-8", "surrogateescape").splitlines():
        name, colon, value = row.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def descriptor(fd: int) -> list[tuple[str, str]]:
    """fdinfo of one of emuvm's descriptors: (name, value) as they stand there."""
    lines = text(f"/proc/self/fdinfo/{fd}").decode("utf-8", "surrogateescape").splitlines()
    return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def fields() -> list[bytes]:
    """/proc/self/stat behind the name: the first is the state, number 3 in proc(5)."""
    return text("/proc/self/stat").rpartition(b")")[2].split()
