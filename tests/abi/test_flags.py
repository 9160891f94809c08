"""The flag tables against the kernel headers that are installed: the compiler evaluates each name, nothing is run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emuvm.abi import auxv, controls, errno, flags, signals
from emuvm.abi.arch import BY_NAME

HEADERS = (
    *(
        "linux/types.h",
        "linux/fcntl.h",
        "linux/mman.h",
        "asm/ioctls.h",
        "asm/termbits.h",
        "asm/ioctl.h",
        "linux/resource.h",
        "linux/poll.h",
    ),
    *("linux/stat.h", "linux/signal.h", "linux/prctl.h", "asm/prctl.h", "linux/time.h", "linux/futex.h", "linux/sched.h"),
    *("linux/random.h", "linux/memfd.h", "linux/fs.h", "asm/sockios.h", "linux/wait.h", "linux/openat2.h"),
    *("linux/close_range.h", "linux/auxvec.h", "linux/errno.h", "asm/termios.h"),
)
TARGETS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "x86_64": ("/usr/include/x86_64-linux-gnu", ("__x86_64__", "__LP64__"), ()),
    "arm64": ("/usr/aarch64-linux-gnu/include", ("__aarch64__", "__LP64__"), ()),
    "i386": ("/usr/i686-linux-gnu/include", ("__i386__",), ()),
    "arm": ("/usr/arm-linux-gnueabihf/include", ("__arm__", "__ARM_EABI__"), ()),
    "riscv64": ("/usr/riscv64-linux-gnu/include", ("__riscv", "__LP64__"), ("-D__riscv_xlen=64",)),
    "ppc64": ("/usr/powerpc64-linux-gnu/include", ("__powerpc__", "__powerpc64__", "__LP64__"), ()),
    "ppc32": ("/usr/powerpc-linux-gnu/include", ("__powerpc__",), ()),
    "s390x": ("/usr/s390x-linux-gnu/include", ("__s390__", "__s390x__", "__LP64__"), ()),
    "mips32": (
        "/usr/mips-linux-gnu/include",
        ("__mips__", "_ABIO32"),
        ("-D_ABIN32=2", "-D_ABI64=3", "-D_MIPS_SIM=1", "-D_MIPS_SZLONG=32", "-D__MIPSEB__"),
    ),
    "mips64": (
        "/usr/mips64-linux-gnuabi64/include",
        ("__mips__", "__mips64", "_ABIO32"),
        ("-D_ABIN32=2", "-D_ABI64=3", "-D_MIPS_SIM=3", "-D_MIPS_SZLONG=64", "-D__MIPSEB__"),
    ),
    "m68k": ("/usr/m68k-linux-gnu/include", ("__m68k__",), ()),
    "sparc64": ("/usr/sparc64-linux-gnu/include", ("__sparc__", "__arch64__"), ()),
}
"""Arch.name -> include directory (Debian), macros the compiler would predefine as 1, other options."""

MISSING = -0x1234_5678_9ABC
OURS_ONLY = {"O_ASYNC", "MAP_32BIT", "MAP_ABOVE4G", "PROT_BTI", "PROT_MTE", "PROT_SAO", "PROT_ADI", "MAP_SYNC", "MAP_UNINITIALIZED"}
"""Names of the C library (O_ASYNC), and those that are 0 here where the architecture has no such flag."""


def header_values(arch: str, names: list[str]) -> dict[str, int]:
    """The value the headers of `arch` give to each macro name they define. Skips the test without headers or compiler."""
    include, ones, options = TARGETS[arch]
    directories = [Path(include), Path("/usr/include")] if arch == "x86_64" else [Path(include)]
    if not (directories[0] / "asm/unistd.h").exists() or shutil.which("gcc") is None:
        pytest.skip(f"no kernel headers for {arch}, or no gcc")
    lines = [f"#include <{name}>" for name in HEADERS if any((path / name).exists() for path in directories)]
    lines.append("typedef long long loff_t; long long values[] = {")
    lines += [f"#ifdef {name}\n(long long)({name}),\n#else\n{MISSING}LL,\n#endif" for name in names]
    lines.append("};")
    search = [part for path in directories for part in ("-isystem", str(path))]
    macros = [f"-D{name}=1" for name in ones]
    command = ["gcc", "-S", "-w", "-undef", "-nostdinc", "-D__linux__=1", "-D__SIZEOF_POINTER__=8", *macros, *options, *search]
    result = subprocess.run([*command, "-x", "c", "-", "-o", "-"], input="\n".join(lines), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[:2000]
    values: list[int] = []
    for kind, number in re.findall(r"^\t\.(quad|zero|xword)\t(-?\d+)$", result.stdout.split("values:")[1], re.MULTILINE):
        values += [0] * (int(number) // 8) if kind == "zero" else [int(number)]
    assert len(values) == len(names)
    return {name: value for name, value in zip(names, values, strict=True) if value != MISSING}


def constants(namespace: type) -> dict[str, int]:
    """The integer constants of a namespace class, inherited ones included."""
    names = {name for part in namespace.__mro__ for name in vars(part) if name.isupper()}
    return {name: getattr(namespace, name) for name in names}


def ours(arch: str) -> dict[str, int]:
    """Every constant that emuvm has for an architecture."""
    table: dict[str, int] = {}
    chosen: list[type] = [choose(arch) for choose in (flags.open_for, flags.map_for, flags.prot_for, flags.mcl_for)]
    chosen += [choose(arch) for choose in (flags.fcntl_for, flags.poll_for, flags.rlimit_for)]
    chosen += [flags.Memory, flags.At, flags.Seek, flags.Mode, controls.Clock, controls.Prctl, controls.Random, controls.Fd]
    chosen += [controls.Process, controls.Futex]
    if not arch.startswith("sparc"):
        chosen.append(controls.ioctl_for(arch))
    for namespace in chosen:
        table |= constants(namespace)
    if not arch.startswith(("mips", "ppc", "sparc")):
        table |= constants(controls.Tty)
    table |= {name: value for name, value in vars(auxv).items() if re.fullmatch(r"AT_[A-Z0-9_]+", name)}
    if not arch.startswith(("mips", "sparc")):
        table |= {name: int(value) for name, value in signals.Signal.members().items()}
        table |= {name: int(value) for name, value in errno.Errno.members().items()}
        table |= {name: value for name, value in vars(signals).items() if re.fullmatch(r"S[AS]_[A-Z0-9_]+", name)}
        table |= constants(signals.Code)
    return table


@pytest.mark.parametrize("arch", TARGETS)
def test_values_agree_with_the_headers(arch: str) -> None:
    mine = ours(arch)
    if arch in ("ppc32", "ppc64"):
        mine.pop("EDEADLOCK")  # an alias of EDEADLK here, a number of its own (58) there
    theirs = header_values(arch, sorted(mine))
    assert len(theirs) > 250
    width = 0xFFFF_FFFF
    different = {
        name: (hex(mine[name]), hex(value))
        for name, value in theirs.items()
        if mine[name] & width != value & width and not (name in OURS_ONLY and value)
    }
    assert different == {}
    for name in OURS_ONLY - {"O_ASYNC"}:
        assert mine[name] & width == theirs.get(name, 0 if name != "MAP_ABOVE4G" else mine[name]) & width, name


def test_families() -> None:
    assert {flags.family(name) for name in BY_NAME} == {"x86", "arm", "arm64", "riscv", "mips", "powerpc", "s390", "m68k", "sparc"}
    with pytest.raises(KeyError):
        flags.family("vax")


def test_arm64_open_flags_differ_from_x86() -> None:
    x86, arm = flags.open_for("x86_64"), flags.open_for("arm64")
    assert (x86.O_DIRECTORY, x86.O_DIRECT) == (arm.O_DIRECT, arm.O_DIRECTORY)
    assert x86.O_NOFOLLOW == arm.O_LARGEFILE
    assert (x86.O_CREAT, x86.O_CLOEXEC) == (arm.O_CREAT, arm.O_CLOEXEC)


def test_map_flags_of_architectures_without_a_kernel_here() -> None:
    assert (flags.map_for("mips32").MAP_ANONYMOUS, flags.map_for("mips64").MAP_STACK) == (0x800, 0x40000)
    assert (flags.map_for("ppc64le").MAP_LOCKED, flags.map_for("ppc32").MAP_NORESERVE) == (0x80, 0x40)
    assert (flags.map_for("sparc64").MAP_LOCKED, flags.map_for("sparc32").MAP_GROWSDOWN) == (0x100, 0x200)
    for namespace in (flags.Map, flags.MapX86, flags.MapMips, flags.MapPowerpc, flags.MapSparc):
        bits = [getattr(namespace, name) for name in constants(namespace) if name not in ("MAP_TYPE", "MAP_SHARED_VALIDATE")]
        single = [bit for bit in bits if bit & (bit - 1) == 0 and bit]
        assert len(single) == len(set(single)), namespace
