"""A folder that one process uses at a time, in the way AFL does it: a lock on the folder itself."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FolderLock:
    """Held until `close` or the end of the process. OSError: somebody else has it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Let others have it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
