"""Manifests and acknowledgements: their XML, and what is refused."""

import dataclasses
import hashlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt import (
    AcknowledgedFile,
    Acknowledgement,
    ChecksumType,
    Manifest,
    ManifestFile,
    TransferStatus,
    ValidationStatus,
    acknowledgement_name,
    acknowledgement_to_xml,
    generate_manifest,
    manifest_to_xml,
    read_acknowledgement,
    read_manifest,
    write_acknowledgement,
    write_manifest,
)

FILE = '<file name="set-1/L0/a.png" size="3" checksum="AB"/>'


def manifest_text(files=FILE, count=1, dataset_id=7, checksum_type="SHA256", more=""):
    return (
        f'<manifest datasetId="{dataset_id}" checksumType="{checksum_type}" '
        f'fileCount="{count}"{more}>{files}</manifest>'
    )


@pytest.fixture
def read(tmp_path):
    """Read a manifest from text or bytes."""

    def reading(content):
        path = tmp_path / "x-manifest.xml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_manifest(path)

    return reading


def file_named(name):
    return f'<file name="{name}" size="3" checksum="ab"/>'


def lay_xml_files(directory):
    """Lay down 28 XML files, the same 28 in a sub-directory, and a hidden one."""
    for place in (directory, directory / "sub"):
        place.mkdir(parents=True, exist_ok=True)
        for number in range(28):
            (place / f"file-{number:02}.xml").write_text(f"<n>{number}</n>")
    (directory / ".hidden-file").write_text("hidden")


# Reading


def test_a_manifest_is_read_into_values(read):
    assert read(manifest_text()) == Manifest(
        dataset_id=7,
        checksum_type=ChecksumType.SHA256,
        files=(ManifestFile(name="set-1/L0/a.png", size_bytes=3, checksum="ab"),),
    )


@pytest.mark.parametrize("kind", ["MD5", "SHA1", "SHA256", "SHA512"])
def test_every_checksum_type_is_read(read, kind):
    assert read(manifest_text(checksum_type=kind)).checksum_type is ChecksumType[kind]


@pytest.mark.parametrize("number", [0, -5, 2**63 - 1, -(2**63)])
def test_a_dataset_id_may_be_any_long(read, number):
    assert read(manifest_text(dataset_id=number)).dataset_id == number


def test_comments_instructions_and_white_space_are_passed_over(read):
    text = manifest_text(f"\n  <!-- of today -->\n  <?made by-hand?>\n  {FILE}\n")
    assert read(f'<?xml version="1.0"?>\n{text}\n').file_count == 1


def test_a_manifest_in_utf_16_is_read(read):
    text = f'<?xml version="1.0" encoding="UTF-16"?>{manifest_text()}'
    assert read(text.encode("utf-16")).file_count == 1


def test_a_long_manifest_is_read_in_blocks(read):
    entries = "".join(file_named(f"set-1/{'d' * 100}/{n}.png") for n in range(20_000))
    assert read(manifest_text(entries, count=20_000)).file_count == 20_000


@pytest.mark.parametrize("attribute", ["datasetId", "checksumType", "fileCount"])
def test_a_missing_attribute_of_the_manifest_is_refused(read, attribute):
    text = re.sub(f' {attribute}="[^"]*"', "", manifest_text())
    with pytest.raises(
        DeliveryError, match=f"<manifest> lacks the attribute '{attribute}'"
    ):
        read(text)


