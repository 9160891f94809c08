"""A program run plainly, as `emuvm run` does, on the engine with regions.

Owns: giving it its input and taking its output. Must not know harnesses.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from emuvm.abi.signals import name
from emuvm.errors import EmuvmError
from emuvm.kernel.request import Request
from emuvm.kernel.running import Refused, started

_SECONDS = 20.0


def run_plainly(program: str, args: Sequence[str], data: bytes) -> tuple[int, str]:
    """(signal it died by or 0, what came of it in words). Its output is thrown away. EmuvmError: it cannot be run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "input")
        path.write_bytes(data)
        given = [arg.replace("@@", str(path)) for arg in args]
        kept = [os.dup(number) for number in range(3)]
        source, sink = os.open(path, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(source, 0)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            with started(Request(program, tuple(given), engine="regions", timeout=_SECONDS)) as proc:
                status = proc.run()
        except Refused as error:
            raise EmuvmError(str(error)) from None
        finally:
            for number, fd in enumerate(kept):
                os.dup2(fd, number)
                os.close(fd)
            os.close(source)
            os.close(sink)
    if status.signal == 9:
        return 0, f"it did not end within {_SECONDS:.0f} s"
    return int(status.signal), name(status.signal) if status.signal else f"exit code {status.code}"
