"""The JSON lines of --trace-vma: schema, causes, and what becomes of refused operations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from emuvm.abi.arch import X86_64
from emuvm.abi.numbers import numbers
from emuvm.engine.memory import MemoryEngine
from emuvm.kernel.process import Process
from emuvm.mm.linux import LinuxMm
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Update, VmFlag
from emuvm.tools.vmatrace import VmaTrace

N = numbers("x86_64")
BASE = 0x100000
MEMBERS = ["time", "cause", "call", "step", "op", "start", "end", "old", "new"]
REGION = ["start", "end", "prot", "flags", "name", "offset", "backing"]


class Watched:
    """A process without a CPU, and the records of its space."""

    def __init__(self) -> None:
        self.space = AddressSpace(0, X86_64.task_size)
        self.engine = MemoryEngine(X86_64, self.space)
        self.proc = Process(X86_64, self.space, LinuxMm(self.space, X86_64), self.engine)
        self.records: list[dict[str, Any]] = []
        VmaTrace(self.proc, self._write)

    def _write(self, text: str) -> None:
        assert text.endswith("\n") and text.count("\n") == 1
        self.records.append(json.loads(text))

    def call(self, name: str, *args: int) -> int:
        raw = (*(arg & (1 << 64) - 1 for arg in args), *[0] * (6 - len(args)))
        self.proc.dispatcher.call(N[name], raw)
        return self.engine.get("rax")


@pytest.fixture
def guest() -> Iterator[Watched]:
    yield Watched()


def test_first_mappings_calls_and_faults(guest: Watched) -> None:
    guest.space.map_at(BASE, 0x4000, 3, VmFlag.MAYREAD | VmFlag.MAYWRITE)
    assert guest.records[-1]["cause"] == "exec" and guest.records[-1]["call"] is None
    guest.call("mprotect", BASE + 0x1000, 0x1000, 1)
    record = guest.records[-1]
    assert list(record) == MEMBERS and list(record["old"]) == REGION
    assert (record["cause"], record["call"], record["op"]) == ("mprotect(0x101000, 4096, PROT_READ)", "mprotect", "protect")
    assert (record["start"], record["end"]) == ("0x101000", "0x102000") and record["time"] >= 0
    assert (record["old"]["prot"], record["new"]["prot"]) == ("rw-", "r--") and record["old"]["backing"] == "anonymous"
    guest.proc.plan = object()
    guest.space.map_at(BASE - 0x1000, 0x1000, 3)
    assert guest.records[-1]["cause"] == "fault"


def test_one_operation_has_one_step(guest: Watched) -> None:
    guest.space.map_at(BASE, 0x1000, 3)
    guest.space.map_at(BASE, 0x2000, 1)
    guest.space.unmap(BASE, 0x1000)
    assert [(record["step"], record["op"]) for record in guest.records] == [(0, "map"), (1, "unmap"), (1, "map"), (2, "unmap")]
    assert guest.records[1]["new"] is None and guest.records[2]["old"] is None


def test_moves_and_heap(guest: Watched) -> None:
    at = guest.call("mmap", 0, 0x2000, 3, 0x22, -1, 0)
    guest.space.map_at(at + 0x2000, 0x1000, 0)
    to = guest.call("mremap", at, 0x2000, 0x4000, 1)
    moves = [record for record in guest.records if record["op"] == "move"]
    assert moves and moves[0]["cause"].startswith(f"mremap({at:#x}, 8192, 16384, MREMAP_MAYMOVE")
    assert moves[0]["old"]["start"] == f"{at:#x}" and moves[0]["new"]["start"] == f"{to:#x}"
    guest.proc.mm.set_brk(0x200000)
    guest.call("brk", 0x202000)
    assert guest.records[-1]["new"]["name"] == "[heap]" and guest.records[-1]["call"] == "brk"


def test_refused_operations_are_marked(guest: Watched) -> None:
    """Somebody who comes later refuses the second update: the first is taken back, and told as refused."""
    guest.space.map_at(BASE, 0x1000, 3)

    def refuse(update: Update) -> None:
        if update.new is not None and update.new.prot == 5:
            raise MemoryError("no")

    guest.space.subscribe(refuse)
    before = len(guest.records)
    with pytest.raises(MemoryError):
        guest.space.map_at(BASE, 0x1000, 5)
    assert [(record["op"], record.get("refused")) for record in guest.records[before:]] == [("unmap", True), ("map", True)]
    assert len({record["step"] for record in guest.records[before:]}) == 1
    guest.space.map_at(BASE, 0x1000, 3)
    assert [(record["op"], "refused" in record) for record in guest.records[before + 2 :]] == [("unmap", False), ("map", False)]


def test_replacing_a_region_by_its_equal_is_no_refusal(guest: Watched) -> None:
    for _ in range(3):
        guest.space.map_at(BASE, 0x1000, 3)
    assert not any("refused" in record for record in guest.records)
    assert [record["op"] for record in guest.records] == ["map", "unmap", "map", "unmap", "map"]
