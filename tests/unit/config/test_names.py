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

"""Names in files and in the environment that are none."""

from __future__ import annotations

from collections.abc import Iterable

from fuel_agent_curl import errors
from fuel_agent_curl.config import names
from fuel_agent_curl.config import options
from fuel_agent_curl.config import opts
from tests import base

ALL = {option.name for option in options.ALL}


class TestNearest(base.TestCase):
    def test_what_was_meant(self) -> None:
        for name, expected in (
            ('conections', 'connections'),
            ('connection', 'connections'),
            ('low_sped_time', 'low_speed_time'),
            ('seg', 'segment_size'),
            ('connect', 'connect_timeout or connections'),
            ('xyzzy', None),
            ('', None),
        ):
            self.assertEqual(expected, names.nearest(name, ALL), name)


class TestFiles(base.TestCase):
    def check(self, **sections: Iterable[str]) -> None:
        names.check_file('our.conf', sections, ('debug', 'log_file'))

    def refused(self, **sections: Iterable[str]) -> str:
        return str(
            self.assertRaises(
                errors.OptionError, lambda: self.check(**sections)
            )
        )

    def test_every_option_has_its_place(self) -> None:
        self.check(
            DEFAULT=['debug', 'log_file', 'nc_template_path'],
            fuel_agent_curl=ALL,
            keystone_authtoken=['insecure', 'cacert', 'anything'],
        )

    def test_what_the_sample_file_has(self) -> None:
        for _group, each in opts.list_opts():
            self.check(fuel_agent_curl=[option.name for option in each])

    def test_a_misspelt_name(self) -> None:
        for name, meant in (
            ('conections', 'connections'),
            ('limit_rate', 'max_recv_speed'),
            ('limit-rate', 'max_recv_speed'),
            ('low-speed-time', 'low_speed_time'),
            ('header', 'headers'),
        ):
            self.assertEqual(
                'our.conf: there is no option %s; did you mean %s?'
                % (name, meant),
                self.refused(fuel_agent_curl=['attempts', name]),
            )
        text = self.refused(fuel_agent_curl=['url'])
        self.assertEqual('our.conf: there is no option url', text)

    def test_a_misspelt_section(self) -> None:
        for section in (
            *('fuel-agent-curl', 'Fuel_Agent_Curl', 'fuel_agent_crul'),
            *('fuel_agent', ' fuel_agent_curl'),
        ):
            text = self.refused(**{section: ['connections']})
            self.assertIn('there is no section [%s]' % section, text)
            self.assertIn('did you mean [fuel_agent_curl]?', text)

    def test_in_the_section_of_others(self) -> None:
        text = self.refused(DEFAULT=['debug', 'connections'])
        self.assertIn('connections belongs into the section', text)

    def test_a_line_in_the_wrong_place_is_not_repeated(self) -> None:
        for name in ('Bearer hush', 'me:hush@host', 'HUSH', 'hush' * 20):
            text = self.refused(fuel_agent_curl=[name])
            self.assertNotIn('hush', text.lower())
            self.assertIn('no option', text)


class TestEnvironment(base.TestCase):
    def test_names(self) -> None:
        names.check_environment(
            ['OS_FUEL_AGENT_CURL__ATTEMPTS', 'OS_OTHER__CONECTIONS', 'HOME']
        )
        error = self.assertRaises(
            errors.OptionError,
            names.check_environment,
            ['OS_FUEL_AGENT_CURL__CONECTIONS'],
        )
        self.assertIn('OS_FUEL_AGENT_CURL__CONECTIONS', str(error))
        self.assertIn('did you mean connections?', str(error))
