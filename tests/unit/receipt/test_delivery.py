"""Deliveries: finding, checking and clearing them away."""

import contextlib
import dataclasses
import os
import sys
from pathlib import Path

import pytest

from ziggy_dask.errors import DeliveryError
from ziggy_dask.receipt import (
    ChecksumType,
    Delivery,
    Manifest,
    ManifestFile,
    TransferStatus,
    acknowledgement_name,
    acknowledgement_to_xml,
    clean_up,
    extra_files,
    find_deliveries,
    generate_manifest,
    manifest_path,
    read_acknowledgement,
    require_inside,
    require_own_files,
    validate,
    write_acknowledgement,
    write_manifest,
)
from ziggy_dask.receipt.delivery import read_delivered

MANIFEST = "test-manifest.xml"
OWN = (acknowledgement_name(MANIFEST), MANIFEST)


class Crash(BaseException):
    """Stands for the end of the process."""


class Crashes:
    """Ends a call at one of its removals, by way of the interpreter's audit events."""

    def __init__(self):
        self.budget = None
        sys.addaudithook(self.audit)

    def audit(self, event, _arguments):
        if self.budget is None or event not in ("os.remove", "os.rmdir"):
            return
        if not self.budget:
            raise Crash
        self.budget -= 1

    def after(self, count, call, *arguments):
        self.budget = count
        try:
            call(*arguments)
        finally:
            self.budget = None


@pytest.fixture(scope="module")
def crash():
    return Crashes()


def lay(directory, *names):
    """Lay down files with their own names as content, and the directories above."""
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def listing(*names):
    """Return a manifest of names, whose sizes and checksums are made up."""
    return Manifest(
        dataset_id=1,
        checksum_type=ChecksumType.SHA256,
        files=tuple(ManifestFile(name=n, size_bytes=1, checksum="00") for n in names),
    )


def visible(directory):
    """Return all names below a directory, but for directories."""
    found = (
        path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()
    )
    return sorted(path.relative_to(directory).as_posix() for path in found)


@pytest.fixture
def directory(tmp_path):
    """A sound delivery of three files in a sub-directory of the receipt directory."""
    place = tmp_path / "receipt" / "delivery"
    lay(place, "a.png", "set-1/b.png", "set-1/L0/c.png", ".hidden")
    write_manifest(generate_manifest(place, 100), place / MANIFEST)
    return place


@pytest.fixture
def names(directory):
    return tuple(one.name for one in generate_manifest(directory, 100).files)


@pytest.fixture
def delivery(directory):
    return Delivery(name="delivery", directory=directory, is_inside=True)


@pytest.fixture
def outside(tmp_path):
    """A directory that no delivery may reach."""
    lay(tmp_path / "outside", "precious.png", "sub/more.png")
    return tmp_path / "outside"


@pytest.fixture
def bottomless(delivery, tmp_path, monkeypatch):
    """A hidden directory in the delivery, too deep for paths; flattened in the end."""
    top = delivery.directory / ".top"
    top.mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(top)
        for _ in range(1200):
            Path("d").mkdir()
            os.chdir("d")
    yield top
    while (top / "d").exists():
        (top / "d").rename(tmp_path / "rest")
        top.rmdir()
        (tmp_path / "rest").rename(top)


# Finding


def test_a_manifest_in_the_directory_makes_it_one_delivery(tmp_path):
    place = tmp_path / "data-import"
    lay(place, MANIFEST, "subdir-1/y-manifest.xml")
    assert find_deliveries(place) == (
        Delivery(name="data-import", directory=place, is_inside=False),
    )


def test_each_sub_directory_with_a_manifest_is_a_delivery(tmp_path):
    lay(
        tmp_path, "subdir-2/x-manifest.xml", "subdir-1/x-manifest.xml", "bad-name/a.png"
    )
    assert find_deliveries(tmp_path) == (
        Delivery(name="subdir-1", directory=tmp_path / "subdir-1", is_inside=True),
        Delivery(name="subdir-2", directory=tmp_path / "subdir-2", is_inside=True),
    )


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "manifest.xml",
        "x-manifest-ack.xml",
        ".x-manifest.xml",
        ".sub/x-manifest.xml",
        "sub/sub/x-manifest.xml",
        "x-manifest.xml/a.png",
    ],
)
def test_a_directory_without_a_manifest_has_no_deliveries(tmp_path, name):
    lay(tmp_path, name)
    assert find_deliveries(tmp_path) == ()


