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
from fuel_agent_curl import pipeline
from fuel_agent_curl.cmd import configuration
from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import hints
from fuel_agent_curl.cmd import signals
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.cmd import watching
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.image import digest

LOG = logging.getLogger(__name__)


def run(
    arguments: argparse.Namespace, found: configuration.Configuration
) -> int:
    """Copy; return 0.

    :raises errors.Error: for whatever went wrong.
    :raises signals.Interrupted: with how far it got in its ``detail``.
    """
    request = make_request(arguments, found)
    check_stdout(request.target, arguments.progress)
    shown = displays.display(arguments.progress)
    with watching.Watch(shown, request.settings.attempts) as watch:
        try:
            result = copy(request, watch)
            signals.too_late()
        except errors.Error as error:
            watch.failed(hints.line(error), error.exit_code)
            raise
        except signals.Interrupted as interrupted:
            interrupted.detail = _how_far(watch.look(), request.target)
            watch.failed(str(interrupted), interrupted.exit_code)
            raise
        except Exception as error:
            watch.failed('a bug: %r' % error, 1)
            raise
        watch.done()
    LOG.info('%s', summary(request, result))
    return 0


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
        checksum=arguments.checksum,
        image_checksum=arguments.image_checksum,
        container=arguments.container,
        bmap=arguments.bmap,
        verify=arguments.verify,
        settings=found.settings,
    )


def copy(request: copying.Request, watch: watching.Watch) -> copying.Result:
    """Copy, watched; on return everything is on the target, and checked."""
    running = copying.Copy(request, watch.observe)
    watch.follow(running)
    return running.run()


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
        _checked(request, image),
    ]
    return '; '.join(parts)


def _checked(request: copying.Request, image: pipeline.Result) -> str:
    done = [
        '%s of the %s verified' % (digest.parse(text).algorithm, what)
        for text, what in (
            (request.checksum, 'download'),
            (request.image_checksum, 'image'),
        )
        if text
    ]
    if image.checked:
        ranges = wording.counted(image.checked, 'range')
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


def _how_far(seen: snapshot.Snapshot, target: str) -> str:
    """Return how far an interrupted copy got, and what that left behind."""
    if not seen.received:
        return 'nothing had been received yet'
    left = (
        '%s is incomplete' % target
        if os.path.exists(target)
        else '%s was removed' % target
    )
    return '%s received, %s written; %s' % (
        seen.amount(),
        wording.size(seen.written),
        left,
    )
