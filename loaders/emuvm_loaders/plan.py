"""Image -> Plan: the mappings that execve makes for it, in order, at chosen addresses.

Owns: segment arithmetic as fs/binfmt_elf.c:load_elf_binary and elf_load do it (7.2; 6.1 differs only for odd files).
Must not know address spaces, files' contents or emuvm: the kernel carries a plan out.

    vaddr                 vaddr+filesz            vaddr+memsz
      |  bytes of the file  |  zeros                 |
    +-+---------------------+----+-------------------+--+
    |   file mapping             |  anonymous mapping   |     page boundaries
    +----------------------------+----------------------+
                            ^^^^^^ zero_start, zero_end: zeroed by the kernel, if the segment is writable

Later mappings replace what earlier ones put into the same pages. `prot` counts as PROT_*: read 1, write 2, execute 4.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from emuvm_loaders.image import EFAULT, EINVAL, EOVERFLOW, EPERM, Image, LoadError, R, Segment, W, X
from emuvm_loaders.machines import data_executable, read_implies_exec

READ, WRITE, EXEC = 1, 2, 4

_OFFSET_LIMIT = 1 << 63


class Mapping(NamedTuple):
    """Map [address, address + length), whole pages; then zero [zero_start, zero_end), empty when they are equal."""

    address: int
    length: int
    prot: int
    kind: Literal["file", "anon"]
    offset: int
    """File position of the first byte, a multiple of the page size; pages behind the end of the file are bus errors."""
    zero_start: int
    zero_end: int
    segment: int
    """Index into Image.segments of the segment that this is for."""

    @property
    def end(self) -> int:
        return self.address + self.length


class Span(NamedTuple):
    """The pages that all segments of an image cover together, before any bias, and the largest alignment asked for.

    A position independent image is placed by finding `length` free bytes at a multiple of `align`, say at A, and
    planning with bias = A - start.
    """

    start: int
    length: int
    align: int


class Plan(NamedTuple):
    """Everything execve needs to know of an image at its final place. All addresses include the bias."""

    bias: int
    page_size: int
    mappings: tuple[Mapping, ...]
    start: int
    end: int
    """The image's pages lie in [start, end)."""
    brk: int
    """Where the heap starts: the first page behind the image, or `et_dyn_base` for a static-pie."""
    entry: int
    phdr_address: int
    """AT_PHDR."""
    start_code: int
    end_code: int
    start_data: int
    end_data: int
    stack_prot: int
    data_prot: int
    """Rights of the brk area."""
    read_implies_exec: bool
    """The process has this personality: mmap and mprotect add EXEC to READ."""


def span(image: Image, page_size: int = 4096) -> Span:
    """How much room the image needs. EINVAL: it has no segment to load, or none with a size."""
    _check_page_size(page_size)
    segments = image.segments
    if not segments:
        raise LoadError("the file has no segment to load", EINVAL)
    start = min(s.vaddr for s in segments) & -page_size
    end = _up(max(s.end for s in segments), page_size)
    if end == start:
        raise LoadError("the segments to load are all empty", EINVAL)
    powers = [s.align for s in segments if s.align & (s.align - 1) == 0]
    return Span(start, end - start, max([page_size, *powers]))


