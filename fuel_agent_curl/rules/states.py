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
"""The life of a transfer: its states, and what moves it on, as a table."""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Where a transfer stands."""

    WAITING = enum.auto()
    ATTEMPTING = enum.auto()
    BACKING_OFF = enum.auto()
    DONE = enum.auto()
    FAILED = enum.auto()
    DROPPED = enum.auto()


class Trigger(enum.Enum):
    """What moves a transfer on."""

    START = enum.auto()
    #: The answer ended well, or asks for another request: no failure.
    AGAIN = enum.auto()
    RETRY = enum.auto()
    COMPLETE = enum.auto()
    FAIL = enum.auto()
    #: Another transfer does the work.
    DROP = enum.auto()


UNDER_WAY = (State.WAITING, State.ATTEMPTING, State.BACKING_OFF)

TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.WAITING, Trigger.START): State.ATTEMPTING,
    (State.BACKING_OFF, Trigger.START): State.ATTEMPTING,
    (State.ATTEMPTING, Trigger.AGAIN): State.WAITING,
    (State.ATTEMPTING, Trigger.RETRY): State.BACKING_OFF,
    (State.ATTEMPTING, Trigger.COMPLETE): State.DONE,
    (State.WAITING, Trigger.FAIL): State.FAILED,
    (State.ATTEMPTING, Trigger.FAIL): State.FAILED,
    (State.BACKING_OFF, Trigger.FAIL): State.FAILED,
    (State.WAITING, Trigger.DROP): State.DROPPED,
    (State.ATTEMPTING, Trigger.DROP): State.DROPPED,
    (State.BACKING_OFF, Trigger.DROP): State.DROPPED,
}


def move(state: State, trigger: Trigger) -> State:
    """Return the state that follows.

    :raises RuntimeError: if the table has no such transition: a bug.
    """
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise RuntimeError(
            'a transfer in state %s cannot %s' % (state.name, trigger.name)
        ) from None
