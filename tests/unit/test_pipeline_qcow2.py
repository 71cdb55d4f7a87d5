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

"""Qcow2 images to files: the order of things, and what a failure leaves."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.image import bmap
from fuel_agent_curl.image import scatter
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import writing
from tests.support import copying
from tests.support import qcow2s


class Parted(copying.Source):
    """A source that can be read in parts, too."""

    def __init__(self, file: bytes, size: int = 100_003) -> None:
        super().__init__(
            [file[i : i + size] for i in range(0, len(file), size)], len(file)
        )
        self._file = file
        self.turns: list[str] = []

    def parts(self) -> contextlib.AbstractContextManager[qcow2s.Memory]:
        self.turns.append('parts')
        return contextlib.nullcontext(qcow2s.Memory(self._file))

    def views(self) -> Any:
        self.turns.append('views')
        return super().views()


def _image(seed: int = 1) -> qcow2s.Image:
    """More than twice what is held back, in any order."""
    return qcow2s.sample(bits=14, seed=seed, count=150)


class TestFile(copying.FileTestCase):
    def _copy(self, file: bytes, **options: Any) -> pipeline.Result:
        return pipeline.copy(Parted(file), self.path, **options)

    def test_in_any_order(self) -> None:
        for bits, extended in ((9, False), (14, False), (14, True)):
            for size in (512, 100_003, 10 * MIB):
                image = qcow2s.sample(
                    bits=bits, extended=extended, seed=7, count=180
                )
                source = Parted(bytes(image.file), size)
                result = pipeline.copy(source, self.path)
                self.assertEqual(image.length, result.written)
                self.assertEqual('qcow2', result.container)
                self.assertEqual(['views', 'parts', 'views'], source.turns)
                self.assert_image(image.expected)

    def test_asked_for_by_its_name(self) -> None:
        image = _image()
        source = Parted(bytes(image.file))
        pipeline.copy(source, self.path, container='qcow2')
        self.assertEqual(['parts', 'views'], source.turns)
        self.assert_image(image.expected)

    def test_checked_and_verified(self) -> None:
        image = _image()
        checksum = 'sha256:' + hashlib.sha256(image.expected).hexdigest()
        for options in (
            {'image_checksum': checksum},
            {'options': writing.Options(verify=True)},
            {
                'image_checksum': checksum,
                'options': writing.Options(
                    verify=True, in_place=True, direct_io=False
                ),
            },
            # It is opened for writing alone.
            {
                'image_checksum': checksum,
                'options': writing.Options(in_place=True),
            },
        ):
            self.old()
            self._copy(bytes(image.file), **options)
            self.assert_image(image.expected)

    def test_another_image_than_the_checksum_is_of(self) -> None:
        self.old(b'before')
        error = self.assertRaises(
            errors.DigestMismatch,
            self._copy,
            bytes(_image().file),
            image_checksum='md5:' + '0' * 32,
        )
        self.assertEqual('untouched', error.target_state)
        self.assert_image(b'before')

    def test_medium_that_gives_back_something_else(self) -> None:
        image = _image()
        checksum = 'sha256:' + hashlib.sha256(image.expected).hexdigest()
        real = os.preadv

        def wrong(fd: int, buffers: Any, offset: int) -> int:
            count = real(fd, buffers, offset)
            buffers[0][0] ^= 1
            return count

        self.patch(os, 'preadv', wrong)
        for cls, options in (
            (errors.DigestMismatch, {'image_checksum': checksum}),
            (errors.WriteError, {'options': writing.Options(verify=True)}),
        ):
            self.assertRaises(cls, self._copy, bytes(image.file), **options)
            self.assert_nothing()

    def test_a_disk_of_zeros(self) -> None:
        for length in (512, MIB, 3 * MIB + 17):
            image = qcow2s.make({}, length=length, bits=16)
            self._copy(bytes(image.file))
            self.assert_image(bytes(length))
            self.assertEqual(0, os.stat(self.path).st_blocks)

    def test_a_disk_shorter_than_what_is_held_back(self) -> None:
        image = qcow2s.sample(bits=9, seed=3, count=90)
        self._copy(bytes(image.file))
        self.assert_image(image.expected)

    def test_tables_that_change_are_found_before_it_shows(self) -> None:
        image = _image()
        file = bytes(image.file)
        at = image.l2[0] + 8

        class Changed(Parted):
            def parts(
                self,
            ) -> contextlib.AbstractContextManager[qcow2s.Memory]:
                other = bytearray(file)
                other[at : at + 8] = bytes(8)
                return contextlib.nullcontext(qcow2s.Memory(other))

        error = self.assertRaises(
            errors.RepresentationChanged,
            pipeline.copy,
            Changed(file),
            self.path,
        )
        self.assertEqual('untouched', error.target_state)
        self.assert_nothing()

    def test_is_refused_before_the_target_is_touched(self) -> None:
        for cls, fields in (
            (errors.NeedsOtherFile, {'backing': 512}),
            (errors.UnusableImage, {'encryption': 1}),
            (errors.CorruptError, {'l1_start': 1}),
        ):
            image = _image().set_head(**fields)
            self.old(b'before')
            error = self.assertRaises(
                cls,
                self._copy,
                bytes(image.file),
                options=writing.Options(in_place=True),
            )
            self.assertEqual('untouched', error.target_state)
            self.assert_image(b'before')

    def test_a_source_that_cannot_be_read_in_parts(self) -> None:
        file = bytes(_image().file)
        for container, cls in (
            ('auto', errors.NotAnImage),
            ('qcow2', errors.NoRanges),
        ):
            self.assertRaises(
                cls,
                pipeline.copy,
                copying.whole(file),
                self.path,
                container=container,
            )
            self.assert_nothing()

    def test_with_a_block_map(self) -> None:
        block_map = bmap.BlockMap(512, 512, 'sha256', ())
        for container, cls in (
            ('auto', errors.NotAnImage),
            ('qcow2', errors.OptionError),
        ):
            self.assertRaises(
                cls,
                self._copy,
                bytes(_image().file),
                bmap=block_map,
                container=container,
            )

    def test_too_little_memory(self) -> None:
        self.assertRaises(
            errors.WindowTooLarge,
            self._copy,
            bytes(_image().file),
            decoder_memory=100,
        )
        self.assert_nothing()

    def test_damage_before_a_source_fails(self) -> None:
        """The first of it is told, however many threads were at it."""
        image = qcow2s.make(
            {
                guest: qcow2s.Packed(bytes([guest]) * 512)
                for guest in range(90)
            },
            length=512 * 90,
        )
        self.patch(scatter, '_JOB', 512)
        for guest in (70, 72, 80):
            start = image.get(image.entry(guest)) & 0xFFFFFF
            image.file[start : start + 3] = b'\xff\xff\xff'

        class Failing(Parted):
            def views(self) -> Any:
                yield from super().views()
                raise errors.DigestMismatch('of the file')

        for threads in (1, 2, 8):
            for size in (512, MIB):
                error = self.assertRaises(
                    errors.CorruptError,
                    pipeline.copy,
                    Failing(bytes(image.file), size),
                    self.path,
                    container='qcow2',
                    decoder_threads=threads,
                )
                self.assertIn('compressed cluster 70', str(error))
                self.assert_nothing()

    def test_an_end_that_was_asked_for_before_damage(self) -> None:
        """Nothing that is decoded later takes its place."""
        image = qcow2s.make({1: qcow2s.Packed(bytes(512))}, length=4 * MIB)
        ended = threading.Event()

        def decode(data: Any, length: int) -> bytes:
            ended.wait(60)
            raise EOFError

        self.patch(scatter, '_DECODERS', {'zlib': decode})

        class Ended(Parted):
            def views(self) -> Any:
                yield from super().views()
                ended.set()
                raise cls('enough')

        for cls in (errors.Cancelled, errors.DeadlineExceeded):
            ended.clear()
            self.assertRaises(
                cls,
                pipeline.copy,
                Ended(bytes(image.file)),
                self.path,
                container='qcow2',
                decoder_threads=2,
            )
            self.assert_nothing()

    def test_a_source_that_fails(self) -> None:
        file = bytes(_image().file)

        class Failing(Parted):
            def views(self) -> Any:
                taken = 0
                for view in super().views():
                    yield view
                    taken += len(view)
                    if taken > len(file) // 2:
                        raise errors.ReceiveError('gone')

        self.assertRaises(
            errors.ReceiveError, pipeline.copy, Failing(file), self.path
        )
        self.assert_nothing()

    def test_dry_run(self) -> None:
        image = _image()
        result = self._copy(
            bytes(image.file), options=writing.Options(dry_run=True)
        )
        self.assertEqual('qcow2', result.container)
        self.assertEqual(image.length, result.length)
        assert result.target is not None
        self.assertEqual('made', result.target.way)
        self.assert_nothing()
