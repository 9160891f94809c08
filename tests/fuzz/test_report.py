"""replay, triage and cov: what a person does with what the fuzzer found."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from emuvm.cli import main
from emuvm.fuzz.outcome import Kind, Outcome
from emuvm.fuzz.report.describe import hexdump
from emuvm.fuzz.report.page import coverage_page, printable, triage_page
from emuvm.fuzz.report.triage import Case, Group, Key, table
from emuvm_loaders.lines import lines
from tests.fuzz.guests import build, build_files
from tests.fuzz.targets import FLAGS, SAMPLES, files, program


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output folder as the fuzzer leaves it, of the machine target."""
    instance = tmp_path / "out" / "default"
    for kind in ("crashes", "hangs", "queue"):
        (instance / kind).mkdir(parents=True)
    (instance / "cmdline").write_text(f"{program('machine')}\n")
    (instance / "fuzzer_stats").write_text("")
    crashes = files("crashes", "machine")
    (instance / "crashes" / "README.txt").write_text("not a test case")
    (instance / "crashes" / "id:000000,sig:11,src:000000,op:havoc").write_bytes(crashes["wild-store"])
    (instance / "crashes" / "id:000001,sig:11,src:000000,op:havoc").write_bytes(crashes["no-handler"])
    (instance / "crashes" / "id:000002,sig:11,src:000000,op:havoc").write_bytes(crashes["no-handler"] + b"Ea\0")
    (instance / "crashes" / "id:000003,sig:11,gone").write_bytes(b"Ea\0")
    for name, data in files("seeds", "machine").items():
        (instance / "queue" / f"id:000000,orig:{name}").write_bytes(data)
    return tmp_path / "out"


