"""CPU time of the oracle's random walks, by the host's kernel and by emuvm, and by another source tree of emuvm. Prints a markdown table.

    python -m tests.benchmarks.walk_cost [--against TREE] [--seeds N] [--rounds N] [--modes A,B] [--engine NAME]

Every walk is run by everybody in turn, in each round, so that all suffer from what else the machine does; the least of the rounds
counts. A row is the mean of a mode's seeds. Each run is a fork of a process that has imported emuvm: start-up is in it, importing is not.
The tree to compare with is best made by `git worktree add`; it needs the compiled `emuvm/engine/native` module as this one does.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from tests.oracle.walks import ENGINES, HOST, MODES, ROOT, Emulator, Walk, by_the_host


def measure(
    modes: list[str], seeds: int, operations: int, rounds: int, engine: str, emulators: dict[str, Emulator]
) -> dict[str, dict[str, float]]:
    """mode -> who -> mean CPU seconds of a walk."""
    costs: dict[str, dict[str, float]] = {}
    for mode in modes:
        sums: dict[str, float] = defaultdict(float)
        for seed in range(1, seeds + 1):
            walk, best = Walk(mode, seed, operations), {}
            for _ in range(rounds):
                best["native"] = min(best.get("native", 1e9), by_the_host(walk).seconds)
                for name, emulator in emulators.items():
                    best[name] = min(best.get(name, 1e9), emulator.run(walk, HOST, engine).seconds)
            for name, seconds in best.items():
                sums[name] += seconds / seeds
        costs[mode] = sums
        print_row(mode, sums)
    return costs


def print_row(name: str, costs: dict[str, float]) -> None:
    ratio = f" | {costs['before'] / costs['emuvm']:.2f}" if "before" in costs else ""
    print(f"| {name} | " + " | ".join(f"{seconds:.3f}" for seconds in costs.values()) + ratio + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--against", type=Path, help="another source tree of emuvm")
    parser.add_argument("--seeds", type=int, default=2, help="walks of each mode")
    parser.add_argument("--ops", type=int, default=400, help="operations a walk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--engine", choices=ENGINES, default="paged")
    options = parser.parse_args()
    trees = {"before": options.against, "emuvm": ROOT} if options.against else {"emuvm": ROOT}
    emulators = {name: Emulator(tree.resolve()) for name, tree in trees.items()}
    names = ["native", *trees]
    print("| s of CPU a walk | " + " | ".join(names) + (" | before/emuvm" if options.against else "") + " |")
    print("|---" * (len(names) + 1 + bool(options.against)) + "|")
    try:
        costs = measure(options.modes.split(","), options.seeds, options.ops, options.rounds, options.engine, emulators)
    finally:
        for emulator in emulators.values():
            emulator.close()
    print_row("mean", {name: sum(found[name] for found in costs.values()) / len(costs) for name in names})


if __name__ == "__main__":
    main()
