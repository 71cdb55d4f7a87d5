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

"""Tests of when a copy notes how far it is."""

from __future__ import annotations

import math

from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import storage
from tests import base


class TestRecords(base.TestCase):
    def test_when_one_is_due(self) -> None:
        for more, seconds, due in (
            (16 * MIB - 1, math.inf, False),
            (16 * MIB, math.inf, True),
            (16 * MIB, 0.9, False),
            (16 * MIB, 1.0, True),
            (48 * MIB - 1, 0.9, False),
            (48 * MIB, 0.0, True),
        ):
            self.assertIs(due, storage.is_record_due(more, seconds))
