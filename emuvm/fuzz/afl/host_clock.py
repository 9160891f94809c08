"""Time, the process, and its memory, for statistics: nothing that is decided depends on them but when to stop and when to look."""

from __future__ import annotations

import os
import resource
import time


def now() -> float:
    """Seconds since 1970."""
    return time.time()


def stamp(seconds: float) -> str:
    """A time as it stands in the name of a folder."""
    return time.strftime("%Y-%m-%d-%H:%M:%S", time.localtime(seconds))


def pid() -> int:
    """Of this process."""
    return os.getpid()


def parent() -> int:
    """The process that started this one; another number when that has ended."""
    return os.getppid()


def environment(**more: str) -> dict[str, str]:
    """This process's variables and some others, for a process to start."""
    return {**os.environ, **more}


def peak_rss_mb() -> int:
    """The most memory this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def wait(seconds: float) -> None:
    """Do nothing."""
    time.sleep(seconds)


def variable(name: str) -> str:
    """An environment variable; empty if there is none."""
    return os.environ.get(name, "")


def variables(prefix: str) -> list[str]:
    """NAME=value of all that begin so, sorted."""
    return sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(prefix))
