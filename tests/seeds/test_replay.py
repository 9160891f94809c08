"""Every recorded op of the four older systems, on the public operations of AddressSpace."""

from __future__ import annotations

import pytest

from .recordings import SYSTEMS, sequences
from .replay import Report, replay

_reports: dict[str, Report] = {}


def report(system: str) -> Report:
    if system not in _reports:
        total = Report()
        for where, sequence in sequences(system):
            total.add(replay(where, sequence))
        _reports[system] = total
    return _reports[system]


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_op_agrees(system: str) -> None:
    found = report(system)
    assert not found.differences, f"{len(found.differences)} differ, first:\n" + "\n".join(found.differences[:10])


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_op_is_accounted_for(system: str) -> None:
    found = report(system)
    assert found.total, "no recordings"
    print(f"\n{system}: {found.total} ops: {dict(found.counts)}")
    for (op, marks, did), count in sorted(found.bad.items()):
        print(f"    {count:5} {op:20} {marks:35} emuvm: {did}")
    assert found.total == sum(len(sequence["ops"]) for _where, sequence in sequences(system))
    assert sum(found.counts.values()) == found.total
    marked = unmarked_failures = 0
    for _where, sequence in sequences(system):
        marked += sum("bad" in op for op in sequence["ops"])
        unmarked_failures += sum("atomic" in op and "bad" not in op for op in sequence["ops"])
    assert found.counts["bad"] + found.counts["partly"] == marked
    assert found.counts["failed"] <= unmarked_failures
    assert found.counts["compared"] + marked + found.counts["failed"] + found.counts["unreachable"] == found.total
    assert found.counts["compared"] > 0
    assert sum(found.bad.values()) == found.total - found.counts["compared"]
