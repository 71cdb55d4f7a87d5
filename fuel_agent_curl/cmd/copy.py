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

"""``fuel-agent-curl copy``: from a URL to a target, watched."""

from __future__ import annotations

import argparse
import logging
import os
import stat

from fuel_agent_curl import copying
from fuel_agent_curl import errors
from fuel_agent_curl.cmd import configuration
from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import ending
from fuel_agent_curl.cmd import signals
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.cmd import watching
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.config import options

LOG = logging.getLogger(__name__)

# What is shown is no matter of the copy itself.
_ASKED = [each.name for each in options.COPY if each.name != 'progress']


def run(
    arguments: argparse.Namespace,
    found: configuration.Configuration,
    shown: displays.Display,
) -> int:
    """Copy; return 0.

    :param shown: what shows how far it is, and the end.
    :raises errors.Error: for whatever went wrong.
    :raises signals.Interrupted: with how far it got in its ``detail``.
    """
    with watching.Watch(shown, found.settings.attempts) as watch:
        try:
            request = make_request(arguments, found)
            check_stdout(request.target, found.copy['progress'])
            text = _copy(request, watch)
            signals.too_late()
        except BaseException as error:
            signals.too_late()
            if isinstance(error, signals.Interrupted):
                error.detail = _how_far(watch.look())
            watch.failed(ending.of(error, arguments.target))
            raise
        watch.done()
    LOG.info('%s', text)
    return 0


def _copy(request: copying.Request, watch: watching.Watch) -> str:
    """Copy, watched; return what to say about it.

    A signal that comes when everything is done comes too late.
    """
    running = copying.Copy(request, watch.observe)
    watch.follow(running)
    try:
        return summary(request, running.run())
    except signals.Interrupted:
        if running.target_state != 'complete':
            raise
        return '%d bytes written to %s' % (running.written, request.target)


def make_request(
    arguments: argparse.Namespace, found: configuration.Configuration
) -> copying.Request:
    """Return what command line and configuration ask for.

    :raises errors.OptionError: for what cannot be used.
    """
    url, mirrors = arguments.url, arguments.mirrors
    if not mirrors:
        url, *mirrors = found.sources(url)
    return copying.Request(
        url=url,
        target=arguments.target,
        mirrors=mirrors,
        settings=found.settings,
        sources=found.sources,
        **{name: found.copy[name] for name in _ASKED},
    )


def summary(request: copying.Request, result: copying.Result) -> str:
    """Return the line that is printed after a copy that succeeded."""
    image, stats = result.image, result.stats
    seconds = max(stats.seconds, 0.001)
    packed = '' if image.container == 'raw' else ' (%s)' % image.container
    written = '%d bytes written to %s' % (image.written, request.target)
    if image.mapped is not None:
        written = '%d of %s' % (image.mapped, written)
    parts = [
        written,
        '%d received%s in %.1f s, %s/s'
        % (
            stats.received,
            packed,
            seconds,
            wording.size(stats.received / seconds),
        ),
        ', '.join(
            wording.counted(number, what)
            for number, what in (
                (stats.attempts, 'request'),
                (stats.resumes, 'resume'),
                (stats.stalls, 'stall'),
            )
        ),
        _checked(request, result),
    ]
    return '; '.join(parts)


def _checked(request: copying.Request, result: copying.Result) -> str:
    done = [
        '%s of the %s verified' % (checksum.algorithm, what)
        for checksum, what in (
            (result.checksum, 'download'),
            (result.image_checksum, 'image'),
        )
        if checksum is not None
    ]
    if result.image.checked:
        ranges = wording.counted(result.image.checked, 'range')
        done.append('%s of the block map verified' % ranges)
    if request.verify:
        done.append('read back and compared')
    return ', '.join(done) or 'no checksum given'


def check_stdout(target: str, progress: str) -> None:
    """Refuse to print the image and its progress to the same place.

    :raises errors.OptionError: if both would be there.
    """
    if progress == 'json' and _is_stdout(target):
        raise errors.OptionError(
            'the image and --progress json cannot both go to standard output'
        )


def _is_stdout(target: str) -> bool:
    try:
        there, stdout = os.stat(target), os.fstat(1)
    except OSError:
        return False
    # /dev/null may well be both, and a terminal is asking for it.
    return os.path.samestat(there, stdout) and not stat.S_ISCHR(there.st_mode)


def _how_far(seen: snapshot.Snapshot) -> str:
    """Return how far an interrupted copy got."""
    if not seen.received:
        return 'nothing had been received yet'
    size = wording.size(seen.received)
    if seen.length is not None:
        size += ' of ' + wording.size(seen.length)
    return '%s received, %s written' % (size, wording.size(seen.written))
