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

"""What is asked for, and what is fetched and read for it."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import errno
import hashlib
import os
import types
from typing import Any

import fixtures

from fuel_agent_curl import copying
from fuel_agent_curl import errors
from fuel_agent_curl.config import settings
from fuel_agent_curl.engine import download
from fuel_agent_curl.image import bmap
from fuel_agent_curl.image import checksums
from fuel_agent_curl.image import digest
from fuel_agent_curl.rules import events
from fuel_agent_curl.state import record
from fuel_agent_curl.state import spool
from tests import base
from tests.support import blockmaps

_IMAGE = bytes(range(256)) * 32


def _request(**given: Any) -> copying.Request:
    return copying.Request(url='http://h/i.img', target='disk', **given)


class TestBlockMap(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).path

    def _load(self, document: bytes) -> bmap.BlockMap:
        path = os.path.join(self.directory, 'image.bmap')
        with open(path, 'wb') as file:
            file.write(document)
        return copying.load_bmap(_request(bmap=path))

    def test_file(self) -> None:
        document = blockmaps.document(_IMAGE, [(0, 1)])
        self.assertEqual(bmap.parse(document), self._load(document))
        self.assertNotIn('WARNING', self.log.output)

    def test_ranges_without_a_checksum(self) -> None:
        listed = blockmaps.listed(_IMAGE, 4096, [(0, 0)]).replace(
            '</BlockMap>', '<Range>1</Range></BlockMap>'
        )
        numbers = blockmaps.numbers(len(_IMAGE), 4096, [(0, 1)])
        found = self._load(blockmaps.sealed(numbers + listed))
        self.assertEqual(1, found.checked)
        self.assertIn('no checksum for 1 of its 2 ranges', self.log.output)

    def test_longest(self) -> None:
        document = blockmaps.document(_IMAGE, [(0, 1)])
        padded = document.ljust(bmap.DOCUMENT_MAX)
        # That it is damaged was found by reading it.
        self.assertRaises(errors.DigestMismatch, self._load, padded)
        error = self.assertRaises(
            errors.ContentError, self._load, padded + b' '
        )
        self.assertIn('more than %d bytes' % len(padded), str(error))

    def test_what_is_none_is_no_matter_of_the_image(self) -> None:
        document = blockmaps.document(_IMAGE, [(0, 1)])
        for text in (b'GIF', b'<bmap/>', document.replace(b'4096', b'8192')):
            error = self.assertRaises(errors.ContentError, self._load, text)
            self.assertIsNotNone(error.hint)

    def test_what_never_ends(self) -> None:
        error = self.assertRaises(
            errors.ContentError,
            copying.load_bmap,
            _request(bmap='/dev/zero'),
        )
        self.assertIn('more than', str(error))

    def test_file_that_cannot_be_read(self) -> None:
        for path in (self.directory, self.directory + '/none'):
            error = self.assertRaises(
                errors.OptionError,
                copying.load_bmap,
                _request(bmap=path),
            )
            self.assertIn('cannot read the block map ' + path, str(error))

    def test_a_url_that_lacks_its_scheme_is_not_repeated(self) -> None:
        error = self.assertRaises(
            errors.OptionError,
            copying.load_bmap,
            _request(bmap='me:hush@host/image.bmap'),
        )
        self.assertNotIn('hush', str(error))

    def test_other_schemes(self) -> None:
        error = self.assertRaises(
            errors.OptionError,
            copying.load_bmap,
            _request(bmap='ftp://host/image.bmap'),
        )
        self.assertIn('http', str(error))


class TestChecksum(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.directory, 'SHA256SUMS')
        self.image, self.packed = (
            hashlib.sha256(each).hexdigest() for each in (b'image', b'packed')
        )
        with open(self.path, 'w') as file:
            file.write('%s *i.img\n%s *i.img.gz\n' % (self.image, self.packed))

    def _load(
        self, text: str | None, of_image: bool = False, **given: Any
    ) -> digest.Checksum | None:
        request = _request(**given)
        return copying.load_checksum(request, text, of_image=of_image)

    def test_given(self) -> None:
        self.assertIsNone(self._load(None))
        for text in (self.image, 'sha256:' + self.image):
            self.assertEqual(
                digest.Checksum('sha256', self.image), self._load(text)
            )

    def test_file(self) -> None:
        for text in (self.path, 'sha256:' + self.path):
            found = self._load(text)
            self.assertEqual(digest.Checksum('sha256', self.image), found)
            self.assertIn('sha256:' + self.image, self.log.output)

    def test_what_is_in_a_container(self) -> None:
        url = 'http://h/x/i.img.gz?version=2'
        for of_image, container, expected in (
            (False, 'auto', self.packed),
            (True, 'auto', self.image),
            (True, 'gzip', self.image),
            (True, 'raw', self.packed),
        ):
            request = copying.Request(
                url=url, target='disk', container=container
            )
            found = copying.load_checksum(
                request, self.path, of_image=of_image
            )
            self.assertEqual(digest.Checksum('sha256', expected), found)

    def test_what_is_signed(self) -> None:
        with open(self.path, 'w') as file:
            file.write('%s\n' % self.image)
        self.assertIsNotNone(self._load(self.path))
        error = self.assertRaises(
            errors.UntrustedSignature,
            copying.load_checksum,
            _request(),
            self.path,
            signed=lambda listed: listed,
        )
        self.assertIn('SHA256SUMS', str(error))

    def test_no_line(self) -> None:
        request = copying.Request(url='http://h/o.img', target='disk')
        error = self.assertRaises(
            errors.ContentError, copying.load_checksum, request, self.path
        )
        self.assertIn("no line for 'o.img'", str(error))
        self.assertIn('SHA256SUMS', str(error))

    def test_what_is_no_list_is_named(self) -> None:
        with open(self.path, 'w') as file:
            file.write('<!DOCTYPE html><title>Sign in</title>' + ' ' * 600)
        error = self.assertRaises(errors.ContentError, self._load, self.path)
        self.assertIn('a page (HTML)', str(error))

    def test_neither_digest_nor_file(self) -> None:
        for text in ('nonsense', 'sha256:xyz', self.directory, './a\0b'):
            error = self.assertRaises(errors.OptionError, self._load, text)
            self.assertIn('cannot read the list of checksums', str(error))
            self.assertIn('ALGORITHM:HEX', str(error))

    def test_longest(self) -> None:
        with open(self.path, 'a') as file:
            file.truncate(checksums.LIST_MAX)
        self.assertIsNotNone(self._load(self.path))
        with open(self.path, 'a') as file:
            file.write('!')
        error = self.assertRaises(errors.ContentError, self._load, self.path)
        self.assertIn('more than', str(error))

    def test_refused_before_anything_is_asked(self) -> None:
        for text in ('crc32:1', 'sha256:12', '12', 'ftp://h/SUMS', 'http://'):
            for name in ('checksum', 'image_checksum'):
                self.assertRaises(errors.OptionError, _request, **{name: text})


class Download:
    """As much of a download as a copy looks at."""

    length: int | None = 100
    position = 0
    end_proven = False
    received = 0

    def __init__(self) -> None:
        self.stats = events.Stats()
        self.closed = False

    def views(self) -> Iterator[memoryview]:
        yield memoryview(bytes(30))
        yield memoryview(bytes(30))

    def close(self) -> None:
        self.closed = True


class TestDeadline(base.TestCase):
    def test_what_the_documents_took_is_gone(self) -> None:
        """Each of them, and the image, has what is left."""
        now = 1000.0
        asked = []

        def fetch(url: str, settings: Any, **_given: Any) -> Any:
            nonlocal now
            asked.append((url, settings.deadline))
            now += 4
            if url.endswith('img'):
                raise errors.Error('far enough')
            line = b'%s  i.img' % (b'0' * 64)
            return contextlib.nullcontext(iter([line]))

        clock = types.SimpleNamespace(monotonic=lambda: now)
        self.patch(copying, 'time', clock)
        self.patch(download, 'fetch', fetch)
        self.patch(
            download,
            'fetch_asked',
            lambda asked, settings, **given: fetch(asked.urls[0], settings),
        )
        made = copying.Copy(
            copying.Request(
                url='http://h/i.img',
                target=self.useFixture(fixtures.TempDir()).path + '/disk',
                checksum='http://h/1',
                image_checksum='http://h/2',
                settings=settings.Settings(deadline=10),
            )
        )
        self.assertRaises(errors.Error, made.run)
        self.assertEqual(
            [('http://h/1', 10), ('http://h/2', 6), ('http://h/i.img', 2)],
            asked,
        )


class TestLazySource(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.download = Download()
        self.fetched = 0
        self.source = copying.LazySource(
            self.fetch, lambda: self.fail('parts are read')
        )

    def fetch(self) -> Any:
        self.fetched += 1
        return self.download

    def test_nothing_is_asked_before_somebody_asks(self) -> None:
        self.assertEqual(0, self.source.received)
        self.source.close()
        self.assertEqual(0, self.fetched)
        self.assertEqual(100, self.source.length)
        self.assertFalse(self.source.end_proven)
        self.assertEqual(60, sum(map(len, self.source.views())))
        self.assertEqual(1, self.fetched)
        self.source.close()
        self.assertTrue(self.download.closed)


class TestLeave(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.useFixture(fixtures.TempDir()).join('spool')
        self.spool = spool.open_spool(self.path)
        self.addCleanup(self.spool.close)
        origin = record.Origin(url='f0', length=len(_IMAGE))
        self.spool.begin('asked', 'http://h/i.img', origin)
        self.spool.add(memoryview(_IMAGE))

    def _leave(self) -> None:
        error = errors.DeadlineExceeded('too late')
        copying.Copy(_request())._leave(self.spool, error)

    def test_it_is_kept(self) -> None:
        self._leave()
        self.assertIn('keeps the first %d' % len(_IMAGE), self.log.output)
        self.assertTrue(os.path.exists(self.path))

    def test_no_room_for_the_last_bytes(self) -> None:
        """Nothing is said to be kept of what is given up."""

        def full(*args: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with fixtures.MonkeyPatch('os.pwrite', full):
            self._leave()
        self.assertIn('is given up: No space left', self.log.output)
        self.assertNotIn('keeps the first', self.log.output)
        self.assertFalse(os.path.exists(self.path))


class TestRequest(base.TestCase):
    def test_mirrors_are_frozen(self) -> None:
        mirrors = ['http://b/']
        request = copying.Request(
            url='http://a/',
            target='disk',
            mirrors=mirrors,  # type: ignore
        )
        mirrors.append('http://c/')
        self.assertEqual(('http://b/',), request.mirrors)
        self.assertEqual(settings.Settings(), request.settings)

    def test_what_cannot_be_used(self) -> None:
        for given in (
            {'url': 'ftp://a/'},
            {'mirrors': ('b',)},
            {'checksum': 'sha256:12'},
            {'image_checksum': '12'},
            {'signature': 's'},
            {'keyring': 'k'},
            {'keyring': 'k', 'checksum': 'sha256:' + '0' * 64},
            {'signature': 's', 'keyring': 'http://a/k'},
            {'signature': 'ftp://a/s', 'keyring': 'k'},
            {
                'signature': 's',
                'keyring': 'k',
                'checksum': './a',
                'image_checksum': './b',
            },
        ):
            whole: dict[str, Any] = {'url': 'http://a/', 'target': 'disk'}
            self.assertRaises(
                errors.OptionError,
                lambda fields: copying.Request(**fields),
                whole | given,
            )

    def test_what_is_signed(self) -> None:
        digits = 'sha256:' + '0' * 64
        for given, is_image in (
            ({}, False),
            ({'signature': 's'}, True),
            ({'signature': 's', 'checksum': digits}, True),
            ({'signature': 's', 'checksum': './a'}, False),
            ({'signature': 's', 'image_checksum': 'http://a/b'}, False),
            ({'checksum': './a', 'image_checksum': './b'}, False),
        ):
            keyring = {'keyring': 'k'} if given else {}
            found = _request(**given, **keyring)
            self.assertEqual(is_image, found.is_image_signed, str(given))

    def test_no_credential_is_shown(self) -> None:
        request = copying.Request(
            url='http://me:hush@a/?hush',
            target='disk',
            mirrors=('http://me:hush@b/',),
            bmap='http://me:hush@c/',
            checksum='http://me:hush@d/',
            image_checksum='http://me:hush@d/',
            signature='http://me:hush@e/',
            keyring='k',
            settings=settings.Settings(headers=('X: hush',)),
        )
        self.assertNotIn('hush', repr(request))
