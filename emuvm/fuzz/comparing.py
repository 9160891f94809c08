"""The operands of the comparisons of one run.

Owns: collecting them, from compare instructions and from the functions of the C library that compare memory. Must not know what they are
good for. The order in which they are met is kept, and each is kept once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emuvm.errors import EmuvmError
from emuvm.fuzz.afl.compare import Pair, Texts
from emuvm_loaders import LoadError
from emuvm_loaders.symbols import symbols

if TYPE_CHECKING:
    from emuvm.fuzz.harness import Harness

_MOST = 5000
_LONGEST = 64
_COUNTED = re.compile(r"_*(?:w?mem|str|strcase)(?:n|)(?:case|)cmp(?:_[a-z0-9_]+)?|_*strn(?:case)?cmp(?:_[a-z0-9_]+)?|_*bcmp")
_ARGUMENTS = {"x86_64": ("rdi", "rsi", "rdx"), "arm64": ("x0", "x1", "x2")}


class Comparing:
    """For one harness. The functions are known by their names: of a stripped program only instructions are looked at."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        try:
            named = symbols(harness.program)
        except LoadError:
            named = None
        bias = harness.bias
        self._functions = {s.address + bias: "mem" not in s.name for s in named or () if s.function and _COUNTED.fullmatch(s.name)}
        """Address -> does it end at a NUL?"""

    def run(self, data: bytes) -> list[Pair | Texts]:
        """What is compared in a run with this input."""
        engine = self._harness.engine
        found: dict[Pair | Texts, None] = {}

        def compared(pc: int, left: int, right: int, bits: int) -> None:
            if left != right and len(found) < _MOST:
                found[Pair(pc, bits // 8 or 1, left, right)] = None

        def called(pc: int) -> None:
            if len(found) < _MOST and (texts := self._texts(pc)) is not None:
                found[texts] = None

        detach = [engine.trace_compares(compared), engine.trace_code(self._functions, called)]
        try:
            self._harness.run(data)
        finally:
            for stop in detach:
                stop()
        return list(found)

    def _texts(self, pc: int) -> Texts | None:
        engine = self._harness.engine
        left, right, count = engine.get_many(_ARGUMENTS[engine.arch.name])
        text = self._functions[pc]
        pieces = []
        for address in (left, right):
            vma = engine.space.query(address)
            if vma is None or not vma.prot & 1:
                return None
            length = min(_LONGEST, vma.end - address, _LONGEST if text else count)
            try:
                piece = engine.memory.read(address, length)
            except EmuvmError:
                return None
            pieces.append(piece.partition(b"\0")[0] if text else piece)
        return Texts(pc, *pieces) if pieces[0] != pieces[1] and all(pieces) else None
