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

"""What the consumer may do: stop, drop, wait, die; nothing stays behind."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.engine import thread
from fuel_agent_curl.harmful import faults
from tests.support import engine

THREAD = 'fuel-agent-curl'


def network_threads() -> int:
    return sum(
        thread.name.startswith(THREAD) for thread in threading.enumerate()
    )


class TestEnd(engine.EngineTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.assertEqual(0, network_threads())

    def assert_ends(self, seconds: float = 30) -> None:
        """The network thread ends, and with it all that it holds."""
        until = time.monotonic() + seconds
        while network_threads() and time.monotonic() < until:
            time.sleep(0.01)
        self.assertEqual(0, network_threads())

    def test_close_early(self) -> None:
        self.name(content=harmful.Pattern(1 << 30))
        for at in (0, 1, 5):
            download = self.fetch(chunk_size=65536)
            for _chunk in range(at):
                next(download)
            began = time.monotonic()
            download.close()
            self.assertLess(time.monotonic() - began, 15)
            self.assert_ends()

    def test_close_while_stalled(self) -> None:
        self.server.script(faults.stall(3000))
        download = self.fetch(low_speed_time=60)
        next(download)
        began = time.monotonic()
        download.close()
        self.assertLess(time.monotonic() - began, 15)
        self.assert_ends()

    def test_close_while_backing_off(self) -> None:
        self.server.script(faults.cut(9000), then=faults.status(503))
        download = self.fetch(backoff=60, backoff_max=60)
        self.assertTrue(self.server.wait(2))
        began = time.monotonic()
        download.close()
        self.assertLess(time.monotonic() - began, 15)
        self.assert_ends()

    def test_close_again(self) -> None:
        download = self.fetch()
        for _time in range(3):
            download.close()
        with download:
            pass
        self.assert_ends()

    def test_reading_on_after_close_is_an_error(self) -> None:
        self.server.script(faults.stall(9000))
        download = self.fetch()
        next(download)
        download.close()
        for _time in range(3):
            self.assertRaises(errors.Error, list, download)

    def test_dropped_without_close(self) -> None:
        self.name(content=harmful.Pattern(1 << 30))
        download = self.fetch(chunk_size=65536)
        next(download)
        self.assertEqual(1, network_threads())
        del download
        gc.collect()
        self.assert_ends()

    def test_dropped_without_close_while_stalled(self) -> None:
        self.server.script(faults.stall(3000))
        download = self.fetch(low_speed_time=60)
        next(download)
        del download
        gc.collect()
        self.assert_ends()

    def test_iterator_keeps_the_download(self) -> None:
        # Nobody holds the Download itself any more.
        chunks = iter(self.fetch())
        gc.collect()
        self.assert_same(self.content, b''.join(chunks))
        views = self.fetch().views()
        gc.collect()
        self.assert_same(self.content, b''.join(map(bytes, views)))

    def test_a_view_that_is_kept_stays_as_it_is(self) -> None:
        download = self.fetch(checksum=self.checksum())
        kept = []
        for view in download.views():
            give_back = download.keep(view)
            assert give_back is not None
            self.assertIsNone(download.keep(view))
            kept.append((view, give_back))
        self.assert_same(
            self.content, b''.join(bytes(view) for view, _give_back in kept)
        )
        for _view, give_back in kept:
            give_back()

    def test_no_other_view_can_be_kept(self) -> None:
        download = self.fetch()
        views = download.views()
        self.assertIsNone(download.keep(next(views)[:]))
        last = next(views)
        next(views)
        self.assertIsNone(download.keep(last))
        # Part of a chunk: the rest of that is still to come.
        parts = self.fetch(chunk_size=100)
        self.assertIsNone(parts.keep(next(parts.views())))

    def test_thread_ends_with_the_last_byte(self) -> None:
        download = self.fetch()
        self.assert_same(self.content, b''.join(download))
        self.assert_ends()
        self.assertEqual([], list(download))
        self.assertEqual(engine.LENGTH, download.length)

    def test_thread_ends_with_the_error(self) -> None:
        self.server.script(then=faults.cut(9000))
        self.name(ranges=False)
        download = self.fetch(attempts=2)
        self.assertRaises(errors.AttemptsExhausted, list, download)
        self.assert_ends()

    def test_error_is_raised_again(self) -> None:
        # A consumer that asks once more must not take it for the end.
        self.server.script(faults.cut(9000), then=faults.status(404))
        download = self.fetch()
        for _time in range(3):
            self.assertRaises(errors.StatusError, list, download)
        self.server.script()
        download = self.fetch(checksum='sha256:' + '0' * 64)
        for _time in range(3):
            self.assertRaises(errors.DigestMismatch, list, download)

    def test_what_fails_later_is_raised_where_the_bytes_are_read(self) -> None:
        real = thread.NetworkThread.wait

        def late(made: thread.NetworkThread) -> None:
            self.assertTrue(self.server.wait(2, 20))
            time.sleep(0.3)
            real(made)

        self.patch(thread.NetworkThread, 'wait', late)
        self.server.script(faults.cut(9000), then=faults.status(404))
        made = self.fetch()
        self.assertRaises(errors.StatusError, list, made)

    def test_failed_fetch_leaves_nothing(self) -> None:
        self.server.script(then=faults.status(404))
        self.assertRaises(errors.StatusError, self.fetch)
        self.assert_ends()

    def test_error_in_the_consumer_ends_it(self) -> None:
        self.name(content=harmful.Pattern(1 << 30))

        def consume() -> None:
            with self.fetch() as download:
                for _chunk in download:
                    raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, consume)
        self.assert_ends()

    def test_error_in_the_observer_does_not_hang(self) -> None:
        def observe(event: object) -> None:
            raise ZeroDivisionError

        try:
            with self.fetch(observe=observe) as download:
                data = b''.join(download)
        except Exception:
            pass
        else:
            self.assert_same(self.content, data)
        self.assert_ends()

    def test_consumer_in_another_thread(self) -> None:
        self.server.script(then=faults.reset(9000))
        download = self.fetch()
        data: list[bytes] = []
        thread = threading.Thread(target=lambda: data.extend(download))
        thread.start()
        thread.join()
        self.assert_same(self.content, b''.join(data))

    def test_many_at_the_same_time(self) -> None:
        self.server.script(then=faults.reset(9000))
        downloads = [self.fetch() for _number in range(20)]
        for each in downloads:
            self.assert_same(self.content, b''.join(each))
        self.assert_ends()

    def test_descriptors_above_1023(self) -> None:
        # select(2), which CurlMulti.select is, knows none of those.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
        self.addCleanup(
            resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard)
        )
        held = [os.open('/dev/null', os.O_RDONLY) for _fd in range(1100)]
        try:
            self.assert_arrives(faults.reset(9000), ranges=[None, 9000])
        finally:
            for descriptor in held:
                os.close(descriptor)


class TestExit(engine.EngineTestCase):
    """A program that ends while a download is under way."""

    def run_program(
        self, program: str, interrupt: int | None = None
    ) -> tuple[int, str, float]:
        """Run it; return the code, stderr and seconds from the interrupt."""
        code = textwrap.dedent(
            '''
            import signal, sys
            import fuel_agent_curl
            # A shell's job in the background has it ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            settings = fuel_agent_curl.Settings(low_speed_time=60, attempts=0)
            download = fuel_agent_curl.fetch(
                %r, settings=settings)
            '''
            % self.server.url()
        ) + textwrap.dedent(program)
        count = len(self.server.requests)
        process = subprocess.Popen(
            [sys.executable, '-c', code], stderr=subprocess.PIPE, text=True
        )
        try:
            self.assertTrue(self.server.wait(count + 1, 30))
            if interrupt is not None:
                time.sleep(0.5)
                process.send_signal(interrupt)
            began = time.monotonic()
            _out, text = process.communicate(timeout=200)
        finally:
            process.kill()
            process.wait()
        return process.returncode, text, time.monotonic() - began

    def setUp(self) -> None:
        super().setUp()
        self.server.script(then=faults.stall(9000))

    def test_sys_exit_is_not_delayed(self) -> None:
        code, text, seconds = self.run_program('sys.exit(3)')
        self.assertEqual((3, ''), (code, text))
        self.assertLess(seconds, 20)

    def test_end_of_the_program_is_not_delayed(self) -> None:
        code, text, seconds = self.run_program('')
        self.assertEqual((0, ''), (code, text))
        self.assertLess(seconds, 20)

    def test_error_of_the_program_is_not_delayed(self) -> None:
        code, text, seconds = self.run_program('1 / 0')
        self.assertEqual(1, code)
        self.assertIn('ZeroDivisionError', text)
        self.assertLess(seconds, 20)

    def test_ctrl_c_while_waiting(self) -> None:
        code, text, seconds = self.run_program('list(download)', signal.SIGINT)
        self.assertIn('KeyboardInterrupt', text)
        self.assertEqual(-signal.SIGINT, code)
        self.assertLess(seconds, 20)

    def test_ctrl_c_before_the_answer(self) -> None:
        self.server.script(then=faults.stall(0, in_head=True))
        _code, text, seconds = self.run_program('', signal.SIGINT)
        self.assertIn('KeyboardInterrupt', text)
        self.assertLess(seconds, 20)

    def test_handler_that_raises(self) -> None:
        # As fuel-agent's does at SIGTERM.
        program = '''
            def handler(number, frame):
                raise SystemExit(7)
            signal.signal(signal.SIGTERM, handler)
            list(download)
        '''
        code, _text, seconds = self.run_program(program, signal.SIGTERM)
        self.assertEqual(7, code)
        self.assertLess(seconds, 20)


class TestMemory(engine.EngineTestCase):
    def test_memory_of_a_large_download(self) -> None:
        # 1 GiB with a consumer that is slower than the server.
        length = 1 << 30
        self.name(content=harmful.Pattern(length))
        program = textwrap.dedent(
            '''
            import resource, sys, time
            import fuel_agent_curl
            count = 0
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with fuel_agent_curl.fetch(sys.argv[1]) as download:
                time.sleep(0.5)
                for chunk in download:
                    count += len(chunk)
                    if count % (1 << 26) == 0:
                        time.sleep(0.02)
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(count, after - before)
            '''
        )
        text = subprocess.run(
            [sys.executable, '-c', program, self.server.url()],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=200,
        ).stdout
        count, grown = map(int, text.split())
        self.assertEqual(length, count)
        # KiB: the window of 16 MiB, some chunks, libcurl's buffers.
        self.assertLess(grown, 40 * 1024)
