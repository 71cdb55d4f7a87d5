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

"""Copy an image to a device, with progress, and say how it ended.

    python copy_image.py URL TARGET [CHECKSUM]

It exits as the program would. Ctrl-C ends the copy, and what is on the target
is said then, too.
"""

from __future__ import annotations

import sys
import threading

import fuel_agent_curl


def show(running: fuel_agent_curl.Copy, ended: threading.Event) -> None:
    """Say every second how far it is, until it has ended."""
    while not ended.wait(1.0):
        print(
            running.phase,
            '%d of %s bytes' % (running.received, running.length or 'any'),
            flush=True,
        )


def main(url: str, target: str, checksum: str | None = None) -> int:
    try:
        request = fuel_agent_curl.Request(
            url=url,
            target=target,
            checksum=checksum,
            verify=True,
            settings=fuel_agent_curl.Settings(attempts=5, deadline=3600),
        )
    except fuel_agent_curl.errors.OptionError as error:
        print('nothing was asked: %s' % error)
        return error.exit_code
    running = fuel_agent_curl.Copy(
        request,
        lambda event: print(event.kind, event.error or event.url, flush=True),
    )
    ended = threading.Event()
    threading.Thread(target=show, args=(running, ended), daemon=True).start()
    try:
        result = running.run()
    except fuel_agent_curl.errors.Error as error:
        print('%s; %s is %s' % (error, target, error.target_state))
        return error.exit_code
    finally:
        ended.set()
    print(
        '%d bytes written, %s, %s'
        % (
            result.image.written,
            'read back' if result.image.verified else 'not read back',
            result.checksum or 'no checksum',
        )
    )
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
