"""Engines over a fresh space, for each architecture and both fills."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emuvm.abi.arch import BY_NAME
from emuvm.engine.pagetable import native_fill
from emuvm.engine.unicorn import UnicornEngine
from emuvm.mm.space import AddressSpace

from .guests import PAGE, Disk

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


@pytest.fixture(params=["native", "python", "regions"])
def build(request: pytest.FixtureRequest) -> Iterator[Make]:
    if request.param == "native" and not native_fill():
        pytest.skip("the C module is not built")
    engines: list[UnicornEngine] = []

    def make(name: str = "x86_64") -> UnicornEngine:
        arch = BY_NAME[name]
        space = AddressSpace(0, arch.task_size)
        adapter = "regions" if request.param == "regions" else "paged"
        engines.append(UnicornEngine(arch, space, adapter=adapter, native=request.param == "native"))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(params=["x86_64", "arm64"])
def engine(request: pytest.FixtureRequest, build: Make) -> UnicornEngine:
    return build(request.param)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "file"
    path.write_bytes(b"A" * PAGE + b"B" * PAGE + b"C" * PAGE + b"end")
    opened = Disk(path)
    yield opened
    opened.stream.close()
