"""The command line: parsing, exit statuses, and that diagnostics stay on stderr."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emuvm import cli

ROOT = Path(__file__).parents[1]
SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv, char **envp) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "args")) for (int i = 2; i < argc; i++) puts(argv[i]);
    else if (!strcmp(what, "env")) puts(getenv("EMUVM_TEST"));
    else if (!strcmp(what, "segv")) *(volatile int *)0x1234 = 1;
    else if (!strcmp(what, "text")) *(volatile char *)main = 1;
    else if (!strcmp(what, "abort")) abort();
    else if (!strcmp(what, "loop")) for (;;) ;
    else if (!strcmp(what, "sleep")) sleep(100);
    else if (!strcmp(what, "again")) execl(argv[0], argv[0], "args", "second life", (char *)0);
    else if (!strcmp(what, "int3")) __builtin_trap();
    else if (!strcmp(what, "malloc")) return malloc(64 << 20) ? 4 : 5;
    return 3;
}
"""


def emuvm(*words: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'loaders'}"}
    return subprocess.run([sys.executable, "-m", "emuvm", *words], capture_output=True, timeout=60, env=env, check=False, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    if shutil.which("gcc") is None or os.uname().machine != "x86_64":
        pytest.skip("needs gcc for x86-64")
    where = tmp_path_factory.mktemp("guest")
    (where / "guest.c").write_text(SOURCE)
    subprocess.run(["gcc", "-static", "-O1", "-o", where / "guest", where / "guest.c"], check=True)
    return str(where / "guest")


def test_options_end_at_the_program() -> None:
    request = cli.parse(["--root=/srv", "--rw", "/a", "--rw", "/b", "--mem", "2M", "--timeout=1.5", "--maps", "prog", "--maps", "--", "-x"])
    assert request == cli.Request("prog", ("--maps", "--", "-x"), "/srv", ("/a", "/b"), memory=2 << 20, timeout=1.5, maps=True)
    assert cli.parse(["--", "--root"]).program == "--root"


def test_tracing_options() -> None:
    assert cli.parse(["prog"]).strace is None
    assert cli.parse(["--strace", "prog", "--strace=x"]) == cli.Request("prog", ("--strace=x",), strace="")
    request = cli.parse(["--strace=open,read", "-e", "signal=none", "--strace-file", "f", "--strace-string=9", "--trace-vma", "-", "prog"])
    assert request == cli.Request("prog", (), strace="open,read;signal=none", strace_file="f", strace_string=9, trace_vma="-")
    assert cli.parse(["-e", "trace=!futex", "prog"]).strace == "trace=!futex"
    assert cli.parse(["--strace-file", "f", "prog"]).strace == cli.parse(["--strace-string", "9", "prog"]).strace == ""
    assert [cli.parse(["--kernel", version, "p"]).kernel for version in ("6.1", "6.18.3", "host")] == ["6.1", "6.18.3", "host"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--root"],
        ["--bogus", "p"],
        ["--engine", "x", "p"],
        ["--mem", "1Q", "p"],
        ["--timeout", "-1", "p"],
        ["--env", "=1", "p"],
        ["--maps=1", "p"],
        ["--strace=opne", "p"],
        ["--strace=status=x", "p"],
        ["-e", "%nosuch", "p"],
        ["--strace-string", "x", "p"],
        ["--kernel", "six", "p"],
        ["--strace", "--strace-file", "/nowhere/at/all", "p"],
        ["--trace-vma", "/nowhere/at/all", "p"],
    ],
)
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("emuvm: ") and shown.err.count("\n") == 1


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["run", "--maps", "-h"], ["maps", "--help"], ["info", "-h"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    assert capsys.readouterr().out.startswith("usage: emuvm run")


def test_arguments_and_status(program: str) -> None:
    done = emuvm("run", program, "args", "--maps", "two words", "")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"--maps\ntwo words\n\n", b"")


def test_environment(program: str) -> None:
    assert emuvm("run", "--env", "EMUVM_TEST=a=b", program, "env").stdout == b"a=b\n"


@pytest.mark.parametrize(
    ("what", "status", "words"),
    [
        ("segv", 139, [b"SIGSEGV", b"SEGV_MAPERR", b"write of unmapped memory", b"0x1234", b"rip", b"<- not mapped"]),
        ("text", 139, [b"SEGV_ACCERR", b"write of a r-x area is forbidden", b"/guest"]),
        ("abort", 134, [b"SIGABRT"]),
        ("int3", 132, [b"SIGILL"]),
    ],
)
def test_fatal_signals_are_reported(program: str, what: str, status: int, words: list[bytes]) -> None:
    done = emuvm("run", program, what)
    assert done.returncode == status and done.stdout == b""
    for word in words:
        assert word in done.stderr, done.stderr.decode()


@pytest.mark.parametrize("what", ["loop", "sleep"])
def test_time_limit(program: str, what: str) -> None:
    done = emuvm("run", "--timeout", "0.5", program, what)
    assert done.returncode == 137 and b"time limit" in done.stderr


