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


"""Tests of the data drivers."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import fixtures
from fuel_agent import errors as fuel_agent_errors
from fuel_agent import tests as fuel_agent_tests
from fuel_agent.drivers import nailgun
from fuel_agent.drivers import simple
from fuel_agent.utils import artifact as fuel_agent_artifact
from fuel_agent.utils import utils as fuel_agent_utils
from oslo_config import cfg
import yaml

from fuel_agent_curl import artifact
from fuel_agent_curl import drivers
from fuel_agent_curl import errors
from fuel_agent_curl.config import opts
from fuel_agent_curl.octets import MIB
from tests.support import fetching

IMAGE = 'http://server/images/ubuntu_64.img.gz'
METADATA = 'http://server/images/ubuntu_64.yaml'


class FakeDownload(list[bytes]):
    def __enter__(self) -> FakeDownload:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.append(b'closed')


class _DriversTestCase(fetching.FetchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(artifact.uninstall)
        self.download = errors.StatusError('there is none')
        directory = pathlib.Path(fuel_agent_tests.__file__).parent
        path = directory / 'fixtures' / 'simple_nailgun_driver.json'
        self.data = json.loads(path.read_text())
        self.data['partitioning']['fss'] = [
            {'device': '/dev/none', 'mount': '/', 'fs_type': 'ext4'}
        ]
        self.data['ks_meta']['image_data']['/']['uri'] = IMAGE


class TestDrivers(_DriversTestCase):
    def test_the_names_in_a_configuration_lead_to_them(self) -> None:
        for name, ours, theirs in (
            ('nailgun_curl', drivers.NailgunCurl, nailgun.Nailgun),
            (
                'nailgun_simple_curl',
                drivers.NailgunSimpleCurl,
                simple.NailgunSimpleDriver,
            ),
            ('ironic_curl', drivers.IronicCurl, nailgun.Ironic),
        ):
            self.assertIs(ours, fuel_agent_utils.get_driver(name))
            self.assertTrue(issubclass(ours, theirs))

    def test_to_look_one_up_installs_nothing(self) -> None:
        before = fuel_agent_artifact.HttpUrl
        fuel_agent_utils.get_driver('nailgun_curl')
        self.assertIs(before, fuel_agent_artifact.HttpUrl)

    def test_to_make_one_installs_our_classes(self) -> None:
        driver = drivers.NailgunSimpleCurl(self.data)
        self.assertIs(artifact.HttpUrl, fuel_agent_artifact.HttpUrl)
        self.assertIs(artifact.GunzipStream, fuel_agent_artifact.GunzipStream)
        (image,) = driver.image_scheme.images
        self.assertEqual(IMAGE, image.uri)
        self.assertEqual('/dev/none', image.target_device)
        self.assertIsNone(image.md5)


class TestMetadata(_DriversTestCase):
    TEXT = yaml.safe_dump(
        {
            'images': [
                {
                    'container_name': 'ubuntu_64.img.gz',
                    'raw_size': 5,
                    'raw_md5': 'abc',
                }
            ]
        }
    ).encode()

    def metadata(self) -> Any:
        return drivers.NailgunSimpleCurl(self.data).parse_image_meta()

    def test_they_are_those_beside_the_image(self) -> None:
        self.download = FakeDownload([self.TEXT[:9], self.TEXT[9:]])
        driver = drivers.NailgunSimpleCurl(self.data)
        (image,) = driver.image_scheme.images
        self.assertEqual((5, 'abc'), (image.size, image.md5))
        self.assertEqual([METADATA], [url for url, _settings in self.asked])
        self.assertEqual(b'closed', self.download[-1])

    def test_they_may_be_beside_a_mirror(self) -> None:
        self.download = FakeDownload([self.TEXT])
        rule = '%s=http://mirror' % METADATA.rpartition('/')[0]
        self.set_option(cfg.CONF, 'mirrors', [rule], opts.GROUP)
        drivers.NailgunSimpleCurl(self.data)
        name = METADATA.rpartition('/')[2]
        self.assertEqual(['http://mirror/' + name], self.mirrors)

    def test_there_need_not_be_any(self) -> None:
        self.assertEqual({}, self.metadata())
        self.assertIn('there is none', self.log.output or '')

    def test_what_is_no_metadata_is_ignored(self) -> None:
        for content in (
            b'',
            b'a: [',
            b'\xff\xfe\0',
            b'just text',
            b'- 1',
            # It is read twice, the second time with more behind it.
            b'a: 2001-99-99\n#',
            b'!!int ""\n#',
            b'!!timestamp a\n#',
            b'!!float a\n#',
            b'[' * 10000,
        ):
            self.download = FakeDownload([content])
            self.assertEqual({}, self.metadata())

    def test_code_in_it_is_not_run(self) -> None:
        self.download = FakeDownload([b'!!python/object/apply:os.getpid []'])
        self.assertEqual({}, self.metadata())

    def test_no_more_is_read_than_metadata_can_be_long(self) -> None:
        chunk = b'#' * MIB
        self.download = FakeDownload([chunk] * 4 + [b'{}', b'too much'])
        self.assertEqual({}, self.metadata())
        self.assertIn('longer than any metadata', self.log.output or '')

    def test_delays_between_attempts_do_not_grow(self) -> None:
        self.metadata()
        _url, asked = self.asked[0]
        self.assertEqual((2.0, 2.0), (asked.backoff, asked.backoff_max))

    def test_a_signal_is_not_taken_for_missing_metadata(self) -> None:
        # What fuel-agent's handler of SIGTERM raises.
        self.download = fuel_agent_errors.UnexpectedProcessError('SIGTERM')
        self.assertRaises(
            fuel_agent_errors.UnexpectedProcessError,
            drivers.NailgunSimpleCurl,
            self.data,
        )

    def test_another_method_in_its_place_holds(self) -> None:
        # fuel-agent's own tests do this.
        self.useFixture(
            fixtures.MockPatchObject(
                nailgun.Nailgun,
                'parse_image_meta',
                return_value={'theirs': True},
            )
        )
        self.assertEqual({'theirs': True}, self.metadata())
        self.assertEqual([], self.asked)
