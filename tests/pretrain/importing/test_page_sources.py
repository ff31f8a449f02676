"""HTML, PDF, Markdown and text files as studies, and encodings; every file is written here."""

# ruff: noqa: E501  (texts of the cases are not folded)

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.importing import Drop, ImportOptions, PageFolder, import_source
from pretrain.importing.page_child import PageChild
from pretrain.importing.page_reader import pdf_paragraphs, without_running_lines
from pretrain.importing.text_encoding import TextEncodingError, decode_text, undo_mojibake

PAGE = """<html><head><meta charset="{charset}"><title>Pleural effusion</title>
<link rel="license" href="https://creativecommons.org/licenses/by/4.0/"></head><body>
<nav><a href=/>Home</a><a href=/l>Login</a><a href=/c>Contact us</a></nav><article><h1>Pleural effusion</h1>
<p>A pleural effusion is an accumulation of fluid in the pleural space that surrounds each lung – seen by many.</p>
<p>It may be seen on a film, by ultrasound or by computed tomography, each of which shows it from some size on.</p>
<p>Leucocytes above 10<sup>9</sup>/L point to an infection of the space, and a chest tube may then be needed soon.</p>
<figure><img src="img/a.png" alt="x"><figcaption>Upright film of a left effusion.</figcaption></figure>
<img src="logo.png" alt="logo"><img src="../outside.png" alt="A picture of another folder">
<img src="https://example.org/a.png" alt="A picture of the web"></article>
<footer>Copyright 2020. All rights reserved. Cookie policy</footer></body></html>"""
LINES = (
    "The heart is enlarged and the aorta is tortuous and calcified today.",
    "There is a small left effusion with adjacent compressive atelectasis.",
    "No pneumothorax is seen on either side of the chest at this time.",
)


