"""The error types of emuvm.

Owns: what can go wrong and how it is told. Must not know any other part of emuvm except the errno table.

    EmuvmError
      GuestError(errno, why)      a failure with an errno: a system call handler may raise it, `kernel.dispatch`
        SpaceError                turns it into -errno; the address space raises its own kinds of it
          BadArgument  EINVAL     which argument, and why
          NoSpace      ENOMEM     no gap fits
          Occupied     EEXIST     a fixed request meets an existing region
          Hole         ENOMEM     a range that must be mapped is not
      ReentryError                a callback tried to change the space that is calling it
      EngineError                 the CPU engine refused something
      EmulatorBug                 emuvm broke one of its own rules: never a guest's fault
"""

from __future__ import annotations

from emuvm.abi.errno import Errno


class EmuvmError(Exception):
    """Base of everything emuvm raises on purpose."""


class GuestError(EmuvmError):
    """A failure that a guest sees as an errno. `why` is for logs and strace, never for the guest."""

    def __init__(self, errno: int, why: str = "") -> None:
        self.errno = errno if type(errno) is Errno else Errno(errno)
        self.why = why
        super().__init__(f"{self.errno.name}: {why}" if why else self.errno.name)


class SpaceError(GuestError):
    """An address-space operation that could not be done; nothing was changed unless its docstring says so."""


class BadArgument(SpaceError, ValueError):
    """EINVAL: `argument` is the parameter's name."""

    def __init__(self, argument: str, why: str) -> None:
        self.argument = argument
        super().__init__(Errno.EINVAL, f"{argument}: {why}")


class NoSpace(SpaceError):
    """ENOMEM: no gap fits the request."""

    def __init__(self, why: str) -> None:
        super().__init__(Errno.ENOMEM, why)


class Occupied(SpaceError):
    """EEXIST: the range of a fixed request that must not replace is not free."""

    def __init__(self, why: str) -> None:
        super().__init__(Errno.EEXIST, why)


class Hole(SpaceError):
    """ENOMEM: part of a range that must be mapped is not. `address` is the first byte of the hole."""

    def __init__(self, address: int, why: str) -> None:
        self.address = address
        super().__init__(Errno.ENOMEM, why)


class ReentryError(EmuvmError, RuntimeError):
    """A callback called a changing operation of the space that is delivering an update to it."""


class EngineError(EmuvmError):
    """The CPU engine refused an operation."""


class Pause(EmuvmError):
    """The process stands still, and may go on. Whoever watches a system call raises it: then the call is made when it goes on."""


class OutOfBudget(Pause):
    """The process has executed as many blocks as it was allowed to."""


class Stuck(Pause):
    """The process waits for something that can never come: nothing outside it changes."""


class EmulatorBug(EmuvmError):
    """emuvm contradicted itself. The run stops and says so; a guest program cannot cause it."""
