"""`emuvm triage`: keys and groups over outcomes made by hand, examples, what does not come again, hostile names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from emuvm.errors import EmuvmError
from emuvm.fuzz.harness import Harness
from emuvm.fuzz.outcome import Call, Fault, Kind, Outcome
from emuvm.fuzz.report.commands import main
from emuvm.fuzz.report.page import triage_page
from emuvm.fuzz.report.triage import Case, Group, Key, key_of, table, triage
from tests.fuzz.guests import build

SOURCE = r"""
#include <stdlib.h>
#include <unistd.h>
__attribute__((noinline)) static int get(volatile int *from) { return *from; }
__attribute__((noinline)) static int left(char *data) { return get((int *)(long)data[1]) + 1; }
__attribute__((noinline)) static int right(char *data) { return get((int *)(long)data[1]) + 2; }
int main(void)
{
    char data[64] = "";
    if (read(0, data, 63) < 0)
        return 9;
    switch (data[0]) {
    case 'l': return left(data);
    case 'r': return right(data);
    case 'a': abort();
    case 'h': for (;;) getppid();
    }
    return 0;
}
"""
CRASH = Outcome(Kind.CRASH, 0, 11, Fault(8, "read", "SEGV_MAPERR"), 0x401000, (0x402000,), 77, 5, (), b"", b"")


def groups_of(harness: Harness, *inputs: bytes) -> list[tuple[str, str, str, int]]:
    found = triage(harness, [(f"file{n}", data) for n, data in enumerate(inputs)])
    return [(group.key.what, group.key.address_class, group.place.partition("+")[0], len(group.cases)) for group in found]


def test_keys(harness: Harness) -> None:
    assert key_of(harness, CRASH) == Key("SIGSEGV", "read", "null", 0x401000, 77)
    assert key_of(harness, CRASH._replace(fault=None, signal=6)) == Key("SIGABRT", "", "", 0x401000, 77)
    assert key_of(harness, CRASH._replace(kind=Kind.EXIT)) == Key("exit", "", "", 0, 0)
    hang = CRASH._replace(kind=Kind.HANG, signal=0, fault=None)
    assert key_of(harness, hang) == Key("hang", "", "", 0x402000, 0)
    assert key_of(harness, hang._replace(frames=(), pc=0x401234)) == Key("hang", "", "", 0x401000, 0)


def test_groups(harness: Harness) -> None:
    """One place in memory reached over two functions is two bugs; over one, with other addresses of a class, it is one."""
    assert groups_of(harness, b"l\0", b"l\x08longer", b"r\0", b"l\0more") == [("SIGSEGV", "null", "get", 3), ("SIGSEGV", "null", "get", 1)]
    found = groups_of(harness, b"x", b"a", b"h", b"h2", b"l\0", b"l\xf0")
    assert found[0][0] == "hang" and found[0][3] == 2 and found[-1] == ("exit", "", "", 1)
    assert sorted(group[:2] for group in found[1:-1]) == [("SIGABRT", ""), ("SIGSEGV", "kernel"), ("SIGSEGV", "null")]
    assert groups_of(harness) == []


def test_the_report_is_that_of_the_example(harness: Harness) -> None:
    (group,) = triage(harness, [("long", b"l\x10" + b"A" * 40), ("short", b"l\x18"), ("middle", b"l\x20BBBB")])
    assert group.example.path == "short" and "read at 0x18, null," in group.lines[0]
    page = triage_page([group], "target")
    assert "input, 2 bytes: short" in page and "read at 0x18, null," in page and "read at 0x10" not in page


class Sometimes:
    """Runs of a harness of which some get another input."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *others: int) -> None:
        self.runs = 0
        real = Harness.run

        def run(harness: Harness, data: bytes) -> Outcome:
            self.runs += 1
            return real(harness, b"x" if self.runs in others else data)

        monkeypatch.setattr(Harness, "run", run)


