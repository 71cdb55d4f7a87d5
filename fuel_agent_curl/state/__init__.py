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

"""What outlives a process: how far a copy got, and how that is proven.

A record says it, and a CRC-32 of what is on the target; it is kept in a
directory of ours, and on the target itself. ``record`` is the format,
``directory`` the files, ``journal`` the record of one copy; ``spool`` keeps
the bytes of a download themselves, and ``medium`` reads past the page cache.
It imports no other room, and knows neither HTTP nor devices.
"""
