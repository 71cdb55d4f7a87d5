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

"""Hands the build to pbr; all that can be said elsewhere is in pyproject."""

import os
import subprocess

import setuptools


def _git_knows() -> bool:
    try:
        return (
            subprocess.run(
                ['git', 'rev-parse', 'HEAD'],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ).returncode
            == 0
        )
    except OSError:
        return False


# pbr refuses to build a copy of the sources that is neither a git checkout
# nor an sdist: an export, a container's COPY, a checkout of another user.
if not os.path.exists('PKG-INFO') and not _git_knows():
    os.environ.setdefault('PBR_VERSION', '0.0.1.dev0')

setuptools.setup(setup_requires=['pbr>=6.1.1'], pbr=True)
