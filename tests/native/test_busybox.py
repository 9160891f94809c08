"""Debian's static busybox, which nobody here wrote: the same output, status and files as on the host (arm64: under qemu-user)."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shlex
import shutil
import stat
import tarfile
from pathlib import Path

import pytest

from tests.native.guests import ARCHES, ENV, busybox, emulated, on_the_host

# Commands that change nothing, in shell notation; they run in `folder`.
READ = r"""
echo a b
true
false
ls -1
ls -1 -R .
ls -lan
cat text
cat
cat text - other
sort text
sha256sum text big
sha256sum
md5sum text
gzip -c text
gunzip -c text.gz
gunzip -c big.gz
unxz -c text.xz
unxz -c big.xz
bunzip2 -c text.bz2
bunzip2 -c big.bz2
awk '{ n += length($1) } END { print n, sin(1), n / 7, substr("substring", 3, 4) }' text
sed s/a/A/g text
grep -r beta .
grep -c a text other
find . -name 'text*'
tar tf all.tar
tar tvf all.tar
tar xOf all.tar text
tar cf - text other sub
wc text big
wc -l
head -n 1 text
head -c 5 big
cut -c 2-3 text
tr a-z A-Z
od -c text
seq 1 7
expr 6 '*' 7
date -u -d @86400
base64 text
diff text other
diff -u text other
bc -e 2
dd if=text bs=4 count=2
stat text
stat -c '%s %a %F %h' text sub link
du text
uname -m
uname -a
id
env -i A=1
sleep 0.05
cmp text other
sh -c 'i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo $((i*i)); done; exit 3'
sh -c 'for f in *; do [ -f "$f" ] && echo "file $f"; done'
sh -c 'f() { local n=$1; [ $n -le 1 ] && r=1 && return; f $((n-1)); r=$((r*n)); }; f 10; echo $r'
sh -c 'while read -r a b; do echo "$b:$a"; done < numbers'
""".strip().splitlines()
# More of the same, on one architecture: what differs between them is in the list above.
MORE = r"""
ls nothing
sort -rn numbers
sort -u -k 2 numbers
gunzip -c text
awk -F , '$2 > 3 { print $1; total[$1] += $2 } END { for (k in total) print k, total[k] | "cat" }' /dev/null
awk 'BEGIN { printf "%5.2f|%-5s|%c|%x\n", 3.14159, "ab", 65, 255; while ((getline l < "text") > 0) print toupper(l) }'
sed -n -e '2{p;q}' text
sed -e '/alpha/,/beta/s/^/> /' -e '$a end' text
grep -n -E '^(al|be)' text
grep nothing text
find . -type f -size +4 -newer text.gz
find . -type l
tail -n 2 text
cut -d ' ' -f 2 numbers
tr -d '\n'
od -A d -t x4 big
seq 10 -2.5 0
expr length string
date -u -d '2024-02-29 12:34:56' '+%A %j %s'
base64 -d b64
diff -r sub .
diff text text
dc -e '2 3 ^ p'
dd if=big bs=1000 skip=3 count=2
dd
stat -f -c %T .
du -a .
id -u
cmp text text
printf '%s-%d\n' a 1 b 2
basename /a/b.c .c
readlink link
readlink -f link
realpath sub/../text
pwd
test -f text
test -d text
which nothing
cksum text
sum text
nl text
tac text
rev text
fold -w 3 text
uniq text
comm text other
paste text other
expand text
hexdump -C text
strings big
xargs -n 1 echo
factor 360360 97
cal 2 2024
sh -c 'case $(( 7 % 4 )) in 3) echo three;; *) echo other;; esac; echo ${HOME:-none} ${EMUVM_TEST#x}'
sh -c 'trap "" TERM; kill -TERM $$; echo still here'
sh -c 'kill -KILL $$'
sh -c 'set -e; false; echo not reached'
sh -c 'exec BUSYBOX cat text'
sh -c 'read line; echo "<$line>"; cd sub && pwd && echo *'
sh script one two
""".strip().splitlines()
# Commands that change files: the folder afterwards is compared as well.
WRITE = r"""
cp text copy
cp -a sub copied
cp -p script copy
mv text moved
mv text sub
rm text
rm -r sub
rm nothing
ln text hard
ln -s text soft
mkdir -p one/two
rmdir empty
touch -d @86400 text new
chmod 600 text
dd if=text of=out bs=4 count=2
dd if=text of=other bs=2 seek=1 conv=notrunc
dd if=/dev/zero of=out bs=1 seek=100000 count=0
tar xf all.tar -C empty
tar cf new.tar text other sub
gzip text
gunzip big.gz
bzip2 -k text
unxz text.xz
sed -i s/a/A/ text
sort -o sorted text
split -l 1 text part
tee out
truncate -s 5 text
truncate -s 50000 text
install -m 711 text installed
sh -c 'echo one > out; echo two >> out; echo three > sub/out; : > text'
sh -c 'echo a > out; read x < out; echo "$x$x" > out; rm=1; exec rm other'
sh -c 'umask 077; echo x > private; set -C; echo y > private; echo $?'
diff -r . copy
""".strip().splitlines()
REGIONS = ["sha256sum text big", "sort -rn numbers", "bunzip2 -c big.bz2", "ls -lan", "tar cf - text other sub", "env -i A=1"]


def fill(top: Path) -> None:
    """The files of every test; big ones have some structure, so that compressors do something."""
    text = b"gamma\nalpha\nbeta\n"
    big = b"".join(b"%d %x\n" % (i, i * i) for i in range(3000)) + bytes(range(256)) * 8
    (top / "sub" / "deeper").mkdir(parents=True)
    (top / "empty").mkdir()
    files = {
        "text": text,
        "other": b"alpha\n",
        "numbers": b"10 ten\n9 nine\n100 hundred\n9 nine\n",
        "big": big,
        "b64": b"aGVsbG8sIHdvcmxkCg==\n",
        "text.gz": gzip.compress(text, mtime=0),
        "big.gz": gzip.compress(big, mtime=0),
        "text.xz": lzma.compress(text, check=lzma.CHECK_CRC32),
        "big.xz": lzma.compress(big),
        "text.bz2": bz2.compress(text),
        "big.bz2": bz2.compress(big),
        "script": b'echo "$0 has $# arguments: $*"\nexit $#\n',
        "sub/text": b"alpha in sub\n",
        "sub/deeper/beta": b"beta\n",
    }
    for name, data in files.items():
        (top / name).write_bytes(data)
    (top / "link").symlink_to("text")
    (top / "script").chmod(0o755)
    with tarfile.open(top / "all.tar", "w") as tar:
        for name in ("text", "sub", "link", "script"):
            tar.add(top / name, name)
    for path in sorted(top.rglob("*")):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)


def tree(top: Path) -> dict[str, tuple[object, ...]]:
    """Kind, mode, links, contents of all below, and those times that a command set."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        info = path.lstat()
        held: object = None
        if stat.S_ISLNK(info.st_mode):
            held = os.readlink(path)
        elif stat.S_ISREG(info.st_mode):
            held = path.read_bytes()
        when = int(info.st_mtime) if info.st_mtime < 1_750_000_000 else None
        found[str(path.relative_to(top))] = (oct(info.st_mode), info.st_nlink, held, when)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "work"
    top.mkdir()
    fill(top)
    return top


