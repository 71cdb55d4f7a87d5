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

"""Answers that look better than they are, and those that never end."""

from __future__ import annotations

from fuel_agent_curl import errors
from fuel_agent_curl.harmful import faults
from tests.support import engine


class TestAnswers(engine.EngineTestCase):
    def test_a_part_sent_as_a_whole(self) -> None:
        """Some proxies make a 200 of a 206."""
        part = [
            faults.status(200),
            faults.field('Content-Range', 'bytes 0-99/50021'),
            faults.content_length('100'),
            faults.body(bytes(100)),
        ]
        for connections in 1, 4:
            outcome = self.assert_arrives(part, connections=connections)
            self.assertEqual([errors.ContentRangeError], outcome.retries)

    def test_a_body_cut_short_beside_the_identity_coding(self) -> None:
        coding = faults.field('Transfer-Encoding', 'identity')
        outcome = self.assert_arrives([faults.cut(20000), coding], requests=2)
        self.assertEqual([errors.ReceiveError], outcome.retries)

    def test_what_follows_a_capped_part_does_not_hold_it_up(self) -> None:
        endless = [
            faults.cap_range(1000),
            faults.field('Content-Length', None),
            faults.trickle(500000, 1000),
        ]
        self.assert_arrives(
            [faults.cut(20000)], endless, ranges=[None, 20000, 21000]
        )

    def test_a_window_smaller_than_the_segments_asked_for(self) -> None:
        for size in 64, 512:
            self.assert_arrives(connections=4, window_size=size * 1024)

    def test_a_byte_a_chunk_costs_no_more_than_it_has_to(self) -> None:
        outcome = self.assert_arrives(chunk_size=1)
        self.assertEqual(len(self.content), len(outcome.data))


class TestHeadersGiven(engine.EngineTestCase):
    def test_do_not_go_to_another_server(self) -> None:
        other = self.start_server()
        self.server.script(then=[faults.redirect(other.url())])
        outcome = self.download(
            headers=('X-Auth-Token: secret', 'Authorization: Bearer secret')
        )
        self.assertIsNone(outcome.error)
        self.assert_same(self.content, outcome.data)
        for request in self.server.requests:
            self.assertIn('secret', str(request.fields))
        self.assertEqual(1, len(other.requests))
        self.assertNotIn('secret', str(other.requests[0].fields))

    def test_sent_on_to_what_is_no_url_is_the_end(self) -> None:
        self.server.script(then=[faults.redirect('http://u:p@a b/')])
        outcome = self.download(headers=('X-Auth: secret',))
        self.assertIsInstance(outcome.error, errors.Error)
        self.assertLessEqual(len(self.server.requests), 4)

    def test_go_along_on_the_same_server(self) -> None:
        self.server.script([faults.redirect('/image')], then=[])
        self.assertIsNone(self.download(headers=('X-Auth: secret',)).error)
        self.assertEqual(2, len(self.server.requests))
        for request in self.server.requests:
            self.assertIn('secret', str(request.fields))
