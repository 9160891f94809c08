"""Engines over a fresh space, for each architecture and both fills."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from emuvm.abi.arch import BY_NAME
from emuvm.engine.pagetable import native_fill
from emuvm.engine.unicorn import UnicornEngine
from emuvm.mm.space import AddressSpace

Make = Callable[[str], UnicornEngine]


@pytest.fixture(params=["native", "python"])
def native(request: pytest.FixtureRequest) -> bool:
    if request.param == "native" and not native_fill():
        pytest.skip("the C module is not built")
    return bool(request.param == "native")


@pytest.fixture
def make(native: bool) -> Iterator[Make]:
    """make(architecture name) -> a paged engine; closed at the end."""
    engines: list[UnicornEngine] = []

    def build(name: str = "x86_64") -> UnicornEngine:
        arch = BY_NAME[name]
        engines.append(UnicornEngine(arch, AddressSpace(0, arch.task_size), native=native))
        return engines[-1]

    yield build
    for engine in engines:
        engine.close()
