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

"""Tests of what stands in for fuel-agent's ``GunzipStream``."""

from __future__ import annotations

import gc
import gzip
import os
import weakref
import zlib

from fuel_agent import errors as fuel_agent_errors
from fuel_agent.utils import artifact as fuel_agent_artifact
from oslo_config import cfg

from fuel_agent_curl import artifact
from fuel_agent_curl import errors
from fuel_agent_curl.config import opts
from fuel_agent_curl.octets import MIB
from tests.unit.test_artifact import ArtifactTestCase
from tests.unit.test_artifact import URL


class TestGunzipStream(ArtifactTestCase):
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
        packed = gzip.compress(bytes(64 * MIB))
        self.assertLess(len(packed), MIB)
        longest = max(len(c) for c in artifact.GunzipStream([packed]))
        self.assertLessEqual(longest, MIB)

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

    def test_what_has_failed_goes_on_failing(self) -> None:
        """Never by the end of the iteration: the image would look whole."""
        packed = gzip.compress(self.IMAGE)
        for chunks, kind in (
            ([packed[:-1]], errors.TruncatedError),
            ([packed[:9], KeyboardInterrupt()], KeyboardInterrupt),
            ([packed[:9], errors.StatusError('gone')], errors.StatusError),
        ):
            self.answer(*chunks)
            stream = artifact.GunzipStream(artifact.HttpUrl(URL))
            self.assertRaises(kind, list, stream)
            for _again in range(2):
                error = self.assertRaises(errors.Error, next, stream)
                self.assertIsInstance(error, fuel_agent_errors.BaseError)

    def test_a_failed_transfer_is_not_taken_for_damage(self) -> None:
        packed = gzip.compress(self.IMAGE)
        for consume in (list, lambda s: s.target(self.path)):
            self.answer(packed[:9], errors.StatusError('gone'))
            stream = artifact.GunzipStream(artifact.HttpUrl(URL))
            error = self.assertRaises(errors.StatusError, consume, stream)
            self.assertIsInstance(
                error, fuel_agent_errors.HttpUrlConnectionError
            )

    def test_the_end_is_that_of_the_container(self) -> None:
        packed = gzip.compress(self.IMAGE)
        for consume in (list, lambda s: s.target(self.path)):
            self.answer(packed, length=None)
            self.download.end_proven = False
            consume(artifact.GunzipStream(artifact.HttpUrl(URL)))
            self.answer(packed[:-1], length=None)
            self.download.end_proven = False
            stream = artifact.GunzipStream(artifact.HttpUrl(URL))
            self.assertRaises(errors.TruncatedError, consume, stream)

    def test_bytes_behind_the_end(self) -> None:
        packed = gzip.compress(self.IMAGE) + b'{"signed": true}'
        self.answer(packed)
        stream = artifact.GunzipStream(artifact.HttpUrl(URL))
        self.assertRaises(errors.TrailingGarbageError, list, stream)
        cfg.CONF.set_override('trailing_data', 'ignore', opts.GROUP)
        self.addCleanup(cfg.CONF.clear_override, 'trailing_data', opts.GROUP)
        self.answer(packed)
        stream = artifact.GunzipStream(artifact.HttpUrl(URL))
        self.assertEqual(self.IMAGE, b''.join(stream))

    def test_what_is_no_image_is_unpacked(self) -> None:
        """What comes of it is the deployment's business."""
        page = b'<!DOCTYPE html>' * 99
        self.answer(gzip.compress(page))
        stream = artifact.GunzipStream(artifact.HttpUrl(URL))
        self.assertEqual(page, b''.join(stream))

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
