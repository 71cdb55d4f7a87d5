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
"""What is given for one origin is sent to no other, whoever names it."""

from __future__ import annotations

import dataclasses
import os
import ssl
import subprocess
import time
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import endpoints
from tests.support import engine
from tests.support import logins
from tests.support import metalink

SECRET = 'c2VjcmV0'
FIELDS = ('X-Token: ' + SECRET, 'Authorization: ' + SECRET)


def wants_cookie(*wanted: str) -> faults.Fault:
    """Set cookies by a redirect to the same place until they all come."""

    def fault(handler: faults.Handler) -> faults.Handler:
        def handle(
            request: harmful.Request, image: harmful.Representation
        ) -> harmful.Reply:
            given = (request.field('Cookie') or '').split('; ')
            for cookie in wanted:
                if cookie not in given:
                    reply = faults.redirect(request.target)(handler)(
                        request, image
                    )
                    field = 'Set-Cookie', cookie + '; Path=/'
                    return dataclasses.replace(
                        reply, fields=(*reply.fields, field)
                    )
            return handler(request, image)

        return handle

    return fault


class TestCookies(engine.EngineTestCase):
    def test_there_are_not_too_many(self) -> None:
        refusals = [
            [
                faults.status(503),
                *(
                    faults.more_field('Set-Cookie', '%s%d=1' % (name, number))
                    for number in range(45)
                ),
            ]
            for name in 'abcdef'
        ]
        self.assert_arrives(*refusals, attempts=9)
        most = max(len((each or '').split('; ')) for each in self.cookies())
        self.assertIn(most, range(2, 101))

    def cookies(self, server: harmful.Server | None = None) -> list[Any]:
        requests = (server or self.server).requests
        return [request.field('Cookie') for request in requests]

    def test_come_back_with_every_attempt(self) -> None:
        wants = wants_cookie('a=1', 'b=2')
        self.assert_arrives(
            *[[faults.cut(9000), wants]] * 4,
            then=[wants],
            ranges=[None] * 3 + [9000, 18000],
        )
        # The order is libcurl's.
        sent = [set((each or '').split('; ')) for each in self.cookies()]
        self.assertEqual([{''}, {'a=1'}] + [{'a=1', 'b=2'}] * 3, sent)

    def test_several_connections(self) -> None:
        self.name(content=self.content * 10)
        self.assert_arrives(
            then=[wants_cookie('a=1')],
            connections=4,
            segment_size=65536,
            chunk_size=65536,
        )
        self.assertEqual(1, self.cookies().count(None))

    def test_are_forgotten_with_the_download(self) -> None:
        for _time in range(2):
            self.server.requests.clear()
            self.assert_arrives(then=[wants_cookie('a=1')])
            self.assertEqual([None, 'a=1'], self.cookies())

    def test_are_one_field_with_those_given(self) -> None:
        self.assert_arrives(
            then=[wants_cookie('a=1')],
            headers=('Cookie: b=2', 'cookie:c=3 '),
            requests=2,
        )
        self.assertEqual(['b=2; c=3', 'a=1; b=2; c=3'], self.cookies())
        names = [name.lower() for name, _ in self.server.requests[-1].fields]
        self.assertEqual(1, names.count('cookie'))

    def test_stay_with_their_host(self) -> None:
        other = self.start_server(host='127.0.0.2')
        self.server.script(
            then=[faults.redirect(other.url()), wants_cookie('a=1')]
        )
        outcome = self.download(headers=('Cookie: b=2',))
        self.assert_same(self.content, outcome.data)
        self.assertEqual(['b=2', 'a=1; b=2'], self.cookies())
        self.assertEqual([None], self.cookies(other))

    def test_one_that_never_comes_to_an_end(self) -> None:
        self.assert_fails(
            errors.RedirectError,
            then=[faults.redirect('/image')],
            requests=21,
        )


