"""What a source of training data can be; apart from the readers, so that the command starts without them."""

from enum import StrEnum


class Format(StrEnum):
    auto = "auto"
    simulated = "simulated"
    dicom = "dicom"
    table = "table"
    huggingface = "huggingface"
    pubmed = "pubmed"
    pages = "pages"
