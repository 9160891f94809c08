"""A harness whose program is a process from a file: what `Snapshot.save` wrote, or a core file, of emuvm's or the kernel's."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emuvm.fuzz.coredump import save_core
from emuvm.fuzz.harness import Harness, HarnessError
from emuvm.fuzz.outcome import Outcome
from emuvm.fuzz.snapshot import Snapshot
from tests.fuzz.targets import SAMPLES, program

INPUTS = (b"1+2", b"5%0", b"((7))*3", b"")


@pytest.fixture(scope="module")
def target() -> Path:
    return program("expression")


@pytest.fixture(scope="module")
def wanted(target: Path) -> list[Outcome]:
    with Harness(target) as harness:
        return [harness.run(data) for data in INPUTS]


@pytest.mark.parametrize("kind", ["snapshot", "core"])
def test_it_runs_as_the_program_does(kind: str, target: Path, wanted: list[Outcome], tmp_path: Path) -> None:
    saved, inside = tmp_path / "saved", f"/bin/{target.name}"
    with Harness(target) as harness:
        harness.run(b"1*1")
        harness.reset()
        if kind == "core":
            save_core(harness.proc, saved)
        else:
            with Snapshot.take(harness.proc) as snapshot:
                assert snapshot.save(saved) == []
    with Harness(saved, files={inside: target.read_bytes()} if kind == "core" else {}, paranoid=2) as harness:
        assert [harness.run(data) for data in INPUTS] == wanted
        assert [harness.run(data) for data in INPUTS] == wanted
        assert harness.checks and harness.stability == 1.0
    if kind == "core":
        with pytest.raises(HarnessError, match=f"{inside}: No such file"):
            Harness(saved)
        words = ["fuzz", "-i", str(SAMPLES / "seeds/expression"), "-o", str(tmp_path / "out"), "-E", "300", "--file", f"{inside}={target}"]
        done = subprocess.run([sys.executable, "-m", "emuvm", *words, "--", str(saved)], capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / "out/default/queue").iterdir())) > 4


def test_a_core_of_the_kernel_s(target: Path, wanted: list[Outcome], tmp_path: Path) -> None:
    gcore = shutil.which("gcore")
    if gcore is None:
        pytest.skip("no gcore")
    plain = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX"}  # which the emulated CPU does not have
    with subprocess.Popen([target], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=plain) as process:
        try:
            state = Path(f"/proc/{process.pid}/syscall")
            for _ in range(1000):
                if state.read_text().startswith("0 "):  # it waits in read
                    break
                time.sleep(0.01)
            done = subprocess.run([gcore, "-o", tmp_path / "core", str(process.pid)], capture_output=True, text=True)
        finally:
            process.kill()
    core = tmp_path / f"core.{process.pid}"
    if not core.exists():
        pytest.skip(f"gcore cannot look at processes here: {done.stderr[-200:]}")
    with Harness(core, files={str(target.resolve()): target.read_bytes()}) as harness:
        found = [harness.run(data) for data in INPUTS]
        assert found == [harness.run(data) for data in INPUTS]
    for one, other in zip(found, wanted, strict=True):
        assert (one.kind, one.code, one.signal, one.stdout) == (other.kind, other.code, other.signal, other.stdout)


def test_what_it_cannot_have(target: Path, tmp_path: Path) -> None:
    with Harness(target) as harness, Snapshot.take(harness.proc) as snapshot:
        snapshot.save(tmp_path / "saved")
    for more in ({"args": ["x"]}, {"env": {"A": "b"}}, {"input": "argv"}, {"input": "@@"}):
        with pytest.raises(HarnessError, match="has its arguments and environment"):
            Harness(tmp_path / "saved", **more)  # type: ignore[arg-type]
    with pytest.raises(HarnessError, match="no symbol main: its symbol tables cannot be read"):
        Harness(tmp_path / "saved", at="main")
    damaged = bytearray((tmp_path / "saved").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    with pytest.raises(HarnessError, match="damaged: "):
        Harness(tmp_path / "damaged")
