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


"""Mirrors by the beginning of a URL: the values of the option mirrors."""

from __future__ import annotations

from collections.abc import Sequence
import re

from fuel_agent_curl import errors
from fuel_agent_curl import values

# A prefix may hold '=' of its own, but none that a scheme follows.
_VALUE = re.compile(r'(https?://.+?)\s*=\s*(https?://.+)', re.IGNORECASE)
_URL = re.compile(r'https?://[^,\s]+', re.IGNORECASE)
_ORIGIN = re.compile(r'[^/]*//[^/?]*')
# The name of a document; whether the rest is a URL is for others to tell.
_METALINK = re.compile(
    r'[^/?#]*//[^/?#]*/[^?#]*\.meta4(?:[?#]|$)', re.IGNORECASE
)


@values.dataclass(frozen=True)
class Prefix:
    """Where what begins with ``text`` is to be had; no slash ends either."""

    text: str
    urls: tuple[str, ...]

    def rest(self, url: str) -> str | None:
        """Return what follows the prefix in ``url``; None if it differs.

        The prefix ends where a segment of the path does: that of one host,
        or directory, is not the beginning of a longer name.
        """
        size = len(self.text)
        rest = url[size:]
        if _folded(url[:size]) != _folded(self.text):
            return None
        return rest if rest[:1] in ('', '/', '?') else None


def parse(texts: Sequence[str]) -> tuple[Prefix, ...]:
    """Return the prefixes that ``'PREFIX=URL[,URL...]'`` texts state.

    :raises errors.OptionError: for one that is not, without showing it:
        it may hold a password.
    """
    prefixes = []
    for number, text in enumerate(texts, 1):
        match = _VALUE.fullmatch(text.strip())
        prefix, urls = match.groups() if match else ('', '')
        each = [url.strip() for url in urls.split(',')]
        if not all(map(_URL.fullmatch, [prefix, *each])):
            raise errors.OptionError(
                'option mirrors, value %d, is not PREFIX=URL[,URL...] with '
                'http:// or https:// before each' % number,
                hint="a ',' within a URL is written %2C",
            )
        prefixes.append(
            Prefix(prefix.rstrip('/'), tuple(url.rstrip('/') for url in each))
        )
    return tuple(prefixes)


def sources(url: str, prefixes: Sequence[Prefix]) -> list[str]:
    """Return every URL of the bytes of ``url``, in the order to try them.

    The longest prefix that fits applies, each time that it is given. ``url``
    itself is the first, unless it is named there too: then that is its place.
    """
    fitting = [prefix for prefix in prefixes if prefix.rest(url) is not None]
    longest = max((len(prefix.text) for prefix in fitting), default=0)
    found = [
        base + (prefix.rest(url) or '')
        for prefix in fitting
        if len(prefix.text) == longest
        for base in prefix.urls
    ]
    return list(dict.fromkeys(found if url in found else [url, *found]))


def _folded(url: str) -> str:
    """Scheme and host are the same in either case (RFC 3986 section 6.2.2)."""
    return _ORIGIN.sub(lambda match: match[0].lower(), url, count=1)


def is_metalink(url: str) -> bool:
    """Tell whether the URL names a Metalink 4 document (RFC 5854, 7.2)."""
    return _METALINK.match(url) is not None
