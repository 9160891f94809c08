"""What bounds an address space: resource limits, capabilities, overcommit.

Owns: these values and the tests of them (mm/mmap.c:may_expand_vm, mm/util.c:__vm_enough_memory, mm/mlock.c). Must not know regions.
"""

from __future__ import annotations

from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.mm.totals import Totals
from emuvm.mm.types import VmFlag

INFINITY = (1 << 64) - 1
"""RLIM_INFINITY."""


class Limits:
    """Soft resource limits in bytes, read at every call, so that setrlimit has effect at once. INFINITY: none.

    `commit`: overcommit mode 0: one request for more private writable memory fails. `overcommit` 0, 1 or 2: vm.overcommit_memory.
    `data_hard`: the hard RLIMIT_DATA, which counts when the soft one is 0. `ipc_lock`: the process has CAP_IPC_LOCK.
    """

    def __init__(
        self,
        address_space: int = INFINITY,
        data: int = INFINITY,
        stack: int = 8 << 20,
        max_map_count: int = 65530,
        commit: int = INFINITY,
        memlock: int = 8 << 20,
        *,
        data_hard: int = INFINITY,
        overcommit: int = 0,
        ipc_lock: bool = False,
    ) -> None:
        self.address_space = address_space
        self.data = data
        self.data_hard = data_hard
        self.stack = stack
        self.max_map_count = max_map_count
        self.commit = commit
        self.memlock = memlock
        self.overcommit = overcommit
        self.ipc_lock = ipc_lock

    def may_expand(self, totals: Totals, grow: int, prot: int, flags: int, more_data: int = 0) -> bool:
        """May `grow` more bytes with these attributes be mapped (RLIMIT_AS, RLIMIT_DATA)? `more_data`: what totals do not count yet."""
        if totals.total + grow > self.address_space:
            return False
        data = totals.data + more_data + grow
        if prot & 2 and not flags & (VmFlag.SHARED | VmFlag.GROWSDOWN) and data > self.data & -4096:
            # A soft limit of 0 counts as the hard one: Linux's help for an old valgrind.
            return self.data == 0 and data <= self.data_hard & -4096
        return True

    def expand(self, totals: Totals, grow: int, prot: int, flags: int) -> None:
        """ENOMEM unless may_expand."""
        if not self.may_expand(totals, grow, prot, flags):
            raise GuestError(Errno.ENOMEM, "RLIMIT_AS or RLIMIT_DATA")

    def enough_memory(self, length: int) -> None:
        """The overcommit heuristic: ENOMEM for one request of more than all memory."""
        if self.overcommit != 1 and length > self.commit:
            raise GuestError(Errno.ENOMEM, "overcommit")

    def may_lock(self) -> bool:
        """can_do_mlock."""
        return self.memlock != 0 or self.ipc_lock

    def lock_fits(self, totals: Totals, flags: int, length: int) -> bool:
        """mlock_future_ok: does new memory with these flags stay within RLIMIT_MEMLOCK?"""
        if not flags & VmFlag.LOCKED or self.ipc_lock:
            return True
        return totals.locked + length <= self.memlock & -4096
