# SPDX-License-Identifier: Apache-2.0
"""What a camera sends over one TCP connection, taken apart: RTSP answers, and RTP packets interleaved with them."""

from __future__ import annotations

import random

_DOLLAR = 0x24
_FRAME_HEADER = 4
_RTP_HEADER = 12


class Damager:
    """Scrambles what RTP packets carry, and leaves alone all that a client needs to keep up the connection.

    RTSP answers (RFC 2326), the interleaved frames' headers, RTP headers and RTCP pass as they are. Bytes may come in
    any portions; what is not complete yet is kept for the next call.

    Args:
        random: decides which packets and which bytes.
    """

    def __init__(self, random: random.Random) -> None:
        self._random = random
        self._rest = bytearray()
        self._body_left = 0
        self.packets = 0
        self.damaged = 0

    def pass_on(self, data: bytes, share: float) -> bytes:
        """Take bytes from the camera; returns those that are to go on to the client.

        Args:
            data: as received.
            share: of the RTP packets that are scrambled from behind the RTP header on, 0 to 1.
        """
        self._rest += data
        out = bytearray()
        while part := self._next_part():
            if part[0] == _DOLLAR and self._body_left == 0 and part[1] % 2 == 0:
                self.packets += 1
                if self._random.random() < share:
                    self._scramble(part)
                    self.damaged += 1
            self._body_left = max(0, self._body_left - len(part)) if self._body_left else self._announced(part)
            out += part
        return bytes(out)

    def flush(self) -> bytes:
        """What has come of a part that is not complete."""
        rest, self._rest = bytes(self._rest), bytearray()
        return rest

    def _next_part(self) -> bytearray:
        """The next complete part: an interleaved frame, an answer's header, or bytes of its body."""
        length = self._part_length()
        part, self._rest = self._rest[:length], self._rest[length:]
        return part

    def _part_length(self) -> int:
        rest = self._rest
        if self._body_left:
            return min(len(rest), self._body_left)
        if not rest:
            return 0
        if rest[0] != _DOLLAR:
            end = rest.find(b"\r\n\r\n")
            return 0 if end < 0 else end + 4
        length = _FRAME_HEADER + int.from_bytes(rest[2:_FRAME_HEADER], "big")
        return length if len(rest) >= max(length, _FRAME_HEADER) else 0

    def _scramble(self, frame: bytearray) -> None:
        start = _FRAME_HEADER + _RTP_HEADER
        frame[start:] = self._random.randbytes(max(0, len(frame) - start))

    @staticmethod
    def _announced(header: bytearray) -> int:
        """How long the body is that follows an answer's header; 0 for interleaved frames."""
        if header[0] == _DOLLAR:
            return 0
        for line in header.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                return int(value)
        return 0
