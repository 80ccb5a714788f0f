"""The distribution: what is in it, what it says of itself, and that its entry points load."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest

import domstat
from domstat.sink import ENTRY_POINT_GROUP, SHIPPED, Sink, find_sinks, load_sink

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_is_one_everywhere() -> None:
    assert domstat.__version__ == PROJECT["project"]["version"] == version("domstat")


def test_every_package_folder_is_in_the_wheel_and_found_in_place() -> None:
    build = PROJECT["tool"]["hatch"]["build"]
    packages = build["targets"]["wheel"]["packages"]
    found = {
        path.parent.relative_to(ROOT).as_posix()
        for root in ("agent", "sinks")
        for path in (ROOT / root).glob("*/__init__.py")
    }
    assert set(packages) == found
    assert {str(Path(package).parent) for package in packages} <= set(build["dev-mode-dirs"])


def test_what_the_wheel_and_the_source_distribution_take_along_exists() -> None:
    targets = PROJECT["tool"]["hatch"]["build"]["targets"]
    shared = targets["wheel"]["shared-data"]
    assert shared == {"config/domstat.toml": "share/domstat/domstat.toml"}
    for name in [*shared, *targets["sdist"]["only-include"]]:
        assert (ROOT / name).exists(), name


def test_what_ships_is_known_without_a_look_at_what_is_installed() -> None:
    assert PROJECT["project"]["entry-points"][ENTRY_POINT_GROUP] == SHIPPED


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_sink_that_ships_is_installed_and_loads(name: str) -> None:
    points = find_sinks()
    assert points[name].value == PROJECT["project"]["entry-points"][ENTRY_POINT_GROUP][name]
    loaded = load_sink(name)
    assert isinstance(loaded(loaded.Settings()), Sink)


def test_the_command_is_installed() -> None:
    (point,) = [point for point in entry_points(group="console_scripts") if point.name == "domstat"]
    assert callable(point.load())


def test_every_dependency_has_a_reason_a_lower_bound_and_is_used() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8") for root in ("agent", "sinks") for path in (ROOT / root).rglob("*.py")
    )
    modules = {
        "influxdb-client": "influxdb_client",
        "libvirt-python": "libvirt",
        "prometheus-client": "prometheus_client",
    }
    for dependency in PROJECT["project"]["dependencies"]:
        name, bound = re.fullmatch(r"([a-z0-9-]+)(>=.+)", dependency).groups()  # type: ignore[union-attr]
        assert bound
        module = modules.get(name, name)
        used = re.search(rf"^\s*(import|from) {module}\b", code, re.MULTILINE)
        assert used, name


def test_the_readme_and_the_licence_are_there() -> None:
    assert (ROOT / PROJECT["project"]["readme"]).is_file()
    assert all((ROOT / name).is_file() for name in PROJECT["project"]["license-files"])
