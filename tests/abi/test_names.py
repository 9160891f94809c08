"""The names and values of `emuvm.abi.names` against the C headers of the host, and of its cross compiler."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emuvm.abi.names import kinds, names

HEADERS = (
    "fcntl.h poll.h sched.h signal.h sys/eventfd.h sys/file.h sys/mman.h sys/personality.h sys/resource.h sys/signalfd.h "
    "sys/socket.h sys/stat.h sys/statvfs.h sys/timerfd.h sys/timex.h sys/wait.h termios.h time.h unistd.h",
    "asm/mman.h asm/prctl.h linux/capability.h linux/close_range.h linux/eventfd.h linux/falloc.h linux/fcntl.h linux/futex.h linux/ipc.h "
    "linux/magic.h linux/memfd.h linux/mempolicy.h linux/openat2.h linux/personality.h linux/prctl.h linux/random.h linux/resource.h "
    "linux/sched.h linux/seccomp.h linux/securebits.h linux/stat.h linux/userfaultfd.h linux/wait.h linux/xattr.h asm/poll.h",
    "linux/fs.h linux/shm.h asm/signal.h linux/time.h asm/termbits.h asm/ioctls.h",
)
"""Those of the C library, and those of the kernel, which must not meet."""
OTHERWISE = {
    "O_LARGEFILE": "0 where files are always large",
    "O_SYNC": "one header spells it __O_SYNC|O_DSYNC",
    "SA_RESTORER": "hidden on some",
    "F_GETLK64": "the C library's F_GETLK, as F_SETLK64 and F_SETLKW64",
    "F_SETLK64": "",
    "F_SETLKW64": "",
}
"""Names whose value in some header is not the kernel's."""


def compiled(compiler: str, headers: str, wanted: list[str], folder: Path) -> dict[str, int]:
    """The macros that some headers define, as the compiler evaluates them. Headers that are not there are left out."""
    includes = "\n".join(f"#if __has_include(<{header}>)\n#include <{header}>\n#endif" for header in headers.split())
    # Two operands of 31 bits each: what every assembler's operands can hold.
    halves = '"i"((unsigned long)({0}) & 0x7fffffff), "i"((unsigned long)({0}) >> 31 & 0x7fffffff)'
    lines = "\n".join(
        f'#ifdef {name}\n__asm__(".ascii \\"<{name} %c0 %c1>\\"" :: {halves.format(name)});\n#endif' for name in wanted
    )
    source = folder / "names.c"
    source.write_text(f"#define _GNU_SOURCE\n{includes}\nvoid f(void) {{\n{lines}\n}}\n")
    done = subprocess.run([compiler, "-w", "-S", "-o", "-", str(source)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {name: int(low) | int(high) << 31 for name, low, high in re.findall(r"<(\w+) (\d+) (\d+)>", done.stdout)}


@pytest.mark.parametrize(("compiler", "arch"), [("gcc", "x86_64"), ("aarch64-linux-gnu-gcc", "arm64")])
def test_names_have_the_values_of_the_headers(compiler: str, arch: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None or (compiler == "gcc" and platform.machine() != "x86_64"):
        pytest.skip(f"{compiler} for {arch} is not installed")
    ours = {name: value for kind in kinds() for name, value in names(kind, arch).entries}
    seen: dict[str, set[int]] = {}
    for headers in HEADERS:
        for name, value in compiled(compiler, headers, sorted(ours), tmp_path).items():
            seen.setdefault(name, set()).add(value)
    assert len(seen) > 350
    wrong = {
        name: (hex(ours[name]), sorted(map(hex, values)))
        for name, values in seen.items()
        if ours[name] not in values and ours[name] not in {value & 0xFFFF_FFFF for value in values} and name not in OTHERWISE
    }
    assert not wrong
