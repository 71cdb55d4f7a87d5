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

"""A mirror that is silent or slow is not waited for where there is another.

The timeouts are long, so that none of them ends a wait here.
"""

from __future__ import annotations

import dataclasses
import os
import random
import socket
import time
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests.support import endpoints
from tests.support import engine

#: How many schedules are drawn; more for a longer run.
SCHEDULES = range(int(os.environ.get('FUEL_AGENT_CURL_SCHEDULES', '4')))

#: What each mirror but the best one may cost, in seconds; and what a busy
#: machine may.
EACH = 4.0
BUSY = 2.0

LENGTH = 8 * MIB + 77

PATIENT: dict[str, Any] = {
    'connect_timeout': 30,
    'first_byte_timeout': 30,
    'low_speed_time': 30,
    'attempts': 31,
    'backoff': 0.1,
    'backoff_max': 1,
    'segment_size': MIB,
    'chunk_size': 65536,
}

SILENT = faults.stall(0, in_head=True)


class HedgesTestCase(engine.EngineTestCase):
    """Two servers with the same image.

    :ivar mirror: the second one, which is well unless a test says otherwise.
    """

    def setUp(self) -> None:
        super().setUp()
        self.name(content=harmful.Pattern(LENGTH)[0:LENGTH])
        self.mirror = self.start_server()

    def download(self, url: str | None = None, **how: Any) -> engine.Outcome:
        how.setdefault('mirrors', [self.mirror.url()])
        self.mirror.requests.clear()
        self.server.requests.clear()
        return super().download(url, **{**PATIENT, **how})

    def assert_soon(self, *answers: Any, **how: Any) -> engine.Outcome:
        """It arrives, and no timeout is waited for."""
        began = time.monotonic()
        outcome = self.assert_arrives(*answers, **how)
        self.assertLess(time.monotonic() - began, 20)
        return outcome


