"""What decoded JSON must look like, and making it immutable.

Owns: the check. Must not know what the fields mean.

    int      0 to 2**64 - 1        SIGNED   -2**63 to 2**64 - 1       str, bool
    HEX      bytes, written as hexadecimal digits
    Maybe(s) null or s             Each(s)  a list of s               Named(s) an object whose values are s
    (s, t)   a list of just these  {"a": s} an object with just these names
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, NamedTuple

from emuvm_loaders.image import LoadError

SIGNED = "a whole number"
HEX = "hexadecimal digits"


class Maybe(NamedTuple):
    """null, or this."""

    spec: Any


class Each(NamedTuple):
    """A list of these."""

    spec: Any


class Named(NamedTuple):
    """An object with any names, and these values."""

    spec: Any


def check(spec: Any, value: Any, where: str) -> Any:
    """The value with tuples for lists and read-only mappings for objects. LoadError, with the place, when it has another shape."""
    if spec is int or spec is SIGNED:
        low = 0 if spec is int else -(1 << 63)
        return value if type(value) is int and low <= value < 1 << 64 else _wrong(where, "a number")
    if spec is str:
        return value if _is_text(value) else _wrong(where, "a text")
    if spec is bool:
        return value if type(value) is bool else _wrong(where, "true or false")
    if spec is HEX:
        return _bytes(value, where)
    if isinstance(spec, Maybe):
        return None if value is None else check(spec.spec, value, where)
    if isinstance(spec, Each):
        if type(value) is not list:
            _wrong(where, "a list")
        return tuple([check(spec.spec, item, f"{where}[{n}]") for n, item in enumerate(value)])
    if isinstance(spec, Named):
        if type(value) is not dict or not all(map(_is_text, value)):
            _wrong(where, "an object")
        return MappingProxyType({name: check(spec.spec, item, f"{where}.{name}") for name, item in value.items()})
    if isinstance(spec, tuple):
        if type(value) is not list or len(value) != len(spec):
            _wrong(where, f"a list of {len(spec)}")
        return tuple([check(part, item, f"{where}[{n}]") for n, (part, item) in enumerate(zip(spec, value, strict=True))])
    if type(value) is not dict:
        _wrong(where, "an object")
    for name in spec:
        if name not in value:
            raise LoadError(f"its header has no {where}.{name}")
    return MappingProxyType({name: check(part, value[name], f"{where}.{name}") for name, part in spec.items()})


def _wrong(where: str, wanted: str) -> Any:
    raise LoadError(f"its header is wrong: {where[:80]} is not {wanted}")


def _is_text(value: Any) -> bool:
    """Bytes of a guest that are no UTF-8 are written as lone surrogates, which are the only ones there may be."""
    if type(value) is not str or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _bytes(value: Any, where: str) -> bytes:
    try:
        return bytes.fromhex(value) if type(value) is str else bytes(_wrong(where, HEX))
    except ValueError:
        return bytes(_wrong(where, HEX))
