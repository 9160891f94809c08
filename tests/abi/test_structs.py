"""The layouts against the C compiler: it fills each structure with the same values, and the bytes must be equal.

A program with the kernel's own headers stores distinct values in every field and writes the structures out; `pack_*` must give
the same bytes. Run natively on x86-64, under qemu-user for arm64.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from emuvm.abi import sigframes, structs
from emuvm.abi.arch import ARM64, BY_NAME, X86_64, Arch

PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <linux/types.h>
#include <asm/stat.h>
#include <linux/stat.h>
#include <asm/statfs.h>
#include <linux/time_types.h>
#include <linux/uio.h>
#include <linux/utsname.h>
#include <linux/resource.h>
#include <linux/sysinfo.h>
#include <asm/termbits.h>
#include <linux/times.h>
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/signal.h>

struct winsize_ { unsigned short ws_row, ws_col, ws_xpixel, ws_ypixel; };
struct linux_dirent64 { __u64 d_ino; __s64 d_off; unsigned short d_reclen; unsigned char d_type; char d_name[]; };
struct timeval_ { long tv_sec, tv_usec; };

static void put(const char *name, const void *data, unsigned long size) {
    printf("%s ", name);
    for (unsigned long i = 0; i < size; i++) printf("%02x", ((const unsigned char *)data)[i]);
    printf("\n");
}
#define BEGIN(type, name) { const char *label = #name; type s; memset(&s, 0, sizeof s)
#define END put(label, &s, sizeof s); }

int main(void) {
    BEGIN(struct stat, stat); s.st_dev = 0x12345678; s.st_ino = 0x1122334455667788; s.st_mode = 0100644; s.st_nlink = 3;
    s.st_uid = 1000; s.st_gid = 1001; s.st_rdev = 0x801; s.st_size = 0x123456789a; s.st_blksize = 4096; s.st_blocks = 77;
    s.st_atime = -5; s.st_atime_nsec = 11; s.st_mtime = 22; s.st_mtime_nsec = 33; s.st_ctime = 44; s.st_ctime_nsec = 55; END
    BEGIN(struct statx, statx); s.stx_mask = 0x7ff; s.stx_blksize = 4096; s.stx_nlink = 3; s.stx_uid = 1000; s.stx_gid = 1001;
    s.stx_mode = 0100644; s.stx_ino = 0x1122334455667788; s.stx_size = 0x123456789a; s.stx_blocks = 77; s.stx_atime.tv_sec = -5;
    s.stx_atime.tv_nsec = 11; s.stx_mtime.tv_sec = 22; s.stx_mtime.tv_nsec = 33; s.stx_ctime.tv_sec = 44; s.stx_ctime.tv_nsec = 55;
    s.stx_btime.tv_sec = 66; s.stx_btime.tv_nsec = 77; s.stx_rdev_major = 8; s.stx_rdev_minor = 1; s.stx_dev_major = 0x456;
    s.stx_dev_minor = 0x12378; s.stx_mnt_id = 99; END
    BEGIN(struct statfs, statfs); s.f_type = 0xef53; s.f_bsize = 4096; s.f_blocks = 1; s.f_bfree = 2; s.f_bavail = 3; s.f_files = 4;
    s.f_ffree = 5; s.f_fsid.val[0] = 6; s.f_fsid.val[1] = 7; s.f_namelen = 255; s.f_frsize = 512; s.f_flags = 8; END
    BEGIN(struct timeval_, timespec); s.tv_sec = -1; s.tv_usec = 2; END
    BEGIN(struct __kernel_timespec, timespec64); s.tv_sec = -1; s.tv_nsec = 2; END
    BEGIN(struct new_utsname, utsname); strcpy(s.sysname, "Linux"); strcpy(s.nodename, "host"); strcpy(s.release, "6.1");
    strcpy(s.version, "#1"); strcpy(s.machine, "cpu"); strcpy(s.domainname, "(none)"); END
    BEGIN(struct rlimit64, rlimit64); s.rlim_cur = 5; s.rlim_max = ~0ULL; END
    BEGIN(struct sysinfo, sysinfo); s.uptime = 1; s.loads[0] = 2; s.loads[1] = 3; s.loads[2] = 4; s.totalram = 5; s.freeram = 6;
    s.sharedram = 7; s.bufferram = 8; s.totalswap = 9; s.freeswap = 10; s.procs = 11;
    s.totalhigh = 12; s.freehigh = 13; s.mem_unit = 14; END
    BEGIN(struct rusage, rusage); s.ru_utime.tv_sec = 1; s.ru_utime.tv_usec = 2; s.ru_stime.tv_sec = 3; s.ru_stime.tv_usec = 4;
    s.ru_maxrss = 5; s.ru_ixrss = 6; s.ru_idrss = 7; s.ru_isrss = 8; s.ru_minflt = 9; s.ru_majflt = 10; s.ru_nswap = 11;
    s.ru_inblock = 12; s.ru_oublock = 13; s.ru_msgsnd = 14; s.ru_msgrcv = 15; s.ru_nsignals = 16; s.ru_nvcsw = 17; s.ru_nivcsw = 18; END
    BEGIN(struct termios, termios); s.c_iflag = 1; s.c_oflag = 2; s.c_cflag = 3; s.c_lflag = 4; s.c_line = 5;
    for (int i = 0; i < NCCS; i++) s.c_cc[i] = 10 + i; END
    BEGIN(struct winsize_, winsize); s.ws_row = 24; s.ws_col = 80; s.ws_xpixel = 1; s.ws_ypixel = 2; END
    BEGIN(struct tms, tms); s.tms_utime = 1; s.tms_stime = 2; s.tms_cutime = 3; s.tms_cstime = 4; END
    BEGIN(struct iovec, iovec); s.iov_base = (void *)0x1234; s.iov_len = 5; END
    BEGIN(struct pollfd, pollfd); s.fd = -1; s.events = 5; s.revents = 0x8009; END
    BEGIN(struct flock, flock); s.l_type = 1; s.l_whence = 2; s.l_start = -3; s.l_len = 4; s.l_pid = 5; END
    BEGIN(struct sigaction, sigaction); s.sa_handler = (void *)0x1111; s.sa_flags = 0x04000004; s.sa_restorer = (void *)0x2222;
    memset(&s.sa_mask, 0x81, sizeof s.sa_mask); END
    BEGIN(stack_t, stack_t); s.ss_sp = (void *)0x3333; s.ss_flags = 2; s.ss_size = 0x4000; END
    BEGIN(siginfo_t, fault); s.si_signo = 11; s.si_code = 2; s.si_addr = (void *)0x123456789; END
    BEGIN(siginfo_t, kill); s.si_signo = 6; s.si_code = -6; s.si_pid = 77; s.si_uid = 88; END
    { struct { struct linux_dirent64 d; char room[32]; } u; memset(&u, 0, sizeof u); u.d.d_ino = 9; u.d.d_off = 1; u.d.d_type = 8;
      strcpy(u.d.d_name, "some-name"); u.d.d_reclen = (__builtin_offsetof(struct linux_dirent64, d_name) + 10 + 7) & ~7;
      put("dirent64", &u, u.d.d_reclen); }
    return 0;
}
"""

