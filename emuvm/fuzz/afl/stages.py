"""What is done with one entry of the queue: trimming, comparisons, deterministic changes, havoc, splicing.

Owns: the order of stages and how long each lasts. Must not know what a run means (campaign) and how inputs are changed (Mutator).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.fuzz.afl.protocol import Mutator
from emuvm.fuzz.afl.queue import Entry

if TYPE_CHECKING:
    from emuvm.fuzz.afl.campaign import Campaign

HAVOC, HAVOC_FIRST, HAVOC_LEAST = 256, 1024, 16
"""Runs of havoc for a score of 100; the first time an entry has its turn and had no deterministic stages; at least."""
_MOST_SCORE = 1600.0
SPLICES, SPLICE_HAVOC = 15, 32
"""Splices of an entry, and runs of havoc with each for a score of 100."""
_SAME_PARTNER = 32
"""Runs of havoc with the same partner."""
_LEAST_TRIMMED = 5
_LONGEST_COMPARED = 1 << 16


class Stages:
    """The stages of one campaign."""

    def __init__(self, campaign: Campaign, mutator: Mutator) -> None:
        self._campaign = campaign
        self._mutator = mutator
        self.entry: Entry | None = None
        """Whose turn it is."""

    def turn(self, entry: Entry) -> None:
        """All that is done with an entry before another one is chosen."""
        campaign = self._campaign
        settings, stats = campaign.settings, campaign.stats
        self.entry = entry
        campaign.origin = f"src:{entry.identity:06}"
        if settings.trim and not entry.trimmed:
            stats.stage = "trim"
            self._trim(entry)
        score = campaign.queue.score(entry)
        if settings.compare and entry.fuzzed == 0 and len(entry.data) <= _LONGEST_COMPARED and not campaign.stopped:
            stats.stage = "comparisons"
            self._mutator.compare(entry.data, campaign.attempt)
        first = not entry.fuzzed and not entry.determined
        if settings.deterministic and not entry.determined:
            stats.stage = "deterministic"
            self._deterministic(entry)
            first = False
        stats.stage = "havoc"
        self._havoc(entry, score, HAVOC_FIRST if first else HAVOC)
        if stats.cycles_wo_finds:
            stats.stage = "splice"
            self._splice(entry, score)
        entry.fuzzed += 1

    def _trim(self, entry: Entry) -> None:
        campaign = self._campaign
        entry.trimmed = True
        if len(entry.data) < _LEAST_TRIMMED or entry.variable:
            return
        digest = entry.digest

        def same(data: bytes) -> bool:
            return not campaign.stopped and campaign.signature(data) == digest

        shorter = self._mutator.trim(entry.data, same)
        if len(shorter) < len(entry.data):
            entry.data = shorter
            campaign.folder.replace(entry.name, shorter)
            campaign.remeasure(entry)

    def _deterministic(self, entry: Entry) -> None:
        campaign = self._campaign
        for op, data in self._mutator.deterministic(entry.data):
            campaign.attempt(data, op)
            if campaign.stopped:
                return
        entry.determined = True
        campaign.folder.set_determined(entry.name)

    def _havoc(self, entry: Entry, score: float, full: int) -> None:
        """Goes on for twice as long when something was found, as far as the score may rise."""
        campaign, mutator = self._campaign, self._mutator
        havoc, attempt, data = mutator.havoc, campaign.attempt, entry.data
        left = max(HAVOC_LEAST, int(full * score / 100))
        partner: bytes | None = None
        while left:
            if not left % _SAME_PARTNER:
                other = campaign.queue.partner(entry, campaign.random)
                partner = None if other is None else other.data
            left -= 1
            made = havoc(data, partner)
            if attempt(made, "op:havoc,rep", mutator.stacked) and score < _MOST_SCORE:
                score *= 2
                left *= 2
            if campaign.stopped:
                return

    def _splice(self, entry: Entry, score: float) -> None:
        campaign, mutator = self._campaign, self._mutator
        runs = max(HAVOC_LEAST, int(SPLICE_HAVOC * score / 100))
        for _ in range(SPLICES):
            other = campaign.queue.partner(entry, campaign.random)
            joined = None if other is None else mutator.splice(entry.data, other.data)
            if other is None or joined is None:
                return
            campaign.origin = f"src:{entry.identity:06}+{other.identity:06}"
            for _ in range(runs):
                made = mutator.havoc(joined, other.data)
                campaign.attempt(made, "op:splice,rep", mutator.stacked)
                if campaign.stopped:
                    return
