"""Memory policies: on which nodes memory shall lie. They are remembered and told, and keep areas apart; the host places the memory.

Owns: policies of the process and of its areas, whose flags name them. Must not know where pages are: with one node there is no choice.
Sources: mm/mempolicy.c, mm/migrate.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.controls import Policy as P
from emuvm.abi.errno import Errno
from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import Residency
from emuvm.errors import GuestError
from emuvm.kernel import host_proc
from emuvm.kernel.registry import syscall
from emuvm.kernel.usermem import READ
from emuvm.mm.types import Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_NODES_DIRECTORY = "/sys/devices/system/node/"
_PAGE_BITS = 4096 * 8
_MAX_NODES = 1 << 10
_MODE_FLAGS = P.MPOL_F_STATIC_NODES | P.MPOL_F_RELATIVE_NODES | P.MPOL_F_NUMA_BALANCING
_BY_USER = P.MPOL_F_STATIC_NODES | P.MPOL_F_RELATIVE_NODES
_PARTIAL = "policies are remembered and told; the host places the memory, and shared objects have none of their own"
_NONE = 0
"""No policy of its own: the default."""


class Policy(NamedTuple):
    """A policy. `nodes`: bit n for node n, of those that there are; `wanted`: as they were given; `home` -1: none."""

    mode: int
    flags: int
    nodes: int
    wanted: int
    home: int = -1


def _listed(name: str) -> int:
    """A mask of the nodes that the host lists, such as '0-1,3'; 0 without any."""
    mask = 0
    for part in host_proc.text(_NODES_DIRECTORY + name).decode().strip().split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            mask |= (2 << int(last or first)) - (1 << int(first))
    return mask


def _nodes() -> int:
    """The nodes with memory; ENOSYS on a kernel that knows of none."""
    found = _listed("has_memory")
    if not found:
        raise GuestError(Errno.ENOSYS, "no nodes")
    return found


def _number(proc: Process, policy: Policy | None) -> int:
    """What stands for a policy in the flags of areas; equal ones have equal numbers."""
    known = proc.kept.policies
    if policy is None:
        return _NONE
    if policy not in known:
        known.append(policy)
    return known.index(policy) + 1


def _known(proc: Process, number: int) -> Policy | None:
    policy: Policy | None = proc.kept.policies[number - 1] if number else None
    return policy


def _read_nodes(proc: Process, at: int, count: int) -> int:
    """A mask of `count - 1` nodes (get_nodes)."""
    count = (count - 1) & (1 << 64) - 1
    if not count or not at:
        return 0
    if count > _PAGE_BITS:
        raise GuestError(Errno.EINVAL, f"{count} nodes")
    word = proc.arch.bits
    data = proc.mem.read(at, -(-count // word) * word // 8)
    order = ">" if proc.arch.big_endian else "<"
    words = struct.unpack(f"{order}{len(data) * 8 // word}{'Q' if word == 64 else 'I'}", data)
    mask: int = sum(value << word * place for place, value in enumerate(words)) & (1 << count) - 1
    if mask >> _MAX_NODES:
        raise GuestError(Errno.EINVAL, "nodes beyond those that there may be")
    return mask


def _make(mode: int, given: int) -> Policy | None:
    """mpol_new and mpol_set_nodemask; the mode carries its flags."""
    flags, mode, there = mode & _MODE_FLAGS, mode & 0xFFFF_FFFF & ~_MODE_FLAGS, _nodes()
    if mode > P.MPOL_WEIGHTED_INTERLEAVE or flags & _BY_USER == _BY_USER:
        raise GuestError(Errno.EINVAL, f"mode {mode}, flags {flags:#x}")
    if flags & P.MPOL_F_NUMA_BALANCING and mode not in (P.MPOL_BIND, P.MPOL_PREFERRED_MANY):
        raise GuestError(Errno.EINVAL, "balancing is not for this mode")
    if mode == P.MPOL_DEFAULT:
        if given:
            raise GuestError(Errno.EINVAL, "no nodes belong to the default")
        return None
    if mode == P.MPOL_PREFERRED and not given:
        mode = P.MPOL_LOCAL
    if mode == P.MPOL_LOCAL:
        if given or flags & _BY_USER:
            raise GuestError(Errno.EINVAL, "no nodes belong to the local one")
        return Policy(mode, flags, 0, 0)
    nodes = _relative(given, there) if flags & P.MPOL_F_RELATIVE_NODES else given & there
    if not nodes:
        raise GuestError(Errno.EINVAL, "none of the nodes is there")
    if mode == P.MPOL_PREFERRED:
        nodes &= -nodes
    return Policy(mode, flags, nodes, given if flags else 0)


def _relative(given: int, there: int) -> int:
    """Bit n is the n-th of the nodes that there are, counted round (mpol_relative_nodemask)."""
    present = [n for n in range(there.bit_length()) if there >> n & 1]
    return sum(1 << present[n] for n in {n % len(present) for n in range(given.bit_length()) if given >> n & 1})


# -- of the process -----------------------------------------------------------------------------------------------------------


@syscall("set_mempolicy", "int ptr ulong", level="partial", note=_PARTIAL)
def set_mempolicy(proc: Process, mode: int, at: int, count: int) -> int:
    _check_mode(mode)
    proc.controls["mempolicy"] = _number(proc, _make(mode, _read_nodes(proc, at, count)))
    return 0


def _check_mode(mode: int) -> None:
    """What is wrong with a mode is told before its nodes are read (sanitize_mpol_flags)."""
    try:
        _make(mode, 0)
    except GuestError as error:
        flags, mode = mode & _MODE_FLAGS, mode & 0xFFFF_FFFF & ~_MODE_FLAGS
        balancing = flags & P.MPOL_F_NUMA_BALANCING and mode not in (P.MPOL_BIND, P.MPOL_PREFERRED_MANY)
        if mode > P.MPOL_WEIGHTED_INTERLEAVE or flags & _BY_USER == _BY_USER or balancing or error.errno == Errno.ENOSYS:
            raise


@syscall("get_mempolicy", "ptr ptr ulong ulong ulong", level="partial", note=_PARTIAL)
def get_mempolicy(proc: Process, to: int, mask: int, count: int, address: int, flags: int) -> int:
    possible = _listed("possible").bit_length()
    if mask and count < possible:
        raise GuestError(Errno.EINVAL, f"room for {count} nodes")
    value, nodes = _told(proc, address, flags)
    if to:
        proc.mem.write_u32(to, value)
    if mask:
        _write_nodes(proc, mask, count, nodes, possible)
    return 0


def _told(proc: Process, address: int, flags: int) -> tuple[int, int]:
    """(mode or node, nodes)."""
    there = _nodes()
    if flags & ~(P.MPOL_F_NODE | P.MPOL_F_ADDR | P.MPOL_F_MEMS_ALLOWED):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    if flags & P.MPOL_F_MEMS_ALLOWED:
        if flags & (P.MPOL_F_NODE | P.MPOL_F_ADDR):
            raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
        return 0, there
    number = proc.controls.get("mempolicy", _NONE)
    if flags & P.MPOL_F_ADDR:
        vma = proc.space.query(address)
        if vma is None:
            raise GuestError(Errno.EFAULT, f"{address:#x}")
        number = vma.flags >> VmFlag.POLICY_SHIFT
    elif address:
        raise GuestError(Errno.EINVAL, "an address that is not asked for")
    policy = _known(proc, number)
    if flags & P.MPOL_F_NODE and flags & P.MPOL_F_ADDR:
        value = _node_of(proc, address)
    elif flags & P.MPOL_F_NODE:
        if policy is None or policy.mode not in (P.MPOL_INTERLEAVE, P.MPOL_WEIGHTED_INTERLEAVE):
            raise GuestError(Errno.EINVAL, "no node comes next")
        value = (policy.nodes & -policy.nodes).bit_length() - 1
    else:
        value = P.MPOL_DEFAULT if policy is None else policy.mode | policy.flags
    if policy is None:
        return value, 0
    return value, policy.wanted if policy.flags else policy.nodes


def _node_of(proc: Process, address: int) -> int:
    """Where a page is, which is read in for it (lookup_node)."""
    page = address & -proc.space.page_size
    if not proc.mem.pinnable(address, 1, READ):
        raise GuestError(Errno.EFAULT, f"{address:#x} cannot be read")
    proc.mem.memory.populate(page, page + proc.space.page_size, write=False)
    return _first_node()


def _first_node() -> int:
    there = _nodes()
    return (there & -there).bit_length() - 1


def _write_nodes(proc: Process, at: int, count: int, nodes: int, possible: int) -> None:
    """copy_nodes_to_user: what the kernel has no nodes for is zeroed first."""
    word = proc.arch.bits
    length, known = -(-(count - 1) // word) * word // 8, -(-possible // word) * word // 8
    if length > known:
        if length > _PAGE_BITS // 8:
            raise GuestError(Errno.EINVAL, f"room for {count} nodes")
        proc.mem.write(at + known, bytes(length - known))
        length = known
    order = ">" if proc.arch.big_endian else "<"
    words = [nodes >> word * n & (1 << word) - 1 for n in range(length * 8 // word)]
    proc.mem.write(at, struct.pack(f"{order}{len(words)}{'Q' if word == 64 else 'I'}", *words))


# -- of areas -----------------------------------------------------------------------------------------------------------------


def _range(proc: Process, start: int, length: int) -> int:
    """The end of a range of pages; EINVAL."""
    page = proc.space.page_size
    if start & page - 1:
        raise GuestError(Errno.EINVAL, f"{start:#x} is not page aligned")
    end = start + (length + page - 1 & -page & (1 << 64) - 1) & (1 << 64) - 1
    if end < start:
        raise GuestError(Errno.EINVAL, "a wrapping range")
    return end


@syscall("mbind", "ptr ulong ulong ptr ulong uint", level="partial", note=_PARTIAL)
def mbind(proc: Process, start: int, length: int, mode: int, at: int, count: int, flags: int) -> int:
    _check_mode(mode)
    given = _read_nodes(proc, at, count)
    if flags & ~(P.MPOL_MF_STRICT | P.MPOL_MF_MOVE | P.MPOL_MF_MOVE_ALL):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    if flags & P.MPOL_MF_MOVE_ALL and not proc.system.credentials.capable(Cap.CAP_SYS_NICE):
        raise GuestError(Errno.EPERM, "others' pages are not moved")
    end = _range(proc, start, length)
    if end == start:
        return 0
    policy = _make(mode, given)
    proc.mm.sync()
    areas = list(proc.space.regions(start, min(end, proc.space.end) - start)) if start < proc.space.end else []
    place, holes = start, False
    for vma in areas:
        holes |= vma.start > place
        place = vma.end
    if not areas or (policy is not None and (holes or place < end)):
        raise GuestError(Errno.EFAULT, "part of the range is not mapped")
    _bind(proc, start, min(end, proc.space.end), policy)
    return 0


def _bind(proc: Process, start: int, end: int, policy: Policy | None) -> None:
    number = _number(proc, policy) << VmFlag.POLICY_SHIFT

    def change(vma: Vma) -> Vma | None:
        flags = vma.flags & (1 << VmFlag.POLICY_SHIFT) - 1 | number
        return None if flags == vma.flags else vma._replace(flags=flags)

    walk = proc.mm.areas.modify(start, end, change, over_holes=True)
    if walk.error is not None:
        raise walk.error


@syscall("set_mempolicy_home_node", "ptr ulong ulong ulong", level="partial", note=_PARTIAL)
def set_mempolicy_home_node(proc: Process, start: int, length: int, node: int, flags: int) -> int:
    there = _nodes()
    if start & proc.space.page_size - 1 or flags or node >= _MAX_NODES or not there >> node & 1:
        raise GuestError(Errno.EINVAL, f"{start:#x}, node {node}, flags {flags:#x}")
    end = _range(proc, start, length)
    if end == start:
        return 0
    proc.mm.sync()
    found = False
    for vma in list(proc.space.regions(start, min(end, proc.space.end) - start)) if start < proc.space.end else ():
        policy = _known(proc, vma.flags >> VmFlag.POLICY_SHIFT)
        if policy is None:
            continue
        if policy.mode not in (P.MPOL_BIND, P.MPOL_PREFERRED_MANY):
            raise GuestError(Errno.EOPNOTSUPP, "no home belongs to this mode")
        _bind(proc, max(start, vma.start), min(end, vma.end), policy._replace(home=node))
        found = True
    if not found:
        raise GuestError(Errno.ENOENT, "no area has a policy")
    return 0


# -- pages --------------------------------------------------------------------------------------------------------------------


def _own(proc: Process, pid: int) -> None:
    if pid not in (0, proc.pid, proc.tid):
        raise GuestError(Errno.EPERM if pid > 0 and proc.system.process_exists(pid) else Errno.ESRCH, f"process {pid}")


@syscall("migrate_pages", "int ulong ptr ptr", level="partial", note="of the process itself; nothing moves")
def migrate_pages(proc: Process, pid: int, count: int, old: int, new: int) -> int:
    _read_nodes(proc, old, count)
    target = _read_nodes(proc, new, count)
    _own(proc, pid)
    there = _nodes()
    if target & ~there and not proc.system.credentials.capable(Cap.CAP_SYS_NICE):
        raise GuestError(Errno.EPERM, "nodes that the process has not")
    if not target & there:
        raise GuestError(Errno.EINVAL, "none of the nodes is there")
    return 0


@syscall("move_pages", "int ulong ptr ptr ptr int", level="partial", note="of the process itself; nothing moves")
def move_pages(proc: Process, pid: int, count: int, pages: int, nodes: int, status: int, flags: int) -> int:
    there = _nodes()
    if flags & ~(P.MPOL_MF_MOVE | P.MPOL_MF_MOVE_ALL):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    if flags & P.MPOL_MF_MOVE_ALL and not proc.system.credentials.capable(Cap.CAP_SYS_NICE):
        raise GuestError(Errno.EPERM, "others' pages are not moved")
    _own(proc, pid)
    for number, address in enumerate(_addresses(proc, pages, count)):
        if nodes:
            wanted = proc.mem.read_u32(nodes + 4 * number)
            if wanted >= _MAX_NODES or not there >> wanted & 1:
                raise GuestError(Errno.ENODEV, f"node {wanted}")
        proc.mem.write_u32(status + 4 * number, _place(proc, address, bool(nodes)) & 0xFFFF_FFFF)
    return 0


def _addresses(proc: Process, at: int, count: int) -> Iterator[int]:
    word = proc.arch.bits // 8
    for number in range(count):
        yield proc.mem.read_word(at + word * number)


def _place(proc: Process, address: int, moving: bool) -> int:
    """The node of a page, or why it has none. The page of zeros belongs to nobody."""
    page = address & -proc.space.page_size
    if proc.space.query(address) is None:
        return -Errno.EFAULT
    bits = proc.mem.memory.residency(page, page + proc.space.page_size)[0]
    if bits & Residency.MAPPED:
        return _first_node()
    return -Errno.EFAULT if bits & Residency.PRESENT and not bits & Residency.FILE else -Errno.ENOENT
