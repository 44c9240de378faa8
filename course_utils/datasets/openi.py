"""Open-I: chest X-rays of Indiana University with their radiologists' reports (Demner-Fushman and others, 2016).

3,955 reports, each of another patient, with expert MeSH labels, and visual words (codes of global image features) for
each of 7,470 pictures; the pictures themselves are not in the course's package. The texts are CC BY-NC-ND 4.0: store no
text and no weights trained on them.
"""

from __future__ import annotations

import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_utils import assets


class MedicalDataError(ValueError):
    """A file or folder is not in the layout that its reader expects."""


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        patient: Its identifier, such as "CXR1".
        indication, findings, impression: Sections of the report; "" if missing.
        labels: Major MeSH headings by experts, lower case, such as "cardiomegaly/mild"; ("normal",) for a normal chest.
        pictures: Names of its pictures, without a suffix.
        visual_words: For each picture, codes such as "CEDD f2p0k1352".
    """

    patient: str
    indication: str
    findings: str
    impression: str
    labels: tuple[str, ...]
    pictures: tuple[str, ...]
    visual_words: tuple[tuple[str, ...], ...]

    def has(self, finding: str) -> bool:
        """Whether a label names the finding."""
        return any(finding in label for label in self.labels)

    def picture_files(self, folder: str | Path) -> list[Path]:
        """Files of its pictures in a folder of PNG or JPEG files, as Open-I publishes them.

        Raises:
            MedicalDataError: If one is missing.
        """
        found = []
        for name in self.pictures:
            files = [path for suffix in (".png", ".jpg") if (path := Path(folder) / f"{name}{suffix}").exists()]
            if not files:
                raise MedicalDataError(f"{folder} has no {name}.png or .jpg. Unpack Open-I's NLMCXR_png.tgz there.")
            found.append(files[0])
        return found


def reports(source: str | Path | None = None) -> list[Report]:
    """Read all reports, in the order of their patients' numbers.

    Args:
        source: Open-I's NLMCXR_reports.tgz, or a folder of its XML files; by default the course's package.

    Raises:
        course_utils.assets.AssetError: If the package is not in the cache and cannot be fetched.
        MedicalDataError: If there is no report, or one is not in Open-I's layout.
    """
    source = Path(source) if source else assets.path("openi") / "torchxrayvision" / "data" / "NLMCXR_reports.tgz"
    found = [_report(name, text) for name, text in _xml_files(source)]
    if not found:
        raise MedicalDataError(f"{source} holds no XML file. Give NLMCXR_reports.tgz, or the folder made from it.")
    return sorted(found, key=lambda one: (len(one.patient), one.patient))


def _xml_files(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        yield from ((path.name, path.read_bytes()) for path in source.rglob("*.xml"))
        return
    try:
        with tarfile.open(source) as archive:
            yield from ((one.name, archive.extractfile(one).read()) for one in archive if one.name.endswith(".xml"))
    except (OSError, tarfile.TarError) as error:
        raise MedicalDataError(f"{source} is neither a folder nor a tar archive that can be read: {error}.") from error


def _report(name: str, text: bytes) -> Report:
    try:
        root = ElementTree.fromstring(text)
        patient = root.find("uId").get("id")
    except (ElementTree.ParseError, AttributeError) as error:
        raise MedicalDataError(f"{name} is not a report of Open-I: it needs XML with a <uId id=…>.") from error
    sections = {part.get("Label"): (part.text or "").strip() for part in root.iter("AbstractText")}
    pictures = list(root.iter("parentImage"))
    codes = [[code for part in one.iter("globalImageFeatures") for code in part] for one in pictures]
    labels = tuple((label.text or "").strip().lower() for label in root.iterfind("MeSH/major"))
    words = tuple(tuple(f"{code.tag} {code.text}" for code in some) for some in codes)
    kept = (sections.get(label, "") for label in ("INDICATION", "FINDINGS", "IMPRESSION"))
    return Report(patient, *kept, labels, tuple(one.get("id") for one in pictures), words)
