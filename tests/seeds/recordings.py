"""The recordings of the four older systems: where they are, and how to read them.

Owns: the file format (one JSON sequence a line, plain or gzipped). Must not know any of the systems.

EMUVM_SEED_VECTORS=DIR[:DIR...] replays further folders of recordings of the same format in addition to `vectors/`;
with EMUVM_SEED_VECTORS_ONLY=1, instead of it.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SYSTEMS = ("libmmap_cpp", "libmmap_c", "memory_set", "range_action_map")
Op = dict[str, Any]
Sequence = dict[str, Any]


def folders() -> list[Path]:
    """The folders to replay."""
    more = [Path(name) for name in os.environ.get("EMUVM_SEED_VECTORS", "").split(os.pathsep) if name]
    if more and os.environ.get("EMUVM_SEED_VECTORS_ONLY"):
        return more
    return [Path(__file__).parent / "vectors", *more]


def files() -> list[Path]:
    """Every recording in the folders, whatever its name."""
    found = []
    for folder in folders():
        found += sorted(folder.rglob("*.jsonl")) + sorted(folder.rglob("*.jsonl.gz"))
    return found


def sequences(system: str) -> Iterator[tuple[str, Sequence]]:
    """(where it comes from, the sequence) of every recording of a system. Each sequence says which system it is of."""
    name = f'"{system}"'
    for path in files():
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if name in line:
                    sequence = json.loads(line)
                    if sequence["system"] == system:
                        yield f"{path.name}:{number + 1}", sequence
