"""`emuvm replay`, `emuvm triage` and `emuvm cov`.

Owns: options, which files are meant, what is printed. Must not know how anything is done.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from emuvm.errors import EmuvmError
from emuvm.fuzz.harness import Harness
from emuvm.fuzz.outcome import Kind
from emuvm.fuzz.report.cover import Cover
from emuvm.fuzz.report.describe import hexdump, report
from emuvm.fuzz.report.host_plain import run_plainly
from emuvm.fuzz.report.page import coverage_page, triage_page
from emuvm.fuzz.report.triage import Group, table, triage
from emuvm.fuzz.results import split
from emuvm.fuzz.sequences import command as sequences
from emuvm.fuzz.sequences.elf import ARCHITECTURES
from emuvm.fuzz.target import add_options, count, open_target
from emuvm.kernel.request import Request
from emuvm_loaders import LoadError, printable

DONE, DIFFERENT, WRONG, UNREAD = 0, 1, 2, 141
"""UNREAD: nobody reads our output any more, as after SIGPIPE."""
_SIGNAL = re.compile(r"sig[:_](\d{1,3})(?!\d)", re.ASCII)
"""In a file name; AFL++ writes _ for : where file systems want it."""
_FOLDERS = ("queue", "crashes", "hangs")


class Usage(EmuvmError):
    """The command line makes no sense."""


class Parser(argparse.ArgumentParser):
    """Errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise Usage(f"{message}; see emuvm {self.prog.split()[-1]} --help")


def main(command: str, words: list[str]) -> int:
    """`command`: 'replay', 'triage' or 'cov'. The exit code: 0; 1, for replay: it did not come out as it should; 2: it cannot be done."""
    try:
        return {"replay": _replay, "triage": _triage, "cov": _cov}[command](words)
    except BrokenPipeError:
        return UNREAD
    except EmuvmError as error:
        return _wrong(command, str(error) or type(error).__name__)
    except LoadError as error:
        return _wrong(command, f"the target: {error.reason}")
    except OSError as error:
        return _wrong(command, f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror or str(error))
    except SystemExit as ended:  # argparse, after --help
        return int(ended.code or 0)


def _wrong(command: str, text: str) -> int:
    print(f"emuvm: {command}: {printable(text)}", file=sys.stderr)
    return WRONG


def _say(*lines: str) -> None:
    """Lines on stdout. File names and symbols may hold anything: what a terminal would not show as text is escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for line in lines:
        print(printable(line).encode(encoding, "backslashreplace").decode(encoding))


def _parser(command: str, text: str) -> Parser:
    usage = f"emuvm {command} [options] FILE|DIR... [-- TARGET [ARG...]]"
    parser = Parser(prog=f"emuvm {command}", usage=usage, description=text)
    parser.add_argument("--results", action="store_true", help="test cases may end with a schedule of results (#results ...)")
    return parser


def _parse(parser: Parser, words: list[str]) -> argparse.Namespace:
    """Options and files, then `--` and the target: what stands behind it is the target's."""
    target: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, target = words[:at], words[at + 1 :]
    options = parser.parse_args(words)
    options.command = target
    return options


def _guess_target(options: argparse.Namespace, path: Path) -> None:
    """Without a target on the command line: the one in the `cmdline` file of the output folder that a file lies in."""
    if options.command:
        return
    for folder in (path if path.is_dir() else path.parent, *path.absolute().parents):
        for place in (folder / "cmdline", *sorted(folder.glob("*/cmdline"))):
            if place.is_file():
                options.command = [word for word in place.read_text(errors="surrogateescape").split("\n") if word]
                _guess_sequences(options, place.with_name("fuzzer_setup"))
                return
        if folder == path.absolute().parents[min(2, len(path.absolute().parents) - 1)]:
            break
    raise Usage("which program? (-- TARGET [ARG...])")


def _guess_sequences(options: argparse.Namespace, setup: Path) -> None:
    """Programs of system calls have an architecture for a target. Usage: the command knows only programs."""
    if len(options.command) != 1 or options.command[0] not in ARCHITECTURES or not setup.is_file():
        return
    words = [word.strip("'") for word in setup.read_text(errors="replace").split()]
    if not {"--sequences", "--differential"}.isdisjoint(words):
        if not hasattr(options, "sequences"):
            raise Usage("these are programs of system calls: emuvm replay shows them")
        options.sequences, options.differential = True, options.differential or "--differential" in words


# -- replay -----------------------------------------------------------------------------------------------------------------


