"""The quick stand-ins for typing.NamedTuple and enum.IntEnum behave like the originals where emuvm relies on them."""

from __future__ import annotations

import pickle

import pytest

from emuvm.abi.named import Named
from emuvm.abi.tuples import NamedTuple


class Pair(NamedTuple):
    """Two things."""

    left: int
    right: str = "r"

    @property
    def both(self) -> str:
        return f"{self.left}{self.right}"

    def __contains__(self, value: object) -> bool:
        return value == "anything"


class Colour(Named):
    RED = 1
    BLUE = 2
    AZURE = 2


def test_named_tuples() -> None:
    pair = Pair(1)
    assert pair == (1, "r") and pair.both == "1r" and "anything" in pair and 1 not in pair
    assert Pair(left=3, right="x")._replace(right="y") == (3, "y")
    assert repr(pair) == "Pair(left=1, right='r')" and Pair.__doc__ == "Two things." and Pair.__module__ == __name__
    assert pickle.loads(pickle.dumps(pair)) == pair
    with pytest.raises(AttributeError):
        pair.left = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Pair()  # type: ignore[call-arg]


def test_named_integers() -> None:
    assert Colour.RED == 1 and Colour(2).name == "BLUE" and isinstance(Colour.RED, Colour)
    assert Colour.members() == {"RED": 1, "BLUE": 2, "AZURE": 2}
    assert repr(Colour(1)) == "Colour.RED" and -Colour(2) == -2
    with pytest.raises(ValueError, match="7 is no Colour"):
        Colour(7)