def plan(
    image: Image, *, task_size: int, page_size: int = 4096, bias: int = 0, min_address: int = 0, et_dyn_base: int | None = None
) -> Plan:
    """Lay the image out. User addresses are [min_address, task_size).

    `bias` is added to every address of a position independent image (see Span); it must be a multiple of the page size,
    and 0 for others (ValueError). `et_dyn_base`: where the heap of a static-pie starts; default: behind the image.

    LoadError for what kills a process in execve: EINVAL (nothing to load; filesz > memsz; a segment or the entry outside
    the user addresses; file offset and address at different places in their pages), EPERM (below min_address),
    EOVERFLOW (file offsets of 2^63 or more), EFAULT (bytes to be zeroed lie in a page behind the end of the file).
    """
    if bias % page_size or (bias and not image.pie):
        raise ValueError(f"bias {bias:#x} for a {image.type} image with pages of {page_size:#x}")
    room = span(image, page_size)
    implied = read_implies_exec(image.machine, image.stack_flags)
    data_prot = READ | WRITE | (EXEC if data_executable(image.machine, image.stack_flags) else 0)
    layout = _Layout(image.source.size(), bias, page_size, task_size, data_prot, implied)
    mappings: list[Mapping] = []
    for index, segment in enumerate(image.segments):
        mappings += layout.segment(index, segment)
    low = min((m.address for m in mappings), default=min_address)
    if low < min_address:
        raise LoadError(f"a segment at {low:#x}, below the lowest address that may be mapped, {min_address:#x}", EPERM)
    entry = image.entry + bias & (1 << image.bits) - 1
    if entry >= task_size:
        raise LoadError(f"the entry address {entry:#x} is not a user address", EINVAL)
    end = room.start + room.length + bias
    moved = et_dyn_base is not None and image.pie and image.interpreter is None
    code = [s for s in image.segments if s.flags & X]
    return Plan(
        bias=bias,
        page_size=page_size,
        mappings=tuple(mappings),
        start=room.start + bias,
        end=end,
        brk=et_dyn_base if moved and et_dyn_base is not None else end,
        entry=entry,
        phdr_address=image.phdr_address + bias & (1 << image.bits) - 1,
        start_code=min((s.vaddr + bias for s in code), default=0),
        end_code=max((s.vaddr + s.filesz + bias for s in code), default=0),
        start_data=max(s.vaddr for s in image.segments) + bias,
        end_data=max(s.vaddr + s.filesz for s in image.segments) + bias,
        stack_prot=_stack_prot(image, data_prot, implied),
        data_prot=data_prot,
        read_implies_exec=implied,
    )


def _stack_prot(image: Image, data_prot: int, implied: bool) -> int:
    if image.stack_flags is None:
        return data_prot
    return READ | WRITE | (EXEC if image.stack_flags & X or implied else 0)


class _Layout(NamedTuple):
    """What every segment's arithmetic needs."""

    file_size: int
    bias: int
    page_size: int
    task_size: int
    data_prot: int
    read_implies_exec: bool

    def segment(self, index: int, s: Segment) -> list[Mapping]:
        """The one or two mappings of a segment, or none if it is empty."""
        vaddr = s.vaddr + self.bias
        if s.filesz > s.memsz:
            raise LoadError(f"segment {index}: {s.filesz:#x} bytes of file for {s.memsz:#x} bytes of memory", EINVAL)
        if vaddr < 0 or vaddr + s.memsz > self.task_size or vaddr >= self.task_size:
            raise LoadError(f"segment {index}: {vaddr:#x} and {s.memsz:#x} bytes on are not user addresses", EINVAL)
        mappings: list[Mapping] = []
        anon_start = vaddr & -self.page_size
        if s.filesz:
            mapped = self._file(index, s, vaddr)
            mappings.append(mapped)
            anon_start = mapped.end
        anon_end = _up(vaddr + s.memsz, self.page_size)
        if s.memsz > s.filesz and anon_end > anon_start:
            prot = self.data_prot | (EXEC if s.flags & X else 0)
            mappings.append(Mapping(anon_start, anon_end - anon_start, prot, "anon", 0, anon_start, anon_start, index))
        return mappings

    def _file(self, index: int, s: Segment, vaddr: int) -> Mapping:
        page = self.page_size
        inside = vaddr % page
        if s.offset % page != inside:
            raise LoadError(f"segment {index}: address {vaddr:#x} and file offset {s.offset:#x} differ in their place in a page", EINVAL)
        offset = s.offset - inside
        length = _up(s.filesz + inside, page)
        if offset + length >= _OFFSET_LIMIT:
            raise LoadError(f"segment {index}: file offset {s.offset:#x} is too large", EOVERFLOW)
        start = end = vaddr + s.filesz
        if s.memsz > s.filesz and s.flags & W:  # Linux clears through the user's rights: a read-only page keeps the file's bytes
            end = _up(start, page)
        if end > start and s.offset + s.filesz >= _up(self.file_size, page):
            raise LoadError(f"segment {index}: its last page lies behind the end of the file", EFAULT)
        return Mapping(vaddr - inside, length, self._prot(s), "file", offset, start, end, index)

    def _prot(self, s: Segment) -> int:
        prot = (READ if s.flags & R else 0) | (WRITE if s.flags & W else 0) | (EXEC if s.flags & X else 0)
        return prot | EXEC if prot & READ and self.read_implies_exec else prot


def _up(value: int, page_size: int) -> int:
    return value + page_size - 1 & -page_size


def _check_page_size(page_size: int) -> None:
    if page_size <= 0 or page_size & (page_size - 1):
        raise ValueError(f"page size {page_size} is not a power of two")
