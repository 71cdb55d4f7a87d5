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

import itertools
import os
import time
from typing import Any

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl import keeping
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import download
from tests import base


class TestDeadline(base.TestCase):
    def test_it_is_counted_once(self) -> None:
        """A second beginning has the time that the first one has left."""
        found = []

        def begin(
            asked: download.Asked,
            *,
            settings: settings_module.Settings,
            **how: Any,
        ) -> None:
            found.append(settings.deadline)
            if len(found) == 1:
                raise errors.CannotContinue('not proven')
            raise errors.DeadlineExceeded('late')

        self.patch(download, 'fetch_asked', begin)
        seconds = itertools.count()
        self.patch(time, 'monotonic', lambda: float(next(seconds)))
        settings = settings_module.Settings(deadline=10)
        self.assertRaises(
            errors.DeadlineExceeded,
            keeping.fetch,
            os.path.join(self.useFixture(fixtures.TempDir()).path, 'spool'),
            'http://example.net/image',
            [],
            settings,
        )
        self.assertEqual(sorted(set(found), reverse=True), found)
        self.assertLess(max(found), 10)
