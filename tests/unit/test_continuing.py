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

"""Tests of what is gone on with, and what is not."""

from __future__ import annotations

import dataclasses
import errno
import functools
import os
import pathlib

import fixtures

from fuel_agent_curl import continuing
from fuel_agent_curl import errors
from fuel_agent_curl.state import directory
from fuel_agent_curl.state import journal
from fuel_agent_curl.state import record as record_module
from fuel_agent_curl.target import storage
from tests import base
from tests.unit.state import test_record

_RECORD = test_record.RECORD


def _left(
    ours: record_module.Record | None, there: record_module.Record | None
) -> continuing.Left:
    return continuing.Left('/state', ours, there)


def _is(decided: bool, container: str) -> bool:
    return decided


class TestLeft(base.TestCase):
    def test_which_record_counts(self) -> None:
        newer = dataclasses.replace(_RECORD, number=8)
        foreign = dataclasses.replace(newer, copy='f0')
        for ours, there, found, trusted in (
            (None, None, None, False),
            (_RECORD, None, _RECORD, True),
            (_RECORD, newer, newer, True),
            (newer, _RECORD, newer, True),
            (_RECORD, foreign, _RECORD, True),
            (None, foreign, foreign, False),
        ):
            left = _left(ours, there)
            self.assertEqual((found, trusted), (left.record, left.is_trusted))

    def test_what_can_be_used(self) -> None:
        same = _RECORD.asked
        for ours, there, asked, decided, used in (
            (None, None, same, True, False),
            (_RECORD, None, same, False, True),
            (_RECORD, None, 'other', True, False),
            (None, _RECORD, same, True, True),
            (None, _RECORD, same, False, False),
        ):
            found = continuing.usable(
                _left(ours, there),
                '/dev/x',
                functools.partial(str, asked),
                _RECORD.container,
                decided=functools.partial(_is, decided),
            )
            self.assertEqual(_RECORD if used else None, found)

    def test_what_it_comes_in(self) -> None:
        """What is asked for counts, and not what a record says."""
        record = dataclasses.replace(_RECORD, container='raw')
        for container, used in (
            ('auto', True),
            ('raw', True),
            ('gzip', False),
            ('xz', False),
        ):
            found = continuing.usable(
                _left(None, record),
                '/dev/x',
                functools.partial(str, record.asked),
                container,
                decided=functools.partial(_is, True),
            )
            self.assertEqual(record if used else None, found)

    def test_what_a_boot_has_left(self) -> None:
        urls = ['http://other/', 'http://server/image']
        origin = dataclasses.replace(
            _RECORD.origin, url=continuing.digest(urls[1])
        )
        written = dataclasses.replace(_RECORD.written, wire=7)
        same = dataclasses.replace(
            _RECORD, boot=journal.boot(), origin=origin, written=written
        )
        kept = continuing.kept(same, urls)
        self.assertEqual((7, urls[1]), (kept.offset, kept.url))
        self.assertEqual('"1"', kept.found.validator.strong)
        self.assertIsNone(continuing.kept(same, urls[:1]).url)
        other = dataclasses.replace(same, boot='another')
        self.assertEqual(5 << 20, continuing.kept(other, urls).offset)
        none = dataclasses.replace(other, synced=None)
        self.assertRaises(errors.CannotContinue, continuing.kept, none, urls)


class TestLook(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir())
        self.target = self.directory.join('x.img')
        self.state = self.directory.join('state')

    def look(self) -> continuing.Left | None:
        return continuing.look(self.target, self.state)

    def test_what_holds_none(self) -> None:
        for target in '', '-', '/dev/null', self.directory.path:
            self.assertIsNone(continuing.look(target, self.state))

    def test_a_target_that_cannot_be_closed(self) -> None:
        """As on FUSE and NFS; it was only read."""
        close = os.close

        def fail(fd: int) -> None:
            close(fd)
            raise OSError(errno.EIO, 'broken')

        pathlib.Path(self.target).write_bytes(b'an image')
        self.patch(os, 'close', fail)
        found = self.look()
        assert found is not None
        self.assertIsNone(found.record)

    def test_relative_to_a_directory_that_is_gone(self) -> None:
        def gone() -> str:
            raise FileNotFoundError

        self.patch(os, 'getcwd', gone)
        for target in ('-', 'disk.img'):
            self.assertIsNone(continuing.look(target, self.state))

    def test_in_the_directory(self) -> None:
        path = directory.path_of(self.state, self.target)
        fd = directory.create(path)
        os.pwrite(fd, test_record.packed(), record_module.SLOT)
        os.close(fd)
        left = self.look()
        assert left is not None
        self.assertEqual((_RECORD, None), (left.ours, left.there))
        self.assertEqual(0o700, os.stat(self.state).st_mode & 0o777)
        os.chmod(path, 0o666)
        left = self.look()
        assert left is not None
        self.assertIsNone(left.record)

    def test_beside_the_target(self) -> None:
        with open(self.target + '.fuel-agent-curl', 'wb') as file:
            file.seek(storage.RECORDS)
            file.write(test_record.packed())
        left = self.look()
        assert left is not None
        self.assertEqual((None, _RECORD), (left.ours, left.there))

    def test_what_is_forgotten(self) -> None:
        path = directory.path_of(self.state, self.target)
        # There is nothing, and that is no matter.
        continuing.forget(self.target, self.state)
        fd = directory.create(path)
        os.pwrite(fd, test_record.packed(), record_module.SLOT)
        os.close(fd)
        beside = self.target + '.fuel-agent-curl'
        with open(beside, 'wb') as file:
            file.seek(storage.RECORDS)
            file.write(test_record.packed())
        continuing.forget(self.target, self.state)
        self.assertTrue(os.path.exists(path))
        os.unlink(beside)
        continuing.forget(self.target, self.state)
        self.assertFalse(os.path.exists(path))

    def test_names(self) -> None:
        names = set()
        for what in (
            '/a/b',
            '/a%2Fb',
            '/a_b',
            '/' + 'x' * 300,
            '/' + 'x' * 301,
        ):
            path = directory.path_of('/state', what)
            self.assertEqual('/state', os.path.dirname(path))
            self.assertLess(len(os.path.basename(path)), 250)
            names.add(path)
        self.assertEqual(5, len(names))


class TestDirectory(base.TestCase):
    def test_default(self) -> None:
        for home, user, found in (
            ('/home/me/state', 0, '/home/me/state/fuel-agent-curl'),
            ('relative', 0, '/var/lib/fuel-agent-curl'),
            ('', 0, '/var/lib/fuel-agent-curl'),
            ('', 1000, '/home/me/.local/state/fuel-agent-curl'),
        ):
            self.useFixture(fixtures.EnvironmentVariable('HOME', '/home/me'))
            self.useFixture(
                fixtures.EnvironmentVariable('XDG_STATE_HOME', home)
            )
            self.useFixture(
                fixtures.MonkeyPatch('os.geteuid', lambda user=user: user)
            )
            self.assertEqual(found, directory.default())
