"""From options to a campaign: the target is opened, the mutator made, the folder prepared.

Owns: putting the parts together. Must not know terminals and signals (commands), nor what the parts do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from emuvm.fuzz.afl import host_clock
from emuvm.fuzz.afl.campaign import Campaign
from emuvm.fuzz.afl.folder import Folder, read_seeds
from emuvm.fuzz.afl.options import instance_name, seed_of, settings
from emuvm.fuzz.afl.protocol import Mutator, Target
from emuvm.fuzz.afl.screen import Screen
from emuvm.fuzz.sequences import command
from emuvm.fuzz.sequences.target import SequenceTarget
from emuvm.fuzz.target import open_target

MAX_LEN = 1 << 20


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[Target]:
    """The target of a command line. EmuvmError: it cannot be run."""
    with command.open_sequences(options) if options.sequences else open_target(options) as target:
        yield target


def mutator_of(options: argparse.Namespace, target: Target) -> Mutator:
    """What makes inputs for a target. EmuvmError: a dictionary cannot be read."""
    from emuvm.fuzz.afl.standard import Standard

    generator = Random(seed_of(options))
    if isinstance(target, SequenceTarget):
        return command.mutations(target, generator)
    made = Standard(generator, target, dictionaries=options.dictionaries, longest=longest(options))
    if not options.results:
        return made
    from emuvm.fuzz.afl.with_results import WithResults

    return WithResults(made, target, generator)


def longest(options: argparse.Namespace) -> int:
    """Bytes of an input, at most."""
    return int(getattr(options, "max_len", None) or MAX_LEN)


def seeds_of(options: argparse.Namespace) -> list[tuple[str, bytes]]:
    """(name, data) of those of a command line. EmuvmError: they cannot be read, or are none."""
    found = list(read_seeds(Path(options.seeds), longest(options)))
    return command.seeds(options, found, seed_of(options)) if options.sequences else found


def campaign(
    options: argparse.Namespace, target: Target, folder: Folder, screen: Screen, *, watch: Callable[[Campaign], object] | None = None
) -> Campaign:
    """Made, started and run to its end. `watch` gets it before its first run, to stop it one day. EmuvmError: see Campaign."""
    command_line = " ".join(["emuvm", "fuzz", *options.words])
    settled = settings(options, command_line=command_line)
    resume = options.seeds == "-" or bool(host_clock.variable("AFL_AUTORESUME") and folder.has_session)
    seeds = [] if resume else seeds_of(options)
    folder.prepare(resume=resume)
    try:
        made = Campaign(target, folder, mutator_of(options, target), settled, screen)
        if watch is not None:
            watch(made)
        folder.describe(options.command, ["emuvm", "fuzz", *options.words], main=settled.main)
        try:
            made.start(seeds, resume=resume)
            made.fuzz()
        finally:
            made.finish()
    finally:
        folder.close()
    return made


def new_folder(options: argparse.Namespace) -> Folder:
    """Of an instance. EmuvmError: its name is none."""
    return Folder(options.out, instance_name(options))
