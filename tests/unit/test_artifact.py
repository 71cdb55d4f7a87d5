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


"""Tests of what stands in for fuel-agent's ``HttpUrl``."""

from __future__ import annotations

from collections.abc import Iterator
import gc
import gzip
import os
from typing import Any
import weakref

import fixtures
from fuel_agent import errors as fuel_agent_errors
from oslo_config import cfg
from testtools import matchers

from fuel_agent_curl import artifact
from fuel_agent_curl import errors
from fuel_agent_curl.config import opts
from fuel_agent_curl.config import settings
from tests.support import fetching

URL = 'http://server/image'


class FakeDownload:
    """A download of the chunks given; an error among them is raised."""

    def __init__(
        self, chunks: list[bytes | BaseException], length: int | None
    ) -> None:
        self.length = length
        self.end_proven = True
        self.closed = 0
        self._sizes: list[int] = []
        self._views = self._iterate(chunks, self._sizes)

    @property
    def position(self) -> int:
        return sum(self._sizes)

    @staticmethod
    def _iterate(
        chunks: list[bytes | BaseException], sizes: list[int]
    ) -> Iterator[memoryview]:
        for chunk in chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            # As the engine does: the buffer of a view is used again.
            buffer = bytearray(chunk)
            sizes.append(len(buffer))
            yield memoryview(buffer)
            buffer[:] = bytes(len(buffer))

    def __iter__(self) -> FakeDownload:
        return self

    def __next__(self) -> bytes:
        return bytes(next(self._views))

    def views(self) -> Iterator[memoryview]:
        return self._views

    def keep(self, view: object) -> None:
        return None

    def close(self) -> None:
        self.closed += 1


class ArtifactTestCase(fetching.FetchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'target'
        )

    def answer(self, *chunks: bytes | BaseException, **kwargs: Any) -> None:
        """What is to be downloaded, by the next HttpUrl."""
        length = kwargs.get(
            'length', sum(len(c) for c in chunks if isinstance(c, bytes))
        )
        self.download = FakeDownload(list(chunks), length)

    def written(self) -> bytes:
        with open(self.path, 'rb') as file:
            return file.read()


