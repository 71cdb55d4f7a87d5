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

"""Faults in any number and order, of many connections and mirrors.

As ``test_any_faults``, with what several connections and mirrors add.
"""

from __future__ import annotations

import dataclasses
import os
import random
import threading
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import metalink
from tests.support import segmented
from tests.support.segmented import LENGTH

#: How many scenarios are drawn; more for a longer run.
SEEDS = range(int(os.environ.get('FUEL_AGENT_CURL_SEEDS', '6')))

PIECE = 10_000


class AnyFault:
    """A fault: each request is answered with one of many, or with none.

    :param likely: how often it is one, from 0 to 1.
    :param most: how many there are at the most.
    """

    def __init__(self, dice: random.Random, likely: float, most: int) -> None:
        self._dice = dice
        self._likely = likely
        self._most = most
        self._lock = threading.Lock()

    def __call__(self, handler: faults.Handler) -> faults.Handler:
        def handle(
            request: harmful.Request, image: harmful.Representation
        ) -> harmful.Reply:
            with self._lock:
                spoils = self._choose()
            return faults.spoiled(spoils, handler)(request, image)

        return handle

    def _choose(self) -> list[faults.Fault]:
        dice = self._dice
        if not self._most or dice.random() > self._likely:
            return []
        self._most -= 1
        at = dice.choice((0, 1, 4096, dice.randrange(65536), 65536))
        label = 'bytes {first}-{last}/{length}'
        return [
            dice.choice(
                (
                    faults.cut(at),
                    faults.reset(at),
                    faults.stall(at),
                    faults.stall(at, 0.1),
                    faults.trickle(dice.choice((50_000, 500_000)), at),
                    faults.cut(at % 200, in_head=True),
                    faults.stall(at % 200, in_head=True),
                    faults.status(dice.choice((408, 416, 429, 500, 503))),
                    faults.head(b'garbage\r\n\r\n'),
                    faults.ignore_range(),
                    faults.refuse_if_range(),
                    faults.move_range(dice.choice((-5000, -20, -1, 1))),
                    faults.content_range(dice.choice((None, 'bytes */*'))),
                    faults.content_range(label, dice.choice((-100, 1))),
                    faults.multipart(),
                    faults.chunked(7777, ended=dice.random() < 0.5),
                    faults.field('ETag', None),
                    faults.field('Last-Modified', None),
                )
            )
        ]


class TestAnyFaults(segmented.SegmentsTestCase):
    def settings(self, dice: random.Random) -> dict[str, Any]:
        return {
            'connections': dice.choice((1, 2, 4, 16)),
            'chunk_size': dice.choice((1009, 4096, 65536)),
            'window_size': dice.choice((1 << 18, 1 << 26)),
            'low_speed_time': 0.25,
            'attempts': 15,
            'backoff': 0.005,
            'backoff_max': 0.01,
        }

    def start(
        self, dice: random.Random, images: list[harmful.Representation]
    ) -> list[str]:
        """Start a server for each image; return the URLs."""
        urls = []
        for image in images:
            server = self.start_server(image)
            server.script(then=AnyFault(dice, 0.4, dice.randrange(12)))
            urls.append(server.url())
        return urls

    def image_of(self, dice: random.Random) -> harmful.Representation:
        return dataclasses.replace(
            self.image,
            etag=dice.choice(('"1"', '"1"', 'W/"1"', None)),
            last_modified=dice.choice((self.image.last_modified, None)),
            ranges=dice.random() < 0.85,
        )

    def test_mirrors_of_one_image(self) -> None:
        for seed in SEEDS:
            dice = random.Random(seed)
            images = [self.image_of(dice) for _ in range(dice.choice((1, 3)))]
            url, *mirrors = self.start(dice, images)
            outcome = self.download(
                url,
                mirrors=mirrors,
                checksum=dice.choice((None, self.checksum())),
                **self.settings(dice),
            )
            self.assertIsNone(outcome.error, 'seed %d' % seed)
            self.assertTrue(outcome.data == self.content, 'seed %d' % seed)

    def test_mirrors_that_differ(self) -> None:
        """Without a checksum, nothing is mixed of the two images."""
        for seed in SEEDS:
            dice = random.Random(seed)
            begin = dice.choice((0, 5000, 100_000))
            length = LENGTH + dice.choice((0, 0, 0, 1, -1))
            other = self.content[:begin] + bytes(
                harmful.Pattern(length, seed=1)[begin:length]
            )
            images = []
            for content in dice.sample((self.content, other), 2):
                image = self.image_of(dice)
                images.append(dataclasses.replace(image, content=content))
            url, mirror = self.start(dice, images)
            outcome = self.download(
                url, mirrors=[mirror], **self.settings(dice)
            )
            wholes = (self.content, other)
            if outcome.error is None:
                same = [outcome.data == whole for whole in wholes]
                self.assertTrue(any(same), 'seed %d' % seed)
            else:
                self.assertIsInstance(
                    outcome.error,
                    (errors.RepresentationChanged, errors.AttemptsExhausted),
                    'seed %d' % seed,
                )
                self.assertTrue(
                    any(whole.startswith(outcome.data) for whole in wholes),
                    'seed %d' % seed,
                )

    def test_pieces_that_differ(self) -> None:
        """With piece hashes, each piece comes from where it is right."""
        library = self.start_server()
        for seed in SEEDS:
            dice = random.Random(seed)
            images = [self.image_of(dice)]
            for _mirror in range(dice.choice((1, 2))):
                spoilt = bytearray(self.content)
                for _flip in range(dice.randrange(8)):
                    spoilt[dice.randrange(LENGTH)] ^= 1
                image = self.image_of(dice)
                images.append(
                    dataclasses.replace(image, content=bytes(spoilt))
                )
            urls = self.start(dice, images)
            dice.shuffle(urls)
            library.representations['/image.meta4'] = harmful.Representation(
                metalink.document(
                    self.content, urls, piece=PIECE, whole=dice.random() < 0.5
                )
            )
            outcome = self.download(
                library.url('/image.meta4'), **self.settings(dice)
            )
            self.assertIsNone(outcome.error, 'seed %d' % seed)
            self.assertTrue(outcome.data == self.content, 'seed %d' % seed)
