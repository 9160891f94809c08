"""What the fuzzer makes of inputs: deterministic changes, havoc, splices, dictionaries, trimming, comparisons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emuvm.fuzz.afl.compare import MOST, Pair, Texts, candidates, colour
from emuvm.fuzz.afl.dictionary import DictionaryError, parse, read
from emuvm.fuzz.afl.havoc import Havoc, splice
from emuvm.fuzz.afl.mutate import deterministic
from emuvm.fuzz.afl.standard import Standard
from emuvm.fuzz.afl.trim import shrink, trim
from emuvm.fuzz.harness import Harness
from tests.fuzz.guests import build

# -- deterministic changes --------------------------------------------------------------------------------------------------


def test_each_stage_makes_what_it_should() -> None:
    made = list(deterministic(b"\x10\x20\x30\x40\x50", [b"TOK"], 64))
    by_stage: dict[str, list[tuple[int, bytes]]] = {}
    for op, data in made:
        match = re.fullmatch(r"op:(\w+),pos:(\d+)", op)
        assert match is not None
        by_stage.setdefault(match[1], []).append((int(match[2]), data))
    stages = "flip1 flip2 flip4 flip8 flip16 flip32 arith8 arith16 int8 int16 int32 ext_UO ext_UI"
    assert list(by_stage) == stages.split()
    assert [len(by_stage[name]) for name in ("flip1", "flip2", "flip4", "flip8", "flip16", "flip32")] == [40, 39, 37, 5, 4, 2]
    assert by_stage["flip1"][0] == (0, b"\x90\x20\x30\x40\x50") and by_stage["flip1"][-1] == (4, b"\x10\x20\x30\x40\x51")
    assert by_stage["flip16"][1] == (1, b"\x10\xdf\xcf\x40\x50")
    assert (0, b"\x33\x20\x30\x40\x50") in by_stage["arith8"] and (0, b"\x34\x20\x30\x40\x50") not in by_stage["arith8"], "at most 35"
    carried = [changed for op, changed in deterministic(b"\xff\xff\x00\x40", [], 4) if op == "op:arith32,pos:0"]
    assert b"\x05\x00\x01\x40" in carried, "a sum that no narrower word could hold"
    assert (2, b"\x10\x20\x7f\x40\x50") in by_stage["int8"]
    assert (0, b"\x10\x00\x30\x40\x50") not in by_stage["int16"], "one byte made that"
    assert by_stage["ext_UO"][0] == (0, b"TOK\x40\x50") and len(by_stage["ext_UO"]) == 3
    assert by_stage["ext_UI"][-1] == (5, b"\x10\x20\x30\x40\x50TOK") and len(by_stage["ext_UI"]) == 6


@given(st.binary(min_size=1, max_size=6))
@example(b"\0\0\0\1\0")
@example(b"\0\x82\x80\x89\0")
def test_no_change_comes_twice(data: bytes) -> None:
    made = [changed for op, changed in deterministic(data, [], 64)]
    words = [changed for op, changed in deterministic(data, [], 64) if "arith" in op or "int" in op]
    assert data not in words and len(set(words)) == len(words)
    flips = {changed for op, changed in deterministic(data, [], 64) if "flip" in op}
    assert not flips & set(words) and all(len(changed) == len(data) for changed in made)


def test_bytes_that_do_not_count_are_left_alone() -> None:
    data = bytes(range(200))
    last: list[bytes] = [b""]
    made: Counter[str] = Counter()
    counting = {3, 4, 199, 0}

    def differs() -> bool:
        return any(last[0][at] != data[at] for at in counting)

    for op, changed in deterministic(data, [], 400, differs):
        last[0] = changed
        stage, at = op.removeprefix("op:").split(",pos:")
        if stage in ("arith8", "int8"):
            made[at] += 1
    assert {int(at) for at in made} == counting


def test_long_and_empty_inputs() -> None:
    assert list(deterministic(b"", [b"x"], 10)) == []
    assert not any(op.startswith("op:ext_UI") for op, _ in deterministic(b"ab", [b"xyz"], 4)), "it would be too long"


# -- havoc and splices ------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.binary(max_size=50), st.integers(0, 1000), st.integers(1, 300))
def test_havoc_keeps_to_its_bounds(data: bytes, partner: bytes, seed: int, longest: int) -> None:
    one, two = (Havoc(Random(seed), [b"token"], longest) for _ in range(2))
    for _ in range(5):
        made = one(data[:longest], partner)
        assert made == two(data[:longest], partner), "the same seed makes the same"
        assert 0 < len(made) <= longest and 1 <= one.stacked <= 64


def test_havoc_makes_all_kinds() -> None:
    havoc = Havoc(Random(4), [b"<token>"], 1000)
    data = b"some text with 12345 in it, and more of it"
    made = [havoc(data, b"PARTNER" * 5) for _ in range(4000)]
    assert sum(changed == data for changed in made) < 200
    assert any(len(changed) < len(data) for changed in made) and any(len(changed) > len(data) for changed in made)
    assert any(b"<token>" in changed for changed in made) and any(b"PARTN" in changed for changed in made)
    assert any(re.search(rb"\d{6}|12346|12344|24690", changed) for changed in made), "numbers change as numbers"
    assert sum(len(changed) == len(data) and sum(a != b for a, b in zip(changed, data, strict=True)) == 1 for changed in made) > 50


def test_splices() -> None:
    generator = Random(1)
    made = {splice(b"aaaaXbbbbYcc", b"aaaa1dddd2cc", generator) for _ in range(200)}
    assert None not in made and len(made) == 5
    assert all(joined is not None and joined[:5] == b"aaaaX" and joined[9:] == b"2cc" for joined in made)
    assert splice(b"same", b"same", generator) is None and splice(b"a", b"b", generator) is None
    assert splice(b"aaaXaaa", b"aaaYaaa", generator) is None, "one place differs"


# -- dictionaries -----------------------------------------------------------------------------------------------------------


def test_dictionaries(tmp_path: Path) -> None:
    text = b'# a comment\n\nkw="GET "\n"\\x89PNG\\r\\n\\"\\\\"  # behind\nrare@3="level three"\nplain="a b" \nodd="say "hi""\n'
    assert parse(text, "x") == [b"GET ", b'\x89PNG\r\n"\\', b"a b", b'say "hi"']
    assert b"level three" in parse(text, "x", 3)
    (tmp_path / "dict").write_bytes(text + b'again="GET "\n')
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one").write_bytes(b"token\0one")
    (tmp_path / "folder" / "empty").write_bytes(b"")
    found = read([tmp_path / "dict", tmp_path / "folder"])
    assert found == [b"GET ", b'\x89PNG\r\n"\\', b"a b", b'say "hi"', b"token\0one"]
    assert b"level three" in read([f"{tmp_path}/dict@5"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\nname=value\n", "line 2: not of the form"), (b'a="\\q"', "no escape"), (b'a=""', "empty"), (b'a="\\x4"', "no escape"),
        (b'a="' + b"x" * 129 + b'"', "129 bytes"), (b'a="open', "not of the form"), (b"a" * 100_000, "not of the form"),
    ],
)  # fmt: skip
def test_no_dictionary(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "dict").write_bytes(text)
    with pytest.raises(DictionaryError, match=message):
        read([tmp_path / "dict"])


def test_a_dictionary_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="No such file"):
        read([tmp_path / "missing"])


# -- trimming ---------------------------------------------------------------------------------------------------------------


def holding(*parts: bytes) -> Callable[[bytes], bool]:
    return lambda data: all(part in data for part in parts)


def test_trim_is_quick_and_shrink_is_thorough() -> None:
    data = b"x" * 700 + b"NEED" + b"y" * 300 + b"IT" + b"z" * 200
    runs = Counter[str]()

    def same(made: bytes) -> bool:
        runs["trim"] += 1
        return holding(b"NEED", b"IT")(made)

    trimmed = trim(data, same)
    assert holding(b"NEED", b"IT")(trimmed) and len(trimmed) < 40 and runs["trim"] < 400
    assert shrink(data, holding(b"NEED", b"IT")) in (b"NEEDIT", b"ITNEED")
    assert shrink(b"abcdef", lambda made: len(made) == 6) == b"000000", "plainer, if not shorter"
    assert shrink(b"a1b1", lambda made: made.count(b"1") == 2 and len(made) == 4) == b"0101"
    assert trim(b"abcdefgh", lambda made: True) and trim(b"", lambda made: True) == b"" and shrink(b"q", lambda made: False) == b"q"


@given(st.binary(min_size=1, max_size=60), st.binary(min_size=1, max_size=2))
def test_shrunk_inputs_cannot_be_shorter(data: bytes, part: bytes) -> None:
    same = holding(part)
    small = shrink(data + part, same)
    assert small == part
    assert same(trim(data + part + data, same))


# -- comparisons ------------------------------------------------------------------------------------------------------------


def made_of(data: bytes, *pairs: Pair | Texts) -> set[bytes]:
    return {made for _, made in candidates(data, pairs)}


def test_operands_take_each_others_place() -> None:
    assert b"..\x78\x56\x34\x12.." in made_of(b"..ABCD..", Pair(1, 4, 0x44434241, 0x12345678))
    assert b"..\x12\x34\x56\x78.." in made_of(b"..ABCD..", Pair(1, 4, 0x12345678, 0x41424344)), "the other order, the other side"
    assert b"ab\x07" in made_of(b"abc", Pair(1, 8, ord("c"), 7)), "a byte that was extended"
    assert b"ab\xfe" in made_of(b"ab\xff", Pair(1, 4, 0xFFFFFFFF, 0xFFFFFFFE)), "with its sign"
    assert {b"ab\x08", b"ab\x06"} <= made_of(b"abc", Pair(1, 4, ord("c"), 7)), "and what lies beside"
    assert b"n=77;" in made_of(b"n=12;", Pair(1, 4, 12, 77)) and b"n=ff;" in made_of(b"n=1c;", Pair(1, 4, 0x1C, 255))
    assert b"n=-5;" in made_of(b"n=12;", Pair(1, 4, 12, (1 << 32) - 5))
    assert not made_of(b"abc", Pair(1, 4, 5, 5)) and not made_of(b"abc", Pair(1, 4, 0x11111111, 0x22222222))
    assert not made_of(b"a" * 100, Pair(1, 1, ord("a"), 0)), "it stands there by accident"


def test_texts_take_each_others_place() -> None:
    assert b"secret!" in made_of(b"passwd!", Texts(1, b"passwd!\0\0\0", b"secret"))
    assert b"GET longer" in made_of(b"GET x", Texts(1, b"x", b"longer"))
    bytewise = [Pair(9, 1, mine, other) for mine, other in zip(b"HELLO", b"WORLD", strict=True)]
    assert b"-WORLD-" in made_of(b"-HELLO-", *bytewise), "compared byte by byte"


def test_candidates_are_bounded() -> None:
    many = [Pair(n, 4, n << 8 | 0x41, n * 7919) for n in range(4000)]
    assert len(list(candidates(b"A\0" * 3 + bytes(range(200)), many))) <= MOST


def test_colouring_changes_only_what_does_not_matter() -> None:
    data = b"KEEP-" + b"a" * 60 + b"-THIS"
    same = holding(b"KEEP-", b"-THIS")
    coloured = colour(data, lambda made: len(made) == len(data) and made[:5] == b"KEEP-" and made[-5:] == b"-THIS", Random(3))
    assert same(coloured) and sum(a != b for a, b in zip(coloured, data, strict=True)) > 30
    assert colour(data, lambda made: False, Random(3)) == data


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_a_program_s_comparisons(arch: str) -> None:
    source = r"""
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    int main(void)
    {
        static char data[64];
        volatile const char *word = "swordfish";
        read(0, data, 60);
        if (*(unsigned *)data == 0xC0FFEE11) puts("number");
        if (strcmp(data, (const char *)word) == 0) puts("text");
        if (atoi(data) == 31337) puts("decimal");
        return 0;
    }"""
    with Harness(build(source, arch, "-fno-builtin")) as made:
        mutator = Standard(Random(1), made)
        said: set[bytes] = set()

        def attempt(data: bytes, op: str) -> bool:
            assert op.startswith("op:cmp,pos:")
            said.add(made.run(data).stdout)
            return False

        for seed in (b"hello, you", b"12"):
            mutator.compare(seed, attempt)
        assert {b"text\n", b"decimal\n"} <= said, said
        assert b"number\n" in said
        before = made.run(b"hello")
        hooks = len(made.engine._raw._kept)
        assert made.compare(b"hello")
        assert made.run(b"hello") == before and len(made.engine._raw._kept) == hooks, "nothing is left of looking"
