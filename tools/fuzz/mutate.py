# SPDX-License-Identifier: Apache-2.0
"""Breaking a good input in ways that people, disks and attackers do: bytes, words, and the structure."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Final

_WORD: Final = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[-+]?\d[\w.+-]*|[A-Za-z_][\w-]*|[^\s\w]')
"""A string, a number, a name or one sign: close enough for TOML and JSON alike."""

_BYTES: Final = (
    b"\0",
    b"\xff",
    b"\xc3(",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\x1b[2J",
    b"\x7f",
    b'"',
    b"\\",
)

_MOST_BYTES: Final = 1 << 20
_DEEP: Final = (20, 200, 1500, 20_000)
"""How deep things are nested: the last is beyond every parser's limit."""

WORDS: Final = (
    *(b"0", b"-1", b"-0", b"1", b"65536", b"2147483648", b"9223372036854775808", b"-9223372036854775809"),
    *(
        b"1e308",
        b"1e309",
        b"-1e-400",
        b"0.1",
        b"nan",
        b"inf",
        b"-inf",
        b"NaN",
        b"Infinity",
        b"0x10",
        b"1_000",
        b"9" * 5000,
    ),
    *(b"true", b"false", b"null", b"[]", b"{}", b"[[]]", b"[{}]", b"[1, [2, {}]]", b'{"a": 1}', b"{a = 1}"),
    *(b"1979-05-27", b"07:32:00", b"1979-05-27T07:32:00Z", b"0000-13-99"),
    *(b'""', b'" "', b'"0"', b'"a"', b'"\\u0000"', b'"\\ud800"', b'"\\u202e"', b'"\\n\\n"', b'"\\u001b[31m"'),
    *(b'"../../../../etc/passwd"', b'"/"', b'"."', b'"/dev/zero"', b'"/dev/stdin"', b'"/proc/self/mem"', b'"%s%n"'),
    *(
        b'"' + b"x" * 300 + b'"',
        b'"' + b"y" * 70_000 + b'"',
        b'"' + b"/a" * 5000 + b'"',
        b'"' + "\u00e9\u4e2d\U0001f600".encode() + b'"',
    ),
    *(b'"""', b"'''", b"[[", b"]]", b"#", b"=", b".", b",", b":", b"{", b"}", b"[", b"]"),
    *(
        b'"tcp://0.0.0.0:1"',
        b'"ipc://"',
        b'"rtsp://:@:/"',
        b'"rtsp://a:b@[::1"',
        b'"file://"',
        b'"synthetic://shapes?fps=nan"',
    ),
)


class Mutator:
    """Makes broken inputs of good ones; the same ones for the same numbers.

    Args:
        rng: decides everything.
        seeds: good inputs.
    """

    def __init__(self, rng: random.Random, seeds: Sequence[bytes]) -> None:
        self._rng = rng
        self._seeds = seeds
        self._ways: tuple[tuple[int, Callable[[bytes], bytes]], ...] = (
            (8, self._other_word),
            (3, self._no_word),
            (3, self._word_twice),
            (2, self._words_swapped),
            (3, self._line_twice),
            (2, self._lines_swapped),
            (2, self._no_line),
            (2, self._deeper),
            (1, self._deep_key),
            (2, self._other_byte),
            (2, self._more_bytes),
            (1, self._fewer_bytes),
            (1, self._cut),
            (1, self._spliced),
            (1, self._long),
        )

    def case(self) -> bytes:
        """One input: a good one, broken in one to six ways."""
        data = self._rng.choice(self._seeds)
        ways = [way for _, way in self._ways]
        weights = [weight for weight, _ in self._ways]
        for _ in range(min(6, 1 + int(self._rng.expovariate(0.7)))):
            data = self._rng.choices(ways, weights)[0](data)[:_MOST_BYTES]
        return data

    def word(self) -> bytes:
        """A word that is likely to be in the way."""
        return self._rng.choice(WORDS)

    def _span(self, data: bytes) -> tuple[int, int]:
        found = [match.span() for match in _WORD.finditer(data[:100_000])]
        return self._rng.choice(found) if found else (0, 0)

    def _other_word(self, data: bytes) -> bytes:
        begin, end = self._span(data)
        return data[:begin] + self.word() + data[end:]

    def _no_word(self, data: bytes) -> bytes:
        begin, end = self._span(data)
        return data[:begin] + data[end:]

    def _word_twice(self, data: bytes) -> bytes:
        begin, end = self._span(data)
        return data[:end] + b" " + data[begin:end] + data[end:]

    def _words_swapped(self, data: bytes) -> bytes:
        (a, b), (c, d) = sorted((self._span(data), self._span(data)))
        return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]

    def _line(self, lines: Sequence[bytes]) -> int:
        return self._rng.randrange(len(lines))

    def _line_twice(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        lines.insert(self._line(lines), lines[self._line(lines)])
        return b"\n".join(lines)

    def _lines_swapped(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        one, other = self._line(lines), self._line(lines)
        lines[one], lines[other] = lines[other], lines[one]
        return b"\n".join(lines)

    def _no_line(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        del lines[self._line(lines)]
        return b"\n".join(lines)

    def _deeper(self, data: bytes) -> bytes:
        """A value inside many lists or tables."""
        begin, end = self._span(data)
        depth = self._rng.choice(_DEEP)
        left, right = self._rng.choice(
            ((b"[", b"]"), (b"{a=", b"}"), (b'{"a":', b"}"), (b"[{a=[", b"]}]"), (b"[\n", b",\n]"))
        )
        depth = depth // 20 if left == b"[\n" else depth
        return (
            data[:begin]
            + left * depth
            + data[begin:end]
            + right * self._rng.choice((depth, depth, depth - 1))
            + data[end:]
        )

    def _deep_key(self, data: bytes) -> bytes:
        """A key or header of many parts."""
        key = b".".join([b"a"] * self._rng.choice(_DEEP[:3]))
        line = self._rng.choice((key + b" = 1", b"[" + key + b"]", b"[[" + key + b"]]", b'{"a": ' * len(key)))
        return line + b"\n" + data if self._rng.random() < 0.5 else data + b"\n" + line

    def _place(self, data: bytes) -> int:
        return self._rng.randrange(len(data) + 1)

    def _other_byte(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + bytes([self._rng.randrange(256)]) + data[place + 1 :]

    def _more_bytes(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + self._rng.choice(_BYTES) * self._rng.choice((1, 1, 3)) + data[place:]

    def _fewer_bytes(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + data[place + self._rng.choice((1, 4, 40)) :]

    def _cut(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _spliced(self, data: bytes) -> bytes:
        other = self._rng.choice(self._seeds)
        return data[: self._place(data)] + other[self._place(other) :]

    def _long(self, data: bytes) -> bytes:
        """One line or word a thousand times."""
        begin, end = self._span(data)
        if self._rng.random() < 0.5:
            return data[:begin] + data[begin:end] * 1000 + data[end:]
        lines = data.split(b"\n")
        line = self._line(lines)
        return b"\n".join([*lines[:line], *([lines[line]] * 1000), *lines[line:]])
