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


"""The commands of every page do what stands below them."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import pathlib
import subprocess

from fuel_agent_curl import harmful
from fuel_agent_curl.octets import MIB
from tests import base
from tests.support import blockmaps
from tests.support import endpoints
from tests.support import gnupg
from tests.support import loop
from tests.support import metalink
from tools import run_pages

_TUTORIAL = run_pages.ROOT / 'doc' / 'source' / 'tutorial.rst'


class TestPages(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_root()
        run_pages.install(self.directory)

    def check(self, page: pathlib.Path, instead: dict[str, str]) -> int:
        """Run the commands of a page; return how many there are."""
        chosen = [
            command
            for block in run_pages.blocks(page.read_text())
            if block.is_run
            for command in run_pages.commands(block.body)
        ]
        done = run_pages.run(
            chosen, self.directory, instead, timeout=self.timeout - 20
        )
        for each in done:
            self.assertTrue(
                each.is_right,
                '%s: %s\nexit code %d, printed\n%snot\n%s'
                % (
                    *(page.name, each.command.typed, each.exit_code),
                    *(each.printed, each.command.shown),
                ),
            )
        return len(done)

    def test_the_tutorial(self) -> None:
        self.need_program('losetup', 'curl')
        count = self.check(_TUTORIAL, {'8080': str(run_pages.free_port())})
        self.assertGreater(count, 10)

    def test_every_other(self) -> None:
        self.need_program(
            *gnupg.PROGRAMS, 'blkid', 'fuser', 'lsblk', 'mkfs.ext4', 'wipefs'
        )
        path = pathlib.Path(self.directory)
        disks = [
            self.useFixture(loop.LoopDevice(self.directory)).path
            for _ in range(2)
        ]
        instead = {
            '/dev/sda': disks[0],
            '/dev/vdb': disks[1],
            '/srv/': self.directory + '/',
            **self.serve(path),
        }
        # fuser fails where nobody has the disk open.
        with open(disks[0], 'rb'):
            for page in run_pages.pages():
                if page != _TUTORIAL:
                    self.check(page, instead)

    def sign(self, path: pathlib.Path, image: bytes) -> dict[str, bytes]:
        """Make a keyring; return what is signed with its keys."""
        listed = '%s *root.img.gz\n' % hashlib.sha256(image).hexdigest()
        of_list, of_image = map(gnupg.make, (listed.encode(), image))
        keyring = of_list.keyring + of_image.keyring
        (path / 'images.gpg').write_bytes(keyring)
        return {
            'root.img.gz': image,
            'root.img.gz.sig': of_image.good,
            'SHA256SUMS': listed.encode(),
            'SHA256SUMS.gpg': of_list.good,
            'CHECKSUM': of_list.clear_signed,
        }

    def serve(self, path: pathlib.Path) -> dict[str, str]:
        """Serve what the pages ask for; return what stands for what."""
        image = path / 'root.img'
        with open(image, 'xb') as made:
            made.truncate(8 * MIB)
        subprocess.run(['mkfs.ext4', '-q', image], check=True)
        content = image.read_bytes()
        image.unlink()
        (path / 'root.bmap').write_bytes(
            blockmaps.document(content, [(0, len(content) // 4096 - 1)])
        )
        server = self.useFixture(
            endpoints.HarmfulServer(harmful.Representation(content))
        ).server
        url = server.url('')
        for name, served in {
            'root.img': content,
            'root.img.xz': lzma.compress(content, preset=0),
            'root.img.meta4': metalink.document(content, [url + '/root.img']),
            **self.sign(path, gzip.compress(content, mtime=0)),
        }.items():
            server.representations['/' + name] = harmful.Representation(served)
        return {
            'http://server': url,
            'http://mirror': url,
            '/usr/share/keyrings/': self.directory + '/',
            'HEX': hashlib.sha256(content).hexdigest(),
        }
