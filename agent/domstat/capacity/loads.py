"""What single guests ask for, over the same steps as their hosts: to be put in there, and taken out."""

from __future__ import annotations

import numpy as np

from domstat.capacity import demand
from domstat.capacity.demand import COMPUTE, Resource
from domstat.capacity.fleet import Guest
from domstat.capacity.gather import Figures, Key
from domstat.capacity.grid import FloatArray, Grid, Matrix, first_known, known, quantile
from domstat.model import Kind


class Loads:
    """The demand of some guests, by their uuids, over the window of peaks and over the past."""

    def __init__(self, figures: Figures, uuids: tuple[str, ...]) -> None:
        self._peak = figures.settings.peak
        self.window = figures.window(len(figures.fleet.hosts))
        self.past = figures.past()
        for over in self.grids if uuids else ():
            figures.expect((Kind.GUEST,), demand.GUEST_FIELDS, over, only=uuids)
        self._read = {
            (over, resource): _read(figures, over, resource, uuids) for over in self.grids for resource in COMPUTE
        }

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The spans of time; one where they are the same."""
        return tuple(dict.fromkeys((self.window, self.past)))

    def on(self, guest: Guest, host: str, over: Grid, resource: Resource) -> FloatArray:
        """Return what a guest asked of one host; nothing while it was not there."""
        return np.nan_to_num(self._read[over, resource].row(Key(host=host, uuid=guest.uuid)), nan=0.0)

    def typical(self, guest: Guest, over: Grid, resource: Resource) -> FloatArray:
        """Return what a guest asked for, wherever it was; while it was not there or not seen, its mean."""
        row = self._anywhere(guest, over, resource)
        found = known(row)
        if not len(found):
            return np.zeros(over.count)
        filled: FloatArray = np.where(np.isnan(row), found.mean(), row)
        return filled

    def peak(self, guest: Guest, resource: Resource) -> float:
        """Return the peak of what a guest asks for; nothing where nobody knows."""
        return quantile(self._anywhere(guest, self.window, resource), self._peak) or 0.0

    def _anywhere(self, guest: Guest, over: Grid, resource: Resource) -> FloatArray:
        matrix = self._read[over, resource]
        rows = [matrix.values[place] for place, key in enumerate(matrix.keys) if key.uuid == guest.uuid]
        return first_known(np.array(rows)) if rows else np.full(over.count, np.nan)


def _read(figures: Figures, over: Grid, resource: Resource, uuids: tuple[str, ...]) -> Matrix[Key]:
    if not uuids:
        return Matrix(over, (), np.empty((0, over.count)), np.empty(0))
    if resource is Resource.MEMORY:
        return demand.memory_of_guests(figures, over, by_host=True, only=uuids)
    return figures.guests("cpu.cores", over, by_host=True, only=uuids)
