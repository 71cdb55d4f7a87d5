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

"""How a run ends that did not succeed: its last line and its exit code."""

from __future__ import annotations

import errno

from fuel_agent_curl import errors
from fuel_agent_curl import values
from fuel_agent_curl.cmd import hints
from fuel_agent_curl.cmd import signals
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.target import opening

#: Of a bug of ours.
BUG = 1

_SCARCE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@values.dataclass(frozen=True)
class Ending:
    """What there is to say.

    :ivar text: one line: what happened, where, which attempt, what to do,
        and what the target is like now.
    :ivar target_state: 'untouched', 'blank', 'incomplete' or 'complete'.
    :ivar continues_at: the byte of the image that the same copy goes on at;
        None: it starts over.
    """

    text: str
    exit_code: int
    target_state: str
    continues_at: int | None = None


def of(error: BaseException, target: str | None = None) -> Ending:
    """Return how ``error`` ends the run.

    :param target: as it was given; None: there is none, or nobody knows yet.
    """
    state = getattr(error, 'target_state', None) or 'untouched'
    text, exit_code = _said(error)
    at = getattr(error, 'continues_at', None)
    if target is not None:
        name = 'standard output' if target == opening.STDOUT else target
        text = errors.one_line('%s; %s is %s' % (text, name, state))
        if at is not None:
            text += '; run again, it continues at %s' % wording.size(at)
    return Ending(text, exit_code, state, at)


def _said(error: BaseException) -> tuple[str, int]:
    if isinstance(error, errors.Error):
        return hints.line(error), error.exit_code
    if isinstance(error, signals.Interrupted):
        return str(error), error.exit_code
    scarce = _shortage(error)
    if scarce is not None:
        return hints.line(scarce), scarce.exit_code
    return 'a bug in fuel-agent-curl, please report it: %r' % error, BUG


def _shortage(error: BaseException) -> errors.ResourceError | None:
    """Return what has run out, if that is what ``error`` is for."""
    if isinstance(error, OSError) and error.errno not in _SCARCE:
        # Who knows what it comes from.
        return None
    return errors.shortage(error)
