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
the proxy, and so that ``no_proxy`` can be what sites write there.
"""

from __future__ import annotations

from collections.abc import Mapping
import re

from fuel_agent_curl.rules import redirects

_HOST = re.compile(r'[0-9A-Za-z_-][0-9A-Za-z._-]*')
# An IPv6 address with a port has brackets.
_ENTRY = re.compile(r'(?:\[(.+)\]|([^:]+))(?::([0-9]{1,5}))?|(.*:.*:.*)')
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


def excepted(
    given: str | None,
    environment: Mapping[str, str],
    origin: redirects.Origin,
) -> tuple[bool, list[str]]:
    """Tell whether ``origin`` is asked without the proxy.

    :param given: the setting; None: as the environment says.
    :return: that, and the entries that mean nothing.
    """
    if given is None:
        names = 'no_proxy', 'NO_PROXY'
        given = next(filter(None, map(environment.get, names)), '')
    found = False
    unknown = []
    for entry in re.split(r'[\s,]+', given):
        try:
            found = _fits(entry, origin) or found
        except ValueError:
            unknown.append(entry)
    return found, unknown


def _fits(entry: str, origin: redirects.Origin) -> bool:
    """Tell whether an entry names the origin.

    :raises ValueError: if it names nothing.
    """
    if entry in ('', '*'):
        return bool(entry)
    parts = _ENTRY.fullmatch(entry)
    if parts is None:
        raise ValueError(entry)
    name = parts[1] or parts[2] or parts[4]
    if octets := _OCTETS.fullmatch(name):
        count = octets[1].count('.')
        name = octets[1] + '.'.join('0' * (4 - count)) + '/%d' % (8 * count)
    if ':' in name or re.fullmatch('[0-9./]+', name):
        found = _within(origin.host, name)
    else:
        found = _below(origin.host, name)
    return found and parts[3] in (None, str(origin.port))


def _below(host: str, domain: str) -> bool:
    """Tell whether a host is, or is in, a domain."""
    # All of them name the domain itself, too, as they do with curl.
    domain = domain.removeprefix('*').removeprefix('.').removesuffix('.')
    if not _HOST.fullmatch(domain):
        raise ValueError(domain)
    return ('.' + host.removesuffix('.')).endswith('.' + domain.lower())


def _within(host: str, network: str) -> bool:
    """Tell whether a host is an address, and in a network."""
    # Slow to import, and seldom of use.
    import ipaddress

    addresses = ipaddress.ip_network(network, strict=False)
    try:
        host = host.partition('%')[0].strip('[]')
        return ipaddress.ip_address(host) in addresses
    except ValueError:
        return False
