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

"""What an answer proves and what follows: values in, decisions out.

No I/O, no clock, no randomness, no thread and no pycurl: time and chance are
parameters, so that the tests are tables.

May import ``config`` for the settings. ``engine`` uses it; ``events`` is
what an observer of a download is told.
"""
