"""From a system call to the text of its line.

Owns: the choice of decoders (registry row, table), what is decoded before and what after the call, results. Must not know
processes, filters, or where lines go.
"""

from __future__ import annotations

from emuvm.abi.arch import Arch
from emuvm.kernel import registry
from emuvm.kernel.usermem import UserMemory
from emuvm.tools import strace_arrays, strace_attrs, strace_more, strace_prctl, strace_scalars, strace_structs
from emuvm.tools.strace_call import Call, find, pointer, s64
from emuvm.tools.strace_table import COMMANDS, Row, row
from emuvm.tools.strace_text import RESTARTS, error

DECODERS = (strace_scalars, strace_structs, strace_arrays, strace_more, strace_prctl, strace_attrs)
"""Imported for their decoders."""

_COLUMN = 40
_UNKNOWN = Row(("X",) * 6, "")


def row_of(name: str, kinds: tuple[str, ...] | None, arch: Arch, args: tuple[int, ...]) -> Row:
    """How a call is shown: a decoder for every argument. `kinds` is the signature in the registry, None for want of one."""
    found = row(name)
    command = COMMANDS.get(name)
    if command is not None:
        number = args[command[0]] & 0xFFFF_FFFF & ~command[2]
        base = name.removesuffix("64") if name == "fcntl64" else name
        for known, value in _names(command[1], arch):
            if value == number:
                found = row(f"{base}@{known}") or found
                break
    if found is None:
        return _UNKNOWN if kinds is None else Row(kinds, "")
    tokens = list(found.tokens)
    if kinds is not None and not (command is not None and found is not row(name)):
        tokens += ["."] * (len(kinds) - len(tokens))
    for index, token in enumerate(tokens):
        if token == ".":
            tokens[index] = kinds[index] if kinds is not None and index < len(kinds) else "X"
    return Row(tuple(tokens), found.result)


def _names(kind: str, arch: Arch) -> tuple[tuple[str, int], ...]:
    from emuvm.abi.names import names

    return names(kind, arch.name).entries


class Shown:
    """One call on its way to a line: made when it begins, `end` gives the line."""

    def __init__(self, call: Call, kinds: tuple[str, ...] | None) -> None:
        self.call = call
        self._row = row_of(call.name, kinds, call.arch, call.args)
        self._early: list[str | None] = []
        for index, token in enumerate(self._row.tokens):
            if token[0] == "+":
                find(token[1:])(call, self._word(index))
            late = token[0] in ">!+"
            self._early.append(None if late else find(token)(call, self._word(index)))

    def _word(self, index: int) -> int:
        return self.call.args[index] if index < len(self.call.args) else 0

    def begin(self) -> str:
        """What is known before the call, up to the first argument that the call fills."""
        parts: list[str] = []
        for token, text in zip(self._row.tokens, self._early, strict=True):
            if token[0] in ">!+":
                return f"{self._name()}({', '.join(parts)}, " if parts else f"{self._name()}("
            if text is not None:
                parts.append(text)
        return f"{self._name()}({', '.join(parts)}"

    def inputs(self) -> str:
        """The call with what the program passed; what it is to fill as addresses."""
        shown = [self._early[i] if token[0] not in ">!+" else pointer(self._word(i)) for i, token in enumerate(self._row.tokens)]
        return f"{self._name()}({', '.join(text for text in shown if text is not None)})"

    def unfinished(self) -> str:
        return f"{self.begin()} <unfinished ...>) = ?"

    def end(self, result: int | None, indent: int = 0) -> str:
        """The line. `result` None: the call did not return. `indent`: so many characters are in front of it."""
        call = self.call
        parts: list[str] = []
        call.result = result
        for index, (token, early) in enumerate(zip(self._row.tokens, self._early, strict=True)):
            text, value = early, self._word(index)
            if token[0] == ">":
                text = pointer(value) if result is None or call.failed or result < 0 or not value else find(token[1:])(call, value)
            elif token[0] in "!+":
                text = find(token[1:])(call, value)
            if text is not None:
                parts.append(text)
        return f"{self._name()}({', '.join(parts)}) ".ljust(_COLUMN - indent) + f"= {self._result(result)}"

    def _result(self, result: int | None) -> str:
        if result is None:
            return "?"
        if self.call.failed:
            restart = RESTARTS.get(-result)
            return f"? {restart}" if restart else f"-1 {error(-result)}"
        decode = find(self._row.result) if self._row.result else None
        return (decode(self.call, result) if decode is not None else None) or str(s64(result))

    def _name(self) -> str:
        name = self.call.name
        return f"syscall_{int(name.removeprefix('number ')):#x}" if name.startswith("number ") else name


class Formatter:
    """Makes `Shown` for the calls of one process. `limit`: how many bytes of strings, how many elements are shown."""

    def __init__(self, arch: Arch, memory: UserMemory, limit: int = 32) -> None:
        self._arch = arch
        self._limit = limit
        # Looking must not make stacks grow, so this is not the process's own.
        self._memory = UserMemory(memory.space, memory.memory, arch)

    def begin(self, name: str, args: tuple[int, ...], stack_pointer: int | None = None) -> Shown:
        spec = registry.find(name)
        call = Call(self._arch, self._memory, name, args, self._limit)
        if name in ("rt_sigreturn", "sigreturn"):
            call.note = stack_pointer
        return Shown(call, None if spec is None else spec.kinds)
