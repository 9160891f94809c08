"""Signatures, binding, and that every registered call exists."""

from __future__ import annotations

import pytest

from emuvm.abi.numbers import numbers
from emuvm.kernel import registry
from emuvm.kernel.registry import Spec, bind


class Strings:
    def read_cstr(self, addr: int, limit: int) -> bytes:
        return b"%x" % addr


def bound(signature: str, *args: int, bits: int = 64) -> tuple[object, ...]:
    seen: list[tuple[object, ...]] = []

    def handler(proc: object, *values: object) -> int:
        seen.append(values)
        return 7

    spec = Spec("x", tuple(signature.split()), handler, False, "full", "")
    assert bind(spec, None, bits, Strings())((*args, *[99] * (6 - len(args)))) == 7
    return seen[0]


def test_each_kind_converts_as_the_kernel_does() -> None:
    ones = (1 << 64) - 1
    assert bound("") == ()
    assert bound("fd int uint flags mode", 0xFFFF_FFFF, 1 << 31, ones, ones, ones) == (-1, -(1 << 31), 0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF)
    assert bound("long off ulong size ptr", ones, 1 << 63, ones, ones, ones) == (-1, -(1 << 63), ones, ones, ones)
    assert bound("ptr size", 5, 6) == (5, 6)
    assert bound("path str path?", 0x10, 0x20, 0) == (b"10", b"20", None)
    assert bound("path?", 0x30) == (b"30",)


def test_words_have_32_bits_on_32_bit_architectures() -> None:
    assert bound("long ptr", 0xFFFF_FFFF, 0x1_2345_6789, bits=32) == (-1, 0x2345_6789)


def test_bad_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="signature"):
        registry.syscall("nothing", "banana")
    registry.load_families()
    with pytest.raises(ValueError, match="twice"):
        registry.syscall("getpid")


def test_every_row_is_a_linux_call_and_says_what_is_missing() -> None:
    registry.load_families()
    known = {name for arch in ("x86_64", "arm64", "i386", "arm") for name in numbers(arch)}
    specs = registry.all_specs()
    assert len(specs) > 60
    for spec in specs:
        assert spec.name in known, spec.name
        assert (spec.level == "full") or spec.note, f"{spec.name} is {spec.level} and does not say why"


def test_the_table_of_rare_calls_is_what_their_modules_register() -> None:
    registry.load_families()
    for spec in registry.all_specs():
        module = spec.handler.__module__
        assert registry.RARE.get(spec.name, module.rpartition(".")[2]) == module.rpartition(".")[2], spec.name
    assert set(registry.RARE) <= {spec.name for spec in registry.all_specs()}
    assert not set(registry.RARE.values()) & set(registry.FAMILIES)
