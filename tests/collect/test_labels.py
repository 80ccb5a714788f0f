"""Labels from domain XML: built in and by users' rules."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.collect.labels import LABELS_MAX, PREFIXES, VALUE_CHARACTERS_MAX, LabelRules, read_labels

NOVA = """
<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/{version}">
  <nova:package version="25.1.0"/>
  <nova:name>shop-1</nova:name>
  <nova:creationTime>2026-03-14 10:09:13</nova:creationTime>
  <nova:flavor name="m1.large"{flavor}>
    <nova:memory>8192</nova:memory><nova:disk>80</nova:disk><nova:swap>0</nova:swap><nova:vcpus>4</nova:vcpus>
    <nova:extraSpecs><nova:extraSpec name="hw:cpu_policy">shared</nova:extraSpec></nova:extraSpecs>
  </nova:flavor>
  <nova:owner>
    <nova:user uuid="ff62">ada</nova:user>
    <nova:project uuid="5128">web shop</nova:project>
  </nova:owner>
  <nova:root type="image" uuid="9e58"/>
  <nova:ports><nova:port uuid="77c1"><nova:ip type="fixed" address="172.1.1.43" ipVersion="4"/></nova:port></nova:ports>
</nova:instance>"""

NOVA_LABELS = {
    "nova.name": "shop-1",
    "nova.flavor": "m1.large",
    "nova.project": "web shop",
    "nova.project_id": "5128",
    "nova.user": "ada",
    "nova.user_id": "ff62",
    "nova.image_id": "9e58",
}

OVIRT = """
<ovirt-tune:qos xmlns:ovirt-tune="http://ovirt.org/vm/tune/1.0">{tune}</ovirt-tune:qos>
<ovirt-vm:vm xmlns:ovirt-vm="http://ovirt.org/vm/1.0">
  {vm}
  <ovirt-vm:custom><ovirt-vm:host_group>blue</ovirt-vm:host_group></ovirt-vm:custom>
  <ovirt-vm:device devtype="disk" name="vda"><ovirt-vm:poolID>5a60</ovirt-vm:poolID></ovirt-vm:device>
</ovirt-vm:vm>"""

KUBEVIRT = """
<kubevirt xmlns="http://kubevirt.io">
  <uid>f468</uid><graceperiod><deletionGracePeriodSeconds>5</deletionGracePeriodSeconds></graceperiod>
