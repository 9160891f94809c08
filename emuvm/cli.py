"""The command line.

Owns: options, exit statuses, what is printed about them. Must not know how anything is done. Parsed by hand: argparse costs
a tenth of a short program's run. Diagnostics go to stderr, never into the program's output.

    exit status: the program's; 128+n after signal n; 137 (as SIGKILL) when --timeout is over; 126 the file cannot be run;
                 127 there is no such file; 130 interrupted; 2 wrong usage; 70 emuvm itself failed
"""

from __future__ import annotations

import sys
from typing import NoReturn

from emuvm.kernel.request import Request

USAGE = """\
usage: emuvm run [options] [--] PROGRAM [ARG...]    run a static Linux program
       emuvm maps [options] [--] PROGRAM            print the mappings it would start with
       emuvm info FILE                              print what the loader sees in a file
       emuvm fuzz -i SEEDS -o OUT [options] -- PROGRAM [ARG...]    find inputs that crash it or hang it
       emuvm replay | triage | cov | cmin | tmin ...    look into what was found; each tells its options with --help
       emuvm --version | --help

options of run (before PROGRAM; everything after it is the program's):
  --root DIR             host directory that is the program's /  (default: /)
  --rw DIR               directory below which it may write; may be repeated  (default: nothing)
  --allow-all            it may do with files whatever you may
  --env NAME=VALUE       put into its environment, over the host's; may be repeated
  --engine paged|regions how memory is mirrored into the CPU  (default: paged)
  --mem LIMIT            most private writable memory, e.g. 512M  (RLIMIT_DATA)
  --timeout SECONDS      kill it after that time: exit status 137
  --maps                 print its memory map to stderr at the end
  --kernel VERSION       follow the memory rules of that Linux, e.g. 6.1, or of the host's: host

to watch it (lines go to stderr unless a FILE is named):
  --strace[=FILTER]      show its system calls and signals in the form of strace. FILTER: call,call  !call  %class  /regex
                         status=successful|failed|unfinished  signal=none|SIGSEGV,...  several parts are joined by ";".
                         Classes: file memory desc process signal network ipc clock creds stat statfs
  -e FILTER              the same, and adds to FILTER; may be repeated
  -f                     that of the processes that it makes, too
  --strace-file FILE     write that there
  --strace-string N      bytes of strings and elements of arrays that are shown  (default: 32)
  --trace-vma FILE       every change of its address space as lines of JSON; "-" is stderr
"""

NOT_RUNNABLE, NOT_FOUND, INTERRUPTED, WRONG_USAGE, BROKEN = 126, 127, 130, 2, 70
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_WITH_VALUE = frozenset(
    ("--root", "--rw", "--env", "--engine", "--mem", "--timeout", "--kernel", "-e", "--strace-file", "--strace-string", "--trace-vma")
)
_FLAGS = frozenset(("--allow-all", "--maps", "-f"))
_OPTIONAL = frozenset(("--strace",))
"""The value is optional, and comes behind an equals sign."""

_FUZZING = {
    **dict.fromkeys(("fuzz", "cmin", "tmin"), "emuvm.fuzz.afl.commands"),
    **dict.fromkeys(("replay", "triage", "cov"), "emuvm.fuzz.report.commands"),
}
"""Which module has the `main(command, words)` of a command."""
_HELP = ("--help", "-h")


class UsageError(Exception):
    """The command line makes no sense; the text says why."""


class HelpWanted(Exception):
    """An option asks for the text of usage, and nothing is to be run."""


def parse(words: list[str]) -> Request:
    """Options, then PROGRAM, then its arguments verbatim. UsageError; HelpWanted."""
    values: dict[str, list[str]] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if name in _FLAGS and not equals:
            values[name] = []
        elif name in _OPTIONAL:
            values.setdefault(name, []).append(value)
        elif name in _WITH_VALUE:
            if not equals:
                if not rest:
                    raise UsageError(f"{name} needs a value")
                value = rest.pop(0)
            values.setdefault(name, []).append(value)
        elif word in _HELP:
            raise HelpWanted
        else:
            raise UsageError(f"unknown option {word}")
    if not rest:
        raise UsageError("which program?")
    return _request(values, rest)


def _request(values: dict[str, list[str]], rest: list[str]) -> Request:
    last = {name: given[-1] for name, given in values.items() if given}
    engine = last.get("--engine", "paged")
    if engine not in ("paged", "regions"):
        raise UsageError(f"--engine {engine}: paged or regions")
    for item in values.get("--env", []):
        if not item.partition("=")[0] or "=" not in item:
            raise UsageError(f"--env {item}: NAME=VALUE")
    return Request(
        program=rest[0],
        args=tuple(rest[1:]),
        root=last.get("--root", "/"),
        writable=tuple(values.get("--rw", ())),
        allow_all="--allow-all" in values,
        environment=tuple(values.get("--env", ())),
        engine=engine,
        memory=_size(last["--mem"]) if "--mem" in last else None,
        timeout=_seconds(last["--timeout"]) if "--timeout" in last else None,
        maps="--maps" in values,
        strace=_filter(values),
        strace_file=last.get("--strace-file"),
        strace_follow="-f" in values,
        strace_string=_count(last["--strace-string"]) if "--strace-string" in last else 32,
        trace_vma=last.get("--trace-vma"),
        kernel=_kernel(last.get("--kernel", "")),
    )


