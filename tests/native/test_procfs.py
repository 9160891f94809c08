"""What /proc tells of a guest, against what the kernel of the host tells of the same program; programs that read it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.native.guests import HOST, TOOLCHAINS, busybox, compiled, emulated, on_the_host, run

RUNS = [("glibc", "paged"), ("glibc", "regions"), ("musl", "paged"), ("arm64-glibc", "paged"), ("arm64-glibc", "regions")]


@pytest.mark.parametrize(("toolchain", "engine"), RUNS)
def test_facts(toolchain: str, engine: str, tmp_path: Path) -> None:
    """Some 560 facts: lines of maps and smaps, VmFlags, bits of pagemap, differences of statm and status, what /proc/self/mem lets
    through, how files are read and written, links, and the form of every file. None depends on the architecture or the C library.
    """
    for name in ("native", "emulated", "bin"):
        (tmp_path / name).mkdir()
    native = "glibc" if toolchain == "arm64-glibc" else toolchain
    shutil.copy(compiled(native, "procfs", tmp_path / "bin"), tmp_path / "bin" / "procfs")
    command = [str(tmp_path / "bin" / "procfs"), "one", "two words"]
    expected = on_the_host(HOST, command, tmp_path / "native")
    shutil.copy(compiled(toolchain, "procfs", tmp_path / "bin"), tmp_path / "bin" / "procfs")
    found = emulated(["--rw", ".", *command], tmp_path / "emulated", engine)
    assert expected[0] == 0 and expected[1].count(b"\n") > 500
    assert found[0] == 0 and found[1].splitlines() == expected[1].splitlines()


@pytest.mark.parametrize("engine", ["paged", "regions"])
def test_vsyscalls(engine: str, tmp_path: Path) -> None:
    """Calls into the vsyscall page do what they do natively."""
    program = compiled("glibc", "vsyscall", tmp_path)
    expected = on_the_host(TOOLCHAINS["glibc"][1], [program], tmp_path)
    if expected[0]:
        pytest.skip("the host has no vsyscall page")
    assert emulated([program], tmp_path, engine) == expected


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_busybox_reads_it(arch: str, tmp_path: Path) -> None:
    program = busybox(arch)
    status, out = emulated([program, "free"], tmp_path)
    assert status == 0 and re.search(rb"Mem: +\d+ +\d+ +\d+", out)
    status, out = emulated([program, "ps", "-o", "pid,comm,args"], tmp_path)
    rows = out.decode().splitlines()[1:]
    assert status == 0 and len(rows) == 1 and rows[0].split()[1:3] == ["busybox", program], "no process but the program itself"
    status, out = emulated([program, "top", "-bn1"], tmp_path)
    assert status == 0 and b"busybox top -bn1" in out and b"Load average:" in out
    assert emulated([program, "pidof", "busybox"], tmp_path)[0] == 0
    assert emulated([program, "nproc"], tmp_path) == run([busybox(HOST), "nproc"], tmp_path)
    assert emulated([program, "ls", "/proc/self/task/"], tmp_path)[1].strip().isdigit()


def test_busybox_sees_mounts(tmp_path: Path) -> None:
    program = busybox(HOST)
    status, out = emulated([program, "mount"], tmp_path)
    assert status == 0 and b" on / type " in out and out.count(b" on /proc type proc ") == 1
    (tmp_path / "root" / "bin").mkdir(parents=True)
    shutil.copy(program, tmp_path / "root" / "bin" / "busybox")
    (tmp_path / "root" / "etc").mkdir()
    (tmp_path / "root" / "etc" / "mtab").symlink_to("../proc/self/mounts")
    status, out = emulated(["--root", "root", "/bin/busybox", "cat", "/proc/mounts"], tmp_path)
    assert status == 0 and [row.split()[1] for row in out.splitlines()] == [b"/", b"/proc"]
    status, out = emulated(["--root", "root", "/bin/busybox", "ls", "/proc"], tmp_path)
    names = out.split()
    assert status == 0 and {b"self", b"meminfo", b"cpuinfo", b"sys", b"mounts"} <= set(names)
    assert len([name for name in names if name.isdigit()]) == 1
    status, out = emulated(["--root", "root", "/bin/busybox", "free"], tmp_path)
    assert status == 0 and b"Mem:" in out
    status, out = emulated(["--root", "root", "/bin/busybox", "cat", "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"], tmp_path)
    assert (status, out) == (0, b"2097152\n")