class TestClientKey(engine.EngineTestCase):
    """Two servers that both let in whoever has the key."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = self.useFixture(endpoints.Authority(self.directory))
        context = self.authority.context()
        self.authority.demand(context)
        self.server = self.start_server(tls=context)
        self.other = self.start_server(tls=context)
        self.how: dict[str, Any] = {
            'cacert': self.authority.path,
            'cert': self.authority.client(self.directory),
        }

    def test_goes_to_each_that_is_named(self) -> None:
        self.assert_arrives(requests=1, **self.how)
        self.server.script(then=faults.status(404))
        outcome = self.download(mirrors=[self.other.url()], **self.how)
        self.assert_same(self.content, outcome.data)

    def test_goes_along_on_the_same_origin(self) -> None:
        self.server.script(then=faults.redirect('/image'), path='/0')
        self.assert_arrives(url=self.server.url('/0'), requests=2, **self.how)

    def test_does_not_go_to_another(self) -> None:
        # The second time there is a connection that was let in.
        for number in range(2):
            self.server.script(
                then=faults.redirect(self.other.url()), path='/0'
            )
            outcome = self.download(
                self.other.url() if number else self.server.url('/0'),
                mirrors=[self.server.url('/0')] if number else [],
                **self.how,
            )
            if not number:
                self.assertIsInstance(outcome.error, errors.AttemptsExhausted)
                self.assertEqual([], self.other.requests)

    def test_a_connection_that_was_let_in_is_not_used_for_others(
        self,
    ) -> None:
        """A cut, and the next mirror leads to where the first was."""
        self.other.script(faults.cut(9000), then=faults.status(503))
        self.server.script(
            then=faults.redirect(self.other.url('/back')), path='/0'
        )
        self.other.representations['/back'] = self.image
        outcome = self.download(
            self.other.url(),
            mirrors=[self.server.url('/0')],
            attempts=3,
            **self.how,
        )
        self.assertIsNotNone(outcome.error)
        paths = {request.path for request in self.other.requests}
        self.assertEqual({'/image'}, paths)


class TestMetalink(engine.EngineTestCase):
    """Whatever a document names was not named by the user."""

    def setUp(self) -> None:
        super().setUp()
        self.mirror = self.start_server(host='127.0.0.2')

    def publish(self, server: harmful.Server, *urls: str, **how: Any) -> str:
        text = metalink.document(self.content, urls, **how)
        server.representations['/i.meta4'] = harmful.Representation(text)
        return server.url('/i.meta4')

    def fields(self, server: harmful.Server) -> set[str | None]:
        return {
            request.field(name)
            for request in server.requests
            for name in ('X-Token', 'Authorization')
        }

    def test_fields_stay(self) -> None:
        for urls in (
            [self.mirror.url()],
            [self.mirror.url().replace('://', '://good:x@')],
        ):
            self.mirror.requests.clear()
            url = self.publish(self.server, *urls)
            self.assert_arrives(url=url, headers=FIELDS, user='a:' + SECRET)
            self.assertEqual({None}, self.fields(self.mirror))

    def test_fields_go_to_an_origin_that_was_named(self) -> None:
        url = self.publish(self.server, self.server.url())
        self.assert_arrives(url=url, headers=FIELDS, requests=2)
        self.assertEqual({SECRET}, self.fields(self.server))
        url = self.publish(self.server, self.mirror.url())
        self.server.requests.clear()
        self.assert_arrives(
            url=url, mirrors=[self.mirror.url('/gone')], headers=FIELDS
        )
        self.assertEqual({SECRET}, self.fields(self.mirror))

    def test_fields_do_not_come_back_by_a_redirect(self) -> None:
        """From a mirror that only the document names."""
        back = faults.redirect(self.server.url())
        self.mirror.script(then=back)
        url = self.publish(self.server, self.mirror.url())
        self.assert_arrives(url=url, headers=FIELDS)
        self.assertIsNone(self.server.requests[-1].field('X-Token'))

    def test_from_https_without_a_hash_nothing_comes_by_http(self) -> None:
        authority = self.useFixture(endpoints.Authority(self.directory))
        library = self.start_server(tls=authority.context())
        how: dict[str, Any] = {'cacert': authority.path}
        url = self.publish(library, self.server.url(), whole=False)
        outcome = self.assert_fails(
            errors.ContentError, url=url, requests=0, **how
        )
        self.assertIn('no hash', str(outcome.error))
        # What is as safe as the document is used, and nothing else.
        url = self.publish(
            library, self.server.url(), library.url(), whole=False
        )
        self.assert_arrives(url=url, requests=0, **how)
        # Whoever has a checksum need not care.
        url = self.publish(library, self.server.url(), whole=False)
        self.assert_arrives(
            url=url, checksum=self.checksum(), requests=1, **how
        )
        for more in ({'whole': True}, {'whole': False, 'piece': 8192}):
            self.server.requests.clear()
            url = self.publish(library, self.server.url(), **more)
            self.assert_arrives(url=url, requests=1, **how)


class TestProxy(engine.EngineTestCase):
    """Who is on the way is not the origin; the harmful server is a proxy."""

    def setUp(self) -> None:
        super().setUp()
        self.name_of_proxy = '127.0.0.1:%d' % self.server.port
        self.how: dict[str, Any] = {
            'url': 'https://image.invalid/image',
            'proxy': 'http://%s@%s' % (SECRET, self.name_of_proxy),
        }

    def assert_refused(
        self, kind: type[errors.Error], *answer: faults.Fault, **how: Any
    ) -> errors.Error:
        self.server.requests.clear()
        outcome = self.assert_fails(
            kind, answer, requests=1, **{**self.how, **how}
        )
        text = str(outcome.error)
        self.assertIn('by the proxy ' + self.name_of_proxy, text)
        self.assertNotIn(SECRET, text)
        error: errors.Error = outcome.error
        return error

    def test_a_redirect_in_place_of_a_tunnel(self) -> None:
        other = self.start_server()
        for code in (300, 301, 302, 303, 307, 308):
            for headers in ((), FIELDS):
                error = self.assert_refused(
                    errors.RedirectError,
                    faults.redirect(other.url(), code),
                    headers=headers,
                )
                self.assertIn(str(code), str(error))
        self.assertEqual([], other.requests)

    def test_a_status_in_place_of_a_tunnel(self) -> None:
        for code in (400, 401, 403, 404, 407, 451):
            for fault in (
                faults.status(code, location='http://x/'),
                faults.status(code, body=b'x' * 100_000),
            ):
                error = self.assert_refused(errors.StatusError, fault)
                assert isinstance(error, errors.StatusError)
                self.assertEqual(code, error.status)

    def test_an_interim_answer_in_place_of_a_tunnel(self) -> None:
        other = self.start_server()
        for code in (100, 103):
            outcome = self.assert_gives_up(
                errors.ConnectError,
                [
                    faults.redirect(other.url()),
                    faults.before(b'HTTP/1.1 %d Oh\r\n\r\n' % code),
                ],
                **self.how,
            )
            self.assertIn(
                'by the proxy ' + self.name_of_proxy, str(outcome.error)
            )
        self.assertEqual([], other.requests)

    def test_a_status_in_place_of_the_origin(self) -> None:
        for code in (403, 404, 407):
            self.assert_refused(
                errors.StatusError,
                faults.status(code),
                url='http://image.invalid/image',
            )

    def test_another_attempt_may_mend_it(self) -> None:
        for url in ('http://image.invalid/image', self.how['url']):
            self.server.requests.clear()
            outcome = self.assert_gives_up(
                errors.StatusError,
                faults.status(503),
                requests=4,
                **{**self.how, 'url': url},
            )
            self.assertIn(
                'by the proxy ' + self.name_of_proxy, str(outcome.error)
            )

    def test_what_is_no_tunnel_although_it_says_so(self) -> None:
        outcome = self.assert_gives_up(
            errors.TLSError,
            faults.status(200, location='http://x/', body=b'x' * 999),
            **self.how,
        )
        self.assertIn('by the proxy ' + self.name_of_proxy, str(outcome.error))

    def test_fields_for_the_proxy_go_no_further(self) -> None:
        field = 'Proxy-Authorization: Basic ' + SECRET
        other = self.start_server()
        self.server.script(
            faults.redirect('http://other.invalid/image'), then=()
        )
        outcome = self.download(
            'http://image.invalid/image',
            proxy='http://' + self.name_of_proxy,
            headers=(field,),
        )
        self.assertIsNone(outcome.error)
        for request in self.server.requests:
            self.assertEqual(
                'Basic ' + SECRET, request.field('Proxy-Authorization')
            )
        outcome = self.download(other.url(), headers=(field,), proxy='')
        self.assertIsNone(outcome.error)
        self.assertIsNone(other.requests[0].field('Proxy-Authorization'))


class TestRedirectBody(engine.EngineTestCase):
    """A redirect is followed whatever becomes of its body."""

    def test_harms(self) -> None:
        for harm in (
            [faults.cut(4)],
            [faults.reset(4)],
            [faults.stall(4)],
            [faults.stall(0)],
            [faults.content_length('99')],
            [faults.status(302, location='/image', body=b'x' * 5_000_000)],
            [faults.status(302, location='/image', body=b'')],
        ):
            self.server.requests.clear()
            self.server.script(
                then=[faults.redirect('/image'), *harm], path='/0'
            )
            self.assert_arrives(
                url=self.server.url('/0'),
                requests=2,
                low_speed_time=8,
                attempts=1,
            )

    def test_one_that_drips(self) -> None:
        body = faults.status(302, location='/image', body=b'x' * 500)
        self.server.script(then=[body, faults.trickle(20)], path='/0')
        began = time.monotonic()
        self.assert_arrives(
            url=self.server.url('/0'),
            requests=2,
            connect_timeout=15,
            low_speed_time=20,
            attempts=1,
        )
        self.assertLess(time.monotonic() - began, 12)

    def test_its_connection_is_used_again(self) -> None:
        self.server.script(then=faults.redirect('/image'), path='/0')
        self.assert_arrives(url=self.server.url('/0'), requests=2)
        self.assertEqual(1, self.server.connections)


class TestTrust(engine.EngineTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority = self.useFixture(endpoints.Authority(self.directory))
        self.context = self.authority.context()
        self.server = self.start_server(tls=self.context)

    def test_a_name_that_is_not_ascii(self) -> None:
        path = os.path.join(self.directory, 'h\xf6here.pem')
        os.rename(self.authority.path, path)
        self.assert_arrives(cacert=path, requests=1)

    def test_a_directory_of_authorities(self) -> None:
        self.need_program('openssl')
        directory = os.path.join(self.directory, 'authorities')
        os.mkdir(directory)
        os.rename(self.authority.path, os.path.join(directory, 'a.pem'))
        self.assert_fails(errors.OptionError, cacert=directory, requests=0)
        subprocess.run(['openssl', 'rehash', directory], check=True)
        self.assert_arrives(cacert=directory, requests=1)

    def test_a_key_with_a_pass_phrase(self) -> None:
        self.authority.demand(self.context)
        cert = self.authority.client(self.directory)
        key = os.path.join(self.directory, 'key.pem')
        endpoints.protect(cert, key, b'pass phrase')
        how: dict[str, Any] = {
            'cacert': self.authority.path,
            'cert': cert,
            'key': key,
        }
        outcome = self.assert_fails(errors.OptionError, requests=0, **how)
        self.assertIn('give key_password_file', str(outcome.error))
        phrase = os.path.join(self.directory, 'phrase')
        for text, hint in (
            ('wrong', 'not that of the key'),
            ('', 'not that of the key'),
            ('a' * 1025, 'too long'),
            ('pass phrase\nmore', None),
        ):
            with open(phrase, 'w') as file:
                file.write(text)
            how['key_password_file'] = phrase
            if hint is None:
                self.assert_arrives(requests=1, **how)
                continue
            outcome = self.assert_fails(errors.OptionError, requests=0, **how)
            self.assertIn(hint, str(outcome.error))
        # Nobody writes to it.
        how['key_password_file'] = os.path.join(self.directory, 'pipe')
        os.mkfifo(how['key_password_file'])
        outcome = self.assert_fails(errors.OptionError, requests=1, **how)
        self.assertIn('cannot be read', str(outcome.error))
        how['key_password_file'] = phrase + 'x'
        outcome = self.assert_fails(errors.OptionError, **how)
        self.assertIn('key_password_file', str(outcome.error))

    def test_the_oldest_version(self) -> None:
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        how: dict[str, Any] = {'cacert': self.authority.path}
        self.assert_arrives(tls_min_version='1.2', requests=1, **how)
        self.server.requests.clear()
        self.assert_gives_up(
            errors.TLSError, tls_min_version='1.3', requests=0, **how
        )

    def test_ciphers(self) -> None:
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        how: dict[str, Any] = {'cacert': self.authority.path}
        self.context.set_ciphers('ECDHE-ECDSA-AES128-GCM-SHA256')
        self.assert_arrives(
            tls_ciphers='TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256',
            **how,
        )
        self.assert_gives_up(
            errors.TLSError,
            tls_ciphers='ECDHE-ECDSA-AES256-GCM-SHA384',
            **how,
        )
        for nonsense in ('NONSENSE', 'TLS_NONSENSE'):
            self.assert_fails(errors.OptionError, tls_ciphers=nonsense, **how)


class TestConnection(engine.EngineTestCase):
    HOST = 'image.invalid'

    def test_resolve(self) -> None:
        port = self.server.port
        for entry in (
            '%s:%d:127.0.0.1' % (self.HOST, port),
            '+%s:%d:127.0.0.1' % (self.HOST, port),
            '*:%d:127.0.0.1' % port,
        ):
            # It holds for every attempt.
            self.assert_arrives(
                faults.cut(9000),
                url=self.server.url(host=self.HOST),
                resolve=(entry,),
            )

    def test_ip_version(self) -> None:
        server = self.start_server(host='::1')
        entry = '%s:%d:127.0.0.1,::1' % (self.HOST, server.port)
        url = server.url(host=self.HOST)
        for version, arrives in (('any', True), ('6', True), ('4', False)):
            outcome = self.download(
                url, resolve=(entry,), ip_version=version, attempts=1
            )
            self.assertEqual(arrives, outcome.error is None, version)

    def test_interface(self) -> None:
        for interface in ('lo', '127.0.0.1', 'host!127.0.0.1', 'if!lo'):
            self.assert_arrives(interface=interface)
        self.server.requests.clear()
        outcome = self.assert_gives_up(
            errors.ConnectError, interface='nosuch0', requests=0
        )
        self.assertIn('interface', str(outcome.error))


class TestSecondTunnel(engine.EngineTestCase):
    """Within one attempt; the proxy has been honest so far."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = self.useFixture(endpoints.Authority(self.directory))
        self.origin = self.start_server(tls=self.authority.context())
        self.other = self.start_server(tls=self.authority.context())

    def test_a_redirect_in_its_place(self) -> None:
        """The origin asks for a password, and closes the connection."""
        self.origin.script(
            then=[
                logins.digest('a', SECRET),
                faults.field('Connection', 'close'),
            ]
        )
        answer = 'HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n'
        # To be asked for it, to be asked in what form, and for the image.
        for honest in range(4):
            proxy = self.useFixture(
                endpoints.Tunnels(
                    self.origin.port,
                    honest,
                    (answer % self.other.url(host='localhost')).encode(),
                )
            )
            outcome = self.download(
                self.origin.url(host='localhost'),
                proxy='http://127.0.0.1:%d' % proxy.port,
                cacert=self.authority.path,
                user='a:' + SECRET,
                attempts=2,
            )
            self.assertEqual(
                {'localhost:%d' % self.origin.port}, set(proxy.asked)
            )
            if honest < 3:
                self.assertIsInstance(outcome.error, errors.RedirectError)
                self.assertIn('refused the tunnel', str(outcome.error))
                self.assertEqual(honest + 1, len(proxy.asked))
            else:
                self.assertIsNone(outcome.error)
                self.assert_same(self.content, outcome.data)
