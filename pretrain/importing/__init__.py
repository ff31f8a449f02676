"""From what hospitals, data sets and publishers hand out to shards: DICOM with reports, tables, articles, pages."""

from pretrain.importing.conversation import Conversation
from pretrain.importing.dicom_folder import DicomFolder
from pretrain.importing.documents import Passages, guess_documents
from pretrain.importing.errors import ColumnError, DropLimitError, ImportSourceError
from pretrain.importing.huggingface import HuggingFaceSource
from pretrain.importing.pages import PageFolder
from pretrain.importing.pipeline import ImportOptions, ImportReport, import_source
from pretrain.importing.pubmed import PubMedSource
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
    "PageFolder",
    "Passages",
    "PubMedSource",
    "Question",
    "Report",
    "SimulatedFolder",
    "Source",
    "Study",
    "TableSource",
    "guess_documents",
    "import_source",
]
