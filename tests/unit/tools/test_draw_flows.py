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


"""The pictures of a resume and of the threads."""

import re
from xml.etree import ElementTree

from tests import base
from tools import draw_flows


class TestDrawFlows(base.TestCase):
    def test_they_are_current(self) -> None:
        for path, draw in draw_flows.PICTURES.items():
            self.assertTrue(
                path.read_text() == draw(),
                '%s: mend it by: python tools/generate.py' % path.name,
            )

    def test_words_fit_their_boxes(self) -> None:
        """A letter of 13 pixels is seven wide, on the average."""
        for draw in draw_flows.PICTURES.values():
            picture = ElementTree.fromstring(draw())
            for text in picture.iter('{http://www.w3.org/2000/svg}text'):
                self.assertLess(7 * len(text.text or ''), draw_flows._WIDTH)

    def test_no_box_stands_out(self) -> None:
        for draw in draw_flows.PICTURES.values():
            picture = ElementTree.fromstring(draw())
            _, _, width, height = map(int, picture.attrib['viewBox'].split())
            for x, y, w, h in re.findall(
                r'x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', draw()
            ):
                self.assertLess(int(x) + int(w), width)
                self.assertLess(int(y) + int(h), height)
