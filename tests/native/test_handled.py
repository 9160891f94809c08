"""Faults that the guest handles: the C code and the kernel side, which answers them without it, show a program the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emuvm.cli import main
from emuvm.engine.native_code import native
from emuvm.engine.unicorn import UnicornEngine
from emuvm.kernel import fault
from tests.native.guests import HOST, missing

TEXT = re.compile(rb"(?:sum|handler|other|present) -?\d+\n")
HERE = Path(__file__).parent
FLAGS = "-O2 -ffreestanding -fno-builtin -fno-stack-protector -fno-pie -no-pie -static -nostdlib -s".split()
COMPILERS = {"x86_64": ("x86_64-linux-gnu-gcc", "gcc"), "arm64": ("aarch64-linux-gnu-gcc",)}


def build(arch: str, folder: Path) -> Path:
    compiler = next(filter(None, map(shutil.which, COMPILERS[arch])), None)
    if compiler is None:
        missing(COMPILERS[arch][0])
    program = folder / arch
    include = f"-I{HERE.parents[1] / 'samples' / 'guest'}"
    subprocess.run([compiler, *FLAGS, include, "-o", program, HERE / "handled.c"], check=True, timeout=60)
    return program


@pytest.mark.skipif(native() is None, reason="the C module is not built")
@pytest.mark.parametrize("arch", COMPILERS)
def test_both_ways_show_the_same(
    arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    program, asked = build(arch, tmp_path), [0]
    answer = fault._refused

    def counted(proc: object, stop: object) -> None:
        asked[0] += 1
        answer(proc, stop)  # type: ignore[arg-type]

    monkeypatch.setattr(fault, "_refused", counted)

    def run() -> tuple[int, bytes, int]:
        asked[0] = 0
        status = main(["run", str(program)])
        return status, capfdbinary.readouterr().out, asked[0]

    status, shown, few = run()
    monkeypatch.setattr(UnicornEngine, "handled_faults", lambda self: None)
    expected_status, expected, many = run()
    assert (status, expected_status) == (0, 0)
    assert many > 80 and few < many // 2
    assert shown == expected
    if arch == HOST:
        real = subprocess.run([program], capture_output=True, check=True, timeout=20).stdout
        assert TEXT.findall(shown) == TEXT.findall(real), "frames hold addresses of the stack, the rest is the same"
