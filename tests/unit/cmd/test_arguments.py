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

"""The command line, taken apart."""

from __future__ import annotations

import io
import shlex
import sys

from testtools import matchers

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import arguments
from fuel_agent_curl.config import options
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.octets import MIB
from tests import base

URL = 'http://server/image'


class TestArguments(base.TestCase):
    def settings(self, *argv: str) -> settings_module.Settings:
        parsed = arguments.parse(['copy', *argv, URL, 'disk'])
        return settings_module.Settings(**arguments.given(parsed))

    def printed(self, *argv: str) -> str:
        """Return what a parser prints that ends the program."""
        out = io.StringIO()
        self.patch(sys, 'stdout', out)
        end = self.assertRaises(SystemExit, arguments.parse, argv)
        self.assertIn(end.code, (0, None))
        return out.getvalue()

    def refused(self, *argv: str) -> str:
        """Return why a command line cannot be used."""
        error = self.assertRaises(errors.OptionError, arguments.parse, argv)
        self.assertTrue(str(error).isprintable())
        return str(error)

    def test_operands(self) -> None:
        parsed = arguments.parse(
            shlex.split('copy http://a http://b http://c d')
        )
        self.assertEqual('http://a', parsed.url)
        self.assertEqual(['http://b', 'http://c'], parsed.mirrors)
        self.assertEqual('d', parsed.target)

    def test_flags_may_stand_between_operands(self) -> None:
        parsed = arguments.parse(
            shlex.split(
                'copy http://a --attempts 3 http://b --progress none d'
            )
        )
        self.assertEqual('http://a', parsed.url)
        self.assertEqual(['http://b'], parsed.mirrors)
        self.assertEqual('d', parsed.target)
        self.assertEqual('none', parsed.progress)

    def test_common_flags_before_and_after_the_verb(self) -> None:
        parsed = arguments.parse(
            shlex.split(
                '--config-file a copy --config-file=b --debug http://a'
                ' --config-dir c d'
            )
        )
        self.assertEqual(['a', 'b'], parsed.config_file)
        self.assertEqual(['c'], parsed.config_dir)
        self.assertTrue(parsed.debug)
        self.assertTrue(arguments.parse(['--debug', 'demo']).debug)
        self.assertFalse(arguments.parse(['demo']).debug)

    def test_every_option_has_its_flag(self) -> None:
        for verb in ('copy', 'probe'):
            text = self.printed(verb, '--help')
            for option in options.OPTIONS:
                flag = '--' + option.name.replace('_', '-')
                if option.name == 'max_recv_speed':
                    flag = '--limit-rate'
                self.assertIn('  ' + flag, text)

    def test_help_and_version(self) -> None:
        self.assertIn('verbs:', self.printed('--help'))
        self.assertIn('harmful', self.printed('demo', '--help'))
        text = self.printed('--version')
        self.assertThat(text, matchers.StartsWith('fuel-agent-curl '))

    def test_flags_become_settings(self) -> None:
        settings = self.settings(
            *shlex.split(
                '--low-speed-time 4 --backoff-max 1 --attempts 0'
                ' --cacert ca.pem --limit-rate 1.5M --insecure --header A:1,2'
                " --headers B:3 --no-direct-io --window-size 1G --proxy ''"
                ' --http-version 2'
            ),
        )
        self.assertThat(
            settings,
            matchers.MatchesStructure.byEquality(
                low_speed_time=4.0,
                backoff_max=1.0,
                attempts=0,
                cacert='ca.pem',
                max_recv_speed=1536 * 1024,
                insecure=True,
                headers=('A:1,2', 'B:3'),
                direct_io=False,
                window_size=1024 * MIB,
                proxy='',
                http_version='2',
            ),
        )

    def test_without_flags_the_defaults_hold(self) -> None:
        self.assertEqual(settings_module.Settings(), self.settings())

    def test_refused(self) -> None:
        for line, part in (
            ('', 'a verb is missing'),
            ('--debug', 'a verb is missing'),
            ('cpoy http://a d', 'no such verb: cpoy'),
            ('copy', 'URL'),
            ('copy http://a', 'TARGET'),
            ('copy http://a -', '/dev/stdout'),
            ('copy http://a HTTPS://b/image', 'TARGET is missing'),
            ('copy --attempts -1 http://a d', '--attempts'),
            ('copy --attempts x http://a d', '--attempts'),
            (
                'copy --limit-rate 1Q http://a d',
                '--limit-rate: not a number of bytes',
            ),
            ('copy --http-version 9 http://a d', '--http-version'),
            ('copy --progress x http://a d', '--progress'),
            ('copy --container rar http://a d', '--container'),
            # No abbreviations: the next option would change them.
            ('copy --atte 1 http://a d', '--atte'),
            ('probe', 'URL'),
            ('probe http://a http://b', 'unrecognized'),
            ('demo http://a', 'unrecognized'),
        ):
            self.assertIn(part, self.refused(*line.split()))

    def test_empty_target(self) -> None:
        self.assertIn('TARGET is empty', self.refused('copy', URL, ''))
