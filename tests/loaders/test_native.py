"""Real programs: what readelf says about them, and what this machine's own kernel maps for them."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emuvm_loaders import Image, R, W, X, load, plan, span

SOURCE = """
char bss[0x5432];
int data[300] = {1};
const char constant[5000] = "text";
void _start(void) { for (;;) ; }
"""
COMPILER = shutil.which("gcc")
READELF = shutil.which("readelf")
BUSYBOX = Path("/bin/busybox")
needs_readelf = pytest.mark.skipif(READELF is None, reason="readelf is not installed")
CROSS = shutil.which("aarch64-linux-gnu-gcc")
native = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64", reason="needs the maps of a Linux x86-64 process"
)
FLAVOURS = {
    "exec": ["-static", "-no-pie"],
    "static-pie": ["-static-pie", "-fPIE"],
    "one rwx segment": ["-static", "-no-pie", "-Wl,-N", "-Wl,-z,norelro"],
    "exec stack": ["-static", "-no-pie", "-Wl,-z,execstack", "-Wl,--no-warn-execstack"],
    "aligned": ["-static", "-no-pie", "-Wl,-z,max-page-size=0x10000"],
}


@pytest.fixture(scope="module", params=sorted(FLAVOURS))
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("program")
    source, target = folder / "p.c", folder / "p"
    source.write_text(SOURCE)
    options = ["-nostdlib", "-O1", "-fno-stack-protector", *FLAVOURS[request.param]]
    done = subprocess.run([COMPILER, *options, "-o", str(target), str(source)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"gcc cannot build this flavour here: {done.stderr.splitlines()[-1:]}")
    return target


def compare_with_readelf(path: Path) -> None:
    assert READELF is not None
    text = subprocess.run([READELF, "-lhW", str(path)], capture_output=True, text=True, check=True).stdout
    image = load(path)
    rows = re.findall(
        r"^  (\w+) +0x([0-9a-f]+) 0x([0-9a-f]+) 0x[0-9a-f]+ 0x([0-9a-f]+) 0x([0-9a-f]+) ([R ][W ][E ]) (?:0x)?([0-9a-f]+)$", text, re.M
    )
    theirs = [
        (
            name,
            int(offset, 16),
            int(vaddr, 16),
            int(filesz, 16),
            int(memsz, 16),
            rights.replace(" ", "-").lower().replace("e", "x"),
            int(align, 16),
        )
        for name, offset, vaddr, filesz, memsz, rights, align in rows
    ]
    assert [(s.type, s.offset, s.vaddr, s.filesz, s.memsz, s.letters, s.align) for s in image.headers] == theirs
    assert theirs
    for label, value in (
        ("Entry point address", image.entry),
        ("Number of program headers", image.phnum),
        ("Start of program headers", image.phoff),
    ):
        found = re.search(label + r":\s+(0x[0-9a-f]+|\d+)", text)
        assert found is not None
        assert int(found[1], 0) == value
    wanted = re.search(r"Requesting program interpreter: (.*)\]", text)
    assert image.interpreter == (wanted[1] if wanted else None)


@needs_readelf
def test_as_readelf_sees_it(program: Path) -> None:
    compare_with_readelf(program)


@needs_readelf
@pytest.mark.skipif(CROSS is None, reason="aarch64-linux-gnu-gcc is not installed")
def test_an_arm64_program_as_readelf_sees_it(tmp_path: Path) -> None:
    source, target = tmp_path / "p.c", tmp_path / "p"
    source.write_text(SOURCE)
    subprocess.run([str(CROSS), "-nostdlib", "-static", "-O1", "-o", str(target), str(source)], check=True, capture_output=True)
    compare_with_readelf(target)
    image = load(target)
    assert (image.arch, image.type, image.interpreter) == ("arm64", "exec", None)
    made = plan(image, task_size=1 << 48)
    assert {m.prot for m in made.mappings} >= {5, 3}
    assert image.data(image.segments[0])[:4] == b"\x7fELF"


@needs_readelf
@pytest.mark.parametrize("path", ["/bin/busybox", "/bin/ls", "/usr/lib/ld-musl-x86_64.so.1", "/lib/x86_64-linux-gnu/libc.so.6"])
def test_installed_files_as_readelf_sees_them(path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"{path} is not installed")
    compare_with_readelf(Path(path))


def maps_at_entry(path: Path) -> tuple[list[tuple[int, int, str, int]], str]:
    """(start, end, rights, offset) of the areas of the stopped process that belong to its image, heap included; the stack's rights."""
    process = subprocess.Popen([str(path)])  # the program spins at its entry and changes nothing
    try:
        text = ""
        for _ in range(1000):  # until execve has happened in the child
            text = Path(f"/proc/{process.pid}/maps").read_text()
            if str(path) in text and "[stack]" in text:
                break
    finally:
        process.kill()
        process.wait()
    areas, stack = [], ""
    for line in text.splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S{3})\S ([0-9a-f]+) \S+ \d+ *(.*)", line)
        assert found is not None
        if found[5] in (str(path), "", "[heap]"):
            areas.append((int(found[1], 16), int(found[2], 16), found[3], int(found[4], 16)))
        if found[5] == "[stack]":
            stack = found[3]
    return areas, stack


def flattened(image: Image, bias: int) -> list[tuple[int, int, str, int]]:
    """The plan carried out page by page, as maximal runs like /proc/maps shows them."""
    pages: dict[int, tuple[str, str, int]] = {}
    made = plan(image, task_size=(1 << 47) - 4096, bias=bias)
    for m in made.mappings:
        rights = "".join(c if m.prot & bit else "-" for c, bit in (("r", 1), ("w", 2), ("x", 4)))
        for at in range(m.address, m.end, 4096):
            pages[at] = (rights, m.kind, m.offset - m.address if m.kind == "file" else 0)
    runs: list[tuple[int, int, str, int]] = []
    previous = None
    for at in sorted(pages):
        rights, kind, distance = pages[at]
        if runs and runs[-1][1] == at and previous == pages[at]:
            runs[-1] = (runs[-1][0], at + 4096, rights, runs[-1][3])
        else:
            runs.append((at, at + 4096, rights, at + distance if kind == "file" else 0))
        previous = pages[at]
    return runs


@native
def test_as_this_kernel_maps_it(program: Path) -> None:
    areas, stack = maps_at_entry(program)
    image = load(program)
    bias = min(a[0] for a in areas) - span(image).start if image.pie else 0
    assert areas == flattened(image, bias)
    prot = plan(image, task_size=1 << 47, bias=bias).stack_prot
    assert stack == "rw" + ("x" if prot & 4 else "-")
    assert (image.stack_flags, prot) == ((R | W, 3) if stack == "rw-" else (R | W | X, 7))


@pytest.mark.skipif(not BUSYBOX.exists(), reason="busybox is not installed")
def test_busybox_is_a_static_program_with_a_build_id() -> None:
    image = load(BUSYBOX)
    if image.interpreter is not None:
        pytest.skip("this busybox is dynamically linked")
    build_id = image.note("GNU", 3)
    assert build_id is not None
    assert len(build_id) == 20
    assert image.tls is not None
    assert plan(image, task_size=1 << 47).phdr_address != 0
