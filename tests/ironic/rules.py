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


"""What the plug of ironic-python-agent makes of its options, and of itself."""

from __future__ import annotations

import base64
from collections.abc import Iterator
import hashlib
import os
import time
import types
from typing import Any

import fixtures
from ironic_python_agent import config  # noqa: F401  (first: it registers)
from ironic_python_agent import errors as agent_errors
from ironic_python_agent.extensions import standby
from oslo_config import cfg
from oslo_config import fixture as config_fixture
import requests

from fuel_agent_curl import errors
from fuel_agent_curl import ironic
from fuel_agent_curl.config import opts
from fuel_agent_curl.config import settings as settings_module
from tests import base

URL = 'http://server/image'
SECURE = 'https://server/image'


class _IronicTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.fixture = self.useFixture(config_fixture.Config(cfg.CONF))
        # Nothing of whoever runs the tests.
        for name in ('REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'no_proxy'):
            self.useFixture(fixtures.EnvironmentVariable(name))
        self.useFixture(fixtures.EnvironmentVariable('HOME', '/nonexistent'))
        self.addCleanup(ironic.uninstall)

    def override(
        self, name: str, value: object, group: str | None = None
    ) -> None:
        """Have ``name`` be ``value``; ours as if by a file.

        oslo.config takes an override back, but not that there was one.
        """
        if group is None:
            self.fixture.config(**{name: value})
        else:
            self.fixture.load_raw_values(group=group, **{name: str(value)})

    def settings(
        self, url: str = URL, began: float | None = None, **image_info: Any
    ) -> settings_module.Settings:
        info = {'id': 'an-image', 'urls': [url], **image_info}
        return ironic.settings_for(
            info,
            url,
            'an-image',
            time.time() if began is None else began,
        )


class TestSettings(_IronicTestCase):
    def test_the_agents_options_hold(self) -> None:
        for name, value in (
            ('image_download_connection_timeout', 7),
            ('image_download_connection_retries', 4),
            ('image_download_connection_retry_interval', 3),
            # For its own calls.
            ('http_request_timeout', 99),
        ):
            self.override(name, value)
        found = self.settings()
        self.assertEqual((7, 7, 1), self.patience(found))
        self.assertEqual(5, found.attempts)
        self.assertEqual((3, 3), (found.backoff, found.backoff_max))
        self.assertEqual(0, found.deadline)

    def patience(self, found: settings_module.Settings) -> tuple[float, ...]:
        return (
            found.connect_timeout,
            found.low_speed_time,
            found.low_speed_limit,
        )

    def test_no_retries_is_one_attempt(self) -> None:
        self.override('image_download_connection_retries', 0)
        self.assertEqual(1, self.settings().attempts)

    def test_ours_beat_theirs(self) -> None:
        self.override('attempts', 3, group='fuel_agent_curl')
        self.override('user_agent', 'me', group='fuel_agent_curl')
        found = self.settings()
        self.assertEqual((3, 'me'), (found.attempts, found.user_agent))

    def test_low_speed_limit_is_ours_where_it_is_given(self) -> None:
        self.override('low_speed_limit', 5000, group='fuel_agent_curl')
        self.assertEqual(5000, self.settings().low_speed_limit)

    def test_fields_of_ours_go_with_the_credentials(self) -> None:
        self.override('headers', 'X-Of: ours', group='fuel_agent_curl')
        self.override('image_server_auth_strategy', 'http_basic')
        self.override('image_server_user', 'me')
        self.override('image_server_password', 'word')
        reads: list[object] = []
        real = opts.settings_from

        def settings_from(*args: Any, **kwargs: Any) -> Any:
            reads.append(args)
            return real(*args, **kwargs)

        self.patch(opts, 'settings_from', settings_from)
        headers = self.settings().headers
        self.assertEqual('X-Of: ours', headers[0])
        self.assertEqual(2, len(headers))
        # All that is wrong would be said twice.
        self.assertEqual(1, len(reads))

    def test_it_calls_itself_what_the_agent_does(self) -> None:
        self.assertEqual(
            requests.utils.default_user_agent(), self.settings().user_agent
        )

    def test_the_deadline_is_what_is_left(self) -> None:
        self.override('image_download_max_duration', 100)
        now = time.time()
        left = self.settings(began=now - 40).deadline
        self.assertTrue(50 < left <= 60, left)
        # A clock that was set back makes it no longer.
        self.assertEqual(100, self.settings(began=now + 1000).deadline)
        self.assertRaises(
            agent_errors.ImageDownloadTimeoutError,
            self.settings,
            began=now - 200,
        )

    def test_credentials_are_the_agents(self) -> None:
        basic = 'Basic ' + base64.b64encode(b'me:word').decode()
        cases: tuple[tuple[dict[str, Any], str], ...] = (
            (
                {
                    'image_request_authorization': base64.b64encode(
                        b'Bearer abc'
                    ).decode()
                },
                'Bearer abc',
            ),
            (
                {
                    'image_server_auth_strategy': 'http_basic',
                    'image_server_user': 'me',
                    'image_server_password': 'word',
                },
                basic,
            ),
        )
        for image_info, value in cases:
            found = self.settings(**image_info)
            self.assertEqual(('Authorization: ' + value,), found.headers)
        self.assertEqual((), self.settings().headers)
        self.override('image_server_auth_strategy', 'http_basic')
        self.override('image_server_user', 'me')
        self.override('image_server_password', 'word')
        self.assertEqual(('Authorization: ' + basic,), self.settings().headers)

    def test_proxies_are_chosen_by_scheme(self) -> None:
        proxies = {'http': 'http://one:1', 'https': 'http://two:2'}
        for url in (URL, SECURE):
            found = self.settings(url, proxies=proxies, no_proxy='server')
            self.assertEqual('http://one:1', found.proxy)
            self.assertEqual('http://two:2', found.https_proxy)
            self.assertEqual('server', found.no_proxy)
        only = self.settings(proxies={'http': 'http://one:1'})
        self.assertEqual(('http://one:1', ''), (only.proxy, only.https_proxy))
        none = self.settings()
        self.assertEqual((None, None), (none.proxy, none.https_proxy))

    def test_tls(self) -> None:
        for name, value in (
            ('tls_min_version', '1.3'),
            ('tls_cipher_suites', 'ECDHE+AESGCM'),
            ('cafile', '/ca.pem'),
            ('certfile', '/cert.pem'),
            ('keyfile', '/key.pem'),
        ):
            self.override(name, value)
        found = self.settings(SECURE)
        self.assertEqual('1.3', found.tls_min_version)
        self.assertEqual('ECDHE+AESGCM', found.tls_ciphers)
        self.assertEqual('/ca.pem', found.cacert)
        self.assertEqual(('/cert.pem', '/key.pem'), (found.cert, found.key))
        self.assertFalse(found.insecure)
        self.override('insecure', True)
        self.assertTrue(self.settings(SECURE).insecure)

    def test_a_certificate_needs_its_key(self) -> None:
        self.override('certfile', '/cert.pem')
        self.assertIsNone(self.settings(SECURE).cert)

    def test_trust(self) -> None:
        """The environment's, else the system's and certifi's together."""
        path = self.settings(SECURE).cacert
        assert path is not None
        with (
            open(path) as bundle,
            open(requests.utils.DEFAULT_CA_BUNDLE_PATH) as certifi,
        ):
            self.assertIn(certifi.read(), bundle.read())
        self.useFixture(
            fixtures.EnvironmentVariable('CURL_CA_BUNDLE', '/curl.pem')
        )
        self.assertEqual('/curl.pem', self.settings(SECURE).cacert)
        self.useFixture(
            fixtures.EnvironmentVariable('REQUESTS_CA_BUNDLE', '/ours.pem')
        )
        self.assertEqual('/ours.pem', self.settings(SECURE).cacert)

    def test_trust_in_any_encoding(self) -> None:
        """Between the certificates is what whoever adds one has said."""
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, 'pem')
        with open(path, 'wb') as bundle:
            bundle.write(b'# Authorit\xe9\n')
        self.patch(requests.utils, 'DEFAULT_CA_BUNDLE_PATH', path)
        with open(ironic._authorities.__wrapped__(), 'rb') as bundle:
            self.assertIn(b'Authorit\xe9', bundle.read())

    def test_netrc(self) -> None:
        home = self.useFixture(fixtures.TempHomeDir()).path
        self.assertIsNone(self.settings().netrc_file)
        with open(home + '/_netrc', 'w'):
            pass
        self.assertEqual(home + '/_netrc', self.settings().netrc_file)
        with open(home + '/.netrc', 'w'):
            pass
        self.assertEqual(home + '/.netrc', self.settings().netrc_file)


