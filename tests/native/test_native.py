"""The host kernel (x86-64) or qemu-user (arm64) as oracle: the same program prints the same and ends the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "samples" / "bin"
SAMPLES = {
    "hello": [], "hello_pie": [], "args": ["one", "two words", ""], "cat": [], "memory": [], "deep": [], "null": [],
    "getppid": ["50"], "rounds": ["20", "30"], "sieve": ["20000"], "selfmod": [],
}  # fmt: skip
ARCHES = ["x86_64", "arm64"]
BUSYBOX = [
    "echo a b", "true", "false", "ls -1 .", "ls -lan .", "cat text", "cat", "sort text", "sha256sum text", "md5sum text", "gzip -c text",
    "gunzip -c text.gz", "unxz -c text.xz", "bunzip2 -c text.bz2", "grep -r beta .", "find . -name text*", "tar tf all.tar",
    "tar xOf all.tar text", "tar cf - text", "wc text", "head -n 1 text", "cut -c 2-3 text", "tr a-z A-Z", "od -c text", "seq 1 7",
    "expr 6 * 7", "date -u -d @86400", "base64 text", "diff text other", "dc -e 2p", "dd if=text bs=4 count=2", "stat -c %s text",
    "du text", "uname -m", "id", "env", "sleep 0", "cmp text other",
]  # fmt: skip
QUOTED = [
    ["awk", "{ n += length($1) } END { print n }", "text"],
    ["sed", "s/a/A/g", "text"],
    ["sh", "-c", "i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo $((i*i)); done; exit 3"],
]
ENV = {"EMUVM_TEST": "1", "PATH": "/bin"}


def missing(what: str) -> None:
    """Skip, or fail where nothing may be skipped."""
    if os.environ.get("EMUVM_CI"):
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")


def run(command: list[str], folder: Path) -> tuple[int, bytes]:
    done = subprocess.run(command, cwd=folder, input=b"from stdin\nbeta\n", capture_output=True, env=ENV, timeout=60)
    status = done.returncode
    return (128 - status if status < 0 else status), done.stdout


def oracle(arch: str, command: list[str], folder: Path) -> tuple[int, bytes]:
    if arch == "x86_64":
        return run(command, folder)
    qemu = shutil.which("qemu-aarch64")
    if qemu is None:
        missing("qemu-aarch64")
        raise AssertionError
    return run([qemu, *command], folder)


def emulated(command: list[str], folder: Path, engine: str) -> tuple[int, bytes]:
    start = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'loaders')!r}]; from emuvm.cli import main; sys.exit(main())"
    return run([sys.executable, "-c", start, "run", "--engine", engine, *command], folder)


@pytest.mark.parametrize("engine", ["paged", "regions"])
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", SAMPLES)
def test_sample(arch: str, name: str, engine: str, tmp_path: Path) -> None:
    command = [str(BIN / arch / name), *SAMPLES[name]]
    assert emulated(command, tmp_path, engine) == oracle(arch, command, tmp_path)


def test_every_sample_is_run() -> None:
    for arch in ARCHES:
        assert {path.name for path in (BIN / arch).iterdir()} == set(SAMPLES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import bz2
    import gzip
    import lzma
    import tarfile

    text = b"gamma\nalpha\nbeta\n"
    (tmp_path / "text").write_bytes(text)
    (tmp_path / "other").write_bytes(b"alpha\n")
    (tmp_path / "text.gz").write_bytes(gzip.compress(text, mtime=0))
    (tmp_path / "text.xz").write_bytes(lzma.compress(text))
    (tmp_path / "text.bz2").write_bytes(bz2.compress(text))
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add(tmp_path / "text", "text")
    return tmp_path


def busybox(arch: str) -> str:
    found = shutil.which("busybox") if arch == "x86_64" else None
    if arch == "arm64":
        for sub in ("bin/busybox", "usr/bin/busybox"):
            path = Path(os.environ.get("EMUVM_GUESTS", "/nonexistent")) / sub
            found = found or (str(path) if path.is_file() else None)
    if found is None:
        missing(f"busybox-static for {arch}")
        raise AssertionError
    return found


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("words", [line.split() for line in BUSYBOX] + QUOTED, ids=" ".join)
def test_busybox(arch: str, words: list[str], folder: Path) -> None:
    command = [busybox(arch), *words]
    assert emulated(command, folder, "paged") == oracle(arch, command, folder)


@pytest.mark.parametrize("words", [["cp", "text", "copy"], ["rm", "text"]], ids=" ".join)
@pytest.mark.parametrize("arch", ARCHES)
def test_busybox_writes_where_it_may(arch: str, words: list[str], folder: Path) -> None:
    program = busybox(arch)
    start = emulated(["--rw", str(folder), program, *words], folder, "paged")
    assert start == (0, b"")
    assert (folder / "copy").exists() == (words[0] == "cp")
    assert (folder / "text").exists() == (words[0] != "rm")
