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

"""XML documents about an image, from a server that may send anything."""

from __future__ import annotations

import typing

from fuel_agent_curl import errors

if typing.TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def parse(document: bytes, what: str) -> Element:
    """Return the root of a document.

    :param what: it is to be, for the error's text.
    :raises errors.ContentError: if it is no XML, or has a DTD: ours need
        none, and entities can make a document grow without end.
    """
    # Here: most images come without any document.
    from defusedxml import ElementTree

    try:
        return ElementTree.fromstring(document, forbid_dtd=True)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        # LookupError: an encoding that Python does not have.
        raise errors.ContentError('not %s: %s' % (what, error)) from error
