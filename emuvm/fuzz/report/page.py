"""HTML pages that need nothing but themselves.

Owns: how pages look. Must not know how their contents came about. All text is escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from emuvm.fuzz.outcome import Call
from emuvm.fuzz.report.describe import hexdump
from emuvm.fuzz.report.triage import Group

_CALLS = 1000
_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; color: #222; background: #fff }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .2em .8em .2em 0; border-bottom: 1px solid #ddd }
pre { background: #f6f6f4; padding: .8em; overflow-x: auto; font-size: 12.5px; line-height: 1.35 }
.hit { background: #dff2df } .missed { background: #f8dfdf } .number { color: #888 } summary { cursor: pointer }
@media (prefers-color-scheme: dark) { body { background: #1b1b1b; color: #ddd } pre { background: #262626 } .hit { background: #1f3a1f }
.missed { background: #4a2222 } th, td { border-color: #444 } a { color: #8ab4f8 } }
"""


def document(title: str, body: Iterable[str]) -> str:
    """A whole page; `body` is HTML."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body><h1>{escape(title)}</h1>{''.join(body)}</body></html>\n"


def printable(text: str) -> str:
    """Text that may hold anything, as HTML. File names may not even be Unicode."""
    return escape(text.encode("utf-8", "backslashreplace").decode())


def triage_page(groups: list[Group], target: str) -> str:
    """The groups: a table, then each with everything about its shortest input."""
    rows = "".join(
        f'<tr><td>{len(group.cases)}</td><td><a href="#g{number}">{printable(group.key.what)}</a></td>'
        f"<td>{printable(group.key.access)}</td>"
        f"<td>{printable(group.key.address_class)}</td><td>{printable(group.place)}</td><td>{len(group.example.data)}</td></tr>"
        for number, group in enumerate(groups)
    )
    head = "<tr><th>count<th>signal<th>access<th>address<th>where<th>shortest</tr>"
    body = [f"<p>{printable(target)}</p><table>{head}{rows}</table>"]
    for number, group in enumerate(groups):
        example = group.example
        calls = example.outcome.calls
        body.append(f'<h2 id="g{number}">{printable(group.identity)}</h2>')
        body.append(f"<pre>{printable(chr(10).join(group.lines))}</pre>")
        body.append(_folded(f"input, {len(example.data)} bytes: {example.path}", hexdump(example.data)))
        body.append(_folded(f"{len(calls)} system calls", _calls(calls)))
        body.append(_folded(f"{len(group.cases)} files", [case.path + ("" if case.stable else " (unstable)") for case in group.cases]))
    return document("Crashes and hangs", body)


def _calls(calls: Sequence[Call]) -> list[str]:
    """The last ones, if there are very many: a program that hangs may have made millions."""
    shown = [f"... {len(calls) - _CALLS} calls before"] if len(calls) > _CALLS else []
    for call in calls[-_CALLS:]:
        result = "?" if call.result is None else str(call.result)
        shown.append(f"{call.name}({', '.join(f'{arg:#x}' for arg in call.args)}) = {result}")
    return shown


def _folded(title: str, lines: Iterable[str]) -> str:
    return f"<details><summary>{printable(title)}</summary><pre>{printable(chr(10).join(lines))}</pre></details>"


def coverage_page(files: Iterable[tuple[str, list[str] | None, dict[int, int]]], target: str) -> str:
    """(path, its text or None, line -> how many inputs executed it) as a page with the lines coloured."""
    overview, bodies = [], []
    for number, (path, text, hits) in enumerate(files):
        hit = sum(1 for count in hits.values() if count)
        share = 100 * hit / len(hits) if hits else 0.0
        overview.append(f'<tr><td><a href="#f{number}">{printable(path)}</a></td><td>{hit} of {len(hits)}</td><td>{share:.1f} %</td></tr>')
        lines = []
        last = len(text) if text is not None else max(hits, default=0)
        for line in range(1, last + 1):
            kind = "" if line not in hits else ' class="hit"' if hits[line] else ' class="missed"'
            shown = printable(text[line - 1]) if text is not None else ""
            count = str(hits[line]) if line in hits else ""
            if text is not None or line in hits:
                lines.append(f'<span class="number">{line:5} {count:>6}</span> <span{kind}>{shown}</span>')
        bodies.append(f'<h2 id="f{number}">{printable(path)}</h2><pre>{chr(10).join(lines)}</pre>')
    head = "<tr><th>file<th>lines<th></tr>"
    return document("Coverage", [f"<p>{printable(target)}</p><table>{head}{''.join(overview)}</table>", *bodies])
