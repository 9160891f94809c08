"""Dictionaries: tokens that inputs of a format are made of.

Owns: AFL's file format. Must not know what is done with tokens.

    # a comment
    name="value"        name@2="only if the level is at least 2"        "\\x89PNG\\r\\n"        escapes: \\xNN \\\\ \\" \\n \\r \\t
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from emuvm.errors import EmuvmError

LONGEST, MOST = 128, 4096
"""Bytes of a token, and tokens, at most."""
# No part may match what the one after it does, or a long line that is wrong takes for ever.
_LINE = re.compile(rb'[A-Za-z0-9_.\-]*(?:@([0-9]{1,6}))?(?:\s*=)?\s*"((?:[^"\\]|\\.)*)"\s*(?:#.*)?', re.DOTALL)
_LOOSE = re.compile(rb'[A-Za-z0-9_.\-]*(?:@([0-9]{1,6}))?(?:\s*=)?\s*"((?:[^\\]|\\.)*)"', re.DOTALL)
"""AFL reads up to the last quote of a line, so that some of its dictionaries have quotes without a backslash."""
_ESCAPE = re.compile(rb'\\(x[0-9A-Fa-f]{2}|[\\"nrt]|.?)', re.DOTALL)
_PLAIN = {b"\\": b"\\", b'"': b'"', b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class DictionaryError(EmuvmError):
    """The file is no dictionary; the text says where."""


def read(paths: Iterable[str | Path], level: int = 0) -> list[bytes]:
    """The tokens of files, name@level, and folders, each without doubles. A file of a folder is a token. DictionaryError."""
    found: dict[bytes, None] = {}
    for path in paths:
        text = str(path)
        head, at, digits = text.rpartition("@")
        here = level
        if at and digits.isdecimal() and not Path(text).exists():
            text, here = head, int(digits)
        try:
            place = Path(text)
            if place.is_dir():
                parts = [(entry.read_bytes(), str(entry)) for entry in sorted(place.iterdir()) if entry.is_file()]
                tokens = [_checked(data, name) for data, name in parts if data]
            else:
                tokens = parse(place.read_bytes(), text, here)
        except OSError as error:
            raise DictionaryError(f"{error.filename or text}: {error.strerror or error}") from None
        found.update(dict.fromkeys(tokens))
    if len(found) > MOST:
        raise DictionaryError(f"{len(found)} tokens, more than {MOST}")
    return list(found)


def parse(data: bytes, name: str, level: int = 0) -> list[bytes]:
    """The tokens of a dictionary's text, in order. DictionaryError with the line."""
    tokens = []
    for number, line in enumerate(data.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(b"#"):
            continue
        where = f"{name}, line {number}"
        match = _LINE.fullmatch(stripped) or _LOOSE.fullmatch(stripped)
        if match is None:
            raise DictionaryError(f'{where}: not of the form name="value"')
        wanted, text = match.groups()
        token = _checked(_unescaped(text, where), where)
        if int(wanted or 0) <= level:
            tokens.append(token)
    return tokens


def _unescaped(text: bytes, where: str) -> bytes:
    return _ESCAPE.sub(lambda found: _plain(found.group(1), where), text)


def _plain(escape: bytes, where: str) -> bytes:
    if len(escape) == 3:
        return bytes((int(escape[1:], 16),))
    if escape not in _PLAIN:
        raise DictionaryError(f"{where}: there is no escape \\{escape.decode('ascii', 'replace')}")
    return _PLAIN[escape]


def _checked(token: bytes, where: str) -> bytes:
    if not token:
        raise DictionaryError(f"{where}: an empty token")
    if len(token) > LONGEST:
        raise DictionaryError(f"{where}: a token of {len(token)} bytes, more than {LONGEST}")
    return token
