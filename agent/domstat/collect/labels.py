"""Labels from domain XML: whose a guest is and what for, as a management system or an administrator wrote it. Pure.

What is read of every guest, without being told (the sources are Nova's ``virt/libvirt/config.py``, oVirt's
``LibvirtVmXmlBuilder.java`` and vdsm's ``xmlconstants.py``, KubeVirt's ``virtwrap/api/schema.go``):

=========================== ======================================================= ================================
label                       where it stands in the XML                              what it is
=========================== ======================================================= ================================
title                       ``title``                                               libvirt's own short description
nova.name                   ``metadata/nova:instance/nova:name``                    OpenStack's name of the instance
nova.flavor                 ``…/nova:flavor/@name``                                 flavour, by name
nova.flavor_id              ``…/nova:flavor/@id``                                   the same by id (newer releases)
nova.project, .user         ``…/nova:owner/nova:project``, ``nova:user``            who pays, who made it, by name
nova.project_id, .user_id   ``@uuid`` of these                                      the same by id
nova.image_id               ``…/nova:root[@type='image']/@uuid``                    image it was booted from
ovirt.cluster_version       ``metadata/ovirt-vm:vm/ovirt-vm:clusterVersion``        compatibility level, as ``4.7``
ovirt.guaranteed_memory_mib ``…/ovirt-vm:minGuaranteedMemoryMb``                    memory promised to the guest
ovirt.vcpu_limit            ``metadata/ovirt-tune:qos/ovirt-tune:vcpuLimit``        hard limit of CPU use, in percent
kubevirt.namespace, .name   ``name``, up to the first underscore and after it       the VirtualMachineInstance
kubevirt.uid                ``metadata/kubevirt:kubevirt/kubevirt:uid``             its uid
=========================== ======================================================= ================================

Nova writes in one of two namespaces, 1.0 or 1.1, and both are read. oVirt's name of a guest is libvirt's.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping

from msgspec import Struct

VALUE_CHARACTERS_MAX = 256
"""Longer values are cut. A label is there to group and to choose by; titles of virt-manager end at about as many."""

LABELS_MAX = 64
"""Labels of one guest, users' first: they travel every hour and become tags of sinks that slow down with many."""

NAME_CHARACTERS_MAX = 64
"""Length of a label's name: it is a column's heading and a tag's name."""

PREFIXES = {
    "nova": "http://openstack.org/xmlns/libvirt/nova/1.1",
    "nova10": "http://openstack.org/xmlns/libvirt/nova/1.0",
    "ovirt": "http://ovirt.org/vm/1.0",
    "ovirt-vm": "http://ovirt.org/vm/1.0",
    "ovirt-tune": "http://ovirt.org/vm/tune/1.0",
    "kubevirt": "http://kubevirt.io",
    "one": "http://opennebula.org/xmlns/libvirt/1.0",
    "libosinfo": "http://libosinfo.org/xmlns/libvirt/domain/1.0",
    "qemu": "http://libvirt.org/schemas/domain/qemu/1.0",
}
"""Namespaces that a rule can name by a prefix; any other is written out: ``{http://example.org/app}owner``."""

_NOVA = {
    "nova.name": "{*}name",
    "nova.flavor": "{*}flavor/@name",
    "nova.flavor_id": "{*}flavor/@id",
    "nova.project": "{*}owner/{*}project",
    "nova.project_id": "{*}owner/{*}project/@uuid",
    "nova.user": "{*}owner/{*}user",
    "nova.user_id": "{*}owner/{*}user/@uuid",
    "nova.image_id": "{*}root[@type='image']/@uuid",
}

_KUBEVIRT = "metadata/kubevirt:kubevirt"