@pytest.mark.parametrize("attribute", ["name", "size", "checksum"])
def test_a_missing_attribute_of_a_file_is_refused(read, attribute):
    text = manifest_text(re.sub(f' {attribute}="[^"]*"', "", FILE))
    with pytest.raises(
        DeliveryError, match=f"<file> lacks the attribute '{attribute}'"
    ):
        read(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            manifest_text(dataset_id="x7"),
            "datasetId is 'x7', which is not a whole number",
        ),
        (
            manifest_text(dataset_id=2**63),
            "datasetId is '9223372036854775808'.*too large",
        ),
        (manifest_text(count="1.5"), "fileCount is '1.5', which is not a whole number"),
        (
            manifest_text(count="1" * 200),
            "fileCount is '1{80}', which is not a whole number",
        ),
        (manifest_text(FILE.replace('"3"', '"-3"')), "a.png' is negative: -3"),
        (
            manifest_text(FILE.replace('"3"', '"3kB"')),
            "a.png' is '3kB', which is not a whole",
        ),
        (
            manifest_text(FILE.replace('"3"', '"٣"')),
            "a.png' is '٣', which is not a whole",
        ),
        (
            manifest_text(checksum_type="CRC"),
            "'CRC', which is none of: MD5, SHA1, SHA256",
        ),
        (
            manifest_text(checksum_type="sha1"),
            "checksumType is 'sha1', which is none of",
        ),
        (
            manifest_text(more=' color="red"'),
            "<manifest> has the unknown attribute 'color'",
        ),
        (manifest_text("<folder/>"), "expected <file>, found <folder>"),
        (manifest_text("<file/>" + FILE), "<file> lacks the attribute 'name'"),
        (
            manifest_text(FILE[:-2] + "><x/></file>"),
            "<file> has the element <x> inside",
        ),
        (manifest_text(FILE + "junk"), "has text between the tags: 'junk'"),
        ("<acknowledgement/>", "expected <manifest>, found <acknowledgement>"),
        ("", "is not well-formed XML.*no element found"),
        ("<manifest", "is not well-formed XML"),
        (manifest_text()[:-5], "x-manifest.xml:1: is not well-formed XML"),
    ],
)
def test_a_manifest_that_breaks_the_schema_is_refused(read, text, words):
    with pytest.raises(DeliveryError, match=words):
        read(text)


@pytest.mark.parametrize("count", [0, 2, -1])
def test_a_file_count_that_differs_is_refused(read, count):
    with pytest.raises(
        DeliveryError, match=f"fileCount is {count}, but 1 files .*cut short"
    ):
        read(manifest_text(count=count))


def test_a_manifest_without_files_is_refused(read):
    with pytest.raises(DeliveryError, match="0 files are listed; at least one must be"):
        read(manifest_text("", count=0))


def test_a_file_that_is_listed_twice_is_refused(read):
    with pytest.raises(DeliveryError, match=r"lists the file 'set-1/L0/a.png' twice"):
        read(manifest_text(FILE * 2, count=2))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/passwd", "'/etc/passwd' is absolute"),
        ("../a.png", "has '.' or '..' in it"),
        ("a/../../b.png", "has '.' or '..' in it"),
        ("a/..", "has '.' or '..' in it"),
        ("a/./b.png", "has '.' or '..' in it"),
        ("", "has an empty part"),
        ("a//b.png", "has an empty part"),
        ("a/", "has an empty part"),
        (".a.png", "is hidden"),
        ("a/.git/b.png", "is hidden"),
        ("..\\a.png", "is hidden"),
        ("a\\b.png", "has a backslash, control or broken character"),
        ("a&#10;b.png", "has a backslash, control or broken character"),
        ("a\x7fb.png", "has a backslash, control or broken character"),
        ("a\x85b.png", "has a backslash, control or broken character"),
        ("x-manifest.xml", "is that of a manifest or an acknowledgement"),
        ("x-manifest-ack.xml", "is that of a manifest or an acknowledgement"),
    ],
)
def test_a_name_that_does_not_stay_inside_is_refused(read, name, words):
    with pytest.raises(DeliveryError, match=words):
        read(manifest_text(file_named(name)))


def test_a_name_with_nul_is_no_xml(read):
    with pytest.raises(DeliveryError, match="is not well-formed XML"):
        read(manifest_text(file_named("a&#0;b")))


@pytest.mark.parametrize(
    "name", ["a.png", "a..b/c...png", "ä/ö ü.png", "sub/x-manifest.xml"]
)
def test_an_unusual_but_sound_name_is_taken(read, name):
    assert read(manifest_text(file_named(name))).files[0].name == name


# Hostile XML


def test_an_entity_bomb_is_refused(read):
    lines = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    bomb = f'<!DOCTYPE manifest [<!ENTITY e0 "boom">{lines}]>'
    with pytest.raises(DeliveryError, match="document types and entities are refused"):
        read(bomb + manifest_text(file_named("&e9;")))


def test_an_external_entity_is_refused(read, tmp_path):
    (tmp_path / "secret").write_text("secret")
    entity = f'<!DOCTYPE manifest [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'
    with pytest.raises(DeliveryError, match="document types and entities are refused"):
        read(entity + manifest_text(f"&e;{FILE}"))


