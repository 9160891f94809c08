"""AFL++'s output folder: names, whole files only, sessions that go on, and what its own tools say of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emuvm.errors import EmuvmError
from emuvm.fuzz.afl.folder import CRASHES, QUEUE, Folder, entry_name, fields, inputs_in, number, read_seeds, read_stats, write
from emuvm.fuzz.afl.screen import Screen, count, duration, line, picture
from emuvm.fuzz.afl.stats import PLOT_HEADER, Stats
from emuvm.fuzz.afl.sync import Sync


def session(path: Path, *, resume: bool = False, name: str = "main") -> Folder:
    made = Folder(path, name)
    made.prepare(resume=resume)
    return made


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (entry_name(0, "orig:a.txt", 0, 1), "id:000000,time:0,execs:1,orig:a.txt"),
        (entry_name(3, "src:000001", 12, 45, "op:havoc,rep:2", new_edge=True), "id:000003,src:000001,time:12,execs:45,op:havoc,rep:2,+cov"),
        (entry_name(0, "src:000000", 123, 45, "op:havoc,rep:2", signal=6), "id:000000,sig:06,src:000000,time:123,execs:45,op:havoc,rep:2"),
        (entry_name(7, "src:000008+000005", 1, 2, "op:splice,rep:16"), "id:000007,src:000008+000005,time:1,execs:2,op:splice,rep:16"),
        (entry_name(9, "sync:s1,src:000004", 1, 2), "id:000009,sync:s1,src:000004,time:1,execs:2"),
        (entry_name(1234567, "src:000001", 1, 2), "id:1234567,src:000001,time:1,execs:2"),
    ],
)
def test_names_are_afl_s(name: str, expected: str) -> None:
    assert name == expected
    assert number(name) == int(re.findall(r"\d+", expected)[0])


def test_names_are_read() -> None:
    assert fields("id:000000,sig:06,src:000008+000005,time:577,execs:26739,op:splice,rep:16") == {
        "sig": "06",
        "src": "000008+000005",
        "time": "577",
        "execs": "26739",
        "op": "splice",
        "rep": "16",
    }
    assert fields("id:000009,sync:s1,src:000004,time:1,execs:2")["sync"] == "s1"
    assert number("id_000012,x") == 12 and number("README.txt") is None and number(".id:000001") is None


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "id:000000"
    write(path, b"first")

    def fail(self: Path, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(EmuvmError, match="No space left on device"):
        write(path, b"second")
    assert path.read_bytes() == b"first"


def test_half_written_files_of_a_killed_session_go_away(tmp_path: Path) -> None:
    made = session(tmp_path)
    made.save(QUEUE, "id:000000,orig:a", b"a")
    (made.path / QUEUE / ".id:000001,src:000000").write_bytes(b"half")
    made.close()
    made = session(tmp_path, resume=True)
    assert [path.name for path in (made.path / QUEUE).iterdir() if path.is_file()] == ["id:000000,orig:a"]
    made.close()


def test_two_at_a_time_do_not_share_a_folder(tmp_path: Path) -> None:
    made = session(tmp_path)
    with pytest.raises(EmuvmError, match="another fuzzer uses this folder"):
        session(tmp_path)
    session(tmp_path, name="other").close()
    made.close()
    session(tmp_path).close()


def test_a_new_session_keeps_the_crashes_of_the_old_one(tmp_path: Path) -> None:
    made = session(tmp_path)
    made.save(QUEUE, "id:000000,orig:a", b"a")
    made.save(CRASHES, "id:000000,sig:06,src:000000", b"crash")
    made.set_determined("id:000000,orig:a")
    made.plot("# header", "1")
    (made.path / ".synced" / "other").write_bytes(b"\1\0\0\0")
    made.close()
    for times in (1, 2):
        made = session(tmp_path)
        assert not made.has_session and not made.determined() and made.inputs(CRASHES) == []
        assert not (made.path / "plot_data").exists() and not list((made.path / ".synced").iterdir())
        aside = [path for path in made.path.iterdir() if path.name.startswith("crashes.")]
        assert len(aside) == times
        assert all(inputs_in(path)[0].read_bytes() == b"crash" for path in aside)
        made.save(CRASHES, "id:000000,sig:06,src:000000", b"crash")
        made.close()


def test_a_long_session_is_not_thrown_away(tmp_path: Path) -> None:
    made = session(tmp_path)
    made.save(QUEUE, "id:000000,orig:a", b"a")
    made.write_stats("run_time          : 1501\n", bytes(65536))
    made.close()
    with pytest.raises(EmuvmError, match="more than 25 minutes: resume with -i -"):
        session(tmp_path)
    made = session(tmp_path, resume=True)  # and the failed one holds no lock
    assert made.inputs(QUEUE) == [("id:000000,orig:a", b"a")]
    made.close()


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(EmuvmError, match="no session to resume"):
        session(tmp_path, resume=True)


def test_what_cannot_be_a_folder(tmp_path: Path) -> None:
    for name in ("", "a/b", "..", "x" * 33, "a b"):
        with pytest.raises(EmuvmError, match="an instance is named by"):
            Folder(tmp_path, name)
    (tmp_path / "file").write_text("")
    with pytest.raises(EmuvmError, match="cannot be used: Not a directory"):
        session(tmp_path / "file")


def test_seeds_are_all_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".state").mkdir()
    for name in ("README.txt", ".hidden", ".state/x"):
        (tmp_path / name).write_bytes(b"no seed")
    for name, data in (("b", b"2"), ("a", b"1" * 50), ("sub/c", b"3"), ("empty", b"")):
        (tmp_path / name).write_bytes(data)
    assert list(read_seeds(tmp_path, 10)) == [("a", b"1" * 10), ("b", b"2"), ("c", b"3")]
    with pytest.raises(EmuvmError, match="not a folder of seeds"):
        list(read_seeds(tmp_path / "nowhere", 10))


# -- other instances --------------------------------------------------------------------------------------------------------


def test_others_are_taken_from_once(tmp_path: Path) -> None:
    one, two = session(tmp_path, name="one"), session(tmp_path, name="two")
    two.save(QUEUE, "id:000000,orig:a", b"a")
    two.save(QUEUE, "id:000001,sync:one,src:000000", b"ours, coming back")
    two.save(QUEUE, "id:000002,src:000000", b"c")
    sync = Sync(one)
    assert list(sync.news()) == [("two", 0, b"a"), ("two", 2, b"c")]
    assert (one.path / ".synced" / "two").read_bytes() == b"\3\0\0\0"
    assert list(sync.news()) == []
    two.save(QUEUE, "id:000003,src:000000", b"d")
    assert list(Sync(one).news()) == [("two", 3, b"d")]
    one.close()
    two.close()


def test_secondary_ones_take_from_the_main_one_only(tmp_path: Path) -> None:
    folders = [session(tmp_path, name=name) for name in ("main", "s1", "s2")]
    assert [path.name for path in Sync(folders[1]).others()] == ["main", "s2"]  # there is no main one yet
    folders[0].describe(["prog"], ["emuvm"], main=True)
    assert [path.name for path in Sync(folders[1]).others()] == ["main"]
    assert [path.name for path in Sync(folders[0], main=True).others()] == ["s1", "s2"]
    for folder in folders:
        folder.close()
    assert not (folders[0].path / "is_main_node").exists()


# -- statistics, and AFL++'s tools --------------------------------------------------------------------------------------------


def example() -> Stats:
    return Stats(
        start_time=1000.0,
        last_update=1100.0,
        fuzzer_pid=os.getpid(),
        execs_done=250_000,
        corpus_count=40,
        corpus_favored=10,
        pending_total=7,
        pending_favs=2,
        saved_crashes=3,
        saved_hangs=1,
        edges_found=655,
        last_find=1090.0,
        cur_item=4,
        banner='a "quoted" $(name)',
        command_line="emuvm fuzz -i in -o out -- ./a @@",
    )


KEYS = """start_time last_update run_time fuzzer_pid cycles_done cycles_wo_finds time_wo_finds execs_done execs_per_sec execs_ps_last_min
corpus_count corpus_favored corpus_found corpus_imported corpus_variable max_depth cur_item pending_favs pending_total stability bitmap_cvg
saved_crashes saved_hangs last_find last_crash last_hang execs_since_crash exec_timeout slowest_exec_ms peak_rss_mb cpu_affinity edges_found
total_edges var_byte_count havoc_expansion auto_dict_entries testcache_size testcache_count testcache_evict afl_banner afl_version
target_mode command_line""".split()
"""Of a fuzzer_stats that afl-fuzz 4.04c wrote."""


def test_statistics_have_afl_s_keys_and_form(tmp_path: Path) -> None:
    path = tmp_path / "fuzzer_stats"
    path.write_text(example().text())
    stats = read_stats(path)
    assert [key for key in stats if not key.startswith(("exec_budget", "slowest_exec_blocks"))] == KEYS
    assert stats["execs_per_sec"] == "2500.00" and stats["run_time"] == "100" and stats["bitmap_cvg"] == "1.00%"
    assert stats["stability"] == "100.00%" and stats["time_wo_finds"] == "10" and stats["last_find"] == "1090"
    assert all(re.match(r"\w+ *: ", text) and text.index(":") == 18 for text in path.read_text().splitlines()[:5])
    assert read_stats(tmp_path / "nothing") == {}


def test_a_plot_line_has_as_many_values_as_the_header_names() -> None:
    assert len(example().plot_line().split(", ")) == len(PLOT_HEADER.split(", ")) == 13
    assert example().plot_line() == "100, 0, 4, 40, 7, 2, 1.00%, 3, 1, 0, 2500.00, 250000, 655"


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} of AFL++ is not installed")
    return path


def with_stats(tmp_path: Path) -> Folder:
    made = session(tmp_path)
    made.write_stats(example().text(), bytes(65536))
    for _ in range(3):
        made.plot(PLOT_HEADER, example().plot_line())
    return made


def test_afl_whatsup_reads_it(tmp_path: Path) -> None:
    made = with_stats(tmp_path)
    done = subprocess.run([tool("afl-whatsup"), tmp_path], capture_output=True, text=True, env={**os.environ, "TERM": "dumb"})
    made.close()
    assert done.returncode == 0, done.stderr
    assert "Fuzzers alive : 1" in done.stdout and "Crashes saved : 3" in done.stdout and "Cumulative speed : 2500 execs/sec" in done.stdout
    assert "items 4/40 (10%)" in done.stdout and "coverage 1.00%, crashes saved 3" in done.stdout
    assert "a _quoted_ _(name)" in done.stdout  # not run by the shell


def test_afl_plot_reads_it(tmp_path: Path) -> None:
    made = with_stats(tmp_path)
    made.close()
    plot = tool("afl-plot")
    # gnuplot is large and not everywhere: what afl-plot hands to it is enough.
    stub = tmp_path / "bin"
    stub.mkdir()
    images = "sed -n \"s/^set output '\\(.*\\)'/\\1/p\""
    script = tmp_path / "script"
    (stub / "gnuplot").write_text(f"#!/bin/sh\ncat > {script}\n{images} {script} | while read name; do echo png > $name; done\n")
    (stub / "gnuplot").chmod(0o755)
    path = f"{stub}:{os.environ['PATH']}"
    done = subprocess.run([plot, made.path, tmp_path / "graph"], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stderr + done.stdout
    columns = [int(number) for number in re.findall(r"using 1:(\d+)", (tmp_path / "script").read_text())]
    assert 5 < len(columns) and max(columns) <= 13
    assert "a _quoted_ _(name)" in (tmp_path / "graph" / "index.html").read_text()


# -- the screen ---------------------------------------------------------------------------------------------------------------


def test_a_picture_fits_a_terminal_and_shows_the_numbers() -> None:
    lines = picture(example())
    assert max(map(len, lines)) <= 80 and len(lines) <= 24
    text = "\n".join(lines)
    for shown in ("00:01:40", "40 (10 favoured)", "250.0k", "2500/s", "655 (1.00 %)", "7 (2 favoured)", "00:00:10 ago", "none yet"):
        assert shown in text
    assert "crashes 3, hangs 1" in line(example())


def test_small_words() -> None:
    assert [count(n) for n in (0, 9999, 10_000, 1_500_000, 2e9)] == ["0", "9999", "10.0k", "1.5M", "2.0G"]
    assert [duration(n) for n in (-1, 59, 3661, 90_000)] == ["00:00:00", "00:00:59", "01:01:01", "1 d 01:00:00"]


def test_lines_come_now_and_then_and_the_last_one_always(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as stream:
        screen, stats = Screen(stream, every=10), example()
        for second in range(25):
            stats.last_update = 1000.0 + second
            screen.show(stats)
        screen.show(stats, last=True)
        screen.close()
        stream.seek(0)
        lines = stream.read().splitlines()
    assert [text[:10] for text in lines] == ["[00:00:00]", "[00:00:10]", "[00:00:20]", "[00:00:24]"]


def test_a_drawn_screen_gives_the_cursor_back(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as stream:
        screen = Screen(stream, drawn=True)
        screen.show(example())
        screen.show(example())
        screen.close()
        stream.seek(0)
        text = stream.read()
    assert text.count("\x1b[?25l") == 1 and text.endswith("\x1b[?25h")


def test_nobody_looks_any_more() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        screen = Screen(stream)
        screen.show(example(), last=True)
        screen.say("still here")
        assert screen._stream is None
        with pytest.raises(BrokenPipeError):
            stream.close()


