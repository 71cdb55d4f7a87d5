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


"""fuel-agent's data drivers, with our classes installed.

``data_driver = nailgun_simple_curl`` in fuel-agent.conf is all that a
deployment needs.
"""

from __future__ import annotations

import logging
import posixpath
from typing import Any
import urllib.parse

from fuel_agent.drivers import nailgun
from fuel_agent.drivers import simple
from oslo_config import cfg
import yaml

from fuel_agent_curl import artifact
from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.config import opts
from fuel_agent_curl.engine import download

LOG = logging.getLogger(__name__)

# It holds a few lines for each image, and the names of the packages.
_METADATA_MAX = 4 * octets.MIB

# What PyYAML raises for what cannot be read, numbers and dates included. Not
# any Exception: a signal handler's is one.
_NO_YAML = (
    yaml.YAMLError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Curl:
    """What each of the drivers below adds to fuel-agent's.

    Our classes are installed when the manager makes its driver, not on
    import: what lists the drivers that there are imports all of them.
    """

    data: dict[str, Any]

    def __init__(self, data: dict[str, Any]) -> None:
        artifact.install()
        super().__init__(data)  # type: ignore[call-arg]

    def parse_image_meta(self) -> dict[str, Any]:
        """Return what is published beside the image: length and MD5 of each.

        There need not be any. fuel-agent's own method asks a minute long for
        what is not there, goes on after a SIGTERM, takes as much as the
        server sends, and cannot read it with PyYAML 6.
        """
        theirs = super().parse_image_meta  # type: ignore[misc]
        if theirs.__module__ != nailgun.__name__:
            # A deployer's own subclass or patch is used as it is.
            return theirs()  # type: ignore[no-any-return]
        image = self.data['ks_meta']['image_data']['/']['uri']
        name = posixpath.basename(urllib.parse.urlsplit(image).path)
        url = urllib.parse.urljoin(image, name.split('.')[0] + '.yaml')
        problem: object = 'not a mapping'
        try:
            metadata = yaml.safe_load(_read(url))
        except (errors.Error, *_NO_YAML) as error:
            metadata, problem = None, error
        if not isinstance(metadata, dict):
            LOG.warning('No metadata at %s: %s', errors.redact(url), problem)
            return {}
        return metadata


def _read(url: str) -> bytes:
    """Return what ``url`` names, which is to be small."""
    settings = opts.settings_from(cfg.CONF)
    # Missing metadata fails nothing, so the waits are fuel-agent's short ones.
    settings = opts.settings_from(
        cfg.CONF, backoff_max=min(settings.backoff, settings.backoff_max)
    )
    first, *mirrors = opts.sources(cfg.CONF, url)
    with download.fetch(first, mirrors=mirrors, settings=settings) as chunks:
        content = download.gather(chunks, _METADATA_MAX)
    if len(content) > _METADATA_MAX:
        raise errors.ContentError(
            'longer than any metadata', url=url, offset=len(content)
        )
    return content


class NailgunCurl(_Curl, nailgun.Nailgun):
    """``nailgun_curl``: volumes as Nailgun describes them."""


class NailgunSimpleCurl(_Curl, simple.NailgunSimpleDriver):
    """``nailgun_simple_curl``: partitions and filesystems ready made."""


class IronicCurl(_Curl, nailgun.Ironic):
    """``ironic_curl``: as Nailgun, without a config drive."""
