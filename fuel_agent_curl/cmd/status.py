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

"""``fuel-agent-curl status``: what an unfinished copy has left on a target."""

from __future__ import annotations

import argparse
import datetime
import typing

from fuel_agent_curl import continuing
from fuel_agent_curl import errors
from fuel_agent_curl.cmd import configuration
from fuel_agent_curl.cmd import output
from fuel_agent_curl.cmd import parsers
from fuel_agent_curl.cmd import records
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.state import journal


def run(
    arguments: argparse.Namespace, found: configuration.Configuration
) -> int:
    """Print what is known of the target; nothing is changed.

    :raises errors.OptionError: if it can hold no such thing.
    """
    target = arguments.target
    left = continuing.look(target, found.copy['state_dir'])
    if left is None:
        raise errors.OptionError(
            '%s is no block device and no file' % target,
            hint='nothing is left of a copy to anything else',
        )
    if arguments.json:
        output.say(records.line('status', 'done', values(target, left)))
    else:
        output.say('\n'.join(map(errors.one_line, describe(target, left))))
    return 0


def values(target: str, left: continuing.Left) -> dict[str, typing.Any]:
    """Return it for a program."""
    record = left.record
    if record is None:
        found: dict[str, typing.Any] = {
            key.name: None for key in records.STATUS
        }
        return found | {'exit_code': 0, 'target': target, 'unfinished': False}
    return {
        'exit_code': 0,
        'target': target,
        'unfinished': True,
        'url': record.url,
        'container': record.container,
        'bytes': record.written.wire,
        'length': record.origin.length,
        'written': record.written.stop,
        'synced': record.synced.stop if record.synced else 0,
        'began': record.began,
        'saved': record.saved,
        'trusted': left.is_trusted,
        'same_boot': record.boot == journal.boot(),
    }


def describe(target: str, left: continuing.Left) -> list[str]:
    """Return it for a person, in lines."""
    record = left.record
    if record is None:
        return ['%s: no unfinished copy is known' % target]
    mark, lost = record.written, ''
    if record.boot != journal.boot():
        # What was not synced may be gone.
        lost = ', as far as it was synced before the machine went down'
        if record.synced is None:
            return [
                '%s: of a copy of %s, nothing was synced before the machine'
                ' went down: it starts over' % (target, record.url)
            ]
        mark = record.synced
    of = ''
    if record.origin.length is not None:
        of = ' of ' + wording.size(record.origin.length)
    lines = [
        '%s: an unfinished copy' % target,
        '  of      %s (%s)' % (record.url, record.container),
        '  there   %s%s%s' % (wording.size(mark.wire), of, lost),
        '  since   %s, last %s' % (_time(record.began), _time(record.saved)),
    ]
    if not left.is_trusted:
        lines.append(
            '  record  on the target alone: it counts only if the copy is'
            ' given a checksum of the image'
        )
    lines.append(
        '  go on   by the same %s copy; with --no-continue it starts over'
        % parsers.PROG
    )
    return lines


def _time(seconds: float) -> str:
    try:
        then = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return 'at no time'
    return then.strftime('%Y-%m-%d %H:%M:%S UTC')
