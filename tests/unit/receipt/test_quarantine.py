"""Files that are kept of deliveries: what is taken in since is removed, and nothing else."""

from ziggy_dask.receipt.quarantine import let_out, read_quarantine, write_note


def test_only_what_was_taken_is_removed(tmp_path):
    place = tmp_path / "7"
    names = ["night-1/a.fits", "night-2/b.fits"]
    for name in names:
        (place / name).parent.mkdir(parents=True)
        (place / name).touch()
    write_note(place, "d", dict.fromkeys(names, "no FITS file"), delivery=str(tmp_path))
    quarantine = read_quarantine(place)
    let_out(quarantine, names[:1])
    assert quarantine.kept == ("night-2/b.fits",)
    other = place / "night-2" / "c.fits"
    other.touch()
    let_out(quarantine, names)
    assert [one for one in place.rglob("*") if one.is_file()] == [other]
    other.unlink()
    let_out(quarantine, names)
    assert not place.exists()
