"""Signal facts; the numbers themselves are held against headers in test_flags.py."""

from __future__ import annotations

import platform
import signal as host_signal
import subprocess
import sys

import pytest

from emuvm.abi.signals import DESCRIPTIONS, NSIG, Action, Code, Signal, code_name, default_action, name


def test_names() -> None:
    assert (name(11), name(9), name(32), name(64)) == ("SIGSEGV", "SIGKILL", "SIGRT_0", "SIGRT_32")
    with pytest.raises(ValueError, match="65"):
        name(65)
    assert set(DESCRIPTIONS) == {int(member) for member in Signal.members().values()}


def test_code_names() -> None:
    assert code_name(Signal.SIGSEGV, 1) == "SEGV_MAPERR"
    assert code_name(Signal.SIGBUS, 1) == "BUS_ADRALN"
    assert code_name(Signal.SIGILL, Code.ILL_PRVOPC) == "ILL_PRVOPC"
    assert code_name(Signal.SIGSEGV, 0x80) == "SI_KERNEL"
    assert code_name(Signal.SIGABRT, -6) == "SI_TKILL"
    assert code_name(Signal.SIGTERM, 0) == "SI_USER"
    assert code_name(Signal.SIGSEGV, 77) == "77"
    assert code_name(Signal.SIGUSR1, 5) == "5"


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"), reason="generic Linux numbers")
def test_default_actions_are_the_hosts() -> None:
    """A child with the default action gets the signal; what becomes of it must be what the table says."""
    program = (
        "import os, resource, signal, sys\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "for number in map(int, sys.argv[1:]):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        if number not in (9, 19): signal.signal(number, signal.SIG_DFL)\n"
        "        os.kill(os.getpid(), number)\n"
        "        os._exit(0)\n"
        "    _, status = os.waitpid(child, os.WUNTRACED)\n"
        "    if os.WIFSTOPPED(status):\n"
        "        os.kill(child, 9); os.waitpid(child, 0)\n"
        "        print(number, 'stop')\n"
        "    else:\n"
        "        print(number, 'dies' if os.WIFSIGNALED(status) else 'lives')\n"
    )
    numbers = [*range(1, 32), 34, NSIG]
    command = [sys.executable, "-c", program, *map(str, numbers)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=False).stdout
    seen = {int(number): what for number, what in (line.split() for line in output.splitlines())}
    expected = {
        Action.TERMINATE: "dies",
        Action.CORE: "dies",
        Action.IGNORE: "lives",
        Action.CONTINUE: "lives",
        Action.STOP: "stop",
    }
    # A process group without a controlling parent ("orphaned") ignores the terminal stops, so those may live.
    terminal = {Signal.SIGTSTP, Signal.SIGTTIN, Signal.SIGTTOU}
    for number in numbers:
        allowed = {expected[default_action(number)]} | ({"lives"} if number in terminal else set())
        assert seen[number] in allowed, number


def test_core_signals() -> None:
    """man 7 signal."""
    names = {Signal(number).name for number in range(1, 32) if default_action(number) is Action.CORE}
    assert names == {
        "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV", "SIGXCPU", "SIGXFSZ", "SIGSYS",
    }  # fmt: skip
    assert default_action(Signal.SIGCONT) is Action.CONTINUE


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"), reason="generic Linux numbers")
def test_numbers_are_the_hosts() -> None:
    for member in Signal.members().values():
        if hasattr(host_signal, member.name):
            assert getattr(host_signal, member.name) == member
