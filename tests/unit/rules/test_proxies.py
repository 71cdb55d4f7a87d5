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

ORIGIN = redirects.Origin('http', 'server', 8080)


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


class TestExceptions(base.TestCase):
    def test_the_setting_comes_first(self) -> None:
        environment = {'no_proxy': 'a', 'NO_PROXY': 'b'}
        for given, expected in (('c', 'c'), ('', ''), (None, 'a')):
            found = proxies.exceptions(given, environment, ORIGIN)
            self.assertEqual((expected, []), found)
        environment['no_proxy'] = ''
        found = proxies.exceptions(None, environment, ORIGIN)
        self.assertEqual(('b', []), found)

    def test_as_sites_write_it(self) -> None:
        for given, expected in (
            ('a,b', 'a,b'),
            (' a b,\tc,, ,d\n', 'a,b,c,d'),
            ('.corp', '.corp'),
            ('*.corp', 'corp'),
            ('*', '*'),
            ('a, *', '*'),
            ('a:8080', 'a'),
            ('a:80', ''),
            ('*.corp:8080', 'corp'),
            ('10.0.0.0/8', '10.0.0.0/8'),
            ('10.1.2.3', '10.1.2.3'),
            ('10.1.2.3:8080,10.1.2.3:80', '10.1.2.3'),
            ('10.*', '10.0.0.0/8'),
            ('192.168.*.*', '192.168.0.0/16'),
            ('192.168.7.*', '192.168.7.0/24'),
            ('::1', '::1'),
            ('[::1]', '::1'),
            ('[fe80::1]:8080,[fe80::2]:80', 'fe80::1'),
            ('fd00::/8', 'fd00::/8'),
        ):
            found = proxies.exceptions(given, {}, ORIGIN)
            self.assertEqual((expected, []), found, given)

    def test_what_has_no_meaning(self) -> None:
        for entry in (
            'http://a',
            '<local>',
            'a*',
            'a.*.b',
            '*.*.corp',
            'a:b',
            'a/8',
            'user@a',
        ):
            found = proxies.exceptions('a, ' + entry, {}, ORIGIN)
            self.assertEqual(('a', [entry]), found)
