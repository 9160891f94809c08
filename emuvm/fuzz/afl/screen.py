"""What a person sees while a campaign runs: a picture on a terminal, otherwise a line now and then.

Owns: the form. Must not know where numbers come from. Output that cannot be written is left out: nobody may be looking any more.
"""

from __future__ import annotations

from typing import TextIO

from emuvm.fuzz.afl.stats import Stats

_HOME, _CLEAR_LINE, _CLEAR_BELOW, _HIDE, _SHOW = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[?25l", "\x1b[?25h"
_WIDTH = 78


def duration(seconds: float) -> str:
    """'1 d 02:03:04'."""
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86400)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {text}" if days else text


def ago(then: float, now: float) -> str:
    """How long since."""
    return f"{duration(now - then)} ago" if then else "none yet"


def count(value: float) -> str:
    """With a k or M where it is long."""
    for bound, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= bound:
            return f"{value / (bound if unit != 'k' else 1e3):.1f}{unit}"
    return f"{value:.0f}"


def picture(stats: Stats) -> list[str]:
    """The lines of the status screen."""
    now = stats.last_update
    title = f" emuvm fuzz: {stats.banner} "[:_WIDTH]
    rows = [
        ("run time", duration(stats.run_time), "cycles done", str(stats.cycles_done)),
        ("last new path", ago(stats.last_find, now), "corpus", f"{stats.corpus_count} ({stats.corpus_favored} favoured)"),
        ("last crash", ago(stats.last_crash, now), "saved crashes", str(stats.saved_crashes)),
        ("last hang", ago(stats.last_hang, now), "saved hangs", str(stats.saved_hangs)),
        ("stage", stats.stage, "now trying", f"{stats.cur_item} of {stats.corpus_count}"),
        ("executions", count(stats.execs_done), "speed", f"{count(stats.execs_per_sec)}/s"),
        ("edges", f"{stats.edges_found} ({stats.bitmap_cvg:.2f} %)", "stability", f"{stats.stability:.2f} %"),
        ("pending", f"{stats.pending_total} ({stats.pending_favs} favoured)", "imported", str(stats.corpus_imported)),
        ("budget", f"{count(stats.budget)} blocks", "depth", str(stats.max_depth)),
    ]
    lines = [title.center(_WIDTH, "=")]
    lines += [f" {a:>14} : {b:<24.24} {c:>14} : {d:<20.20}".rstrip() for a, b, c, d in rows]
    return [*lines, "=" * _WIDTH, " Ctrl-C ends; -i - goes on later"]


def line(stats: Stats) -> str:
    """The same on one line, for logs."""
    return (
        f"[{duration(stats.run_time)}] {stats.execs_done} runs, {stats.execs_per_sec:.0f}/s, corpus {stats.corpus_count}, "
        f"pending {stats.pending_total}, edges {stats.edges_found}, crashes {stats.saved_crashes}, hangs {stats.saved_hangs}, "
        f"stability {stats.stability:.2f} %, cycle {stats.cycles_done}"
    )


class Screen:
    """Shows a campaign on a stream."""

    def __init__(self, stream: TextIO | None, *, drawn: bool | None = None, every: float = 10.0) -> None:
        """`stream` None: silence. `drawn`: a picture or lines; None: as the stream is. `every`: seconds between lines."""
        self._stream = stream
        self._drawn = bool(stream is not None and stream.isatty()) if drawn is None else drawn
        self._every = every
        self._next = 0.0
        self._begun = False

    def show(self, stats: Stats, *, last: bool = False) -> None:
        """Something may have changed. `last`: shown whatever the time."""
        if self._drawn:
            begin = _HOME if self._begun else _HIDE + "\x1b[2J" + _HOME
            self._begun = True
            self._write(begin + "".join(f"{text}{_CLEAR_LINE}\n" for text in picture(stats)) + _CLEAR_BELOW)
        elif last or stats.last_update >= self._next:
            self._next = stats.last_update + self._every
            self._write(line(stats) + "\n")

    def say(self, text: str) -> None:
        """A notice; before the picture begins, or below it."""
        self._write(f"emuvm: {text}\n")

    def close(self) -> None:
        """The terminal is as it was."""
        if self._begun:
            self._write(_SHOW)

    def _write(self, text: str) -> None:
        if self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None
