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

"""The layer check passes here, and would not if an import went wrong."""

import pathlib

import fixtures
from testtools import matchers

from tests import base
from tools import check_layers

ROOT = pathlib.Path(check_layers.__file__).parent.parent


class TestPackage(base.TestCase):
    def test_imports_point_downwards(self) -> None:
        self.assertEqual([], check_layers.check(ROOT))

    def test_files_are_looked_at(self) -> None:
        directory = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path, check_layers.PACKAGE
        )
        (directory / 'cmd').mkdir(parents=True)
        (directory / 'errors.py').write_text('import oslo_config\n')
        (directory / 'cmd' / 'main.py').write_text('import pycurl\n')
        self.assertEqual(
            [
                'fuel_agent_curl/cmd/main.py:1: cmd must not import pycurl',
                'fuel_agent_curl/errors.py:1: errors must not import '
                'oslo_config',
            ],
            check_layers.check(directory.parent),
        )

    def test_each_layer_has_a_module(self) -> None:
        """A name that is left over would let a module pass unseen."""
        for layer in check_layers.LAYERS:
            for name in layer:
                path = ROOT / check_layers.PACKAGE / name
                self.assertTrue(
                    path.is_dir() or path.with_suffix('.py').is_file(), name
                )


class TestSource(base.TestCase):
    def assertFault(self, words: str, module: str, source: str) -> None:
        """Exactly one fault, in line 2, and it says ``words``."""
        faults = check_layers.check_source(
            tuple(module.split('.')), '# a comment\n' + source
        )
        self.assertThat(
            faults,
            matchers.MatchesListwise(
                [
                    matchers.MatchesAll(
                        matchers.StartsWith('2: '), matchers.Contains(words)
                    )
                ]
            ),
        )

    def assertFine(self, module: str, source: str) -> None:
        self.assertEqual(
            [], check_layers.check_source(tuple(module.split('.')), source)
        )

    def test_downwards(self) -> None:
        self.assertFine('cmd.main', 'from fuel_agent_curl import pipeline')
        self.assertFine('download', 'from fuel_agent_curl import digest')
        self.assertFine('artifact', 'import fuel_agent_curl.download')
        self.assertFine('pipeline', 'from fuel_agent_curl import fetch')
        self.assertFine('transfer', 'from .errors import Error')

    def test_upwards(self) -> None:
        words = 'it is not below'
        for source in (
            'from fuel_agent_curl import download',
            'from fuel_agent_curl.download import fetch',
            'import fuel_agent_curl.download',
            'from . import download',
            'from .download import fetch',
            # By way of the package itself.
            'from fuel_agent_curl import fetch',
        ):
            self.assertFault(words, 'easy', source)
        self.assertFault(
            words, 'download', 'from fuel_agent_curl.cmd import main'
        )

    def test_hidden_in_a_function(self) -> None:
        self.assertFault(
            'it is not below',
            'errors',
            'def f(): from fuel_agent_curl import retry',
        )

    def test_sideways(self) -> None:
        self.assertFault(
            'it is not below', 'retry', 'from fuel_agent_curl import segments'
        )

    def test_inside_a_subpackage(self) -> None:
        self.assertFine('cmd.main', 'from fuel_agent_curl.cmd import probe')
        self.assertFine('harmful.server', 'from . import faults')
        self.assertFault(
            'it is not below', 'harmful.server', 'from .. import download'
        )

    def test_stages_know_no_engine(self) -> None:
        self.assertFine('device', 'from fuel_agent_curl import storage')
        for module in ('device', 'decompress'):
            self.assertFault(
                'it knows bytes alone',
                module,
                'from fuel_agent_curl import download',
            )
        self.assertFault(
            'it knows bytes alone',
            'device',
            'from fuel_agent_curl import digest',
        )

    def test_foreign(self) -> None:
        for name, where in (
            ('pycurl', 'easy'),
            ('fuel_agent', 'drivers'),
            ('oslo_config', 'opts'),
        ):
            for source in ('import %s', 'from %s import x', 'import %s.x'):
                self.assertFine(where, source % name)
                self.assertFault(
                    'must not import ' + name, 'transfer', source % name
                )

    def test_conf(self) -> None:
        self.assertFine('opts', 'cfg.CONF.group')
        self.assertFine('artifact', 'opts.settings_from(cfg.CONF)')
        for source in (
            'opts.settings_from(cfg.CONF.group)',
            'cfg.CONF.group',
            'f(cfg.CONF)',
        ):
            self.assertFault('must not use CONF', 'artifact', source)
        self.assertFault(
            'must not use CONF', 'cmd.main', 'opts.settings_from(cfg.CONF)'
        )
        self.assertFault(
            'must not use CONF', 'cmd.main', 'from oslo_config.cfg import CONF'
        )

    def test_rules_are_pure(self) -> None:
        self.assertFine('retry', 'import datetime')
        self.assertFault('is a rule', 'retry', 'import time')
        self.assertFault('is a rule', 'head', 'from socket import socket')

    def test_harmful_stands_alone(self) -> None:
        self.assertFine('harmful', 'import socket')
        self.assertFault('anything installed', 'harmful', 'import tqdm')

    def test_oslo_log_is_for_the_command_line(self) -> None:
        self.assertFault(
            'must not import oslo_log', 'download', 'from oslo_log import log'
        )
        self.assertFine('cmd.configuration', 'from oslo_log import log')

    def test_options_come_without_anything_installed(self) -> None:
        for module in ('options', 'settings'):
            self.assertFault('anything installed', module, 'import pbr')
        self.assertFault(
            'it is for demo', 'artifact', 'from fuel_agent_curl import harmful'
        )

    def test_newcomer(self) -> None:
        self.assertEqual(
            ['1: utils is in no layer of tools/check_layers.py'],
            check_layers.check_source(('utils',), 'import os'),
        )

    def test_new_layer_has_one_place(self) -> None:
        names = [name for layer in check_layers.LAYERS for name in layer]
        self.assertThat(names, matchers.HasLength(len(set(names))))
