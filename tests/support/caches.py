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

"""Fixtures: proxies and caches, as a site has them."""

from __future__ import annotations

from collections.abc import Mapping
import pathlib

import fixtures

from tools.fleet import servers

#: What a squid needs to be a proxy for everybody, and no cache.
PROXY = """
http_port 127.0.0.1:{port}
http_access allow all
cache deny all
"""

# It gets user and password on each line, and says what it thinks of them.
_HELPER = """
while read -r given; do
    if [ "$given" = '%s' ]; then echo OK; else echo ERR; fi
done
"""

_AUTHENTICATION = """
auth_param basic program /bin/sh helper.sh
auth_param basic children 1
acl known proxy_auth REQUIRED
http_port 127.0.0.1:{port}
http_access allow known
http_access deny all
cache deny all
"""


class _Running(fixtures.Fixture):
    """A server that runs until the end of the test, which kills it."""

    def _directory(self) -> pathlib.Path:
        return pathlib.Path(self.useFixture(fixtures.TempDir()).path) / 'own'

    def _run(self, server: servers.Server) -> None:
        self.addCleanup(server.close)
        server.start()


class Origin(_Running):
    """nginx with one file, ``/image``.

    :ivar server: the ``servers.Origin``.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content

    def _setUp(self) -> None:
        root = self.useFixture(fixtures.TempDir()).path
        pathlib.Path(root, 'image').write_bytes(self._content)
        self.server = servers.Origin(self._directory(), pathlib.Path(root))
        self._run(self.server)


class NginxCache(_Running):
    """nginx with the cache of slices that the fleet guide has.

    :param origin: the port of what it caches.
    :param changes: to the text of the guide.
    :ivar server: the ``servers.SliceCache``.
    """

    def __init__(
        self, origin: int, changes: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self._origin = origin
        self._changes = changes

    def _setUp(self) -> None:
        self.server = servers.SliceCache(
            self._directory(), '127.0.0.1:%d' % self._origin, self._changes
        )
        self._run(self.server)


class Squid(_Running):
    """squid.

    :param text: of its configuration; '{port}' in it is ours. None: that of
        the cache in the fleet guide.
    :param hosts: names that nobody else knows, for 127.0.0.1.
    :param files: in the directory that the configuration is in.
    :ivar server: the ``servers.Squid``.
    """

    def __init__(
        self,
        text: str | None = PROXY,
        *hosts: str,
        files: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._text = text
        self._hosts = hosts
        self._files = files or {}

    @classmethod
    def asking(cls, line: str, *hosts: str) -> Squid:
        """Return one that asks for user and password.

        :param line: the right ones, with a space between them, as squid
            hands them to its helper.
        """
        return cls(
            _AUTHENTICATION, *hosts, files={'helper.sh': _HELPER % line}
        )

    def _setUp(self) -> None:
        directory = self._directory()
        if self._text is None:
            self.server = servers.Squid.caching(directory)
        else:
            self.server = servers.Squid(directory, self._text, *self._hosts)
        for name, content in self._files.items():
            (directory / name).write_text(content)
        self._run(self.server)
