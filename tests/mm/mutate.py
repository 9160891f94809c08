"""Do the tests of the address space notice when it is wrong? Mutants of emuvm/mm, one at a time, in a temporary copy.

    PYTHONPATH=.:loaders python -m tests.mm.mutate --count 100 --seed 1 [--file space.py ...] [--list]

A mutant changes one thing: a comparison, a number by one, an operator, and/or, a `not`, the arms of a conditional, a return value, or a
statement that is left out. It is killed if the quick tests fail or take too long. Texts, annotations and tuning constants are left alone:
they are not behaviour.

The rules of Linux are changed in a child process (mutate_linux.py); all else is changed in a copy of the folder, where pytest runs.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import mutate_linux

ROOT = Path(__file__).resolve().parents[2]
FILES = ("space.py", "delivery.py", "arguments.py", "cut.py", "vmamap.py", "gapsearch.py", "planning.py", "ways.py")
TESTS = ("tests/mm/test_contract.py", "tests/mm/test_vmamap.py", "tests/mm/test_model.py", "tests/mm/test_memory.py",
         "tests/mm/test_ways.py")  # fmt: skip
LINUX_FILES = (
    "rules.py", "areas.py", "linux.py", "protect.py", "remap.py", "advice.py", "locking.py", "guards.py", "limits.py", "layout.py",
    "totals.py",
)  # fmt: skip
SECONDS = 60
TUNING = {"WIDTH", "_LEAN", "_STRIDE", "_MOST"}

EQUIVALENT = {
    ("gapsearch.py", "bisect_left(keys, hi) + 1", "1  ->  2"): "one more gap is looked at, all of it above the limit: nothing fits there",
    ("gapsearch.py", "k > len(keys)", "k > len(keys)  ->  k >= len(keys)"): "the same number is stored when they are equal",
    ("gapsearch.py", "hi > root.lo", "hi > root.lo  ->  hi >= root.lo"): "with nothing below the limit nothing is found in the tree",
    ("vmamap.py", "< _LEAN", "len(kid.items) < _LEAN  ->  len(kid.items) <= _LEAN"): "how lean a node may be is tuning",
    ("vmamap.py", "i != j)", "len(kids) > 1  ->  len(kids) >= 1"): "joins nodes that need not be joined: tuning",
    ("vmamap.py", "hi <= root.lo", "hi <= root.lo  ->  hi < root.lo"): "the walk finds nothing there either",
    ("vmamap.py", "keys[i] < hi:", "keys[i] < hi  ->  keys[i] <= hi"): "takes the general way, which comes to the same",
    ("vmamap.py", "if after >= 0:", "after >= 0  ->  after > 0"): "nothing can be put in front of a region at 0",
    ("areas.py", "regions.insert(0, left)", "0  ->  -1"): "there is one element",
    ("areas.py", "before[last - 1].start + 1", "1  ->  2"): "any address in the area will do",
    ("areas.py", "vma.start + 1, [", "1  ->  2"): "any address in the area will do",
    ("areas.py", "source.start + 1, rests", "1  ->  2"): "any address in the area will do",
    ("areas.py", "hi = end + 1", "1  ->  2"): "any address in the area will do",
    ("advice.py", ": (0, VmFlag.", "0  ->  1"): "no area has a flag with this number",
    (
        "guards.py",
        "update.kind is Kind.MOVE",
        "update.kind is Kind.MOVE and update.new is not None  ->  update.kind is Kind.MOVE or update.new is not None",
    ): "there are no guards where an area appears",
    ("limits.py", "more_data: int = 0", "0  ->  -1"): "whole pages are compared",
    ("limits.py", "& -4096", "4096  ->  4095"): "whole pages are compared",
    ("locking.py", "& -4096", "4096  ->  4095"): "whole pages are compared",
    (
        "areas.py",
        "if left is not None and (took",
        "left is not None and (took_left or cut_left)  ->  left is not None or (took_left or cut_left)",
    ): "the area below is written again as it is",
    ("linux.py", "if hint and hint < layout.min_addr", "hint < layout.min_addr  ->  hint <= layout.min_addr"): "it becomes what it is",
    ("linux.py", "max(aligned, 0)", "0  ->  -1"): "it is not looked at then",
    ("remap.py", "return length + mask", "1  ->  2"): "the last bit is zero anyway",
    ("remap.py", "result = 0", "0  ->  -1"): "the first area assigns it",
    ("remap.py", "result = 0", "0  ->  1"): "the first area assigns it",
    ("advice.py", "for block in range", "1  ->  2"): "addresses are whole pages",
    ("advice.py", "_SINCE.get", "0  ->  1"): "older than any kernel",
    ("advice.py", "_SINCE.get", "0  ->  -1"): "older than any kernel",
    ("layout.py", "kernel: tuple[int, int] = (6, 18)", "18  ->  19"): "no rule changed",
    ("layout.py", "kernel: tuple[int, int] = (6, 18)", "18  ->  17"): "no rule changed",
    ("layout.py", "low: int = 0", "0  ->  1"): "lower than any limit",
    ("layout.py", "low: int = 0", "0  ->  -1"): "lower than any limit",
    ("totals.py", "* sign", "(vma.end - vma.start) * sign  ->  (vma.end - vma.start) // sign"): "the sign is 1 or -1",
    ("totals.py", "> self.peak", "self.total > self.peak  ->  self.total >= self.peak"): "the same number is stored",
    ("linux.py", "if start <= page < end", "start <= page < end  ->  start < page < end"): "asked for again, the area has its anon_vma",
    ("advice.py", "(vma.start + HUGE - 1", "1  ->  2"): "addresses are whole pages",
    ("layout.py", "floor = ", "low <= arch.unmapped_base < high  ->  low < arch.unmapped_base < high"): "the same number is taken",
    ("layout.py", "first = align_at", "1  ->  2"): "addresses are whole pages",
    ("areas.py", "while before[last - 1]", "1  ->  2"): "more is written again as it is",
    ("protect.py", "return True", "True  ->  False"): "the other way finds all as it is to be",
    ("protect.py", "if room < 2", "2  ->  3"): "where it is not simple the other way comes to the same",
    ("protect.py", "if room < 2", "room < 2  ->  room <= 2"): "where it is not simple the other way comes to the same",
    ("protect.py", "if end > INFINITY", "end > INFINITY  ->  end >= INFINITY"): "it is a whole page",
    ("linux.py", "offset: int = 0", "0  ->  -1"): "only files use it",
    ("linux.py", "offset: int = 0", "0  ->  1"): "only files use it",
    ("linux.py", "if request.fixed and request.replace", "request.fixed and request.replace  ->  request.fixed or request.replace"): (
        "any other request goes where nothing is"
    ),
}
"""Mutants that behave as the original: (file, part of the line, the change) -> why."""

_COMPARE = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_BINARY = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


@dataclass(frozen=True)
class Mutant:
    """One change: where it is, what it reads like, and what stands in whose place."""

    file: str
    line: int
    text: str
    what: str
    tree: ast.Module
    parent: ast.AST
    field: str
    index: int | None
    node: ast.AST
    changed: ast.AST

    def source(self) -> str:
        """The whole file with this change."""
        self._put(self.changed)
        try:
            return ast.unparse(ast.fix_missing_locations(self.tree))
        finally:
            self._put(self.node)

    def _put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def nodes(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """(parent, field, index or None, node) for everything that is behaviour."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params", "bases"):
            continue
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, item in items:
            if not isinstance(item, ast.AST) or isinstance(item, ast.JoinedStr | ast.Import | ast.ImportFrom):
                continue
            if isinstance(item, ast.Assign | ast.AnnAssign):
                targets = item.targets if isinstance(item, ast.Assign) else [item.target]
                if any(isinstance(target, ast.Name) and target.id in TUNING for target in targets):
                    continue
            yield tree, name, index, item
            yield from nodes(item)


