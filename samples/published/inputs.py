"""Writes crashes/ and seeds/: what each input is, rather than only its bytes. All of them were made for this, from the public notices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Bits:
    """Fields of a Vorbis packet: the lowest bit first."""

    def __init__(self) -> None:
        self.value = self.length = 0

    def add(self, *fields: tuple[int, int]) -> Bits:
        """Fields of (value, width)."""
        for value, width in fields:
            self.value |= value << self.length
            self.length += width
        return self

    def packet(self) -> bytes:
        return self.value.to_bytes((self.length + 7) // 8, "little")


def page(packets: Sequence[bytes], number: int, flags: int, end: int = 0) -> bytes:
    """An Ogg page of whole packets, the last of which ends at sample `end`. Its checksum is left out: the decoder looks at none."""
    laces = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    head = b"OggS\0" + bytes([flags]) + end.to_bytes(8, "little") + (1).to_bytes(4, "little") + number.to_bytes(4, "little") + bytes(4)
    return head + bytes([len(laces)]) + laces + b"".join(packets)


def vorbis(*, points: Sequence[int] = (10, 60, 30), coupling: Sequence[tuple[int, int]] = (), channels: int = 2, end: int = 64) -> bytes:
    """A file of two pages of short blocks, each block 64 samples of which half are told.

    points    of the floor's line, between 0 and 128
    coupling  pairs of channels
    end       where the first page says it ends; it is marked as the last
    """
    first = b"\1vorbis" + bytes(4) + bytes([channels]) + (8000).to_bytes(4, "little") + bytes(12) + b"\x66\1"
    comment = b"\3vorbis" + bytes(8) + b"\1"
    setup = Bits()
    setup.add((0, 8))  # one codebook
    setup.add((0x564342, 24), (1, 16), (2, 24), (0, 2), (0, 5), (0, 5), (0, 4))  # of one dimension and two entries of one bit
    setup.add((0, 6), (0, 16))  # no times
    setup.add((0, 6), (1, 16))  # one floor, of type 1: a partition of one class for each point
    setup.add((len(points), 5), *((0, 4) for _ in points), (0, 3), (0, 2), (0, 8), (0, 2), (7, 4), *((point, 7) for point in points))
    setup.add((0, 6), (0, 16), (0, 24), (0, 24), (0, 24), (0, 6), (0, 8), (0, 3), (0, 1))  # one residue, of nothing
    setup.add((0, 6), (0, 16), (0, 1))  # one mapping
    if coupling:
        width = (channels - 1).bit_length()
        setup.add((1, 1), (len(coupling) - 1, 8), *((channel, width) for pair in coupling for channel in pair))
    else:
        setup.add((0, 1))
    setup.add((0, 2), (0, 8), (0, 8), (0, 8))
    setup.add((0, 6), (0, 1), (0, 16), (0, 16), (0, 8))  # one mode
    setup.add((1, 1))
    # A block: audio, then of each channel that it has a floor, and the floor's two ends.
    block = Bits().add((0, 1), *[(1, 1), (90, 8), (40, 8)] * channels).packet()
    headers = [comment, b"\5vorbis" + setup.packet()]
    return page([first], 0, 2) + page(headers, 1, 0) + page([block] * 2, 2, 4, end) + page([block] * 2, 3, 0, end + 32)


RADIANCE = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X 16\n"
LINE = b"\2\2\0\x10"  # of 16 pixels, each of its four planes in runs

CRASHES: dict[str, dict[str, bytes]] = {
    "jq": {
        "long-number": b"1" * 256,
        "deep": b"[" * 50_000 + b"]" * 50_000,
    },
    "onig": {
        "octal": b"[\\777]\n",
        "past-the-end": b"(?:a|(b*?)c)a1$\nabbcb",
        "deep": b"(" * 30_000 + b"\n",
    },
    "yajl": {
        "half-surrogate": b'["\\ud800\\\\z"]',
    },
    "image": {
        "cut-short": RADIANCE % 8 + LINE + b"\x90",
    },
    "vorbis": {
        "same-point": vorbis(points=(10, 60, 0, 0)),
        "many-couplings": vorbis(coupling=[(0, 1)] * 256),
        "short-frame": vorbis(end=50),
    },
}
SEEDS: dict[str, dict[str, bytes]] = {
    "jq": {
        "list": b'[1, -2.5e3, "a\\u00e9", true, null]\n',
        "object": b'{"name": {"inner": [[[]]], "number": 12345678901234567890}}\n',
    },
    "onig": {
        "class": b"[\\101-\\132a-f]+\n xABCDef",
        "groups": b"(?:a|(b*?)c)\\1{2,3}$\nabbcbbbb",
    },
    "yajl": {
        "escapes": b'["\\u00e9\\ud83d\\ude00\\\\z", "\\n"]',
        "object": b'{"k\\ud800\\u00e9\\\\z": [1, 2.5, true, null]}',
    },
    "image": {
        "radiance": RADIANCE % 6 + (LINE + b"\x90\x40" * 4) * 5 + (LINE + b"\x88\x40\x08abcdefgh" * 4),
    },
    "vorbis": {
        "stereo": vorbis(coupling=[(0, 1)]),
        "mono": vorbis(channels=1, points=(64,)),
    },
}


def main() -> None:
    for folder, inputs in (("crashes", CRASHES), ("seeds", SEEDS)):
        for target, named in inputs.items():
            place = HERE / folder / target
            place.mkdir(parents=True, exist_ok=True)
            for name, data in named.items():
                (place / name).write_bytes(data)


if __name__ == "__main__":
    main()
