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

"""Tests of the errors: exit codes, text, and what must not be in it."""

from __future__ import annotations

from collections.abc import Iterator
import copy
import errno
import importlib
import types

import fuel_agent_curl
from fuel_agent_curl import errors
from tests import base

# An interface: a code never changes its meaning. Add, but do not edit.
EXIT_CODES = {
    'Error': 10,
    'OptionError': 2,
    'ResourceError': 11,
    'NetworkError': 12,
    'ResolveError': 13,
    'ConnectError': 14,
    'TLSError': 15,
    'CertificateError': 16,
    'ReceiveError': 17,
    'Stalled': 18,
    'StatusError': 19,
    'RedirectError': 20,
    'ProtocolError': 21,
    'ContentRangeError': 22,
    'ContentCodingError': 29,
    'ContentLengthError': 23,
    'RepresentationChanged': 24,
    'DeadlineExceeded': 25,
    'AttemptsExhausted': 26,
    'RetryAfterTooLong': 27,
    'Cancelled': 63,
    'PieceMismatch': 28,
    'ContentError': 30,
    'CorruptError': 31,
    'TruncatedError': 32,
    'TrailingGarbageError': 33,
    'DigestMismatch': 34,
    'ImageTooShort': 35,
    'ImageTooLong': 36,
    'WindowTooLarge': 37,
    'NotAnImage': 38,
    'UnprovenEnd': 39,
    'NeedsOtherFile': 55,
    'UnusableImage': 56,
    'NoRanges': 57,
    'SignatureError': 59,
    'BadSignature': 60,
    'UntrustedSignature': 61,
    'NoVerifier': 62,
    'DeviceError': 40,
    'TargetMissing': 41,
    'TargetIsDirectory': 42,
    'TargetPermission': 43,
    'TargetReadOnly': 44,
    'TargetBusy': 45,
    'TargetTooSmall': 46,
    'TargetFull': 47,
    'WriteError': 48,
    'TargetVanished': 49,
    'NotForThisSectorSize': 50,
    'TargetUnsuitable': 51,
    'CannotContinue': 52,
    'SpoolError': 53,
}


def _tree(kind: type[errors.Error]) -> Iterator[type[errors.Error]]:
    yield kind
    for child in kind.__subclasses__():
        # Those that other modules derive keep the code of their base.
        if child.__module__ == errors.__name__:
            yield from _tree(child)


class TestExitCodes(base.TestCase):
    def test_codes_are_those_documented(self) -> None:
        found = {kind.__name__: kind.exit_code for kind in _tree(errors.Error)}
        self.assertEqual(EXIT_CODES, found)

    def test_each_class_has_a_code_of_its_own(self) -> None:
        codes = [kind.exit_code for kind in _tree(errors.Error)]
        self.assertEqual(sorted(set(codes)), sorted(codes))

    def test_codes_keep_off_those_of_shell_and_signals(self) -> None:
        for kind in _tree(errors.Error):
            usage = kind is errors.OptionError
            self.assertTrue(usage or 10 <= kind.exit_code < 125, kind)


class TestShortage(base.TestCase):
    def test_what_is_public_cannot_be_imported(self) -> None:
        """It is when it is first used, which may be late."""
        really = importlib.import_module

        def fail(name: str) -> types.ModuleType:
            if name == 'fuel_agent_curl.errors':
                return really(name)
            raise OSError(errno.EMFILE, 'many')

        self.patch(importlib, 'import_module', fail)
        for name in fuel_agent_curl.__all__:
            if name != 'errors':
                self.assertRaises(
                    errors.ResourceError, fuel_agent_curl.__getattr__, name
                )

    def test_there_is_all_that_is_public(self) -> None:
        for name in fuel_agent_curl.__all__:
            self.assertIs(
                getattr(fuel_agent_curl, name),
                fuel_agent_curl.__getattr__(name),
            )

    def test_what_is_one(self) -> None:
        library = '/x/_zstd.so: '
        for error, number in (
            (MemoryError(), errno.ENOMEM),
            (OSError(errno.EMFILE, 'many'), errno.EMFILE),
            (RuntimeError("can't start new thread"), errno.EAGAIN),
            (
                ImportError(
                    library + 'failed to map segment from shared object'
                ),
                errno.ENOMEM,
            ),
            (
                ImportError(
                    library + 'cannot create shared object descriptor:'
                    ' Cannot allocate memory'
                ),
                errno.ENOMEM,
            ),
        ):
            made = errors.shortage(error)
            assert made is not None, error
            self.assertEqual(number, made.os_errno)
            self.assertIn(errno.errorcode[number], str(made))
            self.assertIs(error, made.__cause__)

    def test_what_is_none(self) -> None:
        for error in (
            ImportError("No module named 'x'"),
            ImportError('/x/_zstd.so: undefined symbol: y'),
            OSError(errno.EIO, 'broken'),
            RuntimeError('else'),
            ValueError(),
        ):
            self.assertIsNone(errors.shortage(error))


