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

"""How the documentation is built; see tox -e docs."""

from importlib import metadata
import pathlib
import re
import sys

_ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(_ROOT / 'doc' / 'ext'), str(_ROOT)]

project = 'fuel-agent-curl'
copyright = 'The fuel-agent-curl authors'
release = metadata.version(project)
version = release

extensions = [
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'reno.sphinxext',
    'sphinx.ext.autodoc',
    'verbs',
]
html_theme = 'openstackdocs'
html_static_path = ['_static']
html_css_files = ['narrow.css']
openstackdocs_auto_name = False
openstackdocs_auto_version = False
# There is no page about the project on the site that the theme is from.
html_theme_options = {'display_global_toc_section': True}

root_doc = 'index'
# '--option' stays as it is, and a block is not Python unless it says so.
smartquotes = False
highlight_language = 'none'
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'

# As tools/generate.py makes them, from the pages in man/ alone.
man_pages = [
    (page, page, title, [], 1)
    for page, title in (
        ('fuel-agent-curl', 'bring disk images over HTTP onto disks'),
        ('fuel-agent-curl-copy', 'write an image to a disk or a file'),
        ('fuel-agent-curl-demo', 'copy an image from a server that fails'),
        ('fuel-agent-curl-probe', 'say what a server is'),
        ('fuel-agent-curl-status', 'say what an unfinished copy has left'),
    )
]


def _escape_help():
    """Have oslo.config's extension take no help for markup."""
    from fuel_agent_curl.config import opts

    listed = opts.list_opts

    def escaped():
        groups = listed()
        for _group, options in groups:
            for option in options:
                option.help = re.sub(r'([\\*`|_])', r'\\\1', option.help)
        return groups

    opts.list_opts = escaped


def setup(app):
    """Images of pages that stand elsewhere are found from here."""

    def mend(_app, _path, _parent, content):
        content[0] = content[0].replace('image:: doc/source/', 'image:: ')

    app.connect('include-read', mend)
    _escape_help()
