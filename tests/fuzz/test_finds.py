"""The planted bugs of samples/fuzz are found from their seeds within so many executions, by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emuvm.fuzz.harness import Harness
from emuvm.fuzz.outcome import Kind
from tests.fuzz.targets import BUGS, SAMPLES, program

WITHIN = {
    "image": 20_000, "store": 20_000, "expression": 20_000, "archive": 40_000, "names": 80_000, "settings": 20_000, "armour": 20_000,
    "nested": 20_000, "header": 20_000, "machine": 20_000,
}  # fmt: skip
"""Executions, for each of two seeds of the fuzzer's."""


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", BUGS)
def test_found(name: str, seed: int, tmp_path: Path) -> None:
    target = program(name)
    options = ["-i", str(SAMPLES / "seeds" / name), "-o", str(tmp_path / "out"), "-s", str(seed), "-t", "200k", "-E", str(WITHIN[name])]
    if name == "header":
        options.append("--results")
    until = {} if name == "names" else {"AFL_BENCH_UNTIL_CRASH": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "emuvm", "fuzz", *options, "--", str(target)],
        capture_output=True, text=True, timeout=110, env={**os.environ, "AFL_NO_UI": "1", **until},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kind = "hangs" if name == "names" else "crashes"
    found = [path for path in (tmp_path / "out" / "default" / kind).iterdir() if path.name.startswith("id:")]
    assert found, f"{name} was not found within {WITHIN[name]} executions"
    bugs = BUGS[name].values()
    with Harness(target, budget=200_000, results=True) as made:
        for path in found:
            outcome = made.run(path.read_bytes())
            assert outcome.kind is (Kind.HANG if name == "names" else Kind.CRASH)
            assert outcome.signal in {bug.signal for bug in bugs} or outcome.signal in (4, 6, 7, 11)
