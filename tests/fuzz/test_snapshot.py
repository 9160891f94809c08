"""Going back: walks through the memory calls continue in the same way each time, whatever they did before."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emuvm.abi.flags import Open
from emuvm.abi.numbers import numbers
from emuvm.errors import EmuvmError, Pause
from emuvm.fuzz.snapshot import Snapshot
from emuvm.kernel.dispatch import Bound
from emuvm.kernel.files import OpenFile
from emuvm.kernel.process import Process
from emuvm.kernel.request import Request
from emuvm.kernel.running import started
from tests.benchmarks.snapshot import build, pause_at
from tests.native.guests import missing
from tests.oracle.walks import Unavailable, program

RESTORABLE = ("fixed", "free", "faults", "shm", "limits", "grow", "locks", "advice")
"""Modes in which everything that the walk sees belongs to the process: no files of the host, nothing in pipes."""
OPERATIONS = 250
SAMPLES = Path(__file__).parents[2] / "samples" / "bin"


class Output(OpenFile):
    """Standard output in memory. It does not go back."""

    prompt = True

    def __init__(self) -> None:
        super().__init__(Open.O_WRONLY, b"output")
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)

    def taken(self) -> bytes:
        data = bytes(self.data)
        self.data.clear()
        return data


class Stops:
    """Has the process stand still at its n-th call from now on."""

    def __init__(self, proc: Process) -> None:
        self.proc = proc
        self.left = -1
        proc.dispatcher.watch(self._watch)

    def _watch(self, name: str, bound: Bound) -> Bound:
        def call(args: tuple[int, ...]) -> int:
            self.left -= 1
            if not self.left:
                raise Pause(name)
            return bound(args)

        return call

    def run_to(self, calls: int) -> bool:
        """False: it ended before."""
        self.left = calls
        try:
            self.proc.run()
        except Pause:
            return True
        return False


@contextmanager
def walk(mode: str, seed: int, folder: Path, engine: str = "paged") -> Iterator[tuple[Process, Output, Stops]]:
    try:
        walker = program("x86_64")
    except Unavailable:
        missing("a compiler for x86_64")
    before = os.getcwd()
    os.chdir(folder)
    try:
        request = Request(str(walker), (mode, str(seed), str(OPERATIONS)), writable=(str(folder),), engine=engine)
        with started(request) as proc:
            output = Output()
            proc.files.replace(1, output, False)
            yield proc, output, Stops(proc)
    finally:
        os.chdir(before)


@pytest.mark.parametrize("calls", [400, 1200])
@pytest.mark.parametrize("mode", RESTORABLE)
def test_a_walk_goes_on_in_the_same_way_every_time(mode: str, calls: int, tmp_path: Path) -> None:
    """It tells its mappings, their pages and contents line by line, and ends in a state of its own each time."""
    with walk(mode, 7, tmp_path) as (proc, output, stops):
        assert stops.run_to(calls)
        output.taken()
        with Snapshot.take(proc, presence=True) as snapshot:
            assert snapshot.differences() == []
            seen = []
            for more in (-1, 500, -1, -1):
                assert stops.run_to(more) == (more > 0)
                if more < 0:
                    seen.append((proc.ended, output.taken()))
                output.taken()
                snapshot.restore()
                assert snapshot.differences() == []
            assert len(seen[0][1]) > 10_000
            assert seen[0] == seen[1] == seen[2]
            proc.engine.memory.verify()


@pytest.mark.parametrize("sample", ["arm64/memory", "arm64/selfmod", "x86_64/selfmod", "arm64/sieve", "x86_64/grow"])
def test_programs_with_code_that_changes_and_of_the_other_architecture(sample: str) -> None:
    with started(Request(str(SAMPLES / sample), ())) as proc:
        output, stops = Output(), Stops(proc)
        proc.files.replace(1, output, False)
        assert stops.run_to(2)
        output.taken()
        seen = []
        with Snapshot.take(proc, presence=True) as snapshot:
            for _ in range(3):
                assert not stops.run_to(-1)
                seen.append((proc.ended, output.taken()))
                snapshot.restore()
                assert snapshot.differences() == []
        assert seen[0][1]
        assert seen == [seen[0]] * 3


@pytest.mark.parametrize("mode", ["fixed", "shm", "advice"])
def test_several_snapshots_of_one_process(mode: str, tmp_path: Path) -> None:
    with walk(mode, 3, tmp_path) as (proc, output, stops):
        kept = []
        for _ in range(3):
            assert stops.run_to(500)
            kept.append(Snapshot.take(proc, presence=True))
        seen: dict[int, bytes] = {}
        for which, to_the_end in ((2, True), (0, True), (1, False), (1, True), (0, False), (2, True), (1, True), (0, True)):
            kept[which].restore()
            assert kept[which].differences() == []
            output.taken()
            if to_the_end:
                assert not stops.run_to(-1)
                told = output.taken()
                assert len(told) > 5_000
                assert seen.setdefault(which, told) == told
            else:
                assert stops.run_to(200)
        for snapshot in kept:
            snapshot.close()
            snapshot.close()
        with pytest.raises(EmuvmError, match="closed"):
            kept[0].restore()


def test_many_runs_leave_nothing_behind(tmp_path: Path) -> None:
    with walk("mixed", 5, tmp_path) as (proc, output, stops):
        assert stops.run_to(1000)
        with Snapshot.take(proc) as snapshot:

            def run() -> int:
                stops.run_to(300)
                output.taken()
                snapshot.restore()
                gc.collect()
                return len(os.listdir("/proc/self/fd"))

            before = max(run() for _ in range(3))
            assert max(run() for _ in range(40)) <= before
            assert snapshot.differences() == []


def test_descriptors_come_back(tmp_path: Path) -> None:
    """What was closed is open, what was opened is closed, offsets are as they were."""
    with walk("fixed", 1, tmp_path) as (proc, _, _stops):
        path = tmp_path / "file"
        path.write_bytes(b"0123456789")
        one = proc.files.add(proc.fs.open(os.fsencode(path), Open.O_RDONLY, 0, 0))
        file = proc.files.get(one)
        assert file.read(3) == b"012"
        snapshot = Snapshot.take(proc)
        host = len(os.listdir("/proc/self/fd"))
        assert file.read(4) == b"3456"
        proc.files.close(one)
        other = proc.files.add(proc.fs.open(os.fsencode(path), Open.O_RDONLY, 0, 0))
        assert other == one
        snapshot.restore()
        assert proc.files.get(one) is file
        assert len(os.listdir("/proc/self/fd")) == host
        assert file.read(3) == b"345"
        proc.files.close(one)
        assert file.host_fd >= 0
        snapshot.close()
        assert file.host_fd == -1


def test_the_regions_engine_has_none(tmp_path: Path) -> None:
    with walk("fixed", 1, tmp_path, "regions") as (proc, _, _stops):
        with pytest.raises(EmuvmError, match="paged"):
            Snapshot.take(proc)


@pytest.mark.parametrize(("layout", "runs"), [(0, 20_000), (5, 2_000)])
def test_the_process_does_not_grow(layout: int, runs: int, tmp_path: Path) -> None:
    """16 pages written and so many changes of the layout, again and again."""
    try:
        guest = build(tmp_path)
    except FileNotFoundError:
        missing("gcc")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    with started(Request(str(guest), ("4", "16", str(layout)))) as proc:
        pause_at(proc, "sched_yield")
        with Snapshot.take(proc) as snapshot:
            before = 0
            for run in range(runs):
                assert proc.run().code == 0
                snapshot.restore()
                if run == 200:
                    before = resident()
            assert resident() <= before + (1 << 20)
            assert snapshot.differences() == []


def test_a_pause_changes_nothing(tmp_path: Path) -> None:
    """The call at which a process stands still is made when it goes on."""
    with walk("fixed", 2, tmp_path) as (_, output, stops):
        assert not stops.run_to(-1)
        straight = output.taken()
    with walk("fixed", 2, tmp_path) as (_, output, stops):
        while stops.run_to(97):
            pass
        assert output.taken() == straight


def call(proc: Process, name: str, *args: int) -> int:
    """Make a system call for a process that stands still; its result."""
    proc.dispatcher.call(numbers(proc.arch.name)[name], (*args, *[0] * (6 - len(args))))
    return proc.engine.get(proc.arch.syscall_result)


def test_what_a_run_did_to_the_kernel_is_gone(tmp_path: Path) -> None:
    """Signals that wait, guard pages, what has come to be, who listens."""
    with walk("fixed", 1, tmp_path) as (proc, _, stops):
        assert stops.run_to(300)
        at = call(proc, "mmap", 0, 8 * 4096, 3, 0x22, (1 << 64) - 1, 0)
        assert call(proc, "madvise", at, 4096, 102) == 0
        proc.signals.set_mask(1 << 9)
        with Snapshot.take(proc) as snapshot:
            heard: list[object] = []
            proc.space.subscribe(heard.append)
            assert call(proc, "tgkill", proc.pid, proc.tid, 10) == 0
            assert proc.signals.pending
            assert call(proc, "madvise", at, 4096, 103) == 0
            assert call(proc, "madvise", at + 4096, 4096, 102) == 0
            proc.engine.memory.populate(at, at + 4096, write=False)
            assert call(proc, "shmget", 0, 4096, 0o1600) < 1 << 31
            assert proc.ipc is not None
            snapshot.restore()
            assert not proc.signals.pending and proc.ipc is None
            assert proc.mm.guards.within(at, at + 8 * 4096) == [(at, at + 4096)]
            proc.engine.memory.verify()
            assert snapshot.differences() == []
            heard.clear()
            call(proc, "munmap", at + 4096, 4096)
            assert not heard


def test_private_pages_of_a_file_that_was_cut_come_back(tmp_path: Path) -> None:
    with walk("fixed", 1, tmp_path) as (proc, _, stops):
        assert stops.run_to(300)
        name = proc.stack_info.sp & -4096
        fd = call(proc, "memfd_create", name, 0)
        assert fd < 100 and call(proc, "ftruncate", fd, 4 * 4096) == 0
        at = call(proc, "mmap", 0, 4 * 4096, 3, 2, fd, 0)
        proc.mem.write(at + 4096, b"private")
        with Snapshot.take(proc) as snapshot:
            assert call(proc, "ftruncate", fd, 0) == 0
            assert call(proc, "ftruncate", fd, 4 * 4096) == 0
            assert proc.mem.read(at + 4096, 7) == bytes(7)
            snapshot.restore()
            assert proc.mem.read(at + 4096, 7) == b"private"