@pytest.mark.parametrize("what", ["loop", "sleep"])
def test_interrupted(program: str, what: str) -> None:
    """Ctrl-C ends a run at once, also one that only computes."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'loaders'}"}
    words = [sys.executable, "-m", "emuvm", "run", program, what]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as running:
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
        assert (running.returncode, out, err) == (130, b"", b"")


def test_memory_limit(program: str) -> None:
    assert emuvm("run", program, "malloc").returncode == 4
    assert emuvm("run", "--mem", "16M", program, "malloc").returncode == 5


def test_execve_replaces_the_program(program: str) -> None:
    done = emuvm("run", program, "again")
    assert (done.returncode, done.stdout) == (3, b"second life\n")


@pytest.mark.parametrize("engine", ["paged", "regions"])
def test_maps_at_the_end(program: str, engine: str) -> None:
    done = emuvm("run", "--engine", engine, "--maps", program)
    assert done.stdout == b"" and b"[stack]" in done.stderr and b"r-xp" in done.stderr and b"[heap]" in done.stderr


def test_maps_command(program: str) -> None:
    done = emuvm("maps", program)
    assert done.returncode == 0 and b"[stack]" in done.stdout and done.stderr == b""


def test_files_that_cannot_be_run(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    text.chmod(0o755)
    for name, status in ((str(text), 126), (str(tmp_path), 126), (str(tmp_path / "none"), 127)):
        done = emuvm("run", name)
        assert done.returncode == status and done.stdout == b""
        assert done.stderr.startswith(b"emuvm: ") and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("limit", "words", "status"), [("-v 8000000", [], 126), ("-v 8000000", ["--engine", "regions"], 3), ("-n 16", [], 3)]
)
def test_a_poor_host_gets_a_sentence(program: str, limit: str, words: list[str], status: int) -> None:
    """Little address space is too little for the windows of `paged`, and few descriptors are enough."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'loaders'}"}
    command = f'ulimit {limit}; exec "$@"'
    run = ["sh", "-c", command, "sh", sys.executable, "-m", "emuvm", "run", *words, program, "args", "x"]
    done = subprocess.run(run, capture_output=True, env=env, timeout=60, check=False)
    assert done.returncode == status and done.stdout == (b"x\n" if status == 3 else b"")
    assert done.stderr.count(b"\n") == (status == 126) and (status == 3 or b"--engine regions" in done.stderr)


def test_strace(program: str, tmp_path: Path) -> None:
    done = emuvm("run", "--strace=write,exit_group", "--strace-string", "4", program, "args", "a longer line")
    assert (done.returncode, done.stdout) == (3, b"a longer line\n")
    assert done.stderr.splitlines() == [
        b'write(1, "a lo"..., 14)                 = 14', b"exit_group(3)                           = ?", b"+++ exited with 3 +++",
    ]  # fmt: skip
    done = emuvm("run", "--strace", "--strace-file", str(tmp_path / "trace"), program, "segv")
    lines = (tmp_path / "trace").read_text().splitlines()
    assert done.returncode == 139 and b"= 0" not in done.stderr
    assert lines[0].startswith(f'execve("{program[:32]}') and " vars */) = 0" in lines[0]
    assert lines[-2:] == ["--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x1234} ---", "+++ killed by SIGSEGV +++"]


def test_strace_of_a_second_life(program: str) -> None:
    lines = emuvm("run", "-e", "execve", program, "again").stderr.decode().splitlines()
    assert [line.partition(",")[0] for line in lines[:-1]] == [f'execve("{program}"', f'execve("{program}"']
    assert lines[1].endswith(" = 0") and '"args", "second life"]' in lines[1]


def test_strace_shows_what_the_time_limit_ended(program: str) -> None:
    done = emuvm("run", "--strace=%clock,/nanosleep", "--timeout", "0.5", program, "sleep")
    assert done.returncode == 137 and b"<unfinished ...>) = ?\n+++ killed by SIGKILL +++\n" in done.stderr


def test_nobody_to_write_to(program: str) -> None:
    """A full disk and a closed stderr are no concern of the program's."""
    assert emuvm("run", "--strace", "--strace-file", "/dev/full", "--trace-vma", "/dev/full", program).returncode == 3
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'loaders'}"}
    words = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "emuvm", "run", "--strace", "--trace-vma", "-", program, "args", "x"]
    done = subprocess.run(words, capture_output=True, env=env, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, b"x\n")


def test_trace_of_the_address_space(program: str, tmp_path: Path) -> None:
    done = emuvm("run", "--trace-vma", str(tmp_path / "vma"), "--engine", "regions", program, "malloc")
    records = [json.loads(line) for line in (tmp_path / "vma").read_text().splitlines()]
    assert done.returncode == 4 and done.stderr == b""
    assert records[0]["cause"] == "exec" and any(record["new"] and record["new"]["name"] == program for record in records)
    big = [record for record in records if record["call"] == "mmap"][-1]
    assert "PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS" in big["cause"] and big["op"] == "map"
    assert [record["step"] for record in records] == sorted(record["step"] for record in records)
