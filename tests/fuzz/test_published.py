"""Published parsers with crashes that are publicly known: in the harness they end as on the host, and the fuzzer finds some of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from emuvm.fuzz.harness import Harness
from emuvm.fuzz.outcome import Kind, Outcome
from samples.published.fetch import HERE, PARSERS, FetchError, download, program
from samples.published.inputs import CRASHES, SEEDS
from tests.native.guests import HOST, missing

BUDGET = 30_000_000
ENDLESS = 5_000_000  # the budget of what is believed to hang
pytestmark = pytest.mark.timeout(300)  # the first of these tests fetches the packages


class Crash(NamedTuple):
    kind: Kind
    signal: int = 0
    access: str = ""
    code: str = ""
    guarded: bool = False
    """Only an allocator that guards its blocks shows it."""


KNOWN: dict[str, dict[str, Crash]] = {
    "jq": {
        "long-number": Crash(Kind.CRASH, 11, "write", "SEGV_ACCERR", guarded=True),
        "deep": Crash(Kind.CRASH, 11, "write", "SEGV_MAPERR"),
    },
    "onig": {
        "octal": Crash(Kind.CRASH, 11, "write", "SEGV_ACCERR", guarded=True),
        "past-the-end": Crash(Kind.CRASH, 11, "read", "SEGV_ACCERR", guarded=True),
        "deep": Crash(Kind.CRASH, 11, "write", "SEGV_MAPERR"),
    },
    "yajl": {"half-surrogate": Crash(Kind.CRASH, 6, "", "SI_TKILL")},
    "vorbis": {
        "same-point": Crash(Kind.CRASH, 8, "", "FPE_INTDIV"),
        "many-couplings": Crash(Kind.CRASH, 11, "write", "SEGV_ACCERR", guarded=True),
        "short-frame": Crash(Kind.CRASH, 11, "read", "SEGV_MAPERR"),
    },
    "image": {"cut-short": Crash(Kind.HANG)},
}
CASES = [(name, crash) for name, crashes in KNOWN.items() for crash in crashes]
FOUND = {"yajl": 20_000, "onig": 10_000, "vorbis": 20_000, "image": 5_000}
"""Executions within which the fuzzer finds a known crash from the seeds."""


@cache
def _downloads() -> dict[str, str]:
    """Why a parser cannot be fetched. All at once: pip spends its time waiting."""

    def why(name: str) -> str:
        try:
            download(PARSERS[name].package)
        except FetchError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor() as pool:
        packages = list({parser.package: name for name, parser in PARSERS.items()}.values())
        reasons = dict(zip(packages, pool.map(why, packages), strict=True))
    return {name: reasons[next(one for one in packages if PARSERS[one].package == parser.package)] for name, parser in PARSERS.items()}


def _built(name: str, guarded: bool = False) -> Path:
    if HOST != "x86_64":
        pytest.skip("the crashes are those of x86-64")
    if shutil.which("gcc") is None:
        missing("gcc")
    if reason := _downloads()[name]:
        pytest.skip(reason)  # where EMUVM_CI is set, that is a failure
    try:
        return program(name, guarded)
    except FetchError as error:
        pytest.fail(str(error))


def _known(outcome: Outcome) -> Crash:
    fault = outcome.fault
    return Crash(outcome.kind, outcome.signal, fault.access if fault else "", fault.code if fault else "")


def _natively(target: Path, data: bytes) -> int:
    """The exit code, -n for a signal, 1000 for a hang."""
    try:
        return subprocess.run([target], input=data, capture_output=True, timeout=3).returncode
    except subprocess.TimeoutExpired:
        return 1000


def test_the_inputs_are_what_their_descriptions_make() -> None:
    assert {name: set(crashes) for name, crashes in CRASHES.items()} == {name: set(crashes) for name, crashes in KNOWN.items()}
    for folder, inputs in (("crashes", CRASHES), ("seeds", SEEDS)):
        made = {(name, file): data for name, named in inputs.items() for file, data in named.items()}
        assert made == {(path.parent.name, path.name): path.read_bytes() for path in (HERE / folder).glob("*/*")}


@pytest.mark.parametrize("name", PARSERS)
def test_seeds_do_no_harm(name: str) -> None:
    for guarded in (False, True):
        target = _built(name, guarded)
        with Harness(target, budget=BUDGET) as made:
            for data in SEEDS[name].values():
                outcome = made.run(data)
                said = subprocess.run([target], input=data, capture_output=True, timeout=20)
                assert (outcome.kind, outcome.code, outcome.stdout) == (Kind.EXIT, 0, said.stdout) and said.returncode == 0
            assert made.differences() == []


@pytest.mark.parametrize(("name", "crash"), CASES)
def test_known_crashes(name: str, crash: str) -> None:
    known, data = KNOWN[name][crash], CRASHES[name][crash]
    target = _built(name, known.guarded)
    assert _natively(target, data) == (1000 if known.kind is Kind.HANG else -known.signal)
    with Harness(target, budget=ENDLESS if known.kind is Kind.HANG else BUDGET) as made:
        outcome = made.run(data)
        assert _known(outcome) == known._replace(guarded=False)
        assert made.run(next(iter(SEEDS[name].values()))).kind is Kind.EXIT
        assert made.run(data) == outcome
        assert made.differences() == []


@pytest.mark.parametrize(("name", "crash"), [case for case in CASES if case[1] not in ("deep", "cut-short", "half-surrogate")])
def test_the_fault_is_that_of_the_host(name: str, crash: str, tmp_path: Path) -> None:
    """By gdb: the same instruction and address. Of a heap block only its place in the page: the host puts its vDSO above the first mapping.
    A stack that ends does so at another depth, which the environment decides."""
    if shutil.which("gdb") is None:
        missing("gdb")
    known, data = KNOWN[name][crash], CRASHES[name][crash]
    target = _built(name, known.guarded)
    (tmp_path / "input").write_bytes(data)
    commands = [f"run < {tmp_path / 'input'} > /dev/null", 'printf "\\nat %p of %p\\n", $_siginfo._sifields._sigfault.si_addr, $pc']
    words = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(["gdb", "-nx", "-batch", *words, target], capture_output=True, text=True, timeout=60, env={"PATH": os.defpath})
    told = re.search(r"^at (\w+) of (\w+)$", done.stdout, re.MULTILINE)
    assert told, done.stderr
    with Harness(target, budget=BUDGET) as made:
        outcome = made.run(data)
    address, pc = (int(text, 16) for text in told.groups())
    assert outcome.pc == pc and outcome.fault is not None and outcome.fault.address is not None
    if known.guarded:
        assert outcome.fault.address % 4096 == address % 4096
    else:
        assert outcome.fault.address == address


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", FOUND)
def test_found(name: str, seed: int, tmp_path: Path) -> None:
    target = _built(name, guarded=name == "onig")
    options = ["-i", str(HERE / "seeds" / name), "-o", str(tmp_path / "out"), "-s", str(seed), "-t", "1M", "-E", str(FOUND[name])]
    environment = {**os.environ, "AFL_NO_UI": "1", "AFL_BENCH_UNTIL_CRASH": "1"}
    command = [sys.executable, "-m", "emuvm", "fuzz", *options, "--", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=environment)
    assert done.returncode == 0, done.stderr
    kind = "hangs" if name == "image" else "crashes"
    found = [path for path in sorted((tmp_path / "out" / "default" / kind).iterdir()) if path.name.startswith("id:")]
    assert found, f"{name} was not found within {FOUND[name]} executions"
    # Not all that used up its budget would never end: large images take long.
    assert any(_is_known(name, target, path.read_bytes()) for path in found)


def _is_known(name: str, target: Path, data: bytes) -> bool:
    with Harness(target, budget=ENDLESS) as made:
        crash = _known(made.run(data))
    known = {one._replace(guarded=False) for one in KNOWN[name].values()}
    return crash in known and _natively(target, data) == (1000 if crash.kind is Kind.HANG else -crash.signal)
