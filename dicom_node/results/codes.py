"""Every code that shapes a report, once. The codes of findings come with the findings."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from pydicom import Dataset
from pydicom.sr.codedict import codes as public

from dicom_node.domain.concept import Concept

#: Our own scheme, for what no published code says. Declared in every object that uses it (PS3.3 C.12.1.1.7).
PRIVATE_SCHEME = "99FETALAI"
PRIVATE_SCHEME_UID = "2.25.271083114420916463370290341206018391287"

# The document (PS3.16 TID 1500, 1204, 1001, 1004, 1006, 1008)
IMAGING_MEASUREMENT_REPORT = Concept("126000", "DCM", "Imaging Measurement Report")
LANGUAGE = Concept("121049", "DCM", "Language of Content Item and Descendants")
OBSERVER_TYPE = Concept("121005", "DCM", "Observer Type")
DEVICE = Concept("121007", "DCM", "Device")
DEVICE_OBSERVER_UID = Concept("121012", "DCM", "Device Observer UID")
DEVICE_OBSERVER_DESCRIPTION = (
    Concept("121013", "DCM", "Device Observer Name"),
    Concept("121014", "DCM", "Device Observer Manufacturer"),
    Concept("121015", "DCM", "Device Observer Model Name"),
    Concept("121016", "DCM", "Device Observer Serial Number"),
)
SUBJECT_CLASS = Concept("121024", "DCM", "Subject Class")
FETUS = Concept("121026", "DCM", "Fetus")
SUBJECT_ID = Concept("121030", "DCM", "Subject ID")
FINDING_CATEGORY = Concept("276214006", "SCT", "Finding category")  # as highdicom writes it
PROCEDURE_REPORTED = Concept("121058", "DCM", "Procedure reported")
IMAGING_PROCEDURE = Concept("363679005", "SCT", "Imaging procedure")
OBSTETRIC_ULTRASOUND = Concept("268445003", "SCT", "Obstetric US scan")
IMAGING_MEASUREMENTS = Concept("126010", "DCM", "Imaging Measurements")
MEASUREMENT_GROUP = Concept("125007", "DCM", "Measurement Group")

# A group (TID 1410, 1501, 4019)
TRACKING_IDENTIFIER = Concept("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Concept("112040", "DCM", "Tracking Unique Identifier")
ALGORITHM_FAMILY = Concept("111000", "DCM", "Algorithm Family")
ALGORITHM_NAME = Concept("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION = Concept("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS = Concept("111002", "DCM", "Algorithm Parameters")
ARTIFICIAL_INTELLIGENCE = Concept("123110", "DCM", "Artificial Intelligence")
FINDING = Concept("121071", "DCM", "Finding")
ANATOMICAL_STRUCTURE = Concept("91723000", "SCT", "Anatomical structure")
FINDING_SITE = Concept("363698007", "SCT", "Finding Site")
BOUNDED_BY = Concept("75958009", "SCT", "Bounded by")
CERTAINTY = Concept("111012", "DCM", "Certainty of Finding")
PROBABILITY = Concept("122157", "DCM", "Probability")
COMMENT = Concept("121106", "DCM", "Comment")
#: How good a view the picture is, in per cent (PS3.16 annex D): the probability that its plane is a standard one.
IMAGE_QUALITY_RATING = Concept("111029", "DCM", "Image Quality Rating")
STANDARD_PLANE = Concept("STANDARD_PLANE", PRIVATE_SCHEME, "Standard plane")
IMAGE_VIEW = Concept("111031", "DCM", "Image View")
NO_ABNORMALITY = Concept("282332003", "SCT", "No abnormality detected - examination result")
VISUAL_EXPLANATION = Concept("130401", "DCM", "Visual explanation")

# How the run went (CID 6047): a group of every report
RUN_SUMMARY = Concept("111017", "DCM", "CAD Processing and Findings Summary")
ALL_SUCCEEDED_WITHOUT_FINDINGS = Concept("111241", "DCM", "All algorithms succeeded; without findings")
ALL_SUCCEEDED_WITH_FINDINGS = Concept("111242", "DCM", "All algorithms succeeded; with findings")
SOME_FAILED_WITHOUT_FINDINGS = Concept("111243", "DCM", "Not all algorithms succeeded; without findings")
SOME_FAILED_WITH_FINDINGS = Concept("111244", "DCM", "Not all algorithms succeeded; with findings")
NONE_SUCCEEDED = Concept("111245", "DCM", "No algorithms succeeded; without findings")
NOT_ASSESSABLE = Concept("NOT_ASSESSABLE", PRIVATE_SCHEME, "Not assessable")
NOT_ANALYSED = Concept("NOT_ANALYSED", PRIVATE_SCHEME, "Not analysed")

# The obstetric report: ours and a scanner's (PS3.16 TID 5000 to 5030, 300, 1008)
OBSTETRIC_REPORT = Concept("125000", "DCM", "OB-GYN Ultrasound Procedure Report")
SOURCE = Concept("260753009", "SCT", "Source")
IMAGE_LIBRARY = Concept("111028", "DCM", "Image Library")
SUMMARY = Concept("121111", "DCM", "Summary")
FETUS_SUMMARY = Concept("125008", "DCM", "Fetus Summary")
RATIOS = Concept("125001", "DCM", "Fetal Biometry Ratios")
BIOMETRY = Concept("125002", "DCM", "Fetal Biometry")
ANATOMY_SURVEY = Concept("131370", "DCM", "Fetal Anatomy Survey")
EARLY_GESTATION = Concept("125009", "DCM", "Early Gestation")
BIOMETRY_GROUP = Concept("125005", "DCM", "Biometry Group")
EQUATION = Concept("121420", "DCM", "Equation")
EQUATION_CITATION = Concept("121421", "DCM", "Equation Citation")
PERCENTILE_RANK = Concept("125012", "DCM", "Growth Percentile Rank")
DERIVATION = Concept("121401", "DCM", "Derivation")
MEAN = Concept("373098007", "SCT", "Mean")
SELECTION_STATUS = Concept("121404", "DCM", "Selection Status")
MEAN_CHOSEN = Concept("121412", "DCM", "Mean value chosen")
NORMALITY = Concept("121402", "DCM", "Normality")
NORMAL = Concept("17621005", "SCT", "Normal")
ABNORMAL = Concept("263654008", "SCT", "Abnormal")
NORMALITY_UNDETERMINED = Concept("371934000", "SCT", "Normality Undetermined")
LAST_MENSTRUAL_PERIOD = Concept("8665-2", "LN", "LMP")
EXPECTED_DELIVERY = Concept("11778-8", "LN", "EDD")
EXPECTED_DELIVERY_BY_LMP = Concept("11779-6", "LN", "EDD from LMP")
NUMBER_OF_FETUSES = Concept("11878-6", "LN", "Number of Fetuses by US")
FETUS_ID = Concept("11951-1", "LN", "Fetus ID")
FETUS_NUMBER = Concept("121037", "DCM", "Fetus number")

# Units, all in the UCUM scheme
NO_UNITS = Concept("1", "UCUM", "no units")
PERCENT = Concept("%", "UCUM", "Percent")
UNITS = {
    "mm": Concept("mm", "UCUM", "mm"),
    "{pixels}": Concept("{pixels}", "UCUM", "Pixels"),
    "d": Concept("d", "UCUM", "days"),
    "g": Concept("g", "UCUM", "g"),
    "1": NO_UNITS,
    "{percentile}": PERCENT,  # scanners write percentile ranks as per cent, and simple readers know no annotations
}

#: Classes that speak of the mother, not of the fetus: they go into a report of their own (TID 1006).
VIEW_OF_CERVIX = Concept("CERVIX", PRIVATE_SCHEME, "View of maternal cervix")
MATERNAL = frozenset({VIEW_OF_CERVIX})

# Key object (CID 7010)
OF_INTEREST = Concept("113000", "DCM", "Of Interest")

# Secondary capture (CID 7202)
SOURCE_IMAGE = Concept("121322", "DCM", "Source image for image processing operation")


@functools.cache
def meanings() -> Mapping[tuple[str, str], frozenset[str]]:
    """Give what codes mean, in lower case, by scheme and value: those above, and all that pydicom knows.

    Some have two meanings: editions of the standard reword them, and of SNOMED's terms pydicom has the full name too.
    A code that nobody here knows, as some of a model's own, may mean what it says.
    """
    known: dict[tuple[str, str], set[str]] = {}
    published = [code for scheme in ("DCM", "LN", "SCT") for code in getattr(public, scheme).concepts.values()]
    ours = [it for it in [*globals().values(), *UNITS.values()] if isinstance(it, Concept)]
    for scheme, value, meaning in [
        *((code.scheme_designator, code.value, code.meaning) for code in published),
        *((concept.scheme, concept.value, concept.meaning) for concept in ours),
    ]:
        known.setdefault((scheme, value), set()).add(meaning.casefold())
    return {code: frozenset(words) for code, words in known.items()}


def code_item(concept: Concept) -> Dataset:
    """Give a concept as an item of a code sequence (PS3.3 Table 8.8-1)."""
    item = Dataset()
    item.CodeValue = concept.value
    item.CodingSchemeDesignator = concept.scheme
    item.CodeMeaning = concept.meaning
    return item


def private_scheme_item() -> Dataset:
    """Declare the private scheme (PS3.3 C.12.1.1.7)."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeUID = PRIVATE_SCHEME_UID
    item.CodingSchemeName = "dicom-node fetal ultrasound codes"
    item.CodingSchemeVersion = "1"
    item.CodingSchemeResponsibleOrganization = "dicom-node project"
    return item
