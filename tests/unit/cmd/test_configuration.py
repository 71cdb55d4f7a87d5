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

"""What holds: flags, files, the environment, or nothing but the defaults."""

from __future__ import annotations

import io
import logging
import os
import shlex
import sys

import fixtures
from oslo_config import cfg
from testtools import matchers

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import arguments
from fuel_agent_curl.cmd import configuration
from fuel_agent_curl.config import settings
from tests import base

URL = 'http://server/image'

_DEFAULT_PATHS = configuration.default_paths


def _gone() -> str:
    raise FileNotFoundError


class TestConfiguration(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.home = self.useFixture(fixtures.TempDir()).path
        self.useFixture(fixtures.EnvironmentVariable('HOME', self.home))
        for name in ('SNAP', 'SNAP_COMMON'):
            self.useFixture(fixtures.EnvironmentVariable(name))
        # This machine may have a file in /etc.
        paths = [*configuration.default_paths()]
        self.paths = [path for path in paths if path.startswith(self.home)]
        self.patch(configuration, 'default_paths', lambda: self.paths)

    def read(self, line: str = '') -> configuration.Configuration:
        return configuration.read(
            arguments.parse(['copy', *shlex.split(line), URL, 'disk'])
        )

    def write(self, text: str, name: str = 'our.conf') -> str:
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as file:
            file.write('[fuel_agent_curl]\n' + text)
        return path

    def test_nothing_is_configured(self) -> None:
        found = self.read('--attempts 3')
        self.assertIsNone(found.conf)
        self.assertEqual(settings.Settings(attempts=3), found.settings)
        self.assertEqual([URL], found.sources(URL))
        self.assertFalse(found.debug)
        self.assertTrue(self.read('--debug').debug)

    def test_a_flag_beats_the_file(self) -> None:
        path = self.write('attempts = 5\nbackoff = 7\n')
        found = self.read('--attempts 3 --config-file ' + path)
        self.assertEqual(
            settings.Settings(attempts=3, backoff=7.0), found.settings
        )

    def test_a_flag_beats_what_cannot_be_used(self) -> None:
        path = self.write('attempts = many\n')
        found = self.read('--attempts 3 --config-file ' + path)
        self.assertEqual(3, found.settings.attempts)
        self.assertRaises(
            errors.OptionError, self.read, '--config-file ' + path
        )

    def test_a_dollar_in_a_flag_is_one(self) -> None:
        path = self.write('')
        line = "--proxy 'http://me:my$word@proxy'"
        for more in ('', ' --config-file ' + path):
            found = self.read(line + more)
            self.assertEqual('http://me:my$word@proxy', found.settings.proxy)

    def test_what_a_copy_is_asked_for(self) -> None:
        path = self.write('verify = true\nprogress = json\ncontainer = xz\n')
        found = self.read('--container zstd --config-file ' + path)
        self.assertThat(
            found.copy,
            matchers.ContainsDict(
                {
                    'verify': matchers.Is(True),
                    'progress': matchers.Equals('json'),
                    'container': matchers.Equals('zstd'),
                    'checksum': matchers.Is(None),
                }
            ),
        )
        found = self.read('--no-verify --config-file ' + path)
        self.assertFalse(found.copy['verify'])
        self.assertEqual(found.copy.keys(), self.read().copy.keys())

    def refused(self, line: str) -> str:
        return str(self.assertRaises(errors.OptionError, self.read, line))

    def test_names_that_are_none(self) -> None:
        path = self.write('conections = 8\n')
        text = self.refused('--config-file ' + path)
        self.assertIn(path, text)
        self.assertIn('did you mean connections?', text)
        self.write('header = A: 1\n', 'our.d/any.conf')
        directory = os.path.join(self.home, 'our.d')
        text = self.refused('--config-dir ' + directory)
        self.assertIn(os.path.join(directory, 'any.conf'), text)
        path = self.write('conections = 8\n', 'fuel-agent-curl.conf')
        self.assertIn(path, self.refused(''))
        os.unlink(path)
        self.useFixture(
            fixtures.EnvironmentVariable('OS_FUEL_AGENT_CURL__CONECTIONS', '1')
        )
        self.assertIn('OS_FUEL_AGENT_CURL__CONECTIONS', self.refused(''))

    def test_no_error_repeats_a_line(self) -> None:
        for text, part in (
            ('Authorization hush\n', 'line 2'),
            ('proxy = http://me:hu$hush@host\n', "written '$$'"),
            ('headers = hush\n', 'Name: value'),
            ('attempts = hush\n', 'not a whole number'),
            ('[hush\n', 'line 2'),
            ('Bearer hush = hush', 'no option'),
        ):
            said = self.refused('--config-file ' + self.write(text))
            self.assertIn(part, said)
            self.assertNotIn('hush', said)

    def test_a_file_in_another_encoding(self) -> None:
        path = self.write('')
        with open(path, 'wb') as file:
            file.write(b'[fuel_agent_curl]\nuser_agent = caf\xe9\n')
        self.assertIn('encoded', self.refused('--config-file ' + path))

    def test_mirrors_of_a_file(self) -> None:
        path = self.write('mirrors = http://server=http://other\n')
        found = self.read('--config-file ' + path)
        self.assertEqual([URL, 'http://other/image'], found.sources(URL))

    def test_a_file_where_nobody_named_one(self) -> None:
        for name in (
            'fuel-agent-curl.conf',
            '.fuel-agent-curl/fuel-agent-curl.conf',
            'fuel-agent-curl.conf.d/any.conf',
        ):
            path = self.write('attempts = 8\n', name)
            self.assertEqual(8, self.read().settings.attempts)
            os.unlink(path)
            if name.endswith('any.conf'):
                os.rmdir(os.path.dirname(path))

    def test_a_directory_of_files(self) -> None:
        self.write('attempts = 6\n', 'our.d/any.conf')
        found = self.read('--config-dir ' + os.path.join(self.home, 'our.d'))
        self.assertEqual(6, found.settings.attempts)

    def test_all_is_logged_where_a_file_says_so(self) -> None:
        self.patch(logging.getLogger(), 'handlers', [])
        level = logging.getLogger().level
        self.addCleanup(logging.getLogger().setLevel, level)
        self.patch(sys, 'excepthook', sys.excepthook)
        path = self.write('[DEFAULT]\ndebug = true\n')
        for line, expected in (
            ('', logging.ERROR),
            ('--debug', logging.DEBUG),
            ('--config-file ' + path, logging.DEBUG),
        ):
            configuration.set_up_logging(self.read(line), quiet=True)
            self.assertEqual(expected, logging.getLogger().level, line)

    def test_handlers_of_others_are_not_closed(self) -> None:
        stream = io.StringIO()
        handler = logging.FileHandler(os.path.join(self.home, 'log'))
        self.addCleanup(handler.close)
        self.patch(logging.getLogger(), 'handlers', [handler])
        level = logging.getLogger().level
        self.addCleanup(logging.getLogger().setLevel, level)
        self.patch(sys, 'stderr', stream)
        configuration.set_up_logging(self.read(), quiet=False)
        self.assertIsNotNone(handler.stream)
        logging.getLogger().info('a line')
        self.assertIn(' INFO a line', stream.getvalue())

    def test_the_environment(self) -> None:
        self.useFixture(
            fixtures.EnvironmentVariable('OS_FUEL_AGENT_CURL__ATTEMPTS', '9')
        )
        self.assertEqual(9, self.read().settings.attempts)
        self.assertEqual(4, self.read('--attempts 4').settings.attempts)

    def test_the_environment_of_other_programs(self) -> None:
        for name in ('OS_AUTH_URL', 'OS_OTHER__OPTION'):
            self.useFixture(fixtures.EnvironmentVariable(name, 'x'))
        self.assertIsNone(self.read().conf)

    def test_everywhere_that_oslo_config_looks(self) -> None:
        for name in ('SNAP', 'SNAP_COMMON'):
            self.useFixture(fixtures.EnvironmentVariable(name, '/' + name))
        looked: list[str] = []
        self.patch(os.path, 'exists', looked.append)
        prog = arguments.PROG
        cfg.find_config_files(prog, prog)
        cfg.find_config_dirs(prog, prog)
        self.assertEqual(12, len(set(looked)))
        self.assertEqual(set(looked), set(_DEFAULT_PATHS()))

    def test_relative_to_a_directory_that_is_gone(self) -> None:
        self.useFixture(fixtures.EnvironmentVariable('HOME', 'home'))
        self.patch(configuration, 'default_paths', _DEFAULT_PATHS)
        self.patch(os, 'getcwd', _gone)
        self.patch(os.path, 'exists', lambda path: False)
        self.assertIsNone(self.read().conf)

    def test_logging_that_cannot_be_set_up(self) -> None:
        path = self.write('[DEFAULT]\nlog_config_append = /nonexistent\n')
        found = self.read('--config-file ' + path)
        self.assertRaises(
            errors.OptionError,
            configuration.set_up_logging,
            found,
            quiet=False,
        )
