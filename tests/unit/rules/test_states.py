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
from __future__ import annotations

from fuel_agent_curl.rules import states
from fuel_agent_curl.rules.states import State
from fuel_agent_curl.rules.states import Trigger
from tests import base

# Written out once more: what a transfer may do is to be changed in two
# places, knowingly.
LEGAL = {
    'WAITING': {'START': 'ATTEMPTING', 'FAIL': 'FAILED', 'DROP': 'DROPPED'},
    'ATTEMPTING': {
        'AGAIN': 'WAITING',
        'RETRY': 'BACKING_OFF',
        'COMPLETE': 'DONE',
        'FAIL': 'FAILED',
        'DROP': 'DROPPED',
    },
    'BACKING_OFF': {
        'START': 'ATTEMPTING',
        'FAIL': 'FAILED',
        'DROP': 'DROPPED',
    },
    'DONE': {},
    'FAILED': {},
    'DROPPED': {},
}


class StatesTest(base.TestCase):
    def test_every_pair(self) -> None:
        for state in State:
            for trigger in Trigger:
                expected = LEGAL[state.name].get(trigger.name)
                if expected is None:
                    self.assertRaises(
                        RuntimeError, states.move, state, trigger
                    )
                else:
                    self.assertEqual(
                        State[expected], states.move(state, trigger)
                    )

    def test_under_way_is_what_can_still_move(self) -> None:
        self.assertEqual(
            [state for state in State if LEGAL[state.name]],
            list(states.UNDER_WAY),
        )
