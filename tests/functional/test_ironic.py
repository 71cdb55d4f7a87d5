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


"""ironic-python-agent's unmodified ``write_image``, with our plug and alone.

Each deployment is a process of its own, onto a loop device; what the agent
does by itself is compared in the same test.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import pathlib
import ssl
import subprocess
import sys
from typing import Any

from testtools import content
from testtools import matchers

from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import storage
from tests import base
from tests.support import endpoints
from tests.support import loop

# What the agent runs for a whole disk.
_PROGRAMS = ('partprobe', 'parted', 'sgdisk', 'lsblk', 'hexdump', 'sfdisk')

_LENGTH = 24 * MIB


@dataclasses.dataclass
class Outcome:
    """What became of a deployment.

    :ivar kind: name of the agent's error class, None for success.
    :ivar error: its text.
    :ivar requests: that the server saw, and ``sent``: body bytes.
    :ivar log: of the agent.
    """

    kind: str | None
    error: str | None
    seconds: float
    peak: int
    requests: int
    log: str


class _AgentTestCase(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_root()
        self.need_program(*_PROGRAMS)
        self.image = self.make_image()
        self.server = self.start_server()
        # The real one fails where it may not look into every process, as in
        # a container. Nobody has the device open.
        programs = pathlib.Path(self.directory, 'programs')
        programs.mkdir()
        (programs / 'fuser').write_text('#!/bin/sh\nexit 1\n')
        (programs / 'fuser').chmod(0o755)
        self.search = '%s:%s' % (programs, os.environ['PATH'])

    def start_server(self, **how: Any) -> harmful.Server:
        return self.useFixture(
            endpoints.HarmfulServer(harmful.Representation(self.image), **how)
        ).server

    def make_image(self) -> bytes:
        """Return a disk with a partition of noise, and zeros after it."""
        path = pathlib.Path(self.directory, 'image')
        with path.open('wb') as file:
            file.truncate(_LENGTH)
            file.seek(MIB)
            file.write(harmful.Pattern(_LENGTH - 8 * MIB)[:])
        subprocess.run(
            ['sfdisk', '--quiet', str(path)],
            input='label: gpt\nstart=2048, size=32768\n',
            text=True,
            check=True,
        )
        return path.read_bytes()

    def make_device(self, length: int = _LENGTH + 8 * MIB) -> loop.LoopDevice:
        return self.useFixture(
            loop.LoopDevice(self.directory, length, partition_scan=True)
        )

    def deploy(
        self,
        device: loop.LoopDevice,
        *,
        alone: bool = False,
        options: dict[str, Any] | None = None,
        text: str = '',
        environment: dict[str, str] | None = None,
        temporary: str | None = None,
        **image_info: Any,
    ) -> Outcome:
        """Have the agent deploy the image onto the device.

        :param alone: without our plug.
        :param options: of the agent; ``text``: of its configuration file.
        :param image_info: what the conductor sends, besides the ordinary.
        """
        configuration = pathlib.Path(self.directory, 'agent.conf')
        configuration.write_text(text)
        temporary = temporary or os.path.join(self.directory, 'temporary')
        os.makedirs(temporary, exist_ok=True)
        asked = {
            'device': device.path,
            'alone': alone,
            'temporary': temporary,
            'argv': ['--config-file', str(configuration)],
            'options': {
                'image_download_connection_retry_interval': 0,
                'image_download_connection_retries': 2,
                'image_download_connection_timeout': 3,
            }
            | (options or {}),
            'image_info': {
                'id': 'an-image',
                'urls': [self.server.url()],
                'os_hash_algo': 'sha256',
                'os_hash_value': hashlib.sha256(self.image).hexdigest(),
                'disk_format': 'raw',
                'container_format': 'bare',
                'image_type': 'whole-disk',
                'stream_raw_images': True,
                'node_uuid': 'b5c2a6f4-6d4f-4a0e-9d53-3e5b8f1c7a90',
            }
            | image_info,
        }
        before = len(self.server.requests)
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', 'tests.ironic.deploying'],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=200,
            env=os.environ | {'PATH': self.search} | (environment or {}),
        )
        self.addDetail(
            'agent alone' if alone else 'agent with the plug',
            content.text_content(done.stderr),
        )
        self.assertEqual(0, done.returncode, done.stderr[-2000:])
        said = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(said['kind'] is None, said['status'] == 'SUCCEEDED')
        return Outcome(
            said['kind'],
            said['error'],
            said['seconds'],
            said['peak'],
            len(self.server.requests) - before,
            done.stderr,
        )

    def assert_deployed(
        self, outcome: Outcome, device: loop.LoopDevice
    ) -> None:
        """The image is there, but for what the agent itself repairs."""
        self.assertIsNone(outcome.kind, str(outcome.error))
        written = device.read()
        # The agent moves the backup GPT to the end of the disk, and the
        # first one tells where that is.
        self.assertTrue(
            written[MIB : _LENGTH - MIB] == self.image[MIB : _LENGTH - MIB]
        )
        self.assertEqual(b'EFI PART', written[512:520])

    def assert_blank(self, device: loop.LoopDevice) -> None:
        self.assertEqual(bytes(MIB), device.read()[:MIB])


# Those of the agent's own tests that stand in for requests.Session, which the
# plug does not use: each asserts calls of it, or has its answer be the image.
_MOCK_REQUESTS = """
TestImageDownload.test_download_image
TestImageDownload.test_download_image_401_not_retried
TestImageDownload.test_download_image_and_centos_checksum_md5
TestImageDownload.test_download_image_and_centos_checksum_sha256
TestImageDownload.test_download_image_and_centos_checksum_sha512
TestImageDownload.test_download_image_and_checksum
TestImageDownload.test_download_image_and_checksum_empty_file
TestImageDownload.test_download_image_and_checksum_empty_file_md5
TestImageDownload.test_download_image_and_checksum_failed
TestImageDownload.test_download_image_and_checksum_failed_md5
TestImageDownload.test_download_image_and_checksum_md5
TestImageDownload.test_download_image_and_checksum_multiple_md5
TestImageDownload.test_download_image_and_checksum_multiple_sha256
TestImageDownload.test_download_image_and_checksum_multiple_sha512
TestImageDownload.test_download_image_and_checksum_unknown_file
TestImageDownload.test_download_image_and_checksum_unknown_file_md5
TestImageDownload.test_download_image_and_checksum_warning_on_mismatch
TestImageDownload.test_download_image_and_invalid_checksum
TestImageDownload.test_download_image_exceeds_max_duration
TestImageDownload.test_download_image_fail
TestImageDownload.test_download_image_no_space_error_fatal
TestImageDownload.test_download_image_retries
TestImageDownload.test_download_image_retries_success
TestStandbyExtension.test_download_image
TestStandbyExtension.test_download_image_basic_auth_conf_success
TestStandbyExtension.test_download_image_basic_auth_image_info_success
TestStandbyExtension.test_download_image_conductor_auth
TestStandbyExtension.test_download_image_proxy
TestStandbyExtension.test_download_image_verify_fails
TestStandbyExtension.test_stream_raw_image_onto_device
TestStandbyExtension.test_stream_raw_image_onto_device_socket_read_timeout
TestStandbyExtension.test_stream_raw_image_onto_device_write_error
TestStandbyExtension.test_verify_image_failure
TestStandbyExtension.test_verify_image_failure_with_new_hash_fields
TestStandbyExtension.test_verify_image_success
TestStandbyExtension.test_verify_image_success_with_md5_fallback
TestStandbyExtension.test_verify_image_success_with_new_hash_fields
TestStandbyExtension.test_verify_image_success_without_md5
"""


class TestRules(base.FunctionalTestCase):
    def run_module(self, *command: str, before: tuple[str, ...] = ()) -> str:
        done = subprocess.run(
            [*before, sys.executable, '-W', 'ignore', '-m', *command],
            capture_output=True,
            text=True,
            timeout=300,
        )
        self.addDetail('stderr', content.text_content(done.stderr))
        self.assertEqual(0, done.returncode)
        return done.stdout

    def test_what_is_made_of_the_options(self) -> None:
        self.run_module('testtools.run', 'tests.ironic.rules')

    def test_the_agents_own_tests(self) -> None:
        """All but those that stand in for what is not used pass."""
        self.need_root()
        self.need_program('unshare')
        before = ('unshare', '--net')
        module = 'tests.ironic.theirs'
        alone = json.loads(self.run_module(module, '--alone', before=before))
        self.assertEqual([], alone['failed'])
        ours = json.loads(self.run_module(module, before=before))
        self.assertEqual(alone['ran'], ours['ran'])
        self.assertEqual(sorted(_MOCK_REQUESTS.split()), ours['failed'])


class TestStream(_AgentTestCase):
    """A raw image goes straight onto the disk."""

    def test_nothing_is_wrong(self) -> None:
        device = self.make_device()
        alone = self.deploy(device, alone=True)
        self.assert_deployed(alone, device)
        ours = self.deploy(device)
        self.assert_deployed(ours, device)
        self.assertEqual((1, 1), (alone.requests, ours.requests))
        self.assertIn('downloaded by fuel_agent_curl', ours.log)
        self.assertThat(ours.peak, matchers.LessThan(alone.peak + 64 * MIB))

    def test_resets_are_resumed(self) -> None:
        device = self.make_device()
        answers = [[faults.reset(8 * MIB)]] * 2
        self.server.script(*answers)
        alone = self.deploy(device, alone=True)
        self.assert_deployed(alone, device)
        self.assertEqual([None] * 3, self.server.ranges)
        self.server.script(*answers)
        ours = self.deploy(device)
        self.assert_deployed(ours, device)
        self.assertEqual(3, ours.requests)
        self.assertEqual([None], self.server.ranges[3:4])
        self.assertNotIn(None, self.server.ranges[4:])

    def test_each_answer_is_reset(self) -> None:
        """More often than the agent tries: each one brings bytes."""
        device = self.make_device()
        self.server.script(then=[faults.reset(5 * MIB)])
        alone = self.deploy(device, alone=True)
        self.assertEqual('ImageDownloadError', alone.kind)
        self.assertEqual(3, alone.requests)
        ours = self.deploy(device)
        self.assert_deployed(ours, device)
        self.assertEqual(5, ours.requests)

    def test_a_stall(self) -> None:
        device = self.make_device()
        self.server.script([faults.stall(8 * MIB)])
        ours = self.deploy(device)
        self.assert_deployed(ours, device)
        self.assertEqual(2, ours.requests)
        self.assertIsNotNone(self.server.ranges[1])

    def test_503_is_asked_as_often_as_told(self) -> None:
        device = self.make_device()
        self.server.script(then=[faults.status(503)])
        alone = self.deploy(device, alone=True)
        self.assertEqual(9, alone.requests)
        ours = self.deploy(device)
        self.assertEqual(3, ours.requests)
        self.assertEqual('ImageDownloadFatalError', ours.kind)
        self.assertIn('503', str(ours.error))

    def test_404_is_final(self) -> None:
        device = self.make_device()
        self.server.script(then=[faults.status(404)])
        ours = self.deploy(device)
        self.assertEqual(1, ours.requests)
        self.assertEqual('ImageDownloadFatalError', ours.kind)

    def test_the_second_url(self) -> None:
        device = self.make_device()
        down = self.start_server()
        urls = [down.url(), self.server.url()]
        down.down()
        alone = self.deploy(device, alone=True, urls=urls)
        self.assertEqual(0, alone.requests)
        self.assertIsNotNone(alone.kind)
        ours = self.deploy(device, urls=urls)
        self.assert_deployed(ours, device)

    def test_the_second_url_in_the_middle(self) -> None:
        device = self.make_device()
        first = self.start_server()
        first.script(then=[faults.reset(4 * MIB), faults.ignore_range()])
        ours = self.deploy(device, urls=[first.url(), self.server.url()])
        self.assert_deployed(ours, device)

    def test_a_wrong_checksum(self) -> None:
        wrong: dict[str, Any] = {'os_hash_value': '0' * 64}
        device = self.make_device()
        alone = self.deploy(device, alone=True, **wrong)
        self.assertEqual('ImageChecksumError', alone.kind)
        self.assertIn(b'EFI PART', device.read()[:1024])
        ours = self.deploy(device, **wrong)
        self.assertEqual('ImageChecksumError', ours.kind)
        self.assertEqual(alone.requests, ours.requests)
        self.assert_blank(device)

    def test_upper_case_and_an_exotic_algorithm(self) -> None:
        for algorithm in ('sha256', 'sha512_256', 'sha3_256'):
            device = self.make_device()
            value = hashlib.new(algorithm, self.image).hexdigest()
            self.server.script([faults.reset(8 * MIB)])
            ours = self.deploy(
                device, os_hash_algo=algorithm, os_hash_value=value.upper()
            )
            self.assert_deployed(ours, device)
            self.assertEqual(2, ours.requests)

    def test_an_exotic_algorithm_that_does_not_match(self) -> None:
        device = self.make_device()
        ours = self.deploy(
            device,
            os_hash_algo='sha512_256',
            os_hash_value='0' * 64,
            options={'image_download_connection_retries': 0},
        )
        self.assertEqual('ImageChecksumError', ours.kind)
        self.assert_blank(device)

    def test_a_file_of_checksums(self) -> None:
        lines = (
            'no such line\n%s  image\n'
            % hashlib.sha256(self.image).hexdigest()
        )
        self.server.representations['/SHA256SUMS'] = harmful.Representation(
            lines.encode()
        )
        self.server.script([faults.reset(20)], path='/SHA256SUMS')
        device = self.make_device()
        ours = self.deploy(
            device,
            checksum=self.server.url('/SHA256SUMS'),
            os_hash_algo=None,
            os_hash_value=None,
        )
        self.assert_deployed(ours, device)

    def test_a_packed_image(self) -> None:
        packed = gzip.compress(self.image, 1)
        self.server.representations['/image'] = harmful.Representation(packed)
        device = self.make_device()
        ours = self.deploy(
            device, os_hash_value=hashlib.sha256(packed).hexdigest()
        )
        self.assert_deployed(ours, device)
        self.assertIn('%d bytes written' % _LENGTH, ours.log)
        self.assertIn(
            '{0} of {0} bytes received'.format(len(packed)), ours.log
        )

    def test_a_content_coding(self) -> None:
        """What the server applies is undone, as the agent does."""
        packed = gzip.compress(self.image, 1)
        self.server.representations['/image'] = harmful.Representation(packed)
        self.server.script(
            then=[
                faults.ignore_range(),
                faults.field('Content-Encoding', 'gzip'),
                faults.field('Content-Type', 'application/octet-stream'),
            ]
        )
        for alone in (True, False):
            device = self.make_device()
            self.assert_deployed(self.deploy(device, alone=alone), device)

    def test_the_time_for_it(self) -> None:
        device = self.make_device()
        self.server.script(then=[faults.trickle(65536)])
        ours = self.deploy(device, options={'image_download_max_duration': 2})
        self.assertEqual('ImageDownloadTimeoutError', ours.kind)
        self.assertEqual(1, ours.requests)

    def test_a_disk_that_is_full(self) -> None:
        """What is lost on the way to the medium is no success."""
        space = self.useFixture(
            loop.Mount(
                self.directory, '-t', 'tmpfs', '-o', 'size=12m', 'tmpfs'
            )
        )
        backing = os.path.join(space.path, 'backing')
        with open(backing, 'wb') as file:
            file.truncate(_LENGTH + 8 * MIB)
        device = self.useFixture(loop.LoopDevice(self.directory))
        subprocess.run(['losetup', '--detach', device.path], check=True)
        subprocess.run(['losetup', device.path, backing], check=True)
        ours = self.deploy(device)
        self.assertEqual('ImageWriteError', ours.kind)
        self.assertEqual(1, ours.requests)

    def test_a_disk_in_use(self) -> None:
        device = self.make_device()
        subprocess.run(['mkfs.ext4', '-q', device.path], check=True)
        mount = self.useFixture(
            loop.Mount(self.directory, '-o', 'ro,noload', device.path)
        )
        ours = self.deploy(device)
        self.assertEqual('ImageWriteError', ours.kind)
        self.assertIn(mount.path, str(ours.error))
        self.assertEqual(1, ours.requests)
        for alone in (True, False):
            there = self.deploy(
                device,
                alone=alone,
                text='[fuel_agent_curl]\nironic_busy = write\n',
            )
            self.assert_deployed(there, device)

    def test_a_second_attempt_goes_on(self) -> None:
        text = '[fuel_agent_curl]\nironic_continue = true\n'
        for wanted in (True, False):
            device = self.make_device()
            how: dict[str, Any] = {'text': text} if wanted else {}
            self.server.script(
                faults.cut(_LENGTH - MIB), then=faults.status(503)
            )
            # So that what has come is written meanwhile.
            options = {'image_download_connection_retry_interval': 2}
            failed = self.deploy(device, options=options, **how)
            self.assertEqual('ImageDownloadFatalError', failed.kind)
            self.assert_blank_but_for_a_record(device)
            self.server.script()
            self.server.requests.clear()
            # A URL that was signed anew, as Swift makes them.
            url = self.server.url('/image?signature=2')
            self.server.representations['/image?signature=2'] = (
                self.server.representations['/image']
            )
            again = self.deploy(device, urls=[url], **how)
            self.assert_deployed(again, device)
            self.assertEqual(wanted, 'continues at byte' in again.log)
            starts = [
                int((each or 'bytes=0-')[6:].partition('-')[0])
                for each in self.server.ranges
            ]
            self.assertEqual(wanted, max(starts) > MIB, str(starts))

    def assert_blank_but_for_a_record(self, device: loop.LoopDevice) -> None:
        self.assertEqual(
            bytes(storage.RECORDS), device.read()[: storage.RECORDS]
        )

    def test_turned_off(self) -> None:
        device = self.make_device()
        ours = self.deploy(device, text='[fuel_agent_curl]\nironic = false\n')
        self.assert_deployed(ours, device)
        self.assertIn('turned off', ours.log)
        self.assertNotIn('downloaded by fuel_agent_curl', ours.log)


class TestOtherReleases(_AgentTestCase):
    """Each that tox has put into a directory of its own."""

    def setUp(self) -> None:
        super().setUp()
        if 'FUEL_AGENT_CURL_AGENTS' not in os.environ:
            self.skipTest('needs other releases of ironic-python-agent')

    def test_resets_are_resumed(self) -> None:
        agents = pathlib.Path(os.environ['FUEL_AGENT_CURL_AGENTS'])
        for release in ('11.6.0', '12.0.0'):
            path = agents / release
            self.assertTrue((path / 'ironic_python_agent').is_dir(), release)
            environment = {'PYTHONPATH': str(path)}
            device = self.make_device()
            self.server.script(*[[faults.reset(8 * MIB)]] * 2)
            ours = self.deploy(device, environment=environment)
            self.assert_deployed(ours, device)
            self.assertEqual(3, ours.requests)
            self.assertIn('downloaded by fuel_agent_curl', ours.log)
            done = subprocess.run(
                [
                    *(sys.executable, '-W', 'ignore'),
                    *('-m', 'testtools.run', 'tests.ironic.rules'),
                ],
                env=os.environ | environment,
                capture_output=True,
                text=True,
            )
            self.assertEqual(0, done.returncode, done.stderr)


class TestTrust(_AgentTestCase):
    """Of an https server."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = self.useFixture(endpoints.Authority(self.directory))

    def serve(self, most: ssl.TLSVersion | None = None) -> None:
        context = self.authority.context()
        if most is not None:
            context.maximum_version = most
        self.server = self.start_server(tls=context)

    def test_what_is_trusted(self) -> None:
        self.serve()
        path = self.authority.path
        bundle = pathlib.Path(self.directory, 'bundle.pem')
        bundle.write_text(pathlib.Path(path).read_text())
        for options, environment in (
            ({'cafile': path}, {}),
            ({'insecure': True}, {}),
            ({}, {'REQUESTS_CA_BUNDLE': str(bundle)}),
        ):
            device = self.make_device()
            outcome = self.deploy(
                device, options=options, environment=environment
            )
            self.assert_deployed(outcome, device)

    def test_what_is_not(self) -> None:
        self.serve()
        outcome = self.deploy(self.make_device())
        self.assertEqual('ImageDownloadFatalError', outcome.kind)
        self.assertIn('certificate', str(outcome.error))

    def test_an_old_version_of_tls(self) -> None:
        self.serve(ssl.TLSVersion.TLSv1_2)
        options = {
            'cafile': self.authority.path,
            'tls_min_version': '1.3',
            'image_download_connection_retries': 0,
        }
        outcome = self.deploy(self.make_device(), options=options)
        self.assertEqual('ImageDownloadFatalError', outcome.kind)


