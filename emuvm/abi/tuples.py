"""typing.NamedTuple, made faster.

Owns: NamedTuple, and `make`, which builds one from a tuple of all its fields in a third of the time. What typing does for a class with
annotations it does, but without compiling each annotation: with those of all modules together that is a twentieth of a short program's
run. Type checkers see typing's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple

    def make(kind: type[T], fields: tuple[Any, ...]) -> T: ...

else:
    from collections import namedtuple

    _OWN = frozenset(("__module__", "__qualname__", "__annotations__", "__classcell__"))

    class _Maker(type):
        """Turns a class statement into a named tuple with the methods of its body."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            fields = list(body.get("__annotations__", ()))
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            made.__annotations__ = body.get("__annotations__", {})
            made.__qualname__ = body["__qualname__"]
            for key, value in body.items():
                if key not in _OWN:
                    setattr(made, key, value)
            return made

    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})
    make = tuple.__new__