class TestSilent(HedgesTestCase):
    def test_from_the_beginning(self) -> None:
        for checksum, silent in (
            (None, SILENT),
            (self.checksum(), faults.stall(30, in_head=True)),
            (None, faults.stall(0)),
        ):
            outcome = self.assert_soon(then=silent, checksum=checksum)
            self.assertEqual([None], self.server.ranges)
            self.assertEqual([None], self.mirror.ranges)
            self.assertEqual(LENGTH, outcome.stats.received)

    def test_with_several_connections(self) -> None:
        for checksum in (None, self.checksum()):
            outcome = self.assert_soon(
                then=SILENT, checksum=checksum, connections=4
            )
            self.assertEqual(1, len(self.server.requests))
            self.assertEqual(9, len(self.mirror.requests))
            self.assertEqual(LENGTH, outcome.stats.received)

    def test_nobody_accepts(self) -> None:
        with socket.create_server(('127.0.0.1', 0), backlog=0) as listener:
            # Its queue is full: a SYN more is not answered.
            held = []
            for _connection in range(3):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
                held.append(one)
            url = 'http://127.0.0.1:%d/image' % listener.getsockname()[1]
            outcome = self.assert_soon(url=url, mirrors=[self.server.url()])
            self.assertEqual(1, outcome.stats.mirrors[url].attempts)
            for one in held:
                one.close()

    def test_each_but_the_last(self) -> None:
        third = self.start_server()
        for server in (self.server, self.mirror):
            server.script(then=SILENT)
        outcome = self.assert_soon(
            then=SILENT, mirrors=[self.mirror.url(), third.url()]
        )
        self.assertEqual(3, outcome.stats.attempts)

    def test_in_the_middle(self) -> None:
        at = 3 * MIB
        outcome = self.assert_soon(faults.stall(at), checksum=self.checksum())
        self.assertEqual(['bytes=%d-' % at], self.mirror.ranges)
        self.assertEqual(LENGTH, outcome.stats.received)
        self.assertEqual(1, outcome.stats.stalls)

    def test_in_the_middle_without_a_checksum(self) -> None:
        # A tenth of all may come twice ...
        at = LENGTH // 10 - 65536
        outcome = self.assert_soon(faults.stall(at))
        self.assertEqual([None], self.mirror.ranges)
        self.assertLessEqual(outcome.stats.received, 1.1 * LENGTH)
        # ... but what is more is worth waiting for.
        outcome = self.assert_arrives(faults.stall(3 * MIB, 1.5))
        self.assertEqual([], self.mirror.requests)
        self.assertEqual(LENGTH, outcome.stats.received)

    def test_what_was_handed_on_is_compared(self) -> None:
        other = dataclasses.replace(
            self.image, content=harmful.Pattern(LENGTH, seed=1)[0:LENGTH]
        )
        self.mirror.representations['/image'] = other
        outcome = self.assert_arrives(
            faults.stall(8 * 65536, 4), low_speed_time=3
        )
        self.assertLess(0, len(self.mirror.requests))
        self.assert_same(self.content, outcome.data)

    def test_one_that_speaks_again_goes_on(self) -> None:
        self.mirror.script(then=faults.stall(0, 2, in_head=True))
        outcome = self.assert_soon(faults.stall(0, 1.6, in_head=True))
        self.assertEqual([None], self.mirror.ranges)
        self.assertEqual(LENGTH, outcome.stats.received)
        self.assertEqual(
            LENGTH, outcome.stats.mirrors[self.server.url()].received
        )

    def test_it_is_not_asked_without_need(self) -> None:
        self.assert_soon(faults.stall(0, 0.3))
        self.assertEqual([], self.mirror.requests)

    def test_other_fails_while_the_first_is_slow_to_begin(self) -> None:
        for harm in (
            faults.status(404),
            faults.status(503, retry_after=100),
            faults.reset(0, in_head=True),
        ):
            self.mirror.script(then=harm)
            outcome = self.assert_soon(faults.stall(0, 1.3, in_head=True))
            self.assertLessEqual(1, len(self.mirror.requests))
            self.assertLessEqual(len(self.mirror.requests), 4)
            self.assertEqual(LENGTH, outcome.stats.received)

    def test_permanent_error_of_both_is_one_request_each(self) -> None:
        self.mirror.script(then=faults.status(404))
        outcome = self.assert_fails(
            errors.StatusError,
            [faults.status(403), faults.stall(0, 1.6, in_head=True)],
        )
        self.assertEqual(1, len(self.server.requests))
        self.assertEqual(1, len(self.mirror.requests))
        self.assertEqual(b'', outcome.data)

    def test_first_fails_while_the_other_is_asked(self) -> None:
        self.mirror.script(then=faults.stall(0, 1.5, in_head=True))
        outcome = self.assert_soon(
            then=[faults.stall(0, 1.5, in_head=True), faults.status(404)],
        )
        self.assertEqual(1, len(self.server.requests))
        self.assertEqual(1, len(self.mirror.requests))
        self.assertEqual(LENGTH, outcome.stats.received)

    def test_empty_image(self) -> None:
        for answer in ((), faults.chunked(10)):
            self.name(content=b'')
            self.mirror.representations['/image'] = self.image
            self.mirror.script(then=answer)
            self.assert_soon(then=SILENT, checksum=self.checksum())

    def test_credentials_stay_with_their_origin(self) -> None:
        url = self.mirror.url().replace('http://', 'http://joe:secret@')
        self.mirror.script(then=SILENT)
        self.server.script(then=())
        outcome = self.download(url, mirrors=[self.server.url()])
        self.assert_same(self.content, outcome.data)
        for request in self.server.requests:
            self.assertIsNone(request.field('Authorization'))

    def test_that_ends_while_another_is_silent(self) -> None:
        """Nobody who says nothing is waited for in the place of a retry."""
        self.mirror.script(then=SILENT)
        outcome = self.assert_soon(
            [faults.stall(100_000, 2.5), faults.reset(200_000)],
            checksum=self.checksum(),
        )
        self.assertEqual(1, len(self.mirror.requests))
        self.assertEqual(
            ['started', 'retry', 'resumed'],
            [event.kind for event in outcome.events],
        )


class TestSlow(HedgesTestCase):
    def test_drips(self) -> None:
        for checksum, connections in ((None, 4), (self.checksum(), 1)):
            outcome = self.assert_soon(
                then=faults.trickle(20_000),
                checksum=checksum,
                connections=connections,
            )
            self.assertLessEqual(outcome.stats.received, 1.1 * LENGTH)

    def test_back_to_the_less_slow(self) -> None:
        self.name(content=self.content[: 3 * MIB])
        self.mirror.representations['/image'] = self.image
        self.mirror.script(then=faults.trickle(2_000))
        self.assert_arrives(
            then=faults.trickle(900_000), checksum=self.checksum()
        )
        self.assertLessEqual(len(self.mirror.requests), 2)
        self.assertLessEqual(len(self.server.requests), 3)

    def test_what_is_soon_there_is_waited_for(self) -> None:
        self.name(content=self.content[:MIB])
        self.assert_arrives(then=faults.trickle(400_000))
        self.assertEqual([], self.mirror.requests)

    def test_slow_consumer(self) -> None:
        with self.fetch(
            mirrors=[self.mirror.url()],
            **{**PATIENT, 'window_size': 262144, 'chunk_size': 65536},
        ) as download:
            for _chunk in range(30):
                next(download)
                time.sleep(0.1)
        self.assertEqual([], self.mirror.requests)

    def test_limited_rate(self) -> None:
        self.assert_arrives(max_recv_speed=2 * MIB)
        self.assertEqual([], self.mirror.requests)


