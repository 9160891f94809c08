"""What a campaign has come to, in numbers: AFL++'s fuzzer_stats and plot_data, which afl-whatsup and afl-plot read.

Owns: the numbers and their form. Must not know how they come about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

VERSION = "++4.04c"
"""The AFL++ whose files these are like."""
PLOT_HEADER = (
    "# relative_time, cycles_done, cur_item, corpus_count, pending_total, pending_favs, map_size, saved_crashes, "
    "saved_hangs, max_depth, execs_per_sec, total_execs, edges_found"
)
_UNSAFE = str.maketrans(dict.fromkeys('"`$\\\n', "_"))
"""afl-whatsup hands the file to a shell."""


@dataclass(slots=True)
class Stats:
    """All of it. Times are seconds since 1970, 0 for never; names that are AFL's mean what they mean there."""

    start_time: float = 0.0
    last_update: float = 0.0
    before: float = 0.0
    """Seconds that earlier sessions took, for one that was resumed."""
    fuzzer_pid: int = 0
    cycles_done: int = 0
    cycles_wo_finds: int = 0
    execs_done: int = 0
    execs_before: int = 0
    """Of those, in earlier sessions."""
    execs_last_min: float = 0.0
    """A second, over the last minute."""
    corpus_count: int = 0
    corpus_favored: int = 0
    corpus_found: int = 0
    corpus_imported: int = 0
    corpus_variable: int = 0
    max_depth: int = 0
    cur_item: int = 0
    pending_favs: int = 0
    pending_total: int = 0
    stability: float = 100.0
    saved_crashes: int = 0
    saved_hangs: int = 0
    last_find: float = 0.0
    last_crash: float = 0.0
    last_hang: float = 0.0
    last_crash_execs: int = 0
    budget: int = 0
    slowest_blocks: int = 0
    peak_rss_mb: int = 0
    edges_found: int = 0
    total_edges: int = 1 << 16
    var_byte_count: int = 0
    havoc_expansion: int = 0
    auto_dict_entries: int = 0
    corpus_bytes: int = 0
    banner: str = ""
    command_line: str = ""
    stage: str = ""
    """What is done now; for the screen."""

    @property
    def run_time(self) -> float:
        """Seconds, earlier sessions included."""
        return self.before + self.last_update - self.start_time

    @property
    def execs_per_sec(self) -> float:
        """Of this session."""
        seconds = self.last_update - self.start_time
        return (self.execs_done - self.execs_before) / seconds if seconds > 0 else 0.0

    @property
    def bitmap_cvg(self) -> float:
        """Percent of the map."""
        return 100.0 * self.edges_found / self.total_edges

    def text(self) -> str:
        """fuzzer_stats. `exec_timeout`, milliseconds in AFL, is 0: the budget is in blocks, and has a line of its own."""
        idle = self.last_update - max(self.last_find, self.start_time)
        values = {
            "start_time": int(self.start_time),
            "last_update": int(self.last_update),
            "run_time": int(self.run_time),
            "fuzzer_pid": self.fuzzer_pid,
            "cycles_done": self.cycles_done,
            "cycles_wo_finds": self.cycles_wo_finds,
            "time_wo_finds": max(0, int(idle)),
            "execs_done": self.execs_done,
            "execs_per_sec": f"{self.execs_per_sec:.2f}",
            "execs_ps_last_min": f"{self.execs_last_min:.2f}",
            "corpus_count": self.corpus_count,
            "corpus_favored": self.corpus_favored,
            "corpus_found": self.corpus_found,
            "corpus_imported": self.corpus_imported,
            "corpus_variable": self.corpus_variable,
            "max_depth": self.max_depth,
            "cur_item": self.cur_item,
            "pending_favs": self.pending_favs,
            "pending_total": self.pending_total,
            "stability": f"{self.stability:.2f}%",
            "bitmap_cvg": f"{self.bitmap_cvg:.2f}%",
            "saved_crashes": self.saved_crashes,
            "saved_hangs": self.saved_hangs,
            "last_find": int(self.last_find),
            "last_crash": int(self.last_crash),
            "last_hang": int(self.last_hang),
            "execs_since_crash": self.execs_done - self.last_crash_execs,
            "exec_timeout": 0,
            "exec_budget": self.budget,
            "slowest_exec_ms": 0,
            "slowest_exec_blocks": self.slowest_blocks,
            "peak_rss_mb": self.peak_rss_mb,
            "cpu_affinity": -1,
            "edges_found": self.edges_found,
            "total_edges": self.total_edges,
            "var_byte_count": self.var_byte_count,
            "havoc_expansion": self.havoc_expansion,
            "auto_dict_entries": self.auto_dict_entries,
            "testcache_size": self.corpus_bytes,
            "testcache_count": self.corpus_count,
            "testcache_evict": 0,
            "afl_banner": self.banner.translate(_UNSAFE),
            "afl_version": VERSION,
            "target_mode": "emuvm",
            "command_line": self.command_line.replace("\n", " "),
        }
        return "".join(f"{key:<18}: {value}\n" for key, value in values.items())

    def plot_line(self) -> str:
        """One line of plot_data."""
        values: Sequence[object] = (
            int(self.run_time),
            self.cycles_done,
            self.cur_item,
            self.corpus_count,
            self.pending_total,
            self.pending_favs,
            f"{self.bitmap_cvg:.2f}%",
            self.saved_crashes,
            self.saved_hangs,
            self.max_depth,
            f"{self.execs_per_sec:.2f}",
            self.execs_done,
            self.edges_found,
        )
        return ", ".join(map(str, values))