def test_a_directory_that_is_missing_has_no_deliveries(tmp_path):
    assert find_deliveries(tmp_path / "none") == ()


def test_deliveries_have_absolute_paths_and_names(tmp_path, monkeypatch):
    place = tmp_path / "data-import"
    lay(place, MANIFEST)
    monkeypatch.chdir(place)
    (found,) = find_deliveries(place.relative_to(place))
    assert (found.name, found.directory) == ("data-import", place)


def test_the_receipt_directory_itself_may_be_a_link(tmp_path, directory):
    (tmp_path / "link").symlink_to(directory)
    (found,) = find_deliveries(tmp_path / "link")
    assert (found.name, found.is_inside) == ("link", False)


def test_a_link_that_poses_as_a_delivery_is_refused(tmp_path, directory):
    lay(tmp_path / "elsewhere", MANIFEST)
    (directory.parent / "posing").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        DeliveryError, match=r"posing: is a link to .*elsewhere; a delivery is"
    ):
        find_deliveries(directory.parent)


def test_the_manifest_is_found(directory, tmp_path):
    assert manifest_path(directory) == directory / MANIFEST
    assert manifest_path(tmp_path) is None


def test_two_manifests_are_refused(directory):
    lay(directory, "more-manifest.xml")
    with pytest.raises(
        DeliveryError, match=r"2 manifests .more-manifest.xml, test-manifest"
    ):
        manifest_path(directory)


def test_a_manifest_that_lies_elsewhere_is_refused(tmp_path, outside):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / MANIFEST).symlink_to(outside / "precious.png")
    with pytest.raises(DeliveryError, match=r"is a link to .*outside the delivery"):
        manifest_path(tmp_path / "sub")


def test_a_delivery_that_is_missing_can_not_be_read(tmp_path):
    with pytest.raises(DeliveryError, match="none: can't be read: No such file"):
        manifest_path(tmp_path / "none")


# Checking


def test_an_untouched_delivery_is_valid(tmp_path):
    lay(tmp_path, *(f"file-{number}.xml" for number in range(28)))
    acknowledgement = validate(tmp_path, generate_manifest(tmp_path, 100))
    write_acknowledgement(acknowledgement, tmp_path / acknowledgement_name(MANIFEST))
    written = read_acknowledgement(tmp_path / "test-manifest-ack.xml")
    assert written == acknowledgement
    assert (written.dataset_id, written.file_count, written.is_valid) == (100, 28, True)
    assert 'transferStatus="valid">' in acknowledgement_to_xml(written)


def test_a_file_that_does_not_exist_spoils_the_whole(directory):
    manifest = generate_manifest(directory, 100)
    renamed = dataclasses.replace(manifest.files[0], name="nonsense.png")
    manifest = dataclasses.replace(manifest, files=(renamed, *manifest.files[1:]))
    acknowledgement = validate(directory, manifest)
    first, *others = acknowledgement.files
    assert (first.size_bytes, first.checksum, first.is_valid) == (0, "", False)
    assert first.transfer is TransferStatus.ABSENT
    assert all(one.is_present and one.is_valid for one in others)
    assert not acknowledgement.is_valid


def test_a_corrupt_file_is_present_but_invalid(directory):
    manifest = generate_manifest(directory, 100)
    (directory / "a.png").write_text("a.pnG")
    found = validate(directory, manifest).files[0]
    assert (found.is_present, found.is_valid, found.size_bytes) == (True, False, 5)
    assert found.checksum == ChecksumType.SHA1.of_file(directory / "a.png")


def test_a_file_of_another_size_is_present_but_invalid(directory):
    manifest = generate_manifest(directory, 100)
    longer = dataclasses.replace(manifest.files[0], size_bytes=6)
    found = validate(directory, dataclasses.replace(manifest, files=(longer,))).files[0]
    assert (found.is_present, found.is_valid, found.size_bytes) == (True, False, 5)


def test_checksums_are_compared_whatever_their_case(directory):
    manifest = generate_manifest(directory, 100)
    loud = [dataclasses.replace(f, checksum=f.checksum.upper()) for f in manifest.files]
    assert validate(
        directory, dataclasses.replace(manifest, files=tuple(loud))
    ).is_valid