class TestText(base.TestCase):
    def test_says_what_where_and_which_attempt(self) -> None:
        for expected, error in (
            ('gone', errors.Error('gone')),
            ('gone (http://h/p)', errors.Error('gone', url='http://h/p')),
            ('gone (at byte 0)', errors.Error('gone', offset=0)),
            (
                'gone (attempt 2 of 31)',
                errors.Error('gone', attempt=2, attempts=31),
            ),
            (
                'gone (attempt 2 of any)',
                errors.Error('gone', attempt=2, attempts=0),
            ),
            ('gone; look for it', errors.Error('gone', hint='look for it')),
            (
                'gone (http://h/p, at byte 5, attempt 1 of 3); wait',
                errors.Stalled(
                    'gone',
                    url='http://h/p',
                    offset=5,
                    attempt=1,
                    attempts=3,
                    hint='wait',
                ),
            ),
        ):
            self.assertEqual(expected, str(error))

    def test_is_one_line_that_no_server_can_forge(self) -> None:
        for given, expected in (
            ('a\r\nWARNING b', 'a?WARNING b'),
            ('a\x1b[2Jb', 'a?[2Jb'),
            ('a\0b\x7fc\x9bd', 'a?b?c?d'),
            ('a\tb', 'a?b'),
            ('caf\xe9', 'caf\xe9'),
        ):
            error = errors.StatusError(given)
            self.assertEqual(expected, str(error))
            self.assertEqual(expected, error.message)

    def test_a_copy_says_the_same(self) -> None:
        error = errors.Stalled('slow', url='http://u:p@h/', offset=7)
        error.curl_code = 28
        twin = copy.copy(error)
        self.assertEqual(str(error), str(twin))
        self.assertEqual(28, twin.curl_code)

    def test_wrong_options_are_value_errors_too(self) -> None:
        self.assertIsInstance(errors.OptionError('no'), ValueError)


class TestRedact(base.TestCase):
    def test_keeps_what_is_no_secret(self) -> None:
        for url in (
            'http://host/',
            'https://host:8443/a/b.img.gz',
            'http://[2001:db8::1]:8080/image',
            'http://host/pkg@1.2/image',
            'http://host/a%20b',
            'http://host',
            '',
        ):
            self.assertEqual(url, errors.redact(url))

    def test_drops_what_may_be_a_secret(self) -> None:
        for url, expected in (
            ('http://user:s3cret@host/p', 'http://host/p'),
            ('http://s3cret@host/p', 'http://host/p'),
            ('http://user:s3@cret@host:80/p', 'http://host:80/p'),
            ('https://host/p?X-Sig=s3cret', 'https://host/p?***'),
            ('https://host/p?s3cret', 'https://host/p?***'),
            ('https://host/p#s3cret', 'https://host/p'),
            ('http://host/http://u:s3cret@b/p', 'http://host/http://b/p'),
            ('http://host/a@b/s3', 'http://host/a@b/s3'),
            # What begins like a port.
            ('http://user:1/s3cret@host/p', 'http://user:***@host/p'),
            ('http://user:1?s3cret@host/p', 'http://user:***'),
            ('http://user:1#s3cret@host/p', 'http://user:***'),
            ('http://host:1/p?u=a@b', 'http://host:1/p?***'),
            ('http:\\\\user:s3cret@host', 'http:***'),
            ('s3cret:x@host/p', '***'),
            ('s3cret@host/p', '***'),
            ('socks5h://s3cret@[::1', 'socks5h:***'),
            ('https://user:s3cret@host/p?s3cret#s3cret', 'https://host/p?***'),
        ):
            self.assertEqual(expected, errors.redact(url))

    def test_shows_little_of_what_cannot_be_taken_apart(self) -> None:
        for url in (
            # A slash, a question mark or a hash in the password, not encoded.
            'http://user:s3cret/x@host/p',
            'http://user:x/s3cret@host/p',
            'http://user:s3cret?x@host/p',
            'http://user:s3cret#x@host/p',
            'http://user:s3cret@[::1/p',
            'http://user:s3cret@host:port/p',
            'http:/user:s3cret@host/p',
            'user:s3cret@host/p',
        ):
            shown = errors.redact(url)
            self.assertNotIn('s3cret', shown, url)
            self.assertIn('***', shown)

    def test_is_one_line(self) -> None:
        for url in 'http://h/a\r\nb', 'http://h/a\x1bb', 'a@h/\nb', '\n':
            shown = errors.redact(url)
            self.assertEqual(shown, errors.one_line(shown))

    def test_an_error_keeps_the_redacted_form_only(self) -> None:
        error = errors.Error('no', url='http://user:s3cret@host/p?s3cret')
        self.assertEqual('http://host/p?***', error.url)
        self.assertNotIn('s3cret', repr(vars(error)) + str(error))
