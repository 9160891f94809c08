"""AFL++'s output folder: what is in it, under which names, and how it is written so that no kill loses anything.

Owns: one instance's folder in the output folder that several share. Must not know what inputs mean, nor when something is worth a file.

    out/main/  queue/ crashes/ hangs/    id:000003,src:000001,time:812,execs:4711,op:havoc,rep:4,+cov
               fuzzer_stats plot_data fuzz_bitmap cmdline fuzzer_setup .synced/
               queue/.state/deterministic_done/   a name for each entry that had its deterministic stages
    out/main/is_main_node                          if it is the one that the others take from

A file is written under a name that begins with a dot and then renamed: whoever looks sees all of it or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from emuvm.errors import EmuvmError
from emuvm.fuzz.afl import host_clock
from emuvm.fuzz.afl.host_lock import FolderLock

_PREFIX = re.compile(r"id[:_](\d{6,})")
_FIELD = re.compile(r"(?:^|,)(src|time|execs|sig|op|sync|orig|rep|pos):([^,]*)")
_GRACE = 25 * 60
"""A session that fuzzed for so many seconds is not thrown away, as in AFL."""
_DONE = ".state/deterministic_done"
QUEUE, CRASHES, HANGS = "queue", "crashes", "hangs"
_README = """These inputs end the target by a signal. The first field behind id: is its number.
  emuvm replay FILE -- TARGET ARGS      runs one again
  emuvm triage FOLDER                   groups them by what went wrong
Command line: {command}
"""


def number(name: str) -> int | None:
    """The number in an input's file name; None: it is not of AFL's form."""
    match = _PREFIX.match(name)
    return int(match[1]) if match else None


def fields(name: str) -> dict[str, str]:
    """What stands in an input's file name: src, time, execs, sig, op, sync, orig, rep, pos."""
    return dict(_FIELD.findall(name))


def entry_name(identity: int, origin: str, milliseconds: int, execs: int, op: str = "", *, signal: int = 0, new_edge: bool = False) -> str:
    """As AFL++ names a file. `origin`: 'src:000001', 'src:000001+000004', 'sync:NAME,src:000002' or 'orig:FILE', which comes last."""
    words = [f"id:{identity:06}"]
    if signal:
        words.append(f"sig:{signal:02}")
    if not origin.startswith("orig:"):
        words.append(origin)
    words += [f"time:{milliseconds}", f"execs:{execs}"]
    if origin.startswith("orig:"):
        words.append(origin)
    if op:
        words.append(op)
    if new_edge:
        words.append("+cov")
    return ",".join(words)


def write(path: Path, data: bytes) -> None:
    """All of it or nothing. EmuvmError: it cannot be written."""
    waiting = path.with_name(f".{path.name}"[:255])
    try:
        waiting.write_bytes(data)
        waiting.replace(path)
    except OSError as error:
        raise EmuvmError(f"{path}: cannot write: {error.strerror or error}") from None


def inputs_in(folder: Path) -> list[Path]:
    """The inputs of a queue, by number."""
    try:
        found = [path for path in folder.iterdir() if number(path.name) is not None and path.is_file()]
    except OSError:
        return []
    return sorted(found, key=lambda path: (number(path.name) or 0, path.name))


def read_seeds(folder: Path, longest: int) -> Iterator[tuple[str, bytes]]:
    """(name, data) of the files below a folder, by name; at most `longest` bytes of each. EmuvmError: it cannot be read.

    Empty files, AFL's README.txt and what begins with a dot are no seeds.
    """
    if not folder.is_dir():
        raise EmuvmError(f"{folder}: not a folder of seeds")
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if any(part.startswith(".") for part in inner.parts) or path.name == "README.txt":
            continue
        try:
            if not path.is_file() or not path.stat().st_size:
                continue
            with path.open("rb") as file:
                yield path.name, file.read(longest)
        except OSError as error:
            raise EmuvmError(f"{path}: cannot read: {error.strerror or error}") from None


