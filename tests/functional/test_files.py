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


"""What the files on a server are, and the lists of checksums beside them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys

from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests.support import loop
from tests.support import program

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class FilesTestCase(program.ProgramTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.packed = gzip.compress(self.image, 1)
        self.serve('/images/disk.img', self.image)
        self.serve('/images/disk.img.gz', self.packed)

    def serve(self, path: str, content: bytes) -> str:
        """Serve ``content``; return its URL."""
        self.server.representations[path] = harmful.Representation(content)
        return self.server.url(path)


class TestChecksumLists(FilesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.url = self.server.url('/images/disk.img.gz')
        self.text = '%s *disk.img\n%s *disk.img.gz\n' % (
            _sha256(self.image),
            _sha256(self.packed),
        )
        self.list = self.serve('/images/SHA256SUMS', self.text.encode())

    def test_url(self) -> None:
        for flags in (
            ('--checksum', self.list),
            ('--image-checksum', self.list),
            ('--checksum', 'sha256:' + self.list),
            ('--checksum', self.list, '--image-checksum', self.list),
        ):
            done = self.check_success(*flags, self.url)
            self.assertIn('sha256 of the', done.stderr)
            os.unlink(self.target)

    def test_file(self) -> None:
        path = self.path('sums')
        with open(path, 'w') as file:
            file.write(self.text)
        for given in (path, 'sha256:' + path, _sha256(self.packed)):
            done = self.check_success('--checksum', given, self.url)
            self.assertIn('sha256 of the download verified', done.stderr)
            os.unlink(self.target)

    def test_by_the_name_that_was_asked_for(self) -> None:
        """Wherever that leads."""
        self.server.script(
            faults.redirect(self.url), path='/images/latest.img.gz'
        )
        text = '%s  latest.img.gz\n' % _sha256(self.packed)
        self.serve('/images/SUMS', text.encode())
        self.check_success(
            '--checksum',
            self.server.url('/images/SUMS'),
            self.server.url('/images/latest.img.gz'),
        )

    def test_refused_before_the_target_is_touched(self) -> None:
        self.need_root()
        device = self.useFixture(loop.LoopDevice(self.directory, 4 * MIB))
        line = '%s  disk.img%s\n'
        twice = ''.join(
            line % (digit * 64, suffix)
            for digit in '12'
            for suffix in ('', '.gz')
        )
        for code, part, given in (
            (30, 'no line for', self.serve('/o', b'0' * 64 + b'  other')),
            (30, 'different ones', self.serve('/t', twice.encode())),
            (30, 'no line has one', self.serve('/p', b'<html>Sign in</html>')),
            (19, '404', self.server.url('/images/none')),
            (2, 'cannot read', self.path('none')),
        ):
            for flag in '--checksum', '--image-checksum':
                self.check_failure(
                    code, part, flag, given, self.url, device.path
                )
                self.assertEqual(b'\xa5' * 4 * MIB, device.read())

    def test_in_json_a_list_that_is_not_there_ends_it(self) -> None:
        done = self.run_program(
            *('copy', '--progress', 'json', '--checksum'),
            *(self.server.url('/none'), self.url, self.target),
        )
        last = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual('failed', last['event'])
        self.assertEqual(19, last['exit_code'])

    def test_mismatch(self) -> None:
        text = '%s *disk.img\n%s *disk.img.gz\n' % (('0' * 64,) * 2)
        wrong = self.serve('/images/WRONG', text.encode())
        for flag in '--checksum', '--image-checksum':
            self.check_failure(34, '000', flag, wrong, self.url, self.target)


class TestNotAnImage(FilesTestCase):
    def test_refused_before_the_target_is_touched(self) -> None:
        self.need_root()
        device = self.useFixture(loop.LoopDevice(self.directory, 4 * MIB))
        page = b'<!DOCTYPE html>\n<title>Sign in</title>\n'
        qcow2 = b'QFI\xfb\0\0\0\x03' + self.image
        for part, content in (
            ('page (HTML)', page),
            ('QED image', b'QED\0' + self.image),
            ('qcow2', gzip.compress(qcow2)),
            ('7 bytes in all', b'\0' * 7),
        ):
            url = self.serve('/images/what', content)
            self.check_failure(38, part, url, device.path)
            self.assertEqual(b'\xa5' * 4 * MIB, device.read())

    def test_written_where_that_is_meant(self) -> None:
        self.image = b'QFI\xfb\0\0\0\x03' + self.image
        url = self.serve('/images/what', self.image)
        self.check_success('--container', 'raw', url)
        url = self.serve('/images/what.gz', gzip.compress(self.image))
        self.check_success('--container', 'gzip', url)


class TestMemory(FilesTestCase):
    def _packed(self, window_log: int) -> str:
        """Serve the image as ``zstd --long`` packs what it cannot see yet."""
        options = {int(zstd.CompressionParameter.window_log): window_log}
        packer = zstd.ZstdCompressor(options=options)
        packed = packer.compress(self.image) + packer.flush()
        return self.serve('/images/disk.img.zst', packed)

    def test_out_of_memory_is_no_damage(self) -> None:
        url = self._packed(27)
        self.check_success(url)
        os.unlink(self.target)
        # Enough for all but the window.
        limit = ('prlimit', '--as=%d' % (180 * MIB))
        self.check_failure(11, 'ENOMEM', url, self.target, before=limit)
        self.assertFalse(os.path.exists(self.target))

    def test_more_has_to_be_allowed(self) -> None:
        url = self._packed(28)
        self.check_failure(37, '--decoder-memory 256M', url, self.target)
        self.assertFalse(os.path.exists(self.target))
        self.check_success('--decoder-memory', '256M', url)


class TestTrailingData(FilesTestCase):
    def test_signature(self) -> None:
        packed = self.packed + bytes(8) + b'{"metadata_version": "1.1"}FWx0'
        url = self.serve('/images/firmware.img.gz', packed)
        self.check_failure(33, '--trailing-data ignore', url, self.target)
        for flags in (
            ('--trailing-data', 'ignore'),
            ('--image-checksum', _sha256(self.image)),
        ):
            done = self.check_success(
                *flags, '--checksum', _sha256(packed), url
            )
            self.assertIn('is ignored', done.stderr)
            os.unlink(self.target)
        wrong = _sha256(b'')
        for flag in '--checksum', '--image-checksum':
            self.check_failure(
                34,
                wrong,
                '--trailing-data',
                'ignore',
                flag,
                wrong,
                url,
                self.target,
            )


class TestEnd(FilesTestCase):
    """A server that states no length and ends by closing."""

    def test_raw(self) -> None:
        answers = [faults.http_1_0(), faults.cut(MIB)]
        flags: tuple[str, ...]
        for flags in (), ('--container', 'raw'):
            self.server.script(answers)
            self.check_failure(
                39, '--allow-unproven-end', *flags, self.url, self.target
            )
            self.assertFalse(os.path.exists(self.target))
        for flags in (
            ('--allow-unproven-end',),
            ('--checksum', _sha256(self.image)),
            ('--image-checksum', _sha256(self.image)),
        ):
            self.server.script(faults.http_1_0())
            self.check_success(*flags, self.url)
            os.unlink(self.target)
        self.server.script(faults.chunked())
        self.check_success(self.url)

    def test_in_a_container(self) -> None:
        url = self.server.url('/images/disk.img.gz')
        self.server.script(faults.http_1_0(), path='/images/disk.img.gz')
        self.check_success(url)
        self.server.script(
            [faults.http_1_0(), faults.cut(len(self.packed) - 9)],
            path='/images/disk.img.gz',
        )
        self.check_failure(32, 'ends within', url, self.target)
