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


def __getattr__(name: str) -> typing.Any:
    """Import a public name when it is first used.

    The program has to be in charge of Ctrl-C before libcurl and oslo are
    imported, which takes most of the time until it begins.
    """
    if name == 'errors':
        return importlib.import_module('fuel_agent_curl.errors')
    if name == 'probe':
        return importlib.import_module('fuel_agent_curl.engine.probe')
    if name in ('Download', 'fetch'):
        module = importlib.import_module('fuel_agent_curl.engine.download')
        return getattr(module, name)
    if name in ('Copy', 'Request', 'Result', 'copy'):
        return getattr(
            importlib.import_module('fuel_agent_curl.copying'), name
        )
    if name == 'Settings':
        module = importlib.import_module('fuel_agent_curl.config.settings')
        return module.Settings
    raise AttributeError('module %r has no attribute %r' % (__name__, name))