def test_replay(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crash = next((output / "default" / "crashes").glob("id:000001*"))
    assert main(["replay", str(crash), "--runs", "3"]) == 0
    said = capsys.readouterr().out
    assert "SIGSEGV (SEGV_MAPERR) read at 0x0, null, in" in said and re.search(r"pc +0x[0-9a-f]+ main\+0x", said)
    assert "<- not mapped" in said and "rip " in said and "[stack]" in said
    assert main(["replay", str(crash), "--engine", "both"]) == 0
    assert "on regions, from the start: SIGSEGV" in capsys.readouterr().out
    gone = next((output / "default" / "crashes").glob("id:000003*"))
    assert main(["replay", str(gone)]) == 1
    assert "exit code 0" in capsys.readouterr().out
    assert main(["replay", str(gone), "--engine", "regions"]) == 1


def test_replay_shows_calls_and_updates(output: Path, tmp_path: Path) -> None:
    crash = next((output / "default" / "crashes").glob("id:000000*"))
    words = ["replay", str(crash), "--strace=read", "--trace-vma", str(tmp_path / "vma")]
    done = subprocess.run([sys.executable, "-m", "emuvm", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and 'read(0, "L' in done.stderr
    assert json.loads((tmp_path / "vma").read_text().splitlines()[0])


def test_replay_with_a_schedule_and_a_hang(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = tmp_path / "case"
    case.write_bytes(files("crashes", "header")["no-memory"])
    assert main(["replay", str(case), "--", str(program("header"))]) == 0
    assert "SIGSEGV" in capsys.readouterr().out
    case.write_bytes(files("crashes", "names")["itself"])
    assert main(["replay", str(case), "-t", "100k", "--", str(program("names")), "@@"]) == 0
    assert "hang after 100000 blocks" in capsys.readouterr().out


def test_triage(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["triage", str(output), "--html", str(tmp_path / "page.html"), "--json", str(tmp_path / "groups.json")]) == 0
    said = capsys.readouterr().out
    assert "4 files, 3 groups" in said and re.search(r"2 +SIGSEGV +read +null +main\+0x", said)
    groups = json.loads((tmp_path / "groups.json").read_text())
    assert [(group["what"], group["access"], len(group["files"])) for group in groups] == [
        ("SIGSEGV", "read", 2), ("SIGSEGV", "write", 1), ("exit", "", 1),
    ]  # fmt: skip
    assert all(re.fullmatch(r"[\w.+-]+", group["id"]) and group["stable"] for group in groups)
    page = (tmp_path / "page.html").read_text()
    assert "SIGSEGV" in page and "00000000  48 61 00" in page and "read(0x0," in page and "http" not in page


def test_pages_hold_anything() -> None:
    nasty = "<script>alert(1)</script>\udcff&\"'"
    outcome = Outcome(Kind.CRASH, 0, 11, None, 4096, (), 5, 9, (), b"", b"")
    group = Group(Key("SIGSEGV", "read", "wild", 4096, 5), nasty, [nasty])
    group.cases = [Case(nasty, b"<b>", outcome, False), Case("longer", b"<b>\xff" * 3, outcome, True)]
    page = triage_page([group], nasty)
    assert "<script>" not in page and "&lt;script&gt;" in page and "(unstable)" in page
    page.encode()
    assert "<b>" not in page.replace("<b>", "", 0) or "&lt;b&gt;" in page
    assert group.example.path == nasty and "(unstable)" in table([group])[1]
    assert "/" not in group.identity and "<" not in group.identity
    assert printable("\udc80") == "\\udc80"
    page = coverage_page([(nasty, ["if (a < b)", "x"], {1: 3, 2: 0}), ("gone.c", None, {7: 1})], nasty)
    assert "a &lt; b" in page and 'class="missed"' in page and "<script>" not in page
    assert hexdump(b"A" * 20)[0].endswith("AAAAAAAAAAAAAAAA") and len(hexdump(bytes(5000))) == 257


def test_coverage(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = build_files((SAMPLES / "machine.c",), "x86_64", *FLAGS, "-g")
    places = [str(tmp_path / name) for name in ("drcov", "lcov", "page.html")]
    words = ["cov", str(output), "--at", "entry", "--drcov", places[0], "--lcov", places[1], "--html", places[2], "--", str(target)]
    assert main(words) == 0
    assert "3 inputs" in (said := capsys.readouterr().out) and "machine.c" in said
    head, _, rest = Path(places[0]).read_bytes().partition(b" bbs\n")
    lines_of_head = head.decode().splitlines()
    assert lines_of_head[0] == "DRCOV VERSION: 2" and lines_of_head[3].startswith("Columns: id, base, end, entry")
    count = int(lines_of_head[-1].split()[-1])
    assert len(rest) == count * 8 > 8
    start = int(lines_of_head[4].split(",")[1], 16)
    known = lines(target)
    blocks = [struct.unpack_from("<IHH", rest, 8 * n) for n in range(count)]
    assert any((known.at(start + offset) or ("",))[0].endswith("machine.c") for offset, _, _ in blocks)
    text = Path(places[1]).read_text()
    record = text[text.index("machine.c") : text.index("end_of_record", text.index("machine.c"))]
    source = (SAMPLES / "machine.c").read_text().splitlines()
    hits = {int(line): int(n) for line, n in re.findall(r"^DA:(\d+),(\d+)$", record, re.MULTILINE)}
    stored = next(number for number, line in enumerate(source, 1) if "case 'S'" in line)
    multiplied = next(number for number, line in enumerate(source, 1) if "case '*'" in line)
    assert hits[stored] == 1 and hits[multiplied] == 0, "one seed stores, none multiplies"
    assert re.search(r"^FNDA:3,main$", text, re.MULTILINE)
    assert "case &#x27;S&#x27;" in Path(places[2]).read_text()
    assert main(["cov", str(output / "default" / "queue"), "--", str(program("machine"))]) == 0, "no debug information"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["replay", "missing"], "No such file"),
        (["replay"], "required"),
        (["triage", "missing", "--", "x"], "no such file or folder"),
        (["cov", "missing", "--", "x"], "no such file or folder"),
        (["replay", "{case}"], "which program"),
        (["replay", "{case}", "--", "missing"], "No such file"),
        (["replay", "{case}", "--", "{case}"], "not an ELF"),
        (["replay", "{case}", "--strace=nonsense(", "--", "{target}"], "nonsense"),
        (["replay", "{case}", "--engine", "other", "--", "{target}"], "invalid choice"),
        (["triage", "{case}", "--html", "/nowhere/page", "--", "{target}"], "/nowhere/page"),
        (["cov", "{empty}", "--", "{target}"], "no inputs"),
    ],
)
def test_what_cannot_be(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = tmp_path / "deep" / "er" / "case"
    case.parent.mkdir(parents=True)
    case.write_bytes(b"a case")
    (tmp_path / "empty").mkdir()
    target = build("int main(void) { char c; return read(0, &c, 1) - 1; }", "x86_64", "-w")
    places = {"case": case, "empty": tmp_path / "empty", "target": target}
    status = main([word.format(**places) for word in words])
    said = capsys.readouterr().err
    assert status == 2 and message in said and len(said.strip().splitlines()) == 1 and "Traceback" not in said
