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

"""Through the caches of the fleet guide: nginx with slices, and squid."""

from __future__ import annotations

import threading
from typing import Any
import urllib.request

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests.support import caches
from tests.support import engine

#: As the guide has it; the segments of a download are as long.
SLICE = 4 * MIB
SLICES = 6
LENGTH = (SLICES - 1) * SLICE + 17

#: What the guide has the nodes set.
NODE: dict[str, Any] = {'connections': 4}


class _CacheTestCase(engine.EngineTestCase):
    """The harmful server is the origin."""

    def setUp(self) -> None:
        super().setUp()
        self.name(content=harmful.Pattern(LENGTH))

    def fetch(self, url: str | None = None, **how: Any) -> Any:
        # An origin that is silent is the cache's to notice.
        how = {'chunk_size': MIB, 'low_speed_time': 20, **how}
        return super().fetch(url, **how)


class TestNginxSlices(_CacheTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_program('nginx')
        self.start_cache()

    def start_cache(self, changes: dict[str, str] | None = None) -> None:
        fixture = caches.NginxCache(self.server.port, changes)
        self.cache = self.useFixture(fixture).server
        self.url = self.cache.url + '/image'

    def assert_asked_once(self) -> None:
        """The origin was asked for each slice, and for none twice."""
        expected = [
            'bytes=%d-%d' % (start, start + SLICE - 1)
            for start in range(0, LENGTH, SLICE)
        ]
        self.assertEqual(SLICES, len(expected))
        asked = [str(text) for text in self.server.ranges]
        self.assertEqual(sorted(expected), sorted(asked))

    def test_several_connections(self) -> None:
        self.assert_arrives(url=self.url, **NODE)
        self.assert_asked_once()
        self.assert_arrives(url=self.url, **NODE)
        self.assert_asked_once()

    def test_one_connection(self) -> None:
        self.assert_arrives(url=self.url)
        self.assert_asked_once()
        # They are all there now.
        self.assert_arrives(url=self.url, **NODE)
        self.assert_asked_once()

    def test_segments_that_do_not_fit_the_slices(self) -> None:
        self.assert_arrives(url=self.url, **NODE, segment_size=3 * MIB)
        # The lock keeps two segments from fetching what they share.
        self.assert_asked_once()

    def test_origin_that_hesitates_is_not_overrun(self) -> None:
        # For longer than nginx lets requests wait for each other, unless it
        # is told otherwise.
        self.server.script((), faults.stall(1000, 6))
        outcomes: list[engine.Outcome] = []
        threads = [
            threading.Thread(
                target=lambda: outcomes.append(self.download(self.url, **NODE))
            )
            for _node in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for outcome in outcomes:
            self.assertIsNone(outcome.error)
            self.assert_same(self.content, outcome.data)
        self.assertEqual(4, len(outcomes))
        self.assert_asked_once()

    #: What may happen to a slice on its way from the origin.
    HARMS: tuple[faults.Fault, ...] = (
        faults.cut(5000),
        faults.reset(5000),
        faults.cut(0, in_head=True),
        faults.stall(5000),
        faults.status(503),
        faults.status(429),
    )

    def test_origin_that_fails(self) -> None:
        self.start_cache({'proxy_read_timeout 15s': 'proxy_read_timeout 1s'})
        for number, harm in enumerate(self.HARMS):
            self.server.requests.clear()
            self.assert_arrives(
                *((), (), harm, (), harm),
                # Another image, as far as the cache knows.
                url='%s?%d' % (self.url, number),
                **NODE,
            )
            # Again for those two, and no more.
            self.assertLessEqual(len(self.server.requests), SLICES + 2)

    def test_a_hole_is_found_by_the_checksum(self) -> None:
        # nginx puts one answer together from many slices, and does not mind
        # when one of them ends early.
        self.start_cache({'proxy_read_timeout 15s': 'proxy_read_timeout 1s'})
        for number, harm in enumerate((faults.cut(5000), faults.stall(5000))):
            self.server.script((), (), harm)
            outcome = self.download(
                '%s?%d' % (self.url, number),
                checksum=self.checksum(),
                # Then it is silent: it has less than it announced.
                low_speed_time=1.5,
            )
            if outcome.error is None:
                self.assert_same(self.content, outcome.data)
            else:
                self.assertIsInstance(outcome.error, errors.DigestMismatch)

    def test_killed_and_started_again(self) -> None:
        for how in ({}, NODE):
            self.server.requests.clear()
            url = '%s?%d' % (self.url, len(how))
            with self.fetch(url, backoff=0.1, attempts=0, **how) as download:
                chunks = [next(download)]
                self.cache.kill()
                self.cache.start()
                chunks += download
            self.assert_same(self.content, b''.join(chunks))
            # What was whole stays; what was on its way is fetched again.
            self.assertLessEqual(len(self.server.ranges), SLICES + 4)

    def test_image_that_is_replaced(self) -> None:
        first = urllib.request.Request(
            self.url, headers={'Range': 'bytes=0-%d' % (SLICE - 1)}
        )
        with urllib.request.urlopen(first) as answer:
            old = answer.read()
        self.assert_same(self.content[:SLICE], old)
        self.name(content=harmful.Pattern(LENGTH, seed=1), etag='"2"')
        # The cache has the beginning of one, and gets the rest of another.
        # nginx may hang up on an If-Range that does not hold.
        outcome = self.download(self.url, **NODE)
        self.assertIsInstance(
            outcome.error,
            (errors.RepresentationChanged, errors.AttemptsExhausted),
        )
        self.assert_same(old[: len(outcome.data)], outcome.data)


class TestSquidCache(_CacheTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_program('squid')
        self.squid = self.useFixture(caches.Squid(None)).server

    def test_the_image_is_fetched_once(self) -> None:
        self.assert_arrives(proxy=self.squid.url, requests=1)
        self.assert_arrives(proxy=self.squid.url, requests=1, **NODE)

    def test_segments_do_not_keep_it_from_being_cached(self) -> None:
        self.assert_arrives(proxy=self.squid.url, **NODE)
        # Each for all of it, and all but one answered by "not modified".
        self.assertEqual({None}, set(self.server.ranges))
        before = len(self.server.requests)
        self.assert_arrives(proxy=self.squid.url, requests=before, **NODE)

    def test_origin_that_breaks_off(self) -> None:
        self.assert_arrives(
            *(faults.cut(3 * MIB), faults.reset(5 * MIB)),
            proxy=self.squid.url,
        )
        self.assert_arrives(proxy=self.squid.url, **NODE)
