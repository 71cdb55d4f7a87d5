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

"""Tests of which proxy is asked, and who is asked without."""

from __future__ import annotations

from fuel_agent_curl.rules import proxies
from fuel_agent_curl.rules import redirects
from tests import base


class TestChosen(base.TestCase):
    def test_the_setting_comes_first(self) -> None:
        environment = {'http_proxy': 'other', 'all_proxy': 'other'}
        for given in ('proxy', ''):
            chosen = proxies.chosen('http', given, environment)
            self.assertEqual(given, chosen)

    def test_variables_in_the_order_of_libcurl(self) -> None:
        names = ['https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY']
        environment = {name: name for name in names}
        environment['http_proxy'] = environment['HTTP_PROXY'] = 'other'
        for name in names:
            chosen = proxies.chosen('https', None, environment)
            self.assertEqual(name, chosen)
            # One that is empty is none.
            environment[name] = ''
        self.assertEqual('', proxies.chosen('https', None, environment))

    def test_what_a_client_of_a_script_can_set(self) -> None:
        environment = {'HTTP_PROXY': 'other'}
        self.assertEqual('', proxies.chosen('http', None, environment))
        environment['ALL_PROXY'] = 'all'
        self.assertEqual('all', proxies.chosen('http', None, environment))


class TestExcepted(base.TestCase):
    def excepted(self, given: str, host: str, port: int = 8080) -> bool:
        origin = redirects.Origin('http', host, port)
        found, unknown = proxies.excepted(given, {}, origin)
        self.assertEqual([], unknown)
        return found

    def test_the_setting_comes_first(self) -> None:
        environment = {'no_proxy': 'a', 'NO_PROXY': 'b'}
        for given, host in (('c', 'c'), ('', None), (None, 'a')):
            for name in 'abc':
                found = proxies.excepted(
                    given, environment, redirects.Origin('http', name, 80)
                )
                self.assertEqual((name == host, []), found)
        environment['no_proxy'] = ''
        found = proxies.excepted(
            None, environment, redirects.Origin('http', 'b', 80)
        )
        self.assertEqual((True, []), found)

    def test_hosts_and_domains(self) -> None:
        for host, fitting, others in (
            (
                'a.corp',
                '* corp .corp *.corp CORP *corp corp. a.corp a.corp:8080 '
                '*.corp:8080 x,a.corp',
                'acorp orp p.corp b.a.corp a.corp:80 *.corp:443 10.0.0.0/8',
            ),
            ('corp', 'corp .corp *.corp', 'a.corp'),
            ('a.corp.', 'corp a.corp a.corp.', 'a'),
            ('a_b', 'a_b', 'b'),
        ):
            for entry in fitting.split():
                self.assertTrue(self.excepted(entry, host), entry)
            for entry in others.split():
                self.assertFalse(self.excepted(entry, host), entry)

    def test_addresses_and_networks(self) -> None:
        for host, fitting, others in (
            (
                '10.1.2.3',
                '10.1.2.3 10.1.2.3:8080 10.0.0.0/8 10.9.9.9/8 10.* 10.*.* '
                '10.1.2.* 10.0.0.0/8:8080 10.1.2.3/32',
                '10.1.2.4 10.1.2.3:80 10.2.* 11.* 11.0.0.0/8 ::1 fd00::/8',
            ),
            (
                '[::1]',
                '::1 [::1] [::1]:8080 0:0::1 ::/0',
                '[::1]:80 ::2 1.1.1.1',
            ),
            ('[fe80::1]%lo', 'fe80::/10 fe80::1', 'fe80::2'),
        ):
            for entry in fitting.split():
                self.assertTrue(self.excepted(entry, host), entry)
            for entry in others.split():
                self.assertFalse(self.excepted(entry, host), entry)

    def test_entries_in_any_order_and_with_any_blanks(self) -> None:
        for given in 'x a', 'a x', ' x,,a ', 'x,\ta\n', 'x , a', 'a', 'x,*':
            self.assertTrue(self.excepted(given, 'a'))
        for given in '', ' ', ',', 'x y':
            self.assertFalse(self.excepted(given, 'a'))

    def test_what_has_no_meaning(self) -> None:
        origin = redirects.Origin('http', 'a', 80)
        for entry in (
            'http://a',
            '<local>',
            'a*',
            'a.*.b',
            '*.*.corp',
            'a:b',
            'a/8',
            'user@a',
            '10.0.0.0/33',
            '300.1.1.1',
            '1.2.3',
            '..a',
            '[]',
            '*.',
        ):
            found = proxies.excepted('a, ' + entry, {}, origin)
            self.assertEqual((True, [entry]), found)
            found = proxies.excepted(entry, {}, origin)
            self.assertEqual((False, [entry]), found)
