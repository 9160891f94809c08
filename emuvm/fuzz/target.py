"""The options that say what is run again and again, and the harness made from them.

Owns: their names and meaning on every command line of the fuzzer. Must not know what is done with the harness.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from emuvm.errors import EmuvmError
from emuvm.fuzz.harness import BUDGET, PLACES, Harness

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_COUNTS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def _scaled(text: str, units: dict[str, int], what: str) -> int:
    digits = text.rstrip("KMGkmg")
    unit = text[len(digits) :].upper()
    if not digits.isdecimal() or unit not in units or len(digits) > 15:
        raise argparse.ArgumentTypeError(f"{text}: {what}, with K, M or G if you like")
    return int(digits) * units[unit]


def size(text: str) -> int:
    """A number of bytes as an option gives it."""
    return _scaled(text, _UNITS, "a number of bytes")


def count(text: str) -> int:
    """A number of blocks or executions as an option gives it."""
    found = _scaled(text, _COUNTS, "a number")
    if not found:
        raise argparse.ArgumentTypeError("0: a number above 0")
    return found


def place(text: str) -> str | int:
    """Where runs begin."""
    if text[:2].lower() != "0x":
        return text
    try:
        return int(text, 16)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: not an address") from None


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text}: NAME=VALUE")
    return name, value


def add_options(parser: argparse.ArgumentParser, *, budget: bool = True, command: bool = True) -> None:
    """Options of the target. `budget`: -t, too. `command`: TARGET and its arguments, too; else the caller puts them there."""
    group = parser.add_argument_group("the target")
    add = group.add_argument
    add("--input-mode", choices=PLACES, help="how the input is given (default: @@ if that is among the arguments, else stdin)")
    add("--at", type=place, metavar="PLACE", help="where runs begin: first-read, entry, main or another symbol, 0xADDRESS")
    add("--file", type=_pair, action="append", default=[], metavar="GUEST=HOST", help="a file of the guest; may be repeated")
    add("--env", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="its environment, which is empty otherwise")
    add("--root", metavar="DIR", help="a directory of this host as its /, read-only")
    add("--guest-seed", type=int, default=0, metavar="N", help="seed of its clocks and random bytes")
    add("--mem", type=size, metavar="LIMIT", help="most private writable memory, e.g. 512M")
    add("--max-len", type=size, default=1 << 20, metavar="N", help="inputs are cut to so many bytes (default: 1M)")
    add("--paranoid", type=count, default=0, metavar="N", help="compare everything with the beginning after every N runs")
    if budget:
        add("-t", dest="budget", type=count, default=BUDGET, metavar="BLOCKS", help="basic blocks after which a run counts as hung")
    if command:
        words = "-- TARGET [ARG...]"
        parser.add_argument("command", nargs=argparse.REMAINDER, metavar=words, help="a static program; @@ is the path of the input")


def open_target(options: argparse.Namespace, **more: Any) -> Harness:
    """The harness that the options ask for; `more` are arguments of `Harness` that win. EmuvmError: it cannot be."""
    words = list(options.command)
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise EmuvmError("which program?")
    mode = options.input_mode or ("@@" if any("@@" in word for word in words[1:]) else "stdin")
    wanted: dict[str, Any] = {
        "input": mode,
        "at": options.at,
        "files": {guest: _content(host) for guest, host in options.file},
        "env": dict(options.env),
        "root": options.root,
        "seed": options.guest_seed,
        "memory": options.mem,
        "max_len": options.max_len,
        "paranoid": options.paranoid,
        "results": getattr(options, "results", False),
    }
    budget = getattr(options, "budget", None)
    if isinstance(budget, int):
        wanted["budget"] = budget
    return Harness(words[0], words[1:], **{**wanted, **more})


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise EmuvmError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