def _replay(words: list[str]) -> int:
    parser = _parser("replay", "Runs an input as the fuzzer did, and tells what came of it.")
    add = parser.add_argument
    add("input", type=Path, help="a test case: a file of crashes/, for example")
    add("--strace", nargs="?", const="", default=None, metavar="FILTER", help="show the system calls")
    add("--trace-vma", default=None, metavar="FILE", help="every change of the address space as lines of JSON; - is stderr")
    add("--engine", choices=("paged", "regions", "both"), default="paged", help="regions: plainly, from the program's start")
    add("--runs", type=count, default=1, metavar="N", help="so many times; all have to come to the same")
    add_options(parser, command=False)
    sequences.add_options(parser)
    options = _parse(parser, words)
    data = options.input.read_bytes()
    if not (options.sequences or options.differential):
        _guess_target(options, options.input)
    if sequences.wanted(options):
        return _program(options, data)
    # A schedule in the test case is followed unless it is none.
    options.results = options.results or bool(_schedule(data))
    named = _SIGNAL.search(options.input.name)
    signal = int(named[1]) if named else None
    plainly = options.engine in ("regions", "both")
    request = _request(options) if plainly else Request("", ())
    begin = _watching(options)
    same = True
    if options.engine in ("paged", "both"):
        same = _from_snapshot(options, data, signal, begin)
    if plainly:
        data = split(data)[0] if options.results else data
        plain = run_plainly(options.command[0], options.command[1:], data[: options.max_len], _mode(options), request, begin)
        _say(f"on regions, from the start: {plain.lines[0]}", *plain.lines[1:])
        same = _as_wanted(plain.kind, plain.signal, signal) and same
    if not same:
        _say("it did not come out as it should")
    return DONE if same else DIFFERENT


def _from_snapshot(options: argparse.Namespace, data: bytes, signal: int | None, begin: Any) -> bool:
    """As the fuzzer did it, `--runs` times, all of which have to come to the same. Was it what it should be?"""
    with open_target(options, begin=begin) as harness:
        outcomes = [harness.run(data) for _ in range(options.runs)]
        last = outcomes[-1]
        _say(*report(harness, last))
        for label, said in (("stdout", last.stdout), ("stderr", last.stderr)):
            if said:
                _say(f"  {label}, {len(said)} bytes", *(f"    {line}" for line in hexdump(said, 512)))
    different = sum(1 for outcome in outcomes if outcome != last)
    if different:
        _say(f"not reproducible: {different} of {len(outcomes)} runs came to something else than the last")
    return not different and _as_wanted(last.kind, last.signal, signal)


def _program(options: argparse.Namespace, data: bytes) -> int:
    """A program of system calls: what came of each call."""
    from emuvm.fuzz.sequences.differ import table
    from emuvm.fuzz.sequences.program import ProgramError

    if options.engine != "paged":
        raise Usage("--engine does not go with --sequences")
    with sequences.open_sequences(options, begin=_watching(options)) as target:
        try:
            program = target.texts.program(data)
        except ProgramError as error:
            raise Usage(f"{options.input}: {error}") from None
        runs = [target.run_program(program) for _ in range(options.runs)]
        outcome, ours, theirs = runs[-1]
        _say(*table(program, ours, theirs, target.arch))
        _say(outcome.stderr.decode() if outcome.stderr else f"ended with exit code {outcome.code}{', as on the host' if theirs else ''}")
    different = sum(1 for run in runs if run != runs[-1])
    if different:
        _say(f"not reproducible: {different} of {len(runs)} runs came to something else than the last")
    return DONE if not different and outcome.crashed is (options.input.absolute().parent.name == "crashes") else DIFFERENT


def _as_wanted(kind: Kind, signal: int, wanted: int | None) -> bool:
    return signal == wanted if wanted is not None else kind is not Kind.EXIT


def _schedule(data: bytes) -> object:
    try:
        return split(data)[1].entries
    except EmuvmError:
        return None


def _watching(options: argparse.Namespace) -> Any:
    if options.strace is None and options.trace_vma is None:
        return None
    from emuvm.tools.strace_filter import Filter, FilterError
    from emuvm.tools.tracing import CannotWrite, prepare

    try:
        Filter(options.strace or "")
        return prepare(Request("", (), strace=options.strace, trace_vma=options.trace_vma))
    except (CannotWrite, FilterError) as error:
        raise Usage(str(error)) from None


def _mode(options: argparse.Namespace) -> str:
    """How the input is given; as `open_target` has it."""
    mode = str(options.input_mode or ("@@" if any("@@" in word for word in options.command[1:]) else "stdin"))
    return "@@" if mode == "mmap" and options.at in (None, "first-read") else mode


def _request(options: argparse.Namespace) -> Request:
    """The conditions of a plain run, where there are no snapshots, budgets and simulated hosts. Usage: it needs them."""
    mode = _mode(options)
    if mode == "mmap":
        raise Usage("an input in memory needs a snapshot: --engine paged")
    if options.file:
        raise Usage("--file needs the simulated host: --engine paged")
    if options.root is not None and mode == "@@":
        raise Usage("an input file below --root needs the simulated host: --engine paged")
    environment = tuple(f"{key}={value}" for key, value in options.env)
    return Request("", (), root=options.root or "/", environment=environment, memory=options.mem)


