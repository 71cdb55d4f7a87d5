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

"""Serve 64 MiB on loopback, for a human with curl, until Ctrl-C.

The one argument is the port; without it, any free one.
"""

from __future__ import annotations

import sys
import threading

from fuel_agent_curl import harmful


def main() -> None:
    image = harmful.Representation(harmful.Pattern(64 * 1024 * 1024))
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with harmful.Server({'/image': image}, port=port) as server:
        for fault in ('', '/cut/5000', '/stall/5000', '/no-range/reset/5000'):
            url = server.url(fault + '/image')
            print(url, flush=True)  # noqa: T201
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()  # noqa: T201


if __name__ == '__main__':
    main()
