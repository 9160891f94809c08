"""`emuvm fuzz`, `cmin` and `tmin`: their words, what they write and say, and what goes wrong in one line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emuvm.fuzz.afl import commands, session
from emuvm.fuzz.afl.folder import QUEUE, inputs_in, read_stats
from emuvm.fuzz.afl.options import fuzz_parser, parse, seed_of, settings
from tests.fuzz.afl_fakes import Parser, Simple
from tests.fuzz.afl_worker import opened

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AFL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "opened", opened)
    monkeypatch.setattr(session, "mutator_of", lambda options, target: Simple(seed_of(options)))


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"FZab")
    return tmp_path / "in"


def fuzz(tmp_path: Path, *words: str, seeds: str | None = None, target: tuple[str, ...] = ("prog", "@@")) -> int:
    return commands.main("fuzz", ["-i", seeds or str(tmp_path / "in"), "-o", str(tmp_path / "out"), *words, "--", *target])


def options(*words: str) -> Any:
    return parse(fuzz_parser(), [*words, "--", "/bin/prog", "-x", "@@"])


# -- words ----------------------------------------------------------------------------------------------------------------------


def test_options_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    made = settings(options("-p", "coe", "-V", "1.5", "-E", "99", "-s", "7", "-D", "-t", "5k", "-c", "-", "-T", "title"))
    assert (made.schedule, made.seconds, made.execs, made.seed, made.budget) == ("coe", 1.5, 99, 7, 5000)
    assert made.deterministic and not made.compare and made.trim and not made.sequential and made.banner == "title"
    plain = settings(options())
    assert (plain.seed, plain.budget, plain.execs, plain.seconds, plain.banner) == (0, None, None, None, "prog")
    assert plain.compare and not plain.deterministic and plain.sync_every == 30
    main = settings(options("-M", "one", "-t", "auto", "-d"))
    assert main.main and main.sequential and not main.trim and main.budget is None
    monkeypatch.setenv("AFL_SYNC_TIME", "3")
    monkeypatch.setenv("AFL_DISABLE_TRIM", "1")
    monkeypatch.setenv("AFL_BENCH_UNTIL_CRASH", "1")
    made = settings(options())
    assert made.sync_every == 180 and not made.trim and made.until_crash


def test_named_instances_have_their_own_seeds() -> None:
    assert len({seed_of(options("-S", name)) for name in ("a", "b", "c")} | {0}) == 4
    assert seed_of(options("-S", "a", "-s", "5")) == 5


def test_the_target_may_stand_without_a_mark() -> None:
    made = parse(fuzz_parser(), ["-i", "x", "-o", "y", "prog", "-i", "@@"])
    assert made.command == ["prog", "-i", "@@"] and made.words == ["-i", "x", "-o", "y", "--", "prog", "-i", "@@"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-i", "a", "-o", "b"], "the target is missing"),
        (["-i", "a", "-o", "b", "--"], "the target is missing"),
        (["-i", "a", "--", "p"], "-i and -o are needed"),
        (["-M", "a", "-S", "b", "--", "p"], "not allowed with"),
        (["-i", "a", "-o", "b", "-E", "0", "--", "p"], "more than 0"),
        (["-i", "a", "-o", "b", "-E", "x", "--", "p"], "'x' is not a whole number"),
        (["-i", "a", "-o", "b", "-V", "1h", "--", "p"], "not a number of seconds"),
        (["-i", "a", "-o", "b", "-t", "12x", "--", "p"], "-t"),
        (["-i", "a", "-o", "b", "-p", "warp", "--", "p"], "invalid choice: 'warp'"),
        (["-i", "a", "-o", "b", "-j", "5000", "--", "p"], "-j is at most"),
        (["-i", "a", "-o", "b", "stray", "--", "p"], "stray is no option"),
        (["--bogus", "--", "p"], "unrecognized arguments: --bogus"),
        (["--afl-forkserver", "-i", "a", "--", "p"], "belong to afl-fuzz"),
    ],
)
def test_a_wrong_command_line_is_one_line(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main("fuzz", words) == 2
    error = capsys.readouterr().err
    assert why in error and error.startswith("emuvm fuzz: ") and error.count("\n") == 1


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("fuzz", "cmin", "tmin"):
        assert commands.main(command, ["--help"]) == 0
        assert f"usage: emuvm {command}" in capsys.readouterr().out


def test_wrong_variables_are_one_line(
    tmp_path: Path, fakes: None, seeds: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AFL_SYNC_TIME", "soon")
    assert fuzz(tmp_path, "-E", "10") == 2
    assert "AFL_SYNC_TIME is 'soon'" in capsys.readouterr().err


# -- fuzz -----------------------------------------------------------------------------------------------------------------------


def test_a_session_and_going_on(
    tmp_path: Path, fakes: None, seeds: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fuzz(tmp_path, "-E", "2000") == 0
    own = tmp_path / "out" / "default"
    stats = read_stats(own / "fuzzer_stats")
    assert int(stats["execs_done"]) >= 2000 and int(stats["saved_crashes"])
    assert stats["command_line"] == f"emuvm fuzz -i {tmp_path}/in -o {tmp_path}/out -E 2000 -- prog @@"
    assert (own / "cmdline").read_text() == "prog\n@@\n" and stats["afl_banner"] == "prog"
    assert "'-E' '2000' '--' 'prog' '@@'" in (own / "fuzzer_setup").read_text()
    assert re_line(capsys.readouterr().out)
    before = {path.name for path in inputs_in(own / QUEUE)}
    assert fuzz(tmp_path, "-E", "500", seeds="-") == 0
    assert {path.name for path in inputs_in(own / QUEUE)} >= before
    monkeypatch.setenv("AFL_AUTORESUME", "1")
    assert fuzz(tmp_path, "-E", "500") == 0
    assert {path.name for path in inputs_in(own / QUEUE)} >= before
    assert int(read_stats(own / "fuzzer_stats")["execs_done"]) >= 3000
    monkeypatch.delenv("AFL_AUTORESUME")
    assert fuzz(tmp_path, "-E", "50") == 0
    assert int(read_stats(own / "fuzzer_stats")["execs_done"]) < 100
    assert [path for path in own.iterdir() if path.name.startswith("crashes.")]


def re_line(text: str) -> bool:
    last = text.strip().splitlines()[-1]
    return last.startswith("[") and "runs" in last and "crashes" in last


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda path: (path / "in" / "a").unlink(), "no usable seeds"),
        (lambda path: shutil.rmtree(path / "in"), "not a folder of seeds"),
        (lambda path: (path / "in" / "a").write_bytes(b"F!"), "the target crashes or hangs with each of them"),
        (lambda path: (path / "out").write_bytes(b""), "cannot be used: Not a directory"),
    ],
)
def test_what_cannot_begin_is_one_line(
    tmp_path: Path, fakes: None, seeds: Path, prepare: Any, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path)
    assert fuzz(tmp_path, "-E", "100") == 1
    error = capsys.readouterr().err
    assert why in error and error.startswith("emuvm: ") and error.count("\n") == 1


def test_names_and_jobs(tmp_path: Path, fakes: None, seeds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz(tmp_path, "-M", "a/b", "-E", "10") == 1
    assert "an instance is named by" in capsys.readouterr().err
    assert fuzz(tmp_path, "-S", "second", "-E", "100") == 0
    assert (tmp_path / "out" / "second" / "fuzzer_stats").exists()
    assert fuzz(tmp_path, "-S", "third", "-E", "10", seeds="-") == 1
    assert "there is no session to resume" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(tmp_path: Path, seeds: Path, number: int) -> None:
    words = [sys.executable, "-m", "tests.fuzz.afl_worker", "-i", seeds, "-o", tmp_path / "out", "--", "prog"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/loaders", "AFL_FUZZER_STATS_UPDATE_INTERVAL": "0.1"}
    child = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    own = tmp_path / "out" / "default"
    while int(read_stats(own / "fuzzer_stats").get("corpus_count", "0")) < 5 and child.poll() is None:
        os.sched_yield()
    child.send_signal(number)
    out, error = child.communicate(timeout=50)
    assert child.returncode == 0 and error == "" and re_line(out)
    stats = read_stats(own / "fuzzer_stats")
    assert int(stats["corpus_count"]) == len(inputs_in(own / QUEUE))


# -- cmin and tmin ----------------------------------------------------------------------------------------------------------------


def test_cmin(tmp_path: Path, fakes: None, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    inputs = {"a": b"FZabc", "b": b"FZab", "c": b"FZabc", "sub/b": b"FZd", "crash": b"FZ!", "hang": b"FZ@"}
    for name, data in inputs.items():
        (tmp_path / "in" / name).write_bytes(data)
    base = ["-i", str(tmp_path / "in")]
    assert commands.main("cmin", [*base, "-o", str(tmp_path / "out"), "--", "prog"]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"a": b"FZabc", "b.2": b"FZd"}
    assert "5 inputs, 2 left out" in capsys.readouterr().out
    assert commands.main("cmin", [*base, "-o", str(tmp_path / "crashes"), "-C", "--", "prog"]) == 0
    assert [path.name for path in (tmp_path / "crashes").iterdir()] == ["crash"]
    assert commands.main("cmin", [*base, "-o", str(tmp_path / "all"), "-A", "--", "prog"]) == 0
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"a", "b.2", "crash", "hang"}
    assert commands.main("cmin", [*base, "-o", str(tmp_path / "out"), "--", "prog"]) == 1
    assert "is not empty" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    assert commands.main("cmin", ["-i", str(tmp_path / "none"), "-o", str(tmp_path / "x"), "--", "prog"]) == 1
    assert "has no inputs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "more", "small", "said"),
    [
        (b"FZabcdefgh!ijk", [], b"FZ!", "is ended by signal 11"),
        (b"FZabcdefgh@ijk", [], b"FZ@", "hangs"),
        (b"nothing of this matters", [], None, "ends with exit code"),
        (b"FZ!xxxxxxxxxxx", ["--any-crash"], None, "is ended by signal 11"),
    ],
)
def test_tmin(
    tmp_path: Path, fakes: None, data: bytes, more: list[str], small: bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "input").write_bytes(data)
    words = ["-i", str(tmp_path / "input"), "-o", str(tmp_path / "small"), *more, "--", "prog"]
    assert commands.main("tmin", words) == 0
    found = (tmp_path / "small").read_bytes()
    assert len(found) <= 3 and (small is None or found == small)
    assert Parser().run(found).kind is Parser().run(data).kind
    text = capsys.readouterr().out
    assert said in text and f"{len(data)} bytes, now {len(found)}" in text


def test_tmin_of_nothing(tmp_path: Path, fakes: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main("tmin", ["-i", str(tmp_path / "none"), "-o", str(tmp_path / "x"), "--", "prog"]) == 1
    assert "none: cannot read: No such file" in capsys.readouterr().err


# -- the real thing -----------------------------------------------------------------------------------------------------------------

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
    char text[64];
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : stdin;
    if (!file) return 3;
    size_t length = fread(text, 1, sizeof text, file);
    if (length > 3 && text[0] == 'A' && text[1] == 'B') {
        if (text[2] == 'C') abort();
        if (text[2] == 'D') for (;;) ;
        if (!memcmp(text, "ABsecret", 8)) *(volatile char *)16 = 1;
    }
    return length & 1;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    place = tmp_path_factory.mktemp("program")
    (place / "parser.c").write_text(SOURCE)
    subprocess.run([compiler, "-O1", "-static", "-o", place / "parser", place / "parser.c"], check=True)
    return place / "parser"


@pytest.mark.parametrize("argument", [(), ("@@",)])
def test_a_real_program(tmp_path: Path, program: Path, argument: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "seed").write_bytes(b"ABxx")
    assert fuzz(tmp_path, "-E", "4000", "-s", "1", target=(str(program), *argument)) == 0
    own = tmp_path / "out" / "default"
    crashes, hangs = inputs_in(own / "crashes"), inputs_in(own / "hangs")
    assert {path.read_bytes()[:3] for path in crashes} & {b"ABC"} and {path.read_bytes()[:3] for path in hangs} == {b"ABD"}
    for path in crashes:  # they crash the program itself, too
        words = [program, path] if argument else [program]
        with path.open("rb") as stdin:
            assert subprocess.run(words, stdin=stdin).returncode == -int(path.name.split("sig:")[1][:2])
    small = tmp_path / "small"
    first = next(path for path in crashes if path.read_bytes().startswith(b"ABC"))
    assert commands.main("tmin", ["-i", str(first), "-o", str(small), "--", str(program), *argument]) == 0
    assert small.read_bytes()[:3] == b"ABC" and len(small.read_bytes()) == 4
    assert commands.main("cmin", ["-i", str(own / "queue"), "-o", str(tmp_path / "min"), "--", str(program), *argument]) == 0
    assert 0 < len(list((tmp_path / "min").iterdir())) <= len(inputs_in(own / QUEUE))


def test_the_same_seed_gives_the_same_files(tmp_path: Path, program: Path) -> None:
    found = []
    for index in range(2):
        place = tmp_path / str(index)
        (place / "in").mkdir(parents=True)
        (place / "in" / "seed").write_bytes(b"ABxx")
        assert fuzz(place, "-E", "2000", "-s", "4", target=(str(program),)) == 0
        own = place / "out" / "default"
        found.append([path.read_bytes() for kind in ("queue", "crashes", "hangs") for path in inputs_in(own / kind)])
    assert found[0] == found[1] and len(found[0]) > 2


def test_what_is_no_program_is_one_line(tmp_path: Path, seeds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prog").write_bytes(b"no program")
    for name in ("prog", "nothing"):
        assert fuzz(tmp_path, "-E", "10", target=(str(tmp_path / name),)) == 1
        error = capsys.readouterr().err
        assert error.startswith("emuvm: ") and error.count("\n") == 1
