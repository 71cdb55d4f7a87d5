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


"""``fa_copyimage`` of fuel-agent, unmodified, with one of our drivers.

Each deployment is a process of its own, with the one line that a deployer
adds, ``data_driver``, in its configuration.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

from testtools import content
import yaml

from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests import base
from tests.support import deployment
from tests.support import endpoints
from tests.support import loop

PATH = '/images/ubuntu_64.img.gz'
METADATA = '/images/ubuntu_64.yaml'

# Runs a command and writes to a file what became of it. The peak memory of a
# process includes that of the one it was started from (setmax_mm_hiwater_rss
# in exec): that must be a small one, not the tests'.
_MEASURE = '''
import json, os, sys
pid = os.fork()
if not pid:
    os.execv(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], 'w') as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_maxrss], file)
'''


@dataclasses.dataclass
class Outcome:
    """What became of a deployment.

    :ivar peak: the most memory it had, in bytes.
    """

    status: int
    peak: int
    seconds: float
    output: str


class _FuelAgentTestCase(base.FunctionalTestCase):
    """Deploys an ext4 image from a harmful server to a loop device."""

    #: Of the image; the device is larger, and the filesystem grows to it.
    length = 48 * MIB
    #: What of it cannot be packed.
    noise = 24 * MIB

    def setUp(self) -> None:
        super().setUp()
        self.need_root()
        self.need_program(*deployment.PROGRAMS)
        self.path = pathlib.Path(self.directory)
        self.server = self.start_server()

    def start_server(self, **how: Any) -> harmful.Server:
        nothing = harmful.Representation(b'')
        server = self.useFixture(
            endpoints.HarmfulServer(nothing, **how)
        ).server
        server.representations.clear()
        return server

    def serve(self, data: bytes) -> None:
        self.server.representations[PATH] = harmful.Representation(data)

    def make_image(self) -> deployment.Image:
        self.image = deployment.Image(self.path, self.length, self.noise)
        return self.image

    def make_device(self) -> str:
        # Full of what must not shine through.
        length = self.length * 5 // 4
        return self.useFixture(loop.LoopDevice(self.directory, length)).path

    def configure(
        self, device: str, text: str = '', **image: str
    ) -> list[str]:
        return deployment.configure(
            self.path, self.server.url(PATH), device, text, **image
        )

    def deploy(self, device: str, text: str = '', **image: str) -> Outcome:
        command = self.configure(device, text, **image)
        result = self.path / 'result'
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, '-S', '-c', _MEASURE, str(result), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        status, peak = json.loads(result.read_text())
        self.addDetail('fa_copyimage', content.text_content(done.stdout))
        return Outcome(
            status, peak * 1024, time.monotonic() - began, done.stdout
        )

    def assert_deployed(self, outcome: Outcome, device: str) -> None:
        """The filesystem mounts, and its files are those of the tree."""
        self.assertEqual(0, outcome.status)
        found, length = deployment.read_filesystem(device, self.path)
        self.assertEqual(deployment.files(self.image.tree), found)
        self.assertGreater(length, self.length)

    def image_requests(self) -> list[harmful.Request]:
        return [r for r in self.server.requests if r.path == PATH]


class TestDeployment(_FuelAgentTestCase):
    #: A device of more than a gibibyte is filled.
    timeout = 600

    def test_an_image_arrives_through_faults(self) -> None:
        packed = self.make_image().pack()
        self.serve(packed)
        step = len(packed) // 8
        self.server.script(
            faults.status(503, retry_after=1),
            faults.reset(step),
            faults.stall(step),
            faults.cut(step),
            faults.reset(0, in_head=True),
            faults.cut(step),
            faults.cut(10, in_head=True),
            path=PATH,
        )
        device = self.make_device()
        outcome = self.deploy(device)
        self.assert_deployed(outcome, device)
        self.assertLess(outcome.peak, 128 * MIB)
        starts = [0, 0, 1, 2, 3, 3, 4, 4]
        self.assertEqual(
            [None, None, *('bytes=%d-' % (n * step) for n in starts[2:])],
            [r.range for r in self.image_requests()],
        )

    def test_memory_is_bounded_however_well_the_image_packs(self) -> None:
        self.length = 1024 * MIB
        self.noise = 100 * 1024
        packed = self.make_image().pack()
        self.assertLess(len(packed) * 500, self.length)
        self.serve(packed)
        device = self.make_device()
        outcome = self.deploy(device)
        self.assert_deployed(outcome, device)
        self.assertLess(outcome.peak, 128 * MIB)

    def test_a_mirror_stands_in_for_the_origin(self) -> None:
        mirror = self.start_server()
        mirror.representations[PATH] = harmful.Representation(
            self.make_image().pack()
        )
        mirror.script(faults.reset(MIB), path=PATH)
        device = self.make_device()
        base = PATH.rpartition('/')[0]
        outcome = self.deploy(
            device,
            '[fuel_agent_curl]\nmirrors = %s=http://127.0.0.1:1%s,%s\n'
            % (self.server.url(base), base, mirror.url(base)),
        )
        self.assert_deployed(outcome, device)
        self.assertEqual(1, len(self.image_requests()))

    def test_another_attempt_fetches_the_rest(self) -> None:
        packed = self.make_image().pack()
        spool = self.path / 'spool'
        text = '[fuel_agent_curl]\nfuel_agent_spool = %s\n' % spool
        half = len(packed) // 2
        self.serve(packed)
        self.server.script(then=faults.stall(half), path=PATH)
        device = self.make_device()
        began = subprocess.Popen(
            self.configure(device, text),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(_kill, began)
        self.wait_for_length(spool, half - 2 * MIB)
        began.kill()
        began.wait()
        self.server.script(path=PATH)
        # A failure of the image's own leaves nothing, one of the line does.
        for failure, kept in ((faults.status(404), True), ((), False)):
            self.server.script(failure, path=PATH)
            before = len(self.image_requests())
            outcome = self.deploy(device, text)
            self.assertEqual(kept, bool(list(spool.iterdir())))
            (asked,) = self.image_requests()[before:]
            assert asked.range is not None
            begins = int(asked.range[len('bytes=') : -1])
            self.assertLessEqual(half - 2 * MIB, begins)
        self.assert_deployed(outcome, device)

    def wait_for_length(self, spool: pathlib.Path, length: int) -> None:
        """Wait until a file there is as long."""
        while not spool.is_dir() or not any(
            each.stat().st_size >= length for each in spool.iterdir()
        ):
            time.sleep(0.05)

    def test_a_raw_image_over_https(self) -> None:
        authority = self.useFixture(endpoints.Authority(self.directory))
        self.server = self.start_server(tls=authority.context())
        image = self.make_image()
        self.serve(image.path.read_bytes())
        self.server.script(faults.cut(5 * MIB), path=PATH)
        device = self.make_device()
        outcome = self.deploy(
            device,
            '[fuel_agent_curl]\ncacert = %s\n' % authority.path,
            container='raw',
        )
        self.assert_deployed(outcome, device)
        self.assertEqual(
            [None, 'bytes=%d-' % (5 * MIB)],
            [r.range for r in self.image_requests()],
        )

    def test_the_image_is_compared_with_its_metadata(self) -> None:
        image = self.make_image()
        raw = image.path.read_bytes()
        packed = image.pack()
        self.serve(packed)
        device = self.make_device()
        for digest, status in (
            (hashlib.md5(raw).hexdigest(), 0),
            (hashlib.md5(b'other').hexdigest(), 255),
        ):
            metadata = {
                'images': [
                    {
                        'container_name': os.path.basename(PATH),
                        'raw_size': len(raw),
                        'raw_md5': digest,
                    }
                ]
            }
            self.server.representations[METADATA] = harmful.Representation(
                yaml.safe_dump(metadata).encode()
            )
            outcome = self.deploy(device)
            self.assertEqual(status, outcome.status)
        self.assertIn('Actual checksum', outcome.output)


class TestFailure(_FuelAgentTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.device = self.make_device()

    def assert_failed(self, outcome: Outcome, text: str) -> None:
        self.assertEqual(255, outcome.status)
        self.assertIn(text, outcome.output)

    def test_an_image_that_is_not_there_is_asked_for_once(self) -> None:
        outcome = self.deploy(self.device)
        self.assert_failed(outcome, '404')
        self.assertEqual(1, len(self.image_requests()))
        self.assertLess(outcome.seconds, 30)

    def test_their_number_of_retries_is_honoured(self) -> None:
        self.serve(bytes(1000))
        self.server.script(then=faults.status(503), path=PATH)
        outcome = self.deploy(
            self.device, 'http_max_retries = 2\nhttp_retry_delay = 0.1\n'
        )
        self.assert_failed(outcome, '503')
        self.assertEqual(3, len(self.image_requests()))
        self.assertLess(outcome.seconds, 30)

    def test_their_timeout_is_honoured(self) -> None:
        self.serve(bytes(1000))
        self.server.script(then=faults.stall(0), path=PATH)
        outcome = self.deploy(
            self.device,
            'http_max_retries = 1\n'
            'http_retry_delay = 0.1\n'
            'http_request_timeout = 1\n',
            container='raw',
        )
        self.assert_failed(outcome, 'gave up after 2 attempts')
        first, second = self.image_requests()
        self.assertGreater(second.moment - first.moment, 0.9)
        self.assertLess(second.moment - first.moment, 5)

    def test_a_server_that_is_down_fails_it_promptly(self) -> None:
        self.server.down()
        outcome = self.deploy(
            self.device, 'http_max_retries = 3\nhttp_retry_delay = 0.1\n'
        )
        self.assert_failed(outcome, 'gave up after 4 attempts')
        self.assertLess(outcome.seconds, 30)

    def test_a_truncated_container_fails_and_is_not_bootable(self) -> None:
        packed = self.make_image().pack()
        self.serve(packed[:-9])
        outcome = self.deploy(self.device)
        self.assert_failed(outcome, 'gzip container ends')
        with open(self.device, 'rb') as file:
            self.assertEqual(bytes(MIB), file.read(MIB))

    def test_sigterm_ends_it_promptly(self) -> None:
        packed = self.make_image().pack()
        for name, answer in {
            'stalled': faults.stall(len(packed) // 2),
            'trickling': faults.trickle(5000, len(packed) // 2),
            'not answered': faults.stall(0, in_head=True),
            'backing off': faults.status(503, retry_after=60),
        }.items():
            self.serve(packed)
            self.server.script(then=answer, path=PATH)
            seen = len(self.server.requests)
            began = subprocess.Popen(
                self.configure(self.device),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self.addCleanup(_kill, began)
            self.assertTrue(self.server.wait(seen + 2, 30), name)
            time.sleep(1)
            self.assertIsNone(began.poll(), name)
            moment = time.monotonic()
            began.send_signal(signal.SIGTERM)
            output, _ = began.communicate(timeout=200)
            self.assertLess(time.monotonic() - moment, 10, name)
            self.assertEqual(255, began.returncode, name)
            self.assertIn(b'SIGTERM RECEIVED', output)
            self.assertIn(b'was shut down gracefully', output)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.kill()