# -- triage -----------------------------------------------------------------------------------------------------------------


def _triage(words: list[str]) -> int:
    parser = _parser("triage", "Groups crashes and hangs by what is behind them.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="an output folder, a folder with test cases, or a test case")
    parser.add_argument("--html", type=Path, default=None, metavar="FILE", help="a page with everything about each group")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="the groups for other programs")
    add_options(parser, command=False)
    options = _parse(parser, words)
    _guess_target(options, options.folders[0])
    files = list(_test_cases(options.folders, ("crashes", "hangs")))
    if not files:
        raise Usage("there are no crashes or hangs")
    options.results = options.results or any(_schedule(data) for _, data in files)
    with open_target(options) as harness:
        groups = triage(harness, files)
        target = " ".join(options.command)
    lost = sum(len(group.cases) for group in groups if group.key.what == "not run")
    _say(*table(groups), f"{len(files)} files, {len(groups)} groups{f', {lost} files cannot be run' if lost else ''}")
    unstable = sum(1 for group in groups for case in group.cases if not case.stable)
    if unstable:
        _say(f"{unstable} files are not reproducible: two runs came to different things")
    if options.html is not None:
        options.html.write_text(triage_page(groups, target), encoding="utf-8")
    if options.json is not None:
        options.json.write_text(json.dumps([_as_json(group) for group in groups], indent=1) + "\n", encoding="utf-8")
    return DONE


def _as_json(group: Group) -> dict[str, object]:
    key = group.key
    return {
        "id": group.identity,
        **key._asdict(),
        "stack_hash": f"{key.stack_hash:016x}",
        "place": group.place,
        "stable": group.stable,
        "files": [case.path for case in group.cases],
    }


def _test_cases(places: list[Path], kinds: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """(path, contents): files given; files of the folders of these kinds below; of a folder without such, all its files."""
    for place in places:
        if place.is_file():
            yield str(place), place.read_bytes()
            continue
        if not place.is_dir():
            raise Usage(f"{place}: there is no such file or folder")
        inner = [place] if place.name in _FOLDERS else [f for kind in kinds for f in sorted(place.glob(f"**/{kind}")) if f.is_dir()]
        is_output = bool(inner) or any(place.glob("**/fuzzer_stats"))
        for folder in inner if is_output else [place]:
            for path in sorted(folder.iterdir()):
                if path.is_file() and not path.name.startswith(".") and path.name != "README.txt":
                    yield str(path), path.read_bytes()


# -- cov --------------------------------------------------------------------------------------------------------------------


def _cov(words: list[str]) -> int:
    parser = _parser("cov", "Tells which code the inputs execute, from where the runs begin.")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="DIR|FILE", help="output folders, folders of inputs, inputs")
    parser.add_argument("--drcov", type=Path, default=None, metavar="FILE", help="basic blocks, for Lighthouse and its like")
    parser.add_argument("--lcov", type=Path, default=None, metavar="FILE", help="lines, for genhtml and its like")
    parser.add_argument("--html", type=Path, default=None, metavar="FILE", help="a page with the sources")
    add_options(parser, command=False)
    options = _parse(parser, words)
    _guess_target(options, options.inputs[0])
    files = list(_test_cases(options.inputs, ("queue",)))
    if not files:
        raise Usage("there are no inputs")
    with open_target(options) as harness:
        cover = Cover(harness)
        cover.collect(files)
        hits = cover.line_hits()
        if not cover.inputs:
            raise Usage("the target cannot be run with any of the inputs")
        entered = sum(1 for _, _, runs in cover.functions() if runs)
        skipped = f", {cover.skipped} more cannot be run" if cover.skipped else ""
        _say(f"{cover.inputs} inputs{skipped}, {len(cover.runs)} basic blocks, {entered} functions")
        for path, found in sorted(hits.items()):
            if any(found.values()):
                _say(f"  {sum(1 for runs in found.values() if runs):6} of {len(found):6} lines  {path}")
        _write(options, cover, harness, hits)
    return DONE


def _write(options: argparse.Namespace, cover: Cover, harness: Harness, hits: dict[str, dict[int, int]]) -> None:
    if options.drcov is not None:
        options.drcov.write_bytes(cover.drcov())
    if options.lcov is not None:
        options.lcov.write_text(cover.lcov(), encoding="utf-8")
    if options.html is not None:
        pages = [(path, _source(path), found) for path, found in sorted(hits.items()) if any(found.values())]
        options.html.write_text(coverage_page(pages, " ".join(options.command)), encoding="utf-8")


def _source(path: str) -> list[str] | None:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except (OSError, ValueError):
        return None


__all__ = ["main"]
