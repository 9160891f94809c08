"""`emuvm replay`: what is said about an outcome, engines, ways to give the input, runs that differ."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from emuvm.fuzz.harness import Harness
from emuvm.fuzz.outcome import Fault, Kind, Outcome
from emuvm.fuzz.report import describe
from emuvm.fuzz.report.commands import main
from emuvm.fuzz.report.describe import Names, address_class, fault_address, summary
from emuvm.fuzz.report.host_plain import Plain, run_plainly
from emuvm.kernel.request import Request
from emuvm_loaders.symbols import Symbol, Symbols
from tests.fuzz.guests import build

SOURCE = r"""
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

__attribute__((noinline)) static void deep(volatile char *from) { volatile char pad[4096]; pad[0] = *from; deep(pad); pad[1] = 0; }
int main(int argc, char **argv)
{
    char data[64] = "";
    if (argc > 2 && !strcmp(argv[1], "text"))
        strncpy(data, argv[2], 63);
    else if (read(argc > 1 ? open(argv[argc - 1], O_RDONLY) : 0, data, 63) < 0)
        return 9;
    char *heap = sbrk(4096), *page = mmap(0, 8192, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    switch (data[0]) {
    case '0': *(volatile int *)8 = 1; break;
    case '1': *(volatile int *)0x5000 = 1; break;
    case 'c': return *(volatile int *)0x4141414141414141;
    case 'j': ((void (*)(void))0x4242424242424242)(); break;
    case 'k': return *(volatile int *)0xffffffffff000000;
    case 'w': return *(volatile int *)0x123456789000;
    case 'g': mprotect(page, 4096, 0); return *page;
    case 'o': *(volatile char *)main = 1; break;
    case 'h': ((void (*)(void))heap)(); break;
    case 's': ((void (*)(void))data)(); break;
    case 'b': heap = sbrk(0); return heap[(-(long)heap & 4095) + 16];
    case 'd': deep(data); break;
    case 'a': abort();
    case 'z': { volatile int none = 0; return 7 / none; }
    case 'l': for (;;) heap[0]++;
    case '9': kill(getpid(), 9);
    }
    fprintf(stderr, "\033[31mdone\n");
    return data[1] ? 4 : 3;
}
"""
_FRAME = re.compile(r"  called by  0x[0-9a-f]+ \w+(\+0x[0-9a-f]+)?")
CLASSES = {
    "0": "null", "1": "near null", "c": "non-canonical", "j": "non-canonical", "k": "kernel", "w": "wild", "g": "guard", "o": "code",
    "h": "heap", "s": "stack", "b": "beside a mapping", "d": "stack end", "a": "", "z": "", "l": "", "x": "",
}  # fmt: skip


@pytest.mark.parametrize(("letter", "expected"), CLASSES.items())
def test_address_classes(harness: Harness, letter: str, expected: str) -> None:
    outcome = harness.run(letter.encode())
    assert address_class(harness, outcome) == expected
    assert (outcome.kind is Kind.EXIT) == (letter == "x")


def test_addresses_that_siginfo_hides(harness: Harness) -> None:
    outcome = harness.run(b"c")
    assert outcome.fault == Fault(0, "read", "SI_KERNEL")
    assert fault_address(harness, outcome) == 0x4141414141414141
    assert "read at 0x4141414141414141, non-canonical, in 0x" in summary(harness, outcome)
    assert any("4141414141414141              <- not mapped" in line for line in describe.report(harness, outcome))
    outcome = harness.run(b"0")
    assert fault_address(harness, outcome) == 8, "not that of the run before"


def test_summaries(harness: Harness) -> None:
    empty = Outcome(Kind.EXIT, 7, 0, None, 0, (), 0, 12, (), b"", b"")
    assert summary(harness, empty) == "exit code 7 after 12 blocks"
    assert summary(harness, empty._replace(kind=Kind.HANG, pc=1)) == "hang after 12 blocks, at 0x1"
    sent = empty._replace(kind=Kind.CRASH, signal=6, pc=1, fault=Fault(None, "", "SI_TKILL"))
    assert summary(harness, sent) == "SIGABRT (SI_TKILL) in 0x1"
    assert summary(harness, sent._replace(fault=None)) == "SIGABRT in 0x1"
    assert summary(harness, harness.run(b"x")).startswith("exit code 3 after ")
    assert "SIGFPE (FPE_INTDIV) in 0x" in summary(harness, harness.run(b"z"))


def test_report_names_places_by_symbols(harness: Harness) -> None:
    outcome = harness.run(b"c")
    lines = describe.report(harness, outcome)
    frames = [line for line in lines if line.startswith("  called by  ")]
    assert len(frames) == len(outcome.frames) > 0 and all(_FRAME.fullmatch(line) for line in frames)
    names = Names(harness)
    main_at = harness.address("main")
    assert names.at(main_at) == "main" and names.at(main_at + 5) == "main+0x5" and names.at(16) == ""
    assert names.begin(main_at + 5, 8) == main_at and names.begin(main_at + 5, 4) == main_at + 5
    assert any(line.startswith("  code       ") or line.startswith("  ->") for line in lines)


def test_names_that_are_hostile(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Symbols([Symbol(0x401000, 16, "\033[31m<b>\n", True), Symbol(0x401010, 16, "x" * 5000, True)])
    monkeypatch.setattr(describe, "symbols", lambda _: bad)
    names = Names(harness)
    assert names.at(0x401001) == r"\x1b[31m<b>\n+0x1"
    assert len(names.at(0x401010)) < 200 and names.at(0x401010).endswith("x...")


def test_programs_without_symbols() -> None:
    with Harness(build(SOURCE, "x86_64", "-s")) as made:
        outcome = made.run(b"0")
        lines = describe.report(made, outcome)
        assert lines[0].endswith(f"null, in {outcome.pc:#x}") and any("<- not mapped" in line for line in lines)


def test_position_independent_programs() -> None:
    with Harness(build(SOURCE, "x86_64", "-static-pie")) as made:
        outcome = made.run(b"0")
        assert made.bias and f"in {outcome.pc:#x} main+0x" in summary(made, outcome)


# -- the command --------------------------------------------------------------------------------------------------------------


def replay(capsys: pytest.CaptureFixture[str], case: Path, *words: object) -> tuple[int, str, str]:
    status = main("replay", [str(case), *map(str, words)])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("id:000000,sig:11,src:0", b"0", 0),
        ("id_000000,sig_11,src_0", b"0", 0),
        ("id_000000,sig_06,src_0", b"0", 1),
        ("id:000000,sig:06,src:0", b"0", 1),
        ("id:000000,sig:06,src:0", b"a", 0),
        ("id:000000,sig:11,src:0", b"l", 1),
        ("anything", b"a", 0),
        ("anything", b"l", 0),
        ("anything", b"x", 1),
        ("id:000000,sig:0", b"x", 0),
        ("sig:" + "9" * 100, b"x", 1),
    ],
)
def test_status(name: str, data: bytes, status: int, program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = tmp_path / name
    case.write_bytes(data)
    found, out, err = replay(capsys, case, "-t", "20k", "--", program)
    assert found == status and not err
    assert ("it did not come out as it should" in out) == bool(status)


@pytest.mark.parametrize(
    ("data", "words", "args", "status", "said"),
    [
        (b"0", [], [], 0, "SIGSEGV"),
        (b"a", [], ["@@"], 0, "SIGABRT"),
        (b"a", ["--input-mode", "@@"], [], 0, "SIGABRT"),
        (b"a\0b", ["--input-mode", "argv"], ["text"], 0, "SIGABRT"),
        (b"0", ["--input-mode", "argv"], ["text", "@@", "more"], 0, "SIGSEGV"),
        (b"a", ["--input-mode", "mmap"], ["@@"], 0, "SIGABRT"),
        (b"9", [], [], 0, "SIGKILL"),
        (b"x", [], [], 1, "exit code 3"),
        (b"xx0", ["--max-len", "1"], [], 1, "exit code 3"),
    ],
)
def test_both_engines_agree(
    data: bytes,
    words: list[str],
    args: list[str],
    status: int,
    said: str,
    program: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = tmp_path / "case"
    case.write_bytes(data)
    assert replay(capsys, case, *words, "--", program, *args)[0] == status
    found, out, err = replay(capsys, case, *words, "--engine", "both", "--", program, *args)
    assert found == status and f"on regions, from the start: {said}" in out and said in out.splitlines()[0] and not err


def test_standard_input_is_empty_when_the_input_is_elsewhere() -> None:
    counting = build("#include <unistd.h>\nint main(void) { char data[8]; return read(0, data, 8); }")
    for mode, count in (("stdin", 3), ("@@", 0), ("argv", 0)):
        assert run_plainly(str(counting), [], b"abc", mode, Request("", ())) == Plain(Kind.EXIT, 0, [f"exit code {count}"])


def test_a_plain_run_that_does_not_end(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emuvm.fuzz.report.host_plain.SECONDS", 0.5)
    case = tmp_path / "case"
    case.write_bytes(b"l")
    status, out, _ = replay(capsys, case, "--engine", "regions", "--", program)
    assert status == 0 and "it did not end within" in out, "a hang is what was found"
    case = case.rename(tmp_path / "sig:11")
    assert replay(capsys, case, "--engine", "regions", "--", program)[0] == 1


def test_traces_on_both_engines(program: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    case.write_bytes(b"0")
    words = ["replay", str(case), "--engine", "both", "--strace=read", "--trace-vma", str(tmp_path / "vma"), "--", str(program)]
    done = subprocess.run([sys.executable, "-m", "emuvm", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr.count('read(0, "0", 63)') == 2 and done.stderr.count("+++ killed by SIGSEGV") >= 1
    causes = [line for line in (tmp_path / "vma").read_text().splitlines() if '"cause": "exec"' in line and '"step": 0,' in line]
    assert len(causes) == 2
    assert "done" not in done.stdout


def test_output_and_names_cannot_harm_a_terminal(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = tmp_path / "\udcff\033[31m\nname"
    case.write_bytes(b"x")
    _, out, _ = replay(capsys, case, "--engine", "both", "--", program)
    assert "stderr, 10 bytes" in out and "\033" not in out
    status, _, err = replay(capsys, case.with_name("\udcff\033[31m\nmissing"), "--", program)
    assert status == 2 and len(err.splitlines()) == 1 and "\033" not in err


def test_runs_that_differ(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Harness.run
    monkeypatch.setattr(Harness, "run", lambda self, data: real(self, b"a" if self.runs == 1 else data))
    case = tmp_path / "sig:11"
    case.write_bytes(b"0")
    status, out, _ = replay(capsys, case, "--runs", "3", "--", program)
    assert status == 1 and "not reproducible: 1 of 3 runs" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "regions", "--input-mode", "mmap", "--at", "main"], "needs a snapshot"),
        (["--engine", "both", "--file", "/x={case}"], "--file needs"),
        (["--engine", "both", "--root", "/", "--input-mode", "@@"], "below --root"),
        (["--runs", "0"], "a number above 0"),
        (["--runs", "-1"], "number"),
        (["--at", "nowhere"], "no symbol nowhere"),
        (["--trace-vma", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--results"], "NAME#N"),
    ],
)
def test_what_cannot_be(words: list[str], message: str, program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = tmp_path / "case"
    case.write_bytes(b"0\n#results nonsense")
    status, out, err = replay(capsys, case, *(word.format(case=case) for word in words), "--", program)
    assert status == 2 and message in err and len(err.splitlines()) == 1 and not out


def test_a_target_whose_symbols_make_no_sense(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(program.read_bytes())
    data[0x3C:0x40] = b"\xff\xff\xff\xff"  # numbers of sections, and of the one with their names
    (tmp_path / "target").write_bytes(data)
    case = tmp_path / "sig:11"
    case.write_bytes(b"0")
    status, out, err = replay(capsys, case, "--", tmp_path / "target")
    assert status == 0 and "null, in 0x" in out and not err
    status, _, err = replay(capsys, case, "--at", "main", "--", tmp_path / "target")
    assert status == 2 and len(err.splitlines()) == 1


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("replay", ["--help"]) == 0 and "--strace" in capsys.readouterr().out


def test_nobody_reads_on(program: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    case.write_bytes(b"0")
    run = (
        "import os, sys; from emuvm.fuzz.report.commands import main; r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n"
        "sys.stdout.reconfigure(write_through=True)\nos._exit(main('replay', sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", run, str(case), "--", str(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 141 and not done.stderr