def test_an_external_document_type_is_refused(read):
    with pytest.raises(DeliveryError, match="document types and entities are refused"):
        read('<!DOCTYPE manifest SYSTEM "http://localhost/x.dtd">' + manifest_text())


def test_an_undefined_entity_is_refused(read):
    with pytest.raises(
        DeliveryError, match=r"is not well-formed XML.*undefined entity"
    ):
        read(manifest_text(file_named("&e;")))


@pytest.mark.parametrize("encoding", ["nonsense", "gb2312", "rot13"])
def test_an_absurd_encoding_is_refused(read, encoding):
    with pytest.raises(
        DeliveryError, match=r"is not written in UTF-8|is not well-formed XML"
    ):
        read(f'<?xml version="1.0" encoding="{encoding}"?>{manifest_text()}')


@pytest.mark.parametrize(
    ("attribute", "longest"), [("name", 4096), ("size", 256), ("checksum", 256)]
)
def test_a_long_attribute_is_refused(read, attribute, longest):
    long = re.sub(f'{attribute}="[^"]*"', f'{attribute}="{"1" * (longest + 1)}"', FILE)
    with pytest.raises(
        DeliveryError, match=f"'{attribute}' of {longest + 1} characters"
    ):
        read(manifest_text(long))


@pytest.mark.parametrize(
    "giant",
    [
        f'<file name="{"a" * 4_000_000}',
        f"<{'a' * 4_000_000}",
        f"<!-- {'a' * 4_000_000}",
        '<file name="a" ' + "".join(f'b{n}="" ' for n in range(500_000)),
    ],
    ids=["attribute", "tag", "comment", "many attributes"],
)
def test_a_giant_tag_is_refused_before_it_ends(read, giant):
    with pytest.raises(
        DeliveryError, match="a tag, comment or attribute of more than 10485"
    ):
        read(manifest_text(giant, count=1))


def test_a_manifest_over_the_largest_size_is_refused_unread(tmp_path):
    path = tmp_path / "x-manifest.xml"
    with path.open("wb") as stream:
        stream.truncate(256 * 1024 * 1024 + 1)
    with pytest.raises(DeliveryError, match="has 268435457 bytes; at most 268435456"):
        read_manifest(path)


def test_elements_nested_without_end_are_refused_at_once(read):
    with pytest.raises(DeliveryError, match="<file> has the element <file> inside"):
        read(manifest_text('<file name="a" size="1" checksum="">' * 100_000))


def test_a_manifest_that_is_missing_is_refused(tmp_path):
    with pytest.raises(DeliveryError, match="can't be read: No such file"):
        read_manifest(tmp_path / "x-manifest.xml")


def test_a_pipe_is_no_manifest(tmp_path):
    os.mkfifo(tmp_path / "x-manifest.xml")
    with pytest.raises(DeliveryError, match="is not a regular file"):
        read_manifest(tmp_path / "x-manifest.xml")


# Round trips

hexadecimal = st.text("0123456789abcdef", max_size=128)
sizes = st.integers(0, 2**63 - 1)
dataset_ids = st.integers(-(2**63), 2**63 - 1)
parts = st.text(
    st.characters(
        exclude_categories=("Cc", "Cs"), exclude_characters="/\\\ufffe\uffff"
    ),
    min_size=1,
    max_size=8,
).filter(lambda part: not part.startswith("."))
names = st.lists(parts, min_size=1, max_size=3).map("/".join)
checksum_types = st.sampled_from(ChecksumType)
unlike = {"min_size": 1, "max_size": 5, "unique_by": lambda one: one.name}
manifests = st.builds(
    Manifest,
    dataset_id=dataset_ids,
    checksum_type=checksum_types,
    files=st.lists(
        st.builds(ManifestFile, name=names, size_bytes=sizes, checksum=hexadecimal),
        **unlike,
    ).map(tuple),
)
acknowledgements = st.builds(
    Acknowledgement,
    dataset_id=dataset_ids,
    checksum_type=checksum_types,
    files=st.lists(
        st.builds(
            AcknowledgedFile,
            name=names,
            size_bytes=sizes,
            checksum=hexadecimal,
            transfer=st.sampled_from(TransferStatus),
            validation=st.sampled_from(ValidationStatus),
        ),
        **unlike,
    ).map(tuple),
)
ODD = Manifest(
    dataset_id=1,
    checksum_type=ChecksumType.MD5,
    files=(ManifestFile(name="<a b=\"'&amp;", size_bytes=0, checksum=""),),
)


