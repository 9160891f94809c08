"""A guest that changes its memory in every way there is, and checks before each time that it was put back."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from emuvm.engine.native_code import native
from emuvm.fuzz.harness import Harness
from emuvm.fuzz.outcome import Kind
from tests.fuzz.guests import build_files
from tests.fuzz.targets import SAMPLES

LETTERS = "xuUpnefFhwWNgsSmrRkdDqayYztTcCibLloKvM"
"""Those that torture.c knows."""
MIXED = {"x86_64": 7500, "arm64": 1500}


@pytest.fixture(params=["x86_64", "arm64", "x86_64 in Python"])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    arch = request.param.split()[0]
    way = request.param == arch
    if way and native() is None:
        pytest.skip("the C module is not built")
    with Harness(build_files((SAMPLES / "torture.c",), arch), native=way, coverage=way) as made:
        yield made


def test_each_alone_and_all_mixed(harness: Harness) -> None:
    """Over the fixtures 10 000 runs and more."""
    source = (SAMPLES / "torture.c").read_text()
    assert sorted(LETTERS) == sorted(line.split("'")[1] for line in source.splitlines() if line.strip().startswith("case '"))
    for letter in LETTERS:
        for data in (letter, "", letter * 3, letter, ""):
            outcome = harness.run(data.encode())
            assert (outcome.kind, outcome.code) == (Kind.EXIT, 0), f"after {letter}"
    rng = random.Random(2)
    order: list[str] = []
    for number in range(1000 if not harness.engine.memory.native else MIXED[harness.proc.arch.name]):
        data = "".join(rng.choice(LETTERS) for _ in range(rng.randrange(1, 9)))
        outcome = harness.run(data.encode())
        assert outcome.kind is Kind.EXIT or outcome.signal in (7, 11), f"{order[-2:]}, then {data}: {outcome}"
        assert outcome.code == 0 or outcome.code >= 20, f"run {number}: {order[-2:]} was not put back ({outcome.code})"
        order.append(data)
        if number % 200 == 0:
            assert harness.differences() == []
            harness.proc.engine.memory.verify()
