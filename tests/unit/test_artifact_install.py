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

"""Tests of how the classes get into fuel-agent, and of its ``Chain``."""

from __future__ import annotations

import gzip
from typing import Any

import fixtures
from fuel_agent import manager
from fuel_agent.utils import artifact as fuel_agent_artifact
from oslo_config import cfg

from fuel_agent_curl import artifact
from fuel_agent_curl.config import opts
from tests.unit.test_artifact import ArtifactTestCase
from tests.unit.test_artifact import URL


class TestInstall(ArtifactTestCase):
    NAMES = ('HttpUrl', 'GunzipStream', 'Chain')

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(artifact.uninstall)

    def look(self) -> list[Any]:
        return [getattr(fuel_agent_artifact, name) for name in self.NAMES]

    def test_what_the_manager_uses_is_ours(self) -> None:
        artifact.install()
        self.assertEqual(
            [artifact.HttpUrl, artifact.GunzipStream, artifact.Chain],
            [getattr(manager.au, name) for name in self.NAMES],
        )

    def test_uninstall_undoes_it_completely(self) -> None:
        before = dict(vars(fuel_agent_artifact))
        for times in (1, 2):
            for _ in range(times):
                artifact.install()
            self.assertNotEqual(before, vars(fuel_agent_artifact))
            for _ in range(times):
                artifact.uninstall()
            self.assertEqual(before, vars(fuel_agent_artifact))

    def test_install_mends_what_somebody_has_undone(self) -> None:
        before = dict(vars(fuel_agent_artifact))
        artifact.install()
        fuel_agent_artifact.HttpUrl = before['HttpUrl']
        artifact.install()
        self.assertIs(artifact.HttpUrl, fuel_agent_artifact.HttpUrl)
        artifact.uninstall()
        self.assertEqual(before, vars(fuel_agent_artifact))

    def test_uninstall_alone_does_nothing(self) -> None:
        before = self.look()
        artifact.uninstall()
        self.assertEqual(before, self.look())

    def test_the_other_classes_stay_fuel_agents(self) -> None:
        others = (
            fuel_agent_artifact.LocalFile,
            fuel_agent_artifact.Target,
            fuel_agent_artifact.TarStream,
        )
        artifact.install()
        for other in others:
            self.assertIs(other, getattr(manager.au, other.__name__))

    def test_ours_are_targets_as_fuel_agents_are(self) -> None:
        for ours in (artifact.HttpUrl, artifact.GunzipStream):
            self.assertTrue(issubclass(ours, fuel_agent_artifact.Target))

    def test_the_options_are_registered_and_no_cli_options(self) -> None:
        self.assertIn('attempts', cfg.CONF[opts.GROUP])
        self.assertNotIn(
            opts.GROUP,
            [group.name for _info, group in cfg.CONF._all_cli_opts() if group],
        )


class TestChain(ArtifactTestCase):
    def run_chain(self, *processors: Any) -> Any:
        chain = artifact.Chain()
        for processor in processors:
            chain.append(processor)
        self.assertEqual(list(processors), chain.processors)
        return chain.process()

    def test_http_as_the_manager_has_it(self) -> None:
        self.answer(gzip.compress(b'image'))
        last = self.run_chain(
            URL, artifact.HttpUrl, artifact.GunzipStream, self.path
        )
        self.assertEqual(b'image', self.written())
        self.assertEqual(self.path, last.filename)
        self.assertEqual([URL], [url for url, _settings in self.asked])

    def test_https_as_the_manager_has_it(self) -> None:
        # The manager knows http:// alone, and appends nothing for others.
        for url in ('https://server/image', 'HTTPS://server/image'):
            self.answer(gzip.compress(b'image'))
            self.run_chain(url, artifact.GunzipStream, self.path)
            self.assertEqual(b'image', self.written())
            self.assertEqual(url, self.asked[-1][0])

    def test_https_of_a_raw_image(self) -> None:
        self.answer(b'raw')
        self.run_chain('https://server/image', self.path)
        self.assertEqual(b'raw', self.written())

    def test_https_with_its_processor_is_not_given_another(self) -> None:
        class Theirs(fuel_agent_artifact.HttpUrl):  # type: ignore[misc]
            pass

        class Ours(artifact.HttpUrl):
            pass

        for processor in (
            artifact.HttpUrl,
            fuel_agent_artifact.HttpUrl,
            Theirs,
            Ours,
        ):
            seen: list[Any] = []
            self.useFixture(
                fixtures.MonkeyPatch(
                    'fuel_agent.utils.artifact.HttpUrl.__init__',
                    lambda _self, url, seen=seen: seen.append(url),
                )
            )
            self.answer(b'raw')
            self.run_chain('https://server/image', processor)
            seen += [url for url, _settings in self.asked]
            self.assertEqual(['https://server/image'], seen)
            self.asked.clear()

    def test_https_with_any_other_beginning(self) -> None:
        self.assertEqual(
            'HTTPS://SERVER/IMAGE',
            self.run_chain('https://server/image', str.upper),
        )
        self.assertEqual([], self.asked)

    def test_https_of_a_container_of_ones_own(self) -> None:
        for kind in (artifact.GunzipStream, fuel_agent_artifact.GunzipStream):

            class Unpacked(kind):  # type: ignore[misc, valid-type]
                pass

            self.answer(gzip.compress(b'image'))
            self.run_chain('https://server/image', Unpacked, self.path)
            self.assertEqual(b'image', self.written())

    def test_files_stay_fuel_agents(self) -> None:
        with open(self.path, 'wb') as file:
            file.write(b'raw')
        copy = self.path + '.copy'
        self.run_chain(
            'file://' + self.path, fuel_agent_artifact.LocalFile, copy
        )
        self.path = copy
        self.assertEqual(b'raw', self.written())
        self.assertEqual([], self.asked)

    def test_what_begins_with_a_path_stays_so(self) -> None:
        self.assertEqual(self.path, self.run_chain(self.path))
