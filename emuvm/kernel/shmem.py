"""Shared memory objects: what stands behind shared anonymous mappings, memfds and System V segments.

Owns: the object as a region's `File.file` sees it. Must not know regions, descriptors or system calls. Kernel: mm/shmem.c.
"""

from __future__ import annotations

from emuvm.kernel import hostfd
from emuvm.kernel.files import MappedFile


class SharedMemory(MappedFile):
    """A memory object of `size` bytes, backed by a file of the host that has no name. GuestError ENOMEM when the host refuses.

    `path` is what /proc/self/maps calls it. `close_hook`: its regions tell when they go (System V segments), so none of them may
    disappear in a merge (mm/vma.c:can_merge_remove_vma).
    """

    close_hook = False
    restorable = True

    def __init__(self, size: int, path: bytes = b"/dev/zero (deleted)") -> None:
        super().__init__(hostfd.memory_file(size), path)


class HugeMemory(MappedFile):
    """What a mapping of huge pages shows, of which the machine has none: nothing, whatever its size is said to be."""

    def __init__(self, huge: int, path: bytes = b"/anon_hugepage (deleted)") -> None:
        super().__init__(hostfd.memory_file(0), path)
        self.huge = huge

    def size(self) -> int:
        """No page is there to be touched."""
        return 0
