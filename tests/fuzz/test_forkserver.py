"""AFL's fork-server protocol: word by word, and with AFL++'s own programs on the other side."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emuvm.errors import EmuvmError
from emuvm.fuzz.afl.campaign import Campaign, Settings
from emuvm.fuzz.afl.folder import Folder, inputs_in, read_stats
from emuvm.fuzz.afl.forkserver import find_input, wait_status
from emuvm.fuzz.outcome import Kind
from tests.fuzz.afl_fakes import Parser, Simple

ROOT = Path(__file__).resolve().parents[2]
SERVER = [sys.executable, "-m", "tests.fuzz.afl_server", "program"]
ENABLED, SHARED, SIZE = 0x8000_0001, 0x0100_0000, 0x4000_0000 | (65535 << 1)


# -- the other side, by hand --------------------------------------------------------------------------------------------------


class Segment:
    """System V shared memory."""

    def __init__(self, size: int) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.shmat.restype = ctypes.c_void_p
        self.number = self._libc.shmget(0, ctypes.c_size_t(size), 0o1600)
        if self.number < 0:
            pytest.skip("no System V shared memory here")
        self._address = self._libc.shmat(self.number, None, 0)
        self.view = memoryview((ctypes.c_uint8 * size).from_address(self._address)).cast("B")

    def close(self) -> None:
        self.view.release()
        self._libc.shmdt(ctypes.c_void_p(self._address))
        self._libc.shmctl(self.number, 0, None)


class Afl:
    """What afl-fuzz is to a fork server."""

    def __init__(self, *, shared: bool, words: tuple[str, ...] = (), stdin: Any = subprocess.DEVNULL) -> None:
        self.map = Segment(65536)
        self.input = Segment(4 + (1 << 20))
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/loaders", "__AFL_SHM_ID": str(self.map.number)}
        if shared:
            environment["__AFL_SHM_FUZZ_ID"] = str(self.input.number)
        control, self._control = os.pipe()
        self._status, status = os.pipe()

        def descriptors() -> None:
            os.dup2(control, 198)
            os.dup2(status, 199)

        self.process = subprocess.Popen(
            [*SERVER, *words], cwd=ROOT, env=environment, stdin=stdin, close_fds=False, preexec_fn=descriptors, stdout=subprocess.DEVNULL
        )
        os.close(control)
        os.close(status)
        self.hello = self.read()

    def read(self, seconds: float = 30.0) -> int | None:
        if not select.select([self._status], [], [], seconds)[0]:
            return None
        return int.from_bytes(os.read(self._status, 4), "little")

    def write(self, word: int) -> None:
        os.write(self._control, word.to_bytes(4, "little"))

    def share(self, data: bytes) -> None:
        self.input.view[:4] = len(data).to_bytes(4, "little")
        self.input.view[4 : 4 + len(data)] = data

    def run(self, data: bytes | None = None, *, late: bool = False) -> int:
        """The wait status of a run."""
        if data is not None:
            self.share(data)
        self.map.view[:] = bytes(65536)
        self.write(late)
        self.pid = self.read() or 0
        status = self.read()
        assert status is not None
        return status

    def edges(self) -> dict[int, int]:
        return {edge: count for edge, count in enumerate(self.map.view) if count}

    def close(self) -> None:
        os.close(self._control)
        self.process.wait(30)
        os.close(self._status)
        self.map.close()
        self.input.close()


@pytest.fixture
def afl() -> Iterator[Afl]:
    made = Afl(shared=True)
    assert made.hello == ENABLED | SHARED | SIZE
    made.write(ENABLED | SHARED)
    yield made
    made.close()


def expected(data: bytes) -> tuple[int, dict[int, int]]:
    target = Parser()
    outcome = target.run(data)
    return wait_status(outcome), {edge: count for edge, count in enumerate(target.counters.view) if count}


def test_runs_give_the_status_and_the_map_of_the_target(afl: Afl) -> None:
    for data in (b"FZabc", b"x", b"", b"FZab!", b"F!", b"FZaaaa", b"x"):
        assert (afl.run(data), afl.edges()) == expected(data), data
    assert os.WIFSIGNALED(afl.run(b"F!")) and os.WTERMSIG(afl.run(b"F!")) == 6
    assert os.WIFEXITED(afl.run(b"abc")) and os.WEXITSTATUS(afl.run(b"abc")) == 3


def test_no_process_is_made_for_a_run(afl: Afl) -> None:
    pids = set()
    for _ in range(20):
        afl.run(b"FZab!")
        pids.add(afl.pid)
    assert len(pids) == 1 and afl.process.pid not in pids


def test_a_hang_waits_for_afl_s_time(afl: Afl) -> None:
    for _ in range(2):
        afl.share(b"FZ@")
        afl.write(0)
        pid = afl.read()
        assert pid
        assert afl.read(0.3) is None
        os.kill(pid, signal.SIGKILL)
        status = afl.read()
        assert status is not None and os.WTERMSIG(status) == signal.SIGKILL
        assert (afl.run(b"FZab", late=True), afl.edges()) == expected(b"FZab")
        assert afl.pid != pid
        afl.run(b"FZab")


def test_a_run_that_took_too_long_for_afl_only(afl: Afl) -> None:
    afl.run(b"FZab")
    pid = afl.pid
    os.kill(pid, signal.SIGKILL)
    assert (afl.run(b"FZab", late=True), afl.edges()) == expected(b"FZab")
    assert afl.pid != pid and not Path(f"/proc/{pid}").exists()


def test_everything_ends_with_afl() -> None:
    for hanging in (False, True):
        afl = Afl(shared=True)
        afl.write(ENABLED | SHARED)
        afl.run(b"x")
        pid = afl.pid
        if hanging:
            afl.share(b"FZ@")
            afl.write(0)
            assert afl.read() == pid
        afl.close()
        assert afl.process.returncode == 0
        assert not Path(f"/proc/{pid}").exists()


def test_when_afl_kills_it_somebody_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "left behind"
    monkeypatch.setenv("AFL_TEST_LEFT", str(left))
    for kill in (False, True):
        left.write_text("")
        afl = Afl(shared=True)
        afl.write(ENABLED | SHARED)
        afl.run(b"x")
        if kill:
            afl.process.kill()
        afl.close()
        # Its own end leaves it to the server's ordinary way out, which does nothing here.
        for _ in range(200 if kill else 10):
            if not left.exists():
                break
            time.sleep(0.02)
        assert left.exists() is not kill


def test_inputs_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / ".cur_input"
    path.write_bytes(b"")
    afl = Afl(shared=False, words=("-r", str(path)))
    assert afl.hello == ENABLED | SIZE
    for data in (b"FZab!", b"FZabc", b""):
        path.unlink()
        path.write_bytes(data)
        assert (afl.run(), afl.edges()) == expected(data)
    path.unlink()
    assert (afl.run(), afl.edges()) == expected(b"")
    afl.close()


def test_inputs_come_from_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"")
    with path.open("r+b", buffering=0) as file:
        afl = Afl(shared=False, stdin=file)
        for data in (b"FZab!", b"FZabcdef", b"x", b""):
            # As afl-fuzz does it: the same open file each time. Its offset is of no importance.
            file.seek(0)
            file.write(data)
            file.truncate()
            assert (afl.run(), afl.edges()) == expected(data)
        afl.close()


def test_memory_that_is_not_there_is_one_error() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/loaders", "__AFL_SHM_ID": "123456789"}
    code = "from tests.fuzz.afl_fakes import Parser; from emuvm.fuzz.afl.forkserver import ForkServer; ForkServer(Parser())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "EmuvmError: the memory that AFL shares cannot be used" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("data", "code"), [(b"FZabc", 1), (b"F!", -6), (b"FZ!", -11)])
def test_with_nobody_there_it_runs_once_and_ends_as_the_target(data: bytes, code: int) -> None:
    done = subprocess.run(SERVER, cwd=ROOT, input=data, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/loaders"})
    assert done.returncode == code


def test_the_input_file_is_found_in_the_command() -> None:
    assert find_input(["prog", "-f", "out/default/.cur_input"]) == (["prog", "-f", "@@"], "out/default/.cur_input")
    assert find_input(["prog", "--file=/x/.cur_input.png"]) == (["prog", "--file=@@"], "/x/.cur_input.png")
    assert find_input(["prog", "/tmp/.afl-showmap-temp-12"]) == (["prog", "@@"], "/tmp/.afl-showmap-temp-12")
    assert find_input(["prog", "-x"]) == (["prog", "-x"], None)
    assert find_input([".cur_input", "a"]) == ([".cur_input", "a"], None)
    assert find_input(["prog", "-f=/x/y"], "/x/y") == (["prog", "-f=@@"], "/x/y")
    with pytest.raises(EmuvmError, match="is in no argument"):
        find_input(["prog"], "/x/y")


def test_statuses() -> None:
    outcome = Parser().run(b"x")
    assert wait_status(outcome._replace(code=-1)) == 0xFF00
    assert outcome.kind is Kind.EXIT


# -- AFL++ itself ---------------------------------------------------------------------------------------------------------------


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} of AFL++ is not installed")
    return path


def afl_environment(**more: str) -> dict[str, str]:
    names = ("AFL_NO_UI", "AFL_SKIP_CPUFREQ", "AFL_NO_AFFINITY", "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES", "AFL_QUIET", "AFL_ALLOW_TMP")
    path = f"{ROOT}:{ROOT}/loaders"
    return {**os.environ, **dict.fromkeys(names, "1"), "PYTHONPATH": path, "AFL_FORKSRV_INIT_TMOUT": "30000", **more}


def test_afl_fuzz_and_emuvm_share_a_folder(tmp_path: Path) -> None:
    def ours(resume: bool) -> Campaign:
        folder = Folder(tmp_path / "out", "main")
        folder.prepare(resume=resume)
        made = Campaign(Parser(), folder, Simple(1), Settings(execs=1500, main=True))
        made.start([("seed", b"FZab")], resume=resume)
        made.fuzz()
        made.finish()
        folder.close()
        return made

    ours(False)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "seed").write_bytes(b"hello")
    words = [tool("afl-fuzz"), "-Q", "-t", "100", "-i", tmp_path / "in", "-o", tmp_path / "out", "-s", "1", "-S", "afl", "-E", "3000"]
    environment = afl_environment(AFL_QEMU_CUSTOM_BIN="1", AFL_IMPORT_FIRST="1", AFL_HANG_TMOUT="100")
    done = subprocess.run([*words, "--", *SERVER], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50)
    stats = read_stats(tmp_path / "out" / "afl" / "fuzzer_stats")
    assert int(stats["corpus_imported"]) > 10, done.stdout[-2000:]
    assert (tmp_path / "out" / "afl" / ".synced" / "main").read_bytes() != bytes(4)
    assert ours(True).stats.corpus_imported > 0


@pytest.mark.parametrize("how", ["-Q", "plain"])
def test_afl_fuzz_drives_it(tmp_path: Path, how: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "seed").write_bytes(b"FZab")
    more = ["-Q"] if how == "-Q" else []
    names = {"AFL_QEMU_CUSTOM_BIN": "1", "AFL_HANG_TMOUT": "100"} if how == "-Q" else {"AFL_SKIP_BIN_CHECK": "1", "AFL_HANG_TMOUT": "100"}
    words = [tool("afl-fuzz"), *more, "-t", "100", "-i", tmp_path / "in", "-o", tmp_path / "out", "-s", "1", "-E", "4000"]
    words += ["--", *SERVER, "@@"]
    done = subprocess.run(words, cwd=ROOT, env=afl_environment(**names), capture_output=True, text=True, timeout=50)
    stats = read_stats(tmp_path / "out" / "default" / "fuzzer_stats")
    assert stats, done.stdout[-2000:]
    assert int(stats["execs_done"]) >= 4000 and stats["stability"] == "100.00%"
    assert "shmem_testcase" in stats["target_mode"]
    target = Parser()
    for kind, wanted in (("crashes", Kind.CRASH), ("hangs", Kind.HANG)):
        found = inputs_in(tmp_path / "out" / "default" / kind)
        assert found, kind
        assert {target.run(path.read_bytes()).kind for path in found} == {wanted}
    assert len(inputs_in(tmp_path / "out" / "default" / "queue")) > 5


def shown(path: Path) -> dict[int, int]:
    pairs = (text.split(":") for text in path.read_text().split())
    return {int(edge): int(count) for edge, count in pairs}


@pytest.mark.parametrize("data", [b"FZaab", b"FZab!"])
def test_afl_showmap_sees_the_map(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "input").write_bytes(data)
    words = [tool("afl-showmap"), "-Q", "-r", "-o", tmp_path / "map", "--", *SERVER]
    with (tmp_path / "input").open("rb") as stdin:
        subprocess.run(words, cwd=ROOT, env=afl_environment(AFL_QEMU_CUSTOM_BIN="1"), stdin=stdin, capture_output=True, timeout=50)
    assert shown(tmp_path / "map") == expected(data)[1]


def test_afl_showmap_of_a_folder_with_a_file_argument(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    inputs = {"a": b"FZaab", "b": b"hello", "c": b"FZab!"}
    for name, data in inputs.items():
        (tmp_path / "in" / name).write_bytes(data)
    words = [tool("afl-showmap"), "-Q", "-r", "-i", tmp_path / "in", "-o", tmp_path / "maps", "--", *SERVER, "@@"]
    done = subprocess.run(words, cwd=ROOT, env=afl_environment(AFL_QEMU_CUSTOM_BIN="1"), capture_output=True, text=True, timeout=50)
    assert {path.name: shown(path) for path in (tmp_path / "maps").iterdir()} == {
        name: expected(data)[1] for name, data in inputs.items()
    }, done.stdout + done.stderr


def test_afl_tmin_makes_a_crash_smaller(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"FZabcd!efgh")
    words = [tool("afl-tmin"), "-Q", "-i", tmp_path / "input", "-o", tmp_path / "small", "--", *SERVER]
    done = subprocess.run(words, cwd=ROOT, env=afl_environment(AFL_QEMU_CUSTOM_BIN="1"), capture_output=True, text=True, timeout=50)
    assert (tmp_path / "small").read_bytes() in (b"FZ!", b"F!"), done.stdout[-2000:]
