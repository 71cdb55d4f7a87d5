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


"""The picture of the rooms is what the imports are."""

import pathlib
from xml.etree import ElementTree

import fixtures

from tests import base
from tools import check_layers
from tools import draw_rooms

_MEND = 'mend it by: python tools/generate.py'


class TestDrawRooms(base.TestCase):
    def test_the_picture_is_current(self) -> None:
        """Room to room alone: it changes when who imports whom does."""
        drawn = draw_rooms.draw()
        self.assertTrue(drawn == draw_rooms.PICTURE.read_text(), _MEND)

    def test_it_is_xml_and_names_each_room(self) -> None:
        picture = ElementTree.fromstring(draw_rooms.draw())
        words = ' '.join(picture.itertext())
        for room in check_layers.ROOMS:
            self.assertIn(room.replace('__init__', 'fuel_agent_curl'), words)

    def test_arrows_that_others_imply_are_left_out(self) -> None:
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for name, below in (
            ('cmd/a', ('engine.b', 'rules.c', 'image.d', 'errors')),
            ('engine/b', ('rules.c', 'engine.e')),
            ('engine/e', ()),
            ('rules/c', ()),
            ('image/d', ('octets',)),
            ('errors', ()),
            ('octets', ()),
        ):
            path = root / check_layers.PACKAGE / (name + '.py')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                ''.join('import fuel_agent_curl.%s\n' % b for b in below)
            )
        self.assertEqual(
            {('cmd', 'engine'), ('cmd', 'image'), ('engine', 'rules')},
            draw_rooms.arrows(root),
        )
