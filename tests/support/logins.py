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
"""Servers that ask who is there: Basic (RFC 7617) and Digest (RFC 7616)."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import secrets

from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults

BASIC = 'Basic realm="images"'


def basic(name: str, password: str, *, challenge: str = BASIC) -> faults.Fault:
    """Ask for Basic, unless it comes by itself."""
    login = base64.b64encode(('%s:%s' % (name, password)).encode())
    return _asking(
        [challenge],
        lambda request: _sent(request) == 'Basic ' + login.decode(),
    )


def digest(name: str, password: str, *more: str) -> faults.Fault:
    """Ask for Digest, with a nonce of its own for each request.

    :param more: further challenges.
    """
    nonces: list[str] = []

    def right(request: harmful.Request) -> bool:
        scheme, _blank, rest = _sent(request).partition(' ')
        given = dict(re.findall(r'([a-z]+)="?([^",]*)"?', rest))
        if scheme != 'Digest' or given['nonce'] not in nonces:
            nonces.append(secrets.token_hex(8))
            challenges[:] = [
                *more,
                'Digest realm="images", qop="auth", nonce="%s"' % nonces[-1],
            ]
            return False
        first = _md5('%s:%s:%s' % (name, given['realm'], password))
        second = _md5('%s:%s' % (request.method, given['uri']))
        middle = [given[key] for key in ('nonce', 'nc', 'cnonce', 'qop')]
        expected = _md5(':'.join([first, *middle, second]))
        return bool(given['response'] == expected)

    challenges: list[str] = []
    return _asking(challenges, right)


def _sent(request: harmful.Request) -> str:
    return request.field('Authorization') or ''


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _asking(challenges: list[str], right: object) -> faults.Fault:
    assert callable(right)

    def fault(handler: faults.Handler) -> faults.Handler:
        def handle(
            request: harmful.Request, image: harmful.Representation
        ) -> harmful.Reply:
            if right(request):
                return handler(request, image)
            reply = faults.status(401)(handler)(request, image)
            fields = [('WWW-Authenticate', text) for text in challenges]
            return dataclasses.replace(reply, fields=(*reply.fields, *fields))

        return handle

    return fault