class _Response:
    """Of requests, as far as the agent reads it."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.is_closed = False

    def iter_content(self, size: int) -> Iterator[bytes]:
        yield from self.chunks

    def close(self) -> None:
        self.is_closed = True


class TestVerify(_IronicTestCase):
    """What is compared, and how it ends, by the agent's own response."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.response = _Response(b'some', b'thing')

    def image(self, target: str | None) -> Any:
        """Return what brings 'something' to ``target``."""
        image = ironic.ImageDownload.__new__(ironic.ImageDownload)
        image._image_info = {'id': 'an-image'}
        image._way = ironic._Way(target, 'raw') if target else None
        image._parted = None
        image._left = image._record = None
        image._asked = ''
        image._time = time.time()
        image._hash_algo = hashlib.sha256()
        image._expected_hash_value = hashlib.sha256(b'something').hexdigest()
        image._bytes_transferred = 0
        image._checksum = 'sha256:' + image._expected_hash_value
        image._download = image._deadline = None
        image._request = self.response
        return image

    def test_brought(self) -> None:
        path = os.path.join(self.directory, 'image')
        self.image(path).verify_image(path)
        with open(path, 'rb') as file:
            self.assertEqual(b'something', file.read())
        self.assertTrue(self.response.is_closed)

    def test_the_agents_response_is_closed(self) -> None:
        path = os.path.join(self.directory, 'none', 'image')
        self.assertRaises(
            agent_errors.ImageDownloadFatalError,
            self.image(path).verify_image,
            path,
        )
        self.assertTrue(self.response.is_closed)

    def test_what_was_not_read_to_its_end(self) -> None:
        """Whoever iterates over it, and stops, has no image."""
        image = self.image(None)
        # One that we download, whose checksum we know.
        image._download = types.SimpleNamespace()
        chunks = iter(image)
        next(chunks)
        self.assertRaises(
            agent_errors.ImageChecksumError, image.verify_image, 'x'
        )
        next(chunks)
        image.verify_image('x')

    def test_the_target_has_a_deadline_too(self) -> None:
        path = os.path.join(self.directory, 'pipe')
        os.mkfifo(path)
        image = self.image(path)
        image._deadline = time.monotonic()
        error = self.assertRaises(
            agent_errors.ImageDownloadTimeoutError, image.verify_image, path
        )
        self.assertIn('nobody reads', str(error))
        # The agent has no limit here: it is one of ours.
        self.assertNotIn('seconds', str(error))