def _filter(values: dict[str, list[str]]) -> str | None:
    """The expressions of --strace and -e as one; None when nothing is to be traced. Any option of tracing asks for it."""
    if values.keys().isdisjoint(("--strace", "-e", "-f", "--strace-file", "--strace-string")):
        return None
    parts = [*values.get("--strace", []), *values.get("-e", [])]
    from emuvm.tools.strace_filter import Filter, FilterError

    expression = ";".join(part for part in parts if part)
    try:
        Filter(expression)
    except FilterError as error:
        raise UsageError(f"--strace: {error}") from None
    return expression


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise UsageError(f"--strace-string {text}: a number")
    return int(text)


def _kernel(text: str) -> str:
    first, dot, second = text.partition(".")
    if text not in ("", "host") and not (dot and first.isdecimal() and second.partition(".")[0].isdecimal()):
        raise UsageError(f"--kernel {text}: a version such as 6.1, or host")
    return text


def _size(text: str) -> int:
    digits = text.rstrip("KMGTkmgt")
    unit = text[len(digits) :].upper()
    if not digits.isdecimal() or unit not in _UNITS:
        raise UsageError(f"--mem {text}: a number of bytes, with K, M, G or T if you like")
    return int(digits) * _UNITS[unit]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise UsageError(f"--timeout {text}: a number of seconds above 0")
    return seconds


def say(text: str) -> None:
    """One line on stderr, if there is a stderr."""
    try:
        sys.stderr.write(f"emuvm: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


def main(words: list[str] | None = None) -> int:
    """Run a command line (default: the process's) and return the exit status."""
    words = sys.argv[1:] if words is None else words
    command = words[0] if words else "--help"
    try:
        if command == "run":
            return _run(parse(words[1:]))
        if command == "maps":
            return _maps(parse(words[1:]))
        if command == "info":
            return _info(words[1:])
        if command in (*_HELP, "help"):
            sys.stdout.write(USAGE)
            return 0 if words else WRONG_USAGE
        if command in _FUZZING:
            return _fuzzing(command, words[1:])
        if command == "--version":
            from emuvm import version

            sys.stdout.write(f"emuvm {version()}\n")
            return 0
        raise UsageError(f"unknown command {command}")
    except HelpWanted:
        sys.stdout.write(USAGE)
        return 0
    except UsageError as error:
        say(f"{error}; see emuvm --help")
        return WRONG_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return 141


def _fuzzing(command: str, words: list[str]) -> int:
    """The commands around the fuzzer, which parse their own options."""
    from importlib import import_module

    from emuvm.errors import EmuvmError

    try:
        return int(import_module(_FUZZING[command]).main(command, words))
    except (EmuvmError, OSError) as error:
        say(f"{command}: {error}")
        return WRONG_USAGE
    except SystemExit as ended:  # argparse has said why
        return ended.code if isinstance(ended.code, int) else WRONG_USAGE


def _info(words: list[str]) -> int:
    if words[:1] == ["--"]:
        words = words[1:]
    elif words and words[0] in _HELP:
        raise HelpWanted
    if len(words) != 1:
        raise UsageError("info takes one file")
    from emuvm.tools.info import main as info

    return info(words[0])


def _maps(request: Request) -> int:
    from emuvm.kernel.running import Refused, started

    try:
        with started(request) as proc:
            sys.stdout.write(proc.maps())
    except Refused as error:
        say(str(error))
        return NOT_FOUND if error.missing else NOT_RUNNABLE
    return 0


def _run(request: Request) -> int:
    from emuvm.errors import EmulatorBug, EngineError
    from emuvm.kernel.running import Refused, started

    begin = None
    if request.strace is not None or request.trace_vma is not None:
        from emuvm.tools.tracing import CannotWrite, prepare

        try:
            begin = prepare(request)
        except CannotWrite as error:
            raise UsageError(str(error)) from None
    try:
        with started(request, begin) as proc:
            status = proc.run()
            if request.maps:
                proc.reporter.text(proc.maps())
    except Refused as error:
        say(str(error))
        return NOT_FOUND if error.missing else NOT_RUNNABLE
    except (EmulatorBug, EngineError) as error:
        say(f"internal error, the run is stopped: {error or type(error).__name__}")
        return BROKEN
    except Exception as error:
        # Whatever emuvm got wrong, a user is owed a sentence and a status, not a traceback.
        say(f"internal error, the run is stopped: {type(error).__name__}: {error}")
        return BROKEN
    return status.shell


def script() -> NoReturn:
    """The `emuvm` command."""
    from emuvm.kernel.host_run import leave

    leave(main())
