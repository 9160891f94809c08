"""The fact sheets of samples/facts: every line a program prints about Linux memory is the same under emuvm and on the host's kernel.

arm64 programs run under emuvm only, and are compared with what the x86-64 program printed natively: Linux's memory calls do not depend
on the architecture, but for the lines in ABI.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.native.guests import HOST, ROOT, TOOLCHAINS, Outcome, emulated_by_command, missing, run

SHEETS = ROOT / "samples" / "facts"
NAMES = sorted(path.stem for path in SHEETS.glob("*.c"))
ENGINES = [("glibc", "paged"), ("glibc", "regions"), ("arm64-glibc", "paged")]
RUNS = [(name, *engine) for name in NAMES for engine in ENGINES if name != "count" or engine[1] != "regions"]
"""The engine of regions is not made for 65531 mappings."""
_TAG = "arm64 does not look at the top byte of an address"
_WIDE = "arm64's user addresses have 48 bits"
ABI: dict[tuple[str, str], str] = {
    ("mmap", "1.1 validated file with bit 7"): "MAP_ABOVE4G exists on x86 only, and MAP_SHARED_VALIDATE refuses unknown bits",
    ("mmap", "1.1 validated file for writing of a read-only fd with bit 7"): "as above",
    ("mmap", "1.1 mmap of length number 6"): _WIDE,
    ("munmap_mprotect", "1.4 sc(SYS_munmap, 1UL << 63, PG)"): _TAG,
    ("faults", "2.1 not canonical"): _TAG,
    ("faults", "2.1 store not canonical"): "every address beyond the user's is an ordinary one to arm64",
    ("faults", "2.1 call not canonical"): _TAG,
    ("faults", "2.1 CALL(P(6))"): "x86 reads a page in before it finds that it may not be executed",
    ("faults", "2.2 (expected = 9, __atomic_compare_exchange_n((int *)P(1), &expected, 1, 0, 5, 5))"): "arm64 compares before it stores",
    ("copies", "1.14 futex private wake at TASK"): "x86 checks only where small objects begin, and TASK itself passes",
    ("copies", "1.14 fstat 136 before the end"): "struct stat has 144 bytes on x86-64, 128 on arm64",
}
"""Facts that are not the same on arm64, and why. Those whose section is x86 are about that processor alone."""
REGIONS = {
    ("faults", f"2.1 first page after stores, writable then {kind}"): "Unicorn has stored the first part when the second page is refused"
    for kind in ("read-only", "no access", "a hole", "beyond end")
}
"""Facts that the regions adapter cannot reproduce, as its module says."""
CPU = {
    ("faults", 'x86 asm volatile("movaps'): "Unicorn does not look at the alignment of SSE operands",
    ("faults", 'x86 asm volatile("cli")'): "Unicorn's CPU is in ring 0",
    ("faults", 'x86 asm volatile("in '): "Unicorn's CPU is in ring 0",
}
"""Beginnings of facts that Unicorn's x86-64 CPU cannot reproduce."""
SHOWN = 80


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("facts")


def compiled(toolchain: str, name: str, folder: Path) -> str:
    """Compile a sheet; the program's path."""
    program, arch = TOOLCHAINS[toolchain]
    compiler = shutil.which(program) or (shutil.which("gcc") if arch == HOST else None)
    if compiler is None:
        missing(program)
    out = folder / f"{name}-{arch}"
    if not out.exists():
        subprocess.run([compiler, "-O1", "-w", "-static", "-o", str(out), str(SHEETS / f"{name}.c")], check=True, timeout=120)
    return str(out)


def _without_capabilities() -> list[str]:
    """What goes before a command so that CAP_IPC_LOCK and CAP_SYS_RAWIO, which change what memory calls answer, are not there."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        missing("setpriv")
    return [setpriv, "--bounding-set=-ipc_lock,-sys_rawio"]


@cache
def _native(name: str, folder: Path) -> Outcome:
    if HOST != "x86_64":
        pytest.skip("the facts are those of an x86-64 kernel")
    scratch = folder / f"{name}-native"
    scratch.mkdir()
    return run([*_without_capabilities(), compiled("glibc", name, folder)], scratch)


def facts(output: bytes) -> dict[str, str]:
    """Name to value; a name that comes again has a number."""
    seen: Counter[str] = Counter()
    result = {}
    for text in output.decode(errors="replace").splitlines():
        name, _, value = text.partition(": ")
        seen[name] += 1
        result[f"{name} #{seen[name]}" if seen[name] > 1 else name] = value
    return result


def differences(expected: dict[str, str], got: dict[str, str]) -> list[str]:
    """What a reader needs: each fact that differs, with both values; a program that stopped early is one line."""
    lines = [
        f"{name}\n    Linux: {value}\n    emuvm: {got[name]}" for name, value in expected.items() if name in got and got[name] != value
    ]
    lost = [name for name in expected if name not in got]
    if lost:
        lines.append(f"{len(lost)} facts are missing, the first of them: {lost[0]}")
    lines += [f"emuvm has one more: {name}: {value}" for name, value in got.items() if name not in expected]
    return lines


@pytest.fixture
def one_cpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """The kernel frees pages (MADV_FREE, MADV_PAGEOUT) only when no other CPU's batch holds them: nobody may move to another meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before) if os.getpid() % 2 else max(before)})  # workers share them out
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("one_cpu")
@pytest.mark.parametrize(("name", "toolchain", "engine"), RUNS)
def test_sheet(name: str, toolchain: str, engine: str, built: Path, tmp_path: Path) -> None:
    status, output = _native(name, built)
    expected = facts(output)
    assert status == 0 and len(expected) > 5
    arch = TOOLCHAINS[toolchain][1]
    command = ["--rw", ".", compiled(toolchain, name, built)]
    status, output = emulated_by_command(command, tmp_path, engine, _without_capabilities(), 300)
    got = facts(output)
    for sheet, fact in [*(ABI if arch != HOST else ()), *(REGIONS if engine == "regions" else ())]:
        if sheet == name:
            assert fact in expected
            expected.pop(fact)
            got.pop(fact, None)
    for sheet, start in CPU:
        if sheet == name and arch == HOST == "x86_64":
            (fact,) = [fact for fact in expected if fact.startswith(start)]
            expected.pop(fact)
            got.pop(fact, None)
    if arch != HOST:
        expected = {fact: value for fact, value in expected.items() if not fact.startswith("x86 ")}
    found = differences(expected, got)
    if found:
        pytest.fail(f"{len(found)} of {len(expected)} facts differ (status {status}):\n" + "\n".join(found[:SHOWN]), pytrace=False)
    assert status == 0
