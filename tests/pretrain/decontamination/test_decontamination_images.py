"""Pictures: the same one in another form is found, another patient's is not."""

import numpy as np
import pytest
from decontamination_samples import image_of, shown, text_item
from PIL import Image

from pretrain.decontamination.content import Content, Picture
from pretrain.decontamination.errors import DecontaminationError
from pretrain.decontamination.images import NearIndex, fingerprint, signature
from pretrain.decontamination.judge import judge
from pretrain.decontamination.manifest import build_manifest
from pretrain.decontamination.match import Matcher
from vlm.imaging import DamagedError, read_image


def resized(pixels, scale):
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def cropped(pixels, share):
    h, w = pixels.shape
    return pixels[int(h * share / 2) : h - int(h * share / 2), int(w * share / 2) : w - int(w * share / 2)]


CHANGES = {
    "jpeg": lambda p, jpeg: jpeg(p),
    "half": lambda p, jpeg: resized(p, 0.5),
    "crop": lambda p, jpeg: cropped(p, 0.05),
    "corner": lambda p, jpeg: p[int(0.05 * len(p)) :, int(0.05 * p.shape[1]) :],
    "brightness": lambda p, jpeg: (p * 0.7 + 60).clip(0, 255).astype(np.uint8),
    "gamma": lambda p, jpeg: (255 * (p / 255.0) ** 1.5).astype(np.uint8),
    "inverted": lambda p, jpeg: 255 - p,
    "letterbox": lambda p, jpeg: np.pad(p, ((20, 20), (40, 40))),
    "all": lambda p, jpeg: jpeg((resized(cropped(p, 0.05), 0.7) * 0.8 + 30).astype(np.uint8)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found_and_only_its_own(films, jpeg, change):
    index = NearIndex(np.array([signature(film) for film in films]))
    for n in range(0, len(films), 8):
        near = index.search(signature(CHANGES[change](films[n], jpeg)))
        assert [m.image for m in near] == [n], (change, near)


def test_a_crop_in_the_benchmark_is_found_from_the_whole_in_training(films):
    index = NearIndex(np.array([signature(cropped(film, 0.06)) for film in films]))
    assert [m.image for n in (0, 9, 23) for m in index.search(signature(films[n]))] == [0, 9, 23]


def verdict_of(items, documents):
    matcher = Matcher([build_manifest("bench", items)])
    return [(m.key, m.item, m.evidence) for m in judge(matcher, [("t", matcher.part(documents))]).matches]


def test_evidence_says_file_pixels_or_near(films, jpeg):
    items = [Content("b0", images=(shown(films[0], "sha-0"),)), Content("b0-again", images=(shown(films[0], "sha-1"),))]
    documents = [
        Content("same-file", images=(shown(films[0], "sha-0"),)),
        Content("same-pixels", images=(shown(films[0], "elsewhere"),)),
        Content("near", images=(shown(jpeg(films[0])),)),
        Content("other", images=(shown(films[1], "sha-9"),)),
    ]
    found = verdict_of(items, documents)
    assert ("same-file", "b0", "image file") in found
    assert ("same-pixels", "b0", "image pixels") in found and ("same-pixels", "b0-again", "image pixels") in found
    assert ("near", "b0", "image near") in found and ("near", "b0-again", "image near") in found
    assert not [f for f in found if f[0] == "other"]


def test_blank_pictures_match_nothing(films):
    blank = np.zeros((192, 176), np.uint8)
    assert fingerprint(image_of(blank)) is None
    items = [Content("b", images=(shown(blank, "same"), shown(films[0])))]
    matcher = Matcher([build_manifest("bench", items)])
    assert matcher.manifests[0].head["counts"]["flat_images"] == 1
    part = matcher.part([Content("t", images=(shown(blank, "same"),))])
    assert part.counts["flat images"] == 1 and judge(matcher, [("t", part)]).matches == []


def test_an_image_that_cannot_be_read_stops_the_answer(films):
    def broken():
        raise DamagedError("damaged", "the file is cut short")

    bad = Content("x", images=(Picture("", broken, "x.png"),))
    with pytest.raises(DecontaminationError, match=r"x\.png cannot be read"):
        build_manifest("bench", [bad])
    matcher = Matcher([build_manifest("bench", [Content("b", images=(shown(films[0]),))])])
    with pytest.raises(DecontaminationError, match=r"x\.png cannot be read"):
        matcher.part([bad])


def test_a_benchmark_of_text_never_decodes_a_training_image():
    def never():
        raise AssertionError("decoded")

    matcher = Matcher([build_manifest("bench", [text_item("b", "one two three four five six")])])
    assert not matcher.has_images
    matcher.part([Content("t", images=(Picture("", never, "t"),))])


def test_pixels_are_the_same_whatever_number_type_held_them(films):
    eight = image_of(films[0])
    wide = Image.fromarray(films[0].astype(np.uint16))
    import io

    buffer = io.BytesIO()
    wide.save(buffer, "PNG")
    sixteen = read_image(buffer.getvalue(), sandbox=False)
    one, two = fingerprint(eight), fingerprint(sixteen)
    assert one and two and one.pixels == two.pixels
