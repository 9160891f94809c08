"""What a Uc that somebody else made tells about itself, and hooks that live beside theirs.

Owns: reading architecture and regions out of a Uc, and the system-call hook of `emuvm.attach`. Must not know what the
system calls do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unicorn import UC_HOOK_INSN, UC_HOOK_INTR, UC_QUERY_ARCH, UC_QUERY_MODE, UC_QUERY_PAGE_SIZE, arm64_const, unicorn_const, x86_const

from emuvm.errors import EmuvmError

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc as Uc  # noqa: PLC0414 - for modules that may not import unicorn

_NAMES = {
    (unicorn_const.UC_ARCH_ARM, 32): "arm",
    (unicorn_const.UC_ARCH_ARM64, 64): "arm64",
    (unicorn_const.UC_ARCH_MIPS, 32): "mips32",
    (unicorn_const.UC_ARCH_MIPS, 64): "mips64",
    (unicorn_const.UC_ARCH_X86, 16): "i8086",
    (unicorn_const.UC_ARCH_X86, 32): "i386",
    (unicorn_const.UC_ARCH_X86, 64): "x86_64",
    (unicorn_const.UC_ARCH_PPC, 32): "ppc32",
    (unicorn_const.UC_ARCH_PPC, 64): "ppc64",
    (unicorn_const.UC_ARCH_SPARC, 32): "sparc32",
    (unicorn_const.UC_ARCH_SPARC, 64): "sparc64",
    (unicorn_const.UC_ARCH_M68K, 32): "m68k",
    (unicorn_const.UC_ARCH_RISCV, 32): "riscv32",
    (unicorn_const.UC_ARCH_RISCV, 64): "riscv64",
    (unicorn_const.UC_ARCH_S390X, 64): "s390x",
    (unicorn_const.UC_ARCH_TRICORE, 32): "tricore",
}
_ALWAYS_BIG = (unicorn_const.UC_ARCH_M68K, unicorn_const.UC_ARCH_SPARC, unicorn_const.UC_ARCH_S390X)
_SVC = 2
"""Exception number of arm64's svc in UC_HOOK_INTR."""


def architecture(uc: Uc) -> tuple[str, int, bool]:
    """(Arch.name, address bits, big-endian) of the engine."""
    kind, mode = uc.query(UC_QUERY_ARCH), uc.query(UC_QUERY_MODE)
    if kind in (unicorn_const.UC_ARCH_ARM64, unicorn_const.UC_ARCH_S390X):
        bits = 64
    elif kind in (unicorn_const.UC_ARCH_ARM, unicorn_const.UC_ARCH_M68K, unicorn_const.UC_ARCH_TRICORE):
        bits = 32
    elif kind == unicorn_const.UC_ARCH_X86 and mode & unicorn_const.UC_MODE_16:
        bits = 16
    else:
        bits = 64 if mode & unicorn_const.UC_MODE_64 else 32
    return _NAMES[kind, bits], bits, kind in _ALWAYS_BIG or bool(mode & unicorn_const.UC_MODE_BIG_ENDIAN)


def page_size(uc: Uc) -> int:
    """The smallest unit the engine maps, in bytes."""
    return int(uc.query(UC_QUERY_PAGE_SIZE))


def regions(uc: Uc, start: int, end: int) -> list[tuple[int, int, int, str]]:
    """(start, end, rights, why it cannot be changed or '') of the engine's regions, clipped to [start, end), ascending."""
    mmio = [(base, base + size) for base, size in getattr(uc, "_mmio_callbacks", {})]
    out = []
    for first, last, rights in sorted(uc.mem_regions()):
        low, high = max(first, start), min(last + 1, end)
        if low < high:
            device = any(low < stop and base < high for base, stop in mmio)
            out.append((low, high, rights, "device memory (mmio_map) cannot be changed through emuvm" if device else ""))
    return out


class SyscallHook:
    """Runs `serve()` at every system call before the hooks added later; those are skipped when it returned True.

    For that it stands in for `uc.hook_add` until `close()`. Hooks that were there before would run first and see the
    registers of calls that are not theirs: then EmuvmError.
    """

    def __init__(self, uc: Uc, arch_name: str, serve: Callable[[], bool]) -> None:
        self.uc = uc
        self._serve = serve
        self._served = False
        self._arm = arch_name == "arm64"
        if self._arm:
            if _has_hooks(uc, "HOOK_INTR_CFUNC"):
                raise EmuvmError(_TOO_LATE)
            self._hook = uc.hook_add(UC_HOOK_INTR, self._interrupt)
        elif arch_name == "x86_64":
            if _has_hooks(uc, "HOOK_INSN_SYSCALL_CFUNC"):
                raise EmuvmError(_TOO_LATE)
            self._hook = uc.hook_add(UC_HOOK_INSN, self._instruction, None, 1, 0, x86_const.UC_X86_INS_SYSCALL)
        else:
            raise EmuvmError(f"system calls of {arch_name} cannot be served; attach without syscalls=True")
        self._add = uc.hook_add
        uc.hook_add = self._hook_add  # type: ignore[method-assign]

    def close(self) -> None:
        self._served = False
        self.uc.hook_del(self._hook)
        if vars(self.uc).get("hook_add") == self._hook_add:
            del self.uc.hook_add

    def _interrupt(self, uc: Uc, number: int, data: Any) -> None:
        self._served = number == _SVC and self._serve()

    def _instruction(self, uc: Uc, data: Any) -> None:
        self._served = self._serve()

    def _hook_add(
        self, htype: int, callback: Callable[..., Any], user_data: Any = None, begin: int = 1, end: int = 0, aux1: int = 0, aux2: int = 0
    ) -> int:
        """uc.hook_add; callbacks for system calls are not called for those served."""
        syscall = htype == UC_HOOK_INTR if self._arm else htype == UC_HOOK_INSN and aux1 == x86_const.UC_X86_INS_SYSCALL
        if not syscall:
            return self._add(htype, callback, user_data, begin, end, aux1, aux2)

        def unless_served(*args: Any) -> None:
            if not self._served:
                callback(*args)

        return self._add(htype, unless_served, user_data, begin, end, aux1, aux2)


_TOO_LATE = (
    "this Uc already has a system-call hook, which would run before emuvm's and take the memory calls for its own: "
    "attach(uc, syscalls=True) before adding it, or attach without syscalls=True and begin your hook with "
    "`if vm.serve(): return`"
)


def _has_hooks(uc: Uc, prototype: str) -> bool:
    """Does the Uc have Python hooks with this C prototype? The binding keeps their function pointers."""
    callbacks = getattr(uc, "_callbacks", {})
    return any(type(pointer) is getattr(module, prototype, None) for pointer in callbacks.values() for module in _modules(type(uc)))


def _modules(kind: type) -> list[Any]:
    from sys import modules

    return [modules[base.__module__] for base in kind.__mro__ if base.__module__ in modules]


def register(arch_name: str, name: str) -> int:
    """Unicorn's number of a register, by its ABI name."""
    module: Any = arm64_const if arch_name == "arm64" else x86_const
    prefix = "UC_ARM64_REG_" if arch_name == "arm64" else "UC_X86_REG_"
    return int(getattr(module, prefix + name.upper()))
