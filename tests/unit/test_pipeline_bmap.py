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

"""Copies with a block map; the targets here are regular files."""

from __future__ import annotations

from collections.abc import Iterator
import errno
import gzip
import hashlib
import os

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.image import bmap
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import writing
from tests.support import blockmaps
from tests.support import copying

IMAGE = copying.IMAGE

_BLOCK = 4096
_LAST = (len(IMAGE) - 1) // _BLOCK
#: In the first mebibyte and around its end, random data and zeros, up to a
#: last block that is a short one.
RANGES = [
    (1, 2),
    (100, 100),
    (250, 300),
    (500, 700),
    (900, 950),
    (_LAST, _LAST),
]
#: The same without anything in the first mebibyte, and without the end.
LATE = RANGES[3:-1]
ALL = [(0, _LAST)]


def _map(ranges: list[blockmaps.Blocks], size: int = _BLOCK) -> bmap.BlockMap:
    return bmap.parse(blockmaps.document(IMAGE, ranges, size))


def _spoilt(at: int) -> bytes:
    image = bytearray(IMAGE)
    image[at] ^= 1
    return bytes(image)


class CopyTest(copying.FileTestCase):
    def test_new_file(self) -> None:
        for ranges in (RANGES, LATE, ALL, []):
            block_map = _map(ranges)
            result = pipeline.copy(
                copying.whole(IMAGE),
                self.path,
                bmap=block_map,
                options=writing.Options(verify=True),
            )
            self.assertEqual(
                pipeline.Result(
                    len(IMAGE), 'raw', block_map.mapped, len(ranges), True
                ),
                result,
            )
            self.assert_image(
                blockmaps.laid_over(IMAGE, ranges, bytes(len(IMAGE)))
            )
            os.unlink(self.path)

    def test_old_file_stays_where_nothing_is_mapped(self) -> None:
        for length in (0, 5000, MIB, 2 * MIB + 77, len(IMAGE), 8 * MIB):
            for direct_io in (True, False):
                for ranges in (RANGES, LATE):
                    self.old(b'\xaa' * length)
                    before = (b'\xaa' * length).ljust(len(IMAGE), b'\0')
                    after = blockmaps.laid_over(
                        IMAGE, ranges, before[: len(IMAGE)]
                    )
                    pipeline.copy(
                        copying.whole(IMAGE),
                        self.path,
                        bmap=_map(ranges),
                        options=writing.Options(
                            direct_io=direct_io, verify=True
                        ),
                    )
                    # What is behind the image, too.
                    self.assert_image(after + before[len(IMAGE) :])

    def test_any_block_size(self) -> None:
        for size in (1, 512, 1000, 65536, MIB + 1, 8 * MIB):
            last = (len(IMAGE) - 1) // size
            ranges = sorted({(0, 0), (last // 2, last // 2 + last // 4)})
            if last < 2:
                ranges = [(last, last)]
            self.old(b'\xaa' * len(IMAGE))
            pipeline.copy(
                copying.whole(IMAGE),
                self.path,
                bmap=_map(ranges, size),
                options=writing.Options(verify=True),
            )
            self.assert_image(
                blockmaps.laid_over(IMAGE, ranges, b'\xaa' * len(IMAGE), size)
            )

    def test_packed(self) -> None:
        self.old(b'\xaa' * len(IMAGE))
        pipeline.copy(
            copying.whole(gzip.compress(IMAGE, 1)),
            self.path,
            bmap=_map(RANGES),
            image_checksum='sha256:' + hashlib.sha256(IMAGE).hexdigest(),
        )
        self.assert_image(
            blockmaps.laid_over(IMAGE, RANGES, b'\xaa' * len(IMAGE))
        )

    def test_holes_stay_holes(self) -> None:
        pipeline.copy(copying.whole(IMAGE), self.path, bmap=_map([(512, 760)]))
        self.assertLess(os.stat(self.path).st_blocks * 512, 65536)

    def test_only_mapped_ranges_are_read_back(self) -> None:
        reads: list[tuple[int, int]] = []
        preadv = os.preadv

        def recording(fd: int, buffers: list[memoryview], offset: int) -> int:
            reads.append((offset, offset + len(buffers[0])))
            return preadv(fd, buffers, offset)

        pipeline.copy(copying.whole(IMAGE), self.path)
        self.patch(os, 'preadv', recording)
        pipeline.copy(
            copying.whole(IMAGE),
            self.path,
            bmap=_map(LATE),
            options=writing.Options(verify=True),
        )
        first = (0, MIB)
        self.assertEqual(
            [
                first,
                (500 * _BLOCK, 500 * _BLOCK + 201 * _BLOCK),
                (900 * _BLOCK, 951 * _BLOCK),
                first,
            ],
            reads,
        )

    def test_what_was_there_is_not_compared(self) -> None:
        """A bad sector that is not ours, outside the first mebibyte."""
        sync = os.fdatasync
        for at, cls in ((800, None), (600, errors.WriteError)):
            self.old(b'\xaa' * len(IMAGE))
            turns: list[int] = []

            def spoiling(
                fd: int, at: int = at, turns: list[int] = turns
            ) -> None:
                sync(fd)
                turns.append(fd)
                # Blanked, then written.
                if len(turns) == 2:
                    with open(self.path, 'r+b') as target:
                        target.seek(at * _BLOCK)
                        target.write(b'\x77')
                        target.flush()
                        sync(target.fileno())

            self.patch(os, 'fdatasync', spoiling)
            try:
                pipeline.copy(
                    copying.whole(IMAGE),
                    self.path,
                    bmap=_map(RANGES),
                    options=writing.Options(verify=True),
                )
            except errors.WriteError as error:
                self.assertIs(cls, type(error))
                self.assertIn('does not give back', str(error))
            else:
                self.assertIsNone(cls)


class FailureTest(copying.FileTestCase):
    def _fails(
        self,
        cls: type[errors.Error],
        source: copying.Source,
        ranges: list[blockmaps.Blocks] = RANGES,
        **given: str,
    ) -> errors.Error:
        """The copy fails, onto an old file and onto none."""
        for old in (None, b'\xaa' * len(IMAGE)):
            if os.path.exists(self.path):
                os.unlink(self.path)
            if old is not None:
                self.old(old)
            error = self.assertRaises(
                cls,
                pipeline.copy,
                source,
                self.path,
                bmap=_map(ranges),
                container='auto',
                **given,
            )
            assert isinstance(error, cls)
            if old is None:
                self.assert_nothing()
        self._assert_as_told(error)
        return error

    def _assert_as_told(self, error: BaseException) -> None:
        """Whether it is blank by then is a matter of time."""
        state = getattr(error, 'target_state', None)
        if state == 'untouched':
            self.assertEqual(b'', self.content().strip(b'\xaa'))
        else:
            self.assertIn(state, ('blank', 'incomplete'))
            self.assertEqual(b'', self.content()[:MIB].strip(b'\0'))

    def test_range_is_wrong(self) -> None:
        for blocks, at in (
            ('1-2', 2 * _BLOCK),
            ('250-300', MIB),
            ('500-700', 700 * _BLOCK),
            ('%d-%d' % (_LAST, _LAST), len(IMAGE) - 1),
        ):
            error = self._fails(
                errors.DigestMismatch, copying.whole(_spoilt(at))
            )
            self.assertIn('blocks %s has sha256:' % blocks, str(error))

    def test_nothing_is_written_after_a_wrong_range(self) -> None:
        """Nor of its last part; a good one before it may be."""
        self.old(b'\xaa' * len(IMAGE))
        error = self.assertRaises(
            errors.DigestMismatch,
            pipeline.copy,
            copying.whole(_spoilt(900 * _BLOCK)),
            self.path,
            bmap=_map(RANGES),
        )
        self._assert_as_told(error)
        self.assertEqual(b'', self.content()[900 * _BLOCK :].strip(b'\xaa'))

    def test_wrong_byte_that_is_not_mapped(self) -> None:
        """It is no part of what is written, but it is of the image."""
        image = _spoilt(800 * _BLOCK)
        pipeline.copy(copying.whole(image), self.path, bmap=_map(RANGES))
        os.unlink(self.path)
        self._fails(
            errors.DigestMismatch,
            copying.whole(image),
            image_checksum='sha256:' + hashlib.sha256(IMAGE).hexdigest(),
        )

    def test_other_length(self) -> None:
        """Known for a raw image before anything is touched."""
        for image, cls in (
            (IMAGE[:-1], errors.ImageTooShort),
            (IMAGE + b'\0', errors.ImageTooLong),
        ):
            error = self._fails(cls, copying.whole(image))
            self.assertIn('of its block map', str(error))
            self.assertEqual(b'', self.content().strip(b'\xaa'))
            for source in (
                copying.whole(gzip.compress(image, 1)),
                copying.Source([image]),
            ):
                for ranges in (RANGES, LATE):
                    self._fails(cls, source, ranges)

    def test_truncated(self) -> None:
        packed = gzip.compress(IMAGE, 1)
        self._fails(errors.TruncatedError, copying.whole(packed[:-1]))

    def test_old_content_cannot_be_read(self) -> None:
        """Then nothing of it is lost."""

        def failing(fd: int, buffers: list[memoryview], offset: int) -> int:
            raise OSError(errno.EIO, 'Input/output error')

        self.patch(os, 'preadv', failing)
        self.old(b'\xaa' * len(IMAGE))
        error = self.assertRaises(
            errors.WriteError,
            pipeline.copy,
            copying.whole(IMAGE),
            self.path,
            bmap=_map(RANGES),
        )
        self.assertIn('reading', str(error))
        self.assertEqual('untouched', error.target_state)
        self.assertEqual(b'', self.content().strip(b'\xaa'))
        self.assertEqual(len(IMAGE), len(self.content()))

    def test_killed(self) -> None:
        """At every moment but the last, what it is known by is zeros."""
        self.old(b'\xaa' * len(IMAGE))
        views: list[bytes] = []
        pwrite = os.pwrite

        def watching(fd: int, data: memoryview, offset: int) -> int:
            views.append(self.content()[:MIB])
            return pwrite(fd, data, offset)

        self.patch(os, 'pwrite', watching)
        pipeline.copy(copying.whole(IMAGE), self.path, bmap=_map(RANGES))
        # But for the first, by which it becomes so.
        self.assertGreater(len(views), 4)
        for view in views[1:]:
            self.assertEqual(b'', view[:512].strip(b'\0'))

    def test_streams_are_refused(self) -> None:
        def chunks() -> Iterator[bytes]:
            raise AssertionError('asked too early')
            yield b''

        error = self.assertRaises(
            errors.OptionError,
            pipeline.copy,
            copying.Source(chunks()),
            '/dev/null',
            bmap=_map(RANGES),
        )
        self.assertIn('/dev/null takes every byte in order', str(error))
