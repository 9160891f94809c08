"""C programs as guests of the fuzzer's tests."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILERS = {"x86_64": "gcc", "arm64": "aarch64-linux-gnu-gcc"}


@functools.cache
def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="emuvm-guests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _build(source: str | tuple[Path, ...], arch: str, options: tuple[str, ...]) -> Path:
    name = Path(_folder(), f"{abs(hash((source, arch, options))):x}")
    static = () if "-static-pie" in options else ("-static",)
    command = [COMPILERS[arch], "-O1", *static, *options, "-o", str(name)]
    if isinstance(source, str):
        subprocess.run([*command, "-x", "c", "-"], input=source.encode(), check=True, timeout=60)
    else:
        subprocess.run([*command, *map(str, source)], check=True, timeout=60)
    return name


def _needed(arch: str) -> None:
    """The test is skipped where there is no compiler, which CI has."""
    if shutil.which(COMPILERS[arch]) is None:
        if os.environ.get("EMUVM_CI"):
            pytest.fail(f"{COMPILERS[arch]} is not installed")
        pytest.skip(f"{COMPILERS[arch]} is not installed")


def build(source: str, arch: str = "x86_64", *options: str) -> Path:
    """A static program from the text of its source."""
    _needed(arch)
    return _build(source, arch, options)


def build_files(sources: tuple[Path, ...], arch: str = "x86_64", *options: str) -> Path:
    """A static program from files."""
    _needed(arch)
    return _build(sources, arch, options)
