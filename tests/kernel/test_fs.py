"""What a guest can do to the host: only what it was allowed to, whatever the spelling."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from tests.kernel.guest import BASE, FileGuest, files

O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_DIRECTORY, O_PATH, O_TMPFILE = 1, 2, 0x40, 0x80, 0x200, 0x10000, 0x200000, 0x410000
AT_FDCWD = -100


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """root/ with a file and links that lead out of it, and secret/ beside it."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("inside")
    (root / "sub").mkdir()
    (tmp_path / "secret").write_text("outside")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to("../../../../../../../../../etc/passwd")
    (root / "updir").symlink_to("../secret")
    return tmp_path


def test_a_root_confines(tree: Path) -> None:
    with files(str(tree / "root")) as guest:
        assert guest.content("/etc/passwd") == guest.content("/absolute") == guest.content("/up") == b"inside"
        assert guest.content("/../../../../etc/passwd") == b"inside"
        for path in ("/out", "/updir", "/../secret", "/sub/../../secret", "../secret", str(tree / "secret")):
            assert guest.content(path) == -Errno.ENOENT
        fd = guest.path("open", "/sub", O_DIRECTORY)
        assert guest.path("openat", fd, "../../secret", 0) == -Errno.ENOENT
        assert guest.path("openat", fd, "../etc/passwd", 0) > 0
        assert guest.path("chdir", "/sub") == 0 and guest.content("../../../../secret") == -Errno.ENOENT
        assert guest.call("getcwd", BASE, 100) == 5 and guest.proc.fs.cwd == b"/sub"


def test_a_missing_root_is_said(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="--root"):
        FileGuest(str(tmp_path / "none"))
    with pytest.raises(GuestError, match="--rw none"):
        FileGuest(str(tmp_path), ("none",))


def changes(guest: FileGuest, at: str) -> dict[str, int]:
    """Try every kind of change in the directory `at`, which holds file, dir/ and link -> file."""
    file = guest.path("open", f"{at}/file", 0)
    results = {
        "open": guest.path("open", f"{at}/file", O_WRONLY),
        "truncating open": guest.path("open", f"{at}/file", O_TRUNC),
        "through a link": guest.path("open", f"{at}/link", O_RDWR),
        "create": guest.path("open", f"{at}/new", O_CREAT | O_WRONLY, 0o600),
        "unnamed": guest.path("open", at, O_TMPFILE | O_RDWR, 0o600),
        "mkdir": guest.path("mkdir", f"{at}/newdir", 0o700),
        "symlink": guest.path("symlink", "x", f"{at}/newlink"),
        "mknod": guest.path("mknod", f"{at}/node", 0o100600, 0),
        "link": guest.path("link", f"{at}/file", f"{at}/hard"),
        "chmod": guest.path("chmod", f"{at}/file", 0o600),
        "fchmod": guest.path("fchmod", file, 0o600),
        "chown": guest.path("chown", f"{at}/file", os.getuid(), os.getgid()),
        "utimensat": guest.path("utimensat", AT_FDCWD, f"{at}/file", 0, 0),
        "truncate": guest.path("truncate", f"{at}/file", 1),
        "setxattr": guest.path("setxattr", f"{at}/file", "user.x", "v", 1, 0),
        "rename": guest.path("rename", f"{at}/file", f"{at}/other"),
        "unlink": guest.path("unlink", f"{at}/link"),
        "rmdir": guest.path("rmdir", f"{at}/dir"),
    }
    return results


def fill(folder: Path) -> None:
    (folder / "dir").mkdir(parents=True)
    (folder / "file").write_text("content")
    (folder / "link").symlink_to("file")


