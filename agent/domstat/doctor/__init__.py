"""``domstat doctor``: what is wrong with an installation, and how to put it right.

Data flows one way here too: the modules in ``look/`` look at the world and make a :class:`~.scene.Scene`; the judging
modules are pure functions from parts of it to findings; :mod:`.checks` is the table of them all. Nothing is changed:
sinks are not opened, hosts are asked as a tick asks them.
"""