@pytest.mark.parametrize("name", ["set-1", "a.png/b.png", "a" * 300, "a/" * 2000 + "a"])
def test_what_can_not_be_a_file_is_absent(directory, name):
    (found,) = validate(directory, listing(name)).files
    assert (found.is_present, found.is_valid, found.checksum) == (False, False, "")


def test_a_pipe_is_absent(directory):
    os.mkfifo(directory / "pipe")
    assert not validate(directory, listing("pipe")).files[0].is_present


def test_links_inside_the_delivery_are_followed(directory):
    (directory / "link.png").symlink_to("set-1/b.png")
    (directory / "linked").symlink_to("set-1/L0")
    manifest = generate_manifest(directory, 100)
    assert {"link.png", "linked/c.png"} <= {one.name for one in manifest.files}
    assert validate(directory, manifest).is_valid


def test_checking_stops_when_too_many_files_are_bad(directory):
    manifest = listing("x", "a.png", "y", "set-1/b.png")
    one_may = validate(directory, manifest, max_failure_percentage=49.9)
    all_may = validate(directory, manifest, max_failure_percentage=100)
    assert [one.is_present for one in one_may.files] == [False, True, False, False]
    assert [one.is_present for one in all_may.files] == [False, True, False, True]


def test_no_file_is_read_after_the_first_failure_at_zero_percent(directory, outside):
    (directory / "out.png").symlink_to(outside / "precious.png")
    checked = validate(
        directory, listing("missing", "out.png"), max_failure_percentage=0
    )
    assert [one.is_present for one in checked.files] == [False, False]


@pytest.mark.parametrize(
    ("link", "target", "name"),
    [
        ("out.png", "{outside}/precious.png", "out.png"),
        ("out", "{outside}", "out/precious.png"),
        ("out", "{outside}", "out/sub/more.png"),
        ("out.png", "../../outside/precious.png", "out.png"),
        ("set-1/out", "../../../outside", "set-1/out/precious.png"),
        ("out.png", "/dev/zero", "out.png"),
        ("out.png", "{outside}/nothing", "out.png"),
    ],
)
def test_a_link_out_of_the_delivery_is_refused(directory, outside, link, target, name):
    (directory / link).symlink_to(target.format(outside=outside))
    with pytest.raises(
        DeliveryError, match=r"is a link to .*, outside the delivery; deliver"
    ):
        validate(directory, listing(name))


def test_a_link_by_way_of_other_links_is_refused(directory, outside):
    (directory / "one").symlink_to("two")
    (directory / "two").symlink_to(outside)
    with pytest.raises(DeliveryError, match="outside the delivery"):
        require_inside(directory, "one/precious.png")


@pytest.mark.parametrize("name", ["one", "two", "one/a.png", "self"])
def test_links_that_go_in_circles_are_refused(directory, name):
    (directory / "one").symlink_to("two")
    (directory / "two").symlink_to("one")
    (directory / "self").symlink_to("self")
    with pytest.raises(DeliveryError, match="links go in circles"):
        validate(directory, listing(name))


# Files too many


def test_a_complete_manifest_leaves_no_file_over(directory, names):
    lay(directory, OWN[0], ".secret/x")
    assert extra_files(directory, names) == ()


def test_files_that_the_manifest_does_not_name_are_found(directory, names):
    lay(directory, "set-1/extra.png", "another.png", "old-manifest-ack.xml")
    assert extra_files(directory, names) == (
        "another.png",
        "old-manifest-ack.xml",
        "set-1/extra.png",
    )


@pytest.mark.parametrize(
    "target", ["{outside}", "{outside}/precious.png", "nothing", "..", "/"]
)
def test_an_unlisted_link_is_a_file_too_many_and_is_not_followed(
    directory, names, outside, target
):
    (directory / "link").symlink_to(target.format(outside=outside))
    assert extra_files(directory, names) == ("link",)


def test_a_pipe_is_a_file_too_many(directory, names):
    os.mkfifo(directory / "set-1" / "pipe")
    assert extra_files(directory, names) == ("set-1/pipe",)


def test_a_link_on_the_way_to_a_listed_file_is_not_a_file_too_many(directory):
    (directory / "linked").symlink_to("set-1")
    names = [one.name for one in generate_manifest(directory, 1).files]
    assert "linked/L0/c.png" in names
    assert extra_files(directory, names) == ()


