"""A program that is the fork server of the target in plain Python: `python -m tests.fuzz.afl_server PROGRAM [ARGS]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from emuvm.fuzz.afl.forkserver import ForkServer, find_input
from tests.fuzz.afl_fakes import Parser

if __name__ == "__main__":
    command, path = find_input(sys.argv[1:])
    left = os.environ.get("AFL_TEST_LEFT")
    sys.exit(ForkServer(Parser(), path, cleanup=Path(left).unlink if left else None).serve())