# Within a block the namespace of an element is left open: what oVirt's engine and vdsm write has it or has it not.
_BLOCKS: tuple[tuple[str, dict[str, str]], ...] = (
    (".", {"title": "title"}),
    ("metadata/nova:instance", _NOVA),
    ("metadata/nova10:instance", _NOVA),
    (
        "metadata/ovirt-vm:vm",
        {"ovirt.cluster_version": "{*}clusterVersion", "ovirt.guaranteed_memory_mib": "{*}minGuaranteedMemoryMb"},
    ),
    ("metadata/ovirt-tune:qos", {"ovirt.vcpu_limit": "{*}vcpuLimit"}),
    (_KUBEVIRT, {"kubevirt.uid": "{*}uid"}),
)

_LABEL = re.compile(rf"[A-Za-z_][A-Za-z0-9_.-]{{0,{NAME_CHARACTERS_MAX - 1}}}")

# The part of XPath that ElementTree reads. It takes much for a name that is none (``a|b``) and then finds nothing.
_NAME = r"(?:\{[^{}]*\}|[\w-][\w.-]*:)?[\w-][\w.-]*"
_STEP = rf"(?:\.\.?(?![\w.-])|{_NAME}|(?:\{{[^{{}}]*\}}|[\w-][\w.-]*:)?\*)"
_TEXT = r"(?:'[^']*'|\"[^\"]*\")"
_PREDICATE = rf"\[\s*(?:@?{_NAME}(?:\s*!?=\s*{_TEXT})?|\.\s*!?=\s*{_TEXT}|last\(\)(?:-\d{{1,4}})?)\s*\]"
_PATH = re.compile(rf"{_STEP}(?:{_PREDICATE})*(?://?{_STEP}(?:{_PREDICATE})*)*")
_ATTRIBUTE = re.compile(rf"(?:(?P<path>.*)/)?@(?P<name>{_NAME})", re.DOTALL)
_DOMAIN = re.compile(r"/?domain(?=/|\Z)")
_OPAQUE = re.compile(rf"\{{[^{{}}]*\}}|{_TEXT}")
_PREFIX = re.compile(r"([\w-][\w.-]*):")

_UNDERSTOOD = "names, *, ., .., //, [@name='text'], [name='text'], [2], [last()], and /@name at the end"


class _Place(Struct, frozen=True, gc=False):
    """Where a value stands: the text of the elements that *path* finds, or their *attribute*."""

    path: str
    attribute: str

    def value(self, root: ET.Element) -> str | None:
        """Return the first text found, blanks put together and cut to its limit; None where there is none."""
        for element in root.iterfind(self.path, PREFIXES):
            text = element.get(self.attribute) if self.attribute else element.text
            if text and (words := text.split()):
                return " ".join(words)[:VALUE_CHARACTERS_MAX].rstrip()
        return None


def _compile(xpath: str) -> _Place:
    """Understand *xpath*. Raises ValueError, saying what is wrong with it."""
    path, attribute = xpath.strip(), ""
    if match := _ATTRIBUTE.fullmatch(path):
        path, attribute = "." if match["path"] is None else match["path"], match["name"]
    if match := _DOMAIN.match(path):
        path = "." + path[match.end() :]
    elif path.startswith("//"):
        path = "." + path
    elif path.startswith("/"):
        raise ValueError(f"the XPath {xpath!r} begins outside the domain: begin with /domain/ or below it")
    if not _PATH.fullmatch(path):
        raise ValueError(f"the XPath {xpath!r} is not of the part of XPath that domstat reads: {_UNDERSTOOD}")
    bare = _OPAQUE.sub("", path)
    if bare.count("//") > 1:  # each looks at all that the one before has found: time grows with the square
        raise ValueError(f"the XPath {xpath!r} has more than one //: name the elements between them")
    for prefix in _PREFIX.findall(f"{bare}/{_OPAQUE.sub('', attribute)}"):
        if prefix not in PREFIXES:
            known = ", ".join(PREFIXES)
            raise ValueError(f"the XPath {xpath!r} has an unknown prefix {prefix}: write {{URI}}name, or use {known}")
    try:
        next(ET.Element("domain").iterfind(path, PREFIXES), None)
    except (SyntaxError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"the XPath {xpath!r} cannot be used: {error}") from error
    prefix, colon, name = attribute.partition(":")
    return _Place(path, f"{{{PREFIXES[prefix]}}}{name}" if colon and not attribute.startswith("{") else attribute)


