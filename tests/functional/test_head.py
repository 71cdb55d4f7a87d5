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

"""Heads that are wrong, and bodies framed in every way."""

from __future__ import annotations

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import engine

OK = b'HTTP/1.1 200 OK\r\n'


class TestHead(engine.EngineTestCase):
    def test_garbage_is_asked_again(self) -> None:
        for garbage in (
            b'garbage\r\n\r\n',
            b'\x00\x01\x02\x03' * 100,
            b'\r\n\r\n',
            b'HTTP/1.1\r\n\r\n',
            b'HTTP/1.1 abc OK\r\n\r\n',
            b'HTTP/1.1 2000 OK\r\n\r\n',
            b'HTTP/1.1 20 OK\r\n\r\n',
            b'HTTP/1.1 099 Odd\r\n\r\n',
            b'HTTP/7.3 200 OK\r\n\r\n',
            b'ICY 200 OK\r\n\r\n',
            b'SSH-2.0-OpenSSH_9.2p1\r\n',
            b'<html>not found</html>\n',
        ):
            self.server.requests.clear()
            self.assert_arrives(faults.head(garbage), requests=2)

    def test_garbage_for_good_uses_up_the_attempts(self) -> None:
        self.assert_gives_up(
            errors.ProtocolError, faults.head(b'garbage\r\n\r\n'), requests=4
        )

    def test_http_0_9_is_refused(self) -> None:
        self.assert_arrives(faults.head(), requests=2)

    def test_empty_reply_is_asked_again(self) -> None:
        self.assert_arrives(faults.cut(0, in_head=True), requests=2)
        self.server.requests.clear()
        self.assert_arrives(faults.reset(0, in_head=True), requests=2)

    def test_empty_reply_for_good_uses_up_the_attempts(self) -> None:
        self.assert_gives_up(
            errors.ReceiveError, faults.cut(0, in_head=True), requests=4
        )

    def test_head_that_is_cut_is_asked_again(self) -> None:
        for at in (1, 8, 15, 16, 17, 30, 60, 100, 150):
            for harm in (faults.cut, faults.reset):
                self.server.requests.clear()
                self.assert_arrives(harm(at, in_head=True), requests=2)

    def test_head_that_is_cut_on_a_resume_keeps_the_offset(self) -> None:
        self.assert_arrives(
            faults.cut(9000),
            faults.cut(20, in_head=True),
            ranges=[None, 9000, 9000],
        )

    def test_head_without_end_is_asked_again(self) -> None:
        self.assert_arrives(faults.endless_head(), requests=2)

    def test_head_without_end_for_good_uses_up_the_attempts(self) -> None:
        self.assert_gives_up(
            errors.ProtocolError, faults.endless_head(), attempts=2, requests=2
        )

    def test_one_oversized_field_is_asked_again(self) -> None:
        self.assert_arrives(
            faults.field('X-Large', 'x' * 2_000_000), requests=2
        )

    def test_many_fields_are_no_fault(self) -> None:
        self.assert_arrives(
            [faults.more_field('X-%d' % n, 'y' * 100) for n in range(300)],
            requests=1,
        )

    def test_interim_heads_are_passed_over(self) -> None:
        interim = b'HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n'
        self.assert_arrives(faults.before(interim * 5), requests=1)
        self.server.requests.clear()
        self.assert_arrives(
            faults.before(b'HTTP/1.1 100 Continue\r\n\r\n'), requests=1
        )

    def test_interim_heads_without_end_do_not_hang(self) -> None:
        interim = b'HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n'
        self.assert_arrives(faults.before(*[interim * 1000] * 5000))
        self.assertEqual(2, len(self.server.requests))

    def test_fields_in_odd_forms_are_read(self) -> None:
        for reply in (
            b'HTTP/1.1 200\r\ncontent-length: 5\r\n\r\n',
            b'HTTP/1.1 200 OK\nContent-Length: 5\n\n',
            b'HTTP/1.1 200 OK\r\nCONTENT-LENGTH:5\r\n\r\n',
            b'HTTP/1.1 200 OK\r\nContent-Length: 5 \t\r\n\r\n',
            b'HTTP/1.1 200 OK\r\nContent-Length: 05\r\n\r\n',
            b'HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\n',
            b'HTTP/1.1 200 \xff\xfe\r\nX: \xff\r\nContent-Length: 5\r\n\r\n',
            b'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n',
            b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n'
            b'Content-Length: 5\r\n\r\n',
            b'HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n',
        ):
            self.server.requests.clear()
            self.assert_arrives(
                [faults.head(reply), faults.body(b'12345')],
                content=b'12345',
                requests=1,
            )