class TestErrors(_IronicTestCase):
    def test_each_is_one_of_the_agents(self) -> None:
        disk = ironic._Way('/dev/sda', 'auto')
        file = ironic._Way('/tmp/an-image', 'raw')
        for error, way, name in (
            (errors.AttemptsExhausted('x'), None, 'ImageDownloadFatalError'),
            (errors.StatusError('x'), disk, 'ImageDownloadFatalError'),
            (errors.DeadlineExceeded('x'), disk, 'ImageDownloadTimeoutError'),
            (errors.WriteError('x'), disk, 'ImageWriteError'),
            (errors.TargetTooSmall('x'), disk, 'ImageWriteError'),
            (errors.TargetFull('x'), file, 'ImageDownloadOutofSpaceError'),
            (errors.WriteError('x'), file, 'ImageDownloadFatalError'),
        ):
            found = ironic._as_agent_error(error, 'an-image', way)
            self.assertEqual(name, type(found).__name__)
            self.assertIn('x', str(found))


class TestHooks(_IronicTestCase):
    def hooked(self) -> list[object]:
        return [
            standby._download_with_proxy,
            standby.ImageDownload,
            standby._download_image,
            standby.StandbyExtension._stream_raw_image_onto_device,
        ]

    def test_nothing_is_left(self) -> None:
        before = self.hooked()
        ironic.install()
        after = self.hooked()
        for theirs, ours in zip(before, after, strict=True):
            self.assertIsNot(theirs, ours)
        ironic.install()
        self.assertEqual(after, self.hooked())
        ironic.uninstall()
        self.assertEqual(before, self.hooked())
        ironic.uninstall()
        self.assertEqual(before, self.hooked())

    def test_the_agent_is_known(self) -> None:
        self.assertEqual([], ironic.differences())

    def test_what_is_otherwise_leaves_the_agent_alone(self) -> None:
        for name, value, words in (
            ('_download_image', lambda image_info, more: None, 'more'),
            ('_image_location', None, '_image_location is missing'),
            ('ImageDownload', object, 'ImageDownload takes'),
        ):
            with fixtures.MonkeyPatch(
                'ironic_python_agent.extensions.standby.' + name, value
            ):
                before = self.hooked()
                logger = self.useFixture(fixtures.FakeLogger())
                ironic.Extension()
                self.assertIn(words, logger.output)
                self.assertIn('goes on alone', logger.output)
                self.assertEqual(before, self.hooked())

    def test_an_error_class_that_is_missing(self) -> None:
        stand_in = types.SimpleNamespace(ImageDownloadError=Exception)
        self.useFixture(
            fixtures.MonkeyPatch(
                'fuel_agent_curl.ironic.agent_errors', stand_in
            )
        )
        self.assertIn(
            'errors.ImageDownloadFatalError is missing', ironic.differences()
        )

    def test_an_option_turns_it_off(self) -> None:
        before = self.hooked()
        self.override('ironic', False, group='fuel_agent_curl')
        ironic.Extension()
        self.assertEqual(before, self.hooked())

    def test_a_kernel_parameter_turns_it_off(self) -> None:
        before = self.hooked()
        for said, off in (('false', True), ('0', True), ('true', False)):
            self.useFixture(
                fixtures.MonkeyPatch(
                    'ironic_python_agent.utils.get_agent_params',
                    lambda said=said: {ironic.PARAMETER: said},
                )
            )
            ironic.Extension()
            self.assertEqual(off, before == self.hooked(), said)
            ironic.uninstall()

    def test_what_is_wrong_in_the_configuration_does_not_end_it(self) -> None:
        self.override('attempts', 5, group='fuel_agent_curl')
        ironic.Extension()
        self.assertIs(ironic.ImageDownload, standby.ImageDownload)
