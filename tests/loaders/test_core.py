"""Core files: the kernel's, gdb's and emuvm's own; processes that go on from them; files that lie."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import struct
import subprocess
from functools import cache
from pathlib import Path

import pytest

from emuvm.abi.signals import Signal
from emuvm.fuzz.resume import ResumeError, resume
from emuvm.fuzz.savefile import save_core
from emuvm.fuzz.simfiles import InputFile
from emuvm.kernel.request import Request
from emuvm.kernel.running import started
from emuvm.kernel.siginfo import SignalInfo
from emuvm_loaders import LoadError
from emuvm_loaders.core import EHDR, PHDR, load_core
from tests.fuzz.guests import build
from tests.fuzz.test_snapshot import Output
from tests.native.guests import HOST, missing

SPIN = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
static char table[20000] = "in the data segment", zeros[20000];
int main(int argc, char **argv)
{
    unsigned long n = strtoul(argv[1], 0, 0), x = 88172645463325252UL;
    double d = 1;
    char *text = malloc(100000), *map = mmap(0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(text, 'x', 99999);
    strcpy(map + 70000, "in a mapping");
    strcpy(zeros + 15000, "in the bss");
    write(1, "ready\n", 6);
    for (unsigned long i = 0; i < n; i++) {
        x = x * 6364136223846793005UL + 1442695040888963407UL;
        d = d * 0.5 + 1;
    }
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    int now = t.tv_sec > 1700000000 && time(0) > 1700000000;
    printf("%lx %.3f %zu %s %s %s %d\n", x, d, strlen(text), table, zeros + 15000, map + 70000, now);
    char *more = malloc(5000000);
    memset(more, 1, 5000000);
    printf("%d %d\n", more[4999999], argc);
    return 7;
}
"""
TURNS = 50_000_000
_NEW = "AVX AVX2 AVX512F AVX512VL AVX512BW BMI1 BMI2 ERMS FSRM".split()
PLAIN = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=" + ",".join(f"-{name}" for name in _NEW)}
"""The C library chooses its functions at the start: those that only the host's CPU has cannot go on elsewhere."""


@cache
def _alone() -> bytes:
    """What it says in one go."""
    done = subprocess.run([build(SPIN), str(TURNS)], capture_output=True, env=PLAIN, timeout=60)
    assert done.returncode == 7
    return done.stdout.removeprefix(b"ready\n")


def _stopped(program: Path, folder: Path, signal_number: int) -> subprocess.Popen[bytes]:
    """The program in the middle of its loop, and then sent a signal."""

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)

    child = subprocess.Popen(
        [program, str(TURNS)], stdout=subprocess.PIPE, cwd=folder, env=PLAIN, preexec_fn=limits  # noqa: PLW1509 - no threads here
    )
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    os.kill(child.pid, signal_number)
    return child


@pytest.fixture
def from_kernel(tmp_path: Path) -> Path:
    """A core that the kernel wrote, of a copy of the program in tmp_path."""
    if HOST != "x86_64":
        missing("a host with x86-64")
    if Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core" or not resource.getrlimit(resource.RLIMIT_CORE)[1]:
        pytest.skip("this kernel does not write cores where the program is")  # nothing that could be installed
    shutil.copy(build(SPIN), tmp_path / "spin")
    child = _stopped(tmp_path / "spin", tmp_path, signal.SIGQUIT)
    assert child.communicate(timeout=60)[0] == b""
    assert child.returncode == -signal.SIGQUIT
    return next(tmp_path.glob("core*"))


def _goes_on(core: Path) -> None:
    output = Output()
    proc = resume(core, files={1: output})
    try:
        status = proc.run()
        assert (status.code, status.signal, bytes(output.data)) == (7, 0, _alone()), proc.reporter.lines
    finally:
        proc.close()


def test_a_core_of_the_kernel_goes_on(from_kernel: Path) -> None:
    core = load_core(from_kernel)
    assert (core.arch, core.signal, core.threads, core.command) == ("x86_64", signal.SIGQUIT, 1, b"spin")
    assert core.pid > 1 and core.ppid == os.getpid() and len(core.siginfo) == 128 and len(core.fpu) == 512
    assert {Path(file.path).name for file in core.files} == {"spin"}
    listed = subprocess.run(["readelf", "-lW", from_kernel], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines() if line.strip().startswith("LOAD")]
    assert [(int(row[2], 16), int(row[5], 16), int(row[4], 16)) for row in rows] == [(a.start, a.end - a.start, a.held) for a in core.areas]
    assert any(area.held < area.end - area.start for area in core.areas)
    _goes_on(from_kernel)


