"""Shorter and plainer inputs of which something is still true.

Owns: what is tried, in which order. Must not know what is to stay true: a predicate tells, which may be asked often.
"""

from __future__ import annotations

from collections.abc import Callable

Same = Callable[[bytes], bool]
_FIRST, _LAST, _FINEST = 16, 1024, 4
"""A piece is at first a 16th, in the end a 1024th of the input, and at least so many bytes."""
_PLAIN = b"0"


def trim(data: bytes, same: Same) -> bytes:
    """What is left when pieces are taken out that are not needed: quickly, not thoroughly. Never empty, unless `data` is."""
    piece = max(_power(len(data)) // _FIRST, _FINEST)
    while piece >= max(_power(len(data)) // _LAST, _FINEST) and len(data) > 1:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + piece :]
            if shorter and same(shorter):
                data = shorter
            else:
                at += piece
        piece //= 2
    return data


def _power(length: int) -> int:
    return 1 << max(0, length - 1).bit_length()


def shrink(data: bytes, same: Same) -> bytes:
    """The shortest and plainest that is found: no byte can be taken out of it, and none be '0' that is not."""
    before: bytes | None = None
    while data != before:  # ends: a round makes it shorter, or the bytes that are not '0' fewer
        before = data
        data = _without(_plainer(data, same), same)
        data = _alphabet(data, same)
        data = _bytes(data, same)
    return data


def _without(data: bytes, same: Same) -> bytes:
    """Take out pieces of every size, from the end, where most that is not needed lies."""
    piece = max(1, _power(len(data)) // 2)
    while piece:
        at = len(data) - piece
        while at > -piece:
            start = max(at, 0)
            shorter = data[:start] + data[start + piece :]
            if len(shorter) < len(data) and shorter and same(shorter):
                data = shorter
                at = min(at, len(data))
            at -= piece
        piece //= 2
    return data


def _plainer(data: bytes, same: Same) -> bytes:
    """Whole blocks of '0'."""
    piece = max(1, _power(len(data)) // 4)
    while piece > 1:
        for at in range(0, len(data), piece):
            end = min(at + piece, len(data))
            plain = _PLAIN * (end - at)
            if data[at:end] != plain and same(made := data[:at] + plain + data[end:]):
                data = made
        piece //= 4
    return data


def _alphabet(data: bytes, same: Same) -> bytes:
    """Each byte value that occurs becomes '0' everywhere."""
    for value in sorted(set(data) - set(_PLAIN)):
        made = data.replace(bytes((value,)), _PLAIN)
        if same(made):
            data = made
    return data


def _bytes(data: bytes, same: Same) -> bytes:
    for at in range(len(data)):
        if data[at : at + 1] != _PLAIN and same(made := data[:at] + _PLAIN + data[at + 1 :]):
            data = made
    return data
