"""The words of `emuvm fuzz`, `cmin` and `tmin`: which there are, and what they come to.

Owns: the parsers, AFL's environment variables, and the settings that follow. Must not know how anything is done.
"""

from __future__ import annotations

import argparse
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from emuvm.errors import EmuvmError
from emuvm.fuzz.afl import host_clock
from emuvm.fuzz.afl.campaign import Settings
from emuvm.fuzz.afl.parallel import MOST
from emuvm.fuzz.afl.queue import SCHEDULES
from emuvm.fuzz.sequences import command as sequences
from emuvm.fuzz.target import add_options, count

DEFAULT = "default"
"""The name of an instance that was given none, as in AFL++."""


class Usage(EmuvmError):
    """The command line is wrong."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> object:  # type: ignore[override]
        raise Usage(f"{self.prog}: {message} (--help tells more)")


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _positive(text: str) -> int:
    if not _natural(text):
        raise argparse.ArgumentTypeError("must be more than 0")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return float(text)


def _budget(text: str) -> int | None:
    return None if text == "auto" else count(text)


def _parser(command: str, about: str) -> _Parser:
    return _Parser(prog=f"emuvm {command}", usage=f"emuvm {command} [OPTION...] -- TARGET [ARG...]", description=about, allow_abbrev=False)


def fuzz_parser() -> argparse.ArgumentParser:
    """Of `emuvm fuzz`."""
    parser = _parser("fuzz", "Fuzz a program from a snapshot. Options, folders and file names are AFL++'s where they mean the same.")
    add = parser.add_argument
    add("-i", dest="seeds", metavar="DIR", help="folder of seeds; - resumes the session in the output folder")
    add("-o", dest="out", metavar="DIR", type=Path, help="output folder")
    role = parser.add_mutually_exclusive_group()
    role.add_argument("-M", dest="main", metavar="NAME", help="be the main instance of several, one after the other, without trimming")
    role.add_argument("-S", dest="secondary", metavar="NAME", help="be a secondary instance")
    add("-j", dest="jobs", metavar="N", type=_positive, default=1, help="so many instances on this machine")
    add("--dask", metavar="SCHEDULER", help="spread -j instances over a Dask cluster: its address, or 'local'")
    add("--round", metavar="SECONDS", type=_seconds, default=30.0, help="with --dask: exchange finds so often (%(default)s)")
    add("-p", dest="schedule", choices=SCHEDULES, default="fast", help="power schedule (%(default)s)")
    add("-x", dest="dictionaries", metavar="FILE", action="append", default=[], help="dictionary; may be given several times")
    add("-V", dest="seconds", metavar="SECONDS", type=_seconds, help="end after so many seconds")
    add("-E", dest="execs", metavar="N", type=_positive, help="end after so many executions")
    add("-s", dest="seed", metavar="N", type=_natural, help="seed of all random choices (0, or from the instance's name)")
    add("-D", dest="deterministic", action="store_true", help="deterministic stages, once for each entry")
    add("-d", dest="deterministic", action="store_false", help="no deterministic stages (default)")
    add("-c", dest="compare", metavar="0|-", choices=("0", "-"), default="0", help="0: look at comparisons (default); -: do not")
    add("-Z", dest="sequential", action="store_true", help="entries in their order, not by weight")
    add("-T", dest="banner", metavar="TEXT", help="what the screen shows as a title")
    add("--results", action="store_true", help="fuzz the results of system calls too")
    sequences.add_options(parser)
    add("--afl-forkserver", action="store_true", help="be the target of afl-fuzz and its tools; -i and -o are theirs")
    add("--afl-input", metavar="PATH", help="with --afl-forkserver: the file of afl-fuzz -f")
    add("-t", dest="budget", metavar="BLOCKS", type=_budget, help="blocks before a run is a hang; auto: from the slowest seed (default)")
    add_options(parser, budget=False)
    return parser


def cmin_parser() -> argparse.ArgumentParser:
    """Of `emuvm cmin`."""
    parser = _parser("cmin", "Copy the smallest set of inputs that shows every edge, with its bucket of counts, that all of them show.")
    add = parser.add_argument
    add("-i", dest="seeds", metavar="DIR", type=Path, required=True, help="folder of inputs")
    add("-o", dest="out", metavar="DIR", type=Path, required=True, help="folder for those that are kept: new, or empty")
    add("-e", dest="edges_only", action="store_true", help="edges only, whatever their counts")
    add("-C", dest="crashes", action="store_true", help="keep crashing inputs, leave out all others")
    add("-A", dest="all", action="store_true", help="all count: also those that crash or hang")
    sequences.add_options(parser)
    add_options(parser)
    return parser


def tmin_parser() -> argparse.ArgumentParser:
    """Of `emuvm tmin`."""
    parser = _parser("tmin", "Make an input smaller that crashes, hangs or takes a certain path, such that it still does.")
    add = parser.add_argument
    add("-i", dest="input", metavar="FILE", type=Path, required=True, help="the input")
    add("-o", dest="out", metavar="FILE", type=Path, required=True, help="where the smaller one goes")
    add("-e", dest="edges_only", action="store_true", help="the path is the same if the edges are, whatever their counts")
    add("--any-crash", action="store_true", help="another crash will do: not the same signal at the same pc")
    sequences.add_options(parser)
    add_options(parser)
    return parser


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Options in front of --, the target and its arguments behind. Usage: they are wrong."""
    words = list(words)
    split = words.index("--") if "--" in words else None
    options = parser.parse_args(words[:split])
    if split is None:
        # As AFL has it, too: the first word that is no option is the target.
        split = len(words) - len(options.command)
        words.insert(split, "--")
    elif options.command:
        raise Usage(f"{parser.prog}: {options.command[0]} is no option")
    options.command = words[split + 1 :]
    options.words = words
    if not sequences.wanted(options) and not options.command:
        raise Usage(f"{parser.prog}: the target is missing: write it behind --")
    return options