def test_the_file_it_came_from(from_kernel: Path, tmp_path: Path) -> None:
    """What the core lacks is read from there, unless it is another file, too short, or gone."""
    program = tmp_path / "spin"
    data = program.read_bytes()
    for other, why in ((data[:8192], "has only 8192 bytes now"), (b"\x7fELF" + bytes(len(data)), "is another file now")):
        program.write_bytes(other)
        with pytest.raises(ResumeError, match=f"spin: it {why}, and the core lacks 0x[0-9a-f]+ bytes of it at 0x401000"):
            resume(from_kernel)
    program.unlink()
    with pytest.raises(ResumeError, match="spin: No such file"):
        resume(from_kernel)
    proc = resume(from_kernel, partial=True, files={1: Output()})
    assert any("spin: No such file" in line for line in proc.reporter.lines)
    proc.close()


def test_a_core_of_gdb(tmp_path: Path) -> None:
    """It leaves out the areas of files that nobody wrote to, and fills the others up."""
    if HOST != "x86_64":
        missing("a host with x86-64")
    if shutil.which("gcore") is None:
        missing("gcore")
    child = _stopped(build(SPIN), tmp_path, signal.SIGSTOP)
    try:
        done = subprocess.run(["gcore", "-o", tmp_path / "core", str(child.pid)], capture_output=True, timeout=60)
    finally:
        child.kill()
        child.communicate(timeout=60)
    if not (tmp_path / f"core.{child.pid}").exists():
        missing(f"gcore that may look into processes ({done.stderr.decode(errors='replace')[-200:]})")
    _goes_on(tmp_path / f"core.{child.pid}")


WAITING = r"""
#include <stdio.h>
#include <unistd.h>
int main()
{
    char buffer[9];
    write(1, "ready\n", 6);
    printf("%zd\n", read(0, buffer, 9));
}
"""
PAUSED = r"""
#include <stdio.h>
#include <string.h>
#include <sched.h>
static char data[9000] = "data";
int main(int argc, char **argv)
{
    double value = argc + 0.5;
    char here[100];
    strcpy(data + 5000, "changed");
    strcpy(here, argv[1]);
    sched_yield();
    printf("%s %s %s %.2f\n", data, data + 5000, here, value);
    return 9;
}
"""


def test_a_process_that_waits(tmp_path: Path) -> None:
    """Stopped in a system call, which is made again: its registers say what the kernel has yet to do."""
    if HOST != "x86_64" or shutil.which("gcore") is None:
        missing("gcore on a host with x86-64")
    child = subprocess.Popen([build(WAITING)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=PLAIN)
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    while "S (" not in Path(f"/proc/{child.pid}/status").read_text():
        pass
    try:
        subprocess.run(["gcore", "-o", tmp_path / "core", str(child.pid)], capture_output=True, timeout=60)
    finally:
        child.kill()
        child.communicate(timeout=60)
    if not (tmp_path / f"core.{child.pid}").exists():
        missing("gcore that may look into processes")
    output, given = Output(), InputFile()
    given.data = b"12345"
    proc = resume(tmp_path / f"core.{child.pid}", files={0: given, 1: output})
    try:
        assert proc.run().code == 0 and bytes(output.data) == b"5\n"
    finally:
        proc.close()


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_cores_of_guests(arch: str, tmp_path: Path) -> None:
    from tests.benchmarks.snapshot import pause_at

    program = build(PAUSED, arch, "-g")
    with started(Request(str(program), ("an argument",))) as proc:
        pause_at(proc, "sched_yield")
        names = [name for name in proc.arch.report_registers if name not in ("eflags", "nzcv", "pstate")]
        registers = {name: proc.engine.get(name) for name in names}
        fpu, pid, pc = proc.engine.fpu_state(), proc.pid, proc.engine.get("pc")
        save_core(proc, tmp_path / "core", SignalInfo(Signal.SIGSEGV, 1, 0x1234))
    core = load_core(tmp_path / "core")
    assert {name: core.registers[name] for name in names} == registers
    assert (core.pid, core.signal, core.siginfo[16:18]) == (pid, 11, b"\x34\x12") and core.auxv
    said = subprocess.run(["readelf", "-n", tmp_path / "core"], capture_output=True, text=True, check=True)
    assert said.stderr == "" and {file.path for file in core.files} == {str(program)}
    assert all(name in said.stdout for name in ("NT_PRSTATUS", "NT_PRPSINFO", "NT_FPREGSET", "NT_AUXV", "NT_FILE", "NT_SIGINFO"))
    output = Output()
    other = resume(tmp_path / "core", files={1: output})
    try:
        assert other.engine.fpu_state() == fpu and other.engine.get("pc") == pc and other.pid == pid
        assert other.run().code == 9
    finally:
        other.close()
    assert bytes(output.data) == b"data changed an argument 2.50\n"
    if arch == HOST and shutil.which("gdb"):
        words = ["gdb", "-batch", "-nx", "-ex", "bt", "-ex", "p data", "-ex", "info registers pc", program, tmp_path / "core"]
        shown = subprocess.run(words, capture_output=True, text=True, timeout=60).stdout
        assert "in main (argc=" in shown and "SIGSEGV" in shown and '"data' in shown and f"{pc:#x}" in shown


# -- files that lie ---------------------------------------------------------------------------------------------------------


@cache
def _small() -> bytes:
    """A core of a guest, to be damaged."""
    import tempfile

    from tests.benchmarks.snapshot import pause_at

    with tempfile.TemporaryDirectory() as folder, started(Request(str(build(PAUSED)), ("x",))) as proc:
        pause_at(proc, "sched_yield")
        save_core(proc, Path(folder) / "core")
        return (Path(folder) / "core").read_bytes()


def test_cut_off_anywhere() -> None:
    data = _small()
    for length in [*range(0, 2000, 37), *range(2000, len(data), 4001)]:
        with pytest.raises((LoadError, ResumeError)):
            resume(data[:length], files={1: Output()}).close()


def test_damaged() -> None:
    """Whatever stands in the headers and notes: a process or an error in words, soon and without much memory."""
    data, rng = _small(), random.Random(5)
    notes = PHDR.unpack_from(data, EHDR.size)
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            place = rng.choice((rng.randrange(EHDR.size), EHDR.size + rng.randrange(1000), notes[2] + rng.randrange(notes[5])))
            damaged[place : place + 1] = bytes((rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256))),))
        try:
            resume(bytes(damaged), files={1: Output()}, most=1 << 26).close()
        except (LoadError, ResumeError) as error:
            assert str(error)
            refused += 1
    assert 50 < refused < 390


