"""Where guest memory lies in emuvm's own process, for calls of the host that go by address.

Must not know what such a call does. What an engine has no host memory for has no address.
"""

from __future__ import annotations

from emuvm.engine.base import Memory
from emuvm.engine.unicorn_paged import PagedMemory
from emuvm.engine.unicorn_regions import RegionsMemory


def pointer(memory: Memory, address: int) -> int:
    """The host address of a guest one that is mapped; 0: none."""
    if isinstance(memory, PagedMemory):
        return next((place for _, _, place in memory.host.spans(address, address + 1)), 0)
    if isinstance(memory, RegionsMemory):
        return memory.pages.pointer(address)
    return 0