class TestHttpUrl(ArtifactTestCase):
    def test_the_constructor_makes_the_first_request(self) -> None:
        self.answer(b'one', b'two')
        stream = artifact.HttpUrl(URL)
        self.assertThat(
            stream,
            matchers.MatchesStructure.byEquality(
                url=URL, length=6, processed_bytes=0
            ),
        )
        self.assertEqual([(URL, settings.Settings())], self.asked)

    def test_the_url_may_be_any_object(self) -> None:
        self.answer(b'')
        self.assertEqual('3', artifact.HttpUrl(3).url)  # type: ignore[arg-type]

    def test_an_end_that_nothing_proves_is_refused(self) -> None:
        for consume in (list, lambda s: [*s.views()], self._write):
            self.answer(b'one', b'two', length=None)
            self.download.end_proven = False
            stream = artifact.HttpUrl(URL)
            error: Any = self.assertRaises(errors.UnprovenEnd, consume, stream)
            self.assertIsInstance(error, fuel_agent_errors.BaseError)
            self.assertNotEqual(0, self.download.closed)
            self.assertFalse(os.path.exists(self.path))

    def _write(self, stream: artifact.HttpUrl) -> None:
        stream.target(self.path)

    def test_such_an_end_may_be_allowed(self) -> None:
        cfg.CONF.set_override('allow_unproven_end', True, opts.GROUP)
        self.addCleanup(
            cfg.CONF.clear_override, 'allow_unproven_end', opts.GROUP
        )
        self.answer(b'one', b'two', length=None)
        self.download.end_proven = False
        artifact.HttpUrl(URL).target(self.path)
        self.assertEqual(b'onetwo', self.written())

    def test_length_is_none_where_none_is_stated(self) -> None:
        self.answer(b'one', length=None)
        stream = artifact.HttpUrl(URL)
        self.assertIsNone(stream.length)
        self.assertEqual([b'one'], list(stream))

    def test_it_is_asked_with_the_settings_of_the_configuration(self) -> None:
        self.set_option(cfg.CONF, 'attempts', 7, opts.GROUP)
        self.set_option(cfg.CONF, 'http_retry_delay', 0.5)
        self.answer(b'')
        artifact.HttpUrl(URL)
        self.assertEqual(
            [(URL, settings.Settings(attempts=7, backoff=0.5))], self.asked
        )

    def test_the_mirrors_are_those_of_the_configuration(self) -> None:
        self.answer(b'')
        artifact.HttpUrl(URL)
        self.assertEqual([], self.mirrors)
        rule = '%s=http://mirror,%s' % (URL, URL)
        self.set_option(cfg.CONF, 'mirrors', [rule], opts.GROUP)
        artifact.HttpUrl(URL)
        self.assertEqual('http://mirror', self.asked[-1][0])
        self.assertEqual([URL], self.mirrors)

    def test_chunks_come_in_order_and_are_counted(self) -> None:
        self.answer(b'one', b'three')
        stream = artifact.HttpUrl(URL)
        self.assertEqual(b'one', stream.next())
        self.assertEqual(3, stream.processed_bytes)
        self.assertEqual(b'three', next(stream))
        self.assertEqual(8, stream.processed_bytes)
        self.assertRaises(StopIteration, stream.next)
        self.assertRaises(StopIteration, next, stream)

    def test_the_end_ends_the_download(self) -> None:
        self.answer(b'one')
        stream = artifact.HttpUrl(URL)
        next(stream)
        self.assertEqual(0, self.download.closed)
        self.assertRaises(StopIteration, next, stream)
        self.assertNotEqual(0, self.download.closed)

    def test_a_failure_ends_the_download(self) -> None:
        self.answer(b'one', errors.ReceiveError('cut'))
        stream = artifact.HttpUrl(URL)
        next(stream)
        self.assertRaises(errors.ReceiveError, next, stream)
        self.assertNotEqual(0, self.download.closed)

    def test_an_interruption_does_not(self) -> None:
        """It comes from a signal handler; the download hands on the rest."""
        self.answer(b'one', KeyboardInterrupt())
        stream = artifact.HttpUrl(URL)
        next(stream)
        self.assertRaises(KeyboardInterrupt, next, stream)
        self.assertEqual(0, self.download.closed)
        self.assertEqual(3, stream.processed_bytes)

    def test_the_length_follows_until_it_is_set(self) -> None:
        """The server may have another image before a byte was handed on."""
        self.answer(b'three', length=4)
        stream = artifact.HttpUrl(URL)
        self.download.length = 5
        self.assertEqual(5, stream.length)
        stream.target(self.path)
        self.assertEqual(b'three', self.written())
        stream.length = 7
        self.download.length = 8
        self.assertEqual(7, stream.length)
        stream.processed_bytes += 10
        self.assertEqual(15, stream.processed_bytes)

    def test_dropping_it_lets_go_of_the_download(self) -> None:
        self.answer(b'one', b'two')
        stream = artifact.HttpUrl(URL)
        next(stream)
        alive = weakref.ref(self.download)
        self.download = None
        gc.disable()
        self.addCleanup(gc.enable)
        del stream
        self.assertIsNone(alive())

    def test_target_writes_everything(self) -> None:
        self.answer(b'one', b'two')
        stream = artifact.HttpUrl(URL)
        stream.target(self.path)
        self.assertEqual(b'onetwo', self.written())
        self.assertEqual(6, stream.processed_bytes)
        self.assertNotEqual(0, self.download.closed)

    def test_target_writes_what_is_left(self) -> None:
        self.answer(b'one', b'two', b'three')
        stream = artifact.HttpUrl(URL)
        next(stream)
        stream.target(self.path)
        self.assertEqual(b'twothree', self.written())

    def test_target_writes_to_dev_null(self) -> None:
        self.answer(b'one', length=None)
        stream = artifact.HttpUrl(URL)
        stream.target()
        self.assertEqual(3, stream.processed_bytes)

    def test_a_target_that_fails_ends_the_download(self) -> None:
        self.answer(b'one')
        stream = artifact.HttpUrl(URL)
        error = self.assertRaises(
            errors.TargetMissing, stream.target, self.path + '/none'
        )
        self.assertIsInstance(error, fuel_agent_errors.BaseError)
        self.assertNotIsInstance(
            error, fuel_agent_errors.HttpUrlConnectionError
        )
        self.assertNotEqual(0, self.download.closed)

    def test_a_transfer_that_fails_under_target_is_told(self) -> None:
        self.answer(b'one', errors.ReceiveError('cut', offset=3))
        stream = artifact.HttpUrl(URL)
        error = self.assertRaises(
            fuel_agent_errors.HttpUrlConnectionError,
            stream.target,
            self.path,
        )
        self.assertIsInstance(error, errors.ReceiveError)
        self.assertFalse(os.path.exists(self.path))
        self.assertNotEqual(0, self.download.closed)

    def test_a_body_shorter_than_its_length_is_an_error(self) -> None:
        self.answer(b'one', length=4)
        stream = artifact.HttpUrl(URL)
        self.assertRaises(errors.ImageTooShort, stream.target, self.path)


class Upper(artifact.HttpUrl):
    """As fuel-agent's users do to decrypt, to count, to log."""

    def next(self) -> bytes:
        return super().next().upper()


class Doubled(artifact.HttpUrl):
    def __next__(self) -> bytes:
        return bytes(super().__next__() * 2)


class First(artifact.HttpUrl):
    def __iter__(self) -> Iterator[bytes]:
        yield self.next()


