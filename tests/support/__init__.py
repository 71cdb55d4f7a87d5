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

"""What the tests stand on: fixtures, and bases of more than one module.

What every test derives from is ``tests.base``, which ``fence`` and ``leaks``
watch over. Servers and networks: ``endpoints``, ``http3``, ``socks``,
``caches``, ``nameserver``, ``netns``. Devices: ``loop``. Documents:
``blockmaps``, ``metalink``, ``deployment``. The others have a base class for
the tests of one subject, such as ``engine.EngineTestCase``.
"""
