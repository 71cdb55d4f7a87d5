#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Tests of an image of which the first bytes are on the target already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from tests import base
from tests.unit.state import test_record

_IMAGE = bytes(range(200))


class Sink:
    """As much of a sink as is asked for what is there: [20, 100)."""

    path = '/dev/x'

    def read_before(self) -> Iterator[memoryview]:
        yield memoryview(_IMAGE[20:70])
        yield memoryview(_IMAGE[70:100])


class TestAll(base.TestCase):
    def all(
        self,
        position: int,
        rest: bytes,
        size: int = 7,
        head: bytes = _IMAGE[:20],
        container: str = 'raw',
    ) -> bytes:
        """Return the image; what has passed the digest is checked."""
        passed = bytearray()
        left = pipeline.Left(
            test_record.RECORD,
            lambda: head,
            passed.extend,
            lambda: position,
            lambda: None,
        )
        views = (
            memoryview(rest[at : at + size])
            for at in range(0, len(rest), size)
        )
        sink: Any = Sink()
        found = b''.join(
            map(bytes, pipeline._all(left, sink, views, container))
        )
        self.assertEqual(_IMAGE[:position], bytes(passed))
        return found

    def test_every_byte_once(self) -> None:
        for position in 100, 99, 93, 70, 60, 20, 10, 0:
            for size in 1, 7, 64, 200:
                self.assertEqual(
                    _IMAGE, self.all(position, _IMAGE[position:], size)
                )

    def test_what_comes_twice_has_to_be_the_same(self) -> None:
        """Else a checksum would be of other bytes than are written."""
        for position in 99, 60:
            for at in {0, 99 - position}:
                rest = bytearray(_IMAGE[position:])
                rest[at] ^= 1
                self.assertRaises(
                    errors.CannotContinue, self.all, position, bytes(rest)
                )

    def test_a_record_does_not_say_what_the_image_comes_in(self) -> None:
        """A checksum of the download is right of a packed image, too."""
        rest = _IMAGE[100:]
        self.assertEqual(_IMAGE, self.all(100, rest, container='auto'))
        for magic in b'\x1f\x8b\x08', b'\xfd7zXZ\0', b'QFI\xfb\0\0\0\3':
            self.assertRaises(
                errors.CannotContinue,
                *(self.all, 100, rest),
                head=magic.ljust(20, b'x'),
                container='auto',
            )
