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

"""Tables of qcow2 images: what they say, and what is refused of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.image import mapping
from fuel_agent_curl.image import scatter
from fuel_agent_curl.octets import MIB
from tests import base
from tests.support import qcow2s

_C = 512
_DATA = bytes(range(256)) * 2


def _make(**options: Any) -> qcow2s.Image:
    """Three clusters with data, of 200, in two L2 tables."""
    clusters: dict[int, qcow2s.Cluster] = {1: _DATA, 2: _DATA, 100: _DATA}
    clusters |= {5: qcow2s.Packed(_DATA), 6: qcow2s.Packed(_DATA)}
    return qcow2s.make(clusters, length=200 * _C, **options)


def load(image: qcow2s.Image, memory: int = MIB) -> mapping.Mapping:
    return mapping.load(qcow2s.Memory(image.file), memory)


class TestLoad(base.TestCase):
    def test_what_is_where(self) -> None:
        image = _make()
        found = load(image)
        self.assertEqual((3, 2), (found.data, found.compressed))
        for guest, place in image.data.items():
            self.assertEqual(guest, found.guest(place // _C))
        packed = [
            each
            for host in range(len(image.file) // _C + 1)
            if host < -(-len(image.file) // _C)
            for each in found.packed(host)
        ]
        self.assertEqual([5, 6], sorted(each.guest for each in packed))
        for each in packed:
            self.assertLessEqual(each.stop, len(image.file))

    def test_snapshots_are_left_out_and_that_is_said(self) -> None:
        for count, said in ((1, 'a snapshot'), (2, '2 snapshots')):
            image = _make()
            start = len(image.file) + -len(image.file) % _C
            image.file += bytes(start + _C - len(image.file))
            image.set_head(snapshots=count, snapshots_start=start)
            found = load(image)
            self.assertEqual(said, found.header.features[-1])
            self.assertIn(
                'the qcow2 image has %s, which %s left out'
                % (said, 'is' if count == 1 else 'are'),
                self.log.output,
            )

    def test_what_has_data_next(self) -> None:
        found = load(_make())
        for guest, following in (
            *((0, 1), (1, 1), (2, 2), (3, 5), (6, 6), (7, 100)),
            *((64, 100), (100, 100), (101, 200), (199, 200), (200, 200)),
        ):
            self.assertEqual(
                (guest, following), (guest, found.next_present(guest))
            )

    def test_tables_that_are_near_are_read_at_once(self) -> None:
        file = qcow2s.Memory(_make().file)
        mapping.load(file, MIB)
        # Of so short a file, the first 64 KiB are all.
        self.assertEqual(1, len(file.asked))
        large = qcow2s.make(
            dict.fromkeys((0, 9000), _DATA * 128),
            length=10000 << 16,
            bits=16,
        )
        file = qcow2s.Memory(large.file)
        mapping.load(file, MIB)
        # The head, L1, and two L2 tables with two clusters between at most.
        self.assertEqual(3, len(file.asked))

    def test_tables_that_are_far_apart_are_read_one_by_one(self) -> None:
        image = _make()
        at = image.l2[1]
        table = image.file[at : at + _C]
        image.file += bytes(-len(image.file) % _C + 4 * MIB)
        image.put(image.l1 + 8, len(image.file))
        image.file += table
        file = qcow2s.Memory(image.file)
        mapping.load(file, MIB)
        self.assertEqual(
            (len(image.file) - _C, len(image.file)), file.asked[-1]
        )

    def test_at_most_sixteen_bytes_for_a_cluster(self) -> None:
        for packed in (False, True):
            count = 5000
            data = {
                guest: qcow2s.Packed(_DATA) if packed else _DATA
                for guest in range(count)
            }
            image = qcow2s.make(data, length=count * _C)
            found = load(image, 16 * MIB)
            tables = len(image.l2) * (256 + 8)
            self.assertLessEqual(found.memory - tables, 16 * count + 4096)

    def test_more_memory_than_allowed(self) -> None:
        for memory in (10, 100, 500):
            error = self.assertRaises(
                errors.WindowTooLarge, load, _make(), memory
            )
            self.assertIn('decoder_memory', str(error))

    def test_the_head_is_judged_before_the_tables_are_read(self) -> None:
        class Refused(Exception):
            pass

        def refuse(_header: object) -> None:
            raise Refused

        file = qcow2s.Memory(_make().file + bytes(MIB))
        self.assertRaises(Refused, mapping.load, file, MIB, refuse)
        self.assertEqual([(0, 65536)], file.asked)

    def test_state_of_a_machine_is_left_out(self) -> None:
        """It is behind the end of the virtual disk, in L1 and in L2."""
        image = _make().set_head(length=90 * _C)
        found = load(image)
        self.assertEqual(2, found.data)
        self.assertEqual(90, found.next_present(7))


class TestRefused(base.TestCase):
    """Each is damaged in one place."""

    def test_tables(self) -> None:
        def entry(guest: int, value: int) -> Callable[[qcow2s.Image], object]:
            return lambda image: image.put(image.entry(guest), value)

        def l1(number: int, value: int) -> Callable[[qcow2s.Image], object]:
            return lambda image: image.put(image.l1 + 8 * number, value)

        def copy(guest: int, other: int) -> Callable[[qcow2s.Image], object]:
            return lambda image: image.put(
                image.entry(guest), image.get(image.entry(other))
            )

        far = 1 << 40
        for part, spoil in (
            ('L2 table 0 is past the end', l1(0, far)),
            ('entry 0 of its L1 table', l1(0, 700)),
            ('entry 1 of its L1 table', l1(1, 1 << 60 | 512)),
            # Loops: a table that is another, the head, L1, refcounts.
            ('L2 table 1 is where', lambda i: i.put(i.l1 + 8, i.l2[0])),
            ('L2 table 1 is where', lambda i: i.put(i.l1 + 8, i.l1)),
            ('L2 table 1 is where', l1(1, _C)),
            ('cluster 1 is past the end', entry(1, far)),
            ('the entry of cluster 1 is', entry(1, 1 << 58 | 2 * _C)),
            ('the entry of cluster 1 is', entry(1, 2 * _C + 2)),
            ('cluster 1 is where', entry(1, _C)),
            ('cluster 1 is where', lambda i: i.put(i.entry(1), i.l1)),
            ('cluster 1 is where', lambda i: i.put(i.entry(1), i.l2[0])),
            ('cluster 1 is where', lambda i: i.put(i.entry(1), i.l2[1])),
            (' is where something else is', copy(2, 1)),
            (' is where something else is', copy(100, 1)),
            ('compressed cluster 5 is past', entry(5, 1 << 62 | far)),
            ('compressed cluster 5 is where', entry(5, 1 << 62 | 100)),
            ('compressed cluster 6 is where', copy(6, 5)),
            (
                ' is where something else is',
                lambda i: i.put(i.entry(1), i.get(i.entry(5)) & 0xFFFFFFFE00),
            ),
        ):
            image = _make()
            spoil(image)
            error = self.assertRaises(errors.CorruptError, load, image)
            self.assertIn(part, str(error))
            self.assertIn('damaged', str(error))

    def test_a_compressed_cluster_into_another(self) -> None:
        image = _make()
        entry = image.get(image.entry(5))
        image.put(image.entry(5), entry + (1 << 61))
        # All of the sectors up to the end, and another one in between.
        image.file += bytes(8 * _C)
        self.assertRaises(errors.CorruptError, load, image)

    def test_cut_short(self) -> None:
        image = _make()
        for length in range(0, len(image.file), 37):
            short = qcow2s.Memory(image.file[:length])
            self.assertRaises(
                (errors.CorruptError, errors.TruncatedError),
                self._take_all,
                short,
            )

    def _take_all(self, file: qcow2s.Memory) -> None:
        cutter = scatter.Scatter(mapping.load(file, MIB))
        list(cutter.take(memoryview(file.file)))
        list(cutter.finish())

    def test_subclusters_that_contradict_themselves(self) -> None:
        image = qcow2s.make(
            {0: b'x' * 16384}, length=16384, bits=14, extended=True
        )
        at = image.entry(0)
        for first, second in (
            (image.get(at), 1 << 32 | 1),
            (0, 1),
            (image.get(at) | 1, 1),
        ):
            image.put(at, first).put(at + 8, second)
            self.assertRaises(errors.CorruptError, load, image)

    def test_zeros_before_there_was_a_flag_for_them(self) -> None:
        image = _make(version=2)
        image.put(image.entry(1), image.get(image.entry(1)) | 1)
        self.assertRaises(errors.CorruptError, load, image)
