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

"""Targets that fail where, and when, they are told to."""

from __future__ import annotations

import os
import random

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import writing
from tests.support import copying
from tests.support import faultfs

_RANDOM = random.Random(20261127)
IMAGE = b''.join(
    (_RANDOM.randbytes(3 * MIB), bytes(2 * MIB), _RANDOM.randbytes(3 * MIB))
)


class _FaultTestCase(copying.DeviceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.faults = self.useFixture(faultfs.FaultFs(self.directory))

    def disk(self, length: int = 16 * MIB) -> faultfs.Disk:
        return self.useFixture(faultfs.Disk(self.faults.path, length))

    def fails(
        self,
        cls: type[errors.Error],
        path: str,
        image: bytes = IMAGE,
        verify: bool = False,
    ) -> errors.Error:
        """Copy, and return the error that has to come of it."""
        error = self.assertRaises(
            cls,
            pipeline.copy,
            copying.whole(image),
            path,
            options=writing.Options(verify=verify),
        )
        assert isinstance(error, errors.Error)
        self.assertIs(cls, type(error), str(error))
        return error


class WhereTest(_FaultTestCase):
    """The byte that is told is the one that could not be written."""

    def test_data(self) -> None:
        for at in (MIB, 2 * MIB, 6 * MIB):
            target = self.disk()
            self.faults.set(
                write={'errno': 'EIO', 'start': at, 'stop': at + MIB}
            )
            error = self.fails(errors.WriteError, target.path)
            self.faults.set()
            self.assertEqual(at, error.offset)
            self.assertEqual('incomplete', error.target_state)
            self.assert_blank(target)

    def test_zeros(self) -> None:
        for at, code, cls in (
            (3 * MIB, 'EIO', errors.WriteError),
            (4 * MIB, 'EIO', errors.WriteError),
            (3 * MIB, 'ENOSPC', errors.TargetFull),
            (4 * MIB, 'ENOSPC', errors.TargetFull),
        ):
            target = self.disk()
            self.faults.set(
                write={'errno': code, 'start': at, 'stop': 5 * MIB}
            )
            error = self.fails(cls, target.path)
            self.faults.set()
            self.assertEqual(at, error.offset)

    def test_nowhere(self) -> None:
        """What cannot be synced may be anything that was written."""
        target = self.disk()
        self.faults.set(fsync='EIO')
        error = self.fails(errors.WriteError, target.path)
        self.assertIsNone(error.offset)
        self.faults.set()


class CloseTest(_FaultTestCase):
    """What only close(2) tells is heard while it can be taken back."""

    def test_file(self) -> None:
        path = os.path.join(self.faults.path, 'target')
        for code, cls in (
            ('EDQUOT', errors.TargetFull),
            ('EIO', errors.WriteError),
        ):
            with open(path, 'wb'):
                pass
            self.faults.set(flush=code)
            self.fails(cls, path)
            self.faults.set()
            with open(path, 'rb') as target:
                self.assertEqual(b'', target.read())


class LieTest(_FaultTestCase):
    """A disk that says that it has done what it has not."""

    def test_write_that_is_dropped(self) -> None:
        # How often each place is written to before: it is blanked, and the
        # first page then has all but its first sector.
        for at, after in (
            *((0, 2), (4096, 1), (512 * 1024, 1)),
            *((at, 0) for at in (MIB, 3 * MIB, 5 * MIB, 7 * MIB)),
        ):
            target = self.disk()
            # The blanking of the first mebibyte gets there.
            self.faults.set(
                write={
                    'errno': 'DROP',
                    'start': at,
                    'stop': at + 4096,
                    'after': after,
                    'times': 1,
                }
            )
            error = self.fails(errors.WriteError, target.path, verify=True)
            self.faults.set()
            self.assertIn('does not give back', str(error))
            self.assertEqual('incomplete', error.target_state)
            self.assert_blank(target)

    def test_sync_that_fails_once(self) -> None:
        """That the next one goes well says nothing about what was lost."""
        for after in range(4):
            target = self.disk()
            self.faults.set(fsync={'errno': 'EIO', 'after': after, 'times': 1})
            self.fails(errors.WriteError, target.path)
            self.faults.set()
            self.assert_blank(target)

    def test_sync_that_fails_for_good(self) -> None:
        """Then what is there cannot be said, and that is."""
        target = self.disk()
        self.faults.set(fsync={'errno': 'EIO', 'after': 2})
        error = self.fails(errors.WriteError, target.path)
        self.faults.set()
        self.assertEqual('incomplete', error.target_state)
        self.assertIn('could not be cleared', self.log.output)


class ShortWriteTest(_FaultTestCase):
    """write(2) may take less than it was given, at any time."""

    def test_any_length(self) -> None:
        real = os.pwrite
        chance = random.Random(20261202)

        def short(fd: int, view: memoryview, offset: int) -> int:
            for unit in (4096, 512, 1):
                if len(view) > unit and chance.random() < 0.3:
                    view = view[
                        : chance.randrange(1, len(view) // unit + 1) * unit
                    ]
            return real(fd, view, offset)

        for direct_io in (True, False):
            target = self.device()
            with fixtures.MonkeyPatch('os.pwrite', short):
                pipeline.copy(
                    copying.whole(IMAGE),
                    target.path,
                    options=writing.Options(direct_io=direct_io, verify=True),
                )
            self.assert_device(target, IMAGE)
