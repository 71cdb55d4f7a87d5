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


"""What stands in for ``download.fetch`` where no byte is to be fetched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fixtures

from fuel_agent_curl.config import settings
from tests import base


class FetchTestCase(base.TestCase):
    """Downloads what the test says.

    :ivar download: what ``fetch`` returns, or the error that it raises.
    :ivar asked: the URL and the settings of each call.
    :ivar mirrors: those of the last call.
    """

    download: Any

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[tuple[str, settings.Settings]] = []
        self.useFixture(
            fixtures.MonkeyPatch(
                'fuel_agent_curl.engine.download.fetch', self.fetch
            )
        )

    def fetch(
        self,
        url: str,
        *,
        mirrors: Sequence[str],
        settings: settings.Settings,
    ) -> Any:
        self.mirrors = mirrors
        self.asked.append((url, settings))
        if isinstance(self.download, BaseException):
            raise self.download
        return self.download
