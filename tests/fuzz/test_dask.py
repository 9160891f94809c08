"""Instances on Dask workers, on a local cluster: finds come back and are exchanged."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emuvm.errors import EmuvmError
from emuvm.fuzz.afl import commands, session
from emuvm.fuzz.afl import dask as module
from emuvm.fuzz.afl.dask import Task, fuzz_round
from emuvm.fuzz.afl.folder import inputs_in, read_stats
from emuvm.fuzz.outcome import Kind
from tests.fuzz.afl_fakes import Parser, Simple
from tests.fuzz.afl_worker import opened, seed_of


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "opened", opened)
    monkeypatch.setattr(session, "mutator_of", lambda options, target: Simple(seed_of(options)))
    monkeypatch.setenv("AFL_NO_UI", "1")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"FZab")
    (tmp_path / "prog").write_bytes(b"\x7fELF")


@pytest.fixture
def scheduler() -> Iterator[str]:
    """The address of one with two workers in threads of this process, so that they have the fakes."""
    distributed = pytest.importorskip("distributed", reason="Dask's scheduler is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp") as cluster:
        yield cluster.scheduler_address


def task(tmp_path: Path, **more: Any) -> Task:
    values: dict[str, Any] = {
        "instance": "x-00",
        "words": ("-p", "explore"),
        "program": b"\x7fELF",
        "command": (str(tmp_path / "prog"),),
        "corpus": (b"FZab", b"hello"),
        "seed": 3,
        "seconds": 30.0,
        "execs": 2000,
    }
    return Task(**{**values, **more})


def test_a_round_gives_what_is_new(tmp_path: Path) -> None:
    finds = fuzz_round(task(tmp_path))
    assert finds == fuzz_round(task(tmp_path))
    assert finds.instance == "x-00" and 2000 <= finds.execs < 2050
    kinds = {Parser().run(data).kind for data in finds.inputs}
    assert kinds == set(Kind) and b"FZab" not in finds.inputs
    assert fuzz_round(task(tmp_path, seed=4)).inputs != finds.inputs


def test_rounds_on_a_local_cluster(tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, log = fuzz_round, tmp_path / "log"

    def noted(task: Task) -> Any:
        with log.open("a") as file:
            file.write(f"{task.seed} {len(task.corpus)}\n")
        return real(task)

    monkeypatch.setattr(module, "fuzz_round", noted)
    words = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-j", "2", "--dask", scheduler, "--round", "0.3", "-E", "20000"]
    assert commands.main("fuzz", [*words, "--", str(tmp_path / "prog")]) == 0
    own = tmp_path / "out" / "default"
    stats = read_stats(own / "fuzzer_stats")
    assert int(stats["execs_done"]) >= 20000 and int(stats["corpus_imported"]) > 10
    names = [path.name for path in inputs_in(own / "queue")]
    assert {name.split(",")[1] for name in names[1:]} <= {"sync:default-00", "sync:default-01"} and len(names) == int(stats["corpus_count"])
    assert inputs_in(own / "crashes") and inputs_in(own / "hangs")
    rounds = [text.split() for text in log.read_text().splitlines()]
    assert len({seed for seed, _ in rounds}) == len(rounds) > 2
    assert rounds[0][1] == "1" and int(rounds[-1][1]) > 5


def test_a_target_that_no_worker_can_run_is_one_error(
    tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(task: Task) -> None:
        raise EmuvmError("no such file there")

    monkeypatch.setattr(module, "fuzz_round", fail)
    words = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--dask", scheduler, "--", str(tmp_path / "prog")]
    assert commands.main("fuzz", words) == 1
    assert "no round on a worker succeeds any more: no such file there" in capsys.readouterr().err


def test_no_scheduler_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="Dask's scheduler is not installed")
    monkeypatch.setattr(module, "_CONNECT", 1)
    words = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--dask", "tcp://127.0.0.1:1", "--", str(tmp_path / "prog")]
    assert commands.main("fuzz", words) == 1
    assert "the scheduler cannot be reached" in capsys.readouterr().err


def test_without_dask_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name == "distributed":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    words = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--dask", "local", "--", str(tmp_path / "prog")]
    assert commands.main("fuzz", words) == 1
    assert "pip install distributed" in capsys.readouterr().err
