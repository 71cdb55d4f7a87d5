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


"""The check of the rooms fails on what it is there for."""

import ast
import importlib
import pathlib
import re

import fixtures
from testtools import matchers

from tests import base
from tools import check_layers

ROOT = check_layers.ROOT
PACKAGE = ROOT / check_layers.PACKAGE


class TestPackage(base.TestCase):
    def test_there_is_no_fault(self) -> None:
        self.assertEqual([], check_layers.check(ROOT))

    def test_each_room_is_there_and_has_a_door(self) -> None:
        """A name that is left over would let a module pass unseen."""
        for room in check_layers.ROOMS:
            path = PACKAGE / room
            if path.is_dir():
                door = (path / '__init__.py').read_text()
                self.assertThat(door, matchers.Contains('"""'), room)
            else:
                self.assertTrue(path.with_suffix('.py').is_file(), room)

    def test_a_door_names_what_is_there(self) -> None:
        rooms = [r for r in check_layers.ROOMS if (PACKAGE / r).is_dir()]
        for room in rooms:
            door = ast.get_docstring(
                ast.parse((PACKAGE / room / '__init__.py').read_text())
            )
            for module, name in re.findall(r'``(\w+)\.(\w+)``', door or ''):
                found = importlib.import_module(
                    '.'.join((check_layers.PACKAGE, room, module))
                )
                self.assertTrue(hasattr(found, name), (room, module, name))
            for module in re.findall(r'``(\w+)``', door or ''):
                path = PACKAGE / room / module
                there = path.with_suffix('.py').is_file()
                self.assertTrue(
                    there or module in check_layers.ROOMS, (room, module)
                )

    def test_rooms_import_downwards(self) -> None:
        """The table itself has no way up."""
        rooms = list(check_layers.ROOMS)
        for place, (room, below) in enumerate(check_layers.ROOMS.items()):
            for other in below.split():
                self.assertIn(other, rooms[place + 1 :], room)


class TestCheck(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def faults(self, **sources: str) -> list[str]:
        """Return the faults of a package; 'room__module' names a file."""
        for name, source in sources.items():
            path = self.root / check_layers.PACKAGE / name.replace('__', '/')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix('.py').write_text(source)
        return check_layers.check(self.root)

    def test_downwards(self) -> None:
        self.assertEqual(
            [],
            self.faults(
                cmd__main='from fuel_agent_curl import errors\n'
                'from fuel_agent_curl.engine import easy\n',
                engine__easy='import pycurl\nimport time\n'
                'from fuel_agent_curl.rules.head import Head\n',
                rules__head='import re\n',
                config__opts='from oslo_config import cfg\nx = cfg.CONF\n',
                errors='import re\n',
            ),
        )

    def test_each_fault(self) -> None:
        package = 'from fuel_agent_curl'
        for name, source, words in (
            (
                'rules__head',
                package + '.engine import easy',
                'rules.head must not import engine.easy',
            ),
            (
                'target__sink',
                package + '.image.digest import Digest',
                'target.sink must not import image.digest',
            ),
            (
                'image__digest',
                'import fuel_agent_curl.rules.head',
                'image.digest must not import rules.head',
            ),
            (
                'engine__easy',
                package + ' import pipeline',
                'engine.easy must not import pipeline',
            ),
            (
                'engine__easy',
                package + ' import fetch',
                'engine.easy must not import __init__',
            ),
            ('cmd__main', 'import pycurl', 'cmd.main must not use pycurl'),
            (
                'engine__plan',
                'def late():\n    import pycurl',
                'engine.plan must not use pycurl',
            ),
            (
                'config__settings',
                'from oslo_config import cfg',
                'config.settings must not use oslo_config',
            ),
            ('cmd__main', 'x = cfg.CONF', 'cmd.main must not use CONF'),
            (
                'cmd__main',
                'from oslo_config.cfg import CONF',
                'cmd.main must not use CONF',
            ),
            (
                'pipeline',
                'from fuel_agent import errors',
                'pipeline must not use fuel_agent',
            ),
            (
                'rules__head',
                'from time import monotonic',
                'rules.head is a rule and must not import time',
            ),
            (
                'config__options',
                'import defusedxml',
                'config.options must not import defusedxml, nor anything',
            ),
            (
                'image__digest',
                'import importlib\n'
                'x = importlib.import_module("fuel_agent_curl.cmd.main")',
                'image.digest must not import cmd.main',
            ),
            (
                'cmd__main',
                'from . import arguments',
                'cmd.main has a relative import',
            ),
            (
                'cupboard__thing',
                'import re',
                'cupboard.thing is in no room of tools/check_layers.py',
            ),
        ):
            self.new_root()
            known = {
                'engine__easy': '',
                'image__digest': '',
                'rules__head': '',
                'cmd__main': '',
                'pipeline': '',
                '__init__': '',
            }
            faults = self.faults(**{**known, name: source + '\n'})
            self.assertEqual(1, len(faults), words)
            self.assertIn(words, faults[0])

    def new_root(self) -> None:
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def test_a_circle_inside_a_room(self) -> None:
        self.assertThat(
            self.faults(
                engine__a='from fuel_agent_curl.engine import b',
                engine__b='def late():\n'
                '    from fuel_agent_curl.engine import c\n',
                engine__c='from fuel_agent_curl.engine.a import thing',
            ),
            matchers.MatchesListwise(
                [matchers.StartsWith('a circle of imports: engine.')]
            ),
        )

    def test_a_fault_has_its_line(self) -> None:
        self.assertEqual(
            ['fuel_agent_curl/errors.py:3: errors must not use pycurl'],
            self.faults(errors='# a\n# b\nimport pycurl\n'),
        )
