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
        self.assertEqual(
            {'attempts': 3, 'progress': 'none'}, arguments.given(parsed)
        )

    def test_the_target_as_curl_has_it(self) -> None:
        for line in (
            'copy -o d http://a http://b',
            'copy http://a --output=d http://b',
            'copy http://a http://b d',
            'copy -- http://a http://b d',
        ):
            parsed = arguments.parse(shlex.split(line))
            self.assertEqual('http://a', parsed.url)
            self.assertEqual(['http://b'], parsed.mirrors)
            self.assertEqual('d', parsed.target)
        self.assertEqual(
            ['-'], arguments.parse(shlex.split('copy http://a -o -')).output
        )
        self.assertEqual(
            [], arguments.parse(shlex.split('copy http://a -')).output
        )

    def test_what_begins_with_a_hyphen(self) -> None:
        parsed = arguments.parse(shlex.split('copy -k -- http://a --debug'))
        self.assertEqual('--debug', parsed.target)
        self.assertFalse(parsed.debug)

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
        copy = self.printed('copy', '--help')
        probe = self.printed('probe', '--help')
        for option in (*options.OPTIONS, *options.COPY):
            flag = '--' + option.name.replace('_', '-')
            for each in option.flags or (flag,):
                pattern = '(?m)[ ,]%s\\b' % each
                self.assertRegex(copy, pattern)
                # What a probe has nothing to do with.
                if option.subject in ('target', 'checks', 'output'):
                    self.assertNotRegex(probe, pattern)
                else:
                    self.assertRegex(probe, pattern)

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

    def test_habits_of_curl(self) -> None:
        parsed = arguments.parse(
            shlex.split(
                'copy -fsSLkv4 -x http://proxy -H "A: 1" -H B:2 -u me:x'
                ' --limit-rate 1.5M --deadline 5m -o d http://a'
            )
        )
        self.assertTrue(parsed.debug)
        self.assertEqual(
            {
                'insecure': True,
                'ip_version': '4',
                'user': 'me:x',
                'proxy': 'http://proxy',
                'headers': ['A: 1', 'B:2'],
                'max_recv_speed': 1536 * 1024,
                'deadline': 300.0,
                'progress': 'none',
            },
            arguments.given(parsed),
        )

    def test_refused(self) -> None:
        for line, part in (
            ('', 'a verb is missing'),
            ('--debug', 'a verb is missing'),
            ('probee http://a d', 'no verb probee (did you mean probe?)'),
            ('http://a d', 'fuel-agent-curl copy URL TARGET'),
            ('-o d http://a', '-o belongs behind the verb'),
            ('--connections 8 copy', 'belongs behind the verb'),
            ('--nonsense copy', 'there is no option --nonsense'),
            ('--config-file', 'expected one argument'),
            ('copy', 'URL and TARGET are missing'),
            ('copy disk', 'URL is missing'),
            ('copy http://a', 'TARGET is missing'),
            ('copy http://a HTTPS://b/image', 'TARGET is missing'),
            ('copy http://a http:/b', 'TARGET is missing'),
            ('copy -o d', 'URL is missing'),
            ('copy -o d -o e http://a', 'there is one TARGET'),
            ('copy -o http://b http://a', 'TARGET is a URL'),
            ('copy http://a /dev/null /dev/zero', 'argument 2, /dev/null'),
            ('copy http://a /dev/null /dev/zero', 'once for each target'),
            ('copy /dev/null /dev/zero', 'URL is a path, /dev/null'),
            ('copy -o d http://a /dev/null', 'argument 2, /dev/null'),
            ('copy /dev/null http://a', 'have changed places'),
            ('copy --attempts -1 http://a d', '--attempts'),
            ('copy --attempts x http://a d', '--attempts'),
            ('copy --limit-rate 1Q http://a d', 'not a number of bytes'),
            ('copy --deadline 1w http://a d', 'not a duration'),
            ('copy --http-version 9 http://a d', 'not one of 1.0, 1.1'),
            ('copy --progress x http://a d', '--progress'),
            ('copy --container rar http://a d', '--container'),
            ('copy --verify=yes http://a d', 'takes no value'),
            # No abbreviations: the next option would change them.
            ('copy --atte 1 http://a d', 'did you mean --attempts?'),
            ('copy --conections 1 http://a d', 'mean --connections?'),
            ('copy --connect 1 http://a d', '-timeout or --connections?'),
            ('copy -connections 1 http://a d', 'mean --connections?'),
            ('copy --max-time 1 http://a d', 'did you mean --deadline?'),
            ('copy -C - http://a d', 'not needed'),
            ('probe', 'URL is missing'),
            ('probe http://a http://b', 'one URL'),
            ('probe --verify http://b', 'there is no option --verify'),
            ('demo http://a', 'takes no arguments'),
        ):
            self.assertIn(part, self.refused(*shlex.split(line)), line)

    def test_what_is_empty(self) -> None:
        self.assertIn('TARGET is empty', self.refused('copy', URL, ''))
        self.assertIn('argument 1 is empty', self.refused('copy', '', 'd'))

    def test_no_error_repeats_what_may_be_a_secret(self) -> None:
        for line in (
            'http://me:hush@a d',
            'hush http://a d',
            '--header=hush copy http://a d',
            '--header hush copy http://a d',
            '-uhush copy http://a d',
            'copy http://me:hush@a',
            'copy http://a http://me:hush@b',
            'copy http://a htp://me:hush@b',
            'copy http://a me:hush@b/image',
            'copy -o me:hush@b/image http://a',
            'copy --proxie=http://me:hush@a http://a d',
            'copy --headr hush http://a d',
            'copy -Zhush http://a d',
            'copy --debug=hush http://a d',
            'copy -kXhush http://a d',
            'copy --verify=hush http://a d',
            'copy --attempts hush http://a d',
            'copy --limit-rate=hush http://a d',
            'copy --deadline=hush http://a d',
            'copy --http-version=hush http://a d',
            'copy --progress hush http://a d',
            'probe hush http://a',
            'probe --bmap x http://me:hush@a',
            'demo hush',
        ):
            self.assertNotIn('hush', self.refused(*shlex.split(line)), line)
