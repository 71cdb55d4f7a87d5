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

"""URLs, taken apart by libcurl's own parser and by no other.

Who gets what was given is decided here, so what is decided on has to be what
libcurl connects to (curl_url_set, curl_url_get). The values are
``redirects.Address``.
"""

from __future__ import annotations

import re
from urllib import parse

import pycurl

from fuel_agent_curl import errors
from fuel_agent_curl.rules import redirects

# As libcurl reads a Location that it follows: what is unencoded is encoded.
_LOCATION = pycurl.U_URLENCODE | pycurl.U_ALLOW_SPACE
_NAMES = {
    pycurl.UPART_URL: 'address',
    pycurl.UPART_HOST: 'host',
    pycurl.UPART_SCHEME: 'scheme',
}


def read(url: str, *, named: bool = True) -> redirects.Address:
    """Return the address of a URL that was given.

    :param named: by the user, who means his credentials to go there.
    :raises errors.OptionError: if it cannot be asked.
    """
    if re.search('[^\x21-\x7e]', url):
        raise errors.OptionError(
            'a URL has no spaces, control or non-ASCII characters; '
            'write them as %XX',
            url=url,
        )
    scheme, colon, rest = url.partition(':')
    if not colon or scheme.lower() not in ('http', 'https'):
        raise errors.OptionError(
            'the URL has to begin with http:// or https://', url=url
        )
    # libcurl takes any number from one to three.
    if not re.match('//[^/]', rest):
        raise errors.OptionError('the URL names no host', url=url)
    try:
        return _address(pycurl.CurlUrl(url), named)
    except (pycurl.error, ValueError) as error:
        # The text names no part of the URL, but the error may.
        text = 'malformed URL: %s' % error.args[-1]
    raise errors.OptionError(text, url=url)


def follow(before: redirects.Address, location: str) -> redirects.Address:
    """Return where libcurl goes from ``before`` by this Location.

    :raises errors.RedirectError: if it is no URL, or must not be followed.
    """
    try:
        url = pycurl.CurlUrl(before.url)
        url.setpart(pycurl.UPART_URL, location.encode('latin-1'), _LOCATION)
        return redirects.step(before, _address(url, named=False))
    except (pycurl.error, ValueError) as error:
        text = 'redirected to what is no URL for us: %s' % error.args[-1]
    raise errors.RedirectError(text)


def proxy(url: str) -> str:
    """Return the HOST:PORT that the URL of a proxy names; '?' if none."""
    try:
        parts = pycurl.CurlUrl(
            url, pycurl.U_GUESS_SCHEME | pycurl.U_NON_SUPPORT_SCHEME
        )
        port = parts.getpart(pycurl.UPART_PORT, pycurl.U_DEFAULT_PORT)
        host = _text(parts, pycurl.UPART_HOST)
    except (pycurl.error, ValueError):
        return '?'
    if '://' not in url and not parts.port:
        # CURLOPT_PROXY
        port = '1080'
    # A scheme that libcurl does not know has no port of its own.
    return host if port is None else '%s:%s' % (host, port)


def _address(url: pycurl.CurlUrl, named: bool) -> redirects.Address:
    """Return the address that ``url`` is.

    :raises pycurl.error, ValueError: if it cannot be told for certain.
    """
    url.fragment = None
    origin, login = _origin(url), _login(url)
    text = _text(url, pycurl.UPART_URL)
    # As it is read when it is asked for.
    url = pycurl.CurlUrl(text)
    if (_text(url, pycurl.UPART_URL), _origin(url)) != (text, origin):
        raise ValueError('it can be read in two ways')
    url.user = url.password = None
    text = _text(url, pycurl.UPART_URL)
    return redirects.Address(text, origin, login, named)


def _origin(url: pycurl.CurlUrl) -> redirects.Origin:
    host = _text(url, pycurl.UPART_HOST).lower()
    if url.zoneid:
        host += '%' + url.zoneid
    port = url.getpart(pycurl.UPART_PORT, pycurl.U_DEFAULT_PORT)
    # A scheme without one is refused later, by its name.
    return redirects.Origin(
        _text(url, pycurl.UPART_SCHEME), host, int(port or 0)
    )


def _text(url: pycurl.CurlUrl, part: int) -> str:
    text = url.getpart(part)
    if text is None or not text.isascii():
        raise ValueError('it has no %s in ASCII' % _NAMES[part])
    return str(text)


def _login(url: pycurl.CurlUrl) -> tuple[bytes, bytes] | None:
    if url.user is None and url.password is None:
        return None
    name, password = (
        parse.unquote_to_bytes(text or '') for text in (url.user, url.password)
    )
    if re.search(b'[\x00-\x1f]', name + password):
        # libcurl refuses them, too.
        raise ValueError('the user information holds a control character')
    return name, password
