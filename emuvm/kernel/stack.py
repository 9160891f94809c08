"""The initial stack of a program, as bytes.

Owns its layout (fs/exec.c:copy_strings, fs/binfmt_elf.c:create_elf_tables, Linux 6.x) as a pure function. Must not know
memory or processes: whoever builds a process writes `data` at `start` and sets the stack pointer to `sp`.

    stack_top   ->  a zero word
                    execfn \\0            (AT_EXECFN)
    env_end     ->  envp strings
    env_start = arg_end
                    argv strings
    arg_start   ->  -- 16-byte boundary below --
                    platform, base platform strings, 16 random bytes
                    auxv pairs, AT_NULL last
                    envp pointers, 0
                    argv pointers, 0
    start       ->  argc                 (16-byte aligned)
                    sparc: register-window save area, below it sp
"""

from __future__ import annotations

from collections.abc import Sequence

from emuvm.abi import auxv
from emuvm.abi.arch import Arch
from emuvm.abi.errno import Errno
from emuvm.abi.structs import pack_words, word_size
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import BadArgument, GuestError

MAX_ARG_STRLEN = 32 * 4096
"""The longest argument or environment string, its NUL included."""
ARG_MAX = 128 << 10
"""What arguments and environment may always take."""
_STACK_LIMIT = 8 << 20
_EXPAND = 128 << 10
"""Stack that is mapped below the strings from the beginning (fs/exec.c:setup_arg_pages)."""


class InitialStack(NamedTuple):
    """Where everything lies; ranges are half-open guest addresses."""

    sp: int
    """The stack pointer register at program start."""
    start: int
    """Address of argc, and of the first byte of `data`."""
    data: bytes
    """Everything from `start` up to the top of the stack."""
    arg_start: int
    arg_end: int
    env_start: int
    env_end: int
    auxv: bytes
    """The auxiliary vector as it lies on the stack: /proc/self/auxv."""
    execfn: int
    random: int
    """Address of the 16 random bytes."""
    vma_start: int
    """Start of the stack mapping: used pages plus 128 KiB, as far as the stack limit allows."""


def argument_limit(stack_limit: int) -> int:
    """Bytes that strings and their pointers may take: a quarter of the stack limit, at most 6 MiB, at least 128 KiB."""
    return max(min(_STACK_LIMIT // 4 * 3, stack_limit // 4), ARG_MAX)


def build_stack(
    arch: Arch,
    argv: Sequence[bytes],
    envp: Sequence[bytes],
    execfn: bytes,
    facts: auxv.Facts,
    random16: bytes,
    *,
    stack_top: int | None = None,
    stack_limit: int = _STACK_LIMIT,
) -> InitialStack:
    """Lay out the stack of a new program below `stack_top` (default: the architecture's).

    An empty `argv` becomes one empty string. E2BIG: a string of 128 KiB or more with its NUL, or more than
    `argument_limit` in all. BadArgument: a NUL byte in a string, not 16 random bytes, or a misaligned stack_top.
    """
    top = arch.stack_top if stack_top is None else stack_top
    arguments = list(argv) or [b""]
    environment = list(envp)
    _check(arch, arguments, environment, execfn, stack_limit)
    if len(random16) != 16:
        raise BadArgument("random16", f"{len(random16)} bytes instead of 16")
    if top % 16:
        raise BadArgument("stack_top", f"{top:#x} is not a multiple of 16")
    word = word_size(arch)

    name_at = top - word - len(execfn) - 1
    env_start, env_pointers = _place(environment, name_at)
    arg_start, arg_pointers = _place(arguments, env_start)

    cursor = arg_start & ~15
    platform_at, cursor = _place_optional(arch.platform, cursor)
    base_at, cursor = _place_optional(arch.base_platform, cursor)
    random_at = cursor - 16

    pairs = auxv.build(arch, facts, auxv.Addresses(random_at, name_at, platform_at, base_at))
    vector = pack_words(arch, (value for pair in pairs for value in pair))
    table = pack_words(arch, (len(arguments), *arg_pointers, 0, *env_pointers, 0))
    start = (random_at - len(vector) - len(table)) & ~15

    data = bytearray(top - start)
    pieces = (
        (start, table + vector),
        (random_at, random16),
        (base_at, arch.base_platform.encode()),
        (platform_at, arch.platform.encode()),
        (arg_start, b"".join(text + b"\0" for text in (*arguments, *environment, execfn))),
    )
    for address, piece in pieces:
        if piece:
            data[address - start : address - start + len(piece)] = piece
    return InitialStack(
        sp=start - arch.window_save - arch.stack_bias,
        start=start,
        data=bytes(data),
        arg_start=arg_start,
        arg_end=env_start,
        env_start=env_start,
        env_end=name_at,
        auxv=vector,
        execfn=name_at,
        random=random_at,
        vma_start=_vma_start(arch, top, arg_start, start - arch.window_save, stack_limit),
    )


def _check(arch: Arch, arguments: list[bytes], environment: list[bytes], execfn: bytes, stack_limit: int) -> None:
    """fs/exec.c:bprm_stack_limits and copy_strings."""
    total = len(execfn) + 1 + word_size(arch) * (len(arguments) + len(environment))
    for where, texts in (("argv", arguments), ("envp", environment), ("execfn", [execfn])):
        for text in texts:
            if b"\0" in text:
                raise BadArgument(where, f"NUL byte in {text[:40]!r}")
            if where != "execfn":
                total += len(text) + 1
                if len(text) + 1 > MAX_ARG_STRLEN:
                    raise GuestError(Errno.E2BIG, f"{where}: a string of {len(text)} bytes")
    if total > argument_limit(stack_limit):
        raise GuestError(Errno.E2BIG, f"{total} bytes of arguments and environment, limit {argument_limit(stack_limit)}")


def _place(texts: list[bytes], end: int) -> tuple[int, list[int]]:
    """Addresses of NUL-terminated strings that end at `end`, the first one lowest: (lowest address, addresses)."""
    start = address = end - sum(len(text) + 1 for text in texts)
    addresses = []
    for text in texts:
        addresses.append(address)
        address += len(text) + 1
    return start, addresses


def _place_optional(text: str, cursor: int) -> tuple[int, int]:
    """(address, new cursor) of a string right below `cursor`; address 0 when there is none."""
    if not text:
        return 0, cursor
    cursor -= len(text) + 1
    return cursor, cursor


def _vma_start(arch: Arch, top: int, strings: int, used: int, stack_limit: int) -> int:
    """fs/exec.c:setup_arg_pages, and the growth that the pointer tables may then need."""
    page = arch.page_size
    size = min(top - strings // page * page + _EXPAND, max(stack_limit // page * page, top - strings // page * page))
    return min((top - size) // page * page, used // page * page)
