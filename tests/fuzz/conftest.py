"""A module's SOURCE as a guest, and a harness around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from emuvm.fuzz.harness import Harness
from tests.fuzz.guests import build


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest) -> Path:
    return build(request.module.SOURCE)


@pytest.fixture(scope="module")
def harness(program: Path) -> Iterator[Harness]:
    with Harness(program, budget=20_000) as made:
        yield made
