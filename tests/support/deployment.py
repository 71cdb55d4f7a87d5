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

"""What a deployment by fuel-agent takes: an image, its data and a command."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import zlib

from fuel_agent import tests as fuel_agent_tests

from fuel_agent_curl import harmful
from fuel_agent_curl.octets import MIB

#: Programs that fuel-agent and this module run.
PROGRAMS = ('mkfs.ext4', 'e2fsck', 'resize2fs', 'losetup', 'mount')


class Image:
    """An ext4 image of a tree of files.

    :param directory: where the tree and the image go.
    :param length: of the image, in bytes.
    :param noise: how much of it cannot be packed.
    :ivar path: of the image.
    :ivar tree: the directory of the files.
    """

    def __init__(
        self, directory: pathlib.Path, length: int, noise: int
    ) -> None:
        self.tree = directory / 'tree'
        (self.tree / 'etc').mkdir(parents=True)
        (self.tree / 'etc' / 'hostname').write_text('node-1\n')
        (self.tree / 'empty').write_bytes(b'')
        pattern = harmful.Pattern(noise)
        (self.tree / 'noise').write_bytes(pattern[0 : len(pattern)])
        self.path = directory / 'image'
        with self.path.open('wb') as file:
            file.truncate(length)
        _run('mkfs.ext4', '-q', '-F', '-d', str(self.tree), str(self.path))

    def pack(self) -> bytes:
        """Return the image in a gzip container."""
        packer = zlib.compressobj(6, wbits=31)
        packed = []
        with self.path.open('rb') as file:
            while chunk := file.read(MIB):
                packed.append(packer.compress(chunk))
        return b''.join([*packed, packer.flush()])


def configure(
    directory: pathlib.Path,
    uri: str,
    device: str,
    text: str = '',
    **image: str,
) -> list[str]:
    """Return the command that deploys, after writing the files it reads.

    :param directory: where these files go.
    :param text: of the configuration, besides the line for the driver.
    :param image: other values of the provisioning data for the image.
    """
    path = (
        pathlib.Path(fuel_agent_tests.__file__).parent
        / 'fixtures'
        / 'simple_nailgun_driver.json'
    )
    data = json.loads(path.read_text())
    data['ks_meta']['image_data'] = {
        '/': {'uri': uri, 'format': 'ext4', 'container': 'gzip', **image}
    }
    data['partitioning'] = {
        'fss': [{'device': device, 'mount': '/', 'fs_type': 'ext4'}]
    }
    provision = directory / 'provision.json'
    provision.write_text(json.dumps(data))
    configuration = directory / 'fuel-agent.conf'
    configuration.write_text(
        '[DEFAULT]\ndata_driver = nailgun_simple_curl\n' + text
    )
    return [
        os.path.join(os.path.dirname(sys.executable), 'fa_copyimage'),
        *('--config-file', str(configuration)),
        *('--input_data_file', str(provision)),
    ]


def read_filesystem(
    device: str, directory: pathlib.Path
) -> tuple[dict[str, str], int]:
    """Return ``files`` of ``device``, and the length of its filesystem.

    :param directory: the mount point is made in it.
    """
    mount = directory / 'mount'
    mount.mkdir()
    _run('mount', '-o', 'ro', device, str(mount))
    try:
        space = os.statvfs(mount)
        return files(mount), space.f_frsize * space.f_blocks
    finally:
        _run('umount', str(mount))


def files(directory: pathlib.Path) -> dict[str, str]:
    """Return the digest of every file in ``directory``."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in directory.rglob('*')
        if path.is_file()
    }


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError('%s: %s' % (' '.join(command), done.stderr))
