"""The attach samples run and print what they promise."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SAMPLES = Path(__file__).parent.parent / "samples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_attach_to_your_uc(capsys: pytest.CaptureFixture[str]) -> None:
    load("attach_to_your_uc").main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "exit(0) with these areas:"
    assert [line.split()[1] for line in lines[1:7]] == ["r-xp", "rwxp", "rw-p", "---p", "rw-p", "rw-p"]
    assert lines[7] == "the guest wrote: grown ok"
    assert "UC_ERR_WRITE_PROT" in lines[8] and "write of 1 byte" in lines[8] and lines[8].endswith("forbidden")
    assert lines[9].startswith("detached")


def test_qiling_plugin(tmp_path: Path) -> None:
    pytest.importorskip("qiling", reason="Qiling is not installed (pip install qiling)")
    plugin = load("qiling_plugin")
    assert plugin.run(str(tmp_path), with_emuvm=True) == ("ok", [(plugin.AREA, plugin.AREA + 0x4000, 1)])
    outcome, areas = plugin.run(str(tmp_path), with_emuvm=False)
    assert (outcome, areas) != ("ok", [(plugin.AREA, plugin.AREA + 0x4000, 1)]), "Qiling alone does it now: the sample can go"


def test_qiling_plugin_without_qiling_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "qiling", None)
    load("qiling_plugin").main()
    assert "not installed" in capsys.readouterr().out
