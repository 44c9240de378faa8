"""Reports of Open-I, from small files of our own in its layout, and counts of the course's package."""

from __future__ import annotations

import tarfile

import pytest

from course_utils.datasets import openi

XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="{patient}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText>
<AbstractText Label="INDICATION"> {indication} </AbstractText>
<AbstractText Label="FINDINGS"/>
<AbstractText Label="IMPRESSION">An impression of our own.</AbstractText>
</Abstract></Article></MedlineCitation>
<MeSH><major>Pleural Effusion/left/small</major><major>Cardiomegaly</major></MeSH>
<parentImage id="{patient}_IM-1-1"><panel><region><globalImageFeatures>
<CEDD>f2p0k1</CEDD><FCTH>f4p0k2</FCTH></globalImageFeatures></region></panel></parentImage>
<parentImage id="{patient}_IM-1-2"/></eCitation>"""


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "ecgen-radiology"
    inside.mkdir()
    for number in (10, 9):
        (inside / f"{number}.xml").write_text(
            XML.format(patient=f"CXR{number}", indication="a cough"), encoding="utf-8"
        )
    return tmp_path


def test_a_report_is_read(folder):
    one, other = openi.reports(folder)
    assert (one.patient, other.patient) == ("CXR9", "CXR10")  # by number, not by letter
    assert (one.indication, one.findings, one.impression) == ("a cough", "", "An impression of our own.")
    assert one.labels == ("pleural effusion/left/small", "cardiomegaly")
    assert one.pictures == ("CXR9_IM-1-1", "CXR9_IM-1-2")
    assert one.visual_words == (("CEDD f2p0k1", "FCTH f4p0k2"), ())
    assert one.has("effusion") and not one.has("edema")


def test_an_archive_gives_the_same(folder):
    archive = folder / "NLMCXR_reports.tgz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder / "ecgen-radiology", "ecgen-radiology")
    assert openi.reports(archive) == openi.reports(folder)


def test_pictures_are_found_on_the_disk(folder):
    one = openi.reports(folder)[0]
    for name in ("CXR9_IM-1-1.png", "CXR9_IM-1-2.jpg"):
        (folder / name).touch()
    assert [path.name for path in one.picture_files(folder)] == ["CXR9_IM-1-1.png", "CXR9_IM-1-2.jpg"]
    (folder / "CXR9_IM-1-2.jpg").unlink()
    with pytest.raises(openi.MedicalDataError, match=r"has no CXR9_IM-1-2\.png or \.jpg"):
        one.picture_files(folder)


@pytest.mark.parametrize("text", ["<eCitation/>", "no XML at all"])
def test_another_file_is_refused_by_name(folder, text):
    (folder / "ecgen-radiology" / "11.xml").write_text(text, encoding="utf-8")
    with pytest.raises(openi.MedicalDataError, match=r"11\.xml is not a report of Open-I"):
        openi.reports(folder)


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(openi.MedicalDataError, match="holds no XML file"):
        openi.reports(tmp_path)
    (tmp_path / "some.tgz").write_text("not an archive", encoding="utf-8")
    with pytest.raises(openi.MedicalDataError, match="neither a folder nor a tar archive"):
        openi.reports(tmp_path / "some.tgz")
    with pytest.raises(openi.MedicalDataError, match="neither a folder nor a tar archive"):
        openi.reports(tmp_path / "missing.tgz")


def test_the_package_holds_3955_patients():
    reports = openi.reports()
    assert len(reports) == len({one.patient for one in reports}) == 3955
    assert sum(len(one.pictures) for one in reports) == 7470
    assert all(one.labels for one in reports)
    assert sum(one.has("effusion") for one in reports) == 165
