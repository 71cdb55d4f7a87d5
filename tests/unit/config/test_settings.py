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

"""Tests of the settings: what they are made of, and what they refuse."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings
from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from tests import base


def make(**values: Any) -> settings.Settings:
    return settings.Settings(**values)


class _SettingsTestCase(base.TestCase):
    def assertRefused(self, *words: str, **values: Any) -> None:
        """The settings are refused, by an error with these words in it."""
        try:
            made = make(**values)
        except errors.OptionError as error:
            for word in words:
                self.assertIn(word, str(error), repr(values))
            return
        self.fail('not refused: %r' % made)


class TestSettings(_SettingsTestCase):
    def test_the_defaults_are_those_documented(self) -> None:
        self.assertEqual(
            {
                'connect_timeout': 10.0,
                'first_byte_timeout': 60.0,
                'low_speed_limit': 1024,
                'low_speed_time': 10.0,
                'attempts': 31,
                'backoff': 2.0,
                'backoff_max': 60.0,
                'deadline': 0.0,
                'connections': 1,
                'segment_size': 4 * MIB,
                'window_size': 64 * MIB,
                'chunk_size': MIB,
                'buffer_size': 512 * KIB,
                'proxy': None,
                'https_proxy': None,
                'no_proxy': None,
                'cacert': None,
                'cert': None,
                'key': None,
                'key_password_file': None,
                'user': None,
                'netrc_file': None,
                'insecure': False,
                'tls_min_version': '1.2',
                'tls_ciphers': None,
                'interface': None,
                'resolve': (),
                'ip_version': 'any',
                'headers': (),
                'user_agent': 'fuel-agent-curl',
                'max_recv_speed': 0,
                'http_version': '1.1',
                'direct_io': True,
                'wipe_leftovers': False,
                'any_sector_size': False,
                'decoder_memory': 128 * MIB,
                'decoder_threads': 0,
                'trailing_data': 'error',
                'allow_unproven_end': False,
            },
            dataclasses.asdict(settings.Settings()),
        )

    def test_a_value_cannot_be_changed(self) -> None:
        made = settings.Settings()
        self.assertRaises(
            dataclasses.FrozenInstanceError, setattr, made, 'attempts', 1
        )

    def test_each_bound_is_allowed(self) -> None:
        for name, bounds in settings.BOUNDS.items():
            for value in bounds:
                made = make(**{name: value})
                self.assertEqual(value, getattr(made, name), name)

    def test_past_a_bound_is_refused(self) -> None:
        for name, (least, most) in settings.BOUNDS.items():
            whole = isinstance(getattr(settings.Settings(), name), int)
            step = 1 if whole else least / 2 or 1e-9
            for value in (least - step, most + step + 1):
                self.assertRefused(name, **{name: value})

    def test_what_is_no_number_is_refused(self) -> None:
        for name in settings.BOUNDS:
            for value in (
                math.nan,
                math.inf,
                -math.inf,
                True,
                False,
                None,
                '10',
                b'10',
                10j,
                10**400,
            ):
                self.assertRefused(name, **{name: value})

    def test_a_fraction_is_refused_where_bytes_or_attempts_are_counted(
        self,
    ) -> None:
        for name, (least, most) in settings.BOUNDS.items():
            value = (least + min(most, 1e6)) / 2 + 0.5
            if isinstance(getattr(settings.Settings(), name), int):
                self.assertRefused(name, 'whole', **{name: value})
            else:
                make(**{name: value})

    def test_a_flag_is_true_or_false(self) -> None:
        """A text such as 'no' would count as true."""
        for name in (
            *('insecure', 'direct_io', 'wipe_leftovers', 'any_sector_size'),
            'allow_unproven_end',
        ):
            for value in ('no', 'false', '', 0, 1, None):
                self.assertRefused(name, **{name: value})
            for value in (True, False):
                made = make(**{name: value})
                self.assertEqual(value, getattr(made, name))

    def test_only_versions_of_http_that_exist(self) -> None:
        for version in ('1.0', '1.1', '2', '3'):
            settings.Settings(http_version=version)
        for bad in ('', '1', '0.9', '2.0', '4', 1.1, 2, None):
            self.assertRefused('http_version', http_version=bad)

    def test_secrets_are_not_in_the_repr(self) -> None:
        made = settings.Settings(
            headers=('Authorization: Bearer s3cret',),
            proxy='http://user:s3cret@proxy',
        )
        self.assertNotIn('s3cret', repr(made))

    def test_a_proxy_is_printable_ascii(self) -> None:
        for proxy in (None, '', 'http://u:%C3%A4@proxy', 'socks5h://proxy:1'):
            self.assertEqual(proxy, settings.Settings(proxy=proxy).proxy)
        for bad in ('http://u:s3cret\xe4@proxy', 'http://u:s3cret\r\n@proxy'):
            error = self.assertRaises(
                errors.OptionError, settings.Settings, proxy=bad
            )
            self.assertIn('proxy', str(error))
            self.assertNotIn('s3cret', str(error))


class TestHeaders(_SettingsTestCase):
    def test_any_iterable_of_fields_will_do(self) -> None:
        made = make(headers=['A: 1', 'B:2'])
        self.assertEqual(('A: 1', 'B:2'), made.headers)
        self.assertEqual(made, settings.Settings(headers=('A: 1', 'B:2')))
        hash(made)

    def test_usual_fields_are_allowed(self) -> None:
        for header in (
            'Authorization: Bearer abc=',
            'Cookie: a=b; c="d"',
            'X-Token:',
            'X: a\tb',
            'Host: other.example.org:8080',
            'X-Range: bytes=1-2',
            'Accept: */*',
            '!#$%&\'*+-.^_`|~09azAZ: every character of a token',
        ):
            made = settings.Settings(headers=(header,))
            self.assertEqual((header,), made.headers)

    def test_a_field_cannot_add_another(self) -> None:
        for bad in '\r', '\n', '\r\nRange: bytes=5-', '\0', '\r\n\r\n':
            self.assertRefused('X-One', headers=('X-One: 1' + bad,))
            self.assertRefused('X-One', headers=('X-One:' + bad + '1',))
            self.assertRefused(headers=('X-One' + bad + ': 1',))
            self.assertRefused('User-Agent', user_agent='curl' + bad)

    def test_a_field_is_printable_ascii(self) -> None:
        """libcurl would send what it is given, or refuse it later."""
        for bad in '\x01', '\x1b', '\x7f', '\x85', '\xe9', '\u2028':
            self.assertRefused('X-One', headers=('X-One: 1' + bad,))
            self.assertRefused('User-Agent', user_agent=bad)

    def test_what_is_no_field_is_refused(self) -> None:
        for header in (
            '',
            ':',
            ': 1',
            'X',
            'X;',
            'X : 1',
            ' X: 1',
            '\tX: 1',
            'X Y: 1',
            'X;Y: 1',
            'X(: 1',
            '"X": 1',
            'X\x7f: 1',
            '\xe9: 1',
        ):
            self.assertRefused(headers=('A: 1', header))

    def test_a_secret_value_is_not_in_the_error(self) -> None:
        for header in 'X Y: s3cret', 'X: s3cret\n', 'Range: s3cret':
            try:
                settings.Settings(headers=(header,))
            except errors.OptionError as error:
                self.assertNotIn('s3cret', str(error))
                continue
            self.fail('not refused: %r' % header)

    def test_fields_that_the_download_sets_are_refused(self) -> None:
        for name in (
            'Range',
            'If-Range',
            'If-Match',
            'If-None-Match',
            'If-Modified-Since',
            'If-Unmodified-Since',
            'Accept-Encoding',
            'Content-Length',
            'Transfer-Encoding',
            'Connection',
            'TE',
            'Upgrade',
        ):
            for spelling in (name, name.lower(), name.upper()):
                self.assertRefused(spelling, headers=(spelling + ': x',))
            # libcurl takes this for: do not send the field.
            self.assertRefused(name, headers=(name + ':',))


class TestDerived(_SettingsTestCase):
    def test_window_of_one_connection_is_16_mib_at_most(self) -> None:
        for connections, size, expected in (
            (1, 64 * MIB, 16 * MIB),
            (1, 16 * MIB, 16 * MIB),
            (1, 8 * MIB, 8 * MIB),
            (1, 64 * KIB, 64 * KIB),
            (2, 64 * MIB, 64 * MIB),
            (2, MIB, MIB),
        ):
            made = settings.Settings(connections=connections, window_size=size)
            self.assertEqual(expected, made.window, repr(made))

    def test_segments_fit_the_window_in_whole_mib(self) -> None:
        for connections, window, size, expected in (
            (4, 64 * MIB, 4 * MIB, 4 * MIB),
            (16, 64 * MIB, 4 * MIB, 4 * MIB),
            (17, 64 * MIB, 4 * MIB, 3 * MIB),
            (32, 64 * MIB, 4 * MIB, 2 * MIB),
            (64, 64 * MIB, 4 * MIB, MIB),
            (3, 64 * MIB, 64 * MIB, 21 * MIB),
            # Never less than that, as caches keep whole MiB.
            (256, 64 * MIB, 4 * MIB, MIB),
            # But where the window itself is smaller: one has to fit.
            (4, 512 * KIB, 4 * MIB, 128 * KIB),
            # What was asked for is not made larger.
            (4, 64 * MIB, 64 * KIB, 64 * KIB),
        ):
            made = settings.Settings(
                connections=connections, window_size=window, segment_size=size
            )
            self.assertEqual(expected, made.segment, repr(made))

    def test_progress_is_what_low_speed_would_have_brought(self) -> None:
        for limit, seconds, expected in (
            (1024, 10.0, 10240),
            (1, 0.1, 1),
            (10, 0.25, 2),
            (1000, 2, 2000),
        ):
            made = settings.Settings(
                low_speed_limit=limit, low_speed_time=seconds
            )
            self.assertEqual(expected, made.progress)

    def test_a_limited_download_is_not_stalled_by_its_own_limit(self) -> None:
        for limit, speed, expected in (
            (1024, 0, 1024),
            (1024, 10**9, 1024),
            (1024, 2048, 1024),
            (1024, 2047, 1023),
            (1024, 1024, 512),
            (1024, 100, 50),
            (1024, 3, 1),
            (1024, 2, 1),
            (1024, 1, 1),
            (1, 1, 1),
        ):
            made = settings.Settings(
                low_speed_limit=limit, max_recv_speed=speed
            )
            self.assertEqual(expected, made.stall_limit, repr(made))
            # What counts as progress does not depend on it.
            self.assertEqual(limit * 10, made.progress)