STAT = structs.Stat(
    dev=structs.decode_dev(0x12345678), ino=0x1122334455667788, mode=0o100644, nlink=3, uid=1000, gid=1001, rdev=(8, 1),
    size=0x123456789A, blksize=4096, blocks=77, atime=(-5, 11), mtime=(22, 33), ctime=(44, 55), btime=(66, 77),
)  # fmt: skip


def packed(arch: Arch) -> dict[str, bytes]:
    """What PROGRAM prints, by our functions."""
    action = sigframes.Sigaction(0x1111, 0x0400_0004, 0x2222, 0x8181_8181_8181_8181)
    return {
        "stat": structs.pack_stat(arch, STAT),
        "statx": structs.pack_statx(arch, STAT, 0x7FF, mnt_id=99),
        "statfs": structs.pack_statfs(arch, structs.Statfs(0xEF53, 4096, 1, 2, 3, 4, 5, (6, 7), 255, 512, 8)),
        "timespec": structs.pack_timespec(arch, -1, 2),
        "timespec64": structs.pack_timespec64(arch, -1, 2),
        "utsname": structs.pack_utsname(structs.Utsname("Linux", "host", "6.1", "#1", "cpu", "(none)")),
        "rlimit64": structs.pack_rlimit64(arch, 5, (1 << 64) - 1),
        "sysinfo": structs.pack_sysinfo(arch, structs.Sysinfo(1, (2, 3, 4), 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)),
        "rusage": structs.pack_rusage(arch, structs.Rusage((1, 2), (3, 4), *range(5, 19))),
        "termios": structs.pack_termios(arch, structs.Termios(1, 2, 3, 4, 5, bytes(range(10, 29)))),
        "winsize": structs.pack_winsize(arch, 24, 80, 1, 2),
        "tms": structs.pack_tms(arch, 1, 2, 3, 4),
        "iovec": structs.pack_words(arch, (0x1234, 5)),
        "pollfd": structs.pack_pollfd(arch, -1, 5, 0x8009),
        "flock": structs.pack_flock(arch, structs.Flock(1, 2, -3, 4, 5)),
        "sigaction": sigframes.pack_sigaction(arch, action),
        "stack_t": sigframes.pack_stack_t(arch, sigframes.StackT(0x3333, 2, 0x4000)),
        "fault": sigframes.pack_siginfo_fault(arch, 11, 2, 0x1_2345_6789),
        "kill": sigframes.pack_siginfo_kill(arch, 6, -6, 77, 88),
        "dirent64": structs.pack_dirent64(arch, 9, 1, 8, b"some-name"),
    }


