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

"""``--bmap``: the block map of an image, from a file or a URL."""

from __future__ import annotations

import logging

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import download
from fuel_agent_curl.image import bmap

LOG = logging.getLogger(__name__)


def load(name: str, settings: settings_module.Settings) -> bmap.BlockMap:
    """Read the block map that ``name``, a path or a URL, names.

    :raises errors.OptionError: if the file cannot be read.
    :raises errors.ContentError: if it is not a block map, or a wrong one.
    :raises errors.Error: for whatever ends the download.
    """
    document = _fetch(name, settings) if '://' in name else _read(name)
    if len(document) > bmap.DOCUMENT_MAX:
        raise errors.ContentError(
            'a block map of more than %d bytes is refused' % bmap.DOCUMENT_MAX
        )
    found = bmap.parse(document)
    without = len(found.ranges) - found.checked
    if without:
        LOG.warning(
            'the block map has no checksum for %d of its %d ranges',
            without,
            len(found.ranges),
        )
    return found


def _fetch(url: str, settings: settings_module.Settings) -> bytes:
    """Return the document, or as much of it as is too much."""
    with download.fetch(url, settings=settings) as chunks:
        return download.gather(chunks, bmap.DOCUMENT_MAX)


def _read(path: str) -> bytes:
    try:
        with open(path, 'rb') as file:
            return file.read(bmap.DOCUMENT_MAX + 1)
    except OSError as error:
        raise errors.OptionError(
            'cannot read the block map %s: %s' % (path, error.strerror)
        ) from error
