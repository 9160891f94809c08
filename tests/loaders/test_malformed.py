"""Whatever the bytes are: an Image or a LoadError, a Plan or a LoadError; quickly, and without memory to match the claims."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path

import pytest

from emuvm_loaders import Image, LoadError, Plan, load, plan, span
from emuvm_loaders.machines import ARCHES
from tests.loaders.elfbytes import GNU_PROPERTY, GNU_STACK, INTERP, LOAD, NOTE, TLS, Ph, elf, note

MUTATIONS = 10_000
INTERESTING = (
    0,
    1,
    2,
    0x7F,
    0xFF,
    0xFFF,
    0x1000,
    0x7FFF,
    0xFFFF,
    0x7FFF_FFFF,
    0xFFFF_F000,
    0xFFFF_FFFF,
    1 << 60,
    (1 << 63) - 1,
    (1 << 64) - 1,
)


def rich(arch: str, type: int = 2) -> bytes:
    """A small program with one header of every kind that the loader looks into."""
    machine, bits, big = ARCHES[arch]
    build_id = note(b"GNU\0", 3, b"\x55" * 20, big=big)
    order, width = (">" if big else "<"), (8 if bits == 64 else 4)
    property_note = struct.pack(order + "III", 4, 8 + width, 5) + b"GNU\0" + struct.pack(order + "II", 0xC000_0000, 4) + bytes(width)
    headers = [
        Ph(LOAD, 0, 0x10000, 0x500, 0x500, 5),
        Ph(LOAD, 0x500, 0x11500, 0x80, 0x1200, 6),
        Ph(NOTE, 0x300, 0x10300, len(build_id), len(build_id), align=4, data=build_id),
        Ph(GNU_PROPERTY, 0x380, 0x10380, len(property_note), len(property_note), align=8, data=property_note),
        Ph(TLS, 0x500, 0x11500, 8, 16, align=8),
        Ph(GNU_STACK, flags=6),
    ]
    if type == 3:
        headers.append(Ph(INTERP, 0x3C0, 0x103C0, 7, 7, data=b"/ld.so\0"))
    return elf(*headers, machine=machine, bits=bits, big=big, type=type, entry=0x10100, size=0x580)


def judge(data: bytes) -> tuple[Image | None, Plan | None]:
    """Load and lay out; every other exception than LoadError escapes and fails the test."""
    try:
        image = load(data)
    except LoadError as error:
        assert error.reason
        assert error.errno > 0
        return None, None
    task_size = 1 << (47 if image.bits == 64 else 31)
    try:
        room = span(image)
        bias = (0x1000_0000 & -room.align) - room.start if image.pie else 0
        made = plan(image, task_size=task_size, bias=bias)
    except LoadError as error:
        assert error.reason
        assert error.errno > 0
        return image, None
    assert all(0 <= m.address < m.end <= task_size and m.address % 4096 == m.length % 4096 == m.offset % 4096 == 0 for m in made.mappings)
    assert all(m.address <= m.zero_start <= m.zero_end <= m.end for m in made.mappings)
    assert all(made.start <= m.address and m.end <= made.end for m in made.mappings)
    return image, made


@pytest.mark.parametrize("type", [2, 3])
@pytest.mark.parametrize("arch", ["x86_64", "i386", "mips32", "s390x"])
def test_truncation_at_every_offset(arch: str, type: int) -> None:
    data = rich(arch, type)
    verdicts = [judge(data[:length])[0] is not None for length in range(len(data) + 1)]
    assert verdicts[-1]
    first = verdicts.index(True)
    assert all(verdicts[first:]), "once the headers are whole the rest is the program's own affair"
    table = 64 + 56 * 6 if ARCHES[arch][1] == 64 else 52 + 32 * 6
    needed = 0x3C7 if type == 3 else 0x380 + 28 if arch in ("x86_64", "i386") else table
    assert first >= needed, "an Image of headers that are not there"


@pytest.mark.timeout(120)
def test_seeded_mutations_of_headers() -> None:
    """10 000 mutants over several classes and byte orders: bytes changed, fields set to nasty values, parts moved."""
    bases = [rich(a, t) for a in ("x86_64", "arm64", "i386", "mips32", "ppc64", "armeb") for t in (2, 3)]
    outcome = {"image": 0, "plan": 0, "error": 0}
    for seed in range(MUTATIONS):
        image, made = judge(mutant(random.Random(seed), bases))
        outcome["error" if image is None else "image" if made is None else "plan"] += 1
    assert min(outcome.values()) > MUTATIONS // 50, f"the mutations exercise too little: {outcome}"


def mutant(rng: random.Random, bases: list[bytes]) -> bytes:
    data = bytearray(rng.choice(bases))
    for _ in range(rng.randint(1, 4)):
        choice = rng.random()
        at = rng.randrange(0x400) if choice < 0.2 else rng.randrange(64 + 56 * 7)
        if choice < 0.5:
            data[at] = rng.randrange(256)
        elif choice < 0.9:
            width = rng.choice((2, 4, 8))
            at -= at % width
            value = rng.choice(INTERESTING) + rng.choice((0, 0, 1, -1))
            data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, rng.choice(("little", "big")))
        else:
            source = rng.randrange(0x400)
            data[at : at + 56] = data[source : source + 56]
    return bytes(data)


def test_random_bytes() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        body = rng.randbytes(rng.randrange(600))
        judge(body)
        judge(b"\x7fELF" + body)
        judge(
            b"\x7fELF" + bytes([rng.randint(1, 2), rng.randint(1, 2)]) + body[:10] + struct.pack("<HH", rng.randint(2, 3), 62) + body[14:]
        )


def test_claims_cost_no_memory() -> None:
    """Sizes that a header only claims are never allocated, nor iterated over."""
    claims = [
        elf(Ph(LOAD, 0, 0x400000, 0x100, 1 << 60)),
        elf(Ph(LOAD, 0, 0x400000, 1 << 46, 1 << 46, 6)),
        elf(Ph(LOAD, 0, 0x400000, 0x100, 1 << 46, 6)),
        elf(Ph(LOAD, 0, 0x400000, 1, 1), Ph(NOTE, 0, 0, (1 << 64) - 1, (1 << 64) - 1)),
        elf(Ph(LOAD, 0, 0x400000, 1, 1), Ph(NOTE, (1 << 64) - 1, 0, (1 << 64) - 1, 0)),
        elf(Ph(LOAD, 0, 0x400000, 1, 1), Ph(INTERP, (1 << 64) - 1, 0, 4096, 0)),
        elf(Ph(LOAD, 0, 0x400000, 1, 1), Ph(GNU_PROPERTY, (1 << 63) + 1, 0, 1000, 0)),
        elf(*[Ph(LOAD, 0, 0x400000, 1 << 40, 1 << 46)] * 1000),
        elf(Ph(LOAD, 0, 0, 1, 1, align=1 << 63), Ph(LOAD, 0, (1 << 64) - 0x1000, 1, 0xFFF), type=3),
    ]
    judge(claims[0])  # the parser's own tables are built once
    tracemalloc.start()
    try:
        for data in claims:
            judge(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_huge_sparse_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.write_bytes(elf(Ph(LOAD, 0, 0x400000, 1 << 40, 1 << 40), Ph(NOTE, 0x1000, 0, 1 << 40, 0)))
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    try:
        image = load(path)
        assert plan(image, task_size=1 << 47).mappings[0].length == 1 << 40
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