def test_runs_that_differ(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    Sometimes(monkeypatch, 1)
    (group,) = triage(harness, [("a", b"l\0")])
    assert not group.stable and group.key.what == "SIGSEGV" and "(unstable)" in table([group])[1]
    assert group.lines[0].startswith("SIGSEGV")


def test_an_example_that_does_not_come_again(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    Sometimes(monkeypatch, 3)
    (group,) = triage(harness, [("a", b"l\0")])
    assert group.stable and group.lines[0].startswith("not reproducible") and "exit code 0" in group.lines[1]


def test_files_that_cannot_be_run(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Harness.run

    def run(self: Harness, data: bytes) -> Outcome:
        if data == b"bad":
            raise EmuvmError("a <reason>\nand a map")
        return real(self, data)

    monkeypatch.setattr(Harness, "run", run)
    groups = triage(harness, [("one", b"bad"), ("two", b"l\0"), ("three", b"bad"), ("four", b"x")])
    assert [(group.key.what, len(group.cases)) for group in groups] == [("SIGSEGV", 1), ("exit", 1), ("not run", 2)]
    assert groups[-1].place == "a <reason>" and "a &lt;reason&gt;" in triage_page(groups, "")


def test_table() -> None:
    group = Group(Key("SIGSEGV", "write", "heap", 1, 2), "main+0x1", [])
    group.cases = [Case("b", b"12", CRASH, True), Case("a", b"12", CRASH, True), Case("c", b"1234", CRASH, True)]
    rows = table([group])
    assert rows[1].split() == ["3", "SIGSEGV", "write", "heap", "main+0x1", "2", "a"]
    assert rows[1].index("main") == rows[0].index("where")
    assert group.identity == "SIGSEGV.write.heap.main+0x1.0000000000000002"


def test_a_page_with_very_many_calls() -> None:
    calls = tuple(Call("read", (number, 2), None if number == 1999 else -4) for number in range(2000))
    group = Group(Key("hang", "", "", 1, 0), "", ["line"])
    group.cases = [Case("a", b"", CRASH._replace(calls=calls), True)]
    page = triage_page([group], "target")
    assert "2000 system calls" in page and "... 1000 calls before" in page
    assert "read(0x7cf, 0x2) = ?" in page and "read(0x3e8, 0x2) = -4" in page and "read(0x3e7, 0x2)" not in page


# -- the command --------------------------------------------------------------------------------------------------------------


def test_instances_and_hostile_names(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    nasty = "id:000000,sig:11,\udcff\033[31m<script>\n"
    for instance, kind, name, data in (
        ("main", "crashes", nasty, b"l\0"),
        ("second", "crashes", "id:000000,sig:11", b"l\x04"),
        ("second", "hangs", "id:000000", b"h"),
        ("second", "queue", "id:000000", b"a"),
        ("main", "crashes", ".id:half-written", b"a"),
        ("main", "crashes", "README.txt", b"a"),
    ):
        (out / instance / kind).mkdir(parents=True, exist_ok=True)
        (out / instance / kind / name).write_bytes(data)
    (out / "main" / "crashes" / "folder").mkdir()
    (out / "main" / "cmdline").write_text(f"{program}\n")
    page, groups = tmp_path / "page", tmp_path / "groups"
    assert main("triage", [str(out), "-t", "20k", "--html", str(page), "--json", str(groups)]) == 0
    said = capsys.readouterr()
    assert "3 files, 2 groups\n" in said.out and "\033" not in said.out and not said.err
    assert r"\xff\x1b[31m<script>\n" in said.out
    text = page.read_text(encoding="utf-8")
    assert "<script>" not in text and "&lt;script&gt;" in text and len(re.findall("<h2", text)) == 2
    found = json.loads(groups.read_text())
    assert [(entry["what"], len(entry["files"])) for entry in found] == [("SIGSEGV", 2), ("hang", 1)]
    assert found[0]["files"][0].endswith(nasty)


def test_unstable_files_are_told(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Sometimes(monkeypatch, 1)
    (tmp_path / "case").write_bytes(b"l\0")
    assert main("triage", [str(tmp_path / "case"), "--", str(program)]) == 0
    assert "1 files are not reproducible" in capsys.readouterr().out


def test_a_program_without_symbols(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "case").write_bytes(b"l\0")
    page = tmp_path / "page"
    assert main("triage", [str(tmp_path / "case"), "--html", str(page), "--", str(build(SOURCE, "x86_64", "-s"))]) == 0
    assert re.search(r"1 +SIGSEGV +read +null +0x[0-9a-f]+ +2 ", capsys.readouterr().out) and "SIGSEGV" in page.read_text()


def test_nothing_to_do(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out" / "crashes").mkdir(parents=True)
    assert main("triage", [str(tmp_path / "out"), "--", str(program)]) == 2
    assert capsys.readouterr().err == "emuvm: triage: there are no crashes or hangs\n"
