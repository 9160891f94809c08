"""Plans: page arithmetic, bss, overlaps, placement, defaults of each machine, and what kills a process in execve."""

from __future__ import annotations

import pytest

from emuvm_loaders import LoadError, Mapping, Plan, R, Span, W, X, load, plan, span
from tests.loaders.elfbytes import GNU_STACK, INTERP, LOAD, Ph, elf, text_and_data

TASK = 0x7FFF_FFFF_F000
EINVAL, EFAULT, EPERM, EOVERFLOW = 22, 14, 1, 75


def planned(*headers: Ph, size: int = 0x10000, bias: int = 0, page_size: int = 4096, **options: int) -> Plan:
    return plan(load(elf(*headers, size=size, **options)), task_size=TASK, bias=bias, page_size=page_size)  # type: ignore[arg-type]


def refused(errno: int, reason: str, *headers: Ph, **options: int) -> None:
    with pytest.raises(LoadError, match=reason) as caught:
        planned(*headers, **options)
    assert caught.value.errno == errno


def contents(data: bytes, made: Plan) -> dict[int, tuple[int, bytes]]:
    """Carry a plan out naively, byte for byte: page address -> (prot, contents)."""
    pages: dict[int, tuple[int, bytes]] = {}
    size = made.page_size
    for m in made.mappings:
        for at in range(m.address, m.end, size):
            position = m.offset + at - m.address
            piece = data[position : position + size] if m.kind == "file" else b""
            pages[at] = (m.prot, piece.ljust(size, b"\0"))
        for at in range(m.zero_start, m.zero_end):
            prot, old = pages[at // size * size]
            inside = at % size
            pages[at // size * size] = (prot, old[:inside] + b"\0" + old[inside + 1 :])
    return pages


def test_an_ordinary_program() -> None:
    made = plan(load(text_and_data()), task_size=TASK)
    assert made.mappings == (
        Mapping(0x400000, 0x2000, 5, "file", 0, 0x401200, 0x401200, 0),
        Mapping(0x402000, 0x2000, 3, "file", 0x1000, 0x403080, 0x404000, 1),
        Mapping(0x404000, 0x2000, 3, "anon", 0, 0x404000, 0x404000, 1),
    )
    assert (made.start, made.end, made.brk) == (0x400000, 0x406000, 0x406000)
    assert (made.entry, made.phdr_address, made.bias) == (0x401000, 0x400040, 0)
    assert (made.start_code, made.end_code) == (0x400000, 0x401200)
    assert (made.start_data, made.end_data) == (0x402F00, 0x403080)
    assert (made.stack_prot, made.data_prot, made.read_implies_exec) == (3, 3, False)


def test_what_the_pages_hold() -> None:
    data = bytes(range(1, 256)) * 300
    head = text_and_data()
    data = head[:0x200] + data[0x200:0x8000]
    pages = contents(data, plan(load(data), task_size=TASK))
    assert sorted(pages) == [0x400000 + n * 0x1000 for n in range(6)]
    assert pages[0x401000] == (5, data[0x1000:0x2000]), "the rest of a text page shows the file"
    assert pages[0x403000] == (3, data[0x2000:0x2080] + bytes(0xF80))
    assert pages[0x405000] == (3, bytes(0x1000))


def test_bss_that_starts_on_a_page_is_not_zeroed_in_the_file_page() -> None:
    made = planned(Ph(LOAD, 0x1000, 0x401000, 0x1000, 0x1800, R | W))
    assert [(m.kind, m.address, m.length, m.zero_end - m.zero_start) for m in made.mappings] == [
        ("file", 0x401000, 0x1000, 0),
        ("anon", 0x402000, 0x1000, 0),
    ]


def test_bss_inside_the_last_page_needs_no_further_page_but_zeroes_to_its_end() -> None:
    (only,) = planned(Ph(LOAD, 0x1000, 0x401000, 0x10, 0x20, R | W)).mappings
    assert (only.length, only.zero_start, only.zero_end) == (0x1000, 0x401010, 0x402000)


def test_bss_of_a_read_only_segment_keeps_the_files_bytes() -> None:
    first, second = planned(Ph(LOAD, 0x1000, 0x401000, 0x10, 0x1010, R)).mappings
    assert first.zero_start == first.zero_end
    assert (second.kind, second.prot) == ("anon", 3), "bss is made like brk memory"


def test_executable_bss() -> None:
    assert planned(Ph(LOAD, 0x1000, 0x401000, 0x10, 0x1010, R | W | X)).mappings[1].prot == 7


def test_a_segment_without_file_bytes() -> None:
    made = planned(Ph(LOAD, 0x123, 0x401080, 0, 0x1000, R | W))
    assert made.mappings == (Mapping(0x401000, 0x2000, 3, "anon", 0, 0x401000, 0x401000, 0),)


def test_an_empty_segment_maps_nothing_but_moves_the_heap() -> None:
    made = planned(Ph(LOAD, 0, 0x400000, 0x100, 0x100), Ph(LOAD, 0, 0x500800, 0, 0))
    assert len(made.mappings) == 1
    assert made.brk == 0x501000


def test_overlapping_segments_later_replaces_earlier() -> None:
    headers = Ph(LOAD, 0, 0x400000, 0x3000, 0x3000, R | X), Ph(LOAD, 0x5000, 0x401000, 0x800, 0x1000, R | W)
    data = bytearray(elf(*headers, size=0x6000))
    data[0x1000:0x6000] = bytes(range(256)) * 0x50
    data[0x5000:0x6000] = b"\xee" * 0x1000
    pages = contents(bytes(data), plan(load(bytes(data)), task_size=TASK))
    assert pages[0x401000] == (3, b"\xee" * 0x800 + bytes(0x800))
    assert pages[0x402000] == (5, bytes(data[0x2000:0x3000]))


def test_a_page_shared_by_two_segments() -> None:
    made = planned(Ph(LOAD, 0, 0x400000, 0x1800, 0x1800, R | X), Ph(LOAD, 0x1800, 0x401800, 0x100, 0x100, R | W))
    assert [(m.address, m.offset, m.prot) for m in made.mappings] == [(0x400000, 0, 5), (0x401000, 0x1000, 3)]


def test_static_pie_moves_by_its_bias() -> None:
    headers = Ph(LOAD, 0, 0, 0x100, 0x100, R | X), Ph(LOAD, 0x1100, 0x2100, 0x20, 0x1000, R | W)
    image = load(elf(*headers, type=3, entry=0x80, size=0x2000))
    assert image.pie
    assert span(image) == Span(0, 0x4000, 0x1000)
    made = plan(image, task_size=TASK, bias=0x7FFF_F000_0000, et_dyn_base=0x5555_5555_4000)
    assert [m.address - made.bias for m in made.mappings] == [0, 0x2000, 0x3000]
    assert (made.start, made.end, made.entry) == (made.bias, made.bias + 0x4000, made.bias + 0x80)
    assert (made.phdr_address, made.start_code) == (made.bias + 0x40, made.bias)
    assert made.brk == 0x5555_5555_4000
    assert plan(image, task_size=TASK, bias=0x10000).brk == 0x14000


def test_the_heap_of_a_dynamic_executable_stays_behind_it() -> None:
    image = load(elf(Ph(LOAD, 0, 0, 0x900, 0x900), Ph(INTERP, 0x800, 0, 3, 3, data=b"/a\0"), type=3, entry=0))
    assert plan(image, task_size=TASK, bias=0x10000, et_dyn_base=0x5555_5555_4000).brk == 0x11000


def test_position_independent_but_linked_somewhere() -> None:
    image = load(elf(Ph(LOAD, 0, 0x400000, 0x100, 0x100), type=3, entry=0x400040))
    room = span(image)
    made = plan(image, task_size=TASK, bias=0x10000 - room.start)
    assert (made.start, made.entry, made.phdr_address) == (0x10000, 0x10040, 0x10040)


def test_alignment_of_the_span() -> None:
    headers = Ph(LOAD, 0, 0, 0x100, 0x100, align=0x200000), Ph(LOAD, 0x1000, 0x1000, 1, 1, align=0x300000)
    assert span(load(elf(*headers, type=3))).align == 0x200000, "what is not a power of two is ignored"
    assert span(load(elf(Ph(LOAD, 0, 0, 1, 1, align=0), type=3))).align == 0x1000
    assert span(load(elf(Ph(LOAD, 0, 0, 1, 1, align=0x1000), type=3)), 0x4000).align == 0x4000


def test_no_read_write_or_exec() -> None:
    assert planned(Ph(LOAD, 0, 0x400000, 1, 1, 0)).mappings[0].prot == 0
    assert planned(Ph(LOAD, 0, 0x400000, 1, 1, X)).mappings[0].prot == 4
    assert planned(Ph(LOAD, 0, 0x400000, 1, 1, W)).mappings[0].prot == 2


@pytest.mark.parametrize(
    ("machine", "bits", "implied", "data"),
    [
        (62, 64, False, 3), (183, 64, False, 3), (243, 64, False, 3), (22, 64, False, 3), (21, 64, False, 3), (258, 64, False, 3),
        (3, 32, True, 7), (40, 32, True, 7), (20, 32, True, 7), (8, 32, True, 7),
        (4, 32, False, 7), (43, 64, False, 7), (0x9026, 64, False, 7), (42, 32, False, 7),
    ],
)  # fmt: skip
def test_without_a_stack_header(machine: int, bits: int, implied: bool, data: int) -> None:
    made = planned(Ph(LOAD, 0, 0x400000, 1, 0x2000, R | W), machine=machine, bits=bits)
    assert (made.read_implies_exec, made.data_prot, made.stack_prot) == (implied, data, data)
    assert [m.prot for m in made.mappings] == [7 if implied else 3, data]


def test_with_a_stack_header() -> None:
    text = Ph(LOAD, 0, 0x400000, 1, 1)
    made = planned(text, Ph(GNU_STACK, flags=R | W), machine=3, bits=32)
    assert (made.stack_prot, made.data_prot, made.read_implies_exec) == (3, 3, False)
    assert planned(text, Ph(GNU_STACK, flags=R | W | X)).stack_prot == 7
    assert planned(text, Ph(GNU_STACK, flags=R | W | X)).data_prot == 3
    assert planned(text, Ph(GNU_STACK, flags=R | W), machine=4, bits=32).data_prot == 7, "m68k: data is executable by default"


def test_refusals() -> None:
    refused(EINVAL, "no segment", Ph(GNU_STACK))
    refused(EINVAL, "all empty", Ph(LOAD, 0, 0x400000, 0, 0))
    refused(EINVAL, "0x200 bytes of file for 0x100", Ph(LOAD, 0, 0x400000, 0x200, 0x100))
    refused(EINVAL, "not user addresses", Ph(LOAD, 0, 0x400000, 0, 1 << 60))
    refused(EINVAL, "not user addresses", Ph(LOAD, 0, TASK - 0x1000, 0x1000, 0x1001))
    refused(EINVAL, "not user addresses", Ph(LOAD, 0, TASK, 0, 0), Ph(LOAD, 0, 0x400000, 1, 1))
    refused(EINVAL, "not user addresses", Ph(LOAD, 0, 0xFFFF_FFFF_FFFF_F000, 0x1000, 0x2000))
    refused(EINVAL, "place in a page", Ph(LOAD, 0x10, 0x400000, 0x100, 0x100))
    refused(EINVAL, "entry address", Ph(LOAD, 0, 0x400000, 1, 1), entry=TASK)
    refused(EOVERFLOW, "too large", Ph(LOAD, (1 << 63) - 0x1000, 0x400000, 0x1001, 0x1001))
    refused(EFAULT, "behind the end of the file", Ph(LOAD, 0x20000, 0x400000, 0x10, 0x20, R | W))


def test_the_largest_file_offset() -> None:
    last = (1 << 63) - 0x2000
    assert planned(Ph(LOAD, last, 0x400000, 0x1000, 0x1000)).mappings[0].offset == last
    refused(EOVERFLOW, "too large", Ph(LOAD, last + 0x1000, 0x400000, 0x1000, 0x1000))


def test_segments_in_any_order() -> None:
    made = planned(Ph(LOAD, 0x1000, 0x409000, 0x100, 0x2000, R | X), Ph(LOAD, 0, 0x400000, 0x100, 0x100))
    assert (made.start, made.end, made.brk) == (0x400000, 0x40B000, 0x40B000)
    assert (made.start_code, made.end_code) == (0x409000, 0x409100)
    assert (made.start_data, made.end_data) == (0x409000, 0x409100)
    assert [m.address for m in made.mappings] == [0x409000, 0x40A000, 0x400000], "in table order"


def test_the_last_bytes_below_task_size_are_usable() -> None:
    assert planned(Ph(LOAD, 0, TASK - 0x1000, 0x1000, 0x1000)).end == TASK


def test_a_file_shorter_than_its_segments_is_the_guests_bus_error() -> None:
    assert planned(Ph(LOAD, 0, 0x400000, 0x8000, 0x8000, R | W), size=0x100).mappings[0].length == 0x8000


def test_lowest_address() -> None:
    image = load(elf(Ph(LOAD, 0, 0x1000, 1, 1), entry=0x1000))
    assert plan(image, task_size=TASK, min_address=0x1000).start == 0x1000
    with pytest.raises(LoadError, match="below") as caught:
        plan(image, task_size=TASK, min_address=0x10000)
    assert caught.value.errno == EPERM


def test_misuse_is_a_value_error() -> None:
    image = load(text_and_data())
    with pytest.raises(ValueError, match="bias"):
        plan(image, task_size=TASK, bias=0x1000)
    with pytest.raises(ValueError, match="bias"):
        plan(load(text_and_data(type=3)), task_size=TASK, bias=0x10)
    with pytest.raises(ValueError, match="power of two"):
        plan(image, task_size=TASK, page_size=3)


def test_other_page_sizes() -> None:
    made = planned(Ph(LOAD, 0x11000, 0x411000, 0x100, 0x200, R | W), size=0x12000, page_size=0x10000)
    (only,) = made.mappings
    assert only == Mapping(0x410000, 0x10000, 3, "file", 0x10000, 0x411100, 0x420000, 0)
    bytewise = planned(Ph(LOAD, 0x123, 0x401000, 0x10, 0x30, R | W), page_size=1)
    assert [(m.address, m.length) for m in bytewise.mappings] == [(0x401000, 0x10), (0x401010, 0x20)]


def test_a_biased_32_bit_image_wraps_its_entry_as_the_machine_does() -> None:
    image = load(elf(Ph(LOAD, 0, 0x8000_0000, 1, 1), type=3, entry=0x8000_0000, bits=32, machine=40))
    made = plan(image, task_size=0xFFFF_0000, bias=0x1000 - 0x8000_0000)
    assert (made.start, made.entry) == (0x1000, 0x1000)
    assert made.phdr_address == 0x8000_1000, "no segment holds the headers: Linux reports the bare bias"
