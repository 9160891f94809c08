"""The optional C module; everything else is in pyproject.toml."""

from __future__ import annotations

import zlib
from pathlib import Path

from setuptools import Extension, setup

SOURCE = "emuvm/engine/native/fill.c"

setup(
    ext_modules=[
        Extension(
            "emuvm.engine.native._fill",
            [SOURCE],
            define_macros=[
                ("Py_LIMITED_API", "0x030B0000"),
                ("FILL_SOURCE", f"{zlib.crc32(Path(__file__).parent.joinpath(SOURCE).read_bytes()):#x}"),
            ],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
