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

"""Bring an image over HTTP through a network that fails, byte for byte."""

import importlib
import typing

if typing.TYPE_CHECKING:
    from fuel_agent_curl import errors
    from fuel_agent_curl.config.settings import Settings
    from fuel_agent_curl.copying import Copy
    from fuel_agent_curl.copying import copy
    from fuel_agent_curl.copying import Request
    from fuel_agent_curl.copying import Result
    from fuel_agent_curl.engine import probe
    from fuel_agent_curl.engine.download import Download
    from fuel_agent_curl.engine.download import fetch

__all__ = [
    'Copy',
    'Download',
    'Request',
    'Result',
    'Settings',
    'copy',
    'errors',
    'fetch',
    'probe',
]

# Where a public name is, and whether it is all of that module.
_WHERE = {
    'errors': ('errors', True),
    'probe': ('engine.probe', True),
    'Settings': ('config.settings', False),
    **dict.fromkeys(('Download', 'fetch'), ('engine.download', False)),
    **dict.fromkeys(('Copy', 'Request', 'Result', 'copy'), ('copying', False)),
}


def __getattr__(name: str) -> typing.Any:
    """Import a public name when it is first used.

    The program has to be in charge of Ctrl-C before libcurl and oslo are
    imported, which takes most of the time until it begins.
    """
    if name not in _WHERE:
        raise AttributeError(
            'module %r has no attribute %r' % (__name__, name)
        )
    place, whole = _WHERE[name]
    known = importlib.import_module('fuel_agent_curl.errors')
    # A want of descriptors or memory is the same wherever it comes.
    with known.shortages():
        module = importlib.import_module('fuel_agent_curl.' + place)
    return module if whole else getattr(module, name)
