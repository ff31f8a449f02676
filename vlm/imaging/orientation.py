"""Names of directions in DICOM's patient system: x grows to the patient's left, y to the back, z to the head (LPS)."""


def normal_of(vectors: tuple[float, ...]) -> tuple[float, float, float]:
    """Direction out of the plane: growing column index cross growing row index.

    >>> normal_of((1, 0, 0, 0, 1, 0))
    (0, 0, 1)
    """
    r, c = vectors[:3], vectors[3:]
    return r[1] * c[2] - r[2] * c[1], r[2] * c[0] - r[0] * c[2], r[0] * c[1] - r[1] * c[0]


def name_orientation(vectors: tuple[float, ...]) -> str:
    """Plane, and the patient's side that the right and bottom edges look at.

    >>> name_orientation((1, 0, 0, 0, 1, 0))
    'axial (right edge: L, bottom edge: P)'
    """
    normal = normal_of(vectors)
    axis = max(range(3), key=lambda i: abs(normal[i]))
    plane = ("sagittal", "coronal", "axial")[axis] if abs(normal[axis]) > 0.9 else "oblique"
    return f"{plane} (right edge: {letters(vectors[:3])}, bottom edge: {letters(vectors[3:])})"


def letters(vector: tuple[float, ...]) -> str:
    """L, R, P, A, H, F, the strongest first.

    >>> letters((0.0, -0.9, 0.4))
    'AH'
    """
    order = sorted(range(3), key=lambda i: -abs(vector[i]))
    return "".join(("LPH", "RAF")[vector[i] < 0][i] for i in order if abs(vector[i]) > 0.2)
