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

"""Copy images in an asyncio program, each in a thread, with a time limit.

    python copy_in_asyncio.py SECONDS URL TARGET [URL TARGET ...]

What is over its time is cancelled, and what its target is like then is said.
"""

from __future__ import annotations

import asyncio
import sys

import fuel_agent_curl


async def copy(request: fuel_agent_curl.Request) -> fuel_agent_curl.Result:
    """Copy; when the task is cancelled, so is the copy.

    The task then ends when the copy has: by CancelledError, whose cause has
    the target's state, or, where all was done in that moment, by returning.
    """
    running = fuel_agent_curl.Copy(request)
    thread = asyncio.ensure_future(asyncio.to_thread(running.run))
    cancelled = None
    while True:
        try:
            # A thread cannot be cancelled: it ends when the copy does, which
            # is soon, but not before the target has been cleared.
            return await asyncio.shield(thread)
        except asyncio.CancelledError as error:
            running.cancel()
            if thread.cancelled():
                # The loop is being closed, and waits for the thread.
                raise
            cancelled = cancelled or error
        except fuel_agent_curl.errors.Cancelled as error:
            raise (cancelled or error) from error


async def copy_within(seconds: float, url: str, target: str) -> str:
    """Copy within that time; return how it ended."""
    try:
        request = fuel_agent_curl.Request(url=url, target=target)
        async with asyncio.timeout(seconds):
            result = await copy(request)
    except TimeoutError as error:
        # CancelledError, and ours.
        cause = error.__cause__ and error.__cause__.__cause__
        state = getattr(cause, 'target_state', None) or 'untouched'
        return '%s: cancelled; it is %s' % (target, state)
    except fuel_agent_curl.errors.Error as error:
        state = error.target_state or 'untouched'
        return '%s: %s; it is %s' % (target, error, state)
    return '%s: %d bytes written' % (target, result.image.written)


async def main(seconds: float, *named: str) -> None:
    copies = [
        copy_within(seconds, url, target)
        for url, target in zip(named[::2], named[1::2], strict=True)
    ]
    for line in await asyncio.gather(*copies):
        print(line, flush=True)


if __name__ == '__main__':
    asyncio.run(main(float(sys.argv[1]), *sys.argv[2:]))
