"""Several instances over one folder: their command lines, their sum, and that all end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from emuvm.errors import EmuvmError
from emuvm.fuzz.afl.folder import inputs_in, read_stats
from emuvm.fuzz.afl.options import shared_words
from emuvm.fuzz.afl.parallel import Crew, add, instances, run
from emuvm.fuzz.afl.screen import Screen
from emuvm.fuzz.afl.stats import Stats

ROOT = Path(__file__).resolve().parents[2]
WORKER = (sys.executable, "-m", "tests.fuzz.afl_worker")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT}/loaders:{os.environ.get('PYTHONPATH', '')}")


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"FZab")
    return tmp_path / "in"


def crew(tmp_path: Path, count: int, *options: str, seeds: str | None = None, target: str = "prog") -> Crew:
    out = tmp_path / "out"
    members = instances(count, out=out, options=options, target=[target], seeds=seeds or str(tmp_path / "in"), seed=1)
    return Crew(out, members, WORKER)


def test_who_is_started(tmp_path: Path) -> None:
    found = instances(3, out=tmp_path, options=["-D", "-x", "d"], target=["prog", "@@"], seeds="in", seed=10)
    assert [one.name for one in found] == ["main", "main-01", "main-02"]
    assert found[0].words == ("-i", "in", "-o", str(tmp_path), "-M", "main", "-s", "10", "-D", "-x", "d", "--", "prog", "@@")
    assert found[2].words[4:8] == ("-S", "main-02", "-s", "12")
    (tmp_path / "main" / "queue").mkdir(parents=True)
    (tmp_path / "main" / "queue" / "id:000000").write_bytes(b"x")
    found = instances(2, out=tmp_path, options=[], target=["prog"], seeds="-", seed=0, main=False)
    assert [one.words[1] for one in found] == ["-", str(tmp_path / "main" / "queue")]
    assert found[0].words[4] == "-S"


def test_words_that_all_share() -> None:
    words = "-i in -o out -j4 -s 7 -M x -D -x dict -c - -t 5k --at main -E 9 -- -i p".split()
    own = {"-i", "-o", "-s", "-M", "-S", "-j"}
    assert shared_words(words, own) == ["-D", "-x", "dict", "-c", "-", "-t", "5k", "--at", "main", "-E", "9"]
    assert shared_words(["--dask", "host:1", "--round=3", "-V", "9", "-p", "coe", "-i", "-", "--"]) == ["-p", "coe"]


def test_instances_share_their_finds(tmp_path: Path, seeds: Path) -> None:
    made = crew(tmp_path, 2, "-E", "3000")
    assert run(made, Screen(None), "") == 0
    stats = [read_stats(tmp_path / "out" / name / "fuzzer_stats") for name in ("main", "main-01")]
    assert all(int(one["execs_done"]) >= 3000 for one in stats)
    total = made.total()
    assert total.execs_done == sum(int(one["execs_done"]) for one in stats)
    assert total.saved_crashes == sum(int(one["saved_crashes"]) for one in stats) > 0
    assert total.edges_found >= max(int(one["edges_found"]) for one in stats)
    assert not (tmp_path / "out" / "main" / "is_main_node").exists()
    # Everybody has looked for others, who may have been quicker or slower.
    again = crew(tmp_path, 2, "-E", "500", seeds="-")
    assert run(again, Screen(None), "") == 0
    imported = [path.name for name in ("main", "main-01") for path in inputs_in(tmp_path / "out" / name / "queue") if ",sync:" in path.name]
    assert imported


def test_ctrl_c_ends_all(tmp_path: Path, seeds: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from emuvm.fuzz.afl.parallel import *; from tests.fuzz.test_parallel import *\n"
        "sys.exit(run(crew(Path(sys.argv[1]), 2), Screen(sys.stdout, every=0.1), 'x'))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    out = tmp_path / "out"
    for _ in range(600):
        if all(read_stats(out / name / "fuzzer_stats") for name in ("main", "main-01")):
            break
        time.sleep(0.05)
    parent.send_signal(signal.SIGINT)
    text, _ = parent.communicate(timeout=50)
    assert parent.returncode == 0
    for name in ("main", "main-01"):
        stats = read_stats(out / name / "fuzzer_stats")
        assert not Path(f"/proc/{stats['fuzzer_pid']}").exists()
        assert int(stats["corpus_count"]) == len(inputs_in(out / name / "queue"))
        assert not any(path.name.startswith(".id") for path in (out / name / "queue").iterdir())
    assert "runs" in text


def test_instances_do_not_outlive_their_parent(tmp_path: Path, seeds: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from emuvm.fuzz.afl.parallel import *; from tests.fuzz.test_parallel import *\n"
        "sys.exit(run(crew(Path(sys.argv[1]), 2), Screen(None), 'x'))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, tmp_path], cwd=ROOT)
    pids = list(wait_for_pids(tmp_path / "out"))
    parent.kill()
    parent.wait()
    for _ in range(600):
        if not any(Path(f"/proc/{pid}").exists() and "Z" not in state(pid) for pid in pids):
            return
        time.sleep(0.05)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    raise AssertionError("instances run on without their parent")


def wait_for_pids(out: Path) -> Iterator[int]:
    for name in ("main", "main-01"):
        for _ in range(600):
            if stats := read_stats(out / name / "fuzzer_stats"):
                yield int(stats["fuzzer_pid"])
                break
            time.sleep(0.05)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_one_that_dies_is_told_and_the_others_go_on(tmp_path: Path, seeds: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stream:
        assert run(crew(tmp_path, 2, "-E", "1000", target="die"), Screen(stream), "") == 1
    assert log.read_text().count("an instance has ended: main-01: this one dies") == 1
    assert int(read_stats(tmp_path / "out" / "main" / "fuzzer_stats")["execs_done"]) >= 1000


def test_what_cannot_be_started_is_one_error(tmp_path: Path, seeds: Path) -> None:
    members = instances(2, out=tmp_path / "out", options=[], target=["x"], seeds="in", seed=0)
    with pytest.raises(EmuvmError, match="an instance cannot be started: .*no-such-program"):
        run(Crew(tmp_path / "out", members, ["/no-such-program"]), Screen(None), "")


def test_the_sum(tmp_path: Path) -> None:
    one = Stats(start_time=100, last_update=200, execs_done=1000, saved_crashes=2, corpus_count=10, stability=99.0, last_find=150)
    two = Stats(start_time=150, last_update=210, execs_done=500, saved_crashes=1, corpus_count=20, last_find=190)
    many = []
    for stats in (one, two):
        (tmp_path / "stats").write_text(stats.text())
        many.append(read_stats(tmp_path / "stats"))
    total = add([*many, {}, {"execs_done": "garbage"}])
    assert (total.execs_done, total.saved_crashes, total.corpus_count, total.stability) == (1500, 3, 20, 99.0)
    assert (total.start_time, total.last_update, total.last_find, total.run_time) == (100, 210, 190, 110)


def test_edges_of_all_are_counted_once(tmp_path: Path) -> None:
    for index, seen in enumerate(((1, 2, 3), (3, 4))):
        folder = tmp_path / "out" / ("main", "main-01")[index]
        folder.mkdir(parents=True)
        virgin = bytearray(b"\xff" * 65536)
        for edge in seen:
            virgin[edge] = 0xFE
        (folder / "fuzz_bitmap").write_bytes(virgin)
    assert crew(tmp_path, 2).total().edges_found == 4
    (tmp_path / "out" / "main" / "fuzz_bitmap").write_bytes(b"cut")
    assert crew(tmp_path, 2).total().edges_found == 2
