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

"""``fuel-agent-curl demo``: a copy from a harmful server, told in words."""

from __future__ import annotations

from collections.abc import Callable
import gzip
import hashlib
import os
import random
import tempfile
import time

from fuel_agent_curl import copying
from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl import octets
from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import output
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.cmd import watching
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.config import settings
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.rules import events

_PATH = '/image.img.gz'

# How long nothing may be read of what is told before it is given up.
_PATIENCE = 1.0

# Quick to notice and to come back, so that nobody has to wait; never by way
# of a proxy.
_SETTINGS = settings.Settings(
    low_speed_time=2.0, backoff=0.5, backoff_max=2.0, attempts=5, proxy=''
)

# What the server does with one request after the other: in words, and how.
_ACTS: tuple[tuple[str, Callable[[int], faults.Fault]], ...] = (
    (
        'resets the connection in the middle of the body',
        lambda step: faults.reset(step),
    ),
    (
        'falls silent in the middle of the body',
        lambda step: faults.stall(step),
    ),
    (
        'answers 503 Service Unavailable, Retry-After: 1',
        lambda step: faults.status(503, retry_after=1),
    ),
    (
        'closes the connection short of the length it stated',
        lambda step: faults.cut(step),
    ),
)


class _Narrator(displays.Display):
    """Tells every event as it happens."""

    def __init__(self, said: output.Output) -> None:
        self._output = said
        self._began = time.monotonic()
        self._request = 0

    def event(self, event: events.Event, seen: snapshot.Snapshot) -> None:
        """Tell what happened, and what the server is about to do."""
        if event.error is not None:
            self.say('  failed: %s' % wording.brief(event.error))
            if event.delay:
                self.say('  waits %.1f s' % event.delay)
            self.next_request()
        elif event.kind == 'started':
            self.say(
                '  the answer begins; its length is %s'
                % wording.size(event.length or 0)
            )
        elif event.kind == 'resumed':
            self.say('  resumed at byte %d' % event.offset)
        else:
            self.say('  ' + event.kind)

    def next_request(self) -> None:
        """Tell what the server is going to do with the next request."""
        act = 'behaves'
        if self._request < len(_ACTS):
            act, _fault = _ACTS[self._request]
        self._request += 1
        self.say('request %d: the server %s' % (self._request, act))

    def say(self, text: str) -> None:
        """Print a line, with the seconds since the beginning."""
        now = time.monotonic() - self._began
        self._output.write('%5.1f s  %s\n' % (now, text))


def run() -> int:
    """Run the demonstration; return 0 if every byte arrived.

    :raises errors.Error: if not, or if it cannot be told.
    :raises BrokenPipeError: if nobody listens.
    """
    said = output.Output(1)
    _tell(said)
    said.drain(_PATIENCE)
    said.check()
    return 0


def _tell(said: output.Output) -> None:
    image = _image()
    packed = gzip.compress(image, 1)
    said.write(
        'A gzip image of %s, %s unpacked, from a harmful server on this'
        ' machine:\n\n' % (wording.size(len(packed)), wording.size(len(image)))
    )
    with (
        tempfile.TemporaryDirectory(prefix='fuel-agent-curl-') as directory,
        harmful.Server({_PATH: harmful.Representation(packed)}) as server,
    ):
        step = len(packed) // (len(_ACTS) + 1)
        server.script(*(fault(step) for _act, fault in _ACTS))
        request = copying.Request(
            url=server.url(_PATH),
            target=os.path.join(directory, 'image.img'),
            checksum=_sha256(packed),
            image_checksum=_sha256(image),
            settings=_SETTINGS,
        )
        stats = _copy(request, _Narrator(said))
        with open(request.target, 'rb') as copied:
            equal = copied.read() == image
        ranges = server.ranges
    if not equal:
        raise errors.DigestMismatch('what arrived is not what was sent')
    said.write('\nWhat the server was asked for:\n')
    for number, asked in enumerate(ranges, 1):
        said.write('  request %d: %s\n' % (number, asked or 'everything'))
    said.write(
        'Bytes fetched twice: %d.\n'
        'Verdict: right. All %d bytes are on the target, synced, with the'
        ' SHA-256 they should have.\n'
        % (stats.received - len(packed), len(image))
    )


def _copy(request: copying.Request, narrator: _Narrator) -> events.Stats:
    with watching.Watch(narrator, _SETTINGS.attempts) as watch:
        narrator.next_request()
        running = copying.Copy(request, watch.observe)
        watch.follow(running)
        return running.run().stats


def _image() -> bytes:
    """Return what an image looks like: bytes of all kinds, then zeros."""
    generator = random.Random(1)  # noqa: S311
    return b''.join(
        generator.randbytes(2 * octets.MIB) + bytes(2 * octets.MIB)
        for _ in range(6)
    )


def _sha256(content: bytes) -> str:
    return 'sha256:' + hashlib.sha256(content).hexdigest()
