"""Our own samples: both architectures, both adapters, against the kernel of the host.

The samples print nothing that depends on the architecture, so the host's build of a sample is the oracle of all: qemu-user is none, it
differs from the kernel in partial copies, pipes and reservations.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.native.guests import ARCHES, BIN, HOST, emulated, emulated_by_command, missing, run

SAMPLES: dict[str, list[list[str]]] = {
    "hello": [[]],
    "hello_pie": [[]],
    "args": [["one", "two words", ""]],
    "cat": [[], ["data"], ["nothing there"]],
    "memory": [[]],
    "deep": [[]],
    "null": [[]],
    "getppid": [["50"]],
    "rounds": [["20", "30"]],
    "sieve": [["20000"]],
    "sha256": [["1"]],
    "selfmod": [[]],
    "grow": [[]],
    "reserve": [[], ["65536"]],
    "partial": [["data"]],
    "sigpipe": [[], ["ignore"]],
}
RUNS = [(name, words) for name, runs in SAMPLES.items() for words in runs]


@pytest.mark.parametrize("engine", ["paged", "regions"])
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("name", "words"), RUNS, ids=[" ".join([name, *words]) for name, words in RUNS])
def test_sample(arch: str, name: str, words: list[str], engine: str, tmp_path: Path) -> None:
    if HOST not in ARCHES:
        missing("a build of the samples for this machine")
    (tmp_path / "data").write_bytes(bytes(i * i >> 3 & 0xFF for i in range(10_000)))
    natively = run([str(BIN / HOST / name), *words], tmp_path)
    assert emulated([str(BIN / arch / name), *words], tmp_path, engine) == natively


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("name", "words"), [("hello", []), ("args", ["a", ""]), ("null", []), ("sigpipe", [])], ids=str)
def test_whole_command(arch: str, name: str, words: list[str], tmp_path: Path) -> None:
    program = [str(BIN / arch / name), *words]
    assert emulated_by_command(program, tmp_path) == emulated(program, tmp_path)


def test_every_sample_is_run() -> None:
    for arch in ARCHES:
        assert {path.name for path in (BIN / arch).iterdir()} == set(SAMPLES)
