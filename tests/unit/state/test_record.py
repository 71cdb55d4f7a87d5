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

"""Tests of the record: what was written is read, and nothing else."""

from __future__ import annotations

import dataclasses
import random
import struct
import zlib

from fuel_agent_curl.state import record
from tests import base

_MARK = record.Mark(stop=5 << 20, crc=17, wire=5 << 20, image=5 << 20)
RECORD = record.Record(
    copy='c0' * 16,
    number=7,
    began=1.5,
    saved=2.5,
    boot='b',
    asked='a' * 64,
    url='http://server/image',
    container='raw',
    origin=record.Origin(
        url='d' * 64, length=1 << 40, etag='"1"', settled=True, coding=''
    ),
    written=_MARK,
    synced=dataclasses.replace(_MARK, stop=6 << 20),
    head=3,
    hidden={4 << 20: b'LUKS'},
    old={9 << 30: b'EFI PART'},
)


def packed(**changes: object) -> bytes:
    """Return the slot of a record."""
    data = record.pack(dataclasses.replace(RECORD, **changes))  # type: ignore[arg-type]
    assert data is not None
    return data


def forged(payload: bytes, version: int = record.VERSION) -> bytes:
    """Return a slot with any payload, as it is to be."""
    crc = zlib.crc32(struct.pack('<II', version, len(payload)) + payload)
    magic = packed()[:24]
    header = struct.pack('<24sIII', magic, version, len(payload), crc)
    return (header + payload).ljust(record.SLOT, b'\0')


class TestRecord(base.TestCase):
    def test_what_was_written_is_read(self) -> None:
        kinds: list[dict[str, object]] = [
            {},
            {'synced': None},
            {'hidden': {}, 'old': {}},
        ]
        for changes in kinds:
            data = packed(**changes)
            self.assertEqual(record.SLOT, len(data))
            self.assertEqual(
                dataclasses.replace(RECORD, **changes),  # type: ignore[arg-type]
                record.unpack(data),
            )

    def test_what_is_none(self) -> None:
        for data in (
            b'',
            bytes(record.SLOT),
            b'\xa5' * record.SLOT,
            packed()[1:],
        ):
            self.assertIsNone(record.unpack(data))

    def test_every_byte_counts(self) -> None:
        data = packed()
        length = len(data.rstrip(b'\0'))
        for at in range(length):
            wrong = bytearray(data)
            wrong[at] ^= 1
            try:
                found = record.unpack(bytes(wrong))
            except ValueError:
                continue
            self.assertIsNone(found, 'byte %d' % at)

    def test_torn(self) -> None:
        """A part of it was written over another one."""
        before, after = packed(number=5), packed(number=7, head=99)
        for at in range(512, len(after.rstrip(b'\0')), 512):
            self.assertRaises(
                ValueError, record.unpack, after[:at] + before[at:]
            )
        self.assertRaises(ValueError, record.unpack, after[:100])

    def test_another_version(self) -> None:
        error = self.assertRaises(ValueError, record.unpack, forged(b'{}', 2))
        self.assertIn('version 2', str(error))

    def test_made_up(self) -> None:
        """By somebody who knows the format: whatever it says, no crash."""
        payload = packed().rstrip(b'\0')[36:]
        for old, new in (
            (b'"number": 7', b'"number": "7"'),
            (b'"stop": 5242880', b'"stop": -1'),
            (b'"stop": 5242880', b'"stop": 5e6'),
            (b'"stop": 5242880', b'"stop": true'),
            (b'"image": 5242880', b'"image": 5242881'),
            (b'"length": 1099511627776', b'"length": 1e99'),
            (b'"4194304"', b'"-4194304"'),
            (b'"4194304"', b'"x"'),
            (b'"4c554b53"', b'"4c5"'),
            (b'"copy"', b'"kopy"'),
            (b'"origin": {', b'"origin": {"x": 1, '),
            (b'"url": "http', b'"url": 0, "x": "http'),
            (payload, b'[]'),
            (payload, b'17'),
            (payload, b'\xff'),
            (payload, b'[' * 9000),
        ):
            self.assertIn(old, payload)
            made_up = forged(payload.replace(old, new, 1))
            self.assertRaises(ValueError, record.unpack, made_up)

    def test_any_bytes(self) -> None:
        chance = random.Random(1)
        for _turn in range(2000):
            data = bytearray(packed())
            for _byte in range(chance.randrange(1, 9)):
                data[chance.randrange(900)] = chance.randrange(256)
            try:
                found = record.unpack(bytes(data))
            except ValueError:
                continue
            self.assertIn(found, (None, RECORD))

    def test_too_long_for_a_slot(self) -> None:
        origin = dataclasses.replace(RECORD.origin, etag='x' * record.SLOT)
        self.assertIsNone(
            record.pack(dataclasses.replace(RECORD, origin=origin))
        )

    def test_the_newest_counts(self) -> None:
        first, second = packed(number=8), packed(number=9)
        for slots in [first, second], [second, first]:
            found, faults = record.newest(slots)
            assert found is not None
            self.assertEqual((9, []), (found.number, faults))
        found, faults = record.newest([first, second[:-1]])
        assert found is not None
        self.assertEqual((8, ['it is cut short']), (found.number, faults))
        self.assertEqual((None, []), record.newest([bytes(record.SLOT)]))
