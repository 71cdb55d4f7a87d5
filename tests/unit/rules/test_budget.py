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

from fuel_agent_curl.rules import budget
from tests import base

RATE = 1000000


class BudgetTest(base.TestCase):
    def received(self, seconds: float, every: float, wanted: int) -> int:
        """Return what was granted to one that asks ``every`` so often."""
        one = budget.Budget(RATE, 0.0)
        return sum(
            one.grant(step * every, wanted)
            for step in range(round(seconds / every))
        )

    def test_grants_the_rate_whoever_asks_how_often(self) -> None:
        for every in (0.001, 0.01, 0.03, 0.2):
            total = self.received(10, every, 1 << 20)
            self.assertAlmostEqual(10 * RATE, total, delta=0.05 * 10 * RATE)

    def test_two_that_ask_share_one_rate(self) -> None:
        one = budget.Budget(RATE, 0.0)
        total = 0
        for step in range(1000):
            now = step / 100
            total += one.grant(now, 16384) + one.grant(now, 16384)
        self.assertAlmostEqual(10 * RATE, total, delta=0.05 * 10 * RATE)

    def test_a_lull_is_not_made_up_for(self) -> None:
        one = budget.Budget(RATE, 0.0)
        self.assertGreaterEqual(RATE / 2, one.grant(3600.0, 1 << 30))

    def test_says_how_long_to_wait(self) -> None:
        one = budget.Budget(RATE, 0.0)
        wait = one.wait(0.0)
        self.assertEqual(0, one.grant(0.0, 1))
        self.assertEqual(0, one.grant(wait * 0.9, 1))
        self.assertEqual(1, one.grant(wait * 1.01, 1))

    def test_what_was_not_received_is_granted_again(self) -> None:
        one = budget.Budget(RATE, 0.0)
        granted = one.grant(0.1, 1 << 30)
        one.give_back(granted)
        self.assertEqual(granted, one.grant(0.1, 1 << 30))

    def test_no_limit_grants_all_at_once(self) -> None:
        self.assertEqual(1 << 40, budget.UNLIMITED.grant(0.0, 1 << 40))
        self.assertEqual(0.0, budget.UNLIMITED.wait(5.0))

    def test_the_least_rate_ends(self) -> None:
        one = budget.Budget(1, 0.0)
        self.assertEqual(1, one.grant(1.0, 100))
