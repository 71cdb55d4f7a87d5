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

from __future__ import annotations

import math

import pycurl

from fuel_agent_curl.config import settings
from fuel_agent_curl.engine import address
from fuel_agent_curl.engine import easy
from fuel_agent_curl.engine import multi
from fuel_agent_curl.engine import window
from fuel_agent_curl.rules import head
from fuel_agent_curl.rules import segments
from tests import base


class Receiver:
    """Takes an answer, of which no byte comes."""

    received = 0

    def __init__(self) -> None:
        self.cursor = window.Cursor()
        self.heads: list[head.Head] = []

    def head(self, head: head.Head) -> None:
        self.heads.append(head)

    def write(self, piece: memoryview) -> bool:
        raise NotImplementedError


class LoopTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.loop = multi.Loop()
        self.addCleanup(self.loop.close)
        self.receiver = Receiver()

    def attempt(self) -> easy.Attempt:
        attempt = easy.Attempt(
            address.read('http://server.invalid/'),
            segments.Request(),
            settings.Settings(),
            self.receiver,
            self.loop.memory,
        )
        self.addCleanup(attempt.close)
        return attempt


class TestPools(LoopTestCase):
    def test_one_that_was_left_is_closed(self) -> None:
        self.leave()
        self.loop.turn(0)
        self.assertEqual(1, len(self.loop._pools))

    def test_not_while_a_name_may_be_looked_up(self) -> None:
        left = self.leave()
        left.resolved = math.inf
        self.loop.turn(0)
        self.assertEqual(2, len(self.loop._pools))
        left.resolved = 0.0
        self.loop.turn(0)
        self.assertEqual(1, len(self.loop._pools))

    def leave(self) -> multi._Pool:
        """Have the pool left that attempts are in."""
        left = self.loop._pools[0]
        self.loop._pools.append(multi._Pool(self.loop._selector))
        return left

    def test_a_lookup_has_an_end(self) -> None:
        attempt = self.attempt()
        self.loop.add(attempt)
        self.loop._take_out(attempt)
        self.assertLess(self.loop._pools[0].resolved, math.inf)


class TestRedirect(LoopTestCase):
    def test_is_no_bad_status(self) -> None:
        attempt = self.attempt()
        attempt._connected('192.0.2.1', '', 80)
        for line in (
            b'HTTP/1.1 302 Found\r\n',
            b'Location: /other\r\n',
            b'\r\n',
        ):
            attempt._header(line)
        self.assertTrue(attempt.redirected)
        self.assertIsNone(attempt.bad_status())
        self.assertEqual([], self.receiver.heads)


class TestMemory(LoopTestCase):
    def test_cookies_have_a_bound(self) -> None:
        held = []
        for name in 'abcd':
            # libcurl takes no more than fifty from one answer.
            handle = self.attempt().handle
            for number in range(30):
                line = 'Set-Cookie: %s%d=v; Domain=a.test' % (name, number)
                handle.setopt(pycurl.COOKIELIST, line)
            self.loop.memory.bound(handle)
            held.append(len(handle.getinfo(pycurl.INFO_COOKIELIST)))
        self.assertEqual([30, 60, 90, 0], held)
