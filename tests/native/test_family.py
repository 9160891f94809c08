"""Programs that make processes: shells with pipelines, traps and jobs come to the same as on the host; traces; time limits; the harness.

What a child has and how it ends, fact by fact, is in samples/facts/family.c; walks that fork are in tests/oracle.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emuvm.fuzz.harness import Harness
from tests.native.guests import ARCHES, ENV, ROOT, busybox, emulated, emulated_by_command, missing, on_the_host

SCRIPTS = {
    "pipelines": r"""
        echo start | tr a-z A-Z | sed s/T/t/
        seq 1 3000 | sort -rn | head -n 3
        true | false; echo $?
        for i in 1 2 3; do echo $i; done | while read a; do echo "got $a"; done
        yes | head -n 2
        cat text | (read one; echo "one $one"; cat) | wc -l
    """,
    "substitution": r"""
        x=$(echo sub; echo two | wc -l); echo "x=$x"
        echo $(echo $(echo $(echo deep)))
        n=0; for w in $(seq 1 20); do n=$((n + w)); done; echo $n
    """,
    "statuses": r"""
        (exit 3); echo $?
        sh -c 'kill -9 $$'; echo $?
        sh -c 'kill -SEGV $$'; echo $?
        nosuchcommand 2>/dev/null; echo $?
        (sh -c 'exit 9') && echo yes || echo no
    """,
    "jobs": r"""
        sleep 30 & p=$!; kill $p; wait $p; echo $?
        (exit 5) & wait $!; echo $?
        (sleep 0.05; exit 6) & (exit 4) & wait; echo $?
        trap 'echo trapped; exit 8' TERM; (sleep 0.1; kill -TERM $$) & wait; echo not here
    """,
    "traps": r"""
        trap 'echo usr1' USR1; kill -USR1 $$; echo after
        (trap 'echo child; exit 7' USR2; kill -USR2 $(exec sh -c 'echo $PPID'); sleep 5); echo $?
        trap '' INT; sh -c 'kill -INT $$; echo ignored'
        trap 'echo bye' EXIT; (echo inner)
    """,
    "files": r"""
        echo one > made; (echo two; echo three) >> made; cat made
        { echo a; (echo b); sh -c 'echo c'; } > made; cat made
        exec 3< text; read a <&3; (read b <&3; echo "b $b"); read c <&3; echo "$a $c"
        cd sub && (cd .. && pwd | sed 's,.*/,,'); ls; umask 077; (umask 0; umask); umask
    """,
    "tools": r"""
        find . -name 't*' -exec echo found {} \; | sort
        ls | sort | xargs -n 2 echo
        tar cf - text sub | tar tf - | sort
        setsid sh -c 'echo session'
    """,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "inside").write_text("in\n")
    (tmp_path / "text").write_text("alpha\nbeta\ngamma\n")
    return tmp_path


@pytest.mark.parametrize("engine", ["paged", "regions"])
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", SCRIPTS)
def test_shells(name: str, arch: str, engine: str, folder: Path) -> None:
    program = busybox(arch)
    if arch != "x86_64" and engine == "regions":
        return  # what differs between architectures and between engines has nothing to do with one another
    words = [program, "sh", "-c", SCRIPTS[name]]
    expected = on_the_host(arch, words, folder)
    (folder / "made").unlink(missing_ok=True)
    assert emulated(["--rw", str(folder), *words], folder, engine) == expected
    assert len(expected[1]) > 5


def _said(options: list[str], script: str, folder: Path) -> tuple[str, list[str]]:
    """(stdout, lines on stderr) of a script."""
    start = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'loaders')!r}]; from emuvm.cli import script; script()"
    words = [sys.executable, "-c", start, "run", *options, busybox("x86_64"), "sh", "-c", script]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=ENV, timeout=60)
    return done.stdout, done.stderr.splitlines()


def test_a_trace_follows_children_if_told_to(folder: Path) -> None:
    script = "echo one | cat; exit 4"
    out, alone = _said(["-e", "clone,write,exit_group"], script, folder)
    assert out == "one\n"
    assert [line for line in alone if line.startswith(("clone(", "exit_group(4", "+++ exited with 4"))] == [
        *[line for line in alone if line.startswith("clone(")], "exit_group(4)                           = ?", "+++ exited with 4 +++",
    ]  # fmt: skip
    assert len([line for line in alone if line.startswith("clone(")]) == 2
    assert not any("write(1" in line or line.startswith("[pid") for line in alone)
    out, all_of_them = _said(["-f", "-e", "clone,write,exit_group"], script, folder)
    assert out == "one\n"
    writers = {found[1] for line in all_of_them if (found := re.match(r'\[pid +(\d+)\] write\(1, "one\\n", 4\)', line))}
    made = {found[1] for line in all_of_them if (found := re.search(r"SIGCHLD, child_tidptr=0x[0-9a-f]+\) = (\d+)", line))}
    assert len(writers) == 2 and writers == made
    assert all_of_them[-1].endswith("+++ exited with 4 +++")


def _by_order(trace: str) -> list[str]:
    """Lines with processes counted in the order in which they show, and without times."""
    numbers = {pid: f"<{n}>" for n, pid in enumerate(dict.fromkeys(re.findall(r"^(\d+) ", trace, re.MULTILINE)))}
    text = re.sub(r"si_([us])time=\d+", r"si_\1time=0", trace)
    for pid, number in numbers.items():
        text = re.sub(rf"\b{pid}\b", number.ljust(len(pid)), text)
    return text.splitlines()


@pytest.mark.parametrize("chosen", ["write,exit_group", "exit_group"])
def test_a_trace_in_a_file_is_that_of_strace(chosen: str, folder: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        missing("strace")
    script = "(echo a; exit 3); (exit 5); exit 4"
    _said(["-f", "-e", chosen, "--strace-file", "ours"], script, folder)
    words = [strace, "-f", "-e", f"trace={chosen}", "-o", "theirs", busybox("x86_64"), "sh", "-c", script]
    subprocess.run(words, cwd=folder, capture_output=True, env=ENV, timeout=60)
    expected = _by_order((folder / "theirs").read_text())
    assert _by_order((folder / "ours").read_text()) == expected and len(expected) > 6


def test_a_time_limit_ends_children_too(folder: Path) -> None:
    script = "while :; do :; done & echo $!; wait"
    begun = time.monotonic()
    status, output = emulated_by_command(["--timeout", "1", busybox("x86_64"), "sh", "-c", script], folder)
    assert status == 137 and time.monotonic() - begun < 30
    child = int(output)
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


def test_a_run_leaves_nothing_open(folder: Path) -> None:
    program = """
