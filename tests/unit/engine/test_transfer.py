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
"""Tests of the states of a transfer."""

from __future__ import annotations

from fuel_agent_curl.engine import transfer
from fuel_agent_curl.engine.transfer import State
from tests import base

# Written out once more: what a transfer may do is to be changed in two
# places, knowingly.
LEGAL = {
    'WAITING': 'ATTEMPTING FAILED DROPPED',
    'ATTEMPTING': 'WAITING DONE FAILED DROPPED',
    'DONE': '',
    'FAILED': '',
    'DROPPED': '',
}


class TestStates(base.TestCase):
    def test_every_pair(self) -> None:
        for state in State:
            for to in State:
                if to.name in LEGAL[state.name].split():
                    self.assertIs(to, transfer.move(state, to))
                else:
                    self.assertRaises(RuntimeError, transfer.move, state, to)
