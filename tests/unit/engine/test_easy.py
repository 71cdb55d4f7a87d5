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

import os
import ssl
import types

import fixtures

from fuel_agent_curl.engine import easy
from tests import base

DEBIAN = '/etc/ssl/certs/ca-certificates.crt'
FEDORA = '/etc/pki/tls/certs/ca-bundle.crt'


class TestAuthorities(base.TestCase):
    def assert_taken(self, expected: str | None, *files: str) -> None:
        """Of these files, and no other, this one is taken."""
        self.patch(os.path, 'isfile', lambda path: path in files)
        # It is asked once in a process.
        self.assertEqual(expected, easy._authorities.__wrapped__())

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.EnvironmentVariable('SSL_CERT_FILE'))
        paths = types.SimpleNamespace(cafile='/python.pem')
        self.patch(ssl, 'get_default_verify_paths', lambda: paths)

    def test_those_of_the_system(self) -> None:
        self.assert_taken(DEBIAN, DEBIAN, FEDORA)
        self.assert_taken(FEDORA, FEDORA)

    def test_those_of_the_environment_come_first(self) -> None:
        self.useFixture(
            fixtures.EnvironmentVariable('SSL_CERT_FILE', '/own.pem')
        )
        self.assert_taken('/own.pem', '/own.pem', DEBIAN)
        # A directory, or nothing.
        self.assert_taken(DEBIAN, DEBIAN)

    def test_those_of_python_come_last(self) -> None:
        self.assert_taken('/python.pem')