def test_files_too_many_of_a_missing_delivery_are_not_none(tmp_path):
    with pytest.raises(DeliveryError, match="can't be read"):
        extra_files(tmp_path / "none", [])


# Clearing away


def test_a_delivery_in_a_sub_directory_goes_away_whole(delivery, names):
    receipt = delivery.directory.parent
    lay(receipt, "other.png", "second/x-manifest.xml")
    clean_up(delivery, [*names, *OWN])
    assert visible(receipt) == ["other.png", "second/x-manifest.xml"]
    assert not delivery.directory.exists()


def test_the_receipt_directory_itself_stays(delivery, names):
    clean_up(dataclasses.replace(delivery, is_inside=False), [*names, *OWN])
    assert list(delivery.directory.iterdir()) == []


def test_hidden_and_empty_directories_go_too(delivery, names):
    lay(delivery.directory, ".git/config", "set-1/.cache/a/b")
    (delivery.directory / "empty" / "emptier").mkdir(parents=True)
    clean_up(delivery, [*names, *OWN])
    assert not delivery.directory.exists()


def test_a_file_that_is_left_is_named_and_kept(delivery, names):
    lay(delivery.directory, "set-1/late.png")
    with pytest.raises(
        DeliveryError, match=r"1 files are left.*'set-1/late.png'; deliver"
    ):
        clean_up(delivery, [*names, *OWN])
    assert visible(delivery.directory) == [".hidden", "set-1/late.png"]


def test_clearing_away_twice_is_the_same_as_once(delivery, names):
    clean_up(delivery, [*names, *OWN])
    clean_up(delivery, [*names, *OWN])
    assert not delivery.directory.exists()


@pytest.mark.parametrize("gone", range(4))
def test_clearing_away_goes_on_where_it_was_interrupted(delivery, names, gone):
    for name in names[:gone]:
        (delivery.directory / name).unlink()
    clean_up(delivery, [*names, *OWN])
    assert not delivery.directory.exists()


@pytest.mark.parametrize("count", range(8))
def test_an_interruption_at_any_removal_loses_no_delivery(
    delivery, names, crash, count
):
    with pytest.raises(Crash):
        crash.after(count, clean_up, delivery, [*names, *OWN])
    assert find_deliveries(delivery.directory.parent) == (delivery,)
    clean_up(delivery, [*names, *OWN])
    assert not delivery.directory.exists()


def test_an_interruption_at_the_very_end_leaves_an_empty_directory(
    delivery, names, crash
):
    with pytest.raises(Crash):
        crash.after(8, clean_up, delivery, [*names, *OWN])
    assert list(delivery.directory.iterdir()) == []
    clean_up(delivery, [*names, *OWN])
    assert not delivery.directory.exists()


def test_nothing_outside_is_removed_by_way_of_a_linked_directory(
    delivery, names, outside
):
    (delivery.directory / "out").symlink_to(outside)
    clean_up(delivery, [*names, "out/precious.png", "out/sub/more.png", *OWN])
    assert visible(outside) == ["precious.png", "sub/more.png"]
    assert not delivery.directory.exists()


def test_a_hidden_link_goes_but_not_what_it_leads_to(delivery, names, outside):
    (delivery.directory / ".out").symlink_to(outside)
    (delivery.directory / "set-1" / ".out").symlink_to(outside)
    clean_up(delivery, [*names, *OWN])
    assert visible(outside) == ["precious.png", "sub/more.png"]


def test_a_link_to_a_file_goes_but_not_the_file(delivery, names, outside):
    (delivery.directory / "link.png").symlink_to(outside / "precious.png")
    clean_up(delivery, [*names, "link.png", *OWN])
    assert (outside / "precious.png").exists()


@pytest.mark.parametrize(
    "name", ["../../outside/precious.png", "{outside}/precious.png"]
)
def test_a_name_that_leads_outside_removes_nothing_there(
    delivery, names, outside, name
):
    clean_up(delivery, [*names, name.format(outside=outside), *OWN])
    assert visible(outside) == ["precious.png", "sub/more.png"]


def test_an_unlisted_link_is_left_and_named(delivery, names, outside):
    (delivery.directory / "link").symlink_to(outside)
    with pytest.raises(
        DeliveryError, match=r"1 files are left that were not taken, e.g. 'link'"
    ):
        clean_up(delivery, [*names, *OWN])


