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

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.octets import MIB
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
        **options: bool,
    ) -> errors.Error:
        """Copy, and return the error that has to come of it."""
        error = self.assertRaises(
            cls, pipeline.copy, copying.whole(image), path, **options
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
