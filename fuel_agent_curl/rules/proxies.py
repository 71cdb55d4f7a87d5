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

"""Which proxy is asked, and which hosts are asked without it.

Rules only: settings and environment come in. libcurl would read the
variables itself (libcurl-env); it is told instead, so that an error can name
the proxy that was used.
"""

from __future__ import annotations

from collections.abc import Mapping
import re

from fuel_agent_curl.rules import redirects

# What libcurl compares a host name with (CURLOPT_NOPROXY): it, or a domain.
_HOST = re.compile(r'[0-9A-Za-z._-]+')
# An address, perhaps in brackets, or a network of addresses.
_ADDRESS = re.compile(
    r'[0-9A-Fa-f.]*[:.][0-9A-Fa-f]*[:.][0-9A-Fa-f:.]*'
    r'(/[0-9]{1,3})?'
)
# 10.* and 192.168.*.*
_OCTETS = re.compile(r'((?:[0-9]{1,3}\.){1,3})(?:\*\.)*\*')


def chosen(
    scheme: str, given: str | None, environment: Mapping[str, str]
) -> str:
    """Return the proxy for URLs of ``scheme``, '' for none.

    :param given: the setting; None: as the environment says.
    """
    if given is not None:
        return given
    names = [scheme + '_proxy', 'all_proxy', 'ALL_PROXY']
    if scheme != 'http':
        # HTTP_PROXY is what a CGI script's client can set by a field.
        names.insert(1, scheme.upper() + '_PROXY')
    return next(filter(None, map(environment.get, names)), '')


def exceptions(
    given: str | None,
    environment: Mapping[str, str],
    origin: redirects.Origin,
) -> tuple[str, list[str]]:
    """Return who is asked without the proxy, in the words of libcurl.

    :param given: the setting; None: as the environment says.
    :param origin: what is asked now: entries for another port are left out.
    :return: the list, and the entries that mean nothing.
    """
    if given is None:
        names = 'no_proxy', 'NO_PROXY'
        given = next(filter(None, map(environment.get, names)), '')
    taken, unknown = [], []
    for entry in re.split(r'[\s,]+', given):
        if entry == '*':
            return '*', []
        name, port = _split(entry)
        text = _translated(name)
        if text is None:
            unknown.append(entry)
        elif text and port in (None, origin.port):
            taken.append(text)
    return ','.join(taken), unknown


def _split(entry: str) -> tuple[str, int | None]:
    """Part host and port; an IPv6 address with one has brackets."""
    found = re.fullmatch(r'(?:\[(.*)\]|([^:]*))(?::([0-9]{1,5}))?', entry)
    if found is None:
        return entry, None
    port = found[3]
    return found[1] or found[2] or '', int(port) if port else None


def _translated(name: str) -> str | None:
    """Return what libcurl calls it; None: nothing."""
    octets = _OCTETS.fullmatch(name)
    if octets:
        count = octets[1].count('.')
        return '%s%s/%d' % (octets[1], '.'.join('0' * (4 - count)), 8 * count)
    # libcurl takes a domain for all hosts below it, with the dot or without.
    name = name.removeprefix('*.')
    if not name or _HOST.fullmatch(name) or _ADDRESS.fullmatch(name):
        return name
    return None