def test_a_link_in_the_place_of_the_delivery_is_not_cleared(tmp_path, outside):
    (tmp_path / "sub").symlink_to(outside)
    posing = Delivery(name="sub", directory=tmp_path / "sub", is_inside=True)
    with pytest.raises(DeliveryError, match=r"sub: is a link to .*outside"):
        clean_up(posing, ["precious.png"])
    assert visible(outside) == ["precious.png", "sub/more.png"]


def test_a_receipt_directory_that_is_a_link_is_cleared(tmp_path, delivery, names):
    (tmp_path / "link").symlink_to(delivery.directory)
    linked = Delivery(name="link", directory=tmp_path / "link", is_inside=False)
    clean_up(linked, [*names, *OWN])
    assert list(delivery.directory.iterdir()) == []


def test_a_listed_file_that_became_a_directory_keeps_what_is_in_it(delivery, names):
    (delivery.directory / "a.png").unlink()
    lay(delivery.directory, "a.png/inside.png")
    with pytest.raises(
        DeliveryError, match=r"left that were not taken, e.g. 'a.png/inside"
    ):
        clean_up(delivery, [*names, *OWN])


def test_hidden_directories_without_end_lose_no_delivery(delivery, names, bottomless):
    with contextlib.suppress(DeliveryError):
        clean_up(delivery, [*names, *OWN])
    is_found = find_deliveries(delivery.directory.parent) == (delivery,)
    assert delivery.directory.exists() == is_found


def test_links_out_of_a_plain_directory_are_refused_all_by_name(tmp_path):
    directory, outside = tmp_path / "data", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.png").write_bytes(b"precious")
    (directory / "set-1").mkdir(parents=True)
    (directory / "set-1" / "a.png").write_bytes(b"a")
    (directory / "again.png").symlink_to("set-1/a.png")
    (directory / "same").symlink_to("set-1")
    require_own_files(directory)
    (directory / "file.png").symlink_to(outside / "precious.png")
    (directory / "set-1" / "all").symlink_to(outside)
    (directory / "circle").symlink_to("circle")
    os.mkfifo(directory / "pipe.png")
    with pytest.raises(DeliveryError) as caught:
        require_own_files(directory)
    assert set(caught.value.faults) == {
        "file.png",
        "set-1/all",
        "circle",
        "pipe.png",
    }
    assert "outside the delivery" in caught.value.faults["set-1/all"]
    assert "not a regular file" in caught.value.faults["pipe.png"]


# Files that are more, or somebody else's


def test_files_of_nothing_but_holes_are_refused_before_they_are_summed_up(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x")
    os.truncate(tmp_path / "a.bin", 10**13)
    with pytest.raises(DeliveryError, match=r"a\.bin: .* nearly all holes"):
        generate_manifest(tmp_path, 1)
    listed = ManifestFile(name="a.bin", size_bytes=10**13, checksum="0" * 40)
    manifest = Manifest(dataset_id=1, checksum_type=ChecksumType.SHA1, files=(listed,))
    with pytest.raises(DeliveryError, match=r"a\.bin: .* nearly all holes"):
        validate(tmp_path, manifest)


def test_a_hard_link_to_a_file_of_somebody_else_is_refused(tmp_path):
    assert os.geteuid() == 0, "only root can make files of others"
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    directory = tmp_path / "delivery"
    (directory / "set-1").mkdir(parents=True)
    os.link(secret, directory / "set-1" / "a.png")
    manifest = generate_manifest(directory, 1)
    assert validate(directory, manifest).files[0].is_valid  # it is the owner's own
    os.chown(directory / "set-1", 65534, 65534)
    with pytest.raises(DeliveryError, match="is a hard link to a file of another user"):
        validate(directory, manifest)
    os.chown(secret, 65534, 65534)
    assert validate(directory, manifest).files[0].is_valid


@pytest.mark.parametrize("name", OWN)
def test_no_link_is_followed_where_manifests_are_kept(tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    directory = tmp_path / "delivery"
    directory.mkdir()
    (directory / name).symlink_to(secret)
    with pytest.raises(DeliveryError, match="is a link to .*secret"):
        read_delivered(directory, name)
    (directory / name).unlink()
    os.mkfifo(directory / name)
    with pytest.raises(DeliveryError, match="is not a regular file"):
        read_delivered(directory, name)
