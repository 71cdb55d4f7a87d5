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

"""What is decided about an easy handle before there is one."""

from __future__ import annotations

import errno
import os
import ssl
import types

import fixtures
import pycurl

from fuel_agent_curl import errors
from fuel_agent_curl.engine import handles
from fuel_agent_curl.rules import redirects
from tests import base

DEBIAN = '/etc/ssl/certs/ca-certificates.crt'
FEDORA = '/etc/pki/tls/certs/ca-bundle.crt'


class TestAuthorities(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ('CURL_CA_BUNDLE', 'SSL_CERT_FILE', 'SSL_CERT_DIR'):
            self.set(name, None)
        # It is asked once in a process.
        self.patch(
            handles,
            '_system_authorities',
            handles._system_authorities.__wrapped__,
        )
        paths = types.SimpleNamespace(cafile='/python.pem')
        self.patch(ssl, 'get_default_verify_paths', lambda: paths)
        self.have()

    def set(self, name: str, value: str | None) -> None:
        self.useFixture(fixtures.EnvironmentVariable(name, value))

    def have(self, *files: str, directory: str = '') -> None:
        """Let these files exist, and this directory."""
        self.patch(os.path, 'isfile', lambda path: path in files)
        self.patch(os.path, 'isdir', lambda path: path == directory)

    def assert_taken(
        self,
        file: str | None,
        directory: str | None = None,
        given: str | None = None,
    ) -> None:
        self.assertEqual((file, directory), handles.authorities(given))

    def test_those_of_the_system(self) -> None:
        self.have(DEBIAN, FEDORA)
        self.assert_taken(DEBIAN)
        self.have(FEDORA)
        self.assert_taken(FEDORA)

    def test_those_of_python_come_last(self) -> None:
        self.assert_taken('/python.pem')

    def test_in_the_order_of_the_curl_tool(self) -> None:
        self.have(DEBIAN)
        self.set('SSL_CERT_DIR', '/directory')
        self.assert_taken(None, '/directory')
        # Missing or not: what is named and cannot be used is an error.
        self.set('SSL_CERT_FILE', '/file.pem')
        self.assert_taken('/file.pem', '/directory')
        self.set('CURL_CA_BUNDLE', '/bundle.pem')
        self.assert_taken('/bundle.pem')
        self.assert_taken('/own.pem', given='/own.pem')

    def test_an_empty_variable_is_none(self) -> None:
        self.have(DEBIAN)
        for name in ('CURL_CA_BUNDLE', 'SSL_CERT_FILE', 'SSL_CERT_DIR'):
            self.set(name, '')
        self.assert_taken(DEBIAN)

    def test_a_directory(self) -> None:
        self.have(directory='/own')
        names = ['a.pem']
        self.patch(os, 'listdir', lambda path: names)
        error = self.assertRaises(
            errors.OptionError, handles.authorities, '/own'
        )
        self.assertIn('openssl rehash', str(error))
        names.append('0a1b2c3d.0')
        self.assert_taken(None, '/own', given='/own')
        self.set('CURL_CA_BUNDLE', '/own')
        self.assert_taken(None, '/own')


class TestReadable(base.TestCase):
    def refused(self, number: int) -> type[errors.Error]:
        def fail(*given: object) -> int:
            raise OSError(number, os.strerror(number))

        self.patch(os, 'open', fail)
        try:
            handles._check_readable('cacert', 'ca.pem')
        except errors.Error as error:
            return type(error)
        raise AssertionError('it was not refused')

    def test_what_is_not_there(self) -> None:
        for number in (errno.ENOENT, errno.EACCES, errno.ELOOP):
            self.assertIs(errors.OptionError, self.refused(number))

    def test_no_descriptor_is_nothing_about_the_file(self) -> None:
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            self.assertIs(errors.ResourceError, self.refused(number))


class TestMemory(base.TestCase):
    HTTP = redirects.Origin('http', 'a', 80)
    HTTPS = redirects.Origin('https', 'a', 443)

    def setUp(self) -> None:
        super().setUp()
        self.memory = handles.Memory()
        self.addCleanup(self.memory.close)

    def assert_scheme(self, scheme: int, origin: redirects.Origin) -> None:
        self.assertEqual(scheme, self.memory.scheme(origin))

    def test_without_tls_nothing_goes_unasked(self) -> None:
        self.assert_scheme(pycurl.HTTPAUTH_ANY, self.HTTP)
        self.assert_scheme(pycurl.HTTPAUTH_BASIC, self.HTTPS)

    def test_what_an_origin_asked_for(self) -> None:
        basic, digest = pycurl.HTTPAUTH_BASIC, pycurl.HTTPAUTH_DIGEST
        for schemes in (0, digest, basic | digest):
            self.memory.asked(self.HTTP, schemes)
            self.assert_scheme(pycurl.HTTPAUTH_ANY, self.HTTP)
        self.memory.asked(self.HTTP, basic)
        self.assert_scheme(basic, self.HTTP)
        other = redirects.Origin('http', 'a', 8080)
        self.assert_scheme(pycurl.HTTPAUTH_ANY, other)

    def test_a_refusal_that_names_a_better_way(self) -> None:
        for challenges in ([], ['Basic realm="a"'], ['Bearer']):
            self.assertFalse(self.memory.refused(self.HTTPS, challenges))
        self.assert_scheme(pycurl.HTTPAUTH_BASIC, self.HTTPS)
        challenges = ['Basic realm="a"', 'DIGEST realm="a"']
        self.assertTrue(self.memory.refused(self.HTTPS, challenges))
        self.assert_scheme(pycurl.HTTPAUTH_ANY, self.HTTPS)
        # Once.
        self.assertFalse(self.memory.refused(self.HTTPS, challenges))
