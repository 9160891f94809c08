"""Copies to and from guest memory answer the same whether one look is enough or the space is asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from emuvm.abi.arch import X86_64
from emuvm.engine.memory import MemoryEngine
from emuvm.engine.pagetable import native_fill
from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import GuestError
from emuvm.kernel.usermem import UserMemory
from emuvm.mm.space import AddressSpace

PAGE, BASE, PAGES = 4096, 0x100000, 12


def answer(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except GuestError as error:
        return error.errno


@pytest.mark.skipif(not native_fill(), reason="the C module is not built")
@pytest.mark.parametrize("seed", range(6))
def test_all_ways_answer_alike(seed: int) -> None:
    rng = random.Random(seed)
    slow_space, fast_space = AddressSpace(0, X86_64.task_size), AddressSpace(0, X86_64.task_size)
    slow_engine, engine = MemoryEngine(X86_64, slow_space), UnicornEngine(X86_64, fast_space)
    slow, fast = UserMemory(slow_space, slow_engine.memory, X86_64), UserMemory(fast_space, engine.memory, X86_64)
    taken = 0
    try:
        for space in (slow_space, fast_space):
            space.map_at(BASE, PAGES * PAGE, 3)
        for _ in range(600):
            at, length = BASE + rng.randrange(-64, PAGES * PAGE), rng.choice((0, 1, 4, 8, 100, 4096, 5000, 9000))
            action = rng.randrange(12)
            if action == 0:
                page, count = rng.randrange(PAGES - 2) * PAGE + BASE, rng.randrange(1, 3) * PAGE
                prot = rng.choice((0, 1, 3, 3, 3, 2, 5))
                for space in (slow_space, fast_space):
                    if rng_hole(page, seed):
                        space.unmap(page, count)
                    else:
                        space.map_at(page, count, prot)
            elif action == 1:
                page = rng.randrange(PAGES) * PAGE + BASE
                if fast_space.query(page) is not None:
                    prot = rng.choice((0, 1, 3, 3, 3))
                    slow_space.protect(page, PAGE, prot)
                    fast_space.protect(page, PAGE, prot)
            elif action == 2:
                page = rng.randrange(PAGES) * PAGE + BASE
                vma = fast_space.query(page)
                if vma is not None:  # what a guest that touches the page would do to the page table
                    engine.memory.populate(page, page + PAGE, write=bool(vma.prot & 2))
            data = rng.randbytes(length)
            for name, args in (
                ("read", (at, length)), ("write", (at, data)), ("stored", (at, data)), ("read_some", (at, length)),
                ("write_some", (at, data)), ("read_cstr", (at, max(1, length))), ("write_u64", (at, length)), ("read_u32", (at,)),
            ):  # fmt: skip
                if rng.random() < 0.4:
                    taken += engine.memory.peek(at, max(1, length)) is not None
                    assert answer(getattr(fast, name), *args) == answer(getattr(slow, name), *args), (name, hex(at), length)
        for low, _ in ((BASE + n * PAGE, n) for n in range(PAGES)):
            if fast_space.query(low) is not None:
                assert engine.memory.read(low, PAGE) == slow_engine.memory.read(low, PAGE)
        engine.memory.verify()
    finally:
        engine.close()
    assert taken > 100, "most of it went the long way"


def rng_hole(page: int, seed: int) -> bool:
    """Is it this page's turn to go? The same on both sides."""
    return (page // PAGE + seed) % 3 == 0
