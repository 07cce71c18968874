"""Looks into every layer of an image without unpacking it: docker save IMAGE | python layers.py WORD... FILE-PATTERN

Prints JSON: for each layer, lowest first, how many files it has, those whose content holds one of the words, and
those whose path matches the pattern; and the words found in what is not a layer, the image's configuration.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from typing import BinaryIO

CHUNK = 1 << 22


class Ahead:
    """A stream whose first block was looked at already."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int) -> bytes:
        if not self._first:
            return self._rest.read(size)
        head, self._first = self._first[:size], self._first[size:]
        return head + self._rest.read(size - len(head))


def holds(stream: Ahead | BinaryIO, words: list[bytes]) -> bool:
    """Reads to the end. A word that lies across two chunks counts too."""
    found, tail, longest = False, b"", max(map(len, words))
    while chunk := stream.read(CHUNK):
        window = tail + chunk
        found = found or any(word in window for word in words)
        tail = window[-longest:]
    return found


def look_into(layer: Ahead, words: list[bytes], pattern: re.Pattern[str]) -> dict:
    files, secrets, matching = 0, [], []
    with tarfile.open(fileobj=layer, mode="r|") as tar:
        for member in tar:
            # .wh.NAME is no file: it takes NAME away from the layers below.
            if not member.isfile() or "/.wh." in f"/{member.name}":
                continue
            files += 1
            if pattern.search(member.name):
                matching.append(member.name)
            if holds(tar.extractfile(member), words):
                secrets.append(member.name)
    return {"files": files, "secrets": secrets, "matching": matching}


def main() -> None:
    words = [word.encode() for word in sys.argv[1:-1]]
    pattern = re.compile(sys.argv[-1])
    layers, outside, order = {}, [], []
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as image:
        for member in image:
            if not member.isfile():
                continue
            content = image.extractfile(member)
            first = content.read(512)
            stream = Ahead(first, content)
            if first[257:262] == b"ustar":
                layers[member.name] = look_into(stream, words, pattern)
            elif member.name == "manifest.json":
                order = json.loads(stream.read(member.size))[0]["Layers"]
            elif holds(stream, words):
                outside.append(member.name)
    json.dump({"layers": [layers[name] for name in order], "outside": outside}, sys.stdout)


if __name__ == "__main__":
    main()