def variants(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """The changed forms of one node."""
    old = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            ops = list(node.ops)
            ops[place] = _COMPARE[type(operator)]()
            yield ast.Compare(node.left, ops, node.comparators), old
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        yield ast.BinOp(node.left, _BINARY[type(node.op)](), node.right), old
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values), old
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        yield node.operand, old
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield ast.Constant(node.value + 1), old
        yield ast.Constant(node.value - 1), old
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.Constant(not node.value), old
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body), old
    elif isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) not in ("None", "False"):
        yield ast.Return(None), old
    elif isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break):
        yield ast.Pass(), old
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass(), old


def equivalent(mutant: Mutant) -> tuple[str, str, str] | None:
    """Its entry in EQUIVALENT."""
    for key in EQUIVALENT:
        if key[0] == mutant.file and key[2] == mutant.what and key[1] in mutant.text:
            return key
    return None


def mutants(name: str) -> list[Mutant]:
    """Every mutant of a file, without the equivalent ones."""
    return [mutant for mutant in all_mutants(name) if equivalent(mutant) is None]


@cache
def all_mutants(name: str) -> list[Mutant]:
    """Every mutant of a file."""
    text = (ROOT / "emuvm/mm" / name).read_text(encoding="utf-8")
    tree, lines = ast.parse(text), text.splitlines()
    found = []
    for parent, field, index, node in list(nodes(tree)):
        for changed, old in variants(node):
            ast.copy_location(changed, node)
            what = f"{old}  ->  {ast.unparse(ast.fix_missing_locations(changed))}"
            line = lines[getattr(node, "lineno", 1) - 1]
            found.append(Mutant(name, getattr(node, "lineno", 0), line, what, tree, parent, field, index, node, changed))
    return found


