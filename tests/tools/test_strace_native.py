"""The lines of `emuvm run --strace` against those of strace(8) for the same program.

Where they differ on purpose: calls that glibc answers in the vDSO on the host (time), names younger than the installed strace.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from difflib import unified_diff
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBC = ROOT / "samples" / "guest" / "libc"
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "TZ": "UTC", "LC_ALL": "C"}
ON_PURPOSE = re.compile(r"time\(")


def missing(what: str) -> NoReturn:
    pytest.skip(f"{what} is not installed")


def strace() -> str:
    found = shutil.which("strace")
    if found is None or platform.machine() != "x86_64":
        missing("strace for x86-64")
    return found


def lines(text: str) -> list[str]:
    """Without what differs from run to run: addresses, process numbers, random bytes, free space."""
    kept = []
    for line in text.splitlines():
        if ON_PURPOSE.match(line):
            continue
        line = re.sub(r"0x[0-9a-f]{5,}", "ADDRESS", line)
        line = re.sub(r"(set_tid_address\(.*|get[p]?p?[tpg]?id\(.*|getsid\(.*|getpgrp\(.*) = \d+$", r"\1 = ID", line)
        line = re.sub(r"^(t?g?kill|rt_sigqueueinfo)\(\d{2,9}(, \d{2,9})?,", r"\1(ID,", line)
        line = re.sub(r"(si_|shm_c|shm_l)pid=\d+", "pid=ID", line)
        line = re.sub(r"^(shmctl|shmat|process_vm_(?:read|write)v)\(\d+,", r"\1(ID,", line)
        line = re.sub(r"^(shmget\(IPC_PRIVATE.*) = \d+$", r"\1 = ID", line)
        line = re.sub(r"time=\d{10}", "time=NOW", line)
        line = re.sub(r"(\\x[0-9a-f]{2})+", "RANDOM", line)
        line = re.sub(r" +=", " =", line)
        kept.append(line)
    return kept


def traced(command: list[str], tracer: list[str], where: Path) -> tuple[int, list[str]]:
    """(exit status, lines) of a command in a new directory, nothing but 0, 1, 2 being open."""
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir()
    (where / "text").write_text("pear\napple\n")
    os.utime(where / "text", (1, 1))
    trace = where.parent / "trace"
    trace.unlink(missing_ok=True)
    words = [str(trace) if word == "TRACE" else word for word in tracer]
    done = subprocess.run([*words, *command], cwd=where, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    assert trace.exists(), done.stderr.decode()
    return done.returncode, lines(trace.read_text(errors="replace"))


def both(command: list[str], folder: Path) -> None:
    start = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'loaders')!r}]; from emuvm.cli import script; script()"
    emuvm = [sys.executable, "-c", start, "run", "--allow-all", "--strace", "--strace-file", "TRACE"]
    expected = traced(command, [strace(), "-o", "TRACE"], folder / "here")
    seen = traced(command, emuvm, folder / "here")
    shell = 128 - expected[0] if expected[0] < 0 else expected[0]
    differences = "\n".join(unified_diff(expected[1], seen[1], "strace", "emuvm", n=0, lineterm=""))
    assert not differences, differences
    assert seen[0] == shell
    assert len(seen[1]) > 5


def build(source: Path, folder: Path, compiler: str = "gcc") -> str:
    if shutil.which(compiler) is None:
        missing(compiler)
    target = folder / source.stem
    subprocess.run([compiler, "-static", "-O1", "-w", "-D_GNU_SOURCE", "-o", str(target), str(source)], check=True, timeout=60)
    return str(target)


def test_every_call_of_the_sample(tmp_path: Path) -> None:
    strace()
    both([build(Path(__file__).with_name("calls.c"), tmp_path)], tmp_path)


def test_signals(tmp_path: Path) -> None:
    strace()
    both([build(Path(__file__).with_name("signals.c"), tmp_path)], tmp_path)


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
@pytest.mark.parametrize("name", ["hello", "malloc"])
def test_library_samples(name: str, compiler: str, tmp_path: Path) -> None:
    strace()
    both([build(LIBC / f"{name}.c", tmp_path, compiler)], tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        ["cat", "text", "none"],
        ["sort", "text"],
        ["ls", "-l"],
        ["cp", "text", "copy"],
        ["touch", "new"],
        ["find", "."],
        ["dd", "if=text", "of=out", "bs=3"],
        ["sh", "-c", "for i in a b; do read x < text; echo $x; done; trap '' INT; umask 022; cd /; echo $((1+2)) >&2; exit 5"],
    ],
    ids=lambda words: words[0],
)
def test_busybox(command: list[str], tmp_path: Path) -> None:
    strace()
    busybox = shutil.which("busybox")
    if busybox is None:
        missing("busybox")
    both([busybox, *command], tmp_path)
