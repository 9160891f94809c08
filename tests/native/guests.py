"""What the native comparisons share: running a program on the host, under qemu-user and under emuvm; compilers; guest busyboxes."""

from __future__ import annotations

import atexit
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "samples" / "bin"
SOURCES = ROOT / "samples" / "guest" / "libc"
ARCHES = ["x86_64", "arm64"]
HOST = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "")
QEMU = {"x86_64": "qemu-x86_64", "arm64": "qemu-aarch64"}
ENV = {"EMUVM_TEST": "1", "PATH": "/bin", "TZ": "UTC"}
STDIN = b"from stdin\nbeta\n"
Outcome = tuple[int, bytes]


def missing(what: str) -> NoReturn:
    """Skip, or fail where nothing may be skipped."""
    if os.environ.get("EMUVM_CI"):
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")


def run(command: list[str], folder: Path, seconds: int = 60) -> Outcome:
    """(status as a shell tells it, stdout) of a command that runs in `folder`, stdin and stdout being files."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout:
        stdin.write(STDIN)
        stdin.seek(0)
        done = subprocess.run(command, cwd=folder, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=ENV, timeout=seconds)
        sys.stderr.write(done.stderr.decode(errors="replace"))
        stdout.seek(0)
        return shell_status(done.returncode), stdout.read()


def shell_status(status: int) -> int:
    """What a shell makes of a status of `subprocess`: 128+n after signal n."""
    return 128 - status if status < 0 else status


def on_the_host(arch: str, command: list[str], folder: Path) -> Outcome:
    """The same by the kernel of the host, or by qemu-user where the host has another CPU."""
    if arch == HOST:
        return run(command, folder)
    qemu = shutil.which(QEMU[arch])
    if qemu is None:
        missing(QEMU[arch])
    return run([qemu, *command], folder)


def emulated_by_command(
    command: list[str], folder: Path, engine: str = "paged", before: Sequence[str] = (), seconds: int = 60
) -> Outcome:
    """The same by a whole `emuvm run` process; `command` may begin with options. `before`: what goes before Python, e.g. setpriv."""
    start = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'loaders')!r}]; from emuvm.cli import script; script()"
    return run([*before, sys.executable, "-c", start, "run", "--engine", engine, *command], folder, seconds)


# Answers lines "folder, stdout, words" with a status: each run is a fork of a process that has imported what `emuvm run` imports, which
# is most of what a short run costs. Descriptors 0 to 2, the folder and the environment are those of a fresh process.
SERVER = """
import json, os, signal, sys
sys.path[:0] = json.loads(sys.argv[1])
from emuvm.cli import main
from emuvm.kernel import running
for line in sys.stdin:
    folder, stdin, stdout, stderr, words = json.loads(line)
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        os.chdir(folder)
        for fd, (path, flags) in enumerate([(stdin, os.O_RDONLY), (stdout, os.O_WRONLY), (stderr, os.O_WRONLY)]):
            os.dup2(os.open(path, flags), fd)
        os.closerange(3, 64)
        os._exit(main(["run", *words]) & 255)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@cache
def _server() -> subprocess.Popen[str]:
    paths = json.dumps([str(ROOT), str(ROOT / "loaders")])
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENV
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str]) -> None:
    assert server.stdin is not None and server.stdout is not None
    server.stdin.close()
    server.wait(10)
    server.stdout.close()


def emulated(command: list[str], folder: Path, engine: str = "paged") -> Outcome:
    """The same under `emuvm run`; `command` may begin with options. What it said on stderr goes to pytest's captured output."""
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as scratch:
        names = [f"{scratch}/{name}" for name in ("stdin", "stdout", "stderr")]
        for name, data in zip(names, (STDIN, b"", b""), strict=True):
            Path(name).write_bytes(data)
        server.stdin.write(json.dumps([str(folder), *names, ["--engine", engine, *command]]) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        sys.stderr.write(Path(names[2]).read_text(errors="replace"))
        return shell_status(status), Path(names[1]).read_bytes()


@cache
def busybox(arch: str) -> str:
    """Debian's static busybox: the installed one, or the one below $EMUVM_GUESTS."""
    if arch == HOST and (found := shutil.which("busybox")):
        return found
    for sub in ("bin/busybox", "usr/bin/busybox"):
        path = Path(os.environ.get("EMUVM_GUESTS", "/nonexistent")) / sub
        if arch != HOST and path.is_file():
            return str(path)
    missing(f"busybox-static for {arch}")


def _musl_pie(compiler: str) -> list[str]:
    """musl-gcc links a static PIE only when it is told every part of it."""
    said = subprocess.run([compiler, "-v"], capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}).stderr
    specs = next(line for line in said.splitlines() if line.endswith("musl-gcc.specs")).split()[-1]
    first, second, last = (str(Path(specs).with_name(name)) for name in ("rcrt1.o", "crti.o", "crtn.o"))
    return ["-fPIE", "-static", "-nostartfiles", "-Wl,-pie,--no-dynamic-linker,-z,text", first, second, SOURCE, last]


SOURCE = "SOURCE"
TOOLCHAINS = {
    "glibc": ("gcc", "x86_64"),
    "glibc-pie": ("gcc", "x86_64"),
    "musl": ("musl-gcc", "x86_64"),
    "musl-pie": ("musl-gcc", "x86_64"),
    "arm64-glibc": ("aarch64-linux-gnu-gcc", "arm64"),
    "arm64-glibc-pie": ("aarch64-linux-gnu-gcc", "arm64"),
}


def compiled(toolchain: str, name: str, folder: Path) -> str:
    """Compile one of samples/guest/libc; the program's path. Skips where there is no such compiler."""
    program, arch = TOOLCHAINS[toolchain]
    compiler = shutil.which(program) or (shutil.which("gcc") if arch == HOST and "glibc" in toolchain else None)
    if compiler is None:
        missing(program)
    out = folder / f"{name}-{toolchain}"
    if not out.exists():
        kind = ["-static-pie", "-fPIE", SOURCE] if toolchain.endswith("-pie") else ["-static", "-no-pie", SOURCE]
        if toolchain == "musl-pie":
            kind = _musl_pie(compiler)
        words = [str(SOURCES / f"{name}.c") if word == SOURCE else word for word in kind]
        subprocess.run([compiler, "-O2", "-w", "-o", str(out), *words], check=True, timeout=60)
    return str(out)
