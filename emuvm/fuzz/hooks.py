"""Functions of somebody else's around system calls.

Owns: calling them with decoded arguments. Must not know what they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emuvm.abi.errno import Errno
from emuvm.abi.numbers import table
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import EmuvmError, GuestError
from emuvm.kernel import registry
from emuvm.kernel.dispatch import Bound

if TYPE_CHECKING:
    from emuvm.kernel.process import Process


class HookedCall(NamedTuple):
    """A system call that is about to be made, or was."""

    name: str
    args: tuple[Any, ...]
    """As the call's signature says: signed and unsigned ints of their width, bytes of paths and strings. A path that cannot be read is
    its address; a call emuvm does not know has its six registers."""
    raw: tuple[int, ...]
    proc: Process


class Hooks:
    """The hooks of one process."""

    def __init__(self, proc: Process) -> None:
        self._proc = proc
        self._known = frozenset(table(proc.arch.name).values())

    def add(
        self,
        name: str,
        *,
        enter: Callable[[HookedCall], object] | None = None,
        replace: Callable[[HookedCall], int | None] | None = None,
        exit: Callable[[HookedCall, int], int | None] | None = None,
    ) -> None:
        """From now on, around every call of that name: `enter` first; then `replace`, whose result is the call's instead of its being
        made, unless it is None; then `exit` with the result, which it replaces unless it returns None. Results are >= 0 or -errno.

        Later hooks of a call are outside earlier ones. EmuvmError: the architecture has no such call. Pause and GuestError may be raised.
        """
        if name not in self._known:
            raise EmuvmError(f"{self._proc.arch.name} has no system call {name}")
        spec = registry.find(name)

        def watch(_name: str, bound: Bound) -> Bound:
            def call(args: tuple[int, ...]) -> int:
                made = HookedCall(name, self._decode(spec, args), args, self._proc)
                if enter is not None:
                    enter(made)
                result = replace(made) if replace is not None else None
                if result is None:
                    if exit is None:
                        return bound(args)
                    try:
                        result = bound(args)
                    except GuestError as error:
                        result = -error.errno
                if exit is not None:
                    changed = exit(made, result)
                    result = result if changed is None else changed
                return result

            return call

        self._proc.dispatcher.watch(watch, frozenset((name,)))

    def _decode(self, spec: registry.Spec | None, args: tuple[int, ...]) -> tuple[Any, ...]:
        if spec is None:
            return args
        found: list[Any] = []
        for kind, value in zip(spec.kinds, args, strict=False):
            try:
                found.append(registry.convert(kind, value, self._proc.arch.bits, self._proc.mem))
            except GuestError:
                found.append(value)
        return tuple(found)


def error(name: str) -> int:
    """What a hook returns for an error: `error("ENOMEM")`. EmuvmError: no such errno."""
    found = getattr(Errno, name, None)
    if not isinstance(found, int):
        raise EmuvmError(f"no error is called {name}")
    return -found
