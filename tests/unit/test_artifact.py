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


"""Tests of the classes that stand in for fuel-agent's."""

from __future__ import annotations

from collections.abc import Iterator
import gc
import gzip
import os
from typing import Any
import weakref
import zlib

import fixtures
from fuel_agent import errors as fuel_agent_errors
from fuel_agent import manager
from fuel_agent.utils import artifact as fuel_agent_artifact
from oslo_config import cfg
from testtools import matchers

from fuel_agent_curl import artifact
from fuel_agent_curl import errors
from fuel_agent_curl import opts
from fuel_agent_curl import settings
from tests import fetching

URL = 'http://server/image'


class FakeDownload:
    """A download of the chunks given; an error among them is raised."""

    def __init__(
        self, chunks: list[bytes | BaseException], length: int | None
    ) -> None:
        self.length = length
        self.closed = 0
        self._views = self._iterate(chunks)

    @staticmethod
    def _iterate(chunks: list[bytes | BaseException]) -> Iterator[memoryview]:
        for chunk in chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            # As the engine does: the buffer of a view is used again.
            buffer = bytearray(chunk)
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


class _ArtifactTestCase(fetching.FetchTestCase):
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


class TestHttpUrl(_ArtifactTestCase):
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
        for error in (errors.ReceiveError('cut'), KeyboardInterrupt()):
            self.answer(b'one', error)
            stream = artifact.HttpUrl(URL)
            next(stream)
            self.assertRaises(type(error), next, stream)
            self.assertNotEqual(0, self.download.closed)

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


class TestErrors(_ArtifactTestCase):
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


class TestGunzipStream(_ArtifactTestCase):
    IMAGE = bytes(range(256)) * 5000

    def test_it_unpacks_what_a_download_brings(self) -> None:
        packed = gzip.compress(self.IMAGE)
        self.answer(packed[:1], packed[1:700], packed[700:])
        stream = artifact.HttpUrl(URL)
        self.assertEqual(self.IMAGE, b''.join(artifact.GunzipStream(stream)))
        self.assertEqual(len(packed), stream.processed_bytes)
        self.assertNotEqual(0, self.download.closed)

    def test_it_unpacks_any_iterable(self) -> None:
        packed = gzip.compress(self.IMAGE)
        for stream in ([packed], (packed[i : i + 1] for i in range(99999))):
            unpacked = artifact.GunzipStream(stream)
            self.assertEqual(self.IMAGE, b''.join(unpacked))

    def test_it_unpacks_a_file(self) -> None:
        with open(self.path, 'wb') as file:
            file.write(gzip.compress(self.IMAGE))
        stream = fuel_agent_artifact.LocalFile('file://' + self.path)
        artifact.GunzipStream(stream).target(self.path + '.raw')
        self.path += '.raw'
        self.assertEqual(self.IMAGE, self.written())

    def test_it_unpacks_zlibs_own_container_as_fuel_agent_does(self) -> None:
        for level in range(10):
            packed = zlib.compress(self.IMAGE, level)
            stream = artifact.GunzipStream([packed])
            self.assertEqual(self.IMAGE, b''.join(stream))

    def test_it_unpacks_all_members(self) -> None:
        packed = gzip.compress(b'one') + gzip.compress(b'two')
        stream = artifact.GunzipStream([packed])
        self.assertEqual(b'onetwo', b''.join(stream))

    def test_next_is_the_same_as_iterating(self) -> None:
        stream = artifact.GunzipStream([gzip.compress(b'one')])
        self.assertEqual(b'one', stream.next())
        self.assertRaises(StopIteration, stream.next)

    def test_target_writes_the_image(self) -> None:
        self.answer(gzip.compress(self.IMAGE))
        artifact.GunzipStream(artifact.HttpUrl(URL)).target(self.path)
        self.assertEqual(self.IMAGE, self.written())
        self.assertNotEqual(0, self.download.closed)

    def test_a_chunk_is_bounded_however_well_it_is_packed(self) -> None:
        packed = gzip.compress(bytes(64 * settings.MIB))
        self.assertLess(len(packed), settings.MIB)
        longest = max(len(c) for c in artifact.GunzipStream([packed]))
        self.assertLessEqual(longest, settings.MIB)

    def test_damage_is_an_error_of_both_and_ends_the_download(self) -> None:
        packed = gzip.compress(self.IMAGE)
        for chunks, kind in (
            ([packed[:-1]], errors.TruncatedError),
            ([b''], errors.TruncatedError),
            ([packed[:-1], b'x', b''], errors.CorruptError),
            ([packed, b'more'], errors.TrailingGarbageError),
            ([b'no container at all'], errors.CorruptError),
        ):
            for consume in (list, lambda s: s.target(self.path)):
                self.answer(*chunks)
                stream = artifact.GunzipStream(artifact.HttpUrl(URL))
                error = self.assertRaises(kind, consume, stream)
                self.assertIsInstance(error, fuel_agent_errors.BaseError)
                self.assertNotIsInstance(
                    error, fuel_agent_errors.HttpUrlConnectionError
                )
                self.assertNotEqual(0, self.download.closed)
                self.assertFalse(os.path.exists(self.path))

    def test_a_failed_transfer_is_not_taken_for_damage(self) -> None:
        packed = gzip.compress(self.IMAGE)
        for consume in (list, lambda s: s.target(self.path)):
            self.answer(packed[:9], errors.StatusError('gone'))
            stream = artifact.GunzipStream(artifact.HttpUrl(URL))
            error = self.assertRaises(errors.StatusError, consume, stream)
            self.assertIsInstance(
                error, fuel_agent_errors.HttpUrlConnectionError
            )

    def test_a_target_that_fails_ends_the_download(self) -> None:
        self.answer(gzip.compress(b'one'))
        stream = artifact.GunzipStream(artifact.HttpUrl(URL))
        self.assertRaises(
            fuel_agent_errors.BaseError, stream.target, self.path + '/none'
        )
        self.assertNotEqual(0, self.download.closed)

    def test_dropping_it_lets_go_of_the_download(self) -> None:
        self.answer(gzip.compress(self.IMAGE))
        stream = artifact.GunzipStream(artifact.HttpUrl(URL))
        next(stream)
        alive = weakref.ref(self.download)
        self.download = None
        gc.disable()
        self.addCleanup(gc.enable)
        del stream
        self.assertIsNone(alive())