def test_the_host_is_read_only_with_one_hint(tmp_path: Path) -> None:
    fill(tmp_path)
    before = {p.name: p.lstat().st_mtime_ns for p in tmp_path.iterdir()}
    with files() as guest:
        results = changes(guest, str(tmp_path))
        assert set(results.values()) == {-Errno.EROFS}, results
        assert len(guest.proc.reporter.lines) == 1 and "--rw" in guest.proc.reporter.lines[0]
        assert guest.path("access", str(tmp_path / "file"), 2) == -Errno.EROFS and guest.path("access", str(tmp_path / "file"), 4) == 0
        assert guest.path("open", str(tmp_path / "none"), O_WRONLY) == -Errno.ENOENT
        assert guest.path("mkdir", str(tmp_path / "dir"), 0o700) == -Errno.EEXIST
        assert guest.path("open", str(tmp_path / "file"), O_CREAT | O_EXCL, 0) == -Errno.EEXIST
        assert guest.path("open", str(tmp_path / "file"), O_CREAT, 0) > 0
        assert guest.path("open", "/dev/null", O_RDWR) > 0
        assert guest.path("open", "/dev/full", O_WRONLY) > 0
    assert {p.name: p.lstat().st_mtime_ns for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("allow_all", [False, True])
def test_a_writable_directory_is_writable(tmp_path: Path, allow_all: bool) -> None:
    fill(tmp_path / "a")
    with files("/", () if allow_all else (str(tmp_path / "a"),), allow_all) as guest:
        results = changes(guest, str(tmp_path / "a"))
        assert all(result >= 0 or (name == "setxattr" and result == -Errno.EOPNOTSUPP) for name, result in results.items()), results
        assert guest.proc.reporter.lines == []
    assert (tmp_path / "a" / "new").exists() and not (tmp_path / "a" / "dir").exists() and (tmp_path / "a" / "other").read_text() == "\0"


def test_links_and_dots_do_not_lead_out_of_a_writable_directory(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    fill(tmp_path / "b")
    a = tmp_path / "a"
    (a / "file2").symlink_to(tmp_path / "b" / "file")
    (a / "dir2").symlink_to(tmp_path / "b")
    (a / "fresh").symlink_to(tmp_path / "b" / "fresh")
    (tmp_path / "ab").mkdir()
    with files("/", (str(a),)) as guest:
        for result in (
            guest.path("open", f"{a}/file2", O_WRONLY),
            guest.path("open", f"{a}/fresh", O_WRONLY | O_CREAT, 0o600),
            guest.path("open", f"{a}/../b/file", O_WRONLY),
            guest.path("open", f"{a}/dir2/new", O_WRONLY | O_CREAT, 0o600),
            guest.path("open", f"{tmp_path}/ab/new", O_WRONLY | O_CREAT, 0o600),
            guest.path("unlink", f"{a}/dir2/file"),
            guest.path("rename", f"{a}/file", f"{tmp_path}/b/stolen"),
            guest.path("rename", f"{tmp_path}/b/file", f"{a}/stolen"),
            guest.path("chmod", f"{a}/file2", 0o777),
            guest.path("truncate", f"{a}/file2", 0),
            guest.path("mkdir", f"{a}/dir2/x", 0o700),
        ):
            assert result == -Errno.EROFS
        assert guest.path("link", f"{tmp_path}/b/file", f"{a}/hard") == -Errno.EXDEV
        fd = guest.path("open", f"{tmp_path}/b/file", 0)
        assert guest.path("open", f"/proc/self/fd/{fd}", O_WRONLY) == -Errno.EROFS
        assert guest.path("fchmod", fd, 0o777) == -Errno.EROFS
        assert guest.call("ftruncate", fd, 0) == -Errno.EINVAL
    assert (tmp_path / "b" / "file").read_text() == "content" and not (tmp_path / "b" / "fresh").exists()


def test_a_writable_directory_inside_a_root(tree: Path) -> None:
    with files(str(tree / "root"), ("/sub",)) as guest:
        assert guest.path("open", "/sub/new", O_CREAT | O_WRONLY, 0o600) > 0
        assert guest.path("open", "/etc/passwd", O_WRONLY) == -Errno.EROFS
    assert (tree / "root" / "sub" / "new").exists()


def test_devices_of_the_host_stay_closed() -> None:
    with files() as guest:
        for path in ("/dev/mem", "/dev/kmsg", "/dev/ptmx", "/dev/fuse", "/dev/loop0"):
            if os.path.exists(path):
                assert guest.path("open", path, 0) == -Errno.EACCES, path


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the host has no /proc")
def test_no_process_of_the_host_is_seen(tmp_path: Path) -> None:
    other = os.getppid()
    (tmp_path / "self").symlink_to("/proc/self")
    (tmp_path / "exe").symlink_to("/proc/self/exe")
    (tmp_path / "comm").symlink_to("/proc/self/comm")
    (tmp_path / "other").symlink_to(f"/proc/{other}")
    with files() as guest:
        for path in (
            f"/proc/{other}/environ", f"/proc/{other}", f"/proc/{other}/exe", f"/proc/self/task/{other}/mem",
            f"/proc/self/../{other}/environ", f"/proc/../proc/{other}/environ", f"{tmp_path}/../../../../../../../../proc/{other}/comm",
            f"{tmp_path}/other/comm",
            "/proc/self/root/etc/passwd/x", "/proc/self/fd/77", "/proc/self/fd/x", "/proc/self/ns/mnt", "/proc/kcore", "/proc/net/tcp",
        ):  # fmt: skip
            result = guest.content(path)
            assert isinstance(result, int) and -result in (Errno.ENOENT, Errno.ELOOP, Errno.ENOTDIR), (path, result)
        for path in (
            "/proc/self/../self/comm", f"{tmp_path}/self/comm", "/proc/../proc/self/comm", "/proc/thread-self/../../comm",
            f"{tmp_path}/comm", f"/proc/self/root/{tmp_path}/../../../../../../../../proc/self/comm",
            f"/proc/self/root/proc/{guest.proc.pid}/comm",
        ):  # fmt: skip
            assert guest.content(path) == b"guest\n", path
        assert guest.content("/proc/self/../self/environ") == b"" != guest.content("/proc/self/root/etc/passwd")
        assert guest.content(f"{tmp_path}/exe") in (-Errno.ELOOP, -Errno.ENOENT)
        fd = guest.path("open", "/proc", O_DIRECTORY)
        assert guest.path("openat", fd, "self/../self/environ", 0) > 0
        assert guest.path("openat", fd, f"{other}/environ", 0) == -Errno.ENOENT
        names = listing(guest, fd)
        assert {name for name in names if name.isdigit()} <= {str(guest.proc.pid)} and "meminfo" in names
        assert isinstance(guest.content("/proc/meminfo"), bytes)
        assert guest.content("/proc/self/comm") == guest.content(f"//proc/./{guest.proc.pid}//comm") == b"guest\n"
        assert guest.path("chdir", "/proc") == 0 and guest.content("self/comm") == b"guest\n"
        assert guest.path("openat", fd, "self/comm", 0) > 0
        assert guest.path("open", "/proc/self/comm", O_RDWR) > 0
        assert guest.path("open", "/proc/self/mem", O_RDWR) > 0


def listing(guest: FileGuest, fd: int) -> list[str]:
    names = []
    while (count := guest.call("getdents64", fd, BASE, 0x1000)) > 0:
        data, at = guest.engine.memory.read(BASE, count), 0
        while at < count:
            size = int.from_bytes(data[at + 16 : at + 18], "little")
            names.append(data[at + 19 : at + size].split(b"\0")[0].decode())
            at += size
    assert count == 0
    return names


def test_a_listing_through_a_small_window_loses_nothing(tmp_path: Path) -> None:
    wanted = {f"name-{i:03}-{'y' * (i % 9)}" for i in range(60)}
    for name in wanted:
        (tmp_path / name).touch()
    with files() as guest:
        fd = guest.path("open", str(tmp_path), O_DIRECTORY)
        seen: list[str] = []
        while (count := guest.call("getdents64", fd, BASE, 64)) > 0:
            data, at = guest.engine.memory.read(BASE, count), 0
            while at < count:
                size = int.from_bytes(data[at + 16 : at + 18], "little")
                seen.append(data[at + 19 : at + size].split(b"\0")[0].decode())
                at += size
        assert sorted(seen) == sorted(wanted | {".", ".."})
        assert guest.call("lseek", fd, 0, 0) == 0
        guest.space.protect(BASE + 0x2000, 0x1000, 0)
        assert guest.call("getdents64", fd, BASE + 0x2000, 0x1000) == -Errno.EFAULT
        assert sorted(listing(guest, fd)) == sorted(wanted | {".", ".."})


def test_strange_paths(tmp_path: Path) -> None:
    with files() as guest:
        for path in (b"\xff\xfe/\x01", b"a" * 300, b"/" * 4000, b"./" * 2000, b"\xed\xa0\x80", b"%s%n", b"/proc/self/fd/" + b"9" * 300):
            at = BASE + 0x3000
            for call, rest in (("open", (0,)), ("stat", (at,)), ("access", (0,)), ("readlink", (at, 10)), ("chdir", ())):
                result = guest.path(call, path, *rest)
                assert -200 < result < 100, (call, path)
        assert guest.path("open", b"x" * 4096, 0) == -Errno.ENAMETOOLONG
        assert guest.call("open", 1 << 50, 0) == -Errno.EFAULT
