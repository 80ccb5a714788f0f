"""``domstat top``: a live screen of hosts and guests.

Records come in by a *feed* (:mod:`.live` from libvirt, :mod:`.stored` from an agent's history), the *fleet* makes of
them what is known now, a *view* says what of it is looked at, a *page* is that as lines of text. All of this but the
feeds is pure; :mod:`.draw` alone knows a terminal.
"""