class TestInstall(_ArtifactTestCase):
    NAMES = ('HttpUrl', 'GunzipStream', 'Chain')

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(artifact.uninstall)

    def look(self) -> list[Any]:
        return [getattr(fuel_agent_artifact, name) for name in self.NAMES]

    def test_what_the_manager_uses_is_ours(self) -> None:
        artifact.install()
        self.assertEqual(
            [artifact.HttpUrl, artifact.GunzipStream, artifact.Chain],
            [getattr(manager.au, name) for name in self.NAMES],
        )

    def test_uninstall_undoes_it_completely(self) -> None:
        before = dict(vars(fuel_agent_artifact))
        for times in (1, 2):
            for _ in range(times):
                artifact.install()
            self.assertNotEqual(before, vars(fuel_agent_artifact))
            for _ in range(times):
                artifact.uninstall()
            self.assertEqual(before, vars(fuel_agent_artifact))

    def test_install_mends_what_somebody_has_undone(self) -> None:
        before = dict(vars(fuel_agent_artifact))
        artifact.install()
        fuel_agent_artifact.HttpUrl = before['HttpUrl']
        artifact.install()
        self.assertIs(artifact.HttpUrl, fuel_agent_artifact.HttpUrl)
        artifact.uninstall()
        self.assertEqual(before, vars(fuel_agent_artifact))

    def test_uninstall_alone_does_nothing(self) -> None:
        before = self.look()
        artifact.uninstall()
        self.assertEqual(before, self.look())

    def test_the_other_classes_stay_fuel_agents(self) -> None:
        others = (
            fuel_agent_artifact.LocalFile,
            fuel_agent_artifact.Target,
            fuel_agent_artifact.TarStream,
        )
        artifact.install()
        for other in others:
            self.assertIs(other, getattr(manager.au, other.__name__))

    def test_ours_are_targets_as_fuel_agents_are(self) -> None:
        for ours in (artifact.HttpUrl, artifact.GunzipStream):
            self.assertTrue(issubclass(ours, fuel_agent_artifact.Target))

    def test_the_options_are_registered_and_no_cli_options(self) -> None:
        self.assertIn('attempts', cfg.CONF[opts.GROUP])
        self.assertNotIn(
            opts.GROUP,
            [group.name for _info, group in cfg.CONF._all_cli_opts() if group],
        )


class TestChain(_ArtifactTestCase):
    def run_chain(self, *processors: Any) -> Any:
        chain = artifact.Chain()
        for processor in processors:
            chain.append(processor)
        self.assertEqual(list(processors), chain.processors)
        return chain.process()

    def test_http_as_the_manager_has_it(self) -> None:
        self.answer(gzip.compress(b'image'))
        last = self.run_chain(
            URL, artifact.HttpUrl, artifact.GunzipStream, self.path
        )
        self.assertEqual(b'image', self.written())
        self.assertEqual(self.path, last.filename)
        self.assertEqual([URL], [url for url, _settings in self.asked])

    def test_https_as_the_manager_has_it(self) -> None:
        # The manager knows http:// alone, and appends nothing for others.
        for url in ('https://server/image', 'HTTPS://server/image'):
            self.answer(gzip.compress(b'image'))
            self.run_chain(url, artifact.GunzipStream, self.path)
            self.assertEqual(b'image', self.written())
            self.assertEqual(url, self.asked[-1][0])

    def test_https_of_a_raw_image(self) -> None:
        self.answer(b'raw')
        self.run_chain('https://server/image', self.path)
        self.assertEqual(b'raw', self.written())

    def test_https_with_its_processor_is_not_given_another(self) -> None:
        for processor in (artifact.HttpUrl, fuel_agent_artifact.HttpUrl):
            seen: list[Any] = []
            self.useFixture(
                fixtures.MonkeyPatch(
                    'fuel_agent.utils.artifact.HttpUrl.__init__',
                    lambda _self, url, seen=seen: seen.append(url),
                )
            )
            self.answer(b'raw')
            self.run_chain('https://server/image', processor)
            seen += [url for url, _settings in self.asked]
            self.assertEqual(['https://server/image'], seen)
            self.asked.clear()

    def test_files_stay_fuel_agents(self) -> None:
        with open(self.path, 'wb') as file:
            file.write(b'raw')
        copy = self.path + '.copy'
        self.run_chain(
            'file://' + self.path, fuel_agent_artifact.LocalFile, copy
        )
        self.path = copy
        self.assertEqual(b'raw', self.written())
        self.assertEqual([], self.asked)

    def test_what_begins_with_a_path_stays_so(self) -> None:
        self.assertEqual(self.path, self.run_chain(self.path))
