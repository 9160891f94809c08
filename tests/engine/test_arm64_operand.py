"""The address of arm64 loads and stores, with encodings that the assembler made."""

from __future__ import annotations

import pytest

from emuvm.engine import arm64_operand

VALUES = {f"x{n}": 0x1000 * (n + 1) for n in range(31)} | {"sp": 0x9_0000}
CASES = [
    (0xF9000001, "str x1, [x0]", 0x1000),
    (0xF9000441, "str x1, [x2, #8]", 0x3008),
    (0x39001FE1, "strb w1, [sp, #7]", 0x9_0007),
    (0xF81F8041, "stur x1, [x2, #-8]", 0x3000 - 8),
    (0xF8008441, "str x1, [x2], #8", 0x3000),
    (0xF81F0C41, "str x1, [x2, #-16]!", 0x3000 - 16),
    (0xF8236841, "str x1, [x2, x3]", 0x7000),
    (0xF8237841, "str x1, [x2, x3, lsl #3]", 0x3000 + 0x4000 * 8),
    (0xB823C841, "str w1, [x2, w3, sxtw]", 0x7000),
    (0x3D800441, "str q1, [x2, #16]", 0x3010),
    (0xA9000441, "stp x1, x1, [x2]", 0x3000),
    (0xA93F0441, "stp x1, x1, [x2, #-16]", 0x3000 - 16),
    (0xA8810441, "stp x1, x1, [x2], #16", 0x3000),
    (0xAD000441, "stp q1, q1, [x2]", 0x3000),
    (0x8B020020, "add x0, x1, x2", None),
    (0xD65F03C0, "ret", None),
]


@pytest.mark.parametrize(("word", "text", "address"), CASES, ids=[text for _, text, _ in CASES])
def test_operand(word: int, text: str, address: int | None) -> None:
    assert arm64_operand.operand(word.to_bytes(4, "little"), 0, VALUES.__getitem__) == address


def test_code_that_ends_early_tells_nothing() -> None:
    assert arm64_operand.operand(b"\x01\x00\x00", 0, VALUES.__getitem__) is None