</kubevirt>"""


def domain(metadata: str = "", name: str = "web-1", more: str = "") -> ET.Element:
    return ET.fromstring(
        f"<domain type='kvm' id='3'><name>{name}</name>{more}<metadata>{metadata}</metadata>"
        "<memory unit='KiB'>4194304</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>"
        "<devices><disk type='file'><source file='/a'/><serial>s-1</serial></disk>"
        "<disk type='file'><source file='/b'/><serial>s-2</serial></disk></devices></domain>"
    )


def label_by(xpath: str, root: ET.Element | None = None) -> str | None:
    """Return what a rule with this XPath makes of a guest."""
    found = LabelRules({"own": xpath}).read(domain(OWN) if root is None else root)
    return found.get("own")


OWN = "<app:app xmlns:app='http://example.org/app' app:tier='gold' x='1'><app:owner>ada</app:owner></app:app>"


def test_a_guest_without_metadata_has_no_labels() -> None:
    assert read_labels(ET.fromstring("<domain><name>web-1</name></domain>")) == {}


def test_the_title_is_a_label() -> None:
    assert read_labels(domain(more="<title>Web shop</title>")) == {"title": "Web shop"}


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_nova_tells_name_flavour_project_user_and_image_in_both_namespaces(version: str) -> None:
    assert read_labels(domain(NOVA.format(version=version, flavor=""))) == NOVA_LABELS


def test_newer_nova_tells_the_flavours_id() -> None:
    labels = read_labels(domain(NOVA.format(version="1.1", flavor=" id='42'")))
    assert labels == NOVA_LABELS | {"nova.flavor_id": "42"}


def test_a_guest_of_nova_booted_from_a_volume_has_no_image() -> None:
    volume = NOVA.format(version="1.1", flavor="").replace('type="image"', 'type="volume"')
    assert "nova.image_id" not in read_labels(domain(volume))


@pytest.mark.parametrize("prefix", ["ovirt-vm:", ""])
def test_ovirt_tells_its_cluster_version_and_guaranteed_memory_with_or_without_a_namespace(prefix: str) -> None:
    vm = (
        f'<{prefix}minGuaranteedMemoryMb type="int">2048</{prefix}minGuaranteedMemoryMb>'
        f"<{prefix}clusterVersion>4.7</{prefix}clusterVersion>"
    )
    labels = read_labels(domain(OVIRT.format(vm=vm, tune="")))
    assert labels == {"ovirt.cluster_version": "4.7", "ovirt.guaranteed_memory_mib": "2048"}


def test_ovirt_tells_the_limit_of_cpu_use() -> None:
    tune = "<ovirt-tune:vcpuLimit>50</ovirt-tune:vcpuLimit>"
    assert read_labels(domain(OVIRT.format(vm="", tune=tune))) == {"ovirt.vcpu_limit": "50"}


def test_kubevirt_tells_namespace_and_name_in_the_domains_name() -> None:
    labels = read_labels(domain(KUBEVIRT, name="shop_web_1"))
    assert labels == {"kubevirt.namespace": "shop", "kubevirt.name": "web_1", "kubevirt.uid": "f468"}


def test_a_name_with_an_underscore_alone_is_not_kubevirts() -> None:
    assert read_labels(domain(name="shop_web")) == {}


def test_a_name_that_kubevirt_would_not_give_is_not_taken_apart() -> None:
    assert read_labels(domain(KUBEVIRT, name="web")) == {"kubevirt.uid": "f468"}


def test_elements_of_a_strangers_namespace_are_nobodys_labels() -> None:
    assert read_labels(domain("<instance xmlns='http://example.org/'><name>x</name></instance>")) == {}


@pytest.mark.parametrize(
    ("xpath", "value"),
    [
        ("name", "web-1"),
        ("/domain/name", "web-1"),
        ("domain/name", "web-1"),
        (" name ", "web-1"),
        ("./name", "web-1"),
        ("@type", "kvm"),
        ("/domain/@id", "3"),
        ("memory/@unit", "KiB"),
        ("os/type", "hvm"),
        ("os/type/@machine", "q35"),
        ("os/*/@machine", "q35"),
        ("//serial", "s-1"),
        ("/domain//serial", "s-1"),
        ("devices/disk[2]/serial", "s-2"),
        ("devices/disk[last()]/serial", "s-2"),
        ("devices/disk[last()-1]/serial", "s-1"),
        ("devices/disk[serial='s-2']/source/@file", "/b"),
        ("devices/disk[ @type = 'file' ]/serial", "s-1"),
        ("devices/disk/serial[.!='s-1']", "s-2"),
        ("os/type[.='hvm']/../../name", "web-1"),
        ("metadata/{http://example.org/app}app/{http://example.org/app}owner", "ada"),
        ("metadata/{*}app/{*}owner", "ada"),
        ("metadata/*/@{http://example.org/app}tier", "gold"),
        ("metadata/*/@x", "1"),
    ],
)
def test_a_rule_reads_what_its_xpath_finds(xpath: str, value: str) -> None:
    assert LabelRules.check("own", xpath) is None
    assert label_by(xpath) == value


def test_every_known_prefix_can_be_used() -> None:
    for prefix, uri in PREFIXES.items():
        root = domain(f"<a xmlns='{uri}' xmlns:p='{uri}' p:x='1'>text</a>")
        assert label_by(f"metadata/{prefix}:a", root) == "text"
        assert label_by(f"metadata/{prefix}:*/@{prefix}:x", root) == "1"


def test_a_rule_that_finds_nothing_gives_no_label() -> None:
    assert read_labels(domain(), LabelRules({"owner": "metadata/nova:instance/nova:name", "x": "os/type/@y"})) == {}


def test_a_rule_passes_over_what_is_empty() -> None:
    root = ET.fromstring("<domain><a/><a> </a><a x=''/><a x='1'>b</a></domain>")
    assert label_by("a", root) == "b"
    assert label_by("a/@x", root) == "1"


def test_a_rule_takes_the_place_of_the_built_in_label_of_its_name_even_where_it_finds_nothing() -> None:
    root = domain(NOVA.format(version="1.1", flavor=""), more="<title>Web shop</title>")
    rules = LabelRules({"title": "name", "nova.user": "metadata/nova:instance/nova:nobody"})
    labels = read_labels(root, rules)
    assert labels["title"] == "web-1"
    assert "nova.user" not in labels
    assert labels["nova.project"] == "web shop"


def test_a_value_is_one_line_of_limited_length() -> None:
    assert read_labels(domain(more="<title>\n  Web\tshop \n</title>")) == {"title": "Web shop"}
    assert read_labels(domain(more=f"<title>{'é' * 1000}</title>")) == {"title": "é" * VALUE_CHARACTERS_MAX}
    labels = read_labels(domain("<kubevirt xmlns='http://kubevirt.io'/>", name=f"{'a' * 1000}_{'b' * 1000}"))
    assert {len(value) for value in labels.values()} == {VALUE_CHARACTERS_MAX}


def test_a_guest_has_a_limited_number_of_labels_and_users_come_first() -> None:
    rules = LabelRules({f"own_{number}": "name" for number in range(LABELS_MAX - 1)})
    labels = read_labels(domain(NOVA.format(version="1.1", flavor=""), more="<title>Web</title>"), rules)
    assert len(labels) == LABELS_MAX
    assert sum(label.startswith("own_") for label in labels) == LABELS_MAX - 1


def test_more_rules_than_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="65 rules"):
        LabelRules({f"own_{number}": "name" for number in range(LABELS_MAX + 1)})


@pytest.mark.parametrize(
    ("xpath", "reason"),
    [
        ("", "part of XPath"),
        ("/", "begins outside"),
        ("/title", "begins outside"),
        ("a|b", "part of XPath"),
        ("a b", "part of XPath"),
        ("title/text()", "part of XPath"),
        ("descendant::disk", "part of XPath"),
        ("count(disk)", "part of XPath"),
        ("disk[", "part of XPath"),
        ("disk[@x=y]", "part of XPath"),
        ("disk[.//x]", "part of XPath"),
        ("disk/", "part of XPath"),
        ("disk//@file", "part of XPath"),
        ("@", "part of XPath"),
        ("disk/@*", "part of XPath"),
        ("{unclosed", "part of XPath"),
        ("disk[0]", "position"),
        ("//disk//source", "more than one //"),
        ("metadata/foo:bar", "unknown prefix foo"),
        ("metadata/@foo:bar", "unknown prefix foo"),
        ("disk[foo:bar='x']", "unknown prefix foo"),
    ],
)
def test_an_xpath_that_cannot_be_read_is_refused_with_the_reason(xpath: str, reason: str) -> None:
    trouble = LabelRules.check("own", xpath)
    assert trouble is not None
    assert reason in trouble
    with pytest.raises(ValueError, match="the label 'own'"):
        LabelRules({"own": xpath})


def test_slashes_and_colons_in_texts_and_namespaces_are_no_steps_and_no_prefixes() -> None:
    root = ET.fromstring("<domain><a x='b://c//d:e'>1</a><b xmlns='urn:x//y//z'>2</b></domain>")
    assert label_by("a[@x='b://c//d:e']", root) == "1"
    assert label_by("{urn:x//y//z}b", root) == "2"


@pytest.mark.parametrize("label", ["", "1st", "my label", "a=b", "ä", "x" * 65, "a\n"])
def test_a_label_of_a_name_that_no_sink_could_write_is_refused(label: str) -> None:
    assert "name has up to" in (LabelRules.check(label, "name") or "")


@pytest.mark.parametrize("label", ["owner", "nova.project", "_x", "cost-centre", "x" * 64])
def test_a_label_may_have_points_dashes_and_underscores(label: str) -> None:
    assert LabelRules.check(label, "name") is None


PIECES = """
    a b nova:a {*}a * . .. / // [1] [0] [last()] [last()-2] [@x] [@x='1'] [a!=''] [.='1'] /@x text() [ ] @ x ' " ( )
    = ! : :: { } | -1 é
"""
STEPS = st.lists(st.sampled_from([*PIECES.split(), " ", "\0"]), max_size=8).map("".join)
TREES = st.recursive(
    st.just("<a/>"),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: f"<a x='1'>1{''.join(parts)}<b/></a>"),
    max_leaves=8,
).map(lambda text: ET.fromstring(f"<domain>{text}</domain>"))


@given(STEPS | st.text(max_size=12), TREES)
def test_any_text_as_an_xpath_is_refused_or_reads_any_xml(xpath: str, root: ET.Element) -> None:
    if LabelRules.check("own", xpath) is None:
        value = label_by(xpath, root)
        assert value is None or value.strip()


@given(st.text(max_size=400), st.text(max_size=400))
def test_any_metadata_gives_labels_with_a_value_and_an_end(text: str, name: str) -> None:
    root = domain(KUBEVIRT)
    for element in root.iter():
        element.text = name if element.tag == "name" else text
    for label, value in read_labels(root).items():
        assert label.startswith("kubevirt.")
        assert 0 < len(value) <= VALUE_CHARACTERS_MAX
