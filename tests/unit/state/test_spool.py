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

"""The bytes of a download, in a file."""

from __future__ import annotations

import errno
import os
import random

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.state import record
from fuel_agent_curl.state import spool as spool_module
from tests import base
from tests.unit.state import test_record

_RANDOM = random.Random(20261127)
_BYTES = _RANDOM.randbytes(3 * MIB + 70_001)
_ORIGIN = test_record.RECORD.origin


class _Interrupted(spool_module.Spool):
    """One that a signal ends where that is to be noted."""

    noted = ''

    def __setattr__(self, name: str, value: object) -> None:
        if name == self.noted:
            raise KeyboardInterrupt
        super().__setattr__(name, value)


def _full(*args: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestSpool(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.useFixture(fixtures.TempDir()).join('spool')

    def open(self) -> spool_module.Spool:
        spool = spool_module.open_spool(self.path)
        self.addCleanup(spool.close)
        return spool

    def fill(self, data: bytes = _BYTES) -> spool_module.Spool:
        spool = self.open()
        spool.begin('asked', 'http://server/image', _ORIGIN)
        for at in range(0, len(data), 77_777):
            spool.add(memoryview(data)[at : at + 77_777])
        return spool

    def filled(self) -> None:
        spool = self.fill()
        self.assertEqual(len(_BYTES), spool.length)
        spool.close()

    def read(self, spool: spool_module.Spool, start: int, stop: int) -> bytes:
        return b''.join(map(bytes, spool.read(start, stop)))

    def test_gives_back_what_it_took(self) -> None:
        self.filled()
        self.assertEqual(0o600, os.stat(self.path).st_mode & 0o777)
        spool = self.open()
        assert spool.record is not None
        self.assertEqual(_ORIGIN, spool.record.origin)
        self.assertEqual('asked', spool.record.asked)
        size = len(_BYTES)
        self.assertEqual(size, spool.length)
        for start, stop in (
            (0, size),
            (5, MIB + 3),
            (MIB, 2 * MIB),
            (3 * MIB, size),
            (7, 7),
        ):
            self.assertEqual(_BYTES[start:stop], self.read(spool, start, stop))

    def test_goes_on(self) -> None:
        for at in len(_BYTES), 3 * MIB, 3 * MIB + 5, MIB + 17, 0:
            self.filled()
            spool = self.open()
            spool.go_on(at)
            self.assertEqual(at, spool.length)
            spool.add(memoryview(_BYTES)[at:])
            spool.close()
            spool = self.open()
            self.assertEqual(_BYTES, self.read(spool, 0, spool.length))
            spool.remove()
            self.assertFalse(os.path.exists(self.path))

    def test_killed(self) -> None:
        """What was not whole is not there."""
        self.fill()
        killed = os.path.join(os.path.dirname(self.path), 'killed')
        os.rename(self.path, killed)
        spool = spool_module.Spool(
            killed, os.open(killed, os.O_RDWR), self.fill(b'').record
        )
        # Of another copy.
        self.assertEqual(0, spool.length)
        spool.close()
        self.path = killed
        os.rename(killed, killed + '-')
        self.path = killed + '-'
        with open(self.path, 'rb') as file:
            head = file.read(record.SLOT)
        found = record.unpack(head)
        spool = spool_module.Spool(
            self.path, os.open(self.path, os.O_RDWR), found
        )
        self.assertEqual(3 * MIB, spool.length)
        self.assertEqual(_BYTES[: 3 * MIB], self.read(spool, 0, 3 * MIB))
        spool.close()

    def test_any_byte_that_is_damaged(self) -> None:
        """It is found, and what is before it is right."""
        stride = MIB + 4 * KIB
        for block in range(4):
            for place in 0, 9, 24, 33, 37, 4096, 4096 + 69_000:
                self.filled()
                at = 2 * record.SLOT + block * stride + place
                with open(self.path, 'r+b') as file:
                    file.seek(at)
                    byte = file.read(1)[0]
                    file.seek(at)
                    file.write(bytes([byte ^ 1]))
                spool = self.open()
                if block == 3:
                    self.assertEqual(3 * MIB, spool.length)
                else:
                    self.assertRaises(
                        errors.CannotContinue,
                        self.read,
                        spool,
                        0,
                        spool.length,
                    )
                    self.assertEqual(block * MIB, spool.length)
                self.assertEqual(
                    _BYTES[: spool.length], self.read(spool, 0, spool.length)
                )
                spool.remove()

    def test_a_damaged_head(self) -> None:
        self.filled()
        with open(self.path, 'r+b') as file:
            file.seek(100)
            file.write(b'x')
        spool = self.open()
        self.assertEqual(len(_BYTES), spool.length)
        spool.close()
        with open(self.path, 'r+b') as file:
            file.seek(record.SLOT + 100)
            file.write(b'x')
        spool = self.open()
        self.assertIsNone(spool.record)
        self.assertEqual(0, spool.length)

    def test_what_is_no_spool(self) -> None:
        for content in b'x', b'x' * 100_000, bytes(5):
            with open(self.path, 'wb') as file:
                file.write(content)
            os.chmod(self.path, 0o644)
            self.assertRaises(errors.SpoolError, self.open)
            with open(self.path, 'rb') as file:
                self.assertEqual(content, file.read())
            self.assertEqual(0o644, os.stat(self.path).st_mode & 0o777)
        os.unlink(self.path)
        os.symlink('/nowhere', self.path)
        error = self.assertRaises(errors.SpoolError, self.open)
        self.assertIn('is a symbolic link', str(error))
        os.unlink(self.path)
        os.mkdir(self.path)
        self.assertRaises(errors.SpoolError, self.open)

    def test_not_ours_alone(self) -> None:
        self.filled()
        os.chmod(self.path, 0o620)
        self.assertRaises(errors.SpoolError, self.open)
        os.chmod(self.path, 0o600)
        os.link(self.path, self.path + '2')
        self.assertRaises(errors.SpoolError, self.open)

    def test_nobody_else_reads_it(self) -> None:
        for content in True, False:
            if content:
                self.filled()
            else:
                with open(self.path, 'wb'):
                    pass
            os.chmod(self.path, 0o644)
            self.open().close()
            self.assertEqual(0o600, os.stat(self.path).st_mode & 0o777)
            os.unlink(self.path)

    def test_where_there_are_no_modes(self) -> None:
        self.filled()
        os.chmod(self.path, 0o644)

        def refused(*args: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        with fixtures.MonkeyPatch('os.fchmod', refused):
            self.assertEqual(len(_BYTES), self.open().length)

    def test_of_a_copy_that_runs(self) -> None:
        self.fill()
        self.assertRaises(errors.SpoolError, self.open)

    def test_too_little_room(self) -> None:
        spool = self.open()
        spool.check_room(MIB)
        self.assertRaises(errors.SpoolError, spool.check_room, 1 << 60)
        self.assertRaises(errors.SpoolError, spool.check_room, 1, 1 << 60)

    def test_no_room_any_more(self) -> None:
        """It is given up; the download goes on."""
        spool = self.fill()
        with fixtures.MonkeyPatch('os.pwrite', _full):
            spool.add(memoryview(_BYTES))
        self.assertFalse(spool.is_open)
        self.assertEqual(0, spool.length)
        self.assertFalse(os.path.exists(self.path))
        spool.add(memoryview(_BYTES))
        spool.flush()
        spool.reset()

    def test_no_room_for_its_head(self) -> None:
        """It is given up once, and one reason is said, which is true."""
        spool = self.open()
        with fixtures.MonkeyPatch('os.pwrite', _full):
            spool.begin('asked', 'http://server/image', _ORIGIN)
        spool.told(record.Origin(url='f0', length=7))
        self.assertEqual(1, self.log.output.count('is given up'))
        self.assertIn(os.strerror(errno.ENOSPC), self.log.output)

    def test_no_room_for_what_is_to_be_read(self) -> None:
        spool = self.fill()
        with fixtures.MonkeyPatch('os.pwrite', _full):
            self.assertRaises(errors.CannotContinue, self.read, spool, 0, 5)
        self.assertEqual(0, spool.length)

    def test_what_was_taken_last_is_read(self) -> None:
        spool = self.fill()
        self.assertEqual(_BYTES, self.read(spool, 0, spool.length))
        spool.add(memoryview(_BYTES))
        self.assertEqual(_BYTES * 2, self.read(spool, 0, spool.length))

    def test_interrupted(self) -> None:
        """Between any two steps: what is there is right."""
        for noted in 'length', '_filled':
            for size in 2 * MIB, 2 * MIB + 5:
                with fixtures.MonkeyPatch(
                    'fuel_agent_curl.state.spool.Spool', _Interrupted
                ):
                    spool = self.fill(_BYTES[:size])
                assert isinstance(spool, _Interrupted)
                spool.noted = noted
                self.assertRaises(
                    KeyboardInterrupt,
                    spool.add,
                    memoryview(_BYTES)[size : 3 * MIB],
                )
                spool.noted = ''
                spool.close()
                again = self.open()
                self.assertLessEqual(size, again.length)
                self.assertEqual(
                    _BYTES[: again.length], self.read(again, 0, again.length)
                )
                again.remove()

    def test_it_is_of_another_by_now(self) -> None:
        spool = self.fill()
        other = record.Origin(url='f0', length=7)
        spool.told(other)
        spool.close()
        again = self.open()
        assert again.record is not None
        self.assertEqual(other, again.record.origin)
        self.assertEqual(len(_BYTES), again.length)
