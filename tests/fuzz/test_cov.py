"""`emuvm cov`: counts of blocks, lines and functions; the files for other programs; inputs that cannot be run."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import EmuvmError
from emuvm.fuzz.harness import Harness
from emuvm.fuzz.outcome import Outcome
from emuvm.fuzz.report.commands import main
from emuvm.fuzz.report.cover import Cover
from emuvm_loaders.symbols import symbols
from tests.fuzz.guests import build, build_files

SOURCE = r"""#include <unistd.h>
__attribute__((noinline)) static int one(volatile int *n) { return *n + 1; }
__attribute__((noinline)) static int two(volatile int *n) { return *n + 2; }
__attribute__((noinline)) static int either(char c) { if (c == 'a') return 5; return 6; }
int main(void)
{
    char letter = 0;
    volatile int n = 0;
    if (read(0, &letter, 1) < 0)
        return 9;
    if (letter == 'a') n = one(&n); else if (letter == 'b') n = two(&n);
    if (letter == 'z')
        n = 7;
    return n + either(letter);
}
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cov") / "target.c"
    path.write_text(SOURCE)
    return path


@pytest.fixture(scope="module")
def program(source: Path) -> Path:
    return build_files((source,), "x86_64", "-g", "-O0")


@pytest.fixture(scope="module")
def harness(program: Path) -> Iterator[Harness]:
    with Harness(program) as made:
        yield made


def test_counts_are_of_inputs(harness: Harness, source: Path) -> None:
    cover = Cover(harness)
    assert cover.add(b"a") > 0 and cover.add(b"a") == 0 and cover.add(b"b") > 0
    cover.add(b"")
    hits = cover.line_hits()[str(source)]
    assert hits[2] == 2 and hits[3] == 1, "lines of one function"
    assert hits[11] == 4, "a line of which inputs execute different parts"
    assert hits[13] == 0 and hits[14] == 4
    functions = {name: count for name, _, count in cover.functions()}
    assert functions["one"] == 2 and functions["two"] == 1 and functions["abort"] == 0
    assert functions["main"] == 4, "runs begin inside it"
    assert functions["either"] == 4, "not all of them come to its last block"
    assert cover.inputs == 4 and not cover.skipped


def test_inputs_that_cannot_be_run(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Harness.run

    def run(self: Harness, data: bytes) -> Outcome:
        outcome = real(self, data)
        if data == b"b":
            raise EmuvmError("no")
        return outcome

    monkeypatch.setattr(Harness, "run", run)
    cover = Cover(harness)
    cover.collect([("1", b"b"), ("2", b"a"), ("3", b"b")])
    assert (cover.inputs, cover.skipped) == (1, 2)
    assert {name: count for name, _, count in cover.functions()}["two"] == 0
    assert set(cover.runs.values()) == {1}


def test_hooks_are_gone_afterwards(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a run that failed."""
    real, left = UnicornEngine.trace_blocks, []

    def trace(engine: UnicornEngine, callback: Callable[[int, int], object]) -> Callable[[], None]:
        detach = real(engine, callback)
        left.append(callback)

        def done() -> None:
            left.remove(callback)
            detach()

        return done

    monkeypatch.setattr(UnicornEngine, "trace_blocks", trace)
    cover = Cover(harness)
    assert cover.add(b"a") and not left
    monkeypatch.setattr(Harness, "run", lambda _self, _data: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        cover.add(b"a")
    assert not left and cover.inputs == 1


@pytest.mark.parametrize("options", [(), ("-static-pie",)])
def test_drcov(options: tuple[str, ...]) -> None:
    """Offsets of blocks are from the module's base, wherever it lies in memory."""
    program = build(SOURCE, "x86_64", "-O0", *options)
    with Harness(program) as harness:
        cover = Cover(harness)
        cover.add(b"a")
        data, start, end = cover.drcov(), harness.proc.plan.start, harness.proc.plan.end
        one = symbols(program).address("one")
        assert one is not None
        expected = one + harness.bias - start
        name = harness.proc.exe.decode()
    head, mark, rest = data.partition(b" bbs\n")
    lines = head.decode().splitlines()
    assert mark and lines[:4] == [
        "DRCOV VERSION: 2", "DRCOV FLAVOR: emuvm", "Module Table: version 2, count 1",
        "Columns: id, base, end, entry, checksum, timestamp, path",
    ]  # fmt: skip
    fields = [field.strip() for field in lines[4].split(",")]
    assert [fields[0], int(fields[1], 16), int(fields[2], 16), fields[6]] == ["0", start, end, name]
    assert lines[5] == f"BB Table: {len(rest) // 8}" and len(rest) % 8 == 0
    blocks = list(struct.iter_unpack("<IHH", rest))
    assert expected in [block[0] for block in blocks] and all(block[2] == 0 and 0 < block[1] and block[0] < end - start for block in blocks)


def test_lcov(harness: Harness, source: Path) -> None:
    cover = Cover(harness)
    cover.add(b"a")
    cover.add(b"")
    text = cover.lcov()
    (record,) = (part for part in text.split("end_of_record\n") if f"SF:{source}\n" in part)
    lines = record.splitlines()
    assert text.startswith("TN:\n") and "FN:2,one" in lines and "FNDA:1,one" in lines and "FNDA:0,two" in lines and "FNDA:2,main" in lines
    assert "FNF:4" in lines and "FNH:3" in lines and "DA:2,1" in lines and "DA:3,0" in lines and "DA:11,2" in lines
    found = [line for line in lines if line.startswith("DA:")]
    assert f"LF:{len(found)}" in lines and f"LH:{sum(not line.endswith(',0') for line in found)}" in lines


def test_the_whole_run_and_the_part_behind_the_snapshot(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_bytes(b"a")
    counts = []
    for at in ("entry", "first-read"):
        assert main("cov", [str(tmp_path / "in"), "--at", at, "--", str(program)]) == 0
        match = re.match(r"1 inputs, (\d+) basic blocks", capsys.readouterr().out)
        assert match
        counts.append(int(match[1]))
    assert counts[0] > counts[1] > 0


def test_page_and_sources_that_are_gone(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy<b>.c"
    copy.write_text(SOURCE)
    program = build_files((copy,), "x86_64", "-g", "-O0")
    (tmp_path / "in").write_bytes(b"a")
    page = tmp_path / "page.html"
    words = [str(tmp_path / "in"), "--html", str(page), "--", str(program)]
    assert main("cov", words) == 0
    assert "letter = 0" in page.read_text() and "copy&lt;b&gt;.c" in page.read_text() and "<b>" not in page.read_text()
    copy.unlink()
    assert main("cov", words) == 0
    assert "letter = 0" not in page.read_text() and 'class="hit"' in page.read_text()
    capsys.readouterr()


def test_without_debug_information(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_bytes(b"a")
    places = [tmp_path / name for name in ("drcov", "lcov", "html")]
    words = [word for place in places for word in (f"--{place.name}", str(place))]
    assert main("cov", [str(tmp_path / "in"), *words, "--", str(build(SOURCE, "x86_64", "-s"))]) == 0
    assert ", 0 functions" in capsys.readouterr().out and b"BB Table" in places[0].read_bytes()
    assert places[1].read_text() == "TN:\n" and "Coverage" in places[2].read_text()


def test_what_cannot_be(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_bytes(b"a\n#results nonsense")
    for words in (["--results"], ["--drcov", "/nowhere/file"], ["--lcov", "/nowhere/file"]):
        assert main("cov", [str(tmp_path / "in"), *words, "--", str(program)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
