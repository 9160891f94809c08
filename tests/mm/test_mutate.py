"""A handful of mutants must die here too; the whole check is run by hand (see mutate.py)."""

from __future__ import annotations

import pytest

from . import mutate, mutate_linux


def test_mutants_differ_from_the_original_and_compile() -> None:
    for name in mutate.FILES + mutate.LINUX_FILES:
        found = mutate.mutants(name)
        assert len(found) > 15
        for mutant in found[:: len(found) // 4]:
            assert mutant.what.split("  ->  ")[0] != mutant.what.split("  ->  ")[1]
            compile(mutant.source(), mutant.file, "exec")


def test_what_is_listed_as_equivalent_exists() -> None:
    found = {mutate.equivalent(mutant) for name in mutate.FILES + mutate.LINUX_FILES for mutant in mutate.all_mutants(name)}
    assert not set(mutate.EQUIVALENT) - found, "no longer in the code"


@pytest.mark.timeout(120)
def test_obvious_mutants_are_killed() -> None:
    wanted = [
        ("space.py", "new == vma.prot"),
        ("vmamap.py", "address < vma.end"),
    ]
    chosen = []
    for name, old in wanted:
        found = [mutant for mutant in mutate.mutants(name) if mutant.what.startswith(old + "  ->")]
        chosen += found[:1]
    assert len(chosen) == 2, "the lines named here are gone"
    alive = mutate.survivors(chosen, tests=mutate.TESTS[:1])
    assert not alive, [mutate.show(mutant) for mutant in alive]


@pytest.mark.timeout(120)
def test_obvious_mutants_of_linux_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [("rules.py", "left.prot != right.prot"), ("areas.py", "vma.end <= start"), ("remap.py", "new_length <= old_length")]
    chosen = []
    for name, old in wanted:
        found = [mutant for mutant in mutate.mutants(name) if mutant.what.startswith(old + "  ->")]
        assert found, "the line named here is gone"
        chosen.append(found[0])
    among = mutate_linux.probes(recordings=8, patch=monkeypatch)
    assert mutate_linux.killer(chosen[0], among, changed=False) is None
    alive = [mutate.show(mutant) for mutant in chosen if mutate_linux.killer(mutant, among) is None]
    assert not alive
