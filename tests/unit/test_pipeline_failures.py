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

"""Copies that fail: what is raised, and what is left of the target."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import errno
import gzip
import hashlib
import os
import stat
import threading
import time
from typing import Any

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import relay
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import writing
from tests.support import copying

IMAGE = copying.IMAGE

_OPTIONS = writing.Options()
_PWRITE = os.pwrite
_FDATASYNC = os.fdatasync


class FailureTest(copying.FileTestCase):
    def _fails(
        self,
        cls: type[BaseException],
        source: copying.Source,
        how: writing.Options = _OPTIONS,
        **options: object,
    ) -> BaseException:
        """Fail with and without a file there, and look at what is left."""
        options.setdefault('container', 'auto')
        for in_place in (False, True):
            options['options'] = dataclasses.replace(how, in_place=in_place)
            self.assertRaises(
                cls,
                pipeline.copy,
                source,
                self.path,
                **options,
            )
            self.assert_nothing()
            self.old()
            error = self.assertRaises(
                cls,
                pipeline.copy,
                source,
                self.path,
                **options,
            )
            assert isinstance(error, BaseException)
            state = getattr(error, 'target_state', '')
            left = {'untouched': b'old' * MIB, 'blank': b''}
            self.assertIn(state, left)
            self.assertEqual(left[state], self.content())
            if not in_place:
                self.assertEqual('untouched', state)
            self.assertEqual(['target'], os.listdir(self.directory))
            os.unlink(self.path)
        return error

    def test_what_is_left_is_said(self) -> None:
        # More than is on its way at once, so that some of it is written.
        for chunks, left in (([], 'untouched'), ([IMAGE] * 3, 'incomplete')):
            for cause in (errors.Stalled('x'), KeyboardInterrupt()):
                for path, state in (
                    ('/dev/null', left),
                    (self.path, 'untouched'),
                ):
                    error = self.assertRaises(
                        type(cause),
                        pipeline.copy,
                        copying.Source([*chunks, cause]),
                        path,
                    )
                    self.assertEqual(
                        state, getattr(error, 'target_state', None)
                    )

    def test_target_that_was_not_opened_is_untouched(self) -> None:
        for call, given in (
            (pipeline.copy, (copying.whole(IMAGE), self.directory)),
            (pipeline.write, ([IMAGE], self.directory)),
        ):
            error = self.assertRaises(errors.Error, call, *given)
            assert isinstance(error, errors.Error)
            self.assertEqual('untouched', error.target_state)

    def test_abort_that_is_interrupted(self) -> None:
        """By a handler that raises again: that says it, too."""

        def interrupted(stream: sink.Stream) -> None:
            raise SystemExit

        self.patch(sink.Stream, 'abort', interrupted)
        error = self.assertRaises(
            SystemExit,
            pipeline.write,
            [b'x'],
            '/dev/null',
            length=lambda: 2,
        )
        self.assertEqual('incomplete', getattr(error, 'target_state', None))

    def test_signal_while_the_target_is_cleared(self) -> None:
        """What was begun is waited for, and not begun again."""
        going = threading.Event()
        real_abort, real_wait = sink.Stream.abort, threading.Event.wait
        aborts: list[int] = []

        def abort(stream: sink.Stream) -> None:
            aborts.append(1)
            real_wait(going, 30)
            real_abort(stream)

        def wait(event: threading.Event, *args: Any) -> bool:
            here = threading.current_thread() is threading.main_thread()
            if not here or going.is_set():
                return real_wait(event, *args)
            while not real_wait(event, 0.01):
                if aborts:
                    going.set()
                    raise KeyboardInterrupt
            return True

        self.patch(sink.Stream, 'abort', abort)
        self.patch(threading.Event, 'wait', wait)
        error = self.assertRaises(
            KeyboardInterrupt,
            pipeline.write,
            iter([b'x']),
            '/dev/null',
            length=lambda: 2,
        )
        self.assertEqual([1], aborts)
        self.assertEqual('incomplete', getattr(error, 'target_state', None))

    def test_no_more_threads(self) -> None:
        """What has been made is taken away without one, then."""

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, 'start', refuse)
        for deadline in (None, time.monotonic() + 60):
            self._fails(
                errors.ResourceError, copying.whole(IMAGE), deadline=deadline
            )

    def test_no_more_descriptors_at_the_end(self) -> None:
        def dup(fd: int) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        self.patch(os, 'dup', dup)
        self._fails(errors.ResourceError, copying.whole(IMAGE))

    def test_damage(self) -> None:
        packed = gzip.compress(IMAGE, 1)
        self._fails(errors.TruncatedError, copying.whole(packed[:-1]))
        self._fails(
            errors.TrailingGarbageError, copying.whole(packed + b'!' * 10)
        )
        damaged = packed[:-5] + b'\0' + packed[-4:]
        self._fails(errors.CorruptError, copying.whole(damaged))

    def test_sync_ahead_fails(self) -> None:
        """Once: the kernel tells it to whoever asks first, and to no other."""
        real, main = os.fdatasync, threading.main_thread()
        failed = threading.Event()

        def fdatasync(fd: int) -> None:
            if threading.current_thread() is not main and not failed.is_set():
                failed.set()
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(fd)

        def chunks() -> Iterator[bytes]:
            failed.clear()
            for _mebibyte in range(18):
                yield IMAGE[:MIB]
            # The sink has nothing to do now.
            self.assertTrue(failed.wait(30))
            yield b'end'

        self.patch(os, 'fdatasync', fdatasync)
        for _time in range(2):
            self.assertRaises(
                errors.WriteError,
                pipeline.copy,
                copying.Source(chunks()),
                self.path,
            )
            self.assert_nothing()

    def test_damage_in_the_first_bytes(self) -> None:
        """What cannot be unpacked at all is no reason to touch anything."""
        packed = gzip.compress(IMAGE, 1)
        for damaged in (
            gzip.compress(b'tiny')[:-1],
            packed[:12],
            packed[:10] + b'\xff' * 40 + packed[50:],
        ):
            for in_place in (False, True):
                self.old()
                error = self.assertRaises(
                    errors.ContentError,
                    pipeline.copy,
                    copying.whole(damaged),
                    self.path,
                    options=writing.Options(in_place=in_place),
                )
                self.assertEqual('untouched', error.target_state)
                self.assertEqual(b'old' * MIB, self.content())

    def test_empty_image(self) -> None:
        """There is nothing that it could be meant for."""
        self.old()
        for in_place in (False, True):
            for chunks in ([], [b''], [b'', b'']):
                error = self.assertRaises(
                    errors.ImageTooShort,
                    pipeline.copy,
                    copying.Source(chunks, 0),
                    self.path,
                    options=writing.Options(in_place=in_place),
                )
                self.assertEqual('untouched', error.target_state)
                # That is said once, in the end.
                self.assertEqual('the image is empty', error.message)
                self.assertEqual(b'old' * MIB, self.content())

    def test_checksum(self) -> None:
        good = 'sha256:' + hashlib.sha256(IMAGE).hexdigest()
        packed = gzip.compress(IMAGE, 1)
        pipeline.copy(copying.whole(packed), self.path, image_checksum=good)
        self.assert_image(IMAGE)
        os.unlink(self.path)
        other = packed[:-1]
        # What follows the end matters no more than the checksum says.
        pipeline.copy(
            copying.whole(packed + b'{"signed": true}'),
            self.path,
            image_checksum=good,
        )
        self.assert_image(IMAGE)
        self.assertIn('is ignored', self.log.output)
        os.unlink(self.path)
        for source, cls in (
            (
                copying.whole(gzip.compress(IMAGE + b'!', 1)),
                errors.DigestMismatch,
            ),
            (copying.whole(other), errors.TruncatedError),
        ):
            self._fails(cls, source, image_checksum=good)

    def test_too_short(self) -> None:
        source = copying.Source([IMAGE], len(IMAGE) + 1)
        error = self._fails(errors.ImageTooShort, source)
        self.assertEqual(len(IMAGE), getattr(error, 'offset', None))

    def test_too_long(self) -> None:
        source = copying.Source([IMAGE[:-1], IMAGE[-1:]], len(IMAGE) - 1)
        error = self._fails(errors.ImageTooLong, source)
        self.assertEqual(len(IMAGE) - 1, getattr(error, 'offset', None))

    def test_source_fails(self) -> None:
        cause = errors.Stalled('nothing for ever')
        for chunks in ([IMAGE[:1000]], [IMAGE] * 4):
            error = self._fails(
                errors.Stalled, copying.Source([*chunks, cause])
            )
            self.assertIs(cause, error)

    def test_source_fails_before_its_first_byte(self) -> None:
        """The target keeps what it had: nothing had begun."""
        self.old()
        source = copying.Source([errors.Stalled('nothing ever')])
        self.assertRaises(errors.Stalled, pipeline.copy, source, self.path)
        self.assertEqual(b'old' * MIB, self.content())

    def test_wrong_container_is_known_before_anything_is_written(self) -> None:
        self.old()
        for container in ('gzip', 'xz', 'nonsense'):
            self.assertRaises(
                errors.Error,
                pipeline.copy,
                copying.whole(IMAGE),
                self.path,
                container=container,
            )
            self.assertEqual(b'old' * MIB, self.content())

    def test_checksum_that_is_none(self) -> None:
        """Known before the target is even looked at."""
        self.assertRaises(
            errors.OptionError,
            pipeline.copy,
            copying.whole(IMAGE),
            '/',
            image_checksum='sha256:12',
        )

    def test_interrupted(self) -> None:
        """Ctrl-C, SIGTERM and whatever else comes to the main thread."""
        for cls in (KeyboardInterrupt, SystemExit, GeneratorExit):
            self._fails(cls, copying.Source([IMAGE, IMAGE, cls()]))

    def _pwrite_fails(self, code: int, at: int) -> None:
        def failing(fd: int, data: memoryview, offset: int) -> int:
            if offset == at:
                raise OSError(code, os.strerror(code))
            return _PWRITE(fd, data, offset)

        self.patch(os, 'pwrite', failing)

    def test_target_fails(self) -> None:
        for code, cls in (
            (errno.EIO, errors.WriteError),
            (errno.ENOSPC, errors.TargetFull),
            (errno.EDQUOT, errors.TargetFull),
            (errno.EFBIG, errors.TargetTooSmall),
        ):
            for at in (MIB, 3 * MIB + 65536, 0):
                self._pwrite_fails(code, at)
                error = self._fails(cls, copying.whole(IMAGE))
                self.assertEqual(at, getattr(error, 'offset', None))

    def test_sync_fails(self) -> None:
        for turn in (1, 2):
            turns: list[int] = []

            def failing(
                fd: int, turns: list[int] = turns, turn: int = turn
            ) -> None:
                turns.append(fd)
                if len(turns) % 2 == turn % 2:
                    raise OSError(errno.EIO, 'Input/output error')

            self.patch(os, 'fdatasync', failing)
            error = self._fails(errors.WriteError, copying.whole(IMAGE))
            self.assertIn('syncing', str(error))

    def test_target_fails_while_the_source_waits(self) -> None:
        """The source is ended, and what it says then is not the cause."""
        for silent in (False, True):
            source = copying.Source([])

            def chunks(
                source: copying.Source = source, silent: bool = silent
            ) -> Iterator[bytes | BaseException]:
                yield IMAGE
                if not source.closed.wait(30):
                    yield AssertionError('nobody ended it')
                if not silent:
                    yield errors.Error('the download was closed')

            source._chunks = chunks()
            self._pwrite_fails(errno.EIO, MIB)
            self.assertRaises(
                errors.WriteError, pipeline.copy, source, self.path
            )
            self.assert_nothing()

    def test_target_fails_before_a_source_without_end(self) -> None:
        """The source is not asked much longer."""
        asked = []

        def chunks() -> Iterator[bytes]:
            while True:
                asked.append(1)
                yield IMAGE

        self._pwrite_fails(errno.EIO, MIB)
        self.assertRaises(
            errors.WriteError,
            pipeline.copy,
            copying.Source(chunks()),
            self.path,
        )
        self.assertLessEqual(len(asked), relay.COUNT + 2)

    def test_medium_gives_back_something_else(self) -> None:
        """Only noticed with verify; wherever it is."""
        for at in (MIB, 4 * MIB - 1, len(IMAGE) - 1, 0, MIB - 1):

            def spoiling(fd: int, at: int = at) -> None:
                _FDATASYNC(fd)
                if self.content()[:MIB].strip(b'\0') or at >= MIB:
                    os.pwrite(fd, b'\x77', at)

            with fixtures.MonkeyPatch('os.fdatasync', spoiling):
                # A write of one byte is none that O_DIRECT takes.
                error = self._fails(
                    errors.WriteError,
                    copying.whole(IMAGE),
                    writing.Options(verify=True, direct_io=False),
                )
            self.assertIn('does not give back', str(error))
            offset = getattr(error, 'offset', -1)
            self.assertEqual(at - at % MIB, offset)

    def test_file_removed_or_replaced_meanwhile(self) -> None:
        """Written to nowhere is no success."""
        for in_place in (False, True):
            written = self.path + ('' if in_place else '.fuel-agent-curl')
            for replaced in (False, True):

                def chunks(
                    written: str = written, replaced: bool = replaced
                ) -> Iterator[bytes]:
                    yield IMAGE
                    os.unlink(written)
                    if replaced:
                        self._put(written)

                error = self.assertRaises(
                    errors.TargetVanished,
                    pipeline.copy,
                    copying.Source(chunks()),
                    self.path,
                    options=writing.Options(in_place=in_place),
                )
                self.assertIn(written, str(error))
                self.assertIn('what else writes there', str(error))
                if replaced:
                    self.assertEqual([written], self._files())
                    os.unlink(written)
                self.assert_nothing()

    def test_file_replaced_meanwhile_is_not_removed(self) -> None:
        def chunks() -> Iterator[bytes | BaseException]:
            yield IMAGE
            os.unlink(self.path)
            self.old()
            yield errors.Stalled('x')

        self.assertRaises(
            errors.Stalled,
            pipeline.copy,
            copying.Source(chunks()),
            self.path,
            options=writing.Options(in_place=True),
        )
        self.assertEqual(b'old' * MIB, self.content())

    def test_what_others_put_there_meanwhile_stays(self) -> None:
        for before in (False, True):
            if before:
                self.old()

            def chunks() -> Iterator[bytes]:
                yield IMAGE
                self._put(self.path + '-new')
                os.rename(self.path + '-new', self.path)

            error = self.assertRaises(
                errors.TargetVanished,
                pipeline.copy,
                copying.Source(chunks()),
                self.path,
            )
            self.assertIn('what else writes there', str(error))
            self.assertEqual('untouched', error.target_state)
            self.assertEqual(b'theirs', self.content())
            self.assertEqual([self.path], self._files())
            os.unlink(self.path)

    def test_old_file_removed_meanwhile(self) -> None:
        """Nothing is lost by having the image there."""
        self.old()

        def chunks() -> Iterator[bytes]:
            yield IMAGE
            os.unlink(self.path)

        pipeline.copy(copying.Source(chunks()), self.path)
        self.assert_image(IMAGE)

    def test_cannot_be_renamed_in_the_end(self) -> None:
        self.old()

        def failing(source: str, target: str) -> None:
            if target == self.path:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            rename(source, target)

        rename = os.rename
        self.patch(os, 'rename', failing)
        error = self.assertRaises(
            errors.WriteError, pipeline.copy, copying.whole(IMAGE), self.path
        )
        self.assertIn('renaming', str(error))
        self.assertEqual('untouched', error.target_state)
        self.assertEqual(b'old' * MIB, self.content())
        self.assertEqual([self.path], self._files())

    def test_cannot_be_synced_when_it_is_renamed(self) -> None:
        """Then nobody knows which of the two a crash would leave."""

        real = os.fsync

        def failing(fd: int) -> None:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(fd)

        for before, state in ((False, 'untouched'), (True, 'blank')):
            if before:
                self.old()
            with fixtures.MonkeyPatch('os.fsync', failing):
                error = self.assertRaises(
                    errors.WriteError,
                    pipeline.copy,
                    copying.whole(IMAGE),
                    self.path,
                )
            self.assertEqual(state, error.target_state)
            self.assert_nothing()

    def _put(self, path: str) -> None:
        with open(path, 'wb') as file:
            file.write(b'theirs')

    def _files(self) -> list[str]:
        return [
            os.path.join(self.directory, name)
            for name in sorted(os.listdir(self.directory))
        ]


class DeadlineTest(copying.FileTestCase):
    """It is of all: the source, the target, and what is in between."""

    def setUp(self) -> None:
        super().setUp()
        self.going = threading.Event()
        self.addCleanup(self.going.set)
        self.old()

    def _late(
        self, source: copying.Source, seconds: float, **options: Any
    ) -> errors.DeadlineExceeded:
        error = self.assertRaises(
            errors.DeadlineExceeded,
            pipeline.copy,
            source,
            self.path,
            deadline=time.monotonic() + seconds,
            **options,
        )
        assert isinstance(error, errors.DeadlineExceeded)
        return error

    def test_source_that_waits(self) -> None:
        """It is ended, and whatever it says then is not the cause."""
        for before in ([], [IMAGE]):
            for silent in (False, True):
                source = copying.Source([])

                def chunks(
                    source: copying.Source = source,
                    before: list[bytes] = before,
                    silent: bool = silent,
                ) -> Iterator[bytes | BaseException]:
                    yield from before
                    if not source.closed.wait(30):
                        yield AssertionError('nobody ended it')
                    if not silent:
                        yield errors.Error('the download was closed')

                source._chunks = chunks()
                error = self._late(source, 0.1)
                self.assertEqual('untouched', error.target_state)
                self.assertEqual(b'old' * MIB, self.content())

    def _block(self, name: str, turn: int) -> None:
        """Have this call of ``os``, counted from one, wait.

        The deadline passes when it does.
        """
        real = getattr(os, name)
        turns: list[int] = []
        blocked = threading.Event()

        def blocking(*args: Any) -> Any:
            turns.append(1)
            if len(turns) == turn:
                blocked.set()
                self.going.wait(30)
            return real(*args)

        def wait(buffers: relay.Relay, event: threading.Event) -> None:
            while not event.wait(0.01):
                if blocked.is_set():
                    raise buffers._too_late()

        self.patch(os, name, blocking)
        self.patch(relay.Relay, '_wait', wait)

    def test_target_that_waits(self) -> None:
        """Wherever: it is left as it is, and that is said."""
        self.patch(relay, 'PATIENCE', 0.1)
        for name, turn in (
            ('pwrite', 1),
            ('pwrite', 3),
            ('fdatasync', 1),
            ('fdatasync', 2),
            ('preadv', 1),
            ('preadv', 2),
        ):
            self.old()
            before = threading.active_count()
            self._block(name, turn)
            sinks: list[sink.Sink] = []
            error = self._late(
                # All of it is on its way at once.
                copying.whole(IMAGE, len(IMAGE)),
                60,
                options=writing.Options(verify=True),
                observe=sinks.append,
            )
            self.assertIn(self.path, str(error))
            self.assertEqual('untouched', error.target_state)
            self.assertEqual(b'old' * MIB, self.content())
            self.assertIn('has not given back a call', self.log.output)
            # Not closed under that call, which goes on now.
            self.going.set()
            while threading.active_count() > before:
                pass
            self.going.clear()
            sinks[0].abort()
            self.assertEqual(['target'], os.listdir(self.directory))

    def test_all_is_done_in_the_last_moment(self) -> None:
        """The image is there, so this is no failure."""
        real = relay.Relay.finish

        def late(buffers: relay.Relay, *args: Any) -> None:
            real(buffers, *args)
            raise buffers._too_late()

        self.patch(relay.Relay, 'finish', late)
        pipeline.copy(
            copying.whole(IMAGE), self.path, deadline=time.monotonic() + 60
        )
        self.assert_image(IMAGE)

    def test_target_that_cannot_be_cleared(self) -> None:
        """For as long as anybody waits."""
        self.patch(relay, 'PATIENCE', 0.1)
        real = os.ftruncate
        ended = threading.Event()

        def slow(fd: int, length: int) -> None:
            if length == 0 and os.fstat(fd).st_size != len(b'old' * MIB):
                self.going.wait(30)
            real(fd, length)
            if self.going.is_set():
                ended.set()

        self.patch(os, 'ftruncate', slow)
        before = threading.active_count()
        error = self.assertRaises(
            errors.Stalled,
            pipeline.copy,
            copying.Source([IMAGE] * 3 + [errors.Stalled('x')]),
            self.path,
            options=writing.Options(in_place=True),
        )
        self.assertEqual('incomplete', error.target_state)
        self.assertIn('has not given back a call', self.log.output)
        self.going.set()
        self.assertTrue(ended.wait(30))
        while threading.active_count() > before:
            pass

    def test_what_the_target_says_has_no_other_cause(self) -> None:
        """The deadline passes while that is dealt with."""
        real = relay.Relay.abort
        source = copying.Source([IMAGE] * 3)

        def fail(*args: Any) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        def abort(*args: Any) -> bool:
            self.assertTrue(source.closed.wait(30))
            return real(*args)

        def late(opened: pipeline._Target) -> None:
            raise errors.DeadlineExceeded('late')

        self.patch(os, 'pwrite', fail)
        self.patch(relay.Relay, 'abort', abort)
        self.patch(pipeline._Target, 'check', late)
        error = self.assertRaises(
            errors.WriteError, pipeline.copy, source, self.path
        )
        self.assertEqual('untouched', error.target_state)

    def test_kept(self) -> None:
        pipeline.copy(
            copying.whole(IMAGE), self.path, deadline=time.monotonic() + 60
        )
        self.assert_image(IMAGE)


class InterruptTest(copying.FileTestCase):
    """The writer has stopped before anything is cleared or closed."""

    def test_while_the_target_is_in_a_call(self) -> None:
        for name, turn, state in (
            ('pwrite', 1, 'blank'),
            ('fdatasync', 1, 'blank'),
            ('preadv', 1, 'blank'),
            # What has begun to show is completed.
            ('fdatasync', 2, 'complete'),
        ):
            self.old()
            events: list[str] = []
            error = self.assertRaises(
                KeyboardInterrupt, self._interrupted, name, turn, events
            )
            self.assertEqual(state, getattr(error, 'target_state', None))
            self.assertEqual('call', events[0])
            self.assertLessEqual(events.count('close'), 1)
            if state == 'complete':
                self.assert_image(IMAGE)
            else:
                self.assertEqual(b'', self.content())

    def _interrupted(self, name: str, turn: int, events: list[str]) -> None:
        """Copy; interrupt while the target is in this call."""
        begun = threading.Event()
        going = threading.Event()
        real = {each: getattr(os, each) for each in (name, 'ftruncate')}
        turns: list[int] = []

        def call(*args: Any) -> Any:
            turns.append(1)
            if len(turns) == turn:
                begun.set()
                going.wait(30)
                events.append('call')
            return real[name](*args)

        def ftruncate(*args: Any) -> None:
            if begun.is_set():
                events.append('cleared')
            real['ftruncate'](*args)

        def wait(event: threading.Event, *args: Any) -> bool:
            if threading.current_thread() is threading.main_thread():
                if begun.is_set() and not timers:
                    timers.append(threading.Timer(0.2, going.set))
                    timers[0].start()
                    raise KeyboardInterrupt
                if not timers:
                    args = (0.01,)
                    while not real_wait(event, *args):
                        if begun.is_set():
                            return wait(event)
                    return True
            return real_wait(event, *args)

        timers: list[threading.Timer] = []
        real_wait = threading.Event.wait
        with (
            fixtures.MonkeyPatch('os.ftruncate', ftruncate),
            fixtures.MonkeyPatch('os.' + name, call),
            fixtures.MonkeyPatch('threading.Event.wait', wait),
        ):
            try:
                # All of it is on its way at once.
                pipeline.copy(
                    copying.whole(IMAGE, len(IMAGE)),
                    self.path,
                    options=writing.Options(verify=True, in_place=True),
                )
            finally:
                timers[0].join()
