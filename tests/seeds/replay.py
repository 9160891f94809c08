"""Replaying recorded sequences and counting what was done with every single op.

Owns: the decision what is compared. Must not know any of the systems beyond their adapters.

    compared      everything recorded for the op agrees: result, callbacks, region list
    partly        the op is marked bad in one field only (or in the result of a call that only looks); the others agree
    failed        the recorded op failed half-way (injection, BadState, exception) and is not marked bad. The same failure
                  is injected here; emuvm must be unchanged, and must agree where the recorded system was atomic too
    bad           marked bad: run here as well; emuvm must stay sound, and unchanged if it refuses. Not compared
    unreachable   comes after a bad op that left the system in a state no address space can be in (empty, inverted or
                  outside regions), and is not marked itself. Run like a bad one
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from emuvm.errors import SpaceError

from .adapter import Adapter, Refused, Untranslatable
from .memory_set import MemorySet

ONE_FIELD = {
    "query": "result",
    "result": "result",
    "result_vs_first_fit": "result",
    "cb_missing": "callbacks",
    "cb_units": "callbacks",
}


@dataclass
class Report:
    """What happened to the ops of one or more sequences."""

    total: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    bad: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(op, marks, what emuvm did) of every op not compared in full."""
    differences: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.total += other.total
        self.counts += other.counts
        self.bad += other.bad
        self.differences += other.differences


class Replay:
    """One sequence."""

    def __init__(self, where: str, sequence: dict[str, Any]) -> None:
        self.where = f"{where} {sequence.get('name', '')}"
        self.ops: list[dict[str, Any]] = sequence["ops"]
        module = import_module(f"{__package__}.{sequence['system']}")
        self.adapter: Adapter = module.open_adapter(sequence["config"])
        self.report = Report()
        self.reachable = True

    def run(self) -> Report:
        before: list[list[Any]] = []
        for number, op in enumerate(self.ops):
            self.report.total += 1
            self.here = f"{self.where} op {number} {op}"
            kind = self.decide(op)
            self.report.counts[kind] += 1
            table = self.adapter.keep() if isinstance(self.adapter, MemorySet) else b""
            if kind in ("compared", "partly"):
                self.compare(op, before)
            else:
                self.observe(op, kind)
            if kind not in ("compared", "partly") or op.get("pt_ok") is False:
                self.follow(op, table)
            before = op["areas"]
        return self.report

    def decide(self, op: dict[str, Any]) -> str:
        marks = set(op.get("bad", ()))
        if not self.reachable:
            return "bad" if marks else "unreachable"
        if marks:
            looks = op["op"] in self.adapter.read_only
            soft = marks <= set(ONE_FIELD) and ("result" not in marks or looks)
            return "partly" if soft and not {"panic", "abort", "exc"} & op.keys() else "bad"
        return "failed" if "atomic" in op else "compared"

    def compare(self, op: dict[str, Any], before: list[list[Any]]) -> None:
        adapter = self.adapter
        skipped = {ONE_FIELD[mark] for mark in op.get("bad", ())}
        adapter.begin()
        result = adapter.call(op)
        found = {"result": result, "callbacks": adapter.callbacks(), "areas": adapter.areas()}
        wanted = {"result": op["result"], "callbacks": op.get("callbacks", []), "areas": op["areas"]}
        if "raw" in op and "result" not in skipped:
            wanted["result"] = {"raw": op["raw"]}
        for name, value in wanted.items():
            if name not in skipped and found[name] != value:
                self.differs(f"{name}: {found[name]} instead of {value}")
        if skipped:
            self.report.bad[op["op"], "+".join(sorted(op["bad"])), "agrees in the rest"] += 1
        if isinstance(adapter, MemorySet):
            if adapter.table_agrees() != op.get("pt_ok", True):
                self.differs("page table")
            if op["op"] == "protect" and not adapter.filter_calls_agree(op, before):
                self.differs(f"filter calls: {adapter.asked}")
        self.sound()

    def observe(self, op: dict[str, Any], kind: str) -> None:
        """Run an op that cannot be compared in full; whatever fails must change nothing."""
        adapter = self.adapter
        before, snapshot = adapter.areas(), repr(list(adapter.space or ()))
        injected = bool({"atomic", "panic", "abort", "exc"} & op.keys())
        adapter.begin(refuse_at=0 if injected and not isinstance(adapter, MemorySet) else None)
        try:
            result: Any = adapter.call(op)
            did = "done" if adapter.heard or op["op"] in adapter.read_only else "nothing to do"
            if result in ("BadState", "InvalidParam", "AlreadyExists", "inval", None, -22, -1) or isinstance(result, dict):
                did = "declined"
        except Refused:
            result, did = None, "refused by a subscriber"
        except SpaceError as error:
            result, did = None, type(error).__name__
        failures = ("declined", "refused by a subscriber", "BadArgument", "NoSpace", "Hole")
        if did in failures and op["op"] not in ("reset", "unmap_non_original"):
            no_result = op.get("result") is None and result is None and did == "declined"
            if adapter.areas() != before and not no_result:
                self.differs(f"changed by a failure ({did})")
            if did == "refused by a subscriber" and repr(list(adapter.space or ())) != snapshot:
                self.differs("changed by a refusal")
        if kind == "failed":
            if isinstance(adapter, MemorySet) and adapter.areas() == before and op["atomic"] and result != op["result"]:
                self.differs(f"result {result}")
            if isinstance(adapter, MemorySet) and op["atomic"] and adapter.callbacks() != op.get("callbacks", []):
                self.differs(f"callbacks {adapter.callbacks()}")
            if op["atomic"] and did != "nothing to do" and adapter.areas() != op["areas"]:
                self.differs(f"areas {adapter.areas()}")
        self.report.bad[op["op"], "+".join(sorted(op.get("bad", [kind]))), did] += 1
        self.sound()

    def follow(self, op: dict[str, Any], table: bytes) -> None:
        """Continue from where the recorded system was after the op."""
        adapter = self.adapter
        adapter.begin()
        try:
            adapter.load(op["areas"], op)
            self.reachable = adapter.areas() == op["areas"]
        except Untranslatable:
            self.reachable = False
        if isinstance(adapter, MemorySet):
            adapter.replay_table(table, op)

    def sound(self) -> None:
        if self.adapter.space is not None:
            self.adapter.space.check()

    def differs(self, what: str) -> None:
        self.report.differences.append(f"{self.here}: {what}")


def replay(where: str, sequence: dict[str, Any]) -> Report:
    """Replay one sequence from its beginning."""
    return Replay(where, sequence).run()
