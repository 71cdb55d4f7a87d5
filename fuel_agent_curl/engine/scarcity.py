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

"""What the process has run out of, where libcurl does not say."""

from __future__ import annotations

import os

from fuel_agent_curl import errors

#: CURLE_FAILED_INIT; the multi handle has no code of its own for it.
NO_MULTI_HANDLE = 2

_OUT_OF_MEMORY = 27
# How many descriptors may have been missing when libcurl failed with a code.
# It has closed the others of that attempt by the time that it tells.
_DESCRIPTORS = {
    NO_MULTI_HANDLE: 2,
    # COULDNT_RESOLVE_PROXY and _HOST: to wake libcurl, a file, a socket.
    5: 4,
    6: 4,
    # COULDNT_CONNECT: a socket.
    7: 1,
    # SSL_CERTPROBLEM and SSL_CACERT_BADFILE: a socket, and the file.
    58: 2,
    77: 2,
}


def missing(code: int, message: str) -> errors.ResourceError | None:
    """Return what was missing when libcurl failed, None if nothing was.

    :param code: CURLcode.
    """
    if code == _OUT_OF_MEMORY:
        return errors.shortage(MemoryError(message))
    if 'thread failed to start' in message:
        return errors.shortage(RuntimeError("can't start new thread"))
    held: list[int] = []
    try:
        for _number in range(_DESCRIPTORS.get(code, 0)):
            held.append(os.eventfd(0, os.EFD_CLOEXEC))
    except OSError as error:
        return errors.shortage(error)
    finally:
        for descriptor in held:
            os.close(descriptor)
    return None
