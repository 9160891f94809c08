"""The callback at the beginning of blocks, native and in Python: budget, edges, stops, and what is not counted."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator

import pytest

from emuvm.abi.arch import BY_NAME
from emuvm.engine.base import BreakStop, BudgetStop, LimitStop, SyscallStop
from emuvm.engine.native_code import native
from emuvm.engine.unicorn import UnicornEngine
from emuvm.engine.unicorn_blocks import MAP_SIZE
from emuvm.fuzz.coverage import BUCKETS, Map, Seen, classified
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Anon

CODE = 0x40_0000
# mov ecx, 1000;  loop: dec ecx; jnz loop;  mov eax, 39; syscall;  jmp to the beginning
LOOP = bytes.fromhex("b9e8030000 ffc9 75fc b827000000 0f05 ebee")


@pytest.fixture(params=["native", "python"])
def engine(request: pytest.FixtureRequest) -> Iterator[UnicornEngine]:
    if request.param == "native" and native() is None:
        pytest.skip("the C module is not built")
    arch = BY_NAME["x86_64"]
    made = UnicornEngine(arch, AddressSpace(0, arch.task_size, arch.page_size), native=request.param == "native")
    made.space.map_at(CODE, 4096, 7, backing=Anon(CODE >> 12))
    made.memory.write(CODE, LOOP)
    made.set("pc", CODE)
    yield made
    made.close()


def test_budget_is_exact(engine: UnicornEngine) -> None:
    blocks = engine.blocks()
    for budget in (0, 1, 2, 700, 1000):
        engine.set("pc", CODE)
        blocks.begin(budget)
        assert engine.run() == BudgetStop()
        # The first block is the beginning with the first turn of the loop.
        assert engine.get("rcx") == (1000 - budget if budget else engine.get("rcx")) and blocks.state.left == 0
    blocks.begin(1001)
    engine.set("pc", CODE)
    assert engine.run() == SyscallStop(39, (0,) * 6) or engine.get("rax") == 39
    assert blocks.state.left == 0, "1000 turns, and the block of the call"


def test_it_goes_on_after_the_budget(engine: UnicornEngine) -> None:
    blocks = engine.blocks()
    counters = Map()
    blocks.count(counters.address)
    blocks.begin()
    engine.run()
    whole, spent = bytes(counters.view), (1 << 64) - 1 - blocks.state.left
    for step in (1, 3, 250):
        counters.clear()
        engine.set("pc", CODE)
        blocks.begin(step)
        count = 0
        while engine.run() == BudgetStop():
            blocks.state.left = step
            count += step
        assert bytes(counters.view) == whole, "nothing is counted twice"
        assert count + step - blocks.state.left == spent


def test_a_stop_from_elsewhere_is_not_counted(engine: UnicornEngine) -> None:
    blocks = engine.blocks()
    counters = Map()
    blocks.count(counters.address)
    blocks.begin()
    engine.run()
    whole = bytes(counters.view)
    counters.clear()
    engine.set("pc", CODE)
    blocks.begin(100)
    assert engine.run() == BudgetStop()
    engine.stop()
    assert engine.run() == LimitStop()
    blocks.state.left = 1 << 40
    engine.run()
    assert bytes(counters.view) == whole


@pytest.mark.timeout(20)
def test_who_stops_late_or_found_no_callback_yet(engine: UnicornEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two halves of a stop by another thread, each when the run it was meant for has returned, or the callback has come."""
    blocks = engine.blocks()
    blocks.want(True)
    assert isinstance(engine.run(), SyscallStop), "that stop has been told"
    monkeypatch.setattr(engine._raw, "stop", lambda: pytest.fail("stopped in the middle of an instruction"))
    engine._raw_stop()
    assert blocks.state.wanted
    monkeypatch.undo()
    engine.stop()
    assert engine.run() == LimitStop()
    assert isinstance(engine.run(), SyscallStop)


def test_counters_never_come_back_to_zero(engine: UnicornEngine) -> None:
    counters = Map()
    blocks = engine.blocks()
    blocks.count(counters.address)
    blocks.begin()
    engine.run()
    assert sorted(byte for byte in counters.view if byte)[-1] == 1 + (998 - 1) % 255, "from 255 on to 1"
    blocks.count(0)
    counters.clear()
    engine.set("pc", CODE)
    engine.run()
    assert not any(counters.view)


def test_breakpoints_and_traces(engine: UnicornEngine) -> None:
    engine.break_at(CODE + 9)
    assert engine.run() == BreakStop(CODE + 9) and engine.get("rcx") == 0
    told: list[tuple[int, int]] = []
    detach = engine.trace_blocks(lambda address, size: told.append((address, size)))
    engine.run()
    assert told[0] == (CODE + 9, 7)
    detach()
    engine.set("pc", CODE)
    engine.run()
    assert len(told) == 1
    compared: list[tuple[int, int, int, int]] = []
    engine.memory.write(CODE + 64, bytes.fromhex("b841424344 3d61626364 b827000000 0f05"))  # mov eax, ..; cmp eax, ..; mov eax, 39; syscall
    detach = engine.trace_compares(lambda *operands: compared.append(operands))
    engine.set("pc", CODE + 64)
    engine.run()
    detach()
    assert (CODE + 69, 0x44434241, 0x64636261, 32) in compared


def test_merging_natively_and_in_python() -> None:
    if native() is None:
        pytest.skip("the C module is not built")
    rng = random.Random(11)
    ways = [Seen(), Seen(use_native=False)]
    counters = Map()
    answers = []
    for _ in range(60):
        counters.clear()
        for _ in range(rng.choice((0, 1, 1, 30))):
            counters.view[rng.randrange(rng.choice((8, MAP_SIZE)))] = rng.choice((1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 127, 128, 255))
        first, second = (seen.merge(counters) for seen in ways)
        assert first == second
        answers.append(first)
        assert bytes(ways[0].view) == bytes(ways[1].view)
    assert set(answers) == {0, 1, 2}
    again = Seen()
    again.load(ways[0].virgin())
    assert bytes(again.view) == bytes(ways[0].view) and again.edges() == ways[0].edges() > 100
    assert ctypes.string_at(counters.address, MAP_SIZE) == bytes(counters.view)


def test_buckets() -> None:
    counts = bytes([0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 127, 128, 255])
    assert list(classified(counts)) == [0, 1, 2, 4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128]
    assert len(BUCKETS) == 256
