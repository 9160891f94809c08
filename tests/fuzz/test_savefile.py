"""Processes in files: they go on elsewhere as they would have here, and what a file says wrongly is an error in words."""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open
from emuvm.errors import EmuvmError, EngineError, GuestError
from emuvm.fuzz.reopen import told
from emuvm.fuzz.resume import ResumeError, resume
from emuvm.fuzz.savefile import save
from emuvm.fuzz.snapshot import GENERAL, Snapshot
from emuvm.kernel.boot import Options
from emuvm.kernel.process import Process
from emuvm.kernel.request import Request
from emuvm.kernel.running import started
from emuvm_loaders import LoadError
from emuvm_loaders.snapshot import HEAD, MAGIC, REGISTERS, VERSION, load_snapshot
from tests.benchmarks.snapshot import pause_at
from tests.fuzz.guests import build
from tests.fuzz.test_snapshot import RESTORABLE, SAMPLES, Output, Stops, call, walk

ELSEWHERE = """
import sys
from emuvm.fuzz.resume import resume
proc = resume(sys.argv[1])
status = proc.run()
sys.stderr.writelines(proc.reporter.lines)
proc.close()
sys.exit(status.shell)
"""
PROGRAM = r"""
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#define _GNU_SOURCE
static volatile int caught;
static void handler(int n) { caught += n; }
int main(int argc, char **argv)
{
    char buffer[64] = "", name[32] = "";
    char *shared = mmap(0, 8192, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int file = open(argv[1], O_RDONLY), ends[2], memory = memfd_create("kept", 0);
    char *mapped = mmap(0, 4096, 3, MAP_PRIVATE, file, 0), *heap = malloc(3 << 20);
    double value = argc * 0.25;
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigset_t blocked;
    pipe(ends);
    write(ends[1], "in the pipe", 11);
    pwrite(memory, "in the memfd", 12, 5000);
    char *view = mmap(0, 8192, 3, MAP_SHARED, memory, 0);
    memset(heap, 'h', 3 << 20);
    strcpy(shared + 5000, "in shared memory");
    mapped[0] = 'M';
    read(file, buffer, 3);
    prctl(PR_SET_NAME, "a name");
    umask(0117);
    sigaction(SIGUSR1, &action, 0);
    sigaltstack(&stack, 0);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, 0);
    raise(SIGUSR1);
    struct itimerval later = {{0, 0}, {1000, 0}};
    unsigned long node = 1;
    int mode = 7, own = 7;
    syscall(SYS_mbind, heap, 4096, 2, &node, 64, 0);
    syscall(SYS_mbind, (long)heap & -4096L, 4096, 2, &node, 64, 0);
    syscall(SYS_set_mempolicy, 3, &node, 64);
    setitimer(ITIMER_REAL, &later, 0);
    printf("before\n");
    fflush(stdout);
    pid_t before = getpid();
    sched_yield();
    printf("%s|%.4s|%s|%.3f|%d|", buffer, mapped, shared + 5000, value, getpid() == before);
    read(file, buffer, 3);
    printf("%.3s|%s|", buffer, view + 5000);
    strcpy(view + 5000, "seen by both");
    pread(memory, buffer, 12, 5000);
    printf("%.12s|", buffer);
    memset(buffer, 0, 64);
    read(ends[0], buffer, 60);
    prctl(PR_GET_NAME, name);
    printf("%s|%s|%o|%d|", buffer, name, umask(0), caught);
    getitimer(ITIMER_REAL, &later);
    syscall(SYS_get_mempolicy, &mode, 0, 0, (long)heap & -4096L, 2);
    syscall(SYS_get_mempolicy, &own, 0, 0, 0, 0);
    printf("%d|%d %d|", later.it_value.tv_sec > 900, mode, own);
    sigprocmask(SIG_UNBLOCK, &blocked, 0);
    heap = realloc(heap, 8 << 20);
    printf("%d|%c%c|%s\n", caught, heap[0], heap[(3 << 20) - 1], argv[argc - 1]);
    void *brk = sbrk(0);
    return sbrk(100000) == brk ? 3 : 4;
}
"""


