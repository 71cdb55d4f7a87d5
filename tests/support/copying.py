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

"""What the tests of copying have in common: an image, sources, targets."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import errno
import functools
import os
import random
import threading
from typing import Any

import fixtures

from fuel_agent_curl.octets import MIB
from tests import base
from tests.support import loop

_RANDOM = random.Random(20261123)
#: Longer than what is held back, with zeros at both ends of a buffer, and an
#: end that no sector ends at.
IMAGE = b''.join(
    (
        _RANDOM.randbytes(2 * MIB),
        bytes(MIB + 100_000),
        _RANDOM.randbytes(MIB),
        bytes(200_000),
        _RANDOM.randbytes(777),
    )
)

#: The same for devices, with a longer run of zeros.
LONG_IMAGE = b''.join(
    (
        _RANDOM.randbytes(2 * MIB),
        bytes(5 * MIB),
        _RANDOM.randbytes(MIB + 70_000),
        bytes(200_000),
        _RANDOM.randbytes(777),
    )
)


def _spoil(buffer: bytearray) -> None:
    """The download uses its buffers again."""
    buffer[:] = b'\xdb' * len(buffer)


class Source:
    """What a download is to the pipeline.

    :param chunks: what it brings; an exception among them is raised.
    """

    def __init__(
        self,
        chunks: Iterable[bytes | BaseException],
        length: int | None = None,
    ) -> None:
        self._chunks = chunks
        self.length = length
        self.end_proven = True
        self.closed = threading.Event()
        self._buffer = bytearray()
        self._view: memoryview | None = None
        self._asked = 0

    def views(self) -> Iterator[memoryview]:
        for chunk in self._chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            self._buffer = bytearray(chunk)
            self._view = memoryview(self._buffer)
            yield self._view
            if self._view is not None:
                _spoil(self._buffer)

    def keep(self, view: object) -> Callable[[], None] | None:
        # Every other one, as a download cannot keep all of them, either.
        self._asked += 1
        if self._view is None or view is not self._view or self._asked % 2:
            return None
        give_back = functools.partial(_spoil, self._buffer)
        self._view = None
        return give_back

    def close(self) -> None:
        self.closed.set()


def whole(data: bytes, size: int = 100_003) -> Source:
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    return Source(chunks, len(data))


def fail_sync(turn: int) -> fixtures.MonkeyPatch:
    """Have this fdatasync, counted from one, fail; to be entered."""
    real = os.fdatasync
    turns: list[int] = []

    def failing(fd: int) -> None:
        turns.append(fd)
        if len(turns) == turn:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    return fixtures.MonkeyPatch('os.fdatasync', failing)


def fail_close() -> Callable[[int], None]:
    """Return a close(2) that closes, as it always does, and fails."""
    real = os.close

    def failing(fd: int) -> None:
        real(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    return failing


class FileTestCase(base.TestCase):
    """Copies to a regular file in a directory of its own.

    :ivar path: of the target; nothing is there yet.
    """

    def setUp(self) -> None:
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.directory, 'target')
        before = threading.active_count()
        self.addCleanup(
            lambda: self.assertEqual(before, threading.active_count())
        )

    def old(self, data: bytes = b'old' * MIB) -> None:
        """Make the target exist."""
        with open(self.path, 'wb') as target:
            target.write(data)

    def content(self) -> bytes:
        with open(self.path, 'rb') as target:
            return target.read()

    def assert_image(self, expected: bytes) -> None:
        actual = self.content()
        if actual != expected:
            self.fail('%d bytes, or others' % len(actual))

    def assert_nothing(self) -> None:
        """Neither a target, nor anything beside it."""
        self.assertEqual([], os.listdir(self.directory))


class DeviceTestCase(base.FunctionalTestCase):
    """Copies to block devices, which are full of 0xa5."""

    def setUp(self) -> None:
        super().setUp()
        self.need_root()
        self.need_program('losetup', 'chattr')

    def device(
        self, length: int = 16 * MIB, **options: Any
    ) -> loop.LoopDevice:
        """Make a device; ``options`` are the fixture's."""
        return self.useFixture(
            loop.LoopDevice(self.directory, length, **options)
        )

    def assert_device(
        self, target: loop.LoopDevice, image: bytes, what: str = ''
    ) -> None:
        """The image, then what was there before."""
        actual = target.read()
        self.assertEqual(target.length, len(actual))
        if actual[: len(image)] != image:
            self.fail('another image is on the device: ' + what)
        self._assert_all(actual[len(image) :], b'\xa5', what)

    def assert_blank(self, target: loop.LoopDevice) -> None:
        """Nothing boots from here."""
        self._assert_all(target.read()[:MIB], b'\0', 'the first mebibyte')

    def assert_as_told(
        self, target: loop.LoopDevice, error: BaseException
    ) -> None:
        """It is blank, or what it was if the error says so."""
        state = getattr(error, 'target_state', None)
        if state == 'untouched':
            self.assert_untouched(target)
        else:
            self.assertIn(state, ('blank', 'incomplete'))
            self.assert_blank(target)

    def assert_untouched(self, target: loop.LoopDevice) -> None:
        self._assert_all(target.read(), target.fill, 'what was there')

    def _assert_all(self, data: bytes, byte: bytes, what: str) -> None:
        # The bytes themselves would be a message of megabytes.
        if left := data.strip(byte):
            at = data.index(left)
            self.fail('%s: %r is at byte %d' % (what, left[:16], at))
