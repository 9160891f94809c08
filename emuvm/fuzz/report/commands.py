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
from emuvm.fuzz.report.describe import hexdump, report, summary
from emuvm.fuzz.report.page import coverage_page, triage_page
from emuvm.fuzz.report.triage import Group, table, triage
from emuvm.fuzz.results import split
from emuvm.fuzz.target import add_options, open_target
from emuvm.kernel.request import Request

DONE, DIFFERENT, WRONG = 0, 1, 2
_SIGNAL = re.compile(r"sig:(\d+)")
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
    except EmuvmError as error:
        print(f"emuvm: {command}: {error}", file=sys.stderr)
        return WRONG
    except OSError as error:
        print(f"emuvm: {command}: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return WRONG


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
                options.command = place.read_text(errors="surrogateescape").splitlines()
                return
        if folder == path.absolute().parents[min(2, len(path.absolute().parents) - 1)]:
            break
    raise Usage("which program? (-- TARGET [ARG...])")


# -- replay -----------------------------------------------------------------------------------------------------------------


def _replay(words: list[str]) -> int:
    parser = _parser("replay", "Runs an input as the fuzzer did, and tells what came of it.")
    add = parser.add_argument
    add("input", type=Path, help="a test case: a file of crashes/, for example")
    add("--strace", nargs="?", const="", default=None, metavar="FILTER", help="show the system calls")
    add("--trace-vma", default=None, metavar="FILE", help="every change of the address space as lines of JSON; - is stderr")
    add("--engine", choices=("paged", "regions", "both"), default="paged", help="regions: plainly, from the program's start")
    add("--runs", type=int, default=1, metavar="N", help="so many times; all have to come to the same")
    add_options(parser, command=False)
    options = _parse(parser, words)
    data = options.input.read_bytes()
    _guess_target(options, options.input)
    # A schedule in the test case is followed unless it is none.
    options.results = options.results or bool(_schedule(data))
    wanted = _SIGNAL.search(options.input.name)
    same = True
    if options.engine in ("paged", "both"):
        with open_target(options, begin=_watching(options)) as harness:
            outcomes = [harness.run(data) for _ in range(max(1, options.runs))]
            print("\n".join(report(harness, outcomes[-1])))
            _output(outcomes[-1].stdout, outcomes[-1].stderr)
            if any(outcome != outcomes[0] for outcome in outcomes):
                print("the runs differ: it is not deterministic")
                same = False
            last = outcomes[-1]
            as_named = last.signal == int(wanted[1]) if wanted else last.kind is not Kind.EXIT
            same = same and as_named
    if options.engine in ("regions", "both"):
        same = _plainly(options, data, int(wanted[1]) if wanted else None) and same
    if not same:
        print("it did not come out as it should")
    return DONE if same else DIFFERENT


def _schedule(data: bytes) -> object:
    try:
        return split(data)[1].entries
    except EmuvmError:
        return None


def _output(out: bytes, err: bytes) -> None:
    for label, data in (("stdout", out), ("stderr", err)):
        if data:
            print(f"  {label}, {len(data)} bytes")
            print("\n".join(f"    {line}" for line in hexdump(data, 512)))


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


def _plainly(options: argparse.Namespace, data: bytes, signal: int | None) -> bool:
    """On the engine with regions: there are no snapshots, budgets and simulated hosts. Did it die as it should?"""
    from emuvm.fuzz.report.host_plain import run_plainly

    status, text = run_plainly(options.command[0], options.command[1:], split(data)[0] if options.results else data)
    print(f"on regions, from the start: {text}")
    return status == signal if signal is not None else bool(status)


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
    options.results = options.results or any(_schedule(data) for _, data in files)
    with open_target(options) as harness:
        groups = triage(harness, files)
        target = " ".join(options.command)
    print("\n".join(table(groups)))
    print(f"{len(files)} files, {len(groups)} groups")
    if options.html is not None:
        options.html.write_text(triage_page(groups, target), encoding="utf-8")
    if options.json is not None:
        options.json.write_text(json.dumps([_as_json(group) for group in groups], indent=1) + "\n", encoding="utf-8")
    return DONE


def _as_json(group: Group) -> dict[str, object]:
    key = group.key
    stable = all(case.stable for case in group.cases)
    return {
        "id": group.identity,
        **key._asdict(),
        "stack_hash": f"{key.stack_hash:016x}",
        "place": group.place,
        "stable": stable,
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
        hits = cover.line_hits() if options.html is not None or options.lcov is None else {}
        entered = sum(1 for _, _, count in cover.functions() if count)
        print(f"{cover.inputs} inputs, {len(cover.hits)} basic blocks, {entered} functions")
        for path, found in sorted(hits.items()):
            if any(found.values()):
                print(f"  {sum(1 for count in found.values() if count):6} of {len(found):6} lines  {path}")
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


__all__ = ["main", "summary"]