def pdf(pages: list[list[str]]) -> bytes:
    """A PDF of text lines in Helvetica, written out object by object."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for n, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj 0 -14 Td" for line in lines)
        stream = f"BT /F1 11 Tf 50 780 Td {shown} ET"
        resources = "<< /Font << /F1 3 0 R >> >>"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources {resources} /Contents {5 + 2 * n} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode()
    return out + f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF".encode()


def studies(path, **options) -> list[Any]:
    return list(PageFolder(path, **options).studies("train"))


def test_html_gives_main_text_and_figures_of_its_folder(tmp_path, picture):
    root = tmp_path / "in"
    picture(root / "img/a.png", 1)
    picture(root / "logo.png", 2)
    picture(tmp_path / "outside.png", 3)
    (root / "a.html").write_text(PAGE.format(charset="utf-8"), encoding="utf-8")
    text, figure = studies(root, name="web")
    said = text.messages[0]["content"]
    assert said.startswith("Pleural effusion\nA pleural effusion is") and "10⁹/L" in said
    assert "Login" not in said and "rights reserved" not in said
    assert figure.images == ((root / "img/a.png").resolve(),)
    assert figure.messages[1]["content"] == "Upright film of a left effusion."
    assert text.licence == "CC-BY-4.0" and "a.html" not in text.key
    (report,) = import_source(PageFolder(root), tmp_path / "out", ImportOptions(workers=0))
    assert report.samples == 2 and not report.dropped


@pytest.mark.parametrize(
    ("charset", "written", "how"),
    [
        ("utf-8", "utf-8", None),
        ("windows-1252", "cp1252", "cp1252"),
        ("utf-8", "cp1252", "cp1252"),
        ("x", "utf-16", "utf-16"),
    ],
)
def test_html_in_any_stated_encoding_reads_the_same(tmp_path, charset, written, how):
    (tmp_path / "a.html").write_bytes(PAGE.format(charset=charset).encode(written))
    (study,) = studies(tmp_path)
    assert "each lung – seen" in study.messages[0]["content"] and study.extra.get("encoding") == how


def test_markdown_and_text(tmp_path, picture):
    picture(tmp_path / "ct.png", 1)
    markdown = "---\ntitle: x\n---\n# Liver\n\nA [cyst](http://x/y_(z)) is round.\n<!-- hidden -->\n\n![CT of the liver, portal phase](ct.png)\n"
    (tmp_path / "a.md").write_text(markdown)
    (tmp_path / "b.txt").write_bytes("左侧胸腔积液，右肺未见异常。心影不大。".encode("gb18030"))
    text, figure, chinese = studies(tmp_path)
    assert text.messages[0]["content"] == "# Liver\n\nA cyst is round."
    assert figure.messages[1]["content"] == "CT of the liver, portal phase"
    assert chinese.messages[0]["content"] == "左侧胸腔积液，右肺未见异常。心影不大。"
    assert chinese.extra["encoding"] == "gb18030"


def test_pdf_text_without_heads_and_feet(tmp_path):
    pages = [["Journal of Films", f"Case {n}.", *LINES, f"Finding {n} is new.", f"Page {n} of 5"] for n in range(1, 6)]
    (tmp_path / "a.pdf").write_bytes(pdf(pages))
    (study,) = studies(tmp_path)
    said = study.messages[0]["content"]
    assert "Journal of Films" not in said and "Page 3" not in said and "Finding 3 is new." in said
    assert said.count("No pneumothorax") == 5 and study.extra["pdf_pages"] == 5


def test_pdfs_that_give_no_text_say_why(tmp_path):
    import io

    import pypdf

    good = pdf([list(LINES)])
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(good))
    writer.encrypt("secret")
    writer.write(tmp_path / "encrypted.pdf")
    (tmp_path / "damaged.pdf").write_bytes(b"%PDF-1.4\n" + bytes(range(256)) * 20)
    (tmp_path / "empty.pdf").write_bytes(b"")
    (tmp_path / "scan.pdf").write_bytes(pdf([[], []]))
    (tmp_path / "good.pdf").write_bytes(good)
    found = {s.where.split(",")[0]: getattr(s, "reason", "read") for s in studies(tmp_path)}
    assert found == {
        "encrypted.pdf": "PDF is encrypted",
        "damaged.pdf": "PDF is damaged",
        "empty.pdf": "PDF is damaged",
        "scan.pdf": "PDF without a text layer (a scan?)",
        "good.pdf": "read",
    }


def test_a_pdf_that_takes_for_ever_is_killed_and_the_next_is_read(tmp_path):
    slow = pdf([list(LINES)]).replace(b"BT /F1", b"BT " + b"1 0 0 1 0 0 Tm (x) Tj " * 400_000 + b" /F1")
    (tmp_path / "a.pdf").write_bytes(slow)
    (tmp_path / "b.pdf").write_bytes(pdf([list(LINES)]))
    start = time.monotonic()
    first, second = studies(tmp_path, timeout_s=1.5)
    assert first == Drop("a.pdf", "takes longer than 1.5 s") and "tortuous" in second.messages[0]["content"]
    assert time.monotonic() - start < 20


def test_a_child_that_dies_or_grows_costs_its_file(tmp_path):
    import os
    import signal

    (tmp_path / "a.txt").write_text("The lungs are clear.")
    with PageChild() as child:
        assert child.read(tmp_path / "a.txt")["paragraphs"] == ["The lungs are clear."]
        assert child._process is not None
        os.kill(child._process.pid, signal.SIGKILL)
        after = [child.read(tmp_path / "a.txt") for _ in range(2)]  # the first may meet the pipe of the dead one
        assert after[1]["paragraphs"] == ["The lungs are clear."]
    (tmp_path / "big.txt").write_text("word " * 40_000_000)
    with PageChild(memory=700 << 20) as child:
        assert child.read(tmp_path / "big.txt") == {"unreadable": "needs too much memory"}
        assert child.read(tmp_path / "a.txt")["paragraphs"]


def test_heads_and_lines_of_pdfs():
    pages = [f"Head\nbody {n}\nCentre\nfoot {n}" for n in range(4)]
    assert without_running_lines("\n".join(pages).split("\n"), pages) == [f"body {n}" for n in range(4)]
    assert without_running_lines(["Head", "x"], pages[:3]) == ["Head", "x"]  # too few pages to tell
    joined = pdf_paragraphs(
        ["A long line that goes on to the end of", "its width and ends pneumo-", "thorax here.", "Next"]
    )
    assert joined == ["A long line that goes on to the end of its width and ends pneumo-\nthorax here.", "Next"]


@pytest.mark.parametrize(
    ("seen", "meant"),
    [
        ("â‰¥ 5 Âµg, RenÃ©, 10Â°", "≥ 5 µg, René, 10°"),
        ("å·¦ä¾§èƒ¸è…”ç§¯æ¶²", "左侧胸腔积液"),
        ("CAFÉ»", "CAFÉ»"),
        ("NÃO é", "NÃO é"),
        ("5 µm ≥ 3 °C ±2", "5 µm ≥ 3 °C ±2"),
    ],
)
def test_mojibake_is_turned_back_and_nothing_else(seen, meant):
    assert undo_mojibake(seen) == meant


WORDS = "lung Größe naïve café Ödem 5 µm ±2 37.5°C 10² ≥3 ≤4 α-Fetoprotein ½ “quoted” patient’s – … 左侧 胸腔积液，右肺 结节。 señal ß² für"


def misread(text: str) -> str | None:
    """UTF-8 read as Windows-1252; None where that has no letter for a byte."""
    try:
        return text.encode("utf-8").decode("cp1252")
    except UnicodeDecodeError:
        return None


@given(st.lists(st.sampled_from(WORDS.split(" ")), max_size=20))
def test_a_good_text_stays_and_one_read_as_cp1252_comes_back(words):
    assert undo_mojibake(" ".join(words)) == " ".join(words)
    words = [word for word in words if misread(word)]
    assert undo_mojibake(misread(" ".join(words)) or "") == " ".join(words)


@pytest.mark.parametrize("encoding", ["cp1251", "shift_jis", "big5", "euc_kr", "iso8859_7"])
def test_other_encodings_are_refused_not_guessed(encoding):
    text = {
        "cp1251": "Сердце не увеличено, лёгкие без особенностей",
        "shift_jis": "肺野に異常はありません。心拡大を認めます",
        "big5": "左側胸腔積液，右肺未見異常，建議複查",
        "euc_kr": "폐에는 이상 소견이 없습니다 심장은 정상",
        "iso8859_7": "Οι πνεύμονες είναι καθαροί χωρίς ευρήματα",
    }[encoding]
    with pytest.raises(TextEncodingError, match="encoding is not known"):
        decode_text(text.encode(encoding))


def test_lost_characters_and_binaries_are_refused():
    with pytest.raises(TextEncodingError, match="characters were lost"):
        decode_text("Dose \ufffd 5 mg".encode())
    with pytest.raises(TextEncodingError, match="binary"):
        decode_text(b"abc\0def")


@given(st.binary(max_size=300))
def test_any_bytes_give_text_or_a_reason(data):
    try:
        assert "\ufffd" not in decode_text(data).text
    except TextEncodingError as error:
        assert str(error)
