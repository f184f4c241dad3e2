"""Draw overlay.png, summary.png and heat-map.png anew: what the node returns of simulated studies, with every model.

    python docs/images/draw.py

The second study gets a scanner's report (TID 5000) of a simulated last menstrual period, for the growth charts; the
heat map is of an examination with an encephalocele.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ComprehensiveSRStorage, ExplicitVRLittleEndian

from dicom_node.bootstrap import installed_tasks, load_examiner
from dicom_node.config import Config
from dicom_node.domain.concept import Concept
from dicom_node.pipeline.offline import analyse_files
from dicom_node.results import codes
from dicom_node.simulator.anomalies.examination import examination, generators, take
from dicom_node.simulator.scanner import FIRST_LIGHT, uid_for, write_instance
from dicom_node.simulator.studies import SimulatedStudy, demo_studies, wrap_images

HERE = Path(__file__).parent
SEED, SEED_OF_ANOMALIES = 7, 1
AGE = timedelta(weeks=20, days=5)  #: near to what the simulated fetus measures
PATIENT = 8  #: of the simulated examinations: one with an encephalocele
#: Which capture of which study: the page is the first of every study, the overlays follow, then the heat maps.
PICTURES = {"overlay.png": (0, 3), "summary.png": (1, 0), "heat-map.png": (2, -1)}


def main() -> None:
    """Simulate, analyse and keep three pictures."""
    config = Config.model_validate({"analysis": {"tasks": installed_tasks(), "device": "cpu"}})
    examiner = load_examiner(config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, second, _ = demo_studies(folder / "simulated", SEED)
        third = study_with_anomaly(folder / "anomaly")
        report = report_of_dates(second, folder / "report.dcm")
        files = [*first.files, *second.files, report, *third.files]
        answers = analyse_files(files, folder / "out", examiner, config, FIRST_LIGHT)
        by_study = {answer.study_instance_uid: answer for answer in answers}
        for picture, (study, number) in PICTURES.items():
            written = by_study[(first, second, third)[study].study_instance_uid].written
            previews = [path for kind, path in written if kind == "preview"]
            shutil.copyfile(previews[number], HERE / picture)


def study_with_anomaly(folder: Path) -> SimulatedStudy:
    """Write the examination of a simulated patient, every image of it."""
    (folder / "images").mkdir(parents=True)
    for number, shot in enumerate(examination(SEED_OF_ANOMALIES, PATIENT)):
        picture = take(shot, *generators(SEED_OF_ANOMALIES, 100 * PATIENT + number))
        Image.fromarray(picture.pixels).save(folder / "images" / f"{number}.png")
    (study,) = wrap_images(folder / "images", folder / "study", one_study=True)
    return study


def report_of_dates(study: SimulatedStudy, path: Path) -> Path:
    """Write what a scanner reports of the dates of a pregnancy, in the study of its images."""
    ds = dcmread(study.files[0], stop_before_pixels=True)
    for keyword in ("Rows", "Columns", "ImageType", "SequenceOfUltrasoundRegions"):
        del ds[keyword]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComprehensiveSRStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(uid_for(study.name, "report"))
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.Modality = uid_for(study.name, "reports"), 9, "SR"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [codes.code_item(codes.OBSTETRIC_REPORT)]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "5000"
    ds.ContentTemplateSequence = [template]
    summary, period = _item("CONTAINER", codes.SUMMARY), _item("DATE", codes.LAST_MENSTRUAL_PERIOD)
    period.Date = (FIRST_LIGHT - AGE).strftime("%Y%m%d")
    summary.ContinuityOfContent, summary.ContentSequence = "SEPARATE", [period]
    ds.ContentSequence = [summary]
    return write_instance(ds, path)


def _item(value_type: str, name: Concept) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", value_type
    item.ConceptNameCodeSequence = [codes.code_item(name)]
    return item


if __name__ == "__main__":
    main()