def tests_pass(folder: Path, tests: tuple[str, ...], deselected: list[str]) -> tuple[bool, str]:
    """Run the quick tests in a copy."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no", *tests]
    for name in deselected:
        command += ["--deselect", name]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False, "too slow"
    return done.returncode == 0, done.stdout


def copy_to(folder: Path) -> None:
    """What the tests need, without the rest of the repository."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so")
    shutil.copytree(ROOT / "emuvm", folder / "emuvm", ignore=ignore)
    shutil.copytree(ROOT / "tests/mm", folder / "tests/mm", ignore=ignore)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n", encoding="utf-8")
    if (ROOT / "tests/__init__.py").exists():
        shutil.copy(ROOT / "tests/__init__.py", folder / "tests/__init__.py")


def survivors(
    chosen: list[Mutant], *, tests: tuple[str, ...] = TESTS, deselected: list[str] | None = None, verbose: bool = False
) -> list[Mutant]:
    """The mutants that no test notices."""
    alive = []
    with tempfile.TemporaryDirectory(prefix="mutate-") as name:
        folder = Path(name)
        copy_to(folder)
        good, output = tests_pass(folder, tests, deselected or [])
        if not good:
            raise SystemExit(f"the tests fail without any mutant:\n{output}")
        for number, mutant in enumerate(chosen):
            path = folder / "emuvm/mm" / mutant.file
            original = path.read_text(encoding="utf-8")
            path.write_text(mutant.source(), encoding="utf-8")
            good, _output = tests_pass(folder, tests, deselected or [])
            path.write_text(original, encoding="utf-8")
            if good:
                alive.append(mutant)
            if verbose and (good or number % 10 == 9):
                print(f"{number + 1}/{len(chosen)}  {'SURVIVED ' + show(mutant) if good else ''}", flush=True)
    return alive


def show(mutant: Mutant) -> str:
    return f"{mutant.file}:{mutant.line}: {mutant.what}"


def choose(count: int, seed: int, files: tuple[str, ...] = FILES + LINUX_FILES, *, each: bool = False) -> list[Mutant]:
    """A seeded sample of all mutants, or of each file's."""
    if each:
        return [mutant for name in files for mutant in choose(count, seed, (name,))]
    everything = [mutant for name in files for mutant in mutants(name)]
    return random.Random(seed).sample(everything, min(count, len(everything)))


def main() -> int:
    parser = argparse.ArgumentParser(description="mutation check of emuvm.mm")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--each", action="store_true", help="so many of each file")
    parser.add_argument("--linux", action="store_true", help=f"only {', '.join(LINUX_FILES)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file", action="append", help=f"one of {', '.join(FILES + LINUX_FILES)}")
    parser.add_argument("--deselect", action="append", help="a test to leave out (pytest node id)")
    parser.add_argument("--recordings", type=int, default=1000, help="use only so many for the rules of Linux")
    parser.add_argument("--list", action="store_true", help="only list the mutants")
    options = parser.parse_args()
    files = tuple(options.file or (LINUX_FILES if options.linux else FILES + LINUX_FILES))
    chosen = choose(options.count, options.seed, files, each=options.each)
    if options.list:
        print("\n".join(show(mutant) for mutant in chosen))
        return 0
    rules = [mutant for mutant in chosen if mutant.file in LINUX_FILES]
    others = [mutant for mutant in chosen if mutant.file not in LINUX_FILES]
    alive = mutate_linux.survivors(rules, recordings=options.recordings, verbose=True) if rules else []
    if others:
        alive += survivors(others, deselected=options.deselect, verbose=True)
    killed = len(chosen) - len(alive)
    for name in sorted({mutant.file for mutant in chosen}):
        total = sum(mutant.file == name for mutant in chosen)
        left = sum(mutant.file == name for mutant in alive)
        print(f"{name:14} {total - left} of {total}")
    print(f"{killed} of {len(chosen)} killed: {100 * killed / max(len(chosen), 1):.1f} %")
    for mutant in alive:
        print("alive ", show(mutant))
    return 0


if __name__ == "__main__":
    sys.exit(main())
