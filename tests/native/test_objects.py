"""Kernel objects, limits, identity and user copies: facts, judged by the kernel of the host.

The facts do not depend on the architecture, so the host's build of a program is the oracle of all.
"""

from __future__ import annotations

import difflib
import os
import platform
import re
from pathlib import Path

import pytest

from tests.native.guests import HOST, TOOLCHAINS, compiled, emulated, missing, on_the_host

PROGRAMS = {
    "objects_memfd": 100,
    "objects_copy": 200,
    "objects_process": 300,
    "objects_shm": 180,
    "objects_map": 200,
    "objects_exec": 100,
    "objects_io": 100,
}
"""Program: how many lines it prints at least."""
RUNS = [("glibc", "paged"), ("glibc", "regions"), ("arm64-glibc", "paged"), ("arm64-glibc", "regions")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("built")


@pytest.mark.parametrize(("toolchain", "engine"), RUNS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_facts(name: str, toolchain: str, engine: str, built: Path, tmp_path: Path) -> None:
    if tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2]) < (6, 18):
        missing("Linux 6.18, which the facts are about,")
    if name in ("objects_shm", "objects_exec") and os.geteuid():
        missing("the right to make an IPC namespace")
    (tmp_path / "native").mkdir()
    (tmp_path / "emulated").mkdir()
    natively = on_the_host(HOST, [compiled("glibc", name, built)], tmp_path / "native")
    assert natively[0] == 0 and natively[1].count(b"\n") >= PROGRAMS[name]
    found = emulated(["--rw", ".", compiled(toolchain, name, built)], tmp_path / "emulated", engine)
    before, after = (text.decode(errors="replace").splitlines() for text in (natively[1], found[1]))
    assert not [line for line in difflib.unified_diff(before, after, "native", TOOLCHAINS[toolchain][1], n=0, lineterm="")]
    assert found == natively