@given(manifest=manifests)
@example(manifest=ODD)
def test_a_manifest_survives_xml(tmp_path_factory, manifest):
    path = tmp_path_factory.getbasetemp() / "trip-manifest.xml"
    text = manifest_to_xml(manifest)
    path.write_text(text, encoding="utf-8")
    assert read_manifest(path) == manifest
    assert manifest_to_xml(read_manifest(path)) == text


@given(acknowledgement=acknowledgements)
def test_an_acknowledgement_survives_xml(tmp_path_factory, acknowledgement):
    path = tmp_path_factory.getbasetemp() / "trip-manifest-ack.xml"
    text = acknowledgement_to_xml(acknowledgement)
    path.write_text(text, encoding="utf-8")
    assert read_acknowledgement(path) == acknowledgement
    assert acknowledgement_to_xml(read_acknowledgement(path)) == text


# Writing


def test_the_xml_of_a_manifest_is_that_of_the_original(read):
    assert manifest_to_xml(read(manifest_text())) == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<manifest datasetId="7" checksumType="SHA256" fileCount="1">\n'
        '  <file name="set-1/L0/a.png" size="3" checksum="ab" />\n'
        "</manifest>\n"
    )


ACKNOWLEDGEMENT = Acknowledgement(
    dataset_id=100,
    checksum_type=ChecksumType.SHA1,
    files=(
        AcknowledgedFile(
            name="a.png",
            size_bytes=3,
            checksum="ab",
            transfer=TransferStatus.PRESENT,
            validation=ValidationStatus.VALID,
        ),
        AcknowledgedFile(
            name="b.png",
            size_bytes=0,
            checksum="",
            transfer=TransferStatus.ABSENT,
            validation=ValidationStatus.INVALID,
        ),
    ),
)


def test_the_xml_of_an_acknowledgement_is_that_of_the_original():
    assert acknowledgement_to_xml(ACKNOWLEDGEMENT) == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<acknowledgement datasetId="100" checksumType="SHA1" fileCount="2" '
        'transferStatus="invalid">\n'
        '  <file name="a.png" size="3" checksum="ab" transferStatus="present" '
        'validationStatus="valid" />\n'
        '  <file name="b.png" size="0" checksum="" transferStatus="absent" '
        'validationStatus="invalid" />\n'
        "</acknowledgement>\n"
    )


def test_checksums_are_written_in_lower_case():
    loud = dataclasses.replace(
        ODD, files=(dataclasses.replace(ODD.files[0], checksum="AB"),)
    )
    assert 'checksum="ab"' in manifest_to_xml(loud)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'transferStatus="invalid"',
            'transferStatus="valid"',
            "'valid', but by its files",
        ),
        (
            'transferStatus="invalid"',
            'transferStatus="fine"',
            "'fine', which is none of",
        ),
        (
            'transferStatus="absent"',
            'transferStatus="gone"',
            "none of: present, absent",
        ),
        ('validationStatus="valid"', 'validationStatus=""', "none of: valid, invalid"),
        ('fileCount="2"', 'fileCount="3"', "fileCount is 3, but 2 files"),
        ('name="a.png"', 'name="/a.png"', "'/a.png' is absolute"),
    ],
)
def test_an_acknowledgement_that_is_not_sound_is_refused(tmp_path, old, new, words):
    path = tmp_path / "x-manifest-ack.xml"
    path.write_text(acknowledgement_to_xml(ACKNOWLEDGEMENT).replace(old, new))
    with pytest.raises(DeliveryError, match=words):
        read_acknowledgement(path)


def test_the_acknowledgement_is_named_after_the_manifest():
    assert acknowledgement_name("test-manifest.xml") == "test-manifest-ack.xml"


def test_what_is_written_reads_back_and_leaves_nothing_else(tmp_path):
    write_manifest(ODD, tmp_path / "x-manifest.xml")
    write_acknowledgement(ACKNOWLEDGEMENT, tmp_path / "x-manifest-ack.xml")
    assert read_manifest(tmp_path / "x-manifest.xml") == ODD
    assert read_acknowledgement(tmp_path / "x-manifest-ack.xml") == ACKNOWLEDGEMENT
    assert len(list(tmp_path.iterdir())) == 2


