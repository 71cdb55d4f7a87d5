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

"""Block maps: on devices, and as the user of the program sees them."""

from __future__ import annotations

import gzip
import hashlib

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl import pipeline
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.image import bmap
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import blockdev
from fuel_agent_curl.target import writing
from tests.support import blockmaps
from tests.support import copying
from tests.support import loop
from tests.support import program

IMAGE = copying.LONG_IMAGE

_LENGTH = 12 * MIB
_STALE = b'\xaa'

#: Parts of the first mebibyte, what goes past its end, a part of the zeros,
#: and the end of the image.
PARTS = (
    (4096, 12288),
    (300_000, 400_000),
    (MIB - 65536, MIB + 65536),
    (3 * MIB + 512, 5 * MIB + 99_000),
    (len(IMAGE) - 5000, len(IMAGE)),
)


def _ranges(
    size: int, parts: tuple[blockmaps.Blocks, ...] = PARTS
) -> list[blockmaps.Blocks]:
    return [(start // size, (stop - 1) // size) for start, stop in parts]


def _map(image: bytes, size: int = 4096) -> bmap.BlockMap:
    ranges = [
        (first, last)
        for first, last in _ranges(size)
        if last * size < len(image)
    ]
    return bmap.parse(blockmaps.document(image, ranges, size))


class DeviceTest(copying.DeviceTestCase):
    def _device(self, sector_size: int = 512) -> loop.LoopDevice:
        return self.device(_LENGTH, sector_size=sector_size, fill=_STALE)

    def _assert_written(
        self, target: loop.LoopDevice, block_map: bmap.BlockMap, image: bytes
    ) -> None:
        """The ranges, and nothing else."""
        expected = bytearray(_STALE * target.length)
        for each in block_map.ranges:
            expected[each.start : each.stop] = image[each.start : each.stop]
        if target.read() != expected:
            self.fail('something else is on the device')

    def test_sectors_and_blocks(self) -> None:
        for sector_size in (512, 4096):
            for size in (512, 4096):
                for direct_io in (True, False):
                    target = self._device(sector_size)
                    block_map = _map(IMAGE, size)
                    result = pipeline.copy(
                        copying.whole(gzip.compress(IMAGE, 1), MIB),
                        target.path,
                        bmap=block_map,
                        options=writing.Options(
                            direct_io=direct_io, verify=True
                        ),
                        image_checksum='sha1:'
                        + hashlib.sha1(IMAGE).hexdigest(),
                    )
                    self.assertEqual(
                        pipeline.Result(
                            len(IMAGE),
                            'gzip',
                            block_map.mapped,
                            len(PARTS),
                            verified=True,
                        ),
                        result,
                    )
                    self._assert_written(target, block_map, IMAGE)
        self.assertNotIn('BLKZEROOUT', self.log.output)
        self.assertNotIn('direct I/O', self.log.output)

    def test_image_shorter_than_what_is_blanked(self) -> None:
        """The rest of the first mebibyte is not the image's."""
        target = self._device(4096)
        image = IMAGE[:350_001]
        block_map = _map(image)
        self.assertEqual(1, len(block_map.ranges))
        pipeline.copy(
            copying.whole(image),
            target.path,
            bmap=block_map,
            options=writing.Options(verify=True),
        )
        self._assert_written(target, block_map, image)

    def test_device_shorter_than_what_is_blanked(self) -> None:
        target = self.device(65536, fill=_STALE)
        image = IMAGE[:60_000]
        pipeline.copy(
            copying.whole(image),
            target.path,
            bmap=_map(image),
            options=writing.Options(verify=True),
        )
        self._assert_written(target, _map(image), image)

    def test_zeros_where_they_have_to_be_written(self) -> None:
        """A device without BLKZEROOUT."""

        def refusing(fd: int, start: int, length: int) -> None:
            raise OSError(95, 'Operation not supported')

        self.patch(blockdev, 'zero_out', refusing)
        for size in (512, 4096):
            target = self._device(4096)
            pipeline.copy(
                copying.whole(IMAGE), target.path, bmap=_map(IMAGE, size)
            )
            self._assert_written(target, _map(IMAGE, size), IMAGE)

    def _fails(
        self, cls: type[errors.Error], data: bytes, block_map: bmap.BlockMap
    ) -> loop.LoopDevice:
        """The copy fails, and leaves what it says."""
        target = self._device()
        error = self.assertRaises(
            cls,
            pipeline.copy,
            copying.whole(data, MIB),
            target.path,
            bmap=block_map,
        )
        self.assertIs(cls, type(error))
        self.assert_as_told(target, error)
        return target

    def test_failures_leave_nothing_that_looks_complete(self) -> None:
        spoilt = bytearray(IMAGE)
        spoilt[-1] ^= 1
        for cls, image, cut in (
            (errors.DigestMismatch, bytes(spoilt), 0),
            (errors.ImageTooShort, IMAGE[:-1], 0),
            (errors.ImageTooLong, IMAGE + b'\0', 0),
            (errors.TruncatedError, IMAGE, 1),
        ):
            packed = gzip.compress(image, 1)
            data = packed[: len(packed) - cut]
            self._fails(cls, data, _map(IMAGE))

    def test_refused_before_anything_is_touched(self) -> None:
        long = _map(IMAGE + bytes(_LENGTH))
        for cls, block_map in (
            (errors.TargetTooSmall, long),
            (errors.ImageTooLong, _map(IMAGE[:-1])),
            (errors.ImageTooShort, _map(IMAGE + b'\0')),
        ):
            target = self._fails(cls, IMAGE, block_map)
            self.assertFalse(target.read().strip(_STALE), 'touched')

    def test_last_sync_fails(self) -> None:
        """What was put back goes again, too."""
        for turn in (3, 2):
            target = self._device()
            with copying.fail_sync(turn):
                self.assertRaises(
                    errors.WriteError,
                    pipeline.copy,
                    copying.whole(IMAGE),
                    target.path,
                    bmap=_map(IMAGE),
                )
            self.assert_blank(target)


class ProgramTest(program.ProgramTestCase):
    """The image is 3 MiB and 17 bytes long."""

    _RANGES = [(0, 1), (255, 300), (768, 768)]

    def setUp(self) -> None:
        super().setUp()
        document = blockmaps.document(self.image, self._RANGES)
        self.bmap_url = self._serve('/image.bmap', document)
        self.packed_url = self._serve('/packed', gzip.compress(self.image, 1))
        self.file = self.path('image.bmap')
        with open(self.file, 'wb') as file:
            file.write(document)

    def _serve(self, path: str, content: bytes | harmful.Pattern) -> str:
        self.server.representations[path] = harmful.Representation(content)
        return self.server.url(path)

    def _old(self) -> bytes:
        old = _STALE * len(self.image)
        with open(self.target, 'wb') as target:
            target.write(old)
        return old

    def _paths(self) -> list[str]:
        return [request.target for request in self.server.requests]

    def test_file_and_url(self) -> None:
        for name in (self.file, self.bmap_url):
            old = self._old()
            done = self.run_program(
                *('copy', '--bmap', name, '--verify'),
                *(self.packed_url, self.target),
            )
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertEqual(
                blockmaps.laid_over(self.image, self._RANGES, old),
                self.content(),
            )
            last = done.stderr.splitlines()[-1]
            self.assertIn(
                '%d of %d bytes written to'
                % (48 * 4096 + 17, len(self.image)),
                last,
            )
            self.assertIn('; 3 ranges of the block map verified, read', last)
        self.assertEqual(['/packed', '/image.bmap', '/packed'], self._paths())

    def test_not_asked_for_unless_it_is_named(self) -> None:
        self.check_success(self.url)
        self.assertEqual(['/image'], self._paths())

    def test_through_a_reset(self) -> None:
        self.server.script(faults.reset(100))
        done = self.run_program(
            *('copy', *program.QUICK, '--bmap', self.bmap_url),
            *(self.url, self.target),
        )
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(
            [None, 'bytes=100-', None], self.server.ranges, done.stderr
        )

    def test_wrong_range(self) -> None:
        self._old()
        spoilt = bytearray(self.image)
        spoilt[-1] ^= 1
        url = self._serve('/spoilt', bytes(spoilt))
        self.check_failure(
            34, 'blocks 768-768 has', '--bmap', self.file, url, self.target
        )
        # Whether as much had come when it was noticed is a matter of time.
        self.assertIn(self.content()[:1], (b'\0', b'\xaa'))
        self.assertEqual(1, len(set(self.content()[:MIB])))

    def test_bad_maps_cost_no_request_for_the_image(self) -> None:
        old = self._old()
        endless = harmful.Pattern(1 << 40)
        spoilt = blockmaps.document(self.image, self._RANGES).replace(
            b'768', b'767', 1
        )
        for code, part, name in (
            (2, 'cannot read the block map', self.path('none')),
            (19, '404', self.server.url('/none.bmap')),
            (34, 'block map', self._serve('/spoilt.bmap', spoilt)),
            (30, 'more than', self._serve('/long', endless)),
        ):
            self.check_failure(
                code, part, '--bmap', name, self.url, self.target
            )
        self.assertNotIn('/image', self._paths())
        self.assertEqual(old, self.content())

    def test_no_checksums_are_said(self) -> None:
        path = self.path('other.bmap')
        with open(path, 'wb') as file:
            file.write(
                blockmaps.sealed(
                    blockmaps.numbers(len(self.image), 4096, [(0, 768)])
                    + '<BlockMap><Range>0-768</Range></BlockMap>'
                )
            )
        done = self.check_success('--bmap', path, self.url)
        self.assertIn('no checksum for 1 of its 1 ranges', done.stderr)
        self.assertIn('no checksum given', done.stderr)