@pytest.mark.parametrize("calls", [400, 1200])
@pytest.mark.parametrize("mode", RESTORABLE)
def test_walks_go_on_elsewhere(mode: str, calls: int, tmp_path: Path) -> None:
    """They tell mappings, presence and contents line by line. Another process could know nothing but the file."""
    with walk(mode, 11, tmp_path) as (proc, output, stops):
        assert stops.run_to(calls)
        output.taken()
        save(proc, tmp_path / "saved")
        assert not stops.run_to(-1)
        straight, ended = output.taken(), proc.ended
    again = Output()
    other = resume(tmp_path / "saved", files={1: again})
    try:
        assert other.run() == ended
        other.engine.memory.verify()
    finally:
        other.close()
    assert len(straight) > 10_000
    assert bytes(again.data) == straight


def test_again_and_again(tmp_path: Path) -> None:
    """Saved and resumed every few calls it says what it says in one go."""
    with walk("fixed", 2, tmp_path) as (_, output, stops):
        assert not stops.run_to(-1)
        straight = output.taken()
    output = Output()
    with walk("fixed", 2, tmp_path) as (first, first_output, stops):
        assert stops.run_to(60)
        output.data += first_output.taken()
        save(first, tmp_path / "saved")
    for _ in range(100):
        proc = resume(tmp_path / "saved", files={1: output})
        try:
            if not Stops(proc).run_to(151):
                break
            save(proc, tmp_path / "saved")
        finally:
            proc.close()
    assert proc.ended is not None
    assert bytes(output.data) == straight


