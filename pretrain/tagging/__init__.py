"""What a sample is about, as entities: from its text, from structured labels, from DICOM headers. Never from pixels."""
