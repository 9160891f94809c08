"""Instances on other machines, by Dask: each fuzzes for a while on its own, then finds are exchanged.

Owns: what is sent to a worker and what comes back, and the rounds. Must not know how a campaign works.

    here       judges what comes, on a target of its own; has the one output folder; sends the corpus with every round
    a worker   a round: a campaign in a temporary folder with that corpus as seeds; its finds are the result

A worker keeps nothing between rounds, so workers may come and go: a round that is lost is done again by another. The program is sent
along. Other paths on the command line (-x, --file, --root) must be there on the workers, as on a shared file system.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emuvm.errors import EmuvmError
from emuvm.fuzz.afl import session
from emuvm.fuzz.afl.campaign import Campaign
from emuvm.fuzz.afl.folder import CRASHES, HANGS, Folder, read_seeds
from emuvm.fuzz.afl.host_signals import Interrupts
from emuvm.fuzz.afl.options import fuzz_parser, instance_name, parse, seed_of, settings, shared_words
from emuvm.fuzz.afl.screen import Screen

_LOCAL = "local"
_CONNECT = 10
"""Seconds to find the scheduler in."""
_PATIENCE = 0.5
"""Seconds to wait for results before looking at other things."""


@dataclass(frozen=True)
class Task:
    """One round of one instance. Everything a worker needs."""

    instance: str
    words: tuple[str, ...]
    """Options of `emuvm fuzz` but those of folders and limits."""
    program: bytes
    command: tuple[str, ...]
    corpus: tuple[bytes, ...]
    seed: int
    seconds: float
    execs: int | None


@dataclass(frozen=True)
class Finds:
    """What came of a round."""

    instance: str
    inputs: tuple[bytes, ...]
    """New ones: for the queue, crashes and hangs."""
    execs: int


def fuzz_round(task: Task) -> Finds:
    """Runs on a worker. EmuvmError: the target cannot be run there."""
    with tempfile.TemporaryDirectory(prefix="emuvm-") as name:
        place = Path(name)
        program = place / Path(task.command[0]).name
        program.write_bytes(task.program)
        program.chmod(0o755)
        limits = ["-V", str(task.seconds), *(["-E", str(task.execs)] if task.execs else [])]
        words = ["-i", "-", "-o", name, "-s", str(task.seed), *task.words, *limits, "--", str(program), *task.command[1:]]
        options = parse(fuzz_parser(), words)
        folder = Folder(place / "out")
        folder.prepare(resume=False)
        with session.opened(options) as target:
            made = Campaign(target, folder, session.mutator_of(options, target), settings(options))
            made.start([(f"{index}", data) for index, data in enumerate(task.corpus)])
            made.fuzz()
            known = set(task.corpus)
            found = [entry.data for entry in made.queue.entries] + [data for kind in (CRASHES, HANGS) for _, data in folder.inputs(kind)]
            folder.close()
            return Finds(task.instance, tuple(data for data in dict.fromkeys(found) if data not in known), made.execs)


def fuzz(options: argparse.Namespace, screen: Screen) -> int:
    """`emuvm fuzz --dask`: an exit code. EmuvmError: no Dask, no scheduler, or no worker can run the target."""
    distributed = _distributed()
    folder = session.new_folder(options)
    stops: list[Callable[[], object]] = []
    with Interrupts(lambda: [stop() for stop in stops]), _client(distributed, options) as client, session.opened(options) as target:
        resume = options.seeds == "-"
        seeds = [] if resume else list(read_seeds(Path(options.seeds), session.longest(options)))
        folder.prepare(resume=resume)
        try:
            made = Campaign(target, folder, session.mutator_of(options, target), settings(options), screen)
            stops.append(made.stop)
            folder.describe(options.command, ["emuvm", "fuzz", *options.words], main=True)
            try:
                made.start(seeds, resume=resume)
                Rounds(made, options, client, distributed).run()
            finally:
                made.finish()
        finally:
            folder.close()
    return 0


class Rounds:
    """The instances of a campaign that is judged here and run elsewhere."""

    def __init__(self, campaign: Campaign, options: argparse.Namespace, client: Any, distributed: Any) -> None:
        self._campaign = campaign
        self._options = options
        self._client = client
        self._distributed = distributed
        self._count = 0
        self._failed = 0
        try:
            self._program = Path(options.command[0]).read_bytes()
        except OSError as error:
            raise EmuvmError(f"{options.command[0]}: cannot read: {error.strerror or error}") from None

    def run(self) -> None:
        """Until the campaign is stopped. EmuvmError: no instance can work."""
        waiting = {self._begin(f"{instance_name(self._options)[:28]}-{index:02}") for index in range(self._options.jobs)}
        try:
            while waiting and not self._campaign.stopped:
                done = self._some_of(waiting)
                for future in done:
                    waiting.discard(future)
                    instance = self._take(future)
                    if not self._campaign.stopped:
                        waiting.add(self._begin(instance))
                self._look()
        finally:
            self._client.cancel(list(waiting), force=True)

    def _some_of(self, waiting: set[Any]) -> set[Any]:
        try:
            return set(self._distributed.wait(list(waiting), timeout=_PATIENCE, return_when="FIRST_COMPLETED").done)
        except (TimeoutError, self._distributed.TimeoutError):
            return set()

    def _begin(self, instance: str) -> Any:
        """Send a round."""
        options, campaign = self._options, self._campaign
        self._count += 1
        left = None if options.execs is None else max(1, options.execs - campaign.execs)
        task = Task(
            instance=instance,
            words=tuple(shared_words(options.words)),
            program=self._program,
            command=tuple(options.command),
            corpus=tuple(entry.data for entry in campaign.queue.entries if not entry.disabled),
            seed=seed_of(options) + self._count,
            seconds=options.round if options.seconds is None else min(options.round, options.seconds),
            execs=left,
        )
        future = self._client.submit(fuzz_round, task, pure=False)
        future.emuvm_instance = instance
        return future

    def _take(self, future: Any) -> str:
        """Judge what came of a round; whose it was."""
        campaign = self._campaign
        instance: str = future.emuvm_instance
        try:
            finds: Finds = future.result()
        except Exception as error:
            # Whatever happened there: a worker may have died, or lack a file. If nobody ever succeeds, that is told as the error.
            self._failed += 1
            if self._failed >= 3 * self._options.jobs:
                raise EmuvmError(f"no round on a worker succeeds any more: {error}") from None
            campaign.screen.say(f"a round of {instance} failed: {error}")
            return instance
        self._failed = 0
        campaign.execs += finds.execs
        for data in finds.inputs:
            campaign.origin = f"sync:{instance},src:{0:06}"
            campaign.attempt(data)
        return instance

    def _look(self) -> None:
        campaign, options = self._campaign, self._options
        campaign.stats.stage = f"{options.jobs} instances by Dask"
        campaign.look()


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise EmuvmError("--dask needs Dask's scheduler: pip install distributed") from None
    return distributed


@contextmanager
def _client(distributed: Any, options: argparse.Namespace) -> Iterator[Any]:
    """Of the scheduler that was named; 'local': of one started for now, with a process for each instance."""
    with ExitStack() as stack:
        try:
            address = options.dask
            if address == _LOCAL:
                cluster = distributed.LocalCluster(n_workers=options.jobs, threads_per_worker=1, dashboard_address=None)
                address = stack.enter_context(cluster)
            client = stack.enter_context(distributed.Client(address, timeout=_CONNECT))
        except (OSError, TimeoutError, ValueError) as error:
            raise EmuvmError(f"--dask {options.dask}: the scheduler cannot be reached: {error}") from None
        yield client
