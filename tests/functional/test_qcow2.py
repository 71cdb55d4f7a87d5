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

"""Qcow2 images that QEMU makes, onto files and devices, over a real socket."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
from typing import Any
import zlib

from fuel_agent_curl import copying as program_copying
from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.config import settings
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from tests import base
from tests.support import copying
from tests.support import endpoints
from tests.support import program
from tests.support import qcow2s
from tests.support import segmented

_SIZES = ('512', '1k', '4k', '16k', '64k', '256k', '2M')
_PREALLOCATIONS = ('off', 'metadata', 'falloc', 'full')


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=200)


def _io(path: str, *commands: str) -> None:
    """Change an image as a guest would."""
    given = [part for command in commands for part in ('-c', command)]
    _run('qemu-io', '-f', 'qcow2', *given, path)


class _Qcow2TestCase(base.FunctionalTestCase):
    """Has a server for images.

    :ivar raw: path of a disk with noise, text, and much that is zeros.
    """

    def setUp(self) -> None:
        super().setUp()
        self.need_program('qemu-img', 'qemu-io')
        self.server = self.useFixture(
            endpoints.HarmfulServer(harmful.Representation(b''))
        ).server
        self.target = os.path.join(self.directory, 'target')
        self.raw = os.path.join(self.directory, 'raw')
        chance = random.Random(20261126)
        # No whole cluster at the end.
        disk = bytearray(5 * MIB + 1536)
        text = b'The quick brown fox jumps over the lazy dog. ' * 9000
        for start, data in (
            (0, text),
            (MIB + 4096, chance.randbytes(700 * KIB)),
            (3 * MIB, text[:100_000]),
            (len(disk) - 1000, text[:1000]),
        ):
            disk[start : start + len(data)] = data
        with open(self.raw, 'wb') as file:
            file.write(disk)

    def image(self, *options: str, source: str | None = None) -> str:
        """Return the path of an image that is made of a raw one."""
        path = os.path.join(self.directory, 'image.qcow2')
        _run(
            *('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2'),
            *(*options, source or self.raw, path),
        )
        return path

    def created(self, *options: str, size: str = '6M') -> str:
        """Return the path of an image that is empty."""
        path = os.path.join(self.directory, 'image.qcow2')
        _run('qemu-img', 'create', '-f', 'qcow2', *options, path, size)
        return path

    def serve(self, path: str) -> bytes:
        """Have the server offer the image; return it."""
        with open(path, 'rb') as file:
            content = file.read()
        self.server.representations['/image'] = harmful.Representation(content)
        return content

    def oracle(self, path: str) -> bytes:
        """Return what QEMU makes of an image."""
        raw = os.path.join(self.directory, 'oracle')
        _run(
            *('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', path, raw),
        )
        with open(raw, 'rb') as file:
            return file.read()

    def copy(
        self, target: str, *mirrors: str, **options: Any
    ) -> program_copying.Result:
        values = {
            name: options.pop(name)
            for name in list(options)
            if name in settings.Settings.__dataclass_fields__
        }
        return program_copying.Copy(
            program_copying.Request(
                url=self.server.url(),
                mirrors=mirrors,
                target=target,
                settings=settings.Settings(
                    **({'backoff': 0.01, 'backoff_max': 0.05} | values)
                ),
                **options,
            )
        ).run()

    def check(self, path: str, what: object = '') -> None:
        """The copy is what QEMU makes of it."""
        self.serve(path)
        expected = self.oracle(path)
        self.copy(self.target)
        with open(self.target, 'rb') as file:
            actual = file.read()
        self.assertTrue(actual == expected, what)


class TestOracle(_Qcow2TestCase):
    def test_what_is_converted(self) -> None:
        """44 images: each size of cluster, packed or not, and how."""
        zstd = ('-c', '-o', 'compression_type=zstd')
        kinds: list[tuple[str, ...]] = []
        for size in _SIZES:
            of = ('-o', 'cluster_size=' + size)
            kinds += [
                (*of, '-o', 'compat=0.10'),
                (*of, '-o', 'compat=0.10', '-c'),
                *(of, (*of, '-c'), (*of, *zstd)),
            ]
        for size in ('16k', '64k', '2M'):
            of = ('-o', 'extended_l2=on,cluster_size=' + size)
            kinds += [of, (*of, '-c'), (*of, *zstd)]
        self.assertEqual(44, len(kinds))
        for kind in kinds:
            self.check(self.image(*kind), kind)

    def test_preallocation(self) -> None:
        """12 images."""
        of: tuple[str, ...]
        for how, of in itertools.product(
            _PREALLOCATIONS,
            (
                ('-o', 'compat=0.10'),
                ('-o', 'cluster_size=4k'),
                ('-o', 'extended_l2=on'),
            ),
        ):
            path = self.created(*of, '-o', 'preallocation=' + how)
            _io(path, 'write -P 7 1M 5k', 'write -P 9 3M 300k')
            self.check(path, (how, of))

    def test_what_a_guest_leaves(self) -> None:
        """30 images: ten lives, of three kinds."""
        lives: dict[str, tuple[tuple[str, ...], ...]] = {
            'empty': (),
            'scattered': (
                ('write -P 1 5M 64k', 'write -P 2 0 4k', 'write -P 3 2M 1k'),
                ('write -P 4 4M 512', 'write -P 5 1M 70k'),
            ),
            'zeros': (
                ('write -P 1 0 2M', 'write -z 512k 256k', 'write -z 3M 1M'),
            ),
            'discarded': (
                ('write -P 1 0 3M', 'discard 1M 512k', 'write -z -u 0 64k'),
            ),
            'grown': (
                ('write -P 1 5M 1M',),
                ('resize', '+3M'),
                ('write -P 2 8M 64k',),
            ),
            'shrunk': (
                ('write -P 1 1M 5M',),
                ('resize', '--shrink', '2M'),
            ),
            'packed': (
                ('write -c -P 1 0 64k', 'write -P 2 64k 64k'),
                ('write -c -P 3 5M 64k', 'write -P 4 1k 1k'),
            ),
            'snapshots': (
                ('write -P 1 0 1M',),
                ('snapshot', '-c', 'first'),
                ('write -P 2 512k 1M',),
                ('snapshot', '-c', 'second'),
                ('write -P 3 2M 64k', 'discard 0 64k'),
            ),
            'reverted': (
                ('write -P 1 0 1M',),
                ('snapshot', '-c', 'first'),
                ('write -P 2 512k 1M',),
                ('snapshot', '-a', 'first'),
            ),
            'bitmaps': (
                ('write -P 1 0 1M',),
                ('bitmap', '--add', 'changed'),
                ('write -P 2 3M 64k',),
            ),
        }
        kinds: tuple[tuple[str, ...], ...] = (
            (),
            ('-o', 'extended_l2=on'),
            ('-o', 'refcount_bits=64'),
        )
        for (name, life), kind in itertools.product(lives.items(), kinds):
            path = self.created(*kind)
            for step in life:
                if step[0] in ('resize', 'snapshot', 'bitmap'):
                    self._step(path, *step)
                else:
                    _io(path, *step)
            self.check(path, (name, kind))
        self.assertIn('2 snapshots, which are left out', self.log.output)

    def _step(self, path: str, verb: str, *arguments: str) -> None:
        if verb == 'snapshot':
            _run('qemu-img', verb, *arguments, path)
        elif verb == 'bitmap':
            _run('qemu-img', verb, arguments[0], path, arguments[1])
        else:
            _run(
                *('qemu-img', verb, '-f', 'qcow2'),
                *(*arguments[:-1], path, arguments[-1]),
            )

    def test_file_systems(self) -> None:
        """Three that are like the images of clouds."""
        self.need_program('mkfs.ext4')
        tree = os.path.join(self.directory, 'tree')
        chance = random.Random(1)
        for number in range(40):
            name = os.path.join(tree, 'dir%d' % (number % 7))
            os.makedirs(name, exist_ok=True)
            with open(os.path.join(name, 'file%d' % number), 'wb') as file:
                file.write(chance.choice((chance.randbytes(999), b'log\n')))
                file.write(b'of a line \n' * chance.randrange(20_000))
        kinds: tuple[tuple[str, ...], ...] = (
            ('-c',),
            ('-c', '-o', 'compression_type=zstd,cluster_size=1M'),
            ('-o', 'lazy_refcounts=on'),
        )
        for kind in kinds:
            raw = os.path.join(self.directory, 'ext4')
            with open(raw, 'wb') as file:
                file.truncate(48 * MIB)
            _run('mkfs.ext4', '-q', '-d', tree, raw)
            self.check(self.image(*kind, source=raw), kind)
            os.unlink(raw)


class TestDevice(copying.DeviceTestCase, _Qcow2TestCase):
    def test_every_byte_of_the_virtual_disk(self) -> None:
        """Zeros too, whatever was there; what is behind it stays."""
        kinds: tuple[tuple[str, ...], ...] = (
            (),
            ('-o', 'cluster_size=512'),
            ('-c', '-o', 'cluster_size=4k'),
            ('-o', 'extended_l2=on'),
        )
        for kind, sector_size in itertools.product(kinds, (512, 4096)):
            target = self.device(16 * MIB, sector_size=sector_size)
            path = self.image(*kind)
            self.serve(path)
            expected = self.oracle(path)
            self.copy(
                target.path,
                verify=True,
                image_checksum='sha256:'
                + hashlib.sha256(expected).hexdigest(),
            )
            self.assert_device(target, expected, repr((kind, sector_size)))

    def test_a_disk_with_a_partition_table(self) -> None:
        """What it is known by comes last, wherever in the file it is."""
        self.need_program('sfdisk')
        disk = os.path.join(self.directory, 'disk')
        with open(disk, 'wb') as file:
            file.truncate(12 * MIB)
        subprocess.run(
            ['sfdisk', '-q', disk],
            input=b'label: gpt\n- 4M - -\n',
            check=True,
            capture_output=True,
        )
        path = self.created(size='12M')
        with open(disk, 'rb') as file:
            content = file.read()
        # From the end to the front.
        _io(
            path,
            'write -P 5 5M 1M',
            *(
                'write -s %s %d 64k' % (self._cut(content, at), at)
                for at in (len(content) - 64 * KIB, 0)
            ),
        )
        self.serve(path)
        expected = self.oracle(path)
        target = self.device(12 * MIB)
        self.copy(target.path, verify=True)
        self.assert_device(target, expected)
        # The first answer, and three parts; then the file.
        self.server.script(
            *([()] * 4), faults.cut(900_000), then=faults.status(404)
        )
        target = self.device(12 * MIB)
        error = self.assertRaises(errors.StatusError, self.copy, target.path)
        self.assert_as_told(target, error)

    def _cut(self, content: bytes, at: int) -> str:
        path = os.path.join(self.directory, 'part%d' % at)
        with open(path, 'wb') as file:
            file.write(content[at : at + 64 * KIB])
        return path

    def test_a_virtual_disk_that_is_too_long(self) -> None:
        target = self.device(4 * MIB)
        self.serve(self.image('-o', 'cluster_size=512'))
        self.assertRaises(errors.TargetTooSmall, self.copy, target.path)
        self.assert_untouched(target)
        # The first answer, and the head.
        self.assertEqual(2, len(self.server.requests))


class TestFaults(_Qcow2TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.image('-c', '-o', 'cluster_size=4k')
        self.content = self.serve(self.path)
        self.expected = self.oracle(self.path)

    def _arrives(self, *mirrors: str, **options: Any) -> None:
        self.copy(self.target, *mirrors, container='qcow2', **options)
        with open(self.target, 'rb') as file:
            self.assertTrue(file.read() == self.expected)

    def test_one_connection_for_all_tables(self) -> None:
        self._arrives()
        first = self.server.requests[0].connection
        of_tables = self.server.requests[:-1]
        self.assertGreater(len(of_tables), 1)
        self.assertEqual({first}, {each.connection for each in of_tables})
        self.assertIsNone(self.server.requests[-1].range)

    def test_while_the_tables_are_read(self) -> None:
        self.server.script(
            faults.reset(5000),
            faults.status(503),
            faults.cut(100),
            faults.reset(None),
            faults.move_range(8),
        )
        self._arrives()
        self.server.script(faults.stall(30_000))
        self._arrives(low_speed_time=1.0)

    def test_while_the_file_comes(self) -> None:
        checksum = 'sha256:' + hashlib.sha256(self.content).hexdigest()
        half = len(self.content) // 2
        for connections in (1, 4):
            self.server.script(
                *([()] * 3),
                faults.reset(half),
                faults.status(503),
                faults.cut(1000),
            )
            self._arrives(
                checksum=checksum,
                connections=connections,
                segment_size=MIB,
                chunk_size=64 * KIB,
            )

    def test_a_server_that_lets_in_one_connection(self) -> None:
        self.server.script(then=segmented.Crowd(1, faults.status(503)))
        self.copy(self.target)
        with open(self.target, 'rb') as file:
            self.assertTrue(file.read() == self.expected)

    def test_another_mirror(self) -> None:
        other = self.useFixture(
            endpoints.HarmfulServer(harmful.Representation(self.content))
        ).server
        for fault in (faults.ignore_range(), faults.status(404)):
            self.server.script(then=fault)
            self._arrives(other.url())

    def test_no_ranges(self) -> None:
        self.server.representations['/image'] = harmful.Representation(
            self.content, ranges=False
        )
        for container in ('auto', 'qcow2'):
            error = self.assertRaises(
                errors.NoRanges, self.copy, self.target, container=container
            )
            self.assertEqual('untouched', error.target_state)
            self.assertFalse(os.path.exists(self.target))

    def test_no_ranges_and_a_spool(self) -> None:
        self.server.representations['/image'] = harmful.Representation(
            self.content, ranges=False
        )
        spool = self.target + '.spool'
        digest = 'sha256:' + hashlib.sha256(self.content).hexdigest()
        for container in ('auto', 'qcow2'):
            for then in (), faults.field('Accept-Ranges', 'bytes'):
                self.server.script(then=then)
                self.server.requests.clear()
                self.copy(
                    self.target,
                    container=container,
                    spool=spool,
                    checksum=digest,
                )
                with open(self.target, 'rb') as file:
                    self.assertTrue(file.read() == self.expected)
                os.unlink(self.target)
                self.assertFalse(os.path.exists(spool))
        # It says so at once: the first answer goes on.
        self.server.script(then=faults.field('Accept-Ranges', 'none'))
        self.server.requests.clear()
        self.copy(self.target, spool=spool)
        self.assertEqual(1, len(self.server.requests))

    def test_a_spool_that_is_not_needed(self) -> None:
        spool = self.target + '.spool'
        self.copy(self.target, spool=spool)
        with open(self.target, 'rb') as file:
            self.assertTrue(file.read() == self.expected)
        self.assertFalse(os.path.exists(spool))

    def test_replaced_after_its_tables_were_read(self) -> None:
        other = bytearray(self.content)
        other[300] ^= 1
        changed = harmful.Representation(bytes(other), etag='"2"')
        self.copy(self.target, container='qcow2')
        tables = len(self.server.requests) - 1
        self.server.script(*([()] * tables), then=faults.serve(changed))
        os.unlink(self.target)
        self.assertRaises(
            errors.RepresentationChanged,
            self.copy,
            self.target,
            container='qcow2',
        )
        self.assertFalse(os.path.exists(self.target))


class TestProgram(program.ProgramTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.made = qcow2s.sample(bits=14, seed=4, count=100)
        self._serve(bytes(self.made.file))
        self.image = self.made.expected

    def _serve(self, content: bytes) -> None:
        self.server.representations['/image'] = harmful.Representation(content)

    def test_copy(self) -> None:
        self.check_success(self.url)
        done = self.check_success('--container', 'qcow2', self.url)
        self.assertIn('clusters of 16384 bytes', done.stderr)
        self.assertIn('received (qcow2)', done.stderr)

    def test_probe(self) -> None:
        done = self.run_program('probe', self.url)
        self.assertIn(
            'qcow2: a virtual disk of %d bytes' % self.made.length,
            done.stdout,
        )
        done = self.run_program('probe', '--json', self.url)
        found = json.loads(done.stdout)['image']
        self.assertEqual(self.made.length, found['length'])
        self.assertLess(0, found['compressed'])
        self.assertLess(found['compressed'], found['allocated'])
        self._serve(bytes(self.made.set_head(backing=512).file))
        done = self.run_program('probe', self.url)
        self.assertIn(
            'cannot be written: the qcow2 image has a b', done.stdout
        )

    def test_what_is_refused(self) -> None:
        for code, part, fields in (
            (55, 'backing file', {'backing': 512}),
            (56, 'dirty', {'incompatible': 1}),
            (31, 'L1 table', {'l1_start': 5}),
        ):
            made = qcow2s.sample(seed=4).set_head(**fields)
            self._serve(bytes(made.file))
            self.check_failure(code, part, self.url, self.target)
            self.assertFalse(os.path.exists(self.target))

    def test_nothing_else_is_ever_opened(self) -> None:
        """The image names a file that is there."""
        secret = self.path('secret')
        with open(secret, 'wb') as file:
            file.write(b'secret' * 1000)
        name = secret.encode('ascii')
        for fields in (
            {'backing': 600, 'backing_length': len(name)},
            {'incompatible': 4},
        ):
            made = qcow2s.sample(bits=14, seed=4, count=10).set_head(**fields)
            made.file[104:112] = (0x44415441).to_bytes(4) + len(name).to_bytes(
                4
            )
            made.file[112 : 112 + len(name)] = name
            made.file[600 : 600 + len(name)] = name
            self._serve(bytes(made.file))
            self.check_failure(55, 'file', self.url, self.target)
        self.assertFalse(os.path.exists(self.target))

    def test_standard_output(self) -> None:
        self.check_failure(51, 'in order', self.url, '-')

    def test_packed_once_more(self) -> None:
        self._serve(zlib.compress(bytes(self.made.file), wbits=31))
        self.check_failure(38, 'qcow2', self.url, self.target)