class LabelRules:
    """Users' own labels: a mapping of a label's name to the XPath of its value, as in ``[hosts.labels]``.

    The XPath begins at the domain (``/domain/title``, or for short ``title``) and may end in ``/@name`` for an
    attribute. The first text that it finds is the label's value; where it finds none, the guest has no such label. A
    rule takes the place of a built-in label of its name. Some that are of use::

        owner = "metadata/{http://example.org/app}app/{http://example.org/app}owner"
        os = "metadata/libosinfo:libosinfo/libosinfo:os/@id"
        machine = "os/type/@machine"
        host_group = "metadata/ovirt:vm/ovirt:custom/ovirt:host_group"

    Raises ValueError, naming the label and saying what is wrong, for rules that could never give one.
    """

    __slots__ = ("_places",)

    def __init__(self, rules: Mapping[str, str]) -> None:
        if len(rules) > LABELS_MAX:
            raise ValueError(f"there are {len(rules)} rules for labels, and a guest has at most {LABELS_MAX} labels")
        for label, xpath in rules.items():
            if trouble := self.check(label, xpath):
                raise ValueError(f"the label {label!r}: {trouble}")
        self._places = {label: _compile(xpath) for label, xpath in rules.items()}

    def __contains__(self, label: object) -> bool:
        return label in self._places

    def read(self, root: ET.Element) -> dict[str, str]:
        """Read the users' labels from a domain's XML."""
        found = ((label, place.value(root)) for label, place in self._places.items())
        return {label: value for label, value in found if value is not None}

    @staticmethod
    def check(label: str, xpath: str) -> str | None:
        """Say why *label* cannot have the rule *xpath*; None if it can."""
        if not _LABEL.fullmatch(label):
            return (
                f"a label's name has up to {NAME_CHARACTERS_MAX} letters, digits, points, dashes and underscores, "
                "and begins with a letter or an underscore"
            )
        try:
            _compile(xpath)
        except ValueError as error:
            return str(error)
        return None


NO_RULES = LabelRules({})
"""Built-in labels only."""

_BUILT_IN = tuple(
    (_compile(block).path, tuple((label, _compile(xpath)) for label, xpath in places.items()))
    for block, places in _BLOCKS
)


def read_labels(root: ET.Element, rules: LabelRules = NO_RULES) -> dict[str, str]:
    """Read a guest's labels from its XML: the users' by *rules*, and the built-in ones that these do not replace."""
    labels = rules.read(root)
    for label, value in _read_built_in(root):
        if len(labels) >= LABELS_MAX:
            break
        if label not in rules:
            labels.setdefault(label, value)
    return labels


def _read_built_in(root: ET.Element) -> Iterator[tuple[str, str]]:
    for path, places in _BUILT_IN:
        block = root.find(path, PREFIXES)
        if block is None:
            continue
        for label, place in places:
            if value := place.value(block):
                yield label, value
    if root.find(_KUBEVIRT, PREFIXES) is not None:
        yield from _kubevirt_names(root.findtext("name") or "")


def _kubevirt_names(name: str) -> Iterator[tuple[str, str]]:
    """Take KubeVirt's name of a domain apart: ``namespace_name``; Kubernetes allows no underscore in a namespace."""
    namespace, underscore, rest = name.partition("_")
    if underscore and namespace and rest:
        yield "kubevirt.namespace", namespace[:VALUE_CHARACTERS_MAX]
        yield "kubevirt.name", rest[:VALUE_CHARACTERS_MAX]
