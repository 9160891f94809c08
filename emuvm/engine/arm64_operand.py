"""Where an arm64 load or store begins: as much as faults at a page border need to know.

Owns: the decoding of the address of single and paired loads and stores. Must not know engines or memory: code comes as bytes,
registers by a function. See `x86_operand`.
"""

from __future__ import annotations

from collections.abc import Callable


def operand(code: bytes, pc: int, register: Callable[[str], int]) -> int | None:
    """The address the load or store at `pc` begins at; None when the instruction is neither, or of a kind not looked into."""
    if len(code) < 4:
        return None
    word = int.from_bytes(code[:4], "little")
    base = register("sp" if word >> 5 & 31 == 31 else f"x{word >> 5 & 31}")
    offset: int | None = None
    if word >> 27 & 7 == 7:
        offset = _single(word, register)
    elif word >> 27 & 7 == 5:
        offset = _pair(word)
    return None if offset is None else base + offset & (1 << 64) - 1


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


def _single(word: int, register: Callable[[str], int]) -> int | None:
    scale = word >> 30 | (4 if word >> 26 & 1 and word >> 23 & 1 else 0)
    if word >> 24 & 3 == 1:
        return (word >> 10 & 0xFFF) << scale
    if word >> 24 & 3:
        return None
    kind = word >> 10 & 3
    if not word >> 21 & 1:
        return 0 if kind == 1 else _signed(word >> 12 & 0x1FF, 9)
    if kind != 2:
        return None
    number, option = word >> 16 & 31, word >> 13 & 7
    index = 0 if number == 31 else register(f"x{number}")
    if option in (2, 6):
        index &= 0xFFFF_FFFF
        index = _signed(index, 32) if option == 6 else index
    return index << (scale if word >> 12 & 1 else 0)


def _pair(word: int) -> int:
    scale = 2 + (word >> 30 if word >> 26 & 1 else word >> 31)
    return 0 if word >> 23 & 3 == 1 else _signed(word >> 15 & 0x7F, 7) << scale