def check_fuzz(options: argparse.Namespace) -> None:
    """What the parser cannot see. Usage: it does not fit together."""
    if options.afl_forkserver:
        if options.seeds or options.out:
            raise Usage("emuvm fuzz: with --afl-forkserver -i and -o belong to afl-fuzz")
        return
    if options.seeds is None or options.out is None:
        raise Usage("emuvm fuzz: -i and -o are needed")
    if options.jobs > MOST:
        raise Usage(f"emuvm fuzz: -j is at most {MOST}")


_OWN = {"-i", "-o", "-s", "-M", "-S", "-j", "-V", "-E", "--dask", "--round"}


def shared_words(words: Sequence[str], own: frozenset[str] | set[str] = frozenset(_OWN)) -> list[str]:
    """The options of a command line that every instance has: all but those of `own`, which have one value each."""
    before, kept = list(words[: list(words).index("--")]), []
    while before:
        word = before.pop(0)
        short = word[:2] if word[:1] == "-" and word[1:2] != "-" else word.partition("=")[0]
        if short in own:
            if word == short:
                before.pop(0)
            continue
        kept.append(word)
        if word.startswith("-") and before and not before[0].startswith("-"):
            kept.append(before.pop(0))
    return kept


def instance_name(options: argparse.Namespace) -> str:
    """Of this one."""
    return str(options.main or options.secondary or DEFAULT)


def seed_of(options: argparse.Namespace) -> int:
    """That was given; otherwise 0, but for named instances one that follows from the name: they are not to do all the same."""
    if options.seed is not None:
        return int(options.seed)
    name = instance_name(options)
    return 0 if name == DEFAULT else zlib.crc32(name.encode())


def settings(options: argparse.Namespace, *, command_line: str = "") -> Settings:
    """Of a campaign. Usage: an environment variable of AFL's has a value that is none."""
    return Settings(
        seed=seed_of(options),
        schedule=options.schedule,
        sequential=options.sequential or bool(options.main),
        deterministic=options.deterministic,
        trim=not options.main and not host_clock.variable("AFL_DISABLE_TRIM"),
        compare=options.compare == "0",
        main=bool(options.main),
        seconds=options.seconds,
        execs=options.execs,
        budget=options.budget,
        sync_every=_variable("AFL_SYNC_TIME", 0.5) * 60,
        stats_every=_variable("AFL_FUZZER_STATS_UPDATE_INTERVAL", 10.0),
        until_crash=bool(host_clock.variable("AFL_BENCH_UNTIL_CRASH")),
        parent=int(_variable("EMUVM_FUZZ_PARENT", 0)),
        banner=options.banner or Path(options.command[0]).name,
        command_line=command_line,
    )


def _variable(name: str, default: float) -> float:
    text = host_clock.variable(name)
    if not text:
        return default
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise Usage(f"emuvm fuzz: {name} is {text!r}, a number is needed")
    return float(text)
