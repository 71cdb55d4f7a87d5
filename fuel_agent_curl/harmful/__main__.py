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

import argparse
import threading

from fuel_agent_curl import harmful


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError('a port is a number up to 65535')
    return int(text)


def main() -> None:
    image = harmful.Representation(harmful.Pattern(64 * 1024 * 1024))
    parser = argparse.ArgumentParser(
        prog='python -m fuel_agent_curl.harmful',
        description='Serve an image on loopback in harmful ways, some of'
        ' whose URLs are printed. Ctrl-C ends it.',
    )
    parser.add_argument(
        'port', nargs='?', type=_port, default=0, help='any, without it'
    )
    port: int = parser.parse_args().port
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
