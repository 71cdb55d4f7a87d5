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

"""The fleet: many nodes that copy one image at the same time.

A process for each would be heavy; a few processes with many threads are not.
Each node is a whole ``fuel_agent_curl.fetch``, which hashes what it gets. One
process of it is::

    python -m tools.fleet.nodes '{"url": "http://...", "nodes": 8}'

which waits for a line on stdin, prints how many bytes have come so far, again
and again, and at last one line of JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import logging
import pathlib
import subprocess
import sys
import threading
import time
from typing import Any

import fuel_agent_curl
from fuel_agent_curl.rules import events

_ROOT = pathlib.Path(__file__).parent.parent.parent
# How often a process tells how far it is, in seconds.
_EVERY = 0.02


@dataclasses.dataclass
class Outcome:
    """What became of a node.

    :ivar sha256: of what it got, in hex.
    :ivar error: '' if there was none.
    :ivar received: bytes of bodies, over all of its attempts.
    """

    sha256: str = ''
    error: str = ''
    attempts: int = 0
    received: int = 0
    seconds: float = 0.0


class Fleet:
    """Nodes that begin all at once; ``close`` has to be called.

    :param nodes: how many there are, in ``processes`` processes.
    :param settings: of each.
    """

    def __init__(
        self,
        url: str,
        nodes: int,
        settings: Mapping[str, Any],
        processes: int = 4,
    ) -> None:
        self._received: dict[int, int] = {}
        self._outcomes: list[Outcome] = []
        self._readers: list[threading.Thread] = []
        processes = min(processes, nodes)
        shares = [
            len(range(first, nodes, processes)) for first in range(processes)
        ]
        self._processes = [
            _spawn({'url': url, 'nodes': share, 'settings': dict(settings)})
            for share in shares
        ]

    def start(self) -> None:
        """Let the nodes begin."""
        for process in self._processes:
            # It says that it is ready.
            assert process.stdout is not None
            process.stdout.readline()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write('\n')
            process.stdin.close()
            reader = threading.Thread(target=self._read, args=(process,))
            reader.start()
            self._readers.append(reader)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if isinstance(said, int):
                self._received[process.pid] = said
            else:
                self._outcomes += [Outcome(**each) for each in said]

    @property
    def received(self) -> int:
        """Bytes that all nodes together have got."""
        return sum(list(self._received.values()))

    def wait(self) -> list[Outcome]:
        """Return what became of the nodes, when it has of all."""
        for reader in self._readers:
            reader.join()
        return list(self._outcomes)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join()
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


def _spawn(what: Mapping[str, Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, '-m', __name__, json.dumps(what)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


class _Node(threading.Thread):
    def __init__(self, url: str, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self._url = url
        self._settings = fuel_agent_curl.Settings(**settings)
        self.stats: events.Stats | None = None
        self.outcome = Outcome()

    def run(self) -> None:
        outcome = self.outcome
        digest = hashlib.sha256()
        try:
            with fuel_agent_curl.fetch(
                self._url, settings=self._settings
            ) as download:
                self.stats = download.stats
                for view in download.views():
                    digest.update(view)
        except Exception as error:
            outcome.error = '%s: %s' % (type(error).__name__, error)
        outcome.sha256 = digest.hexdigest()
        if self.stats is not None:
            outcome.attempts = self.stats.attempts
            outcome.received = self.stats.received
            outcome.seconds = self.stats.seconds


def main(argv: list[str]) -> None:
    """Run some nodes, and say how far they are, and what became of them."""
    # What is being tried again is told by the outcome, not on stderr.
    logging.basicConfig(level=logging.CRITICAL)
    what = json.loads(argv[0])
    nodes = [
        _Node(what['url'], what['settings']) for _ in range(what['nodes'])
    ]
    print(0, flush=True)
    sys.stdin.readline()
    for node in nodes:
        node.start()
    while any(node.is_alive() for node in nodes):
        time.sleep(_EVERY)
        print(
            sum(node.stats.received for node in nodes if node.stats),
            flush=True,
        )
    print(json.dumps([dataclasses.asdict(node.outcome) for node in nodes]))


if __name__ == '__main__':
    main(sys.argv[1:])
