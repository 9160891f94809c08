"""`emuvm fuzz` with the target in plain Python: `python -m tests.fuzz.afl_worker OPTIONS -- program`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from emuvm.fuzz.afl import commands, session
from emuvm.fuzz.afl.options import seed_of
from tests.fuzz.afl_fakes import Parser, Simple


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[Parser]:
    """Any program is the same parser."""
    yield Parser()


def patch() -> None:
    """From now on in this process."""
    session.opened = opened  # type: ignore[assignment]
    session.mutator_of = lambda options, target: Simple(seed_of(options))


if __name__ == "__main__":
    if "die" in sys.argv and any(word.endswith("-01") for word in sys.argv):
        sys.exit("this one dies")
    patch()
    sys.exit(commands.main("fuzz", sys.argv[1:]))
