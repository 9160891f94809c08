"""CPU seconds (user + system) and peak memory of whole runs: native, qemu-user, the bare script, emuvm.

    python tests/benchmarks/run_speed.py [repetitions]      prints a markdown table; medians of interleaved repetitions
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "samples" / "bin" / "x86_64"
WORK: dict[str, list[str]] = {
    "hello": ["hello"],
    "getppid 100 000": ["getppid", "100000"],
    "rounds 500, none live": ["rounds", "500", "0"],
    "rounds 500, 1 000 live": ["rounds", "500", "1000"],
    "rounds 500, 5 000 live": ["rounds", "500", "5000"],
    "sieve 5 M": ["sieve", "5000000"],
}


def runners() -> dict[str, list[str]]:
    emuvm = [sys.executable, "-m", "emuvm", "run"]
    found = {
        "native": [],
        "bare": [sys.executable, str(ROOT / "tests" / "benchmarks" / "bare.py")],
        "paged": [*emuvm, "--engine", "paged"],
        "regions": [*emuvm, "--engine", "regions"],
    }
    if qemu := shutil.which("qemu-x86_64"):
        found["qemu-user"] = [qemu]
    return found


def measure(command: list[str]) -> tuple[float, float] | None:
    """(CPU seconds, peak MiB) of one run, or None if it failed or took over a minute of CPU."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "loaders")])
    child = subprocess.Popen(["/bin/sh", "-c", 'ulimit -t 60; exec "$@"', "sh", *command],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    return (usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024) if status == 0 else None


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    who = runners()
    print("| work | " + " | ".join(who) + " |\n|---" + "|---" * len(who) + "|")
    for work, (program, *args) in WORK.items():
        results: dict[str, list[tuple[float, float] | None]] = {name: [] for name in who}
        for _ in range(repetitions):
            for name, prefix in who.items():
                if None not in results[name]:
                    results[name].append(measure([*prefix, str(BIN / program), *args]))
        cells = []
        for values in results.values():
            good = [value for value in values if value is not None]
            if len(good) < len(values):
                cells.append("failed")
                continue
            cells.append(f"{statistics.median(v[0] for v in good):.3f} s, {statistics.median(v[1] for v in good):.0f} MiB")
        print(f"| {work} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
