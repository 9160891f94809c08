"""The options of programs of system calls on the command lines of the fuzzer, and the target made from them.

Owns: what TARGET means with them, and which other options do not go with them. Must not know what is done with the target.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from emuvm.errors import EmuvmError
from emuvm.fuzz.sequences.elf import ARCHITECTURES
from emuvm.fuzz.sequences.emulated import BUDGET
from emuvm.fuzz.sequences.generate import Generator
from emuvm.fuzz.sequences.mutate import Mutations, Texts
from emuvm.fuzz.sequences.program import ProgramError
from emuvm.fuzz.sequences.target import SequenceTarget

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

FIRST, FIRST_CALLS = 8, 6
"""Programs made where there are no seeds, and their calls."""
_APART = {
    "input_mode": "--input-mode", "at": "--at", "file": "--file", "env": "--env", "root": "--root", "mem": "--mem",
    "paranoid": "--paranoid", "results": "--results", "afl_forkserver": "--afl-forkserver", "dictionaries": "-x", "dask": "--dask",
}  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """--sequences and --differential."""
    add = parser.add_argument
    add("--sequences", action="store_true", help=f"programs of system calls; TARGET is {' or '.join(ARCHITECTURES)} (the first)")
    add("--differential", action="store_true", help="the same, and compare results with those of the host's kernel")


def wanted(options: argparse.Namespace) -> bool:
    """Does a command line mean programs of system calls? `options.command` is whole afterwards. EmuvmError: it makes no sense."""
    if not (options.sequences or options.differential):
        return False
    options.sequences = True
    options.command = options.command or [ARCHITECTURES[0]]
    if len(options.command) != 1 or options.command[0] not in ARCHITECTURES:
        raise EmuvmError(f"with --sequences the target is {' or '.join(ARCHITECTURES)}, not {' '.join(options.command)}")
    for name, option in _APART.items():
        if getattr(options, name, None):
            raise EmuvmError(f"{option} does not go with --sequences")
    return True


def open_sequences(options: argparse.Namespace, *, begin: Callable[[Process], object] | None = None) -> SequenceTarget:
    """The target. EmuvmError: it cannot be."""
    budget = getattr(options, "budget", None)
    return SequenceTarget(
        options.command[0],
        differential=options.differential,
        seed=options.guest_seed,
        budget=min(budget, BUDGET) if isinstance(budget, int) else BUDGET,
        begin=begin,
    )


def mutations(target: SequenceTarget, random: Random) -> Mutations:
    """The mutator that fits it."""
    return Mutations(random, Generator(random, target.arch, host=target.differential), target.texts)


def seeds(options: argparse.Namespace, found: list[tuple[str, bytes]], seed: int) -> list[tuple[str, bytes]]:
    """Those found, if they are programs; without any, some made at random. EmuvmError: one is none, and where."""
    texts = Texts(options.command[0])
    for name, data in found:
        try:
            texts.program(data)
        except ProgramError as error:
            raise EmuvmError(f"{name}: {error}") from None
    if found:
        return found
    generator = Generator(Random(seed), options.command[0], host=options.differential)
    return [(f"made-{number}", texts.text(generator.program(FIRST_CALLS))) for number in range(FIRST)]