class TestSlower(HedgesTestCase):
    """The first is well, and the other may be better."""

    def longer(self, length: int) -> None:
        self.name(content=harmful.Pattern(length)[0:length])
        self.mirror.representations['/image'] = self.image

    def test_faster_one_brings_the_rest(self) -> None:
        self.longer(20 * MIB)
        outcome = self.assert_soon(
            then=faults.trickle(2_500_000), checksum=self.checksum()
        )
        first, second = self.mirror.ranges
        # A sample of what is not there yet, and then all that is not.
        self.assertRegex(str(first), '^bytes=[0-9]{7,}-[0-9]{7,}$')
        self.assertRegex(str(second), '^bytes=[0-9]{7,}-$')
        self.assertLess(
            outcome.stats.mirrors[self.server.url()].received, 16 * MIB
        )
        self.assertLessEqual(outcome.stats.received, 1.02 * 20 * MIB)
        self.assertEqual(1, len(self.server.requests))
        self.assertEqual(0, outcome.stats.stalls)
        self.assertEqual(
            ['started', 'failover', 'resumed'],
            [event.kind for event in outcome.events],
        )

    def test_without_a_checksum_a_tenth_comes_again(self) -> None:
        length = 80 * MIB
        self.longer(length)
        outcome = self.assert_soon(then=faults.trickle(1_500_000))
        self.assertLess(
            outcome.stats.mirrors[self.server.url()].received, length // 10
        )
        self.assertLessEqual(outcome.stats.received, 1.1 * length)

    def test_slower_one_is_asked_once(self) -> None:
        self.longer(20 * MIB)
        self.mirror.script(then=faults.trickle(1_200_000))
        outcome = self.assert_soon(
            then=faults.trickle(2_500_000), checksum=self.checksum()
        )
        self.assertEqual(1, len(self.mirror.requests))
        self.assertEqual(1, len(self.server.requests))
        self.assertLessEqual(outcome.stats.received, 1.02 * 20 * MIB)

    def test_first_ends_while_a_sample_comes(self) -> None:
        self.longer(20 * MIB)
        self.mirror.script(faults.stall(1000))
        outcome = self.assert_soon(
            [faults.trickle(2_500_000), faults.cut(6 * MIB)],
            checksum=self.checksum(),
        )
        # Nothing of it is held against whoever gave it, nor is it asked again.
        self.assertEqual(1, len(self.mirror.requests))
        self.assertLessEqual(outcome.stats.received, 1.02 * 20 * MIB)
        self.assertEqual(0, outcome.stats.mirrors[self.mirror.url()].failures)

    def test_mirror_that_answers_no_sample(self) -> None:
        """It is as good as before when the first one fails."""
        self.longer(20 * MIB)
        for answer in (
            faults.status(503, retry_after=86400),
            faults.status(404),
            faults.cap_range(1000),
            faults.reset(1),
            faults.stall(1),
        ):
            self.mirror.script(answer)
            outcome = self.assert_soon(
                [faults.trickle(2_500_000), faults.cut(12 * MIB)],
                then=faults.status(404),
                checksum=self.checksum(),
            )
            # The sample, and the rest.
            self.assertEqual(2, len(self.mirror.requests))
            self.assertEqual(
                0, outcome.stats.mirrors[self.mirror.url()].failures
            )

    def test_better_one_that_is_late(self) -> None:
        """No more than a tenth comes twice, of what the first brings then."""
        length = 20 * MIB
        self.longer(length)
        for checksum in None, self.checksum():
            late = faults.stall(0, 3, in_head=True)
            self.mirror.script((), late, late)
            outcome = self.assert_soon(
                then=faults.trickle(2_500_000), checksum=checksum
            )
            self.assertLessEqual(outcome.stats.received, 1.1 * length)

    def test_better_one_beside_one_that_caps_its_ranges(self) -> None:
        """It is asked once, however short the parts are."""
        self.longer(20 * MIB)
        slower = faults.trickle(2_500_000)
        late = faults.stall(0, 0.4, in_head=True)
        self.mirror.script((), late, late)
        self.assert_soon(
            [slower, faults.cut(MIB)],
            then=[slower, faults.cap_range(300_000)],
            checksum=self.checksum(),
        )
        self.assertEqual(2, len(self.mirror.requests))

    def test_no_sample_of_a_server_in_use(self) -> None:
        """One connection more may be one too many there."""
        self.longer(20 * MIB)
        self.server.representations['/again'] = self.image
        self.assert_soon(
            then=faults.trickle(2_500_000),
            mirrors=[self.server.url('/again')],
            checksum=self.checksum(),
            requests=1,
        )

    def test_no_sample_beside_several_connections(self) -> None:
        self.longer(200 * MIB)
        self.server.script(then=faults.trickle(1_300_000))
        began = time.monotonic()
        with self.fetch(
            mirrors=[self.mirror.url()], **{**PATIENT, 'connections': 4}
        ) as download:
            while time.monotonic() < began + 4:
                next(download)
        self.assertEqual([], self.mirror.requests)


