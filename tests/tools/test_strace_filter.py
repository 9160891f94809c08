"""Filter expressions: what they choose, and that those that make no sense are refused with a sentence."""

from __future__ import annotations

import pytest

from emuvm.tools.strace_filter import Filter, FilterError

CALLS = ("open", "openat", "read", "mmap", "brk", "futex", "kill", "execve", "clock_gettime", "shmat", "socket", "getpid", "newfstatat")


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("", CALLS),
        ("all", CALLS),
        ("none", ()),
        ("open,openat", ("open", "openat")),
        ("trace=mmap", ("mmap",)),
        ("!futex", tuple(name for name in CALLS if name != "futex")),
        ("%memory", ("mmap", "brk", "shmat")),
        ("memory", ("mmap", "brk", "shmat")),
        ("trace=memory,getpid", ("mmap", "brk", "shmat", "getpid")),
        ("%memory;!brk", ("mmap", "shmat")),
        ("!%memory;!%file", ("read", "futex", "kill", "clock_gettime", "socket", "getpid")),
        ("%file", ("open", "openat", "execve", "newfstatat")),
        ("%desc", ("open", "openat", "read", "mmap", "newfstatat")),
        ("%process,%clock", ("kill", "execve", "clock_gettime")),
        ("%ipc; %network", ("shmat", "socket")),
        ("%signal", ("kill",)),
        ("%%stat", ("newfstatat",)),
        ("/^open", ("open", "openat")),
        ("brk,/^(read|mm)", ("read", "mmap", "brk")),
        ("/^(read|mm),brk", ("read", "mmap", "brk")),
        ("_newselect,chown32,brk", ("brk",)),
        ("?nosuch,brk", ("brk",)),
        ("chown32,_newselect,s390_sthyi,osf_utimes,brk", ("brk",)),
        ("open;trace=brk", ("open", "brk")),
        ("signal=none;status=failed", CALLS),
    ],
)
def test_calls(expression: str, shown: tuple[str, ...]) -> None:
    chosen = Filter(expression)
    assert tuple(name for name in CALLS if chosen.call(name)) == shown


@pytest.mark.parametrize(
    ("expression", "good", "bad", "gone"),
    [("", True, True, True), ("status=failed", False, True, False), ("status=successful", True, False, False),
     ("status=unfinished", False, False, True), ("status=!failed", True, False, True), ("status=failed,unfinished", False, True, True)],
)  # fmt: skip
def test_results(expression: str, good: bool, bad: bool, gone: bool) -> None:
    chosen = Filter(expression)
    assert [chosen.result("read", result) for result in (5, -9, None)] == [good, bad, gone]


@pytest.mark.parametrize(
    ("expression", "segv", "usr1"),
    [("", True, True), ("signal=none", False, False), ("signal=SIGSEGV", True, False), ("signal=segv,usr1", True, True),
     ("signal=!11", False, True), ("signal=all", True, True)],
)  # fmt: skip
def test_signals(expression: str, segv: bool, usr1: bool) -> None:
    chosen = Filter(expression)
    assert [chosen.signal(number) for number in (11, 10)] == [segv, usr1]


@pytest.mark.parametrize(
    "expression",
    ["opne", "trace=", "open,,close", "%foo", "/(", "status=x", "status=", "signal=FOO", "signal=99", "foo=bar", "!", "open close"],
)
def test_nonsense_is_refused(expression: str) -> None:
    with pytest.raises(FilterError) as caught:
        Filter(expression)
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 10
