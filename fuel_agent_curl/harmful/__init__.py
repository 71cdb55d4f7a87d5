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

"""A harmful HTTP server: it answers by script, and keeps a record.

The instrument of the functional tests and of ``fuel-agent-curl demo``; it
imports the standard library alone. To have one to play with::

    python -m fuel_agent_curl.harmful

``messages`` has the honest answer, ``faults`` what can be wrong with it,
``paths`` names faults in a URL, ``server`` has the sockets.
"""

from fuel_agent_curl.harmful.messages import Ending
from fuel_agent_curl.harmful.messages import Pattern
from fuel_agent_curl.harmful.messages import Pause
from fuel_agent_curl.harmful.messages import Reply
from fuel_agent_curl.harmful.messages import Representation
from fuel_agent_curl.harmful.messages import Request
from fuel_agent_curl.harmful.messages import Step
from fuel_agent_curl.harmful.server import Server

__all__ = [
    'Ending',
    'Pattern',
    'Pause',
    'Reply',
    'Representation',
    'Request',
    'Server',
    'Step',
]
