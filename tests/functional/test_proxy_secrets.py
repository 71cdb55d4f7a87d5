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

"""No credential in what the program says, through a proxy that wants some."""

from __future__ import annotations

import base64
import json
import os
import subprocess

from fuel_agent_curl.harmful import faults
from tests.support import caches
from tests.support import endpoints
from tests.support import program

SECRET = 'Pa55word'
HOST = 'image.invalid'

#: The password, and what Basic makes of it and the user.
HIDDEN = (SECRET, base64.b64encode(b'user:' + SECRET.encode()).decode())


class TestProgram(program.ProgramTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_program('squid')
        squid = caches.Squid.asking('user ' + SECRET, HOST)
        self.squid = self.useFixture(squid).server
        self.proxy = self.with_user(self.squid.url)
        self.url = (
            self.with_user(self.server.url(host=HOST))
            + '?X-Amz-Signature='
            + SECRET
        )
        # In a file, as what a process was started with is for all to see.
        self.secrets = self.path('secrets.conf')
        with open(self.secrets, 'w') as file:
            file.write(
                '[fuel_agent_curl]\nproxy = %s\n'
                'headers = Authorization: Bearer %s\n' % (self.proxy, SECRET)
            )

    def with_user(self, url: str) -> str:
        return url.replace('://', '://user:%s@' % SECRET)

    def run_silently(
        self, code: int, *argv: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the program, which has to fail so, and to name no secret."""
        done = self.run_program(
            *argv, '--debug', env={**os.environ, **environment}
        )
        self.assertEqual(code, done.returncode, done.stderr)
        for text in HIDDEN:
            self.assertNotIn(text, done.stdout + done.stderr)
        return done

    def copy(
        self, code: int, *argv: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = self.run_silently(
            code,
            *('copy', '--progress', 'json', *program.QUICK, *argv),
            *(self.url, self.target),
            **environment,
        )
        last = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual('failed' if code else 'done', last['event'])
        return done

    def test_success(self) -> None:
        self.server.script(faults.cut(9000))
        done = self.copy(0, '--config-file', self.secrets)
        self.assertEqual(self.image, self.content())
        self.assertIn('"retry"', done.stdout)
        # It was on the lookout in the right places.
        self.assertIn('DEBUG', done.stderr)
        for request in self.server.requests:
            self.assertIn(SECRET, request.target)
            self.assertEqual(
                'Bearer ' + SECRET, request.field('Authorization')
            )

    def test_success_by_the_environment(self) -> None:
        self.copy(0, http_proxy=self.proxy)
        self.assertEqual(self.image, self.content())

    def test_failures_of_the_server(self) -> None:
        for code, harm in (
            (26, faults.status(503)),
            (20, faults.redirect('ftp://user:%s@x/?%s' % (SECRET, SECRET))),
        ):
            self.server.script(then=harm)
            self.copy(code, '--config-file', self.secrets)

    def test_failures_of_the_proxy(self) -> None:
        closed = self.useFixture(endpoints.ClosedPort()).port
        for code, proxy in (
            (19, self.proxy.replace('user:', 'somebody:')),
            (26, 'socks5h://user:%s@127.0.0.1:%d' % (SECRET, closed)),
            (26, 'http://user:%s\xe4@127.0.0.1:%d' % (SECRET, closed)),
            (26, 'user:%s@127.0.0.1:%d' % (SECRET, closed)),
            (2, 'user:one %s@[::1' % SECRET),
        ):
            self.copy(code, http_proxy=proxy)

    def test_a_proxy_that_is_not_ascii(self) -> None:
        self.run_silently(
            2,
            *('copy', '--proxy', 'http://user:%s\xe4@proxy' % SECRET),
            *(self.url, self.target),
        )

    def test_probe(self) -> None:
        self.run_silently(0, 'probe', '--config-file', self.secrets, self.url)
        self.run_silently(
            19,
            *('probe', '--proxy', self.squid.url, self.url),
        )
