"""Program files -> frozen Images -> plans of the mappings that a process starts with.

    load(path | bytes) -> Image          what the file says        image, elf, raw, notes, machines, source
    plan(image, ...)   -> Plan           what to map, in order     plan

A leaf package: it imports neither emuvm nor an engine and runs nothing. Importing it is cheap; pyelftools is
imported when the first ELF file is loaded. Every failure is a LoadError with a reason and an errno.
"""

from __future__ import annotations

from os import PathLike, fspath

from emuvm_loaders.image import EACCES, EIO, ENOENT, Image, LoadError, Note, Property, R, ScriptError, Segment, W, X, printable
from emuvm_loaders.plan import Mapping, Plan, Span, plan, span
from emuvm_loaders.source import BytesSource, FileSource, Source

__all__ = [
    "BytesSource", "FileSource", "Image", "LoadError", "Mapping", "Note", "Plan", "Property", "R", "ScriptError", "Segment", "Source",
    "Span", "W", "X", "load", "load_raw", "plan", "printable", "require_static", "span",
]  # fmt: skip

_SCRIPT_LINE = 256


def load(source: str | PathLike[str] | bytes | bytearray | memoryview | Source, *, name: str | None = None) -> Image:
    """The Image of an ELF file, given by path, as bytes, or as anything with `size()` and `read_at()`.

    `name` is for messages. LoadError otherwise: ENOENT and the like as open(2), EACCES for a directory or special file,
    ENOEXEC for an empty file, a script (ScriptError) and everything that Linux does not take for a program.
    """
    opened, name = _open(source, name)
    from emuvm_loaders.elf import load_elf

    try:
        head = opened.read_at(0, _SCRIPT_LINE)
        if not head:
            raise LoadError("the file is empty")
        if head[:2] == b"#!":
            raise _script(head)
        return load_elf(opened, name)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror or error}", error.errno or EIO) from error


def load_raw(
    source: str | PathLike[str] | bytes | bytearray | memoryview | Source,
    address: int,
    arch: str,
    *,
    name: str | None = None,
    entry: int | None = None,
    memory: int | None = None,
    flags: int = R | W | X,
) -> Image:
    """The Image of a flat blob to be mapped at `address`; see `raw.load_raw` for the options and errors."""
    opened, name = _open(source, name)
    from emuvm_loaders import raw

    return raw.load_raw(opened, name, address, arch, entry=entry, memory=memory, flags=flags)


def require_static(image: Image) -> Image:
    """The image itself; LoadError (ENOENT, as execve without that interpreter) when it is a dynamic executable."""
    if image.interpreter is not None:
        needed = printable(image.interpreter)
        raise LoadError(f"a dynamic executable: it needs the interpreter {needed}, and only static programs can be run", ENOENT)
    return image


def _open(source: str | PathLike[str] | bytes | bytearray | memoryview | Source, name: str | None) -> tuple[Source, str]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return BytesSource(source), name or "<bytes>"
    if not isinstance(source, (str, PathLike)):
        return source, name or "<source>"
    try:
        return FileSource(source), name or fspath(source)
    except ValueError as error:  # a path with a zero byte
        raise LoadError(f"not a path: {error}", ENOENT) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise LoadError(reason[:1].lower() + reason[1:], error.errno or EACCES) from error


def _script(head: bytes) -> LoadError:
    """fs/binfmt_script.c:load_script: the line up to 256 bytes, blanks around both parts removed."""
    line = head[2:].split(b"\n", 1)[0].strip(b" \t\0")
    interpreter, _, argument = line.replace(b"\t", b" ").partition(b" ")
    if not interpreter:
        return LoadError("a script that names no interpreter behind #!")
    return ScriptError(interpreter, argument.strip() or None)
