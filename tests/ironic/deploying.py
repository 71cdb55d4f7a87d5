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


"""ironic-python-agent's own deploy step ``write_image``, as a program.

Reads what to do from standard input, as JSON, and writes what came of it to
standard output:

- ``image_info`` as the conductor sends it, and ``device``;
- ``options`` of the agent, by name, and ``alone``: without our plug;
- ``temporary``: the directory that the agent takes for /tmp.

Of the agent only the choice of the disk is replaced: it would not take a loop
device for one.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import types
from typing import Any


def _extensions(asked: dict[str, Any]) -> Any:
    """Start what the agent starts, up to its extensions."""
    # First, for it registers the options that the others read at import.
    from ironic_python_agent import config  # noqa: F401  (registers)
    from ironic_python_agent import hardware
    from ironic_python_agent.extensions import base
    from oslo_config import cfg
    from oslo_log import log

    log.register_options(cfg.CONF)
    cfg.CONF.set_override('use_stderr', True)
    cfg.CONF(asked.get('argv', []), project='ironic-python-agent')
    log.setup(cfg.CONF, 'ironic-python-agent')
    for name, value in asked['options'].items():
        cfg.CONF.set_override(name, value)
    manager = hardware.GenericHardwareManager
    manager.get_os_install_device = lambda self, **how: asked['device']
    manager.evaluate_hardware_support = lambda self: 1
    extensions = base.init_ext_manager(
        types.SimpleNamespace(force_heartbeat=lambda: None)
    )
    if asked['alone']:
        from fuel_agent_curl import ironic

        ironic.uninstall()
    return extensions


def _peak() -> int:
    """Return the most memory that this process had, in bytes."""
    with open('/proc/self/status') as status:
        fields = dict(line.split(':', 1) for line in status)
    return int(fields['VmHWM'].split()[0]) * 1024


def main() -> int:
    asked = json.load(sys.stdin)
    tempfile.tempdir = asked['temporary']
    extensions = _extensions(asked)
    step = {
        'step': 'write_image',
        'interface': 'deploy',
        'priority': 80,
        'args': {'image_info': asked['image_info']},
    }
    node = {'uuid': 'b5c2a6f4-6d4f-4a0e-9d53-3e5b8f1c7a90', 'properties': {}}
    began = time.monotonic()
    result = (
        extensions['deploy']
        .obj.execute('execute_deploy_step', step=step, node=node, ports=[])
        .join()
    )
    error = result.command_error
    json.dump(
        {
            'status': str(
                getattr(result.command_status, 'value', result.command_status)
            ),
            'error': None if error is None else error.details,
            'kind': None if error is None else type(error).__name__,
            'seconds': time.monotonic() - began,
            'peak': _peak(),
        },
        sys.stdout,
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