import os, sys
sys.path[:0] = sys.argv[1:3]
import emuvm
def open_ones():
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]
    return sorted(name for name in names if name.startswith(("pipe:", "socket:", "anon_inode:", "/memfd:")))
for script in ("true", "(exit 3); echo a | cat", "time true; ls | xargs echo"):
    before = open_ones()
    emuvm.run(sys.argv[3], "sh", "-c", script)
    print(open_ones() == before)
"""
    words = [sys.executable, "-c", program, str(ROOT), str(ROOT / "loaders"), busybox("x86_64")]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=ENV, timeout=60)
    assert [line for line in done.stdout.splitlines() if line in ("True", "False")] == ["True"] * 3, done.stderr


def test_strangers_are_out_of_reach(folder: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        out, _ = _said([], f"(:); kill {stranger.pid} 2>/dev/null || echo refused; kill 0; echo not here", folder)
        assert out == "refused\n" and stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_fuzzed_program_has_no_children(tmp_path: Path) -> None:
    source = tmp_path / "forks.c"
    headers = "#include <unistd.h>\n#include <errno.h>\n"
    source.write_text(headers + "int main(void) { char c; read(0, &c, 1); return fork() == -1 ? errno : 1; }\n")
    compiler = shutil.which("gcc")
    if compiler is None:
        missing("gcc")
    subprocess.run([compiler, "-static", "-o", str(tmp_path / "forks"), str(source)], check=True)
    with Harness(str(tmp_path / "forks")) as harness:
        assert harness.run(b"").code == 38