class TestFile(_AgentTestCase):
    """An image that qemu-img is to convert goes into a file before."""

    def setUp(self) -> None:
        super().setUp()
        self.need_program('qemu-img')

    def packed(self) -> bytes:
        path = os.path.join(self.directory, 'image.qcow2')
        subprocess.run(
            [
                *('qemu-img', 'convert', '-O', 'qcow2', '-f', 'raw'),
                os.path.join(self.directory, 'image'),
                path,
            ],
            check=True,
        )
        return pathlib.Path(path).read_bytes()

    def test_qcow2(self) -> None:
        packed = self.packed()
        self.server.representations['/image'] = harmful.Representation(packed)
        for alone, ranged in ((True, 0), (False, 2)):
            device = self.make_device()
            before = len(self.server.requests)
            self.server.script(*[[faults.reset(6 * MIB)]] * 2)
            outcome = self.deploy(
                device,
                alone=alone,
                disk_format='qcow2',
                os_hash_value=hashlib.sha256(packed).hexdigest(),
            )
            self.assert_deployed(outcome, device)
            ranges = self.server.ranges[before:]
            self.assertEqual(ranged, sum(x is not None for x in ranges))

    def test_qcow2_straight_onto_the_disk(self) -> None:
        packed = self.packed()
        self.server.representations['/image'] = harmful.Representation(packed)
        device = self.make_device()
        temporary = os.path.join(self.directory, 'unused')
        how: dict[str, Any] = {
            'disk_format': 'qcow2',
            'os_hash_value': hashlib.sha256(packed).hexdigest(),
            'text': '[fuel_agent_curl]\nironic_stream_qcow2 = true\n',
            'temporary': temporary,
        }
        # The head for the agent, then head and tables; then the file.
        self.server.script(*([()] * 4), faults.reset(6 * MIB))
        outcome = self.deploy(device, **how)
        self.assert_deployed(outcome, device)
        self.assertEqual([], os.listdir(temporary))
        self.assertEqual([None], [x for x in self.server.ranges if x is None])
        # Nothing is left to the agent but what it has to.
        device = self.make_device()
        wrong = self.deploy(device, **(how | {'os_hash_value': '0' * 64}))
        self.assertEqual('ImageChecksumError', wrong.kind)
        self.assert_blank(device)

    def test_qcow2_that_names_another_file(self) -> None:
        packed = bytearray(self.packed())
        packed[8:20] = (4096).to_bytes(8) + (11).to_bytes(4)
        packed[4096:4107] = b'/etc/passwd'
        self.server.representations['/image'] = harmful.Representation(
            bytes(packed)
        )
        device = self.make_device()
        outcome = self.deploy(
            device,
            disk_format='qcow2',
            os_hash_value=hashlib.sha256(packed).hexdigest(),
            text='[fuel_agent_curl]\nironic_stream_qcow2 = true\n',
        )
        self.assertEqual('InvalidImage', outcome.kind)
        self.assertEqual(1, len(self.server.requests))
        self.assertEqual(b'\xa5' * MIB, device.read()[:MIB])

    def test_qcow2_of_a_server_without_ranges(self) -> None:
        packed = self.packed()
        self.server.representations['/image'] = harmful.Representation(
            packed, ranges=False
        )
        device = self.make_device()
        outcome = self.deploy(
            device,
            disk_format='qcow2',
            os_hash_value=hashlib.sha256(packed).hexdigest(),
            text='[fuel_agent_curl]\nironic_stream_qcow2 = true\n',
        )
        self.assert_deployed(outcome, device)
        self.assertIn('converted as the agent does', outcome.log)

    def test_what_is_no_qcow2_is_refused_by_the_agent(self) -> None:
        device = self.make_device()
        ours = self.deploy(device, disk_format='qcow2')
        self.assertEqual('InvalidImage', ours.kind)

    def test_a_raw_image_keeps_its_holes(self) -> None:
        device = self.make_device()
        temporary = os.path.join(self.directory, 'kept')
        ours = self.deploy(
            device, stream_raw_images=False, temporary=temporary
        )
        self.assert_deployed(ours, device)
        status = os.stat(os.path.join(temporary, 'an-image'))
        self.assertEqual(_LENGTH, status.st_size)
        self.assertThat(
            status.st_blocks * 512, matchers.LessThan(_LENGTH - 4 * MIB)
        )

    def test_no_room(self) -> None:
        space = self.useFixture(
            loop.Mount(self.directory, '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs')
        )
        device = self.make_device()
        ours = self.deploy(
            device, stream_raw_images=False, temporary=space.path
        )
        self.assertEqual('ImageDownloadOutofSpaceError', ours.kind)
        self.assertEqual(1, ours.requests)
        left = os.statvfs(space.path)
        self.assertEqual(left.f_blocks, left.f_bfree)
