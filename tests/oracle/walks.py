"""Walks of tests/oracle/walk.c: building the program, running a walk by the host's kernel and by emuvm, comparing, shrinking.

A walk is a mode, a seed and the numbers of the operations that are done. What an operation does depends on the seed and on its number
only, so operations can be left out one by one. Must not know about pytest or the command line.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODES = ("fixed", "free", "files", "faults", "shm", "limits", "grow", "locks", "advice", "copies", "mixed", "fork")
ENGINES = ("paged", "regions")
JUDGE = "host"
"""In the place of an engine: the host is compared with itself."""
ARCHES = ("x86_64", "arm64")
COMPILERS = {"x86_64": ("x86_64-linux-gnu-gcc", "gcc"), "arm64": ("aarch64-linux-gnu-gcc", "gcc")}
HOST = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "")
OPTIONS = (
    "-O2 -Wall -Wextra -Werror -ffreestanding -fno-builtin -fno-stack-protector -fno-asynchronous-unwind-tables -static -fno-pie -no-pie "
    "-nostdlib -s -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack"
).split()
ENV = {"PATH": "/bin"}
SECONDS = 120
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where the walks' files are: a disk's file system writes pages back when it likes, which clears what lies behind the end of a file."""


class Unavailable(Exception):
    """No compiler, or no kernel to judge by."""


def compiler(arch: str) -> str:
    """The compiler for an architecture; plain gcc where that is the host's. Unavailable."""
    for name in COMPILERS[arch]:
        if (name != "gcc" or arch == HOST) and (found := shutil.which(name)):
            return found
    raise Unavailable(f"no compiler for {arch}")


@cache
def program(arch: str) -> Path:
    """The walker, compiled unless that was done before from the same sources."""
    sources = [*sorted(HERE.glob("walk*.[ch]")), ROOT / "samples" / "guest" / "nolibc.h"]
    digest = hashlib.sha256("\0".join([*OPTIONS, *(path.read_text() for path in sources)]).encode()).hexdigest()[:16]
    out = ROOT / ".cache" / "oracle" / f"walk-{arch}-{digest}"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        gcc = compiler(arch)
        extra = ["-mno-outline-atomics"] if arch == "arm64" else []
        library = subprocess.run([gcc, "-print-libgcc-file-name"], capture_output=True, text=True, check=True).stdout.strip()
        # Several threads and processes may get here at once: each compiles where no other does, and the last one's file stays.
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            made = Path(folder) / "walk"
            subprocess.run([gcc, *extra, *OPTIONS, "-o", str(made), str(HERE / "walk.c"), library], check=True, timeout=120)
            made.rename(out)
    return out


@dataclass(frozen=True)
class Walk:
    """One walk; `kept` None means all operations below `count`."""

    mode: str
    seed: int
    count: int
    kept: tuple[int, ...] | None = None
    portable: bool = False
    """Without what differs between CPUs."""

    def words(self) -> list[str]:
        words = ["portable"] if self.portable else []
        words += [self.mode, str(self.seed), str(self.count)]
        return words if self.kept is None else [*words, listing(self.kept)]

    def operations(self) -> tuple[int, ...]:
        return tuple(range(self.count)) if self.kept is None else self.kept


def listing(numbers: tuple[int, ...]) -> str:
    """(0, 1, 2, 9) as "0-2,9"; nothing is "-" which lists no number."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) or "99999999"


def numbers(text: str) -> tuple[int, ...]:
    """The reverse of `listing`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


@dataclass(frozen=True)
class Outcome:
    """What a run left: its lines, the last of which tells how it ended, and the CPU time it took."""

    lines: tuple[str, ...]
    seconds: float


def outcome(data: bytes, status: int, seconds: float, said: str = "") -> Outcome:
    lines = data.decode("utf-8", "replace").splitlines()
    return Outcome((*lines, *said.splitlines(), f"status {128 - status if status < 0 else status}"), seconds)


