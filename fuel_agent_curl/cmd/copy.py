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
from collections.abc import Sequence
import dataclasses
import logging
import typing

from fuel_agent_curl import copying
from fuel_agent_curl import errors
from fuel_agent_curl.cmd import configuration
from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import ending
from fuel_agent_curl.cmd import output
from fuel_agent_curl.cmd import signals
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.cmd import watching
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.config import options
from fuel_agent_curl.image import digest
from fuel_agent_curl.target import opening
from fuel_agent_curl.target import sink

LOG = logging.getLogger(__name__)

# What is a matter of the copy itself.
_ASKED = [option.name for option in options.COPY if option.name != 'progress']


def run(
    arguments: argparse.Namespace,
    found: configuration.Configuration,
    shown: displays.Display,
    descriptor: int | None = None,
) -> int:
    """Copy; return 0.

    :param shown: what shows how far it is, and the end.
    :param descriptor: what ``json_on`` has returned.
    :raises errors.Error: for whatever went wrong.
    :raises signals.Interrupted: with how far it got in its ``detail``.
    """
    with watching.Watch(
        shown, found.settings.attempts, url=arguments.url
    ) as watch:
        try:
            request = make_request(arguments, found)
            check_output(
                request.target,
                descriptor,
                arguments.output,
                dry_run=request.dry_run,
            )
            result, text = _copy(request, watch)
            signals.too_late()
        except BaseException as error:
            signals.too_late()
            if isinstance(error, signals.Interrupted):
                error.detail = _how_far(watch.look())
            watch.failed(ending.of(error, arguments.target))
            raise
        watch.done(_outcome(request, result))
    LOG.info('%s', text)
    return 0


def _copy(
    request: copying.Request, watch: watching.Watch
) -> tuple[copying.Result | None, str]:
    """Copy, watched; return what that did, and in words.

    A signal that comes when everything is done comes too late.
    """
    running = copying.Copy(request, watch.observe)
    watch.follow(running)
    try:
        result = running.run()
    except signals.Interrupted:
        if running.target_state != 'complete':
            raise
        text = '%d bytes written to %s' % (running.written, request.target)
        return None, text
    if request.dry_run:
        return result, intention(request, result)
    return result, summary(request, result)


def _outcome(
    request: copying.Request, result: copying.Result | None
) -> displays.Outcome:
    """Return what was done, for a display."""
    if result is None:
        return {'container': None, 'checked': None, 'plan': None}
    return {
        'container': result.image.container,
        'checked': {
            'checksum': _algorithm(result.checksum),
            'image_checksum': _algorithm(result.image_checksum),
            'ranges': result.image.checked,
            'read_back': request.verify,
        },
        'plan': _plan(result) if request.dry_run else None,
    }


def _algorithm(checksum: digest.Checksum | None) -> str | None:
    return None if checksum is None else checksum.algorithm


def _plan(result: copying.Result) -> dict[str, typing.Any]:
    """Return what a dry run has found out."""
    assert result.image.target is not None
    return {
        'container': result.image.container,
        'length': result.image.length,
        'mapped': result.image.mapped,
        'reused': result.kept,
        'target': dataclasses.asdict(result.image.target),
    }


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


def intention(request: copying.Request, result: copying.Result) -> str:
    """Return the line that is printed after a dry run."""
    image = result.image
    what = 'an image of unknown length'
    if image.length is not None:
        what = '%d bytes' % image.length
    if image.mapped is not None:
        what = '%d of %s' % (image.mapped, what)
    if request.reuse and result.kept:
        what += ' (%d of which are there already)' % result.kept
    if image.container != 'raw':
        what += ' (unpacked from %s)' % image.container
    return errors.one_line(
        '; '.join(
            (
                'nothing was written: this was a dry run',
                'a copy would write %s to %s%s'
                % (what, request.target, _described(image.target)),
                _checks(request, result, 'to be '),
            )
        )
    )


