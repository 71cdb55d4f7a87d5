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

"""Copies that are killed, at any moment.

The moments are calls: the program counts those that change a target or a
record, and kills itself at one of them, of which half may have been done.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import json
import os
import random
import subprocess
import sys

from fuel_agent_curl import harmful
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import signatures
from tests import base
from tests.support import disks
from tests.support import endpoints
from tests.support import loop

LENGTH = 24 * MIB

RANDOM = random.Random(20261126)

_COUNTED = """
import os, shutil, signal, sys
left, boot, backing, snapshot = sys.argv[1:5]
del sys.argv[1:5]
left = first = int(left)

def counted(name):
    call = getattr(os, name)
    def counting(*args):
        global left
        left -= 1
        if left == 0:
            if name == 'pwrite':
                half = len(args[1]) // 2 // 4096 * 4096
                call(args[0], args[1][:half], args[2])
            os.kill(os.getpid(), signal.SIGKILL)
        done = call(*args)
        if snapshot and name in ('fdatasync', 'fsync'):
            shutil.copyfile(backing, snapshot)
        return done
    setattr(os, name, counting)

for each in 'pwrite', 'fdatasync', 'fsync', 'rename', 'unlink', 'ftruncate':
    counted(each)

from fuel_agent_curl.state import journal
from fuel_agent_curl.target import storage

journal.boot = lambda: boot
storage._RECORD = 1 << 20
storage._SYNC_AHEAD = 2 << 20
storage._SYNC_AT_LEAST, storage._SYNC_INTERVAL = 4 << 20, 0.0

from fuel_agent_curl.cmd import main

code = main.program()
os.write(2, b'calls %d' % (first - left))
sys.exit(code)
"""


#: Bytes of the image in a member, or a block, of what ``members`` makes.
UNIT = 2 * MIB


def members(content: bytes) -> dict[str, bytes]:
    """Return ``content`` in each container, in several members or blocks."""
    made = {}
    for name, pack in (
        ('gzip', functools.partial(gzip.compress, compresslevel=1)),
        ('zstd', _zstd),
        ('bzip2', functools.partial(bz2.compress, compresslevel=1)),
    ):
        made[name] = b''.join(
            pack(content[at : at + UNIT])
            for at in range(0, len(content), UNIT)
        )
    made['xz'] = subprocess.run(
        ['xz', '-0', '-T1', '--block-size=%d' % UNIT, '--stdout'],
        input=content,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return made


def _zstd(content: bytes) -> bytes:
    return subprocess.run(
        ['zstd', '-1', '--stdout'],
        input=content,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


class KillTestCase(base.FunctionalTestCase):
    timeout = 300

    def setUp(self) -> None:
        super().setUp()
        content = bytearray(RANDOM.randbytes(LENGTH))
        content[9 * MIB : 13 * MIB] = bytes(4 * MIB)
        for part in disks.gpt(LENGTH), disks.ext2():
            for offset, data in part.items():
                content[offset : offset + len(data)] = data
        self.content = bytes(content)
        image = harmful.Representation(self.content)
        self.server = self.useFixture(endpoints.HarmfulServer(image)).server
        self.state = os.environ['XDG_STATE_HOME'] + '/fuel-agent-curl'
        self.target = os.path.join(self.directory, 'disk.img')
        self.backing = self.snapshot = ''
        self.boot = 0
        self.url = ''
        self.said = ''

    def pack(self, packed: bytes) -> None:
        """Have the server serve the image packed."""
        self.server.representations['/image'] = harmful.Representation(packed)

    def disk(self) -> None:
        device = self.useFixture(loop.LoopDevice(self.directory, LENGTH))
        self.target, self.backing = device.path, device.backing

    def read(self) -> bytes:
        try:
            with open(self.target, 'rb') as target:
                return target.read()
        except FileNotFoundError:
            return b''

    def run_program(self, *argv: str, kill: int = 1 << 40) -> int | None:
        """Run it; return its exit code, None where it was killed."""
        done = subprocess.run(
            [
                *(sys.executable, '-c', _COUNTED, str(kill)),
                *(str(self.boot), self.backing, self.snapshot),
                *('copy', '--progress', 'json', *argv),
                *(self.url or self.server.url(), self.target),
            ],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
        )
        self.said = done.stderr
        self.events = [
            json.loads(line)
            for line in done.stdout.splitlines()
            if line.endswith('}')
        ]
        self.assertNotIn('Traceback', done.stderr)
        return None if done.returncode == -9 else done.returncode

    def arrives(self, *argv: str) -> None:
        self.assertEqual(0, self.run_program(*argv), self.said)
        self.assert_whole()

    def assert_whole(self) -> None:
        self.assertTrue(self.content == self.read(), 'another image is there')
        left = os.listdir(self.state) if os.path.exists(self.state) else []
        self.assertEqual([], left)
        if not self.backing:
            self.assertEqual(
                ['disk.img'],
                [n for n in os.listdir(self.directory) if 'disk.img' in n],
            )

    def assert_no_image(self) -> None:
        """What is there is not to be taken for an image, unless it is one."""
        if not self.backing:
            there = self.read()
            if there[:MIB].strip(b'\0')[:4] in (b'', b'fuel'):
                return
            self.assertTrue(there == self.content, 'a part of an image')
            return
        fd = os.open(self.target, os.O_RDONLY)
        try:
            found = signatures.find(fd, forced=False)
        finally:
            os.close(fd)
        if found and self.read() != self.content:
            self.fail('looks like %s' % signatures.names(found))