def by_the_host(walk: Walk) -> Outcome:
    """The judge's answer."""
    if not HOST or platform.system() != "Linux":
        raise Unavailable("this machine does not run Linux on a known CPU")
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder, tempfile.TemporaryFile() as stdout:
        process = subprocess.Popen([program(HOST), *walk.words()], cwd=folder, stdout=stdout, stdin=subprocess.DEVNULL, env=ENV)
        timer = threading.Timer(SECONDS, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        return outcome(stdout.read(), process.returncode, usage.ru_utime + usage.ru_stime)


# Answers lines "folder, stdout, stderr, words" with status and CPU time: each run is a fork of a process that has imported what
# `emuvm run` imports, which is most of what a short run costs.
SERVER = """
import gc, json, os, signal, sys
paths, seconds = json.loads(sys.argv[1])
sys.path[:0] = paths
from emuvm.cli import main
from emuvm.engine import residency, unicorn_paged, unicorn_regions
from emuvm.kernel import procfs_open, registry, running, signal_deliver
registry.load_families()
gc.freeze()
for line in sys.stdin:
    folder, stdout, stderr, words = json.loads(line)
    pid = os.fork()
    if pid == 0:
        signal.alarm(seconds)
        os.chdir(folder)
        for fd, (path, flags) in enumerate([("/dev/null", os.O_RDONLY), (stdout, os.O_WRONLY), (stderr, os.O_WRONLY)]):
            os.dup2(os.open(path, flags), fd)
        os.closerange(3, 64)
        os._exit(main(["run", *words]) & 255)
    _, status, usage = os.wait4(pid, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime]), flush=True)
"""


class Emulator:
    """Runs walks under the emuvm of a source tree, each in a fork of one process that is ready to. Close it."""

    def __init__(self, tree: Path = ROOT) -> None:
        paths = json.dumps([[str(tree), str(tree / "loaders")], SECONDS])
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER, paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENV
        )

    def run(self, walk: Walk, arch: str, engine: str) -> Outcome:
        if engine == JUDGE:
            return by_the_host(walk)
        assert self._server.stdin is not None and self._server.stdout is not None
        with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
            folder, stdout, stderr = (Path(scratch) / name for name in ("folder", "stdout", "stderr"))
            folder.mkdir()
            stdout.touch()
            stderr.touch()
            words = ["--engine", engine, "--rw", str(folder), str(program(arch)), *walk.words()]
            self._server.stdin.write(json.dumps([str(folder), str(stdout), str(stderr), words]) + "\n")
            self._server.stdin.flush()
            answer = self._server.stdout.readline()
            status, seconds = json.loads(answer) if answer else (255, 0.0)
            return outcome(stdout.read_bytes(), status, seconds, stderr.read_text(errors="replace"))

    def close(self) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(10)
        self._server.stdout.close()


# -- comparing ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """The first place where two transcripts part."""

    line: int
    operation: int
    name: str
    """The operation's name, and which part of the state differs: results compare before states."""
    host: tuple[str, ...]
    emulated: tuple[str, ...]

    def alike(self, other: Difference) -> bool:
        """Is it probably the same fault? Pages are looked at now and then only, so that the operation before a look tells nothing."""
        pages = ("mincore", "content", "smaps")
        return self.name == other.name or all(difference.name.split(": ")[-1] in pages for difference in (self, other))

    def text(self, before: int = 6, after: int = 2) -> str:
        def shown(lines: tuple[str, ...], mark: str) -> list[str]:
            return [mark + line for line in lines[self.line : self.line + 1 + after]]

        common = ["  " + line for line in self.host[max(0, self.line - before) : self.line]]
        return "\n".join([*common, *shown(self.host, "L "), *shown(self.emulated, "E ")])


def compare(host: Outcome, emulated: Outcome) -> Difference | None:
    """The first difference, or None."""
    ours, theirs = emulated.lines, host.lines
    if ours == theirs:
        return None
    at = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), min(len(theirs), len(ours)))
    longer = theirs if at < len(theirs) else ours
    begins = next((i for i in range(min(at, len(longer) - 1), -1, -1) if longer[i][:1].isdigit()), None)
    if begins is None:
        return Difference(at, -1, "start", theirs, ours)
    number, _, rest = longer[begins].partition(" ")
    part = "result" if at == begins else (longer[at].split() or ["nothing"])[0]
    return Difference(at, int(number), f"{kind(rest)}: {part}", theirs, ours)


