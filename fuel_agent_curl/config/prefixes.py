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


"""Further URLs of the same bytes, by the beginning of the URL."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import re

from fuel_agent_curl import errors

# A prefix may hold '=' of its own, but none that a scheme follows.
_RULE = re.compile(r'(https?://.+?)\s*=\s*(https?://.+)', re.IGNORECASE)
_URL = re.compile(r'https?://[^,\s]+', re.IGNORECASE)
_ORIGIN = re.compile(r'[^/]*//[^/?]*')
# The name of a document; whether the rest is a URL is for others to tell.
_METALINK = re.compile(
    r'[^/?#]*//[^/?#]*/[^?#]*\.meta4(?:[?#]|$)', re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """Where what begins with ``prefix`` is to be had; no slash ends either."""

    prefix: str
    urls: tuple[str, ...]

    def rest(self, url: str) -> str | None:
        """Return what follows the prefix in ``url``; None if it differs.

        The prefix ends where a segment of the path does: that of one host,
        or directory, is not the beginning of a longer name.
        """
        size = len(self.prefix)
        rest = url[size:]
        if _folded(url[:size]) != _folded(self.prefix):
            return None
        return rest if rest[:1] in ('', '/', '?') else None


def parse(texts: Sequence[str]) -> tuple[Rule, ...]:
    """Return the rules that ``'PREFIX=URL[,URL...]'`` texts state.

    :raises errors.OptionError: for one that is no rule, without showing it:
        it may hold a password.
    """
    rules = []
    for number, text in enumerate(texts, 1):
        match = _RULE.fullmatch(text.strip())
        prefix, urls = match.groups() if match else ('', '')
        each = [url.strip() for url in urls.split(',')]
        if not all(map(_URL.fullmatch, [prefix, *each])):
            raise errors.OptionError(
                'option mirrors, value %d, is not PREFIX=URL[,URL...] with '
                'http:// or https:// before each' % number,
                hint="a ',' within a URL is written %2C",
            )
        rules.append(
            Rule(prefix.rstrip('/'), tuple(url.rstrip('/') for url in each))
        )
    return tuple(rules)


def sources(url: str, rules: Sequence[Rule]) -> list[str]:
    """Return every URL of the bytes of ``url``, in the order to try them.

    The rules with the longest prefix that fits apply. ``url`` itself is the
    first, unless they name it too: then it has the place that they give it.
    """
    fitting = [rule for rule in rules if rule.rest(url) is not None]
    longest = max((len(rule.prefix) for rule in fitting), default=0)
    found = [
        base + (rule.rest(url) or '')
        for rule in fitting
        if len(rule.prefix) == longest
        for base in rule.urls
    ]
    return list(dict.fromkeys(found if url in found else [url, *found]))


def _folded(url: str) -> str:
    """Scheme and host are the same in either case (RFC 3986 section 6.2.2)."""
    return _ORIGIN.sub(lambda match: match[0].lower(), url, count=1)


def is_metalink(url: str) -> bool:
    """Tell whether the URL names a Metalink 4 document (RFC 5854, 7.2)."""
    return _METALINK.match(url) is not None