class TestFraming(engine.EngineTestCase):
    def test_wrong_length_field_is_an_error(self) -> None:
        for value in (
            'abc',
            '-5',
            '+5',
            '0x10',
            '5.0',
            '1e3',
            '5 5',
            '99999999999999999999',
            '9' * 400,
            '5;',
            '5, 6',
            '18446744073709551617',
        ):
            self.server.requests.clear()
            self.assert_gives_up(
                errors.ContentLengthError,
                faults.field('Content-Length', value),
                attempts=2,
                requests=2,
            )

    def test_conflicting_lengths_are_an_error(self) -> None:
        self.assert_gives_up(
            errors.ContentLengthError,
            faults.more_field('Content-Length', '5'),
            requests=4,
        )

    def test_wrong_length_field_once_is_asked_again(self) -> None:
        self.assert_arrives(
            faults.field('Content-Length', '-5'),
            faults.more_field('Content-Length', '7'),
            requests=3,
        )

    def test_wrong_length_field_on_a_resume_is_asked_again(self) -> None:
        self.assert_arrives(
            faults.cut(9000),
            faults.more_field('Content-Length', '7'),
            ranges=[None, 9000, 9000],
        )

    def test_body_shorter_than_its_length_is_resumed(self) -> None:
        self.assert_arrives(
            [faults.body(self.content[:7000]), faults.cut(None)],
            ranges=[None, 7000],
        )

    def test_length_larger_than_the_representation_is_an_error(self) -> None:
        # The first answer promises more than there is; the next says so.
        outcome = self.assert_fails(
            errors.RepresentationChanged,
            faults.content_length(str(engine.LENGTH + 10)),
            then=(),
        )
        self.assertLessEqual(len(outcome.data), engine.LENGTH)

    def test_bytes_after_the_body_are_dropped(self) -> None:
        self.assert_arrives(
            faults.body(self.content, b'and more', harmful.Ending.CLOSE),
            requests=1,
        )

    def test_chunked_body_arrives_without_a_length(self) -> None:
        for length in (1, 7, 1000, 65536, 10**6):
            self.server.requests.clear()
            self.server.script([faults.chunked(length), faults.stall(9, 0.2)])
            with self.fetch() as download:
                self.assertIsNone(download.length)
                data = b''.join(download)
                self.assertEqual(engine.LENGTH, download.length)
            self.assert_same(self.content, data)
            self.assertEqual(1, len(self.server.requests))

    def test_chunked_body_cut_short_is_resumed(self) -> None:
        for at in (0, 1, 5, 1000, 1007, 1014, 20000):
            for harm in (faults.cut, faults.reset):
                self.server.requests.clear()
                self.assert_arrives([faults.chunked(), harm(at)], requests=2)

    def test_chunked_body_without_its_last_chunk_is_not_complete(
        self,
    ) -> None:
        self.assert_arrives(faults.chunked(ended=False))
        self.assertGreater(len(self.server.requests), 1)

    def test_chunked_resume_of_a_chunked_body(self) -> None:
        self.assert_arrives(
            [faults.chunked(), faults.cut(5035)],
            [faults.chunked(), faults.cut(7049)],
            then=faults.chunked(),
            ranges=[None, 5000, 12000],
        )

    def test_wrong_chunk_is_resumed(self) -> None:
        more = self.content[1000:1005]
        for chunk in (
            b'xyz\r\n',
            b'-5\r\n12345\r\n',
            b'5\r\n%sZ\r\n' % more,
            b'ffffffffffffffffff\r\n',
            b'\r\n\r\n',
            b'5' * 500,
        ):
            self.server.requests.clear()
            good = b'3e8\r\n' + self.content[:1000] + b'\r\n'
            self.server.script(
                [
                    faults.field('Content-Length', None),
                    faults.field('Transfer-Encoding', 'chunked'),
                    faults.body(good, chunk, harmful.Ending.CLOSE),
                ]
            )
            outcome = self.download()
            self.assertIsNone(outcome.error, ascii(chunk))
            self.assert_same(self.content, outcome.data)

    def test_trailers_change_nothing(self) -> None:
        body = b'%x\r\n%s\r\n0\r\nContent-Length: 5\r\nETag: "2"\r\n\r\n'
        self.assert_arrives(
            [
                faults.field('Content-Length', None),
                faults.field('Transfer-Encoding', 'chunked'),
                faults.body(body % (engine.LENGTH, self.content)),
            ],
            requests=1,
        )

    def test_chunked_coding_counts_and_length_does_not(self) -> None:
        # RFC 9112 section 6.3: Transfer-Encoding overrides.
        self.assert_arrives(
            [faults.chunked(), faults.field('Content-Length', '17')],
            requests=1,
        )

    def test_unknown_transfer_coding_is_an_error(self) -> None:
        for coding in ('gzip', 'gzip, chunked', 'nonsense'):
            self.server.script(
                then=[
                    faults.chunked(),
                    faults.field('Transfer-Encoding', coding),
                ]
            )
            outcome = self.download(attempts=2)
            self.assertIsInstance(outcome.error, errors.Error, coding)
            self.assertEqual(b'', outcome.data)

    def test_unasked_content_coding_is_an_error(self) -> None:
        # That it is gzip, what is there shows to be untrue.
        for coding in ('gzip', 'br', 'identity, gzip', 'x-nonsense'):
            for connections in 1, 4:
                self.server.requests.clear()
                outcome = self.assert_fails(
                    errors.ContentCodingError,
                    faults.field('Content-Encoding', coding),
                    requests=1,
                    connections=connections,
                )
                self.assertEqual(b'', outcome.data)

    def test_what_is_no_content_coding(self) -> None:
        for coding in 'identity', 'aws-chunked', 'AWS-Chunked, identity':
            self.server.requests.clear()
            self.assert_arrives(
                faults.field('Content-Encoding', coding), requests=1
            )

    def test_gzip_that_is_stored_so_is_taken_as_it_is(self) -> None:
        self.name(content=b'\x1f\x8b' + self.content)
        for coding in 'gzip', 'x-gzip', 'GZIP', 'aws-chunked,gzip':
            label = faults.field('Content-Encoding', coding)
            # The first two bytes apart, and each after a pause.
            apart = [faults.stall(1, 0.1), faults.stall(2, 0.1), label]
            for connections in 1, 4:
                self.server.requests.clear()
                log = self.useFixture(fixtures.FakeLogger())
                self.assert_arrives(
                    apart,
                    [label, faults.cut(9000)],
                    then=label,
                    connections=connections,
                    segment_size=65536,
                )
                self.assertEqual(1, log.output.count('taken as it is'))

    def test_gzip_that_is_stored_so_is_resumed(self) -> None:
        self.name(content=b'\x1f\x8b' + self.content)
        label = faults.field('Content-Encoding', 'x-gzip')
        self.assert_arrives(
            [faults.cut(9000), label],
            faults.cut(2000),
            then=label,
            ranges=[None, 9000, 11000],
        )

    def test_gzip_that_is_made_on_the_way_is_an_error(self) -> None:
        # It begins as a .gz does, and what it is of may be one.
        self.name(content=b'\x1f\x8b' + self.content)
        label = faults.field('Content-Encoding', 'gzip')
        self.assert_fails(
            errors.ContentCodingError, [label, faults.chunked()], requests=1
        )

    def test_content_coding_on_a_resume_is_not_joined(self) -> None:
        self.assert_arrives(
            faults.cut(9000),
            faults.field('Content-Encoding', 'gzip'),
            ranges=[None, 9000, 9000],
        )

    def test_http_1_0_body_ends_with_the_connection(self) -> None:
        self.server.script([faults.http_1_0(), faults.stall(9, 0.2)])
        with self.fetch() as download:
            self.assertIsNone(download.length)
            self.assert_same(self.content, b''.join(download))

    def test_what_proves_the_end(self) -> None:
        whole, closed, chunked = (
            [faults.ignore_range(), *framing]
            for framing in ((), (faults.http_1_0(),), (faults.chunked(),))
        )
        broken = faults.reset(9000)
        for first, then, checksum, expected in (
            (whole, (), None, True),
            (chunked, (), None, True),
            (closed, (), None, False),
            (closed, (), self.checksum(), True),
            ([*closed, faults.cut(9000)], (), None, False),
            # Of several answers, the last one counts.
            ([*chunked, broken], closed, None, False),
            ([*closed, broken], chunked, None, True),
        ):
            self.server.script(first, then=then)
            with self.fetch(checksum=checksum) as download:
                for _chunk in download:
                    pass
                self.assertEqual(expected, download.end_proven, str(first))

    def test_http_1_0_body_ended_by_reset_is_resumed(self) -> None:
        self.assert_arrives(
            [faults.http_1_0(), faults.reset(9000)], ranges=[None, 9000]
        )

    def test_http_1_0_body_cut_is_found_by_the_checksum(self) -> None:
        self.assert_fails(
            errors.DigestMismatch,
            [faults.http_1_0(), faults.cut(9000)],
            checksum=self.checksum(),
        )


