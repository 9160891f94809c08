"""The targets of samples/fuzz: their seeds do no harm, their bugs show as they are said to, on the host and in the harness."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from emuvm.fuzz.harness import Harness
from emuvm.fuzz.outcome import Kind
from emuvm.fuzz.results import split
from tests.fuzz.guests import build_files
from tests.fuzz.targets import BUGS, FLAGS, GUARDED, SAMPLES, files, program
from tests.native.guests import HOST


def natively(target: Path, data: bytes) -> int:
    """The exit code, -n for a signal, 1000 for a hang."""
    try:
        return subprocess.run([target], input=data, capture_output=True, timeout=3).returncode
    except subprocess.TimeoutExpired:
        return 1000


@pytest.mark.parametrize("name", BUGS)
def test_natively(name: str) -> None:
    if HOST != "x86_64":
        pytest.skip("the host runs no x86-64 programs")
    target = program(name)
    for data in files("seeds", name).values():
        assert natively(target, data) == 0
    for crash, bug in BUGS[name].items():
        data, schedule = split(files("crashes", name)[crash])
        if schedule.entries:
            assert natively(target, data) == 0, "only chosen results show it"
        else:
            assert natively(target, data) == (1000 if bug.kind is Kind.HANG else -bug.signal)


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
@pytest.mark.parametrize("name", BUGS)
def test_in_the_harness(name: str, arch: str) -> None:
    seeds, crashes = files("seeds", name), files("crashes", name)
    assert crashes.keys() == BUGS[name].keys()
    target = program(name, arch)
    for way in ("stdin", "@@") if name != "header" else ("stdin",):
        with Harness(target, input=way, budget=200_000, results=True) as made:  # type: ignore[arg-type]
            first = {data: made.run(data) for data in (*seeds.values(), *crashes.values())}
            for data in seeds.values():
                outcome = first[data]
                assert (outcome.kind, outcome.code) == (Kind.EXIT, 0)
                if arch == HOST:
                    said = subprocess.run([target], input=data, capture_output=True, timeout=5).stdout
                    assert outcome.stdout == said
            for crash, bug in BUGS[name].items():
                outcome = first[crashes[crash]]
                if (name, arch) == ("expression", "arm64"):
                    assert outcome.kind is Kind.EXIT, "this CPU divides by zero"
                    continue
                assert (outcome.kind, outcome.signal) == (bug.kind, bug.signal), outcome
                assert bug.access == "any" or (outcome.fault.access if outcome.fault else "") == bug.access
            rng = random.Random(4)
            for _ in range(60):
                data = rng.choice(list(first))
                assert made.run(data) == first[data]
            assert made.differences() == []


def test_the_guarding_allocator_changes_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "use.c"
    source.write_text(r"""
    #include <malloc.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    int main(void)
    {
        char c;
        read(0, &c, 1);
        for (size_t size = 0; size < 9000; size += 7 + size / 9) {
            unsigned char *p = malloc(size), *q = calloc(size, 1);
            for (size_t i = 0; i < size; i++) if (q[i]) return 1;
            memset(p, 7, size);
            p = realloc(p, size + 4096);
            for (size_t i = 0; i < size; i++) if (p[i] != 7) return 2;
            if (malloc_usable_size(p) != size + 4096) return 3;
            free(p); free(q);
        }
        void *at; if (posix_memalign(&at, 64, 100) || (uintptr_t)at & 63) return 4;
        free(at); free(NULL); free(aligned_alloc(32, 64)); free(malloc(0));
        if (malloc(~0ul >> 1) || calloc(~0ul, 2)) return 5;
        printf("fine %d\n", c);
        char *last = malloc(5);
        if (c == 'o') last[5] = 1;
        if (c == 'u') { free(last); return last[0]; }
        if (c == 'd') { free(last); free(last); }
        if (c == 'w') free(last + 1);
        return 0;
    }""")
    for arch in ("x86_64", "arm64"):
        target = build_files((source, SAMPLES / "guardmalloc.c"), arch, "-fno-builtin", "-w")
        with Harness(target) as made:
            assert made.run(b"1").stdout == b"fine 49\n"
            faults = [made.run(data).fault for data in (b"o", b"u", b"d")]
            assert [fault.access for fault in faults if fault is not None] == ["write", "read", "read"]
            assert made.run(b"w").signal == 6
    assert GUARDED and FLAGS