def compiled(compiler: str, runner: list[str], directory: Path) -> dict[str, bytes]:
    """Compile and run PROGRAM. Its libc part is only stdio and string, so that the kernel's structures do not clash with libc's."""
    source, binary = directory / "structs.c", directory / "structs"
    source.write_text(PROGRAM)
    command = [compiler, "-static", "-w", "-D_LINUX_TIME_H", "-o", str(binary), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[:3000]
    output = subprocess.run([*runner, str(binary)], capture_output=True, text=True, check=True).stdout
    return {name: bytes.fromhex(data) for name, data in (line.split() for line in output.splitlines())}


@pytest.mark.skipif(platform.machine() != "x86_64" or platform.system() != "Linux", reason="runs natively on x86-64 Linux")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_x86_64_bytes_are_the_compilers(tmp_path: Path) -> None:
    assert packed(X86_64) == compiled("gcc", [], tmp_path)


@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-gcc") is None, reason="needs aarch64-linux-gnu-gcc")
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="needs qemu-user")
def test_arm64_bytes_are_the_compilers(tmp_path: Path) -> None:
    assert packed(ARM64) == compiled("aarch64-linux-gnu-gcc", ["qemu-aarch64"], tmp_path)


def test_unpack_is_the_inverse_of_pack() -> None:
    flock = structs.Flock(1, 2, -3, 4, 5)
    termios = structs.Termios(1, 2, 3, 4, 5, bytes(range(19)))
    for arch in (X86_64, ARM64, BY_NAME["s390x"]):
        assert structs.unpack_flock(arch, structs.pack_flock(arch, flock)) == flock
        assert structs.unpack_termios(arch, structs.pack_termios(arch, termios)) == termios
        assert structs.unpack_timespec(arch, structs.pack_timespec(arch, -7, 8)) == (-7, 8)
        assert structs.unpack_rlimit64(arch, structs.pack_rlimit64(arch, 1, 1 << 63)) == (1, 1 << 63)
        assert structs.unpack_winsize(arch, structs.pack_winsize(arch, 1, 2, 3, 4)) == (1, 2, 3, 4)
        assert structs.unpack_iovec(arch, structs.pack_words(arch, (1, 2, 3, 4)) + b"rest") == [(1, 2), (3, 4)]
        assert structs.unpack_pollfds(arch, structs.pack_pollfd(arch, -1, 2, 0) * 2) == [(-1, 2), (-1, 2)]


@pytest.mark.parametrize("arch", BY_NAME.values(), ids=lambda arch: arch.name)
def test_signal_structures_round_trip(arch: Arch) -> None:
    restorer = 0x30 if sigframes.has_restorer(arch) else 0
    mask = 1 << 63 | 0b101
    action = sigframes.Sigaction(0x10, 0x20, restorer, mask)
    data = sigframes.pack_sigaction(arch, action)
    assert sigframes.unpack_sigaction(arch, data) == action
    assert len(data) == sigframes.sigaction_size(arch)
    stack = sigframes.StackT(0x1000, 2, 0x2000)
    assert sigframes.unpack_stack_t(arch, sigframes.pack_stack_t(arch, stack)) == stack
    assert len(sigframes.pack_siginfo_fault(arch, 11, 1, 0x1234)) == sigframes.SIGINFO_SIZE


def test_signal_structure_sizes_of_other_abis() -> None:
    """From include/linux/signal_types.h: handler, flags, [restorer], mask; mips: flags first and a mask of 128 bits."""
    sizes = {"i386": 20, "arm": 20, "riscv64": 24, "mips32": 24, "mips64": 32, "ppc64": 32, "s390x": 32}
    for name, size in sizes.items():
        assert sigframes.sigaction_size(BY_NAME[name]) == size, name
    assert {name: sigframes.stack_t_size(BY_NAME[name]) for name in ("i386", "mips64")} == {"i386": 12, "mips64": 24}


def test_device_numbers() -> None:
    for major, minor in ((8, 1), (0, 5), (0xFFF, 0xFFFFF), (259, 300)):
        assert structs.decode_dev(structs.encode_dev(major, minor)) == (major, minor)
    assert structs.encode_dev(8, 1) == 0x801


def test_long_names_are_cut() -> None:
    names = structs.pack_utsname(structs.Utsname("x" * 100, "", "", "", "", ""))
    assert (len(names), names[63:66]) == (390, b"x\0\0")


def test_unknown_layouts_are_refused_not_guessed() -> None:
    with pytest.raises(NotImplementedError):
        structs.pack_stat(BY_NAME["i386"], STAT)
    with pytest.raises(NotImplementedError):
        structs.pack_flock(BY_NAME["arm"], structs.Flock(0, 0, 0, 0, 0))
    with pytest.raises(NotImplementedError):
        structs.pack_termios(BY_NAME["mips32"], structs.Termios(0, 0, 0, 0, 0, bytes(19)))
