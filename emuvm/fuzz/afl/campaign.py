"""A campaign: a target, a corpus that grows, and a folder that always has what was found.

Owns: what a run means (worth keeping, crash, hang), the corpus at the beginning, and when to look at the clock. Must not know how
inputs are changed (Mutator) and in which order (stages), nor how a target runs them.

The same seeds, the same seed number and a limit in executions give the same queue: no choice depends on time. With other instances in
the folder, or a limit in seconds, it does.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from emuvm.errors import EmulatorBug, EmuvmError, EngineError
from emuvm.fuzz.afl import host_clock
from emuvm.fuzz.afl.folder import CRASHES, HANGS, QUEUE, Folder, entry_name, number, read_stats, write
from emuvm.fuzz.afl.protocol import Mutator, Target
from emuvm.fuzz.afl.queue import Entry, Queue, edges_of
from emuvm.fuzz.afl.screen import Screen
from emuvm.fuzz.afl.stages import Stages
from emuvm.fuzz.afl.stats import PLOT_HEADER, Stats
from emuvm.fuzz.afl.sync import Sync
from emuvm.fuzz.coverage import Seen, classified
from emuvm.fuzz.outcome import Kind, Outcome

FIRST_BUDGET = 50_000_000
"""Blocks a seed may take when nothing is known yet."""
LEAST_BUDGET, TIMES_SLOWEST = 100_000, 20
"""The budget that is found by itself: so many times the blocks of the slowest seed, but not less than the first."""
_PATIENCE = 10
"""Before an input is called a hang it may have so many times the budget, if that was found by itself."""
_CALIBRATION, _CALIBRATION_VARIABLE = 3, 8
"""Runs of a new entry; if they differ."""
_PLOT_EVERY, _LOOK_EVERY = 5.0, 0.25
"""Seconds."""


@dataclass(frozen=True)
class Settings:
    """What a person decides. None as a limit: without end; as budget: found in the first runs."""

    seed: int = 0
    schedule: str = "fast"
    sequential: bool = False
    deterministic: bool = False
    trim: bool = True
    compare: bool = True
    main: bool = False
    seconds: float | None = None
    execs: int | None = None
    budget: int | None = None
    sync_every: float = 30.0
    """Seconds; 0: nothing is taken over from other instances."""
    stats_every: float = 10.0
    """Seconds."""
    until_crash: bool = False
    """End with the first crash."""
    parent: int = 0
    """End when this process is not our parent any more; 0: whatever."""
    banner: str = ""
    command_line: str = ""


class Campaign:
    """`start`, then `fuzz` until it returns, then `finish`. `stop` may be called at any time, by a signal handler for one."""

    def __init__(
        self,
        target: Target,
        folder: Folder,
        mutator: Mutator,
        settings: Settings,
        screen: Screen | None = None,
        *,
        clock: Callable[[], float] = host_clock.now,
    ) -> None:
        self.target = target
        self.folder = folder
        self.settings = settings
        self.screen = screen or Screen(None)
        self.queue = Queue(settings.schedule, sequential=settings.sequential)
        self.random = Random(settings.seed)
        self.stats = Stats(banner=settings.banner, command_line=settings.command_line)
        self.seen, self.crashed, self.hung = Seen(), Seen(), Seen()
        """The buckets of runs that ended, and the edges of those that did not."""
        self.execs = 0
        self.stopped = False
        self.origin = ""
        """The first part of the name of what is found: 'src:000001'."""
        self._stages = Stages(self, mutator)
        self._sync = Sync(folder, main=settings.main)
        self._clock = clock
        self._run = target.run
        self._input = b""
        self._next = {QUEUE: 0, CRASHES: 0, HANGS: 0}
        """The next number in each."""
        self._variable: set[int] = set()
        self._look_at, self._step = 0, 16
        self._stats_at = self._plot_at = self._sync_at = self._begun = 0.0
        self._minute: deque[tuple[float, int]] = deque()

    # -- one run --------------------------------------------------------------------------------------------------------------

    def attempt(self, data: bytes, op: str = "", value: int | None = None) -> bool:
        """Run an input; True if it was worth a place in the queue. `op` and `value`: what made it, as its name is to tell."""
        self._input = data
        outcome = self._run(data)
        self.execs += 1
        if self.execs >= self._look_at:
            self.look()
        hits, blocks = self.queue.hits, outcome.blocks
        hits[blocks] = hits.get(blocks, 0) + 1
        if outcome.kind is not Kind.EXIT:
            return self._failed(data, outcome, op if value is None else f"{op}:{value}")
        new = self.seen.merge(self.target.counters)
        if new:
            self._keep(data, outcome, op if value is None else f"{op}:{value}", new == 2)
        return new > 0

    def signature(self, data: bytes) -> bytes:
        """Run an input and tell its path: equal for equal maps. Empty if it does not end."""
        self._input = data
        outcome = self._run(data)
        self.execs += 1
        return _digest(self.target) if outcome.kind is Kind.EXIT else b""

    def _keep(self, data: bytes, outcome: Outcome, op: str, new_edge: bool) -> None:
        name = self._name(QUEUE, op, new_edge=new_edge)
        self.folder.save(QUEUE, name, data)
        parent = self._stages.entry
        imported = self.origin.startswith("sync:")
        entry = Entry(self._next[QUEUE] - 1, name, data, 1 if parent is None or imported else parent.depth + 1)
        self._measure(entry, outcome)
        self.queue.add(entry)
        self.queue.measured(entry)
        stats = self.stats
        stats.last_find = self._clock()
        stats.corpus_found += not imported
        stats.corpus_imported += imported

    def _failed(self, data: bytes, outcome: Outcome, op: str) -> bool:
        """A crash or hang. AFL's rule: it is another one if it touches an edge that no crash, or hang, had before."""
        kind = HANGS if outcome.kind is Kind.HANG else CRASHES
        if (self.hung if kind == HANGS else self.crashed).merge(self.target.counters) != 2 and self._next[kind]:
            return False
        if kind == HANGS and self.settings.budget is None:
            patient = self._patiently(data)
            if patient.kind is Kind.EXIT:
                return False
            if patient.kind is Kind.CRASH:
                if self.crashed.merge(self.target.counters) != 2 and self._next[CRASHES]:
                    return False
                kind, outcome = CRASHES, patient
        self.folder.save(kind, self._name(kind, op, signal=outcome.signal), data)
        if kind == HANGS:
            self.stats.last_hang = self._clock()
        else:
            self.stats.last_crash, self.stats.last_crash_execs = self._clock(), self.execs
            self.stopped |= self.settings.until_crash
        return False

    def _patiently(self, data: bytes) -> Outcome:
        budget = self.target.budget
        self.target.budget = budget * _PATIENCE
        try:
            self.execs += 1
            return self._run(data)
        finally:
            self.target.budget = budget

    def _name(self, kind: str, op: str, *, signal: int = 0, new_edge: bool = False) -> str:
        identity = self._next[kind]
        self._next[kind] += 1
        milliseconds = int((self.stats.before + self._clock() - self._begun) * 1000)
        return entry_name(identity, self.origin, milliseconds, self.execs, op, signal=signal, new_edge=new_edge)

    def _measure(self, entry: Entry, outcome: Outcome) -> None:
        """What an entry costs and touches, after its run; and whether it does the same again."""
        target, first = self.target, bytes(self.target.counters.view)
        entry.blocks = max(1, outcome.blocks)
        entry.edges = edges_of(first)
        entry.digest = _digest(target)
        self.stats.slowest_blocks = max(self.stats.slowest_blocks, entry.blocks)
        runs = 1
        while runs < (_CALIBRATION_VARIABLE if entry.variable else _CALIBRATION) and not self.stopped:
            self._run(entry.data)
            self.execs += 1
            runs += 1
            if target.counters.view != first:
                entry.variable = True
                now = bytes(target.counters.view)
                self._variable.update(edge for edge in {*edges_of(first), *edges_of(now)} if first[edge] != now[edge])
                self.seen.merge(target.counters)

    def remeasure(self, entry: Entry) -> None:
        """An entry has new data."""
        outcome = self._run(entry.data)
        self.execs += 1
        if outcome.kind is Kind.EXIT:
            entry.blocks = max(1, outcome.blocks)
            self.queue.measured(entry)

    # -- the beginning --------------------------------------------------------------------------------------------------------

    def start(self, seeds: Sequence[tuple[str, bytes]], *, resume: bool = False) -> None:
        """The first runs. `seeds`: (name, data); with `resume` the folder has them. EmuvmError: nothing to begin with."""
        stats = self.stats
        stats.start_time = stats.last_update = self._begun = self._clock()
        stats.fuzzer_pid = host_clock.pid()
        self.target.budget = self.settings.budget or FIRST_BUDGET
        if not resume and not seeds:
            raise EmuvmError("no usable seeds: at least one file that is not empty is needed")
        with self._keeping():
            if resume:
                self._go_on()
            for name, data in seeds:
                self._seed(data, f"orig:{name}"[:128].replace("/", "_").replace(",", "_"), None)
                if self.stopped:
                    break
        able = [entry.blocks for entry in self.queue.entries if not entry.disabled]
        if self.stopped and not able:
            return
        if not able:
            raise EmuvmError("no seed can be used: the target crashes or hangs with each of them")
        if self.settings.budget is None:
            self.target.budget = min(FIRST_BUDGET, max(LEAST_BUDGET, TIMES_SLOWEST * max(able)))
        stats.budget = self.target.budget
        self._disable_twins()
        self.queue.refresh()
        self.write()

    def _seed(self, data: bytes, origin: str, name: str | None) -> None:
        """One input at the beginning. `name`: that of its file, if the queue has it already."""
        self.origin = origin
        self._input = data
        outcome = self._run(data)
        self.execs += 1
        if outcome.kind is not Kind.EXIT:
            what = "hangs" if outcome.kind is Kind.HANG else f"ends by signal {outcome.signal}"
            self.screen.say(f"the target {what} with {name or origin[5:]}: it is not used")
            self._failed(data, outcome, "")
            return
        self.seen.merge(self.target.counters)
        if name is None:
            name = self._name(QUEUE, "")
            self.folder.save(QUEUE, name, data)
        entry = Entry(number(name) or 0, name, data)
        self._measure(entry, outcome)
        self.queue.add(entry)
        self.queue.measured(entry)

    def _go_on(self) -> None:
        """From what is in the folder."""
        folder, stats = self.folder, self.stats
        old = read_stats(folder.path / "fuzzer_stats")
        stats.before = float(_whole(old, "run_time"))
        self.execs = stats.execs_before = _whole(old, "execs_done")
        done = folder.determined()
        for kind, seen in ((CRASHES, self.crashed), (HANGS, self.hung)):
            for name, data in folder.inputs(kind):
                self._next[kind] = max(self._next[kind], (number(name) or 0) + 1)
                self._run(data)
                self.execs += 1
                seen.merge(self.target.counters)
        stored = folder.inputs(QUEUE)
        self._next[QUEUE] = max((number(name) or 0) + 1 for name, _ in stored)
        for name, data in stored:
            self._seed(data, f"orig:{name}", name)
            if self.stopped:
                break
        for entry in self.queue.entries:
            entry.determined = entry.name in done

    def _disable_twins(self) -> None:
        """Of seeds with the same map the cheapest is enough."""
        best: dict[bytes, Entry] = {}
        for entry in self.queue.entries:
            other = best.setdefault(entry.digest, entry)
            if other is not entry:
                worse = max(entry, other, key=lambda entry: (entry.blocks * len(entry.data), entry.identity))
                worse.disabled = True
                best[entry.digest] = other if worse is entry else entry

    # -- the middle -----------------------------------------------------------------------------------------------------------

    def fuzz(self) -> None:
        """Until a limit is reached or `stop` was called. EmuvmError: emuvm failed; the input that did it is kept."""
        finds = self.stats.corpus_found
        with self._keeping():
            while not self.stopped:
                if self.settings.sync_every and self._clock() >= self._sync_at:
                    self.sync()
                cycle = self.queue.cycles
                self._stages.turn(self.queue.next(self.random))
                if self.queue.cycles != cycle:
                    found = self.stats.corpus_found
                    self.stats.cycles_wo_finds = 0 if found != finds else self.stats.cycles_wo_finds + 1
                    finds = found

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Whatever emuvm gets wrong: the input that did it is worth having."""
        try:
            yield
        except Exception as error:
            if isinstance(error, EmuvmError) and not isinstance(error, (EmulatorBug, EngineError)):
                raise
            path = self.folder.path / "broken_input"
            write(path, self._input)
            raise EmuvmError(f"emuvm failed, the input is in {path}: {type(error).__name__}: {error}") from error

    def sync(self) -> None:
        """Take over what others have found since last time."""
        self._sync_at = self._clock() + self.settings.sync_every
        self._stages.entry = None
        self.stats.stage = "sync"
        for name, identity, data in self._sync.news():
            self.origin = f"sync:{name},src:{identity:06}"
            self.attempt(data)
            if self.stopped:
                break

    def stop(self) -> None:
        """End soon: after this run."""
        self.stopped = True

    # -- looking at the clock, and telling ------------------------------------------------------------------------------------

    def look(self) -> None:
        """Now and then, by executions: limits, statistics, the screen."""
        now, settings, stats = self._clock(), self.settings, self.stats
        past = now - stats.last_update
        # The clock is a system call's worth of time: about four looks a second are enough.
        self._step = max(1, min(self._step * 2, int(self._step * _LOOK_EVERY / past) if past > 0 else 1 << 20, 1 << 20))
        self._look_at = self.execs + self._step
        if settings.execs is not None:
            self._look_at = min(self._look_at, stats.execs_before + settings.execs)
            self.stopped |= self.execs - stats.execs_before >= settings.execs
        if settings.seconds is not None:
            self.stopped |= now - self._begun >= settings.seconds
        if settings.parent:
            self.stopped |= host_clock.parent() != settings.parent
        self._minute.append((now, self.execs))
        while self._minute[0][0] < now - 60 and len(self._minute) > 1:
            self._minute.popleft()
        self.refresh(now)
        self.screen.show(stats)
        if now >= self._plot_at:
            self._plot_at = now + _PLOT_EVERY
            self.folder.plot(PLOT_HEADER, stats.plot_line())
        if now >= self._stats_at:
            self._stats_at = now + settings.stats_every
            self.folder.write_stats(stats.text(), self.seen.virgin())

    def refresh(self, now: float) -> None:
        """The numbers as they are."""
        stats, queue, entries = self.stats, self.queue, self.queue.entries
        stats.last_update = now
        stats.execs_done = self.execs
        then, execs = self._minute[0] if self._minute else (now, self.execs)
        stats.execs_last_min = (self.execs - execs) / (now - then) if now > then else 0.0
        stats.cycles_done, stats.cur_item = queue.cycles, queue.current
        stats.corpus_count, stats.corpus_favored = len(entries), queue.favoured
        stats.pending_total, stats.pending_favs = queue.pending
        stats.corpus_variable = sum(entry.variable for entry in entries)
        stats.max_depth = max((entry.depth for entry in entries), default=0)
        stats.corpus_bytes = sum(len(entry.data) for entry in entries)
        stats.edges_found = self.seen.edges()
        stats.var_byte_count = len(self._variable)
        stats.stability = 100.0 - 100.0 * len(self._variable) / max(1, stats.edges_found)
        stats.saved_crashes, stats.saved_hangs = self._next[CRASHES], self._next[HANGS]
        stats.peak_rss_mb = host_clock.peak_rss_mb()

    def write(self) -> None:
        """All statistics, now."""
        now = self._clock()
        self.refresh(now)
        self._plot_at, self._stats_at = now + _PLOT_EVERY, now + self.settings.stats_every
        self.folder.plot(PLOT_HEADER, self.stats.plot_line())
        self.folder.write_stats(self.stats.text(), self.seen.virgin())

    def finish(self) -> None:
        """The last statistics. Call it however the campaign ended."""
        if self.queue.entries:
            self.write()
        self.screen.show(self.stats, last=True)
        self.screen.close()


def _digest(target: Target) -> bytes:
    return hashlib.blake2b(classified(target.counters.view), digest_size=16).digest()


def _whole(stats: dict[str, str], key: str) -> int:
    return int(stats[key]) if stats.get(key, "").isdigit() else 0
