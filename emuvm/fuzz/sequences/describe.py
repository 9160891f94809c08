"""What the arguments of calls are, beyond their registry signatures.

Owns: the descriptions, which calls may run on the host, and which are never made. Must not know how programs are made or shown.

A line: call, how often it is chosen, a word for each argument, and after -> what its result is. The words:

    addr      an address in or near a mapping           f:KIND  flags of `abi.names`, any of them; F: those of mmap, with its type
    hint      the same, or 0: the kernel chooses        v:KIND  one of them
    brk       an address near the break                 in out  buffers; size: of the buffer before, or of memory
    len       bytes, pages mostly; page: their number   iov     an iovec; str: text; path; pair: two descriptors in the arena
    shared    an address in a shared mapping            shmaddr where a segment is attached
    fd pid shmid timer   an earlier result of the kind  off pos mapoff flen   offsets and a length in a file
    any       any number                                mode at self sig   as in file calls; our own process; a signal
    N         this number                               PIPE SHM SEALS SPLICE LIMIT   flags of a few calls; rlim: a limit
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from emuvm.abi.numbers import numbers
from emuvm.fuzz.sequences.program import PSEUDO, Const, Program
from emuvm.kernel import registry

_TABLE = """
mmap             60  hint len f:prot F:map fd mapoff       -> addr
munmap           25  addr len
mprotect         35  addr len f:prot
mremap           35  addr len len f:mremap addr         -> addr
madvise          40  addr len v:madv
brk              12  brk                                -> addr
mincore          15  addr len out
msync            10  addr len f:msync
mlock            10  addr len
mlock2            6  addr len f:mlock
munlock           8  addr len
mlockall          3  f:mcl
munlockall        3
mseal             5  addr len 0
memfd_create     15  str f:memfd                        -> fd
ftruncate        12  fd flen
fallocate         8  fd f:fallocate off flen
shmget            8  0 len SHM                          -> shmid
shmat            10  shmid hint f:shmat                 -> addr
shmdt             5  shmaddr
shmctl            5  shmid v:ipcctl out
remap_file_pages  8  shared len 0 page f:map
pkey_mprotect     3  addr len f:prot -1
process_madvise   2  fd iov 1 v:madv 0
getpid            1                                     -> pid
prctl             8  v:prctl v:prvma addr len str
read             10  fd addr size
write            10  fd in size
pread64           8  fd addr size pos
pwrite64          8  fd in size pos
readv             4  fd iov 1
writev            4  fd iov 1
preadv            2  fd iov 1 pos 0
pwritev           2  fd iov 1 pos 0
preadv2           2  fd iov 1 pos 0 f:rwf
pwritev2          2  fd iov 1 pos 0 f:rwf
lseek             3  fd pos v:seek
pipe2             6  pair PIPE
dup               2  fd                                 -> fd
close             4  fd
fcntl             4  fd v:fcntl SEALS
sendfile          2  fd fd 0 size
copy_file_range   2  fd 0 fd 0 size 0
splice            2  fd 0 fd 0 size SPLICE
vmsplice          2  fd iov 1 f:splice
membarrier        1  v:barrier 0 0
eventfd2          1  any f:efd                          -> fd
load             25  addr
load8             4  addr
store            30  addr any
store8            5  addr any
hash             10  addr len
openat            2  at path f:open mode                -> fd
open              1  path f:open mode                   -> fd
process_vm_readv  2  self iov 1 iov 1 0
process_vm_writev 2  self iov 1 iov 1 0
timer_create      1  v:clock 0 out
timer_settime     1  timer f:timer in out
timer_gettime     1  timer out
clock_gettime     1  v:clock out
getrandom         1  addr size f:grnd
sigaltstack       1  in out
rt_sigprocmask    1  v:sighow in out 8
getrlimit         1  LIMIT out
setrlimit         3  LIMIT rlim
prlimit64         3  0 LIMIT rlim out
personality       1  f:persona
futex             1  addr v:futex any 0 addr any
"""

NEVER = frozenset(
    "exit exit_group execve execveat fork vfork clone clone3 rt_sigreturn sigreturn pause rt_sigsuspend rt_sigtimedwait kill tkill tgkill "
    "rt_sigqueueinfo rt_tgsigqueueinfo rt_sigaction reboot restart_syscall ptrace seccomp".split()
)
"""Calls that end the runner, or take its signals away, instead of showing something. They may be written by hand."""

ON_THE_HOST = frozenset(
    "mmap munmap mprotect mremap madvise brk mincore msync mlock mlock2 munlock mlockall munlockall mseal memfd_create ftruncate fallocate "
    "shmget shmat shmdt shmctl remap_file_pages pkey_mprotect prctl read write pread64 pwrite64 readv writev preadv pwritev "
    "sendfile copy_file_range splice vmsplice getrlimit setrlimit prlimit64 sigaltstack rt_sigprocmask "
    "preadv2 pwritev2 lseek pipe2 dup close fcntl load load4 load8 store store4 store8 hash".split()
)
"""What may be run outside an emulator: nothing here reaches beyond its own process, or its IPC namespace."""
_HOST_PRCTL = frozenset((0x53564D41,))
_HOST_FCNTL = frozenset((0, 1, 2, 3, 4, 1030, 1031, 1032, 1033, 1034))
"""DUPFD GETFD SETFD GETFL SETFL DUPFD_CLOEXEC SETPIPE_SZ GETPIPE_SZ ADD_SEALS GET_SEALS."""


_LIMITED = {"getrlimit": 0, "setrlimit": 0, "prlimit64": 1}
"""Which argument is the limit."""
_SHM_STAT = frozenset((2, 13, 15))
"""IPC_STAT SHM_STAT SHM_STAT_ANY."""
_HOST_LIMITS = frozenset((1, 2, 3, 7, 8, 9))
"""FSIZE DATA STACK NOFILE MEMLOCK AS, on x86-64."""


class Description(NamedTuple):
    """Of one call."""

    name: str
    weight: int
    args: tuple[str, ...]
    result: str


_GENERIC = {
    "fd": "fd", "int": "any", "uint": "any", "flags": "any", "mode": "mode", "long": "any", "off": "off", "ulong": "any", "size": "len",
    "ptr": "ptr", "str": "str", "path": "path", "path?": "path",
}  # fmt: skip


@cache
def descriptions(arch: str) -> dict[str, Description]:
    """Every call that emuvm has on this architecture, by name: ours, else from its signature."""
    registry.load_families()
    known = numbers(arch)
    found: dict[str, Description] = {}
    for line in _TABLE.strip().splitlines():
        left, _, result = line.partition("->")
        name, weight, *args = left.split()
        if name in known or name in PSEUDO:
            found[name] = Description(name, int(weight), tuple(args), result.strip())
    for name in ("load4", "store4"):
        found[name] = found[name.replace("4", "8")]._replace(name=name)
    for spec in registry.all_specs():
        if spec.name in known and spec.name not in found:
            found[spec.name] = Description(spec.name, 1, tuple(_GENERIC[kind] for kind in spec.kinds), "")
    return found


def forbidden_on_host(program: Program) -> str:
    """Why a program must not run outside an emulator; '' if it may."""
    for number, call in enumerate(program):
        where = f"call {number}, {call.name}"
        if call.name not in ON_THE_HOST:
            return f"{where}: not a call that is made on the host"
        if call.fail_nth:
            return f"{where}: only emuvm can make it fail"
        word = call.args[1] if call.name == "fcntl" and len(call.args) > 1 else call.args[0] if call.name == "prctl" and call.args else None
        if call.name in _LIMITED:
            which = call.args[_LIMITED[call.name]] if len(call.args) > _LIMITED[call.name] else None
            if type(which) is not Const or which.value & 0xFFFF_FFFF not in _HOST_LIMITS:
                return f"{where}: not with this limit"
            if call.name == "prlimit64" and call.args[0] != Const(0):
                return f"{where}: another process"
        if call.name == "shmctl" and len(call.args) > 1:
            command = call.args[1]
            if type(command) is not Const or command.value & 0xFFFF_FEFF in _SHM_STAT:
                return f"{where}: tells of times and owners, which are not alike"
        if call.name in ("fcntl", "prctl"):
            allowed = _HOST_FCNTL if call.name == "fcntl" else _HOST_PRCTL
            if type(word) is not Const or word.value & 0xFFFF_FFFF not in allowed:
                return f"{where}: not with this command"
        described = descriptions("x86_64").get(call.name)
        for arg, kind in zip(call.args, described.args if described else (), strict=False):
            if kind == "fd" and type(arg) is Const and arg.value & 0xFFFF_FFFF < 3:
                return f"{where}: a standard stream"
            if kind == "flen" and (type(arg) is not Const or not -1 << 63 <= arg.value <= 1 << 24) and call.name == "fallocate":
                return f"{where}: too much memory"
    return ""
