"""Memory that runs out, at every allocation of every operation: for a moment, or for good until the operation is over.

In a process of its own: `_testcapi` makes allocations of the whole interpreter fail.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """import _testcapi
from emuvm.mm import AddressSpace, Kind, File

PROTECT = Kind.PROTECT

class Shadow:
    # Pages of a space. Takes no memory while it listens, so it cannot fail half-way.
    def __init__(self):
        self.room = [0] * 64
        self.done = 0
    def fill(self, vma, value):
        room, page, end = self.room, vma.start >> 12, vma.end >> 12
        while page < end:
            room[page] = value
            page += 1
    def apply(self, update):
        if update.old is not None:
            self.fill(update.old, 0)
        if update.new is not None:
            self.fill(update.new, update.new.prot)
    def committed(self):
        self.done += 1

class Gone:
    count = 0
    def split(self, offset):
        return self
    def joins(self, next):
        return False
    def removed(self):
        Gone.count += 1

def start():
    space = AddressSpace(0, 64 << 12)
    shadows = [Shadow() for _ in range(3)]
    for page in (1, 5, 9, 13, 20):
        space.map_at(page << 12, 3 << 12, 1 + page % 2, backing=GONE)
    snap = space.snapshot()
    space.map_at(6 << 12, 8 << 12, 7)
    space.unmap(20 << 12, 1 << 12)
    space.map_at(30 << 12, 2 << 12, 5, backing=File("f"))
    for shadow in shadows:
        for vma in space:
            shadow.fill(vma, vma.prot)
        space.subscribe(shadow.apply, committed=shadow.committed)
    return space, shadows, snap

GONE = Gone()
feed = _testcapi.remove_mem_hooks
OPS = {
    "map_at": lambda s, snap: s.map_at(2 << 12, 12 << 12, 7),
    "unmap": lambda s, snap: s.unmap(2 << 12, 12 << 12),
    "protect": lambda s, snap: s.protect(2 << 12, 12 << 12, 4, holes="skip"),
    "map_any": lambda s, snap: s.map_any(2 << 12, 3),
    "move": lambda s, snap: s.move(5 << 12, 4 << 12, 40 << 12),
    "clear": lambda s, snap: s.clear(),
    "restore": lambda s, snap: s.restore(snap),
}
failed = 0
for window in (1, 2, 7, None):
    for name, op in OPS.items():
        Gone.count = 0
        space, shadows, snap = start()
        Gone.count = 0
        op(space, snap)
        wanted, gone = list(space), Gone.count
        for nth in range(1, 600):
            space, shadows, snap = start()
            before = list(space)
            Gone.count = 0
            error = None
            _testcapi.set_nomemory(nth, nth + window if window else 0)
            try:
                try:
                    op(space, snap)
                finally:
                    feed()
            except MemoryError as caught:
                error = caught
            space.check()
            now = list(space)
            assert now == (before if error else wanted), (name, window, nth, "error" if error else "", now)
            room = [0] * 64
            for vma in now:
                for page in range(vma.start >> 12, vma.end >> 12):
                    room[page] = vma.prot
            for shadow in shadows:
                assert shadow.room == room, (name, window, nth, "a subscriber differs from the space")
                assert shadow.done == (0 if error else 1), (name, window, nth, "committed", shadow.done)
            assert Gone.count == (0 if error else gone), (name, window, nth, "removed", Gone.count, gone)
            space.unmap(0, 64 << 12)
            if error is None:
                break
            failed += 1
        else:
            raise AssertionError((name, "never succeeds"))
assert failed > 200, failed
"""


def test_either_the_old_state_and_an_error_or_the_new_one() -> None:
    """Space, all subscribers, committed() and removed(): nothing in between."""
    pytest.importorskip("_testcapi", reason="this Python has no _testcapi to make allocations fail")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", _PROGRAM], cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