class TestAnySchedule(HedgesTestCase):
    """One mirror more is never worse, over sockets.

    Of the schedules of ``tests/unit/rules/test_mirrors.py`` those that show
    there only by what the engine does.
    """

    timeout = 600

    def mirror_of(self, dice: random.Random) -> tuple[str, str]:
        """Start a mirror; return what it does, and its URL."""
        at = dice.choice((1, 1000, 65536, LENGTH // 20, LENGTH // 2))
        kind = dice.choice(sorted(KINDS))
        if kind == 'refused':
            port = self.useFixture(endpoints.ClosedPort()).port
            return kind, 'http://127.0.0.1:%d/image' % port
        server = self.start_server()
        server.script(then=KINDS[kind](dice, at))
        return '%s at %d' % (kind, at), server.url()

    def wrong(self, dice: random.Random) -> str:
        """Start a mirror of another length; return its URL."""
        length = LENGTH + dice.choice((-1, 1, -LENGTH + 5))
        other = harmful.Pattern(length, seed=1)[0:length]
        image = dataclasses.replace(self.image, content=other, etag='"2"')
        return self.start_server(image).url()

    def timed(self, urls: list[str], **how: Any) -> Any:
        began = time.monotonic()
        outcome = self.download(urls[0], mirrors=urls[1:], **how)
        return time.monotonic() - began, outcome

    def test_list_is_as_good_as_the_best_alone(self) -> None:
        for seed in SCHEDULES:
            dice = random.Random(seed)
            well = self.start_server()
            checksum = dice.choice((None, self.checksum()))
            how = {
                'connections': dice.choice((1, 4)),
                'checksum': checksum,
                'low_speed_time': 3,
                'first_byte_timeout': 5,
                'connect_timeout': 5,
            }
            others = [
                self.mirror_of(dice) for _one in range(dice.choice((1, 2)))
            ]
            wrong = [self.wrong(dice)] if dice.random() < 0.3 else []
            place = dice.randrange(len(others) + 1)
            urls = [url for _kind, url in others]
            urls.insert(place, well.url())
            # Of two that differ the first is right, as nothing says otherwise.
            urls += wrong
            what = 'seed %d: %s, well in place %d, %s' % (
                seed,
                others,
                place,
                how,
            )
            best, outcome = self.timed([well.url()], **how)
            self.assertIsNone(outcome.error, what)
            took, outcome = self.timed(urls, **how)
            what += ': %.1f s, %d bytes, %s' % (
                took,
                outcome.stats.received,
                outcome.events,
            )
            self.assertIsNone(outcome.error, what)
            self.assertTrue(outcome.data == self.content, what)
            most, seconds = 1.1 * LENGTH, 1.1 * best
            if checksum is None:
                # What is lost comes again, after a stall or two.
                most += len(others) * LENGTH
                seconds += 6
            self.assertLessEqual(outcome.stats.received, most + MIB, what)
            self.assertLessEqual(
                took, seconds + EACH * len(urls[1:]) + BUSY, what
            )


KINDS: dict[str, Any] = {
    'well': lambda dice, at: (),
    'refused': None,
    'silent': lambda dice, at: SILENT,
    'silent in the head': lambda dice, at: faults.stall(20, in_head=True),
    'silent after the head': lambda dice, at: faults.stall(0),
    'silent in the body': lambda dice, at: faults.stall(at),
    'cut': lambda dice, at: faults.cut(at),
    'reset': lambda dice, at: faults.reset(at),
    'slow': lambda dice, at: faults.trickle(dice.choice((5_000, 200_000))),
    'slower': lambda dice, at: faults.trickle(
        dice.choice((1_500_000, 4_000_000))
    ),
    'slow later': lambda dice, at: faults.trickle(5_000, at),
    '404': lambda dice, at: faults.status(404),
    '503': lambda dice, at: faults.status(503),
    '503 and when': lambda dice, at: faults.status(
        503, retry_after=dice.choice((1, 100))
    ),
    'garbage': lambda dice, at: faults.head(b'garbage\r\n\r\n'),
    'no ranges': lambda dice, at: faults.ignore_range(),
    'slow to begin': lambda dice, at: faults.stall(0, 1.5, in_head=True),
}
