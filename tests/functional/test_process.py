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

"""Tests of downloads in a process that has little, forks, or ends."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests.support import engine

PROLOGUE = '''
import gc, os, resource, signal, sys, threading, time
import fuel_agent_curl
from fuel_agent_curl import errors

URL = sys.argv[1]

def settings(**how):
    how = {'attempts': 2, 'backoff': 0.01, 'low_speed_time': 5, **how}
    return fuel_agent_curl.Settings(**how)

def fetch(**how):
    return fuel_agent_curl.fetch(URL, settings=settings(**how))

def read(**how):
    with fetch(**how) as download:
        return sum(map(len, download.views()))
'''


class ProcessTestCase(engine.EngineTestCase):
    """Each program is a process of its own, with ``PROLOGUE`` before it."""

    def run_program(self, program: str) -> str:
        code = PROLOGUE + textwrap.dedent(program)
        done = subprocess.run(
            [sys.executable, '-c', code, self.server.url()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
        )
        self.assertEqual(0, done.returncode, done.stdout)
        return done.stdout


class TestScarcity(ProcessTestCase):
    """Of what this machine has, and no server."""

    def test_descriptors(self) -> None:
        """With any number of them it works, or says what is missing."""
        for connections in (1, 4):
            text = self.run_program(
                '''
                before = read(connections=%d)
                soft = 40
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
                found = []
                for free in range(12):
                    held = []
                    try:
                        while True:
                            held.append(os.open('/dev/null', os.O_RDONLY))
                    except OSError:
                        pass
                    for _each in range(free):
                        os.close(held.pop())
                    try:
                        assert read(connections=%d) == before
                        found.append('read')
                    except errors.ResourceError as error:
                        assert 'EMFILE' in str(error), error
                        found.append('error')
                    for descriptor in held:
                        os.close(descriptor)
                gc.collect()
                time.sleep(0.2)
                assert len(os.listdir('/proc/self/fd')) < 8
                assert threading.active_count() == 1
                print(' '.join(found))
                '''
                % (connections, connections)
            ).split()
            # It needs some, and works from there on.
            self.assertEqual(sorted(text), text)
            self.assertEqual(({'read', 'error'}), set(text))

    def test_memory_in_the_middle(self) -> None:
        self.name(content=harmful.Pattern(64 * MIB))
        self.run_program(
            '''
            read()
            with fetch(chunk_size=1 << 20) as download:
                next(download)
                used = int(open('/proc/self/statm').read().split()[0]) * 4096
                resource.setrlimit(resource.RLIMIT_AS, (used, used))
                kept = []
                try:
                    for view in download.views():
                        kept.append((view, download.keep(view)))
                except errors.ResourceError as error:
                    assert 'ENOMEM' in str(error), error
                    for _again in range(2):
                        try:
                            next(download)
                        except errors.ResourceError:
                            pass
                else:
                    assert False
            '''
        )

    def test_threads(self) -> None:
        self.run_program(
            '''
            def refuse(*arguments):
                raise RuntimeError("can't start new thread")

            read()
            start, threading._start_new_thread = (
                threading._start_new_thread, refuse
            )
            before = len(os.listdir('/proc/self/fd'))
            for _again in range(3):
                try:
                    fetch()
                    assert False
                except errors.ResourceError as error:
                    assert 'EAGAIN' in str(error), error
            gc.collect()
            assert len(os.listdir('/proc/self/fd')) == before
            threading._start_new_thread = start
            read()
            '''
        )

    def test_watches_of_epoll(self) -> None:
        self.run_program(
            '''
            import errno, selectors

            def refuse(selector, fd, events, data=None):
                if data is not None:
                    raise OSError(errno.ENOSPC, 'No space left on device')
                return register(selector, fd, events, data)

            register = selectors.DefaultSelector.register
            selectors.DefaultSelector.register = refuse
            try:
                fetch()
                assert False
            except errors.ResourceError as error:
                assert 'ENOSPC' in str(error), error
            '''
        )


class TestFork(ProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.name(content=harmful.Pattern(8 * MIB))

    def test_a_child_that_does_not_use_it(self) -> None:
        """It ends at once, and the parent's goes on."""
        self.run_program(
            '''
            count = 0
            with fetch(chunk_size=512) as download:
                for number, view in enumerate(download.views()):
                    count += len(view)
                    if number % 500 == 77:
                        child = os.fork()
                        if not child:
                            signal.alarm(20)
                            sys.exit(0)
                        assert os.waitpid(child, 0)[1] == 0
                assert download.stats.attempts == 1
            assert count == 8 << 20
            '''
        )

    def test_a_child_that_does(self) -> None:
        self.run_program(
            '''
            with fetch(chunk_size=65536) as download:
                first = next(download)
                child = os.fork()
                if not child:
                    signal.alarm(20)
                    for call in (download.__next__, download.next_view):
                        try:
                            call()
                            os._exit(1)
                        except errors.Error as error:
                            assert 'the process that began it' in str(error)
                    download.close()
                    # Another one is its own.
                    assert read() == 8 << 20
                    sys.exit(0)
                assert os.waitpid(child, 0)[1] == 0
                assert len(first) + sum(map(len, download)) == 8 << 20
                assert download.stats.attempts == 1
            '''
        )


class TestExit(ProcessTestCase):
    def test_many_that_wait(self) -> None:
        self.server.script(then=faults.stall(9000))
        for ending in ('', 'sys.exit()', '[each.close() for each in many]'):
            text = self.run_program(
                '''
                many = [
                    fetch(low_speed_time=60, attempts=0) for _each in range(30)
                ]
                time.sleep(0.3)
                print(time.time(), flush=True)
                %s
                '''
                % ending
            )
            # Not a second for each.
            self.assertLess(time.time() - float(text), 5)


class TestMemory(ProcessTestCase):
    """What is resident, in MiB, is that of downloads under way."""

    def setUp(self) -> None:
        super().setUp()
        self.name(content=harmful.Pattern(24 * MIB))

    def grown(self, rounds: int, keep: bool, **how: int) -> int:
        text = self.run_program(
            '''
            def resident():
                pages = open('/proc/self/statm').read().split()[1]
                return int(pages) * os.sysconf('SC_PAGESIZE') >> 20

            def one():
                download = fetch(**%r)
                views = download.views()
                next(views)
                time.sleep(0.05)
                for view in views:
                    pass
                return download

            gc.disable()
            for _each in range(3):
                one()
            time.sleep(0.2)
            before = resident()
            kept = []
            for _each in range(%d):
                kept.append(one())
                if not %r:
                    kept.clear()
            time.sleep(0.5)
            print(resident() - before)
            '''
            % (how, rounds, keep)
        )
        return int(text)

    def test_sequential_ones(self) -> None:
        # The windows would be 1600 MiB.
        self.assertLess(self.grown(100, keep=False), 60)

    def test_kept_ones(self) -> None:
        for how in ({}, {'connections': 4}, {'chunk_size': 1000}):
            grown = self.grown(20, keep=True, **how)
            self.assertLess(grown, 20 * 3, str(how))
