"""De-identification: DICOM PS3.15 Annex E with options, burned-in text, reports, tables; every file is proven."""
