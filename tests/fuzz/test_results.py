"""Schedules of results: their text, what they do to a program, and mutation."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from emuvm.abi.errno import Errno
from emuvm.fuzz.harness import Harness
from emuvm.fuzz.outcome import Outcome
from emuvm.fuzz.results import MARK, Entry, Schedule, ScheduleError, join, mutate, split
from tests.fuzz.guests import build

SOURCE = r"""
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
    char data[64];
    int got = read(0, data, 64), more = read(0, data + 32, 32);
    char *large = malloc(1 << 20);
    void *at = sbrk(4096);
    void *map = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char text[128];
    int length = sprintf(text, "%d %d %d %d %d\n", got, more, large != NULL, at != (void *)-1, map != MAP_FAILED);
    return write(1, text, length) == length ? 0 : errno;
}
"""


def test_text() -> None:
    text = "read#2=EINTR; read#3=short:1; mmap#1=ENOMEM; *#7=ENOMEM"
    schedule = Schedule.parse(text)
    assert str(schedule) == text and Schedule.parse("") == Schedule() and Schedule.parse(" ; ") == Schedule()
    assert schedule.entries[0] == Entry("read", 2, Errno.EINTR) and schedule.entries[1] == Entry("read", 3, 0, 1)
    assert split(join(b"data\n#results", schedule)) == (b"data\n#results", schedule)
    assert split(b"plain\n") == (b"plain\n", Schedule()) and join(b"plain", Schedule()) == b"plain"
    assert split(b"a" + MARK + b"read#1=EIO\n")[1] == Schedule((Entry("read", 1, Errno.EIO),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("read", "NAME#N=ERROR"), ("read#x=EIO", "NAME#N"), ("fork#1=EIO", "cannot be chosen"), ("read#1=EWHAT", "no such error"),
        ("read#1=E_", "NAME#N"), ("mmap#1=short:1", "does not move"), ("read#1=short:-1", "NAME#N"), ("read#1=\xff", "NAME#N"),
    ],
)  # fmt: skip
def test_no_schedule(text: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        split(b"x" + MARK + text.encode())


def test_a_program_gets_them() -> None:
    with Harness(build(SOURCE), results=True) as made:

        def run(text: str) -> Outcome:
            return made.run(join(b"0123456789", Schedule.parse(text)))

        assert run("").stdout == b"10 0 1 1 1\n"
        assert run("read#1=short:3").stdout == b"3 7 1 1 1\n"
        assert run("read#1=EINTR").stdout == b"-1 10 1 1 1\n"
        assert run("read#2=EIO").stdout == b"10 -1 1 1 1\n"
        assert run("mmap#1=ENOMEM").stdout == b"10 0 0 1 1\n" or run("mmap#1=ENOMEM; brk#1=ENOMEM").stdout.startswith(b"10 0 ")
        assert run("mmap#2=ENOMEM").stdout == b"10 0 1 1 0\n"
        everything = run("mmap#1=ENOMEM; mmap#2=ENOMEM; mmap#3=ENOMEM; brk#1=ENOMEM; brk#2=ENOMEM; brk#3=ENOMEM; brk#4=ENOMEM")
        assert everything.stdout.startswith(b"10 0 0 0 ")
        assert run("write#1=ENOSPC").code == Errno.ENOSPC
        assert run("write#1=short:2").stdout == b"10"
        assert run("*#2=EIO").stdout == b"10 -1 1 1 1\n"
        assert run("").stdout == b"10 0 1 1 1\n", "nothing is left of it"
        failed = [call for call in run("write#1=EINTR").calls if call.name == "write"]
        assert [call.result for call in failed] == [-Errno.EINTR]
        with pytest.raises(ScheduleError):
            made.run(b"x" + MARK + b"nonsense")


def test_mutation() -> None:
    made = ["read", "read", "getpid", "mmap", "write", "brk"]
    rng, schedule = random.Random(3), Schedule()
    kinds: Counter[str] = Counter()
    for _ in range(2000):
        schedule = mutate(schedule, made, rng)
        assert Schedule.parse(str(schedule)) == schedule and len(schedule.entries) <= 64
        for entry in schedule.entries:
            kinds[f"{entry.name} {'error' if entry.errno else 'short'}"] += 1
        if rng.random() < 0.1:
            schedule = Schedule()
    assert {"read error", "read short", "mmap error", "write error", "write short", "brk error", "* error"} <= kinds.keys()
    assert not any(kind.startswith("getpid") for kind in kinds)
    one, two = random.Random(8), random.Random(8)
    assert [mutate(Schedule(), made, one) for _ in range(50)] == [mutate(Schedule(), made, two) for _ in range(50)]
    assert mutate(Schedule(), [], rng) == Schedule()
