"""emuvm: Linux address spaces for CPU emulators, and Linux programs on top of them.

    attach(uc) / of(uc)      an address space over a Uc that you run
    run(program, *args)      run a static Linux program, return how it ended
    Process, AddressSpace    the parts, for your own machinery

Names are imported when they are first used: `import emuvm` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emuvm.attach import attach, of
    from emuvm.errors import (
        BadArgument,
        EmulatorBug,
        EmuvmError,
        EngineError,
        GuestError,
        Hole,
        NoSpace,
        Occupied,
        ReentryError,
        SpaceError,
    )
    from emuvm.kernel.process import ExitStatus, Process
    from emuvm.kernel.running import run
    from emuvm.mm.space import AddressSpace

__all__ = [
    "AddressSpace", "BadArgument", "EmulatorBug", "EmuvmError", "EngineError", "ExitStatus", "GuestError", "Hole", "NoSpace", "Occupied",
    "Process", "ReentryError", "SpaceError", "attach", "of", "run",
]  # fmt: skip

_WHERE = {
    "AddressSpace": "emuvm.mm.space",
    "attach": "emuvm.attach",
    "of": "emuvm.attach",
    "run": "emuvm.kernel.running",
    "Process": "emuvm.kernel.process",
    "ExitStatus": "emuvm.kernel.process",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'emuvm' has no attribute {name!r}")
    from importlib import import_module

    # `emuvm.attach` the function hides emuvm.attach the module, which stays importable by its name.
    value = getattr(import_module(_WHERE.get(name, "emuvm.errors")), name)
    globals()[name] = value
    return value


def version() -> str:
    """The installed version, or 'unknown' in a source tree that was not installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("emuvm")
    except PackageNotFoundError:
        return "unknown"