def words(arch: str, line: str) -> list[str]:
    """The command line of a busybox; BUSYBOX in it is its path."""
    program = busybox(arch)
    return [program, *(word.replace("BUSYBOX", program) for word in shlex.split(line))]


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("line", READ)
def test_reading(arch: str, line: str, folder: Path) -> None:
    command = words(arch, line)
    assert emulated(command, folder) == on_the_host(arch, command, folder)


@pytest.mark.parametrize("arch", ARCHES)
def test_environment(arch: str, folder: Path) -> None:
    """Its order too, which qemu-user turns round."""
    assert emulated(words(arch, "env"), folder) == (0, "".join(f"{name}={value}\n" for name, value in ENV.items()).encode())


@pytest.mark.parametrize("line", MORE)
def test_reading_more(line: str, folder: Path) -> None:
    command = words("x86_64", line)
    assert emulated(command, folder) == on_the_host("x86_64", command, folder)


@pytest.mark.parametrize("line", REGIONS)
@pytest.mark.parametrize("arch", ARCHES)
def test_reading_on_regions(arch: str, line: str, folder: Path) -> None:
    command = words(arch, line)
    assert emulated(command, folder, "regions") == on_the_host(arch, command, folder)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("line", WRITE)
def test_writing(arch: str, line: str, folder: Path) -> None:
    command = words(arch, line)
    before = folder.with_name("before")
    shutil.copytree(folder, before, symlinks=True)
    theirs = on_the_host(arch, command, folder)
    wanted = tree(folder)
    shutil.rmtree(folder)
    before.rename(folder)
    assert emulated(["--rw", str(folder), *command], folder) == theirs
    assert tree(folder) == wanted


@pytest.mark.parametrize("line", ["cp text copy", "rm text", "dd if=text of=out", "mkdir new", "chmod 600 text", "touch text"])
def test_nothing_is_written_without_permission(line: str, folder: Path) -> None:
    before = tree(folder)
    status, _ = emulated(words("x86_64", line), folder)
    assert status == 1
    assert tree(folder) == before


@pytest.mark.parametrize("arch", ARCHES)
def test_execve_of_itself_of_a_script_and_of_a_descriptor(arch: str, folder: Path) -> None:
    """The new program starts from scratch, and nothing of the host's kind is run: for arm64 only emuvm can."""
    program = busybox(arch)
    (folder / "script").write_text(f"#!{program} sh\necho script $1 $2; exit 5\n")
    (folder / "script").chmod(0o755)
    assert emulated([program, "sh", "-c", "exec ./script one two"], folder) == (5, b"script one two\n")
    assert emulated([program, "sh", "-c", f"exec {program} echo again"], folder) == (0, b"again\n")
    # Called by a name that is no applet busybox says 127 itself: it runs.
    for line in ("exec /proc/self/exe true", f"exec 7<{program}; exec /proc/self/fd/7 true"):
        assert emulated([program, "sh", "-c", line], folder)[0] == 127
    assert emulated([program, "sh", "-c", "exec ./text"], folder)[0] == 126
