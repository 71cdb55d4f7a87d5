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

"""The life of a target, and the word for what it is like."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from typing import Any

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import opening
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import storage
from fuel_agent_curl.target import writing
from tests import base
from tests.support import copying

Life = sink.Life

_STEPS = {
    (Life.UNTOUCHED, Life.BLANK),
    (Life.UNTOUCHED, Life.WRITTEN),
    (Life.UNTOUCHED, Life.PUBLISHED),
    (Life.UNTOUCHED, Life.CLOSED),
    (Life.BLANK, Life.WRITTEN),
    (Life.BLANK, Life.PUBLISHED),
    (Life.BLANK, Life.CLOSED),
    (Life.WRITTEN, Life.PUBLISHED),
    (Life.WRITTEN, Life.CLOSED),
    (Life.PUBLISHED, Life.WRITTEN),
    (Life.PUBLISHED, Life.CLOSED),
}


class LifeTest(base.TestCase):
    def test_each_step(self) -> None:
        for before, after in itertools.product(Life, repeat=2):
            target = sink.Stream('x', os.open('/dev/null', os.O_WRONLY))
            self.addCleanup(target._close)
            target.life = before
            if (before, after) in _STEPS:
                target._become(after)
                self.assertIs(after, target.life)
            else:
                error = self.assertRaises(RuntimeError, target._become, after)
                self.assertIn(after.value, str(error))
                self.assertIs(before, target.life)


class GivenTest(copying.FileTestCase):
    """What is in our memory alone was not given to the kernel."""

    def test_of_a_file(self) -> None:
        target = opening.open_target(self.path, options=writing.Options())
        self.addCleanup(target.abort)
        target.write(b'x' * MIB)
        self.assertEqual((MIB, 0), (target.written, target.given))
        # Less than is staged.
        target.write(b'x' * 1000)
        self.assertEqual(0, target.given)
        target.write(b'x' * 3 * MIB)
        self.assertEqual(3 * MIB, target.given)
        # A run of zeros that has not ended.
        target.write(bytes(2 * MIB))
        self.assertEqual(3 * MIB, target.given - target.given % MIB)
        target.write(b'x' * 2 * MIB)
        self.assertLess(5 * MIB, target.given)
        target.finish()
        self.assertEqual(8 * MIB + 1000, target.given)

    def test_of_what_stays(self) -> None:
        content = b'x' * 8 * MIB
        self.old(content)
        target = opening.open_target(
            self.path, options=writing.Options(in_place=True, reused=True)
        )
        self.addCleanup(target.abort)
        assert isinstance(target, storage.Storage)
        target.stay(content)
        # But for what is held back.
        self.assertEqual((8 * MIB, 7 * MIB), (target.written, target.given))
        target.finish()
        self.assertEqual(8 * MIB, target.given)
        self.assert_image(content)

    def test_of_a_stream(self) -> None:
        target = sink.Stream('x', os.open('/dev/null', os.O_WRONLY))
        target.write(b'x' * MIB)
        self.assertEqual(MIB, target.given)
        target.finish()


class StateTest(copying.FileTestCase):
    def _open(self, *, in_place: bool = False) -> sink.Sink:
        target = opening.open_target(
            self.path, options=writing.Options(in_place=in_place)
        )
        self.addCleanup(target.abort)
        return target

    def test_of_a_file(self) -> None:
        target = self._open(in_place=True)
        self.assertEqual('untouched', target.state)
        target.begin()
        target.write(bytes(MIB))
        self.assertEqual('untouched', target.state)
        target.write(b'')
        self.assertEqual('untouched', target.state)
        target.write(b'x' * MIB)
        self.assertEqual('incomplete', target.state)
        target.finish()
        self.assertEqual('complete', target.state)
        target.abort()
        self.assertEqual('complete', target.state)

    def test_of_a_file_that_was_made_for_it(self) -> None:
        for length in (0, 1, 2 * MIB):
            target = self._open()
            target.write(b'x' * length)
            target.abort()
            self.assertEqual('untouched', target.state)
            self.assertFalse(os.path.exists(self.path))

    def test_of_a_file_that_is_replaced(self) -> None:
        """It is another that becomes incomplete."""
        for old in (False, True):
            if old:
                self.old()
            target = self._open()
            target.write(b'x' * 2 * MIB)
            self.assertEqual('untouched', target.state)
            target.finish()
            self.assertEqual('complete', target.state)

    def test_of_a_file_that_is_accepted(self) -> None:
        """Only if it is still the one that was compared."""
        for happens in 'nothing', 'removed', 'replaced':
            for in_place in False, True:
                self.old()
                target = opening.open_target(
                    self.path,
                    options=writing.Options(in_place=in_place, reused=True),
                )
                self.addCleanup(target.abort)
                assert isinstance(target, storage.Storage)
                if happens != 'nothing':
                    os.rename(self.path, self.path + '.old')
                if happens == 'replaced':
                    self.old(b'another')
                if happens == 'nothing':
                    target.accept(3 * MIB)
                    self.assertEqual('complete', target.state)
                    continue
                error = self.assertRaises(
                    errors.TargetVanished, target.accept, 3 * MIB
                )
                self.assertIn('what else writes there', str(error))
                target.abort()
                self.assertEqual('untouched', target.state)
                if happens == 'replaced':
                    self.assert_image(b'another')
                else:
                    self.assertFalse(os.path.exists(self.path))

    def test_after_the_last_sync_failed(self) -> None:
        target = self._open(in_place=True)
        target.write(b'x' * 2 * MIB)
        with copying.fail_sync(2):
            self.assertRaises(errors.WriteError, target.finish)
        # It has been taken back at once.
        self.assertIs(Life.CLOSED, target.life)
        self.assertEqual('untouched', target.state)
        target.abort()
        self.assertEqual('untouched', target.state)

    def test_after_an_abort_that_was_interrupted(self) -> None:
        """At any call of it: the next one does what is left."""
        for name in ('ftruncate', 'fsync', 'unlink', 'close'):
            for old in (False, True):
                if old:
                    self.old()
                target = self._open(in_place=True)
                target.write(b'x' * 3 * MIB)
                real = getattr(os, name)

                def interrupted(
                    *arguments: Any, real: Any = real, name: str = name
                ) -> None:
                    setattr(os, name, real)
                    raise KeyboardInterrupt

                self.patch(os, name, interrupted)
                with contextlib.suppress(KeyboardInterrupt):
                    target.abort()
                self.patch(os, name, real)
                target.abort()
                self.assertIs(Life.CLOSED, target.life)
                if old:
                    self.assertEqual(b'', self.content())
                    os.unlink(self.path)
                self.assertEqual([], os.listdir(self.directory))

    def test_of_a_stream(self) -> None:
        target = opening.open_target('/dev/null')
        target.begin()
        self.assertEqual('untouched', target.state)
        target.write(b'')
        self.assertEqual('untouched', target.state)
        target.write(b'x')
        self.assertEqual('incomplete', target.state)
        target.finish()
        self.assertEqual('complete', target.state)

    def test_of_a_stream_that_nobody_finished(self) -> None:
        for data, state in ((b'', 'untouched'), (b'x', 'incomplete')):
            target = opening.open_target('/dev/null')
            target.write(data)
            target.abort()
            self.assertEqual(state, target.state)

    def test_of_a_stream_that_cannot_be_closed(self) -> None:
        target = opening.open_target('/dev/null')
        target.write(b'x')
        with fixtures.MonkeyPatch('os.close', copying.fail_close()):
            self.assertRaises(errors.WriteError, target.finish)
        target.abort()
        self.assertEqual('incomplete', target.state)


class WhereTest(copying.FileTestCase):
    """A direct write that fails says no more than that it did."""

    def _fails_at(self, at: int, code: int = errno.EIO) -> errors.DeviceError:
        real = os.pwrite

        def failing(fd: int, view: memoryview, offset: int) -> int:
            if offset <= at < offset + len(view):
                raise OSError(code, os.strerror(code))
            return real(fd, view, offset)

        target = opening.open_target(self.path)
        self.addCleanup(target.abort)
        image = copying.LONG_IMAGE
        with fixtures.MonkeyPatch('os.pwrite', failing):
            error = self.assertRaises(
                errors.DeviceError, self._write, target, image
            )
        target.abort()
        assert isinstance(error, errors.DeviceError)
        return error

    def _write(self, target: sink.Sink, image: bytes) -> None:
        target.write(image)
        target.finish()

    def test_first_block_that_failed(self) -> None:
        for at in (0, 4095, 4096, MIB, MIB + 70_000, 2 * MIB - 1):
            error = self._fails_at(at)
            self.assertEqual(at - at % 4096, error.offset)

    def test_nothing_is_taken(self) -> None:
        """And no error is given, either: that is no reason to wait."""
        target = opening.open_target(self.path)
        self.addCleanup(target.abort)
        with fixtures.MonkeyPatch('os.pwrite', lambda *_arguments: 0):
            error = self.assertRaises(
                errors.WriteError, target.write, b'x' * 3 * MIB
            )
        assert isinstance(error, errors.WriteError)
        self.assertEqual(MIB, error.offset)