def test_a_manifest_needs_the_name_of_one(tmp_path):
    with pytest.raises(DeliveryError, match=r"must end with '-manifest.xml'"):
        write_manifest(ODD, tmp_path / "manifest.xml")


@pytest.mark.parametrize("trap", ["x-manifest-ack.xml", ".x-manifest-ack.xml.partial"])
def test_writing_does_not_follow_a_link_that_was_laid_in_its_place(tmp_path, trap):
    outside, delivery = tmp_path / "outside", tmp_path / "delivery"
    outside.write_text("precious")
    delivery.mkdir()
    (delivery / trap).symlink_to(outside)
    write_acknowledgement(ACKNOWLEDGEMENT, delivery / "x-manifest-ack.xml")
    assert outside.read_text() == "precious"
    assert not (delivery / "x-manifest-ack.xml").is_symlink()


def test_a_place_that_can_not_be_written_is_named(tmp_path):
    with pytest.raises(
        DeliveryError, match=r"none/x-manifest.xml: can't be written: No such"
    ):
        write_manifest(ODD, tmp_path / "none" / "x-manifest.xml")


# Generating


def test_a_manifest_lists_all_files_but_hidden_ones(tmp_path):
    lay_xml_files(tmp_path)
    manifest = generate_manifest(tmp_path, 100)
    listed = [one.name for one in manifest.files]
    assert (manifest.dataset_id, manifest.file_count) == (100, 56)
    assert manifest.checksum_type is ChecksumType.SHA1
    assert listed == sorted(listed)
    assert 'fileCount="56"' in manifest_to_xml(manifest)


def test_links_are_listed_like_the_files_they_lead_to(tmp_path):
    lay_xml_files(tmp_path / "real")
    for path in (tmp_path / "real").rglob("*.xml"):
        link = tmp_path / "links" / path.relative_to(tmp_path / "real")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    assert generate_manifest(tmp_path / "links", 100) == generate_manifest(
        tmp_path / "real", 100
    )


def test_a_linked_directory_is_listed_like_a_real_one(tmp_path):
    lay_xml_files(tmp_path / "real")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "one").symlink_to(tmp_path / "real" / "sub")
    (tmp_path / "links" / "two").symlink_to(tmp_path / "real" / "sub")
    assert generate_manifest(tmp_path / "links", 100).file_count == 56


@pytest.mark.parametrize("kind", ChecksumType)
def test_size_and_checksum_are_those_of_the_content(tmp_path, kind):
    content = bytes(range(256)) * 10_000
    (tmp_path / "a.bin").write_bytes(content)
    expected = hashlib.new(kind.value, content).hexdigest()
    assert generate_manifest(tmp_path, 1, kind).files == (
        ManifestFile(name="a.bin", size_bytes=2_560_000, checksum=expected),
    )


def test_manifests_and_acknowledgements_are_left_out_at_the_top_only(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "x-manifest.xml", "x-manifest-ack.xml", "sub/y-manifest.xml"):
        (tmp_path / name).touch()
    listed = [one.name for one in generate_manifest(tmp_path, 1).files]
    assert listed == ["a.png", "sub/y-manifest.xml"]


def test_hidden_directories_are_left_out(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").touch()
    (tmp_path / "a.png").touch()
    assert generate_manifest(tmp_path, 1).file_count == 1


def test_a_pipe_is_no_file_to_list(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DeliveryError, match="holds no files to list"):
        generate_manifest(tmp_path, 1)


def test_a_name_that_no_manifest_can_hold_is_refused(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.png")).touch()
    with pytest.raises(
        DeliveryError, match=r"a\\udcff.png' has a backslash, control or"
    ):
        generate_manifest(tmp_path, 1)


def test_directories_that_link_in_circles_are_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    with pytest.raises(DeliveryError, match="sub/up: links go in circles"):
        generate_manifest(tmp_path, 1)


@pytest.mark.parametrize(
    ("target", "words"), [("nothing", "No such"), ("a", "Too many")]
)
def test_a_link_to_nothing_is_refused(tmp_path, target, words):
    (tmp_path / "a").symlink_to(target)
    with pytest.raises(DeliveryError, match=f"a: can't be read: {words}"):
        generate_manifest(tmp_path, 1)


def test_a_directory_that_is_missing_is_refused(tmp_path):
    with pytest.raises(DeliveryError, match="none: can't be read: No such file"):
        generate_manifest(tmp_path / "none", 1)
