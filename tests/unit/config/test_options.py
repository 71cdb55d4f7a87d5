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

"""What can be set, and what a text says of it."""

from __future__ import annotations

import dataclasses

from testtools import matchers

from fuel_agent_curl import image
from fuel_agent_curl.config import options
from fuel_agent_curl.config import settings
from tests import base

OPTIONS = {option.name: option for option in options.OPTIONS}


class TestOptions(base.TestCase):
    def test_each_field_of_the_settings_is_one(self) -> None:
        fields = [
            field.name for field in dataclasses.fields(settings.Settings)
        ]
        self.assertEqual(fields, list(OPTIONS))

    def test_kinds(self) -> None:
        for name, kind in (
            ('connect_timeout', float),
            ('attempts', int),
            ('proxy', str),
            ('user_agent', str),
            ('insecure', bool),
            ('headers', tuple),
        ):
            self.assertIs(kind, OPTIONS[name].kind)
        self.assertIs(tuple, options.MIRRORS.kind)

    def test_the_proxies_are_listed_together(self) -> None:
        for name in ('proxy', 'https_proxy', 'no_proxy'):
            self.assertEqual('network', OPTIONS[name].subject)

    def test_help_says_the_unit(self) -> None:
        for option in OPTIONS.values():
            self.assertTrue(option.help.endswith('.'), option.name)
            for unit in ('bytes', 'seconds'):
                self.assertEqual(
                    option.unit == unit, '(in ' + unit in option.help
                )
            if option.kind is float:
                self.assertEqual('seconds', option.unit)
            if option.name.endswith('_size') and option.kind is int:
                self.assertEqual('bytes', option.unit)

    def test_what_may_hold_credentials_is_secret(self) -> None:
        secret = {option.name for option in options.ALL if option.secret}
        self.assertThat(
            secret,
            matchers.ContainsAll(
                ['proxy', 'key', 'headers', 'mirrors', 'checksum', 'bmap']
            ),
        )
        self.assertNotIn('user_agent', secret)

    def test_subjects(self) -> None:
        for option in options.ALL:
            self.assertIn(option.subject, options.SUBJECTS, option.name)

    def test_each_name_and_flag_is_one_option(self) -> None:
        names = [option.name for option in options.ALL]
        flags = [flag for option in options.ALL for flag in option.flags]
        self.assertEqual(sorted(set(names)), sorted(names))
        self.assertEqual(sorted(set(flags)), sorted(flags))

    def test_containers(self) -> None:
        (option,) = [
            option for option in options.COPY if option.name == 'container'
        ]
        self.assertEqual(('auto', *image.CONTAINERS), option.choices)

    def test_values(self) -> None:
        for name, text, expected in (
            ('attempts', '0', 0),
            ('attempts', '7', 7),
            ('max_recv_speed', '1.5M', 1536 * 1024),
            ('deadline', '1.5h', 5400.0),
            ('connect_timeout', '0.5', 0.5),
            ('connect_timeout', '86400', 86400.0),
            ('headers', 'A: 1, 2', 'A: 1, 2'),
            ('proxy', '', ''),
            ('http_version', '2', '2'),
            ('insecure', 'Yes', True),
            ('direct_io', '0', False),
        ):
            value = OPTIONS[name].value(text)
            self.assertEqual((expected, type(expected)), (value, type(value)))

    def test_what_says_nothing_or_too_much(self) -> None:
        for name, text, part in (
            ('attempts', 'x', 'not a whole number'),
            ('attempts', '1.5', 'not a whole number'),
            ('attempts', '1_0', 'not a whole number'),
            ('attempts', '-1', 'not from 0 to'),
            ('connections', '257', 'not from 1 to 256'),
            ('connect_timeout', 'soon', 'not a duration such as'),
            ('connect_timeout', 'nan', 'not a duration such as'),
            ('connect_timeout', '0', 'not from 0.001 to 86400'),
            ('window_size', '1Q', 'not a number of bytes such as'),
            ('insecure', 'perhaps', 'neither true nor false'),
            ('http_version', '9', 'not one of 1.0, 1.1, 2, 3'),
        ):
            error = self.assertRaises(ValueError, OPTIONS[name].value, text)
            self.assertThat(str(error), matchers.StartsWith(part))
