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

"""Faults in any number and order: the bytes are right, and all of them.

What no test names. The scenarios are drawn from a seed, so that a failure
comes again; a longer run is a matter of more seeds.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import engine

LENGTH = 300_023


class TestAnyFaults(engine.EngineTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.whole = harmful.Pattern(LENGTH)[0:LENGTH]

    def settings(self, dice: random.Random) -> dict[str, Any]:
        return {
            'connections': dice.choice((1, 1, 3)),
            'segment_size': 65536,
            'chunk_size': dice.choice((1009, 4096, 65536)),
            'low_speed_time': 0.2,
            'attempts': 12,
            'backoff': 0.005,
            'backoff_max': 0.01,
        }

    def image_of(self, dice: random.Random) -> harmful.Representation:
        image = harmful.Representation(self.whole)
        return dataclasses.replace(
            image,
            etag=dice.choice((image.etag, image.etag, None, 'W/"1"')),
            last_modified=dice.choice((image.last_modified, None)),
            ranges=dice.random() < 0.8,
        )

    def answer(self, dice: random.Random) -> list[faults.Fault]:
        """Return one to three faults that do not cancel each other."""
        at = dice.choice(
            (0, 1, dice.randrange(3000), dice.randrange(LENGTH), LENGTH)
        )
        label = 'bytes {first}-{last}/{length}'
        ranges = [
            faults.ignore_range(),
            faults.ignore_if_range(),
            faults.refuse_if_range(),
            faults.cap_range(90_000),
            faults.move_range(dice.choice((-1, -100, -5000, 1, 100))),
            faults.force_range('bytes=%d-' % at),
        ]
        fields = [
            faults.content_range(
                dice.choice((None, 'x', 'bytes {first}-{last}/*'))
            ),
            faults.content_range(label, dice.choice((-100, -1, 1, 100))),
            faults.multipart(),
            faults.chunked(7777),
            faults.chunked(7777, ended=False),
            faults.content_length('x'),
            faults.more_field('Content-Length', '3'),
            faults.field('ETag', dice.choice((None, 'W/"1"'))),
            faults.field('Last-Modified', None),
            faults.field('Date', None),
            faults.field('Accept-Ranges', None),
            faults.status(dice.choice((408, 416, 429, 500, 503))),
        ]
        ends = [
            faults.cut(at),
            faults.reset(at),
            faults.stall(at),
            faults.stall(at, 0.05),
            faults.cut(at % 200, in_head=True),
            faults.stall(at % 200, in_head=True),
            faults.head(b'garbage\r\n\r\n'),
            faults.endless_head(),
            faults.before(b'HTTP/1.1 103 Early Hints\r\n\r\n'),
        ]
        groups = (ranges, fields, ends)
        chosen = sorted(dice.sample(range(3), dice.choice((1, 1, 2, 3))))
        return [dice.choice(groups[number]) for number in chosen]

    def test_of_one_representation(self) -> None:
        for seed in range(60):
            dice = random.Random(seed)
            server = self.start_server(self.image_of(dice))
            answers = [self.answer(dice) for _ in range(dice.randrange(1, 7))]
            server.script(*answers)
            outcome = self.download(server.url(), **self.settings(dice))
            self.assertIsNone(outcome.error, 'seed %d' % seed)
            self.assertTrue(outcome.data == self.whole, 'seed %d' % seed)

    def test_of_two_representations(self) -> None:
        for seed in range(60):
            dice = random.Random(seed)
            image = self.image_of(dice)
            length = dice.choice((LENGTH, LENGTH - 1, LENGTH + 1, 1000))
            other = dataclasses.replace(
                image,
                content=harmful.Pattern(length, seed=1)[0:length],
                etag=image.etag and image.etag.replace('1', '2'),
                last_modified=image.last_modified
                and image.last_modified.replace('01 Jan', '02 Jan'),
            )
            server = self.start_server(image)
            answers = [
                [*dice.choice(([], [faults.serve(other)])), *self.answer(dice)]
                for _ in range(dice.randrange(1, 7))
            ]
            last = dice.choice(([], [faults.serve(other)]))
            server.script(*answers, then=last)
            outcome = self.download(server.url(), **self.settings(dice))
            wholes = (self.whole, other.content[0:length])
            if outcome.error is None:
                self.assertTrue(
                    any(outcome.data == whole for whole in wholes),
                    'seed %d' % seed,
                )
                continue
            self.assertIsInstance(
                outcome.error, errors.RepresentationChanged, 'seed %d' % seed
            )
            self.assertTrue(
                any(whole.startswith(outcome.data) for whole in wholes),
                'seed %d' % seed,
            )
