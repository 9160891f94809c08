"""The optional C module; everything else is in pyproject.toml."""

from __future__ import annotations

import zlib
from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("emuvm/engine/native")
SOURCES = ("fill.c", "handled.c", "calls.c", "copies.c", "state.h")
"""As in emuvm.engine.native_code."""
HERE = Path(__file__).parent

setup(
    ext_modules=[
        Extension(
            "emuvm.engine.native._fill",
            [str(NATIVE / name) for name in SOURCES if name.endswith(".c")],
            depends=[str(NATIVE / name) for name in SOURCES],
            define_macros=[
                ("Py_LIMITED_API", "0x030B0000"),
                ("FILL_SOURCE", f"{zlib.crc32(b''.join((HERE / NATIVE / name).read_bytes() for name in SOURCES)):#x}"),
            ],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
