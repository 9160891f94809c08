"""The targets of samples/fuzz: how they are built, and what their bugs look like."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from emuvm.fuzz.outcome import Kind
from tests.fuzz.guests import build_files

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "fuzz"
FLAGS = ("-fno-stack-protector", "-D_GNU_SOURCE")


class Bug(NamedTuple):
    """What becomes of an input in crashes/. `access`: '' where it is a trap, 'any' where it depends on what lies on the stack."""

    kind: Kind
    signal: int = 0
    access: str = ""


CRASH, HANG = Kind.CRASH, Kind.HANG
BUGS: dict[str, dict[str, Bug]] = {
    "image": {"long-palette": Bug(CRASH, 11, "write")},
    "store": {"dropped": Bug(CRASH, 11, "read")},
    "expression": {"zero": Bug(CRASH, 8)},
    "archive": {"name": Bug(CRASH, 11, "any")},
    "names": {"itself": Bug(HANG)},
    "machine": {"wild-store": Bug(CRASH, 11, "write"), "no-handler": Bug(CRASH, 11, "read")},
    "settings": {"include-first": Bug(CRASH, 11, "read")},
    "armour": {"padding": Bug(CRASH, 6)},
    "nested": {"deeper": Bug(CRASH, 11, "write")},
    "header": {"short-header": Bug(CRASH, 11, "read"), "no-memory": Bug(CRASH, 11, "write")},
}
GUARDED = ("image", "store")


def program(name: str, arch: str = "x86_64") -> Path:
    """The built target."""
    sources = [SAMPLES / f"{name}.c"] + ([SAMPLES / "guardmalloc.c"] if name in GUARDED else [])
    return build_files(tuple(sources), arch, *FLAGS)


def files(folder: str, name: str) -> dict[str, bytes]:
    """The inputs in samples/fuzz/`folder`/`name`."""
    return {path.name: path.read_bytes() for path in sorted((SAMPLES / folder / name).iterdir())}
