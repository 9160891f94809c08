"""Making the first process of a run: all parts, put together.

Owns: which parts a process is made of, and the options of a run. Must not know the command line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from emuvm.abi.arch import BY_NAME, Arch
from emuvm.abi.flags import Rlimit
from emuvm.abi.tuples import NamedTuple
from emuvm.engine.unicorn import UnicornEngine
from emuvm.errors import GuestError
from emuvm.kernel.execve import install, prepare
from emuvm.kernel.filetable import FileTable
from emuvm.kernel.fs import Filesystem
from emuvm.kernel.host_system import HostSystem
from emuvm.kernel.process import Process
from emuvm.kernel.report import Reporter
from emuvm.mm.linux import INFINITY, Limits, LinuxMm
from emuvm.mm.rules import KERNEL, Kernel
from emuvm.mm.space import AddressSpace
from emuvm_loaders import Image, LoadError, load

_CAP_IPC_LOCK, _CAP_SYS_RAWIO = 14, 17


class Options(NamedTuple):
    """How to run a program."""

    root: str = "/"
    """Host directory that is the guest's /."""
    writable: tuple[str, ...] = ()
    """Guest directories below which the program may write."""
    allow_all: bool = False
    """The program may do with files whatever the user may."""
    adapter: Literal["paged", "regions"] = "paged"
    memory: int = INFINITY
    """RLIMIT_DATA in bytes: private writable memory, reservations not counted."""
    kernel: str = ""
    """Linux version whose rules the memory calls follow: '6.1', 'host' for the host's. '': emuvm's default."""


class NotOpened(LoadError):
    """The path leads to no file that may be opened; `errno` says why."""


class Host:
    """What a process finds around it: this is the host that emuvm runs on."""

    def files(self) -> FileTable:
        """The descriptors it starts with."""
        return FileTable()

    def filesystem(self, options: Options, reporter: Reporter) -> Filesystem:
        """What its paths lead to."""
        return Filesystem(options.root, options.writable, options.allow_all, reporter)

    def system(self) -> HostSystem:
        """Identity, clocks, sizes."""
        return HostSystem()

    def reporter(self, write: Callable[[str], object] | None) -> Reporter:
        """Who takes the notices."""
        return Reporter(write)


def architecture(image: Image) -> Arch:
    """The architecture of an image, if programs for it can be run; LoadError."""
    arch = BY_NAME.get(image.arch)
    if arch is None or not arch.runnable:
        raise LoadError(f"programs for {image.arch or f'machine {image.machine}'} cannot be run")
    return arch


def _kernel(system: HostSystem, wanted: str) -> Kernel:
    """The version a name stands for: '6.12', 'host', or '' for the newest whose rules are known."""
    text = system.uname()[2] if wanted == "host" else wanted
    numbers = [int(digits) for digits in re.findall(r"\d+", text)[:2]]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else KERNEL


def _limits(system: HostSystem, options: Options) -> Limits:
    """What the process may map: the limits emuvm's own process has, and --mem."""
    data, data_hard = system.limit(Rlimit.RLIMIT_DATA)
    return Limits(
        address_space=system.limit(Rlimit.RLIMIT_AS)[0],
        data=min(data, options.memory),
        data_hard=min(data_hard, options.memory),
        stack=system.limit(Rlimit.RLIMIT_STACK)[0],
        memlock=system.limit(Rlimit.RLIMIT_MEMLOCK)[0],
        commit=system.total_memory,
        overcommit=system.overcommit(),
        ipc_lock=bool(system.capabilities >> _CAP_IPC_LOCK & 1),
    )


def boot(
    program: str,
    argv: Sequence[bytes],
    envp: Sequence[bytes],
    options: Options = Options(),  # noqa: B008 - immutable
    write: Callable[[str], object] | None = None,
    begin: Callable[[Process], object] | None = None,
    *,
    host: Host = Host(),  # noqa: B008 - immutable
    native: bool = True,
) -> Process:
    """A process that is about to run `program`, a guest path. Close it when done. `write` takes the notices. `begin` is
    called with the process while its address space is still empty: the moment to subscribe. `native`: use the C module.

    NotOpened: no such program. LoadError: none that can be run (errno as execve). GuestError: E2BIG.
    """
    reporter = host.reporter(write)
    fs = host.filesystem(options, reporter)
    path = program.encode(errors="surrogateescape")
    files, engine = host.files(), None
    try:
        try:
            source, exe = fs.open_program(path)
        except GuestError as error:
            raise NotOpened(error.why or error.errno.name, error.errno) from error
        image = load(source, name=program)
        arch = architecture(image)
        space = AddressSpace(0, arch.task_size, arch.page_size)
        engine = UnicornEngine(arch, space, adapter=options.adapter, native=native)
        system = host.system()
        mm = LinuxMm(space, arch, _limits(system, options), kernel=_kernel(system, options.kernel))
        mm.raw_io = bool(system.capabilities >> _CAP_SYS_RAWIO & 1)
        mm.lowest = system.lowest_address()
        proc = Process(arch, space, mm, engine, files=files, fs=fs, system=system, reporter=reporter)
        proc.signals.inherit(system.ignored_signals)
        space.checking = proc.system.switched_on("EMUVM_CHECK")
        proc.umask = fs.umask
        if begin is not None:
            begin(proc)
        install(proc, prepare(proc, source, path, argv, envp, exe))
    except BaseException:
        if engine is not None:
            engine.close()
        files.close_all()
        fs.close()
        raise
    return proc