def test_other_files() -> None:
    for wrong, why in (
        (b"", "empty"),
        (b"text", "not an ELF"),
        (build(PAUSED).read_bytes(), "no core dump"),
        (EHDR.pack(b"\x7fELF\1\1\1" + bytes(9), 4, 3, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0), "only 64-bit"),
        (EHDR.pack(b"\x7fELF\2\1\1" + bytes(9), 4, 243, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0), "machine 243"),
        (EHDR.pack(b"\x7fELF\2\1\1" + bytes(9), 4, 62, 1, 0, 64, 0, 0, 64, 56, 0, 0, 0, 0), "0 program headers"),
        (EHDR.pack(b"\x7fELF\2\1\1" + bytes(9), 4, 62, 1, 0, 64, 0, 0, 64, 56, 0xFFFF, 0, 0, 0), "65535|0 program headers|ends before"),
    ):
        with pytest.raises(LoadError, match=why):
            load_core(wrong)
    with pytest.raises(LoadError):
        load_core("/nonexistent")
    header = EHDR.pack(b"\x7fELF\2\1\1" + bytes(9), 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    loads = PHDR.pack(1, 6, 0, 0x10000, 0, 0, 0x2000, 0) + PHDR.pack(1, 6, 0, 0x11000, 0, 0, 0x2000, 0)
    with pytest.raises(LoadError, match="overlap"):
        load_core(header + loads)
    loads = PHDR.pack(1, 6, 0, 0x10000, 0, 0, 0x2000, 0) * 1 + PHDR.pack(4, 0, 176, 0, 0, 12, 0, 0)
    with pytest.raises(LoadError, match="longer than what follows"):
        load_core(header + loads + struct.pack("<III", 5, 1 << 31, 1))
    with pytest.raises(LoadError, match="no registers"):
        load_core(header + loads + struct.pack("<III", 0, 0, 1))


def test_more_areas_than_a_header_counts(tmp_path: Path) -> None:
    with started(Request(str(build(PAUSED)), ("x",))) as proc:
        for n in range(0, 0x10100, 2):
            proc.space.map_at(0x10_0000_0000 + n * 4096, 4096, 1 + n % 4 // 2 * 2, 0x70)
            proc.space.map_at(0x10_0000_0000 + n * 4096 + 4096, 4096, 5, 0x70)
        expected = [(vma.start, vma.end) for vma in proc.space]
        save_core(proc, tmp_path / "core")
    assert [(area.start, area.end) for area in load_core(tmp_path / "core").areas] == expected and len(expected) > 0x10000