def read_stats(path: Path) -> dict[str, str]:
    """Of a fuzzer_stats file; empty if there is none that can be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}


class Folder:
    """One instance's. `prepare` first."""

    def __init__(self, out: Path, name: str = "default") -> None:
        """EmuvmError: no name for a folder."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name):
            raise EmuvmError(f"an instance is named by up to 32 letters, digits, - and _, not {name!r}")
        self.out = out
        self.name = name
        self.path = out / name
        self._lock: FolderLock | None = None

    @property
    def has_session(self) -> bool:
        """There are inputs of an earlier session."""
        return bool(inputs_in(self.path / QUEUE))

    def prepare(self, *, resume: bool) -> None:
        """Make it ready and keep others out. An old session is gone on with, or ends up beside: its crashes and hangs are never removed.

        EmuvmError: in use, cannot be made, nothing to resume, or an old session that is too dear to throw away.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.path)
        except BlockingIOError:
            raise EmuvmError(f"{self.path}: another fuzzer uses this folder") from None
        except OSError as error:
            raise EmuvmError(f"{self.path}: cannot be used: {error.strerror or error}") from None
        try:
            if resume and not self.has_session:
                raise EmuvmError(f"{self.path}: there is no session to resume")
            if not resume:
                self._put_aside()
            for inner in (f"{QUEUE}/{_DONE}", CRASHES, HANGS, ".synced"):
                (self.path / inner).mkdir(parents=True, exist_ok=True)
            for inner in (QUEUE, CRASHES, HANGS):
                for left in (self.path / inner).glob(".id[:_]*"):
                    left.unlink()  # half written when somebody killed us
        except EmuvmError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise EmuvmError(f"{self.path}: cannot be used: {error.strerror or error}") from None

    def _put_aside(self) -> None:
        stats = read_stats(self.path / "fuzzer_stats")
        if self.has_session and stats.get("run_time", "0").isdigit() and int(stats.get("run_time", "0")) > _GRACE:
            raise EmuvmError(f"{self.path}: has the results of more than 25 minutes: resume with -i -, or choose another folder")
        when = host_clock.stamp(host_clock.now())
        for inner in (CRASHES, HANGS):
            if inputs_in(self.path / inner):
                (self.path / inner).rename(_free(self.path / f"{inner}.{when}"))
        for path in inputs_in(self.path / QUEUE):
            path.unlink()
        for path in (self.path / QUEUE / _DONE).glob("*"):
            path.unlink()
        for path in (self.path / ".synced").glob("*"):
            path.unlink()
        for inner in ("plot_data", "fuzzer_stats", "fuzz_bitmap", "is_main_node"):
            (self.path / inner).unlink(missing_ok=True)

    def describe(self, target: Sequence[str], command: Sequence[str], *, main: bool) -> None:
        """The files that tell what is fuzzed, and how."""
        write(self.path / "cmdline", "".join(f"{word}\n" for word in target).encode(errors="surrogateescape"))
        setup = ["# environment variables:", *host_clock.variables("AFL_"), "# command line:", " ".join(map(_quoted, command)), ""]
        write(self.path / "fuzzer_setup", "\n".join(setup).encode(errors="surrogateescape"))
        readme = _README.format(command=" ".join(map(_quoted, command)))
        write(self.path / CRASHES / "README.txt", readme.encode(errors="surrogateescape"))
        if main:
            write(self.path / "is_main_node", b"")

    def save(self, kind: str, name: str, data: bytes) -> None:
        """An input: in QUEUE, CRASHES or HANGS."""
        write(self.path / kind / name, data)

    def replace(self, name: str, data: bytes) -> None:
        """An entry of the queue has other contents now."""
        write(self.path / QUEUE / name, data)

    def inputs(self, kind: str) -> list[tuple[str, bytes]]:
        """(name, data), by number. EmuvmError: one cannot be read."""
        try:
            return [(path.name, path.read_bytes()) for path in inputs_in(self.path / kind)]
        except OSError as error:
            raise EmuvmError(f"{error.filename}: cannot read: {error.strerror}") from None

    def set_determined(self, name: str) -> None:
        """An entry had its deterministic stages."""
        (self.path / QUEUE / _DONE / name).touch()

    def determined(self) -> set[str]:
        """The names of those."""
        return {path.name for path in (self.path / QUEUE / _DONE).glob("id*")}

    def write_stats(self, text: str, bitmap: bytes) -> None:
        """fuzzer_stats and fuzz_bitmap."""
        write(self.path / "fuzzer_stats", text.encode(errors="replace"))
        write(self.path / "fuzz_bitmap", bitmap)

    def plot(self, header: str, line: str) -> None:
        """One more line of plot_data; the header first, where there is no file."""
        path = self.path / "plot_data"
        try:
            with path.open("a") as file:
                file.write(f"{line}\n" if file.tell() else f"{header}\n{line}\n")
        except OSError as error:
            raise EmuvmError(f"{path}: cannot write: {error.strerror}") from None

    def close(self) -> None:
        """Let others use it. The files stay; only the mark of a main instance goes."""
        if self._lock is not None:
            (self.path / "is_main_node").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None


def _free(path: Path) -> Path:
    count = 1
    found = path
    while found.exists():
        count += 1
        found = path.with_name(f"{path.name}.{count}")
    return found


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