class Last(artifact.GunzipStream):
    def next(self) -> bytes:
        return super().next()[-2:]


class TestOverridden(ArtifactTestCase):
    """What a chain sees through ``next`` is what is written."""

    def stream(self, kind: type[artifact.HttpUrl]) -> artifact.HttpUrl:
        self.answer(b'one', b'two')
        return kind(URL)

    def test_target(self) -> None:
        for kind, expected in (
            (artifact.HttpUrl, b'onetwo'),
            (Upper, b'ONETWO'),
            (Doubled, b'oneonetwotwo'),
            (First, b'one'),
        ):
            self.stream(kind).target(self.path)
            self.assertEqual(expected, self.written())
            self.assertNotEqual(0, self.download.closed)

    def test_of_one_object_alone(self) -> None:
        stream = self.stream(artifact.HttpUrl)
        theirs = stream.next
        self.patch(stream, 'next', lambda: theirs() + b'!')
        stream.target(self.path)
        self.assertEqual(b'one!two!', self.written())

    def test_patched(self) -> None:
        theirs = artifact.HttpUrl.next
        self.patch(
            artifact.HttpUrl, 'next', lambda stream: theirs(stream) + b'!'
        )
        self.stream(artifact.HttpUrl).target(self.path)
        self.assertEqual(b'one!two!', self.written())

    def test_gunzip(self) -> None:
        packed = gzip.compress(b'image')
        for kind, unpacking, expected in (
            (artifact.HttpUrl, artifact.GunzipStream, b'image'),
            (Doubled, artifact.GunzipStream, b'imageimage'),
            (artifact.HttpUrl, Last, b'ge'),
        ):
            self.answer(packed)
            unpacking(kind(URL)).target(self.path)
            self.assertEqual(expected, self.written())
            self.answer(packed)
            self.assertEqual(expected, b''.join(unpacking(kind(URL))))


class TestErrors(ArtifactTestCase):
    def fail_with(self, error: errors.Error) -> Any:
        self.download = error
        return self.assertRaises(errors.Error, artifact.HttpUrl, URL)

    def test_every_failure_of_a_transfer_is_fuel_agents_too(self) -> None:
        for kind in (
            errors.OptionError,
            errors.ResolveError,
            errors.CertificateError,
            errors.StatusError,
            errors.RedirectError,
            errors.ContentRangeError,
            errors.RepresentationChanged,
            errors.DeadlineExceeded,
            errors.AttemptsExhausted,
        ):
            error = self.fail_with(kind('failed'))
            self.assertIsInstance(error, kind)
            self.assertIsInstance(
                error, fuel_agent_errors.HttpUrlConnectionError
            )
            self.assertNotIsInstance(
                error, fuel_agent_errors.HttpUrlInvalidContentLength
            )
            self.assertEqual(kind.__name__, type(error).__name__)

    def test_an_error_keeps_all_it_says(self) -> None:
        cause = errors.Stalled('too slow')
        failure = errors.AttemptsExhausted(
            'gave up', url=URL, offset=5, attempt=3, attempts=3, hint='wait'
        )
        failure.__cause__ = cause
        text = str(failure)
        error = self.fail_with(failure)
        self.assertThat(
            error,
            matchers.MatchesStructure.byEquality(
                message='gave up',
                url=URL,
                offset=5,
                attempt=3,
                attempts=3,
                hint='wait',
                exit_code=errors.AttemptsExhausted.exit_code,
                __cause__=cause,
            ),
        )
        self.assertEqual(text, str(error))

    def test_an_error_of_a_status_keeps_it(self) -> None:
        failure = errors.StatusError('gone')
        failure.status = 410
        self.assertEqual(410, self.fail_with(failure).status)

    def test_an_unusable_content_length_is_told_as_such(self) -> None:
        for failure in (
            errors.ContentLengthError('two of them'),
            errors.AttemptsExhausted('gave up'),
        ):
            if isinstance(failure, errors.AttemptsExhausted):
                failure.__cause__ = errors.ContentLengthError('negative')
            error = self.fail_with(failure)
            self.assertIsInstance(
                error, fuel_agent_errors.HttpUrlInvalidContentLength
            )
            self.assertIsInstance(
                error, fuel_agent_errors.HttpUrlConnectionError
            )

    def test_what_is_not_ours_stays_as_it_is(self) -> None:
        for failure in (OSError('other'), KeyboardInterrupt()):
            self.download = failure
            error = self.assertRaises(type(failure), artifact.HttpUrl, URL)
            self.assertIs(failure, error)

    def test_a_configuration_that_cannot_be_used(self) -> None:
        self.set_option(cfg.CONF, 'headers', ['no colon'], opts.GROUP)
        self.assertRaises(errors.OptionError, artifact.HttpUrl, URL)
        self.assertEqual([], self.asked)
