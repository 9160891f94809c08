"""Static programs with a C library, compiled here: glibc and musl, at a fixed place and position independent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.native.guests import TOOLCHAINS, compiled, emulated, on_the_host

RUNS = [("hello", toolchain, engine) for toolchain in TOOLCHAINS for engine in ("paged", "regions")]
RUNS += [("deep", toolchain, "paged") for toolchain in ("glibc", "glibc-pie", "musl", "arm64-glibc")]
RUNS += [("malloc", toolchain, "paged") for toolchain in ("glibc", "musl", "musl-pie", "arm64-glibc")] + [("malloc", "musl", "regions")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("built")


@pytest.mark.parametrize(("name", "toolchain", "engine"), RUNS)
def test_program(name: str, toolchain: str, engine: str, built: Path, tmp_path: Path) -> None:
    program = compiled(toolchain, name, built)
    expected = on_the_host(TOOLCHAINS[toolchain][1], [program], tmp_path)
    assert expected[0] == 0
    assert emulated([program], tmp_path, engine) == expected
