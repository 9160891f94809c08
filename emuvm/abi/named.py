"""Integers that know their names.

Owns: `Named`. It does what enum.IntEnum does, in a hundredth of the time that takes: every start of a program pays for it.
"""

from __future__ import annotations

from typing import ClassVar, Self


class Named(int):
    """A subclass lists NAME = number; each becomes a value of that subclass. Calling it looks a number up: ValueError."""

    name: str
    _members: ClassVar[dict[int, Named]] = {}

    def __init_subclass__(cls) -> None:
        cls._members = {}
        for name, number in list(vars(cls).items()):
            if name.isupper():
                member = int.__new__(cls, number)
                member.name = name
                setattr(cls, name, member)
                cls._members.setdefault(number, member)

    def __new__(cls, number: int) -> Self:
        try:
            return cls._members[number]  # type: ignore[return-value]
        except KeyError:
            raise ValueError(f"{number} is no {cls.__name__}") from None

    @classmethod
    def members(cls) -> dict[str, Self]:
        """All of them by name; two names of one number are one value."""
        return {name: value for name, value in vars(cls).items() if isinstance(value, cls)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"
