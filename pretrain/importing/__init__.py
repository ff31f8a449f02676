"""From what hospitals and data sets hand out to shards: DICOM folders with reports, tables, Hugging Face data sets."""

from pretrain.importing.conversation import Conversation
from pretrain.importing.dicom_folder import DicomFolder
from pretrain.importing.errors import ColumnError, DropLimitError, ImportSourceError
from pretrain.importing.huggingface import HuggingFaceSource
from pretrain.importing.pipeline import ImportOptions, ImportReport, import_source
from pretrain.importing.simulated import SimulatedFolder
from pretrain.importing.study import Drop, Question, Report, Source, Study
from pretrain.importing.tables import TableSource

__all__ = [
    "ColumnError",
    "Conversation",
    "DicomFolder",
    "Drop",
    "DropLimitError",
    "HuggingFaceSource",
    "ImportOptions",
    "ImportReport",
    "ImportSourceError",
    "Question",
    "Report",
    "SimulatedFolder",
    "Source",
    "Study",
    "TableSource",
    "import_source",
]