def _elsewhere(saved: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", ELSEWHERE, str(saved)], capture_output=True, env=environment, timeout=60)


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_everything_a_program_has(arch: str, tmp_path: Path) -> None:
    """Native, in one go, and saved in the middle and resumed by another process: the same words. arm64 is compared with x86-64."""
    (tmp_path / "file").write_bytes(b"abcdef" + bytes(5000))
    native = subprocess.run([build(PROGRAM), tmp_path / "file", "end"], capture_output=True, timeout=60)
    assert native.returncode == 3 and native.stdout.startswith(b"before\nabc|Mbcd|in shared memory|0.750|1|def|in the memfd|seen by both|")
    with started(Request(str(build(PROGRAM, arch)), (str(tmp_path / "file"), "end"))) as proc:
        output = Output()
        proc.files.replace(1, output, False)
        pause_at(proc, "sched_yield")
        assert bytes(output.data) == b"before\n"
        save(proc, tmp_path / "with-output")
        stream = proc.fs.open(b"/dev/null", Open.O_WRONLY, 0, 0)
        stream.path = b""
        proc.files.replace(1, stream, False)
    # The output as a standard stream: of whoever resumes it.
    header, blocks = _parts((tmp_path / "with-output").read_bytes())
    number = next(n for fd, n, _ in header["descriptors"] if fd == 1)
    header["open"][number].update(kind="stream", offset=1)
    (tmp_path / "saved").write_bytes(_file(header, blocks))
    done = _elsewhere(tmp_path / "saved")
    assert done.stderr == b""
    assert (done.returncode, b"before\n" + done.stdout) == (3, native.stdout)


@pytest.mark.parametrize("sample", ["arm64/memory", "arm64/selfmod", "x86_64/selfmod", "x86_64/grow"])
def test_samples(sample: str, tmp_path: Path) -> None:
    with started(Request(str(SAMPLES / sample), ())) as proc:
        output, stops = Output(), Stops(proc)
        proc.files.replace(1, output, False)
        assert stops.run_to(2)
        output.taken()
        registers, fpu = proc.engine.get_many(GENERAL[proc.arch.name]), proc.engine.fpu_state()
        assert GENERAL[proc.arch.name] == REGISTERS[proc.arch.name]
        save(proc, tmp_path / "saved")
        areas = [vma[:4] + vma[5:] for vma in proc.space]
        assert not stops.run_to(-1)
        straight, ended = output.taken(), proc.ended
    other = resume(tmp_path / "saved", files={1: output})
    try:
        assert (other.engine.get_many(GENERAL[other.arch.name]), other.engine.fpu_state()) == (registers, fpu)
        assert [vma[:4] + vma[5:] for vma in other.space] == areas
        assert other.run() == ended and bytes(output.data) == straight and straight
    finally:
        other.close()


def test_a_snapshot_is_saved_as_it_was(tmp_path: Path) -> None:
    with walk("shm", 4, tmp_path) as (proc, output, stops):
        assert stops.run_to(300)
        output.taken()
        save(proc, tmp_path / "then")
        with Snapshot.take(proc, presence=True) as snapshot:
            assert stops.run_to(300)
            middle = output.taken()
            save(snapshot, tmp_path / "snapshot")
            assert not stops.run_to(-1)
            rest = output.taken()
        assert middle and rest
        with pytest.raises(EmuvmError, match="has ended"):
            save(proc, tmp_path / "ended")
    assert not (tmp_path / "ended").exists()
    for name in ("then", "snapshot"):
        again = Output()
        other = resume(tmp_path / name, files={1: again})
        other.run()
        other.close()
        assert bytes(again.data) == middle + rest


def test_a_snapshot_of_a_file(tmp_path: Path) -> None:
    with walk("free", 5, tmp_path) as (proc, output, stops):
        assert stops.run_to(200)
        output.taken()
        with Snapshot.take(proc) as snapshot:
            assert [note[:12] for note in snapshot.save(tmp_path / "file")] == ["descriptor 1"], "the output of this test"
            assert not stops.run_to(-1)
            rest = output.taken()
    again = Output()
    loaded = Snapshot.load(tmp_path / "file", presence=True, files={1: again})
    for _ in range(3):
        loaded.proc.run()
        assert again.taken() == rest
        loaded.restore()
        assert loaded.differences() == []
    loaded.close()
    loaded.proc.close()
    (tmp_path / "file").write_bytes(b"EMUVMSAV")
    with pytest.raises(LoadError):
        Snapshot.load(tmp_path / "file")


# -- what does not come back ------------------------------------------------------------------------------------------------


@pytest.fixture
def standing(tmp_path: Path) -> Any:
    with walk("fixed", 1, tmp_path) as (proc, _, stops):
        assert stops.run_to(300)
        yield proc


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def _resumed(path: Path, **more: Any) -> Process:
    return resume(path, files={1: Output()}, **more)


def test_a_file_that_is_gone(standing: Process, tmp_path: Path) -> None:
    (tmp_path / "gone").write_bytes(b"0123456789")
    fd = standing.files.add(standing.fs.open(os.fsencode(tmp_path / "gone"), Open.O_RDONLY, 0, 0))
    standing.files.get(fd).read(4)
    save(standing, tmp_path / "saved")
    proc = _resumed(tmp_path / "saved")
    assert proc.files.get(fd).read(9) == b"456789"
    proc.close()
    (tmp_path / "gone").unlink()
    before = _descriptors()
    with pytest.raises(ResumeError, match=f"descriptor {fd} was .*gone: No such file"):
        _resumed(tmp_path / "saved")
    assert _descriptors() == before
    proc = _resumed(tmp_path / "saved", partial=True)
    assert any("gone: No such file" in line for line in proc.reporter.lines)
    assert call(proc, "read", fd, proc.stack_info.sp & -4096, 1) == (1 << 64) - 5  # EIO
    assert call(proc, "close", fd) == 0
    proc.close()


def test_what_only_its_owner_knows(standing: Process, tmp_path: Path) -> None:
    fd = call(standing, "eventfd2", 0, 0)
    assert any(f"descriptor {fd} does not come back: anon_inode:[eventfd]" in note for note in save(standing, tmp_path / "saved"))
    with pytest.raises(ResumeError, match=f"descriptor {fd} was anon_inode:.*shared with others or known to the host"):
        _resumed(tmp_path / "saved")
    with pytest.raises(ResumeError, match="descriptor 1 was output: .*only emuvm's caller knows"):
        resume(tmp_path / "saved")


@pytest.mark.parametrize("embed", [1 << 20, 0])
def test_a_mapped_file_that_has_changed(embed: int, standing: Process, tmp_path: Path) -> None:
    (tmp_path / "mapped").write_bytes(b"old" * 2000)
    fd = standing.files.add(standing.fs.open(os.fsencode(tmp_path / "mapped"), Open.O_RDONLY, 0, 0))
    at = call(standing, "mmap", 0, 8192, 3, 2, fd, 0)
    call(standing, "close", fd)
    standing.mem.write(at, b"NEW")
    save(standing, tmp_path / "saved", embed=embed)
    expected = b"NEW" + (b"old" * 2000)[3:] + bytes(8192 - 6000)
    (tmp_path / "copy").write_bytes((tmp_path / "mapped").read_bytes())
    for change in ("nothing", "time", "bytes", "gone"):
        if change == "time":
            os.utime(tmp_path / "mapped", (1, 1))
        elif change == "bytes":
            (tmp_path / "mapped").write_bytes(b"new" * 2000)
        elif change == "gone":
            (tmp_path / "mapped").unlink()
        if not embed and change != "nothing":
            with pytest.raises(ResumeError, match="mapped was mapped: the file .* its bytes were not saved"):
                _resumed(tmp_path / "saved")
            continue
        proc = _resumed(tmp_path / "saved")
        assert proc.engine.memory.read(at, 8192) == expected
        assert any("a copy in memory" in line for line in proc.reporter.lines) == (change in ("bytes", "gone"))
        proc.close()


def test_files_without_a_name_and_seals(standing: Process, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"without a name")
    fd = standing.files.add(standing.fs.open(os.fsencode(tmp_path / "short"), Open.O_RDONLY, 0, 0))
    (tmp_path / "short").unlink()
    standing.files.get(fd).read(8)
    memory = call(standing, "memfd_create", standing.stack_info.sp & -4096, 2)
    assert call(standing, "ftruncate", memory, 100) == 0 and call(standing, "fcntl", memory, 1033, 2) == 0  # F_SEAL_SHRINK
    save(standing, tmp_path / "saved")
    proc = _resumed(tmp_path / "saved")
    assert proc.files.get(fd).read(99) == b"a name"
    assert proc.fs.program == standing.fs.program is not None
    assert call(proc, "fcntl", memory, 1034) == 2 and call(proc, "ftruncate", memory, 50) == (1 << 64) - 1
    assert call(proc, "ftruncate", memory, 200) == 0
    proc.close()


def test_huge_pages_come_back_as_little_as_they_were_there(standing: Process, tmp_path: Path) -> None:
    flags = 2 | 0x20 | 0x4000 | 0x4_0000  # private, anonymous, MAP_NORESERVE, MAP_HUGETLB
    at = call(standing, "mmap", 0, 4 << 20, 3, flags, (1 << 64) - 1, 0)
    other = call(standing, "mmap", 0, 4096, 3, flags | 30 << 26, (1 << 64) - 1, 0)
    assert not at & (2 << 20) - 1 and not other & (1 << 30) - 1
    save(standing, tmp_path / "saved")
    proc = _resumed(tmp_path / "saved")
    for process in (standing, proc):
        assert call(process, "munmap", other + (2 << 20), 2 << 20) == call(process, "munmap", at, 4096) == (1 << 64) - Errno.EINVAL
        assert call(process, "getcwd", at + 5, 100) == (1 << 64) - Errno.EFAULT
    assert call(proc, "munmap", at + (2 << 20), 2 << 20) == call(proc, "munmap", other, 1 << 30) == 0
    proc.close()


def test_what_cannot_be_written(standing: Process, tmp_path: Path) -> None:
    (tmp_path / "saved").write_bytes(b"before")
    with pytest.raises(EmuvmError, match="No such file"):
        save(standing, tmp_path / "no" / "saved")
    standing.engine.memory.read = lambda *_: 1 / 0  # type: ignore[method-assign,assignment]
    with pytest.raises(ZeroDivisionError):
        save(standing, tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == b"before" and not list(tmp_path.glob("*.part"))


# -- files that lie ---------------------------------------------------------------------------------------------------------


def _parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """(header, the bytes before it)."""
    _, _, _, offset, length, *_ = HEAD.unpack(data[: HEAD.size])
    return json.loads(data[offset : offset + length]), data[HEAD.size : offset]


def _file(header: Any, blocks: bytes, text: bytes | None = None) -> bytes:
    """A file whose checksums are right."""
    text = json.dumps(header).encode() if text is None else text
    head = HEAD.pack(MAGIC, VERSION, 0, HEAD.size + len(blocks), len(text), zlib.crc32(text), 0, 0)[:-4]
    return head + zlib.crc32(head).to_bytes(4, "little") + blocks + text


def _change(value: Any, rng: random.Random) -> Any:
    """A header with one thing changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(sorted(value))
        return {**value, name: _change(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return [*value, value[place]] if rng.random() < 0.5 else [*value[:place], _change(value[place], rng), *value[place + 1 :]]
    near = [value + d for d in (-4096, -1, 1, 4096, 1 << 40)] if isinstance(value, int) else []
    wild: list[Any] = [None, -1, 0, 1, 4096, (1 << 64) - 1, 1 << 70, "x", "\ud800", [], {}, True, 1.5, [[]], "memfd", "file", "pipe"]
    return rng.choice([*near, *wild])


def test_a_policy_that_is_not_there(standing: Process, tmp_path: Path) -> None:
    save(standing, tmp_path / "saved")
    header, blocks = _parts((tmp_path / "saved").read_bytes())
    header["process"]["controls"]["mempolicy"] = 2
    (tmp_path / "saved").write_bytes(_file(header, blocks))
    with pytest.raises(ResumeError, match="memory policy 2 is named, and is not there"):
        _resumed(tmp_path / "saved")


def test_a_memfd_secret_is_not_in_a_file(standing: Process, tmp_path: Path) -> None:
    fd = call(standing, "memfd_secret", 0)
    assert f"descriptor {fd} does not come back: a memfd_secret" in save(standing, tmp_path / "saved")


def test_headers_that_lie(standing: Process, tmp_path: Path) -> None:
    """An error in words, or a process: nothing else, and no descriptor stays open."""
    call(standing, "pipe2", standing.stack_info.sp & -4096, 0)
    call(standing, "memfd_create", standing.stack_info.sp & -4096, 0)
    save(standing, tmp_path / "saved")
    header, blocks = _parts((tmp_path / "saved").read_bytes())
    rng = random.Random(3)
    resumed = refused = 0
    before = _descriptors()
    for _ in range(700):
        try:
            _resumed(_file(_change(header, rng), blocks), most=1 << 26).close()  # type: ignore[arg-type]
            resumed += 1
        except (LoadError, ResumeError) as error:
            assert str(error)
            refused += 1
    assert resumed > 50 and refused > 200
    assert _descriptors() <= before


def test_more_than_is_allowed(standing: Process, tmp_path: Path) -> None:
    save(standing, tmp_path / "saved")
    assert 0 < load_snapshot(tmp_path / "saved").held < 1 << 24
    with pytest.raises(LoadError, match="are allowed"):
        _resumed(tmp_path / "saved", most=1000)


def test_what_the_file_says_does_not_widen_what_the_process_may(standing: Process, tmp_path: Path) -> None:
    """Descriptors for writing are opened under the rules of whoever resumes; nothing is created or cut."""
    (tmp_path / "precious").write_bytes(b"precious")
    fd = standing.files.add(standing.fs.open(os.fsencode(tmp_path / "precious"), Open.O_RDWR, 0, 0))
    save(standing, tmp_path / "saved")
    header, blocks = _parts((tmp_path / "saved").read_bytes())
    with pytest.raises(ResumeError, match="precious"):
        _resumed(tmp_path / "saved")
    entry = header["open"][next(n for number, n, _ in header["descriptors"] if number == fd)]
    for path in (entry["path"], str(tmp_path / "made")):
        entry.update(path=path, flags=entry["flags"] | Open.O_CREAT | Open.O_TRUNC | Open.O_APPEND)
        options = Options(writable=(str(tmp_path),))
        try:
            _resumed(_file(header, blocks), options=options).close()  # type: ignore[arg-type]
        except ResumeError:
            assert path.endswith("made")
    assert (tmp_path / "precious").read_bytes() == b"precious" and not (tmp_path / "made").exists()


@pytest.mark.parametrize("error", [MemoryError(), OverflowError(), GuestError(Errno.ENOMEM, "no room"), EngineError("refused")])
def test_what_is_refused_on_the_way_is_told(error: Exception) -> None:
    with pytest.raises(ResumeError, match="no room|refused|has not the memory"), told():
        raise error
