"""Static programs with a C library, compiled here: glibc and musl, at a fixed place and position independent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.native.guests import HOST, TOOLCHAINS, compiled, emulated, on_the_host

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


@pytest.mark.parametrize(("toolchain", "engine"), [("glibc", "paged"), ("glibc", "regions"), ("arm64-glibc", "paged")])
def test_file_calls(toolchain: str, engine: str, built: Path, tmp_path: Path) -> None:
    """Some 330 facts about file calls. What the facts are does not depend on the architecture, so the host's kernel judges all."""
    (tmp_path / "native").mkdir()
    (tmp_path / "emulated").mkdir()
    for kind in {"glibc", toolchain}:
        (tmp_path / kind).mkdir()
        shutil.copy(compiled(kind, "files", built), tmp_path / kind / "files")
    expected = on_the_host(HOST, [str(tmp_path / "glibc" / "files")], tmp_path / "native")
    assert expected[0] == 0 and expected[1].count(b"\n") > 300
    assert emulated(["--rw", ".", str(tmp_path / toolchain / "files")], tmp_path / "emulated", engine) == expected