# What becomes of a file: see ``sink.Description.way``.
_WAYS = {
    'made': 'a new file',
    'replaced': 'a file that is replaced in the end',
    'overwritten': 'a file that is written over',
    'patched': 'a file that is changed in place',
}


def _described(target: sink.Description | None) -> str:
    if target is None or target.kind == 'stream':
        return ''
    if target.kind == 'device':
        return ', a device of %s' % wording.size(target.size or 0)
    text = ', ' + _WAYS[target.way]
    if target.free is not None:
        text += ' (%s are free)' % wording.size(target.free)
    return text


def summary(request: copying.Request, result: copying.Result) -> str:
    """Return the line that is printed after a copy that succeeded."""
    image, stats = result.image, result.stats
    seconds = max(stats.seconds, 0.001)
    packed = '' if image.container == 'raw' else ' (%s)' % image.container
    written = '%d bytes written to %s' % (image.written, request.target)
    if image.mapped is not None:
        written = '%d of %s' % (image.mapped, written)
    if request.reuse and result.kept:
        written += ', %d of which were there already' % result.kept
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
        _checks(request, result),
    ]
    # A name may hold whatever it likes.
    return errors.one_line('; '.join(parts))


def _checks(
    request: copying.Request, result: copying.Result, time: str = ''
) -> str:
    """Return what was compared.

    :param time: 'to be ', where it was not yet.
    """
    done = [
        '%s of the %s %sverified' % (checksum.algorithm, what, time)
        for checksum, what in (
            (result.checksum, 'download'),
            (result.image_checksum, 'image'),
        )
        if checksum is not None
    ]
    if result.signer is not None:
        what = 'image' if request.is_image_signed else 'list of checksums'
        done.append('%s signed by %s' % (what, result.signer))
    elif request.is_image_signed:
        done.append('signature of the download to be verified')
    if result.image.checked:
        ranges = wording.counted(result.image.checked, 'range')
        done.append('%s of the block map %sverified' % (ranges, time))
    if request.verify:
        done.append(time + 'read back and compared')
    return ', '.join(done) or 'no checksum given'


def json_on(
    arguments: argparse.Namespace, found: configuration.Configuration
) -> int | None:
    """Return the descriptor that objects are printed to; None: there is none.

    :raises errors.OptionError: if it cannot be written to.
    """
    given: int | None = arguments.progress_fd
    if given is not None:
        output.check_descriptor(given)
    elif found.copy['progress'] == 'json':
        return 1
    return given


def check_output(
    target: str,
    descriptor: int | None,
    named: Sequence[str],
    *,
    dry_run: bool = False,
) -> None:
    """Refuse to spoil what somebody reads.

    :param descriptor: what objects are printed to; None: there are none.
    :param named: the target, if it was given by ``-o``.
    :param dry_run: no image will be printed; where it would be may be
        another place then.
    :raises errors.OptionError: if an image and its progress, or what else is
        said, would be printed to the same place, or an image on a terminal.
    """
    if descriptor is not None and opening.is_open_on(target, descriptor):
        raise errors.OptionError(
            'the image and its progress cannot both go to %s'
            % (
                'standard output'
                if descriptor == 1
                else 'descriptor %d' % descriptor
            )
        )
    if dry_run:
        return
    if opening.is_open_on(target, 2):
        raise errors.OptionError(
            'the image and what is said on standard error cannot both go to'
            ' the same place',
            hint='send standard error elsewhere, as by 2>FILE',
        )
    if named and target == opening.STDOUT:
        return
    if opening.is_terminal(target):
        raise errors.OptionError(
            'the target is a terminal, which an image would fill',
            hint='send it to a file or a pipe, or say -o - if you mean it',
        )


def _how_far(seen: snapshot.Snapshot) -> str:
    """Return how far an interrupted copy got."""
    if not seen.received:
        return 'nothing had been received yet'
    size = wording.size(seen.received)
    if seen.length is not None:
        size += ' of ' + wording.size(seen.length)
    return '%s received, %s written' % (size, wording.size(seen.written))
