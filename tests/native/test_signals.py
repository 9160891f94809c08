"""Signals as programs see them: some 370 facts, printed natively and emulated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.native.guests import HOST, TOOLCHAINS, compiled, emulated, on_the_host

FACTS = {"signals": 100, "signals_wait": 100, "signals_frame": 15}
RUNS = [(name, toolchain, "paged") for name in FACTS for toolchain in ("glibc", "musl", "arm64-glibc")]
RUNS += [(name, toolchain, "regions") for name in FACTS for toolchain in ("glibc", "arm64-glibc") if name != "signals"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("built")


@pytest.mark.parametrize(("name", "toolchain", "engine"), RUNS)
def test_facts(name: str, toolchain: str, engine: str, built: Path, tmp_path: Path) -> None:
    """What the facts are does not depend on the architecture, so the host's kernel judges all."""
    expected = on_the_host(HOST, [compiled("musl" if toolchain == "musl" else "glibc", name, built)], tmp_path)
    assert expected[0] == 0 and expected[1].count(b"\n") > FACTS[name]
    assert emulated([compiled(toolchain, name, built)], tmp_path, engine) == expected


@pytest.mark.skipif(HOST != "x86_64", reason="the host's kernel judges frames of its own architecture")
@pytest.mark.parametrize("engine", ["paged", "regions"])
def test_frames_of_x86_64(engine: str, built: Path, tmp_path: Path) -> None:
    """The frame, field by field, error codes of faults, and what rt_sigreturn refuses."""
    program = compiled("glibc", "signals_x86", built)
    expected = on_the_host(HOST, [program], tmp_path)
    assert expected[0] == 0 and expected[1].count(b"\n") > 120
    assert emulated([program], tmp_path, engine) == expected
    assert TOOLCHAINS["glibc"][1] == "x86_64"