def only(walk: Walk, names: frozenset[str], skip: bool = False) -> Walk:
    """The walk without the operations whose names are others, or are these. A name does not depend on the operations before."""
    lines = [line.partition(" ") for line in by_the_host(walk).lines if line[:1].isdigit()]
    return replace(walk, kept=tuple(int(number) for number, _, rest in lines if (kind(rest).split()[0] in names) != skip))


_BEYOND_REGIONS = re.compile(r"\d+ ((store8|load8) \S+\+0xff[9-f]|add \S+) SIG")
"""Where the regions adapter cannot be exact, as its module says: a store across a page border that is refused at the second page
has stored its first part, a load has not made its first page present, and `add` to memory that may be read only has made the page
present. No other operation is left out.
"""
_KEYS = re.compile(r"(\d+) remap_file_pages [^\n]* = 0\n  maps [^\n]*--xs", re.MULTILINE)
"""A host with protection keys makes memory that may only be executed unreadable when remap_file_pages maps it again; emuvm's CPU has
no keys. (mmap and mprotect in the walks ask for PROT_SEM as well, which keeps such memory readable.)
"""


def within(walk: Walk, engine: str) -> Walk:
    """The walk without the operations that an engine is known not to do exactly. Leaving some out may change the fate of others."""
    while True:
        lines = by_the_host(walk).lines
        beyond = {int(number) for number in _KEYS.findall("\n".join(lines))}
        if engine == "regions":
            beyond |= {int(line.partition(" ")[0]) for line in lines if _BEYOND_REGIONS.match(line)}
        if not beyond:
            break
        walk = replace(walk, kept=tuple(n for n in walk.operations() if n not in beyond))
    return walk


def without(found: Outcome, parts: frozenset[str], mask: str) -> Outcome:
    """A transcript without some parts of the state, and without what a pattern matches: differences that are known already."""
    lines = tuple(line for line in found.lines if not line.startswith("  ") or line.split()[0] not in {*parts, "same"})
    return replace(found, lines=tuple(re.sub(mask, "", line) for line in lines) if mask else lines)


def kind(operation: str) -> str:
    """The class of an operation's line: its name, for madvise with the advice."""
    words = operation.split()
    if words[0] == "of":
        return "mmap file"
    return f"madvise {words[words.index('advice') + 1]}" if words[0] == "madvise" and "advice" in words else words[0]


class _Shrinker:
    """The shortest walk known to show a difference of the name looked for."""

    def __init__(self, walk: Walk, found: Difference, check: Callable[[Walk], Difference | None], seconds: float) -> None:
        self.walk, self.best, self.check = walk, found, check
        self.until = time.monotonic() + seconds

    def over(self) -> bool:
        return time.monotonic() > self.until

    def shows(self, kept: tuple[int, ...]) -> bool:
        """Try; if the difference is still there this is the walk from now on, without what comes after the difference."""
        walk = replace(self.walk, kept=kept)
        difference = self.check(walk) if kept else None
        if difference is None or not difference.alike(self.best):
            return False
        self.walk, self.best = replace(walk, kept=tuple(n for n in kept if n <= difference.operation)), difference
        return True


def shrink(
    walk: Walk, found: Difference, check: Callable[[Walk], Difference | None], seconds: float = 60
) -> tuple[Walk, Difference]:
    """Leave out operations while a difference like it remains: all but the last few, then many at once, then one by one."""
    work = _Shrinker(replace(walk, kept=tuple(n for n in walk.operations() if n <= found.operation)), found, check, seconds)
    kept = work.walk.operations()
    for last in (1, 4, 12, 36, 110):
        if last < len(kept) and not work.over() and work.shows(kept[-last:]):
            break
    size = max(1, len(work.walk.operations()) // 2)
    while not work.over():
        end, smaller = len(work.walk.operations()), False
        while end > 0 and not work.over():
            kept = work.walk.operations()
            end = min(end, len(kept))
            smaller |= work.shows(kept[: max(0, end - size)] + kept[end:])
            end -= size
        if size == 1 and not smaller:
            break
        size = max(1, size // 2)
    return work.walk, work.best
