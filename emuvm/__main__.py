"""`python -m emuvm`."""

from __future__ import annotations

from emuvm.cli import script

if __name__ == "__main__":
    script()
