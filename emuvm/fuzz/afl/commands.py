"""`emuvm fuzz`, `emuvm cmin` and `emuvm tmin`.

Owns: which of the things that can be done is done, and what a person is told about it. Must not know how.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from emuvm.errors import EmuvmError
from emuvm.fuzz.afl import host_clock
from emuvm.fuzz.afl.folder import read_seeds, write
from emuvm.fuzz.afl.host_signals import Interrupts, end_by_exception
from emuvm.fuzz.afl.minimise import Likeness, Wanted, described, minimise
from emuvm.fuzz.afl.options import Usage, check_fuzz, cmin_parser, fuzz_parser, instance_name, parse, seed_of, shared_words, tmin_parser
from emuvm.fuzz.afl.screen import Screen

DONE, FAILED, WRONG = 0, 1, 2


def main(command: str, words: list[str]) -> int:
    """`command`: 'fuzz', 'cmin' or 'tmin'; `words`: what follows it. The exit code: 0, 1 for a failure, 2 for a wrong command line."""
    run = {"fuzz": _fuzz, "cmin": _cmin, "tmin": _tmin}[command]
    try:
        return run(words)
    except Usage as error:
        print(error, file=sys.stderr)
        return WRONG
    except EmuvmError as error:
        _complain(str(error) or type(error).__name__)
        return FAILED
    except KeyboardInterrupt:
        return 128 + 2
    except SystemExit as ended:  # argparse, after --help
        return int(ended.code or 0)


def _complain(text: str) -> None:
    print(f"emuvm: {text}", file=sys.stderr)


def _screen(every: float = 10.0) -> Screen:
    return Screen(sys.stdout, drawn=False if host_clock.variable("AFL_NO_UI") else None, every=every)


# -- fuzz -------------------------------------------------------------------------------------------------------------------


def _fuzz(words: list[str]) -> int:
    options = parse(fuzz_parser(), words)
    check_fuzz(options)
    if options.afl_forkserver:
        return _serve(options)
    if options.dask:
        from emuvm.fuzz.afl.dask import fuzz

        return fuzz(options, _screen())
    if options.jobs > 1:
        return _crew(options)
    return _campaign(options)


def _campaign(options: argparse.Namespace) -> int:
    from emuvm.fuzz.afl.session import campaign, new_folder, opened

    folder = new_folder(options)
    stops: list[Callable[[], object]] = []
    with Interrupts(lambda: [stop() for stop in stops]) as interrupts, opened(options) as target:
        if interrupts.wanted:
            return DONE
        campaign(options, target, folder, _screen(), watch=lambda made: stops.append(made.stop))
    return DONE


def _crew(options: argparse.Namespace) -> int:
    from emuvm.fuzz.afl.parallel import Crew, instances, run

    name = instance_name(options) if options.main or options.secondary else "main"
    members = instances(
        options.jobs,
        out=options.out,
        options=shared_words(options.words, {"-i", "-o", "-s", "-M", "-S", "-j"}),
        target=options.command,
        seeds=options.seeds,
        seed=seed_of(options),
        name=name,
        main=not options.secondary,
    )
    return run(Crew(options.out, members), _screen(), f"{Path(options.command[0]).name}, {options.jobs} instances")


def _serve(options: argparse.Namespace) -> int:
    from emuvm.fuzz.afl.forkserver import ForkServer, find_input
    from emuvm.fuzz.afl.session import longest, opened

    end_by_exception()  # AFL ends its fork server by a signal
    options.command, path = find_input(options.command, options.afl_input)
    with opened(options) as target:
        return ForkServer(target, path, max_len=longest(options), cleanup=getattr(target, "close", None)).serve()


# -- cmin and tmin ------------------------------------------------------------------------------------------------------------


def _cmin(words: list[str]) -> int:
    from emuvm.fuzz.afl.session import longest, opened

    options = parse(cmin_parser(), words)
    wanted = Wanted.ALL if options.all else Wanted.CRASHED if options.crashes else Wanted.ENDED
    out: Path = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise EmuvmError(f"{out}: is not empty")
    except OSError as error:
        raise EmuvmError(f"{out}: cannot be used: {error.strerror or error}") from None
    inputs = _named(options.seeds, longest(options))
    with opened(options) as target:
        result = minimise(target, inputs.items(), wanted=wanted, edges_only=options.edges_only)
    if not result.kept:
        raise EmuvmError(f"{options.seeds}: none of {result.total} inputs is of use: {result.left_out} end otherwise than wanted")
    for name in result.kept:
        write(out / name, inputs[name])
    print(f"emuvm: {result.total} inputs, {result.left_out} left out, {result.tuples} tuples, {len(result.kept)} inputs kept in {out}")
    return DONE


def _named(folder: Path, most: int) -> dict[str, bytes]:
    """The inputs below a folder by name; of equal contents one, and equal names made different."""
    found: dict[str, bytes] = {}
    seen: set[bytes] = set()
    for name, data in read_seeds(folder, most):
        if data not in seen:
            seen.add(data)
            count = 1
            unique = name
            while unique in found:
                count += 1
                unique = f"{name}.{count}"
            found[unique] = data
    if not found:
        raise EmuvmError(f"{folder}: has no inputs")
    return found


def _tmin(words: list[str]) -> int:
    from emuvm.fuzz.afl.session import opened
    from emuvm.fuzz.afl.standard import shrink
    from emuvm.fuzz.sequences.mutate import shrink as shrink_program
    from emuvm.fuzz.sequences.program import ProgramError
    from emuvm.fuzz.sequences.target import SequenceTarget

    options = parse(tmin_parser(), words)
    try:
        data = options.input.read_bytes()
    except OSError as error:
        raise EmuvmError(f"{options.input}: cannot read: {error.strerror or error}") from None
    with Interrupts() as interrupts, opened(options) as target:
        shorter: Callable[[bytes, Callable[[bytes], bool]], bytes] = shrink
        if isinstance(target, SequenceTarget):
            try:
                target.texts.program(data)
            except ProgramError as error:
                raise EmuvmError(f"{options.input}: {error}") from None
            shorter = partial(shrink_program, target.texts, host=target.differential)
        like = Likeness(target, data, edges_only=options.edges_only, loose=options.any_crash)
        why = like.outcome.stderr.decode() if isinstance(target, SequenceTarget) else ""
        print(f"emuvm: with {options.input} the target {described(like.outcome) if not why else f'fails: {why}'}")
        small = shorter(data, lambda made: not interrupts.wanted and like(made))
    write(options.out, small)
    print(f"emuvm: {len(data)} bytes, now {len(small)}, after {like.runs} runs")
    return DONE
