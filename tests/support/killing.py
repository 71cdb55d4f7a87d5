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
import re
import subprocess
import sys

import fixtures

from fuel_agent_curl import harmful
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import signatures
from tests import base
from tests.support import disks
from tests.support import endpoints
from tests.support import loop

LENGTH = 24 * MIB

RANDOM = random.Random(20261126)

# What counts, kills and records more often than the program does, and the
# program, in a process of its own for each line: to import all of it once is
# half of the time that a short copy takes.
_STARTER = """
import json, os, shutil, signal, sys

from fuel_agent_curl import copying, spooling
from fuel_agent_curl.cmd import copy, displays, main, parsers
from fuel_agent_curl.config import opts
from fuel_agent_curl.engine import window
from fuel_agent_curl.image import containers, digest
from fuel_agent_curl.state import journal, record
from fuel_agent_curl.target import identity, storage

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        break
    _pid, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
else:
    sys.exit()

for number, path in enumerate(('/dev/null', asked['out'], asked['err'])):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(fd, number)
    os.close(fd)

left, where, snapshot = asked['kill'], asked['where'], asked['snapshot']
counts = dict.fromkeys(('any', 'read', 'record', 'publish', 'received'), 0)
publishing = False

def happens(name, args):
    global left
    kinds = ['read' if name == 'preadv' else 'any']
    if name == 'pwrite' and record.holds(args[1]):
        kinds.append('record')
    if publishing and name != 'preadv':
        kinds.append('publish')
    for kind in kinds:
        counts[kind] += 1
    if where in kinds:
        left -= 1
    return where in kinds and not left

def tell():
    os.write(2, b'\\ncalls ' + json.dumps(counts).encode() + b'\\n')

def counted(name):
    call = getattr(os, name)
    def counting(*args):
        if happens(name, args):
            if name == 'pwrite':
                half = len(args[1]) // 2 // 4096 * 4096
                call(args[0], args[1][:half], args[2])
            tell()
            os.kill(os.getpid(), signal.SIGKILL)
        done = call(*args)
        if snapshot and name in ('fdatasync', 'fsync'):
            shutil.copyfile(asked['backing'], snapshot)
        return done
    setattr(os, name, counting)

for each in (
    *('pwrite', 'fdatasync', 'fsync', 'rename', 'unlink', 'ftruncate'),
    'preadv',
):
    counted(each)

publish = storage.Storage._publish

def published(self):
    global publishing
    publishing = True
    publish(self)

storage.Storage._publish = published
commit = window.Window.commit

def committed(self, offset, count):
    counts['received'] += count
    return commit(self, offset, count)

window.Window.commit = committed
journal.boot = lambda: asked['boot']
storage._RECORD = storage._RECORD_MOST = 1 << 20
storage._SYNC_AHEAD = 2 << 20
# What is held back at first costs as much, where nothing is recorded yet.
identity._FRONT = 2 << 20
storage._SYNC_AT_LEAST, storage._SYNC_INTERVAL = 4 << 20, 0.0

sys.argv = ['fuel-agent-curl', *asked['argv']]
code = main.program()
tell()
sys.exit(code)
"""


#: Bytes of the image in a member, or a block, of what ``members`` makes.
UNIT = 2 * MIB


@functools.cache
def image() -> bytes:
    """Return an image: noise and zeros, with what it is known by."""
    content = bytearray(random.Random(20261125).randbytes(LENGTH))
    content[9 * MIB : 13 * MIB] = bytes(4 * MIB)
    for part in disks.gpt(LENGTH), disks.ext2():
        for offset, data in part.items():
            content[offset : offset + len(data)] = data
    return bytes(content)


@functools.cache
def packed(container: str) -> bytes:
    """Return the image in a container, in several members or blocks."""
    content = image()
    if container == 'xz':
        blocks = ['xz', '-0', '-T1', '--block-size=%d' % UNIT, '--stdout']
        return _by(blocks, content)
    pack = {
        'gzip': functools.partial(gzip.compress, compresslevel=1),
        'zstd': functools.partial(_by, ['zstd', '-1', '--stdout']),
        'bzip2': functools.partial(bz2.compress, compresslevel=1),
    }[container]
    return b''.join(
        pack(content[at : at + UNIT]) for at in range(0, LENGTH, UNIT)
    )


def _by(argv: list[str], content: bytes) -> bytes:
    return subprocess.run(
        argv, input=content, stdout=subprocess.PIPE, check=True
    ).stdout


class _Starter(fixtures.Fixture):
    """Starts the program, with its calls counted."""

    def _setUp(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, '-c', _STARTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self._end)

    def _end(self) -> None:
        self._process.communicate()

    def run(self, **asked: object) -> int:
        """Run it; return its exit code, or minus the signal that ended it."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(asked) + '\n')
        process.stdin.flush()
        return int(process.stdout.readline())


class KillTestCase(base.FunctionalTestCase):
    timeout = 300

    def setUp(self) -> None:
        super().setUp()
        self.content = image()
        served = harmful.Representation(self.content)
        self.server = self.useFixture(endpoints.HarmfulServer(served)).server
        self._starter: _Starter | None = None
        self.state = os.environ['XDG_STATE_HOME'] + '/fuel-agent-curl'
        self.target = os.path.join(self.directory, 'disk.img')
        self.backing = self.snapshot = ''
        self.boot = 0
        self.url = ''
        self.said = ''
        self.counts: dict[str, int] = {}

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

    def run_program(
        self, *argv: str, kill: int = 1 << 40, where: str = 'any'
    ) -> int | None:
        """Run it; return its exit code, None where it was killed.

        What it did is in ``counts``: how many of each kind of call, and how
        many bytes it 'received'.

        :param kill: at which call, from 1.
        :param where: of which calls: 'any' that changes or syncs something,
            those that write a 'record' or 'publish' the image, or those that
            'read' what is there.
        """
        if self._starter is None:
            self._starter = self.useFixture(_Starter())
        out, err = (
            os.path.join(self.directory, 'std' + name)
            for name in ('out', 'err')
        )
        code = self._starter.run(
            argv=[
                *('copy', '--progress', 'json', *argv),
                *(self.url or self.server.url(), self.target),
            ],
            kill=kill,
            where=where,
            boot=str(self.boot),
            backing=self.backing,
            snapshot=self.snapshot,
            out=out,
            err=err,
        )
        with open(out) as file:
            lines = file.read().splitlines()
        with open(err) as file:
            self.said = file.read()
        self.events = [
            json.loads(line) for line in lines if line.endswith('}')
        ]
        self.assertNotIn('Traceback', self.said)
        (text,) = re.findall('^calls (.*)$', self.said, re.MULTILINE)
        self.counts = json.loads(text)
        return None if code == -9 else code

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
        if not self.backing and not os.path.exists(self.target):
            return
        fd = os.open(self.target, os.O_RDONLY)
        try:
            found = signatures.find(fd, forced=False)
        finally:
            os.close(fd)
        if found and self.read() != self.content:
            self.fail('looks like %s' % signatures.names(found))
