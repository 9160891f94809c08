"""Unicorn's C functions without the binding's conversions: several times cheaper per call, exceptions in our own hands.

Owns: the callback types and the raw calls. Must not know memory, architectures or what a hook means.

A callback made here must not let an exception out: ctypes would print and forget it.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from unicorn.unicorn_const import UC_CTL_IO_WRITE, UC_CTL_TB_FLUSH
from unicorn.unicorn_py3.unicorn import uclib

from emuvm.errors import EngineError

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc


GO_ON = -1
"""Where an error number is expected: all that ended the run has been dealt with."""
FLUSH_CODE = UC_CTL_TB_FLUSH | UC_CTL_IO_WRITE << 30
"""The request of `Raw.control` that drops all translated code."""


class TlbEntry(ctypes.Structure):
    """unicorn.h: uc_tlb_entry."""

    _fields_ = [("paddr", ctypes.c_uint64), ("perms", ctypes.c_uint32)]


_pointer = ctypes.c_void_p
FILL = ctypes.CFUNCTYPE(ctypes.c_bool, _pointer, ctypes.c_uint64, ctypes.c_int, ctypes.POINTER(TlbEntry), _pointer)
INVALID = ctypes.CFUNCTYPE(ctypes.c_bool, _pointer, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64, _pointer)
INTR = ctypes.CFUNCTYPE(None, _pointer, ctypes.c_uint32, _pointer)
BLOCK = ctypes.CFUNCTYPE(None, _pointer, ctypes.c_uint64, ctypes.c_uint32, _pointer)
INSN = ctypes.CFUNCTYPE(None, _pointer, _pointer)

# A second handle on the library: prototypes set here do not disturb the binding's.
_lib = ctypes.CDLL(uclib._name)
_lib.uc_strerror.restype = ctypes.c_char_p
_lib.uc_emu_start.argtypes = (_pointer, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t)
_lib.uc_mem_map_ptr.argtypes = (_pointer, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint64)


def explain(error: int) -> str:
    """Unicorn's text for an error number."""
    text: bytes = _lib.uc_strerror(error)
    return text.decode()


def function(name: str) -> int:
    """The address of a function of the library."""
    return ctypes.cast(getattr(_lib, name), _pointer).value or 0


class Batch(ctypes.Structure):
    """struct batch of native/state.h: registers of any width, and the address where each lies."""

    _fields_ = [("ids", ctypes.c_uint64), ("places", ctypes.c_uint64), ("count", ctypes.c_uint64)]

    @classmethod
    def of(cls, numbers: list[int], places: list[int]) -> tuple[Batch, object]:
        """The batch, and what has to be kept as long as it."""
        count = len(numbers)
        ids, pointers = (ctypes.c_int * count)(*numbers), (ctypes.c_uint64 * count)(*places)
        return cls(ctypes.addressof(ids), ctypes.addressof(pointers), count), (ids, pointers)


class Raw:
    """The calls, bound to one engine. They raise EngineError where Unicorn reports an error."""

    def __init__(self, uc: Uc) -> None:
        self.handle = ctypes.c_void_p(uc._uch.value)
        self._kept: dict[int, Any] = {}
        """Callbacks that are Python's, by the hook that calls them."""

    def hook(self, kind: int, callback: Any, data: int = 0, *extra: int, begin: int = 1, end: int = 0) -> int:
        """Add a hook for addresses from `begin` to `end` (both included; 1 and 0: for all); its handle. `callback`: one of the types
        above, or the address of a native function. `extra`: the int arguments that this kind of hook has."""
        number = ctypes.c_size_t()
        pointer = ctypes.c_void_p(callback) if isinstance(callback, int) else ctypes.cast(callback, ctypes.c_void_p)
        where = (ctypes.c_uint64(begin), ctypes.c_uint64(end))
        more = [ctypes.c_int(value) for value in extra]
        self._check(
            _lib.uc_hook_add(self.handle, ctypes.byref(number), ctypes.c_int(kind), pointer, ctypes.c_void_p(data), *where, *more)
        )
        if not isinstance(callback, int):
            self._kept[number.value] = callback
        return number.value

    def unhook(self, handle: int) -> None:
        """Remove a hook."""
        self._check(_lib.uc_hook_del(self.handle, ctypes.c_size_t(handle)))
        self._kept.pop(handle, None)

    def control(self, code: int, *args: Any) -> None:
        """uc_ctl with an encoded request."""
        self._check(_lib.uc_ctl(self.handle, ctypes.c_uint32(code), *args))

    def map_pointer(self, address: int, length: int, pointer: int) -> None:
        """uc_mem_map_ptr, all rights."""
        self._check(_lib.uc_mem_map_ptr(self.handle, address, length, 7, pointer))

    def start(self, pc: int, until: int) -> int:
        """uc_emu_start; the error number."""
        error: int = _lib.uc_emu_start(self.handle, pc, until, 0, 0)
        return error

    def stop(self) -> None:
        """uc_emu_stop. No effect when nothing runs."""
        _lib.uc_emu_stop(self.handle)

    def restore(self, context: Any) -> None:
        """uc_context_restore of a saved context."""
        self._check(_lib.uc_context_restore(self.handle, context))

    @staticmethod
    def _check(error: int) -> None:
        if error:
            raise EngineError(f"Unicorn: {explain(error)}")


class Registers:
    """A fixed set of 64-bit registers, read or written by one call."""

    def __init__(self, raw: Raw, numbers: list[int]) -> None:
        count = len(numbers)
        self.values = (ctypes.c_uint64 * count)()
        base = ctypes.addressof(self.values)
        ids = (ctypes.c_int * count)(*numbers)
        places = (ctypes.c_void_p * count)(*(base + 8 * n for n in range(count)))
        self._kept = (ids, places)
        self._args = (raw.handle, ctypes.byref(ids), ctypes.byref(places), ctypes.c_int(count))
        self._read, self._write = _lib.uc_reg_read_batch, _lib.uc_reg_write_batch

    def read(self) -> list[int]:
        """Their values now."""
        self._read(*self._args)
        return self.values[:]

    def write(self, *values: int) -> None:
        """Store all of them; ctypes takes values modulo 2**64."""
        self.values[:] = values  # type: ignore[call-overload]  # a tuple does, and a list costs more
        self._write(*self._args)


class State:
    """A fixed set of registers of any width, each at its place in a block of bytes, read or written by one call."""

    def __init__(self, raw: Raw, length: int, places: list[tuple[int, int]]) -> None:
        """`places`: (Unicorn's number, offset in the block), in the order in which they are written."""
        count = len(places)
        self.block = (ctypes.c_uint8 * length)()
        base = ctypes.addressof(self.block)
        ids = (ctypes.c_int * count)(*(number for number, _ in places))
        pointers = (ctypes.c_void_p * count)(*(base + offset for _, offset in places))
        self._kept = (ids, pointers)
        self._args = (raw.handle, ctypes.byref(ids), ctypes.byref(pointers), ctypes.c_int(count))

    def read(self) -> None:
        """Fill the block; bytes of no register keep their value."""
        _lib.uc_reg_read_batch(*self._args)

    def write(self) -> None:
        """Load the registers from the block."""
        _lib.uc_reg_write_batch(*self._args)
