"""What the package is made of: locked by hash, nothing besides, and listed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "packaging" / "requirements.lock"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def commands(text: str) -> Iterator[str]:
    """Give the commands of a script, each in one line."""
    whole = re.sub(r"\\\n\s*", " ", text)
    return (line.strip() for line in whole.splitlines() if not line.strip().startswith("#"))


def locked() -> dict[NormalizedName, tuple[Requirement, list[str]]]:
    """Return what the lock names, each with its hashes."""
    found = {}
    for line in commands(LOCK.read_text(encoding="utf-8")):
        if line:
            text, *hashes = line.split(" --hash=")
            requirement = Requirement(text)
            found[canonicalize_name(requirement.name)] = (requirement, [each.strip() for each in hashes])
    return found


def test_everything_is_locked_to_one_version_by_its_hashes() -> None:
    assert len(locked()) > 10
    for name, (requirement, hashes) in locked().items():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), name
        assert requirement.url is None, name
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), name


def test_the_lock_has_what_the_project_asks_for_in_versions_that_it_takes() -> None:
    for text in PROJECT["dependencies"]:
        asked = Requirement(text)
        (version,) = (each.version for each in locked()[canonicalize_name(asked.name)][0].specifier)
        assert asked.specifier.contains(version), asked


def test_the_package_is_built_of_what_is_locked_and_of_nothing_else() -> None:
    script = (ROOT / "packaging" / "deb" / "build.sh").read_text(encoding="utf-8")
    installing = [shlex.split(line) for line in commands(script) if re.search(r"\bpip\b.* install\b", line)]
    assert len(installing) == 2
    for words in installing:
        alone = {"--require-hashes", "--requirement", "packaging/requirements.lock"} <= set(words)
        ours = "--no-deps" in words and words[-1].endswith("/domstat-*.whl")
        assert alone or ours, words


def test_the_container_installs_nothing_of_pythons_by_itself() -> None:
    text = (ROOT / "packaging" / "container" / "Containerfile").read_text(encoding="utf-8")
    assert not re.search(r"\b(pip|uv|pipx)\b", text)


def test_the_bill_of_materials_lists_all_of_it(tmp_path: Path) -> None:
    (command,) = (line for line in commands((ROOT / "dev").read_text(encoding="utf-8")) if "cyclonedx-py" in line)
    tool = Path(sys.executable).with_name("cyclonedx-py")
    if not tool.exists():
        pytest.skip("cyclonedx-py is not here")
    words = shlex.split(command)
    target = tmp_path / "sbom.json"
    assert words[-1] == "dist/sbom.cdx.json"
    subprocess.run([tool, *words[1:-2], "--output-file", target], check=True, cwd=ROOT, capture_output=True)
    bill = json.loads(target.read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "domstat")
    listed = {canonicalize_name(each["name"]): each for each in bill["components"]}
    assert listed.keys() == locked().keys()
    for name, (requirement, hashes) in locked().items():
        assert f"=={listed[name]['version']}" == str(requirement.specifier)
        told = {
            each["content"] for reference in listed[name]["externalReferences"] for each in reference.get("hashes", ())
        }
        assert told == {each.removeprefix("sha256:") for each in hashes}
