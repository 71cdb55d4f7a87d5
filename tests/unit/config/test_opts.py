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


"""Tests of the options: where a setting comes from."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from typing import Any

import fixtures
from fuel_agent.utils import artifact as fuel_agent_artifact
from fuel_agent.utils import utils as fuel_agent_utils
from oslo_config import cfg
from testtools import matchers

from fuel_agent_curl import errors
from fuel_agent_curl.config import options
from fuel_agent_curl.config import opts
from fuel_agent_curl.config import settings
from tests import base

FIELDS = [field.name for field in dataclasses.fields(settings.Settings)]

# One value for each option, none of them the default.
OTHER: dict[str, Any] = {
    'connect_timeout': 3.5,
    'first_byte_timeout': 30.0,
    'low_speed_limit': 10,
    'low_speed_time': 4.5,
    'attempts': 0,
    'backoff': 0.25,
    'backoff_max': 1.5,
    'deadline': 900.0,
    'connections': 4,
    'segment_size': 1048576,
    'window_size': 8388608,
    'chunk_size': 65536,
    'buffer_size': 16384,
    'proxy': 'http://proxy:3128',
    'https_proxy': 'http://proxy:3129',
    'no_proxy': 'localhost,.example.org',
    'cacert': '/ca.pem',
    'cert': '/cert.pem',
    'key': '/key.pem',
    'key_password_file': '/phrase',
    'user': 'name:pass:word',
    'netrc_file': '/netrc',
    'insecure': True,
    'tls_min_version': '1.3',
    'tls_ciphers': 'TLS_AES_128_GCM_SHA256:AES128-SHA',
    'interface': 'eth0',
    'resolve': ('a:80:10.0.0.1', 'b:443:10.0.0.2,::1'),
    'ip_version': '6',
    'headers': ('X-One: 1, 2', 'X-Two: 3'),
    'user_agent': 'other/1',
    'max_recv_speed': 1000000,
    'http_version': '2',
    'direct_io': False,
    'wipe_leftovers': True,
    'any_sector_size': True,
    'decoder_memory': 1 << 20,
    'decoder_threads': 3,
    'trailing_data': 'ignore',
    'allow_unproven_end': True,
}


class _OptsTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.conf = cfg.ConfigOpts()
        opts.register(self.conf)

    def parse(self, text: str = '', *arguments: str) -> None:
        """Parse a command line, and a file that holds ``text``."""
        directory = self.useFixture(fixtures.TempDir()).path
        handle, path = tempfile.mkstemp('.conf', dir=directory)
        with os.fdopen(handle, 'w') as file:
            file.write(text)
        self.conf(['--config-file', path, *arguments], project='test')

    def settings(self, **overrides: Any) -> settings.Settings:
        return opts.settings_from(self.conf, **overrides)


class TestOptions(_OptsTestCase):
    def test_each_setting_is_an_option_with_the_same_default(self) -> None:
        self.parse()
        self.assertEqual(FIELDS, [option.dest for option in opts.OPTS])
        self.assertEqual(settings.Settings(), self.settings())

    def test_each_option_is_read_from_a_file(self) -> None:
        lines = ['[fuel_agent_curl]']
        for name, value in OTHER.items():
            values = value if isinstance(value, tuple) else (value,)
            lines += ['%s = %s' % (name, v) for v in values]
        self.parse('\n'.join(lines))
        self.assertEqual(FIELDS, list(OTHER))
        self.assertEqual(settings.Settings(**OTHER), self.settings())

    def test_an_override_beats_the_file(self) -> None:
        self.parse('[fuel_agent_curl]\nattempts = 5\nbackoff = 7\n')
        self.assertThat(
            self.settings(attempts=6),
            matchers.MatchesStructure.byEquality(attempts=6, backoff=7.0),
        )

    def test_bounds_are_those_of_the_settings(self) -> None:
        for name, (least, most) in settings.BOUNDS.items():
            for value in (least, most):
                self.conf.set_override(name, value, opts.GROUP)
                self.assertEqual(value, getattr(self.settings(), name))
            for value in (least - 1, most + 1):
                self.assertRaises(
                    ValueError,
                    self.conf.set_override,
                    name,
                    value,
                    opts.GROUP,
                )
            self.conf.clear_override(name, opts.GROUP)

    def test_a_value_that_cannot_be_used_is_named(self) -> None:
        for line in (
            'attempts = many',
            'attempts = -1',
            'http_version = 4',
            'insecure = perhaps',
        ):
            self._begin_again(line)
            error = self.assertRaises(errors.OptionError, self.settings)
            self.assertIn(line.partition(' ')[0], str(error))

    def test_sizes_and_durations_as_people_write_them(self) -> None:
        self.parse(
            '[fuel_agent_curl]\n'
            'max_recv_speed = 1.5M\nwindow_size=1g\nchunk_size = 65536\n'
            'deadline = 1.5h\nlow_speed_time = 90\nbackoff = 5m\n'
        )
        self.assertThat(
            self.settings(),
            matchers.MatchesStructure.byEquality(
                max_recv_speed=1536 * 1024,
                window_size=1024**3,
                chunk_size=65536,
                deadline=5400.0,
                low_speed_time=90.0,
                backoff=300.0,
            ),
        )

    def test_no_error_repeats_a_value(self) -> None:
        """It may be a credential that landed in the wrong line."""
        for name in (
            *('attempts', 'deadline', 'window_size', 'insecure'),
            *('http_version', 'container', 'verify', 'progress'),
        ):
            self.conf = cfg.ConfigOpts()
            opts.register_program(self.conf)
            self.parse('[fuel_agent_curl]\n%s = hush\n' % name)
            error = self.assertRaises(
                errors.OptionError,
                lambda: (
                    opts.settings_from(self.conf),
                    opts.copy_from(self.conf),
                ),
            )
            self.assertIn(name, str(error))
            self.assertIn('.conf cannot be used: n', str(error))
            self.assertNotIn('hush', str(error) + repr(error))

    def test_what_a_copy_is_asked_for(self) -> None:
        opts.register_program(self.conf)
        digest = 'sha256:' + '0' * 64
        self.parse(
            '[fuel_agent_curl]\nverify = yes\nimage_checksum = %s\n' % digest
        )
        found = opts.copy_from(self.conf, container='xz')
        self.assertEqual(
            {
                **{option.name: option.default for option in options.COPY},
                'verify': True,
                'image_checksum': digest,
                'container': 'xz',
            },
            found,
        )

    def _begin_again(self, line: str) -> None:
        self.conf = cfg.ConfigOpts()
        opts.register(self.conf)
        self.parse('[fuel_agent_curl]\n' + line)

    def test_an_error_does_not_tell_a_secret(self) -> None:
        self.parse('[fuel_agent_curl]\nproxy = http://me:my$word@proxy\n')
        error = self.assertRaises(errors.OptionError, self.settings)
        self.assertIn('proxy', str(error))
        self.assertNotIn('word', str(error))
        self.assertIsNone(error.__cause__)

    def test_what_may_hold_credentials_is_secret(self) -> None:
        ((_group, listed),) = opts.list_opts()
        secret = {option.dest for option in listed if option.secret}
        self.assertEqual(
            {option.name for option in options.ALL if option.secret}, secret
        )

    def test_help_says_the_unit(self) -> None:
        for option in opts.OPTS:
            text = option.help or ''
            self.assertTrue(text.endswith('.'), option.dest)
            if option.type.type_name == 'duration value':
                self.assertIn('(in seconds', text)
            if option.type.type_name == 'size value':
                self.assertIn('(in bytes', text)

    def test_list_opts_returns_copies(self) -> None:
        ((group, listed),) = opts.list_opts()
        self.assertEqual(opts.GROUP, group)
        self.assertEqual(
            [
                *(*opts.OPTS, opts.MIRRORS, *opts.COPY, *opts.IRONIC_OPTS),
                opts.FUEL_AGENT_SPOOL,
            ],
            listed,
        )
        listed[0].default = 99
        self.assertNotEqual(99, opts.OPTS[0].default)

    def test_mirrors_are_read_from_a_file(self) -> None:
        self.parse(
            '[fuel_agent_curl]\n'
            'mirrors = http://a=http://b,http://c\n'
            'mirrors = http://d=http://e\n'
        )
        for url, wanted in (
            ('http://a/x', ['http://a/x', 'http://b/x', 'http://c/x']),
            ('http://d/x', ['http://d/x', 'http://e/x']),
            ('http://f/x', ['http://f/x']),
            ('http://a/x.meta4', ['http://a/x.meta4']),
            ('http://[::1', ['http://[::1']),
        ):
            self.assertEqual(wanted, opts.sources(self.conf, url))
        self._begin_again('mirrors = http://a')
        error = self.assertRaises(
            errors.OptionError, opts.sources, self.conf, 'http://a/x'
        )
        self.assertIn('mirrors', str(error))

    def test_registering_again_after_parsing_is_no_error(self) -> None:
        self.parse('[fuel_agent_curl]\nattempts = 2\n')
        opts.register(self.conf)
        self.assertEqual(2, self.settings().attempts)

    def test_they_are_no_cli_options(self) -> None:
        self.assertRaises(
            SystemExit, self.parse, '', '--fuel_agent_curl-attempts', '3'
        )


class TestFuelAgentsOptions(_OptsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.conf.register_opts(fuel_agent_utils.u_opts)
        self.conf.register_opts(fuel_agent_artifact.au_opts)

    def test_their_defaults_are_ours(self) -> None:
        self.parse()
        self.assertEqual(settings.Settings(), self.settings())

    def test_theirs_hold_where_ours_are_not_given(self) -> None:
        self.parse(
            '[DEFAULT]\n'
            'http_request_timeout = 33.5\n'
            'http_retry_delay = 0.5\n'
            'http_max_retries = 3\n'
            'data_chunk_size = 4096\n'
        )
        self.assertEqual(
            settings.Settings(
                connect_timeout=33.5,
                low_speed_time=33.5,
                backoff=0.5,
                attempts=4,
                chunk_size=4096,
            ),
            self.settings(),
        )

    def test_ours_beat_theirs(self) -> None:
        self.parse(
            '[DEFAULT]\n'
            'http_request_timeout = 33\n'
            'http_max_retries = 3\n'
            '[fuel_agent_curl]\n'
            'low_speed_time = 5\n'
            'attempts = 8\n'
        )
        self.assertThat(
            self.settings(),
            matchers.MatchesStructure.byEquality(
                connect_timeout=33.0, low_speed_time=5.0, attempts=8
            ),
        )

    def test_ours_beat_theirs_when_given_as_the_default(self) -> None:
        self.parse(
            '[DEFAULT]\nhttp_max_retries = 3\n'
            '[fuel_agent_curl]\nattempts = 31\n'
        )
        self.assertEqual(31, self.settings().attempts)

    def test_an_override_beats_theirs(self) -> None:
        self.parse('[DEFAULT]\nhttp_max_retries = 3\n')
        self.assertEqual(9, self.settings(attempts=9).attempts)

    def test_no_limit_stays_no_limit(self) -> None:
        self.parse('[DEFAULT]\nhttp_max_retries = 0\n')
        self.assertEqual(0, self.settings().attempts)

    def test_a_negative_count_does_not_become_no_limit(self) -> None:
        for count in (-1, -5):
            self.conf.set_override('http_max_retries', count)
            self.assertEqual(1, self.settings().attempts)
        self.assertIn('http_max_retries = -1 is out of', self.log.output)

    def test_a_longer_delay_is_not_cut_down_to_our_default(self) -> None:
        self.parse('[DEFAULT]\nhttp_retry_delay = 120\n')
        self.assertThat(
            self.settings(),
            matchers.MatchesStructure.byEquality(
                backoff=120.0, backoff_max=120.0
            ),
        )

    def test_a_given_maximum_cuts_their_delay_down(self) -> None:
        self.parse(
            '[DEFAULT]\nhttp_retry_delay = 120\n'
            '[fuel_agent_curl]\nbackoff_max = 60\n'
        )
        self.assertEqual(60.0, self.settings().backoff_max)

    def test_what_means_nothing_becomes_our_default(self) -> None:
        for value in (0, -1):
            self.conf.set_override('http_request_timeout', value)
            self.conf.set_override('http_retry_delay', -1)
            self.conf.set_override('data_chunk_size', value)
            self.assertEqual(settings.Settings(), self.settings())
        self.assertIn(
            'data_chunk_size = -1 is out of the range of '
            '[fuel_agent_curl] chunk_size; using 1048576',
            self.log.output,
        )

    def test_what_we_cannot_do_becomes_the_nearest(self) -> None:
        self.conf.set_override('http_request_timeout', 0.01)
        self.conf.set_override('data_chunk_size', 2**40)
        self.assertThat(
            self.settings(),
            matchers.MatchesStructure.byEquality(
                connect_timeout=0.01, low_speed_time=0.1, chunk_size=2**30
            ),
        )
        self.assertIn('using 0.1', self.log.output)

    def test_no_delay_stays_no_delay(self) -> None:
        self.conf.set_override('http_retry_delay', 0)
        self.assertEqual(0.0, self.settings().backoff)

    def test_theirs_that_cannot_be_used_is_named(self) -> None:
        self.parse('[DEFAULT]\nhttp_max_retries = some\n')
        error = self.assertRaises(errors.OptionError, self.settings)
        self.assertIn('http_max_retries', str(error))

    def test_theirs_mean_nothing_where_they_are_not_registered(self) -> None:
        self.conf = cfg.ConfigOpts()
        opts.register(self.conf)
        self.parse('[DEFAULT]\nhttp_max_retries = 3\n')
        self.assertEqual(31, self.settings().attempts)
