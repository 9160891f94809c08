"""The address space: pure bookkeeping of memory regions, exact to Linux. See README.md here."""

from __future__ import annotations

from emuvm.mm.space import AddressSpace, Snapshot
from emuvm.mm.types import Backing, File, Kind, Prot, Update, Vma, VmFlag

__all__ = ["AddressSpace", "Backing", "File", "Kind", "Prot", "Snapshot", "Update", "VmFlag", "Vma"]
