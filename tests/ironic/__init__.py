"""Programs that tests run: ironic-python-agent is in a process of its own.

It registers options of the same names as fuel-agent's with the one ``CONF`` of
a process. ``tests/functional/test_ironic*.py`` run these.
"""
