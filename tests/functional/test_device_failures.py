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

"""Block devices that fail, and copies that do: what is left on them."""

from __future__ import annotations

from collections.abc import Iterator
import gzip
import os
import random
import subprocess
import sys
import time

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import writing
from tests.support import copying
from tests.support import loop

IMAGE = copying.LONG_IMAGE

_FDATASYNC = os.fdatasync

# Nothing that a hole would do for.
_DENSE = random.Random(20261124).randbytes(8 * MIB)

# Copies what it reads from stdin, and says when some of it is written.
_COPY = """
import sys
from fuel_agent_curl import pipeline

def chunks():
    for _number in range(5):
        yield sys.stdin.buffer.read(1 << 20)
    while sink.written < 3 << 20:
        pass
    print('begun', flush=True)
    while chunk := sys.stdin.buffer.read(1 << 20):
        yield chunk

def remembering(*args, **kwargs):
    global sink
    sink = open_target(*args, **kwargs)
    return sink

open_target = pipeline.opening.open_target
pipeline.opening.open_target = remembering
pipeline.write(chunks(), sys.argv[1])
"""


class FailureTest(copying.DeviceTestCase):
    def test_eio(self) -> None:
        for direct_io in (True, False):
            target = self.device()

            def chunks(
                target: loop.LoopDevice = target,
            ) -> Iterator[bytes]:
                yield IMAGE[: 3 * MIB]
                # By then it has been written to.
                while any(target.read()[:MIB]):
                    time.sleep(0.01)
                target.fail()
                for start in range(3 * MIB, len(IMAGE), MIB):
                    yield IMAGE[start : start + MIB]

            error = self.assertRaises(
                errors.WriteError,
                pipeline.copy,
                copying.Source(chunks()),
                target.path,
                options=writing.Options(direct_io=direct_io),
            )
            self.assertIn('Input/output error', str(error))
            target.heal()
            self.assert_blank(target)

    def test_eio_before_anything_is_written(self) -> None:
        target = self.device()
        target.fail()
        self.assertRaises(
            errors.WriteError, pipeline.copy, copying.whole(IMAGE), target.path
        )
        target.heal()
        self.assert_untouched(target)

    def test_eio_at_the_very_end(self) -> None:
        """The image's first mebibyte never arrives."""
        target = self.device()

        def chunks() -> Iterator[bytes]:
            yield IMAGE[: 7 * MIB]
            time.sleep(0.5)
            target.fail()

        error = self.assertRaises(
            errors.WriteError,
            pipeline.copy,
            copying.Source(chunks()),
            target.path,
        )
        target.heal()
        self.assert_blank(target)
        self.assertIn(target.path, str(error))

    def test_write_protected_meanwhile(self) -> None:
        target = self.device()
        # The flag outlives the file behind the device.
        self.addCleanup(target.protect, False)

        def chunks() -> Iterator[bytes]:
            yield IMAGE[: 3 * MIB]
            target.protect(True)
            yield IMAGE[3 * MIB :]

        self.assertRaises(
            errors.TargetReadOnly,
            pipeline.copy,
            copying.Source(chunks()),
            target.path,
        )

    def test_last_sync_fails(self) -> None:
        """The image's first mebibyte is there by then, and goes again."""
        for turn in (3, 2, 1):
            target = self.device()
            with copying.fail_sync(turn):
                self.assertRaises(
                    errors.WriteError,
                    pipeline.copy,
                    copying.whole(IMAGE),
                    target.path,
                )
            self.assert_blank(target)

    def test_vanishes(self) -> None:
        for length in (0, 5 * MIB):
            target = self.device()

            def chunks(
                target: loop.LoopDevice = target, length: int = length
            ) -> Iterator[bytes]:
                yield IMAGE[: 3 * MIB]
                target.shrink(length)
                yield _DENSE[: 6 * MIB]

            error = self.assertRaises(
                errors.TargetVanished,
                pipeline.copy,
                copying.Source(chunks()),
                target.path,
            )
            self.assertIn(target.path, str(error))

    def test_full_disk(self) -> None:
        small = self.useFixture(
            loop.Mount(self.directory, '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs')
        )
        path = os.path.join(small.path, 'target')
        # How long it is may be known, or not.
        for source in (copying.whole(_DENSE), copying.Source([_DENSE])):
            error = self.assertRaises(
                errors.TargetFull, pipeline.copy, source, path
            )
            if source.length is None:
                assert error.offset is not None
                self.assertLessEqual(MIB, error.offset)
                # What is held back is not there yet.
                self.assertGreaterEqual(5 * MIB, error.offset)
            else:
                self.assertIn('%d are missing' % (4 * MIB), str(error))
            self.assertEqual([], os.listdir(small.path))
            with open(path, 'wb') as target:
                target.write(b'old')
            self.assertRaises(errors.TargetFull, pipeline.copy, source, path)
            self.assertEqual(['target'], os.listdir(small.path))
            with open(path, 'rb') as target:
                self.assertEqual(b'old', target.read())
            os.unlink(path)

    def test_thin_device_is_full(self) -> None:
        """ENOSPC below the length of the device."""
        small = self.useFixture(
            loop.Mount(self.directory, '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs')
        )
        target = self.useFixture(loop.LoopDevice(small.path, 2 * MIB))
        target.shrink(16 * MIB)
        target.length = 16 * MIB
        self.assertRaises(
            errors.TargetFull,
            pipeline.copy,
            copying.whole(_DENSE),
            target.path,
        )
        self.assert_blank(target)

    def test_damaged_image(self) -> None:
        packed = gzip.compress(IMAGE, 1)
        for damaged, cls in (
            (packed[:-1], errors.TruncatedError),
            (packed + b'!', errors.TrailingGarbageError),
            (packed[:-8] + bytes(8), errors.CorruptError),
        ):
            target = self.device()
            error = self.assertRaises(
                cls, pipeline.copy, copying.whole(damaged), target.path
            )
            self.assert_as_told(target, error)
            # Less than that is only written when all of it has come.
            if len(damaged) < MIB:
                self.assert_untouched(target)

    def test_image_of_which_nothing_can_be_unpacked(self) -> None:
        packed = gzip.compress(IMAGE, 1)
        target = self.device()
        for damaged in (
            gzip.compress(b'tiny')[:-1],
            packed[:10],
            packed[:10] + b'\xff' * 40 + packed[50:],
        ):
            error = self.assertRaises(
                errors.ContentError,
                pipeline.copy,
                copying.whole(damaged),
                target.path,
            )
            self.assertEqual('untouched', error.target_state)
            self.assert_untouched(target)

    def test_checksum(self) -> None:
        target = self.device()
        self.assertRaises(
            errors.DigestMismatch,
            pipeline.copy,
            copying.whole(IMAGE),
            target.path,
            image_checksum='md5:' + '0' * 32,
        )
        self.assert_blank(target)

    def test_interrupted(self) -> None:
        target = self.device()

        def chunks() -> Iterator[bytes]:
            # More than is on its way at once, so that some of it is written.
            yield IMAGE
            yield IMAGE[:MIB] * 4
            raise KeyboardInterrupt

        self.assertRaises(
            KeyboardInterrupt,
            pipeline.copy,
            copying.Source(chunks()),
            target.path,
        )
        self.assert_blank(target)

    def test_killed(self) -> None:
        """At any moment, with nobody left to clean up."""
        for last in (False, True):
            target = self.device()
            process = subprocess.Popen(
                [sys.executable, '-c', _COPY, target.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            with process:
                process.stdin.write(IMAGE[: 5 * MIB])
                process.stdin.flush()
                # Some of it is on the device; the end is not known yet.
                self.assertEqual(b'begun\n', process.stdout.readline())
                if last:
                    process.stdin.write(IMAGE[5 * MIB :])
                    process.stdin.flush()
                process.kill()
            self.assert_blank(target)

    def test_spoiled_on_the_medium(self) -> None:
        for at in (MIB, len(IMAGE) - 1):
            target = self.device()
            turns: list[int] = []

            def spoiling(
                fd: int,
                target: loop.LoopDevice = target,
                turns: list[int] = turns,
                at: int = at,
            ) -> None:
                _FDATASYNC(fd)
                turns.append(fd)
                if len(turns) == 2:
                    with open(target.backing, 'r+b') as backing:
                        backing.seek(at)
                        backing.write(b'\x77')

            with fixtures.MonkeyPatch('os.fdatasync', spoiling):
                error = self.assertRaises(
                    errors.WriteError,
                    pipeline.copy,
                    copying.whole(IMAGE),
                    target.path,
                    options=writing.Options(verify=True),
                )
            self.assertIn('does not give back', str(error))
            self.assert_blank(target)
