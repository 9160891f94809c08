"""The import table, the doors to the host, file and function sizes: what ARCHITECTURE.md promises about the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*(ROOT / "emuvm").rglob("*.py"), *(ROOT / "loaders").rglob("*.py")])
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]
RANKS = {
    "emuvm.abi": 0,
    "emuvm.errors": 1,
    "emuvm.mm": 2,
    "emuvm_loaders": 2,
    "emuvm.engine": 3,
    "emuvm.kernel": 4,
    "emuvm.kernel.sys": 5,
    "emuvm.tools": 6,
    "emuvm.fuzz": 7,
    "emuvm.attach": 7,
    "emuvm.cli": 8,
    "emuvm.testing": 8,
    "emuvm": 9,
}
HOST_MODULES = {"os", "time", "random", "fcntl"}
ALLOWED = {
    ("loaders/emuvm_loaders/__init__.py", "os"): "the type of a path",
    ("loaders/emuvm_loaders/source.py", "os"): "opens the one file it was asked to load",
    ("emuvm/cli.py", "emuvm"): "prints the version; the package itself imports nothing",
}


def module_name(path: Path) -> str:
    base = ROOT / "loaders" if "loaders" in path.relative_to(ROOT).parts else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package(name: str) -> str:
    """The longest entry of RANKS that holds the module."""
    return max((key for key in RANKS if name == key or name.startswith(key + ".")), key=len)


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
    return found


@pytest.fixture(params=SOURCES, ids=NAMES)
def source(request: pytest.FixtureRequest) -> Path:
    path = request.param
    assert isinstance(path, Path)
    return path


def test_imports_point_down(source: Path) -> None:
    here = package(module_name(source))
    for target in imports(ast.parse(source.read_text())):
        if target.split(".")[0] not in ("emuvm", "emuvm_loaders") or (str(source.relative_to(ROOT)), target) in ALLOWED:
            continue
        there = package(target)
        assert here != "emuvm_loaders" or there == here, f"the loaders are a leaf, but import {target}"
        assert there == here or RANKS[there] < RANKS[here], f"{here} imports {target}"


def test_doors_to_the_host(source: Path) -> None:
    name = str(source.relative_to(ROOT))
    roots = {target.split(".")[0] for target in imports(ast.parse(source.read_text()))}
    if not re.fullmatch(r"emuvm/engine/unicorn\w*\.py", name):
        assert "unicorn" not in roots
    if not re.fullmatch(r"emuvm/kernel/host\w*\.py|emuvm/engine/hostmem\.py|emuvm/fuzz/(\w+/)?host\w*\.py", name):
        if name.startswith("emuvm/fuzz/"):
            roots.discard("random")  # generators with a seed
        assert not {root for root in roots & HOST_MODULES if (name, root) not in ALLOWED}


def test_no_exception_is_left_over() -> None:
    for name, target in ALLOWED:
        assert target in imports(ast.parse((ROOT / name).read_text()))


def test_size_and_form(source: Path) -> None:
    text = source.read_text()
    tree = ast.parse(text)
    if not re.fullmatch(r"numbers_\w+\.py", source.name):
        assert text.count("\n") <= 500, "a file is read in one sitting"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 70, node.name
    if tree.body:
        assert ast.get_docstring(tree), "a module says what it owns"
        assert "from __future__ import annotations" in text
    assert not re.search(r"/work/|/tmp/|/home/\w", text), "a path of one machine"


def test_nothing_else_lies_at_the_top() -> None:
    made = re.compile(r"\..*|build|dist|.*\.egg-info")
    there = {path.name for path in ROOT.iterdir() if not made.fullmatch(path.name)}
    expected = "emuvm loaders tests samples pyproject.toml setup.py README.md Makefile LICENSE CHANGELOG.md"
    assert there == set(expected.split())


def test_every_invariant_names_a_test_that_exists() -> None:
    text = (ROOT / "emuvm" / "ARCHITECTURE.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 20
    for path, function in named:
        source = (ROOT / path).read_text()
        assert not function or f"def {function}(" in source, f"{path} has no {function}"
