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

"""A second attempt of a chain, with ``fuel_agent_spool``.

Whatever is wrong with what the first one has left, the image arrives as it
does without it.
"""

from __future__ import annotations

import errno
import gzip
import os
import random
from typing import Any

from oslo_config import cfg

from fuel_agent_curl import artifact
from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl import keeping
from fuel_agent_curl.config import opts
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.state import spool as spool_module
from fuel_agent_curl.target import filesystem
from tests import base
from tests.support import endpoints
from tests.support import leaks
from tests.support import metalink

IMAGE = random.Random(1).randbytes(4 * MIB)
OTHER = random.Random(2).randbytes(4 * MIB)


class _FailingSink:
    """Takes half of the image, as a disk that breaks."""

    until = 2 * MIB

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def target(self, filename: str) -> None:
        taken = 0
        for chunk in self.stream:
            taken += len(chunk)
            if taken >= self.until:
                raise OSError(errno.EIO, os.strerror(errno.EIO), filename)


class _LaterFailingSink(_FailingSink):
    until = 3 * MIB + MIB // 2


class TestKeeping(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.useFixture(
            endpoints.HarmfulServer(harmful.Representation(IMAGE))
        ).server
        self.useFixture(leaks.Leaks(self.directory))
        self.spool = os.path.join(self.directory, 'spool')
        self.target = os.path.join(self.directory, 'target')
        for name, value in (
            ('fuel_agent_spool', self.spool),
            ('attempts', 3),
            ('backoff', 0.01),
            ('chunk_size', 65536),
        ):
            self.set_option(cfg.CONF, name, value, opts.GROUP)

    def chain(self, *stages: Any, path: str = '/image') -> None:
        chain = artifact.Chain()
        for each in (self.server.url(path), artifact.HttpUrl, *stages):
            chain.append(each)
        chain.append(self.target)
        chain.process()

    def begin(self, *stages: Any, path: str = '/image') -> str:
        """Have an attempt fail half-way; return the path of what is kept."""
        self.assertRaises(
            OSError, self.chain, *stages, _FailingSink, path=path
        )
        self.server.requests.clear()
        (name,) = self.kept()
        return os.path.join(self.spool, name)

    def ranges(self) -> list[str | None]:
        return [r.range for r in self.server.requests if r.path == '/image']

    def assert_arrived(self, *, left: int = 0) -> None:
        with open(self.target, 'rb') as file:
            self.assertTrue(file.read() == IMAGE)
        self.assertEqual(left, len(self.kept()))

    def kept(self) -> list[str]:
        return os.listdir(self.spool)

    def damage(self, path: str, at: int) -> None:
        with open(path, 'r+b') as file:
            file.seek(at)
            file.write(b'damage')

    def test_the_rest_is_fetched(self) -> None:
        self.begin()
        self.chain()
        self.assert_arrived()
        self.assertEqual(['bytes=%d-' % (2 * MIB)], self.ranges())

    def test_nothing_is_kept_for_dev_null(self) -> None:
        link = os.path.join(self.directory, 'link')
        os.symlink(os.devnull, link)
        for self.target in os.devnull, link:
            self.chain()
            self.assertFalse(os.path.exists(self.spool))

    def test_a_container(self) -> None:
        packed = gzip.compress(IMAGE)
        self.server.representations['/image'] = harmful.Representation(packed)
        self.begin(artifact.GunzipStream)
        self.chain(artifact.GunzipStream)
        self.assert_arrived()
        self.assertNotIn(None, self.ranges())

    def test_a_damaged_image_is_not_kept(self) -> None:
        """It would be wrong again."""
        packed = gzip.compress(IMAGE)[:-1] + b'x'
        self.server.representations['/image'] = harmful.Representation(packed)
        self.assertRaises(
            errors.ContentError, self.chain, artifact.GunzipStream
        )
        self.assertEqual([], self.kept())

    def test_it_is_kept_until_the_sink_returns(self) -> None:
        """Until then, nothing says that it is on a disk."""
        kept = []

        class Sink:
            def __init__(self, stream: Any) -> None:
                self.stream = stream

            def target(self, filename: str) -> None:
                with open(filename, 'wb') as file:
                    file.writelines(self.stream)
                kept.extend(os.listdir(test.spool))

        test = self
        self.chain(Sink)
        self.assertEqual(1, len(kept))
        self.assert_arrived()

    def test_damage(self) -> None:
        self.damage(self.begin(), 2 * MIB - 5000)
        self.chain()
        self.assert_arrived()
        self.assertEqual(['bytes=%d-' % MIB], self.ranges())

    def test_another_image_by_now(self) -> None:
        self.server.representations['/image'] = harmful.Representation(OTHER)
        path = self.begin()
        length = os.path.getsize(path)
        self.server.representations['/image'] = harmful.Representation(
            IMAGE, etag='"2"'
        )
        # What is kept goes only when something has come in its place.
        self.server.script((), (), then=faults.status(404), path='/image')
        self.assertRaises(errors.Error, self.chain)
        self.assertEqual(length, os.path.getsize(path))
        self.server.script(path='/image')
        self.chain()
        self.assert_arrived()

    def change(self, content: bytes) -> None:
        """Have the server change while the second attempt is reading."""
        self.begin()
        self.server.script(
            faults.cut(MIB),
            then=faults.serve(harmful.Representation(content, etag='"2"')),
            path='/image',
        )

    def test_it_is_not_proven_any_more(self) -> None:
        self.change(IMAGE)
        self.chain()
        self.assert_arrived()
        self.assertIn(None, self.ranges())

    def test_it_is_kept_when_it_is_fetched_again(self) -> None:
        self.change(IMAGE)
        self.assertRaises(OSError, self.chain, _LaterFailingSink)
        self.server.representations['/image'] = harmful.Representation(
            IMAGE, etag='"2"'
        )
        self.server.script(path='/image')
        self.server.requests.clear()
        self.chain()
        self.assert_arrived()
        self.assertEqual(
            ['bytes=%d-' % _LaterFailingSink.until], self.ranges()
        )

    def test_other_bytes_are_not_joined(self) -> None:
        self.change(OTHER)
        self.assertRaises(errors.RepresentationChanged, self.chain)
        self.assertEqual([], self.kept())

    def test_pieces(self) -> None:
        """What no piece is like is fetched again, not handed on.

        They are too large to be checked before they are.
        """
        self.set_option(cfg.CONF, 'window_size', 4 * MIB, opts.GROUP)
        document = metalink.document(
            IMAGE, [self.server.url('/image')], piece=2 * MIB
        )
        self.server.representations['/image.meta4'] = harmful.Representation(
            document
        )
        path = self.begin(path='/image.meta4')
        # As another program, or a mirror, may have left it.
        spool = spool_module.open_spool(path)
        record = spool.record
        assert record is not None
        spool.begin(record.asked, record.url, record.origin)
        spool.add(memoryview(OTHER[: 2 * MIB]))
        spool.close()
        self.chain(path='/image.meta4')
        self.assert_arrived()

    def test_there_is_no_room(self) -> None:
        def refuse(*_args: object) -> None:
            raise errors.SpoolError('there is no room')

        self.patch(spool_module.Spool, 'check_room', refuse)
        self.chain()
        self.assert_arrived()

    def test_there_is_no_room_any_more(self) -> None:
        write = os.pwrite

        def refuse(fd: int, data: bytes, at: int) -> int:
            name = os.readlink('/proc/self/fd/%d' % fd)
            if name.endswith('.spool') and at > 2 * MIB:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(fd, data, at)

        self.patch(os, 'pwrite', refuse)
        self.chain()
        self.assert_arrived()

    def test_in_memory(self) -> None:
        self.patch(filesystem, 'kind_of', lambda device: 'tmpfs')
        for free, left in ((2 * len(IMAGE) - 1, 0), (2 * len(IMAGE), 1)):
            self.patch(keeping, '_free_memory', lambda free=free: free)
            self.assertRaises(OSError, self.chain, _FailingSink)
            self.assertEqual(left, len(self.kept()))
        # Nor for the rest of it: what is there is given back.
        self.patch(keeping, '_free_memory', lambda: MIB)
        self.assertRaises(OSError, self.chain, _FailingSink)
        self.assertEqual([], self.kept())
        self.server.script(path='/image')
        self.chain()
        self.assert_arrived()

    def test_what_is_left_of_others_is_bounded(self) -> None:
        self.chain()
        for number in range(4):
            path = os.path.join(self.spool, '%064x.spool' % number)
            spool_module.open_spool(path).close()
            os.utime(path, (number, number))
        foreign = os.path.join(self.spool, 'foreign')
        with open(foreign, 'w'):
            pass
        self.chain()
        self.assertEqual({os.path.basename(path), 'foreign'}, {*self.kept()})

    def test_a_directory_of_others(self) -> None:
        os.mkdir(self.spool)
        os.chmod(self.spool, 0o777)
        self.server.script(
            faults.cut(MIB), then=faults.status(404), path='/image'
        )
        self.assertRaises(errors.Error, self.chain)
        self.assertEqual([], self.kept())
        self.server.script(path='/image')
        self.chain()
        self.assert_arrived()

    def test_no_directory(self) -> None:
        with open(self.spool, 'w'):
            pass
        self.chain()
        with open(self.target, 'rb') as file:
            self.assertTrue(file.read() == IMAGE)

    def test_what_does_not_begin_leaves_nothing_open(self) -> None:
        """``Leaks`` finds it otherwise, and so does the next attempt."""
        path = self.begin()
        self.server.script(then=faults.status(404), path='/image')
        caught = self.assertRaises(errors.Error, self.chain)
        spool_module.open_spool(path).close()
        self.assertIsNotNone(caught.__traceback__)
        self.server.script(path='/image')
        self.chain()
        self.assert_arrived()

    def test_an_interruption_is_not_the_end(self) -> None:
        def interrupt(*_args: object) -> None:
            raise KeyboardInterrupt

        found: list[type[BaseException]] = []

        class Sink:
            def __init__(self, stream: Any) -> None:
                self.stream = stream

            def target(self, filename: str) -> None:
                test.patch(spool_module.Spool, 'add', interrupt)
                for _turn in range(2):
                    try:
                        next(self.stream)
                    except BaseException as error:
                        found.append(type(error))

        test = self
        self.chain(Sink)
        self.assertIs(KeyboardInterrupt, found[0])
        self.assertTrue(issubclass(found[1], errors.Error))