class TestSmallBodies(engine.EngineTestCase):
    def test_empty_and_tiny_bodies(self) -> None:
        for content in (b'', b'x', b'xy'):
            self.name(content=content)
            for framing in ((), faults.chunked(), faults.http_1_0()):
                self.server.requests.clear()
                self.assert_arrives(
                    framing, requests=1, checksum=self.checksum()
                )

    def test_one_byte_body_that_is_cut_before_it(self) -> None:
        self.name(content=b'x')
        for harm in (faults.cut, faults.reset, faults.stall):
            self.server.requests.clear()
            self.assert_arrives(harm(0), requests=2)

    def test_bodies_round_the_length_of_a_chunk(self) -> None:
        size = engine.SETTINGS['chunk_size']
        for length in (size - 1, size, size + 1, 2 * size, 2 * size + 1):
            self.name(content=harmful.Pattern(length)[0:length])
            self.assert_arrives(checksum=self.checksum())

    def test_chunks_are_no_longer_than_asked(self) -> None:
        for size in (1, 13, 4096, 1 << 20):
            self.server.script()
            with self.fetch(chunk_size=size) as download:
                chunks = [*download]
            self.assertLessEqual(max(map(len, chunks)), size)
            self.assert_same(self.content, b''.join(chunks))
            self.assertTrue(all(type(chunk) is bytes for chunk in chunks))

    def test_views_hold_the_same_bytes(self) -> None:
        with self.fetch() as download:
            data = b''.join(map(bytes, download.views()))
        self.assert_same(self.content, data)
