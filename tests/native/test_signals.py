"""Signals as programs see them: some 370 facts, printed natively and emulated."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native.guests import HOST, ROOT, Outcome, compiled, emulated, on_the_host, shell_status

FACTS = {"signals": 100, "signals_wait": 100, "signals_frame": 15}
RUNS = [(name, toolchain, "paged") for name in FACTS for toolchain in ("glibc", "musl", "arm64-glibc")]
RUNS += [(name, toolchain, "regions") for name in FACTS for toolchain in ("glibc", "arm64-glibc")]
FPSIMD = "record 46508001 of 528 bytes, "
ARM64 = """signal 10 code -6, fault 0 esr 0
signal 11 code 1 at 8, fault 8 esr 92000006
signal 11 code 1 at 8, fault 8 esr 92000046
signal 10 code -6, fault 8 esr 92000046
signal 11 code 2 at 1, fault 1 esr 9200004f
signal 11 code 2 at 1, fault 1 esr 92000007
signal 11 code 2 at 0, fault 0 esr 8200000f
signal 11 code 1 at 1005, fault 1005 esr 92000047
signal 11 code 1 at ffff800000001000, fault ffff800000001000 esr 92000004
signal 11 code 1 at 41414141414141, fault 4141414141414141 esr 92000004
signal 4 code 1, fault 0 esr 0
signal 5 code 1, fault 0 esr 0
signal 7 code 1 at 2, fault 0 esr 8a000000
signal 7 code 1 at 1, fault 1 esr 92000021
signal 7 code 1 at 6, fault 0 esr 8a000000
"""
"""arch/arm64/mm/fault.c and the architecture manual (ESR_EL1): exception class, long instruction, write, status with table level."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("built")


@pytest.mark.parametrize(("name", "toolchain", "engine"), RUNS)
def test_facts(name: str, toolchain: str, engine: str, built: Path, tmp_path: Path) -> None:
    """What the facts are does not depend on the architecture, so the host's kernel judges all."""
    expected = on_the_host(HOST, [compiled("musl" if toolchain == "musl" else "glibc", name, built)], tmp_path)
    assert expected[0] == 0 and expected[1].count(b"\n") > FACTS[name]
    got = emulated([compiled(toolchain, name, built)], tmp_path, engine)
    if engine == "regions":
        got, expected = without_part_stores(got), without_part_stores(expected)
    assert got == expected


def without_part_stores(outcome: Outcome) -> Outcome:
    """The regions adapter cannot take back the first part of a store that faults in the second of two pages."""
    return outcome[0], b"".join(line for line in outcome[1].splitlines(keepends=True) if not line.startswith(b"nothing stored"))


@pytest.mark.parametrize("engine", ["paged", "regions"])
def test_frames_of_arm64(engine: str, built: Path, tmp_path: Path) -> None:
    """Fault addresses, syndromes and records of the frame."""
    expected = "".join(FPSIMD + line for line in ARM64.splitlines(keepends=True))
    assert emulated([compiled("arm64-glibc", "signals_arm64", built)], tmp_path, engine) == (0, expected.encode())


@pytest.mark.skipif(HOST != "x86_64", reason="the host's kernel judges frames of its own architecture")
@pytest.mark.parametrize("engine", ["paged", "regions"])
def test_frames_of_x86_64(engine: str, built: Path, tmp_path: Path) -> None:
    """The frame, field by field, error codes of faults, and what rt_sigreturn refuses."""
    program = compiled("glibc", "signals_x86", built)
    expected = on_the_host(HOST, [program], tmp_path)
    assert expected[0] == 0 and expected[1].count(b"\n") > 120
    assert emulated([program], tmp_path, engine) == expected


def _tell(program: list[str]) -> tuple[int, list[bytes]]:
    """Send signals to a running program, each when the one before was answered."""
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline()]
        running.send_signal(signal.SIGQUIT)
        running.send_signal(signal.SIGALRM)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGWINCH, signal.SIGHUP, signal.SIGCONT, signal.SIGTERM):
            running.send_signal(number)
            lines.append(running.stdout.readline())
        running.send_signal(signal.SIGTERM)
        running.wait(20)
        return shell_status(running.returncode), lines


@pytest.mark.parametrize("how", ["compute", "pause", "read", "sleep"])
def test_signals_from_other_processes(how: str, built: Path) -> None:
    """kill and Ctrl-C reach the handlers of the program, whatever it is doing."""
    program = compiled("glibc", "signals_outside", built)
    start = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'loaders')!r}]; from emuvm.cli import script; script()"
    expected = _tell([program, how]) if HOST == "x86_64" else None
    got = _tell([sys.executable, "-c", start, "run", program, how])
    assert expected is None or got == expected
    assert got[0] == 143 and got[1][-1] == b"signal 15, SIGALRM pending 1\n"
