"""Names, numbers, dates and ages written in other ways than the header has them; and words that only look like them."""

# ruff: noqa: E501  (planted sentences are not folded)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.deidentify.errors import LeakError, UnreadableError
from pretrain.deidentify.identity import fold, initials_of, name_pairs, name_parts, pair, plain_text
from pretrain.deidentify.keys import Keys
from pretrain.deidentify.known import Known, Patient
from pretrain.deidentify.options import Options
from pretrain.deidentify.reports import clean_report, decode_text
from pretrain.deidentify.text import TextCleaner
from pretrain.deidentify.vocabulary import keep_clinical

KEYS = Keys(bytes(range(32)))


def cleaner_for(*names: str, staff=(), places=(), others=()) -> tuple[Patient, TextCleaner]:
    patient = Patient("0081234", set(names), {"0081234", "X7788-99"})
    known = Known()
    known.add_patient(patient)
    known.add_staff(staff)
    known.places |= set(places)
    for n, name in enumerate(others):
        known.add_patient(Patient(f"other{n}", {name}, {f"A{n}8877"}))
    return patient, TextCleaner(KEYS, Options(), known)


WRITTEN = [
    ("Müller^Jürgen", "Herr MUELLER JUERGEN, Mueller, Muller; JÜRGEN", ["eller", "uller", "rgen"]),
    ("MUELLER^JUERGEN", "Herr Müller Jürgen", ["Müller", "Jürgen"]),
    ("Sørensen^Bjørn", "Sorensen Bjorn; Soerensen; SØRENSEN", ["rensen", "bj"]),
    ("Łukaszewicz^Paweł", "LUKASZEWICZ Pawel", ["lukasz", "pawel"]),
    ("Yılmaz^Ayşe", "YILMAZ AYSE; Yilmaz", ["ilmaz", "ayse"]),
    ("O'Connor^Sinéad", "O’Connor, OConnor, O Connor, O`Connor, O'CONNOR; Sinead", ["connor", "inead"]),
    ("Smith-Jones^Mary-Ann", "Smith Jones, Smithjones, SMITH-JONES, Maryann, Mary Ann", ["jones", "ann"]),
    ("van den Berg^Jan", "Vandenberg, Van Den Berg, VANDENBERG J.", ["andenb", "berg"]),
    ("McDonald^Ronaldina", "Mc Donald; MC DONALD; mcdonald", ["donald"]),
    ("Smithson^John^Quincy", "Smith-\nson; Smith\u00adson; Smi\u200bthson; the Smithsons; SMITHSON/JOHN; john.smithson; jsmithson", ["smith", "son", "john"]),
    ("Smithson^John^Quincy", "Patient J.S. did well. pt JQS tolerated. J. Q. S. left. Smithson, J.Q. and JQ Smithson", ["j.", "jq", "q."]),
    ("Smithson^John^Quincy", "Ｓｍｉｔｈｓｏｎ Ｊｏｈｎ， MRN ００８１２３４", ["ｓｍｉ", "ｊｏｈｎ", "smith", "００８", "81234"]),
    ("Yamada^Tarou=山田^太郎=やまだ^たろう", "患者：山田太郎様。山田さん、太郎。山田　太郎。ヤマダ タロウ。YAMADA TAROU. 山田は58歳。たろう君", ["山田", "太郎", "たろう", "ヤマダ", "yamada"]),
    ("Hong^Gildong=洪^吉洞=홍^길동", "환자 홍길동 씨, 홍 길동님, 길동씨는 洪吉洞", ["길동", "吉洞"]),
    ("Wang^XiaoDong=王^小东", "王小东，小东诉胸痛。由Wang XiaoDong书写。Xiao Dong Wang, WANG XIAO-DONG", ["小东", "xiao", "wang", "dong"]),
    ("Παπαδόπουλος^Νίκος", "ΠΑΠΑΔΟΠΟΥΛΟΣ ΝΙΚΟΣ, Παπαδοπουλος", ["παπαδ", "νικος"]),
]  # fmt: skip


@pytest.mark.parametrize("name, text, gone", WRITTEN)
def test_a_name_in_another_spelling_goes(name, text, gone):
    patient, cleaner = cleaner_for(name)
    cleaned = clean_report(f"Left lung: 5 mm nodule.\n{text}", patient, cleaner, cleaner).text
    assert not [part for part in gone if part in cleaned.replace("[NAME]", "").lower()], cleaned
    assert cleaned.startswith("Left lung: 5 mm nodule.\n")


def test_names_of_others_go_also_where_nobody_knows_whose_report_it_is():
    text = "由王小明书写。Quixotzer agreed. Oda Vornhagedal here, twin A08877. Vornhagedal alone."
    patient, cleaner = cleaner_for("Doe^Jane", staff=["王^小明", "Quixotzer^Bram"], others=["Vornhagedal^Oda"])
    for whose in (patient, None):
        cleaned = cleaner.clean(text, whose).text
        assert not [w for w in ("王小明", "Quixotzer", "Oda Vornhagedal", "A08877") if w in cleaned], cleaned
    assert "Vornhagedal" not in cleaner.clean(text, None).text


IDENTIFYING = [
    ("MRN0081234 pid0081234 00-81-234 0 0 8 1 2 3 4 81.234 00–81234 X7788–99 x 7788 99", ["81234", "81-234", "1 2 3", "7788"]),
    ("UID 2.25.169113041852604170519430117258961432873.", ["16911304"]),
    ("IBAN DE89370400440532013000, VIN 1HGCM82633A004352, SSN 123 45 6789, AHV 756.1234.5678.97, CPR 040350-1234, QQ 12 34 56 C, 1234 5678 9012", ["DE89", "1HGC", "6789", "5678", "1234", "QQ"]),
    ("/home/jdoe/scan.dcm, j.doe at gmail dot com, tel 06221/5550147, ext 5512", ["jdoe", "gmail", "5550147", "5512"]),
    ("5 mars 2021, 5. März 2021, 5 de marzo de 2021, 令和3年3月5日, 平成31年4月1日, 2021년 3월 5일, 民國110年3月5日, 05.III.2021", ["2021", "令和3", "平成", "110年", "3月"]),
    ("03/2021, 3-2021, 2021/03, Mar-05-2021, 2021-Mar-05, 2021 03 05, 05 / 03 / 2021, Mar '21, 20210305T1011, 2021_03_05", ["2021", "'21"]),
    ("Exam 3/5/2021Findings: 2021-03-05Befund 05.03.2021Befund 2021Mar05Findings 05Mar2021Findings March 5, 2021Findings 3/5/21Findings "
     "exam3/5/2021 3 / 5 / 2021Findings 03/2021Findings 2021-03Findings", ["2021", "5/21"]),
    ("ninety-two year old, 92jährig, aged ninety four, Age:092Y, F/93, 93/F, 92 years and 3 months old, 91岁余, 94歳", ["92", "93", "91", "94", "inety"]),
    ("born 1931; b. 1931; *1931; geb. 17.07.1931; 1931年生; YOB 1931", ["1931", "1929"]),
    ("cc: Adaquist Brel", ["Adaquist", "Brel"]),
]  # fmt: skip


@pytest.mark.parametrize("text, gone", IDENTIFYING)
def test_numbers_dates_and_ages_in_other_forms_go(text, gone):
    patient, cleaner = cleaner_for("Doe^Jane")
    cleaned = clean_report(text, patient, cleaner, cleaner).text
    assert not [part for part in gone if part in cleaned], cleaned


CLINICAL = """
T2N1M0, pT3 pN2a, ACC 3.4 cm mass, volar plate 2.4 mm, plate 3.5, fin 2.5, extension 0-120 degrees, extension 15 20 degrees, pH 7.35
Hodgkin lymphoma, non-Hodgkin lymphoma, Parkinson disease, Parkinson's disease, Baker cyst, Swan-Ganz catheter, Colles fracture, Crohn disease
Graves disease, Ewing sarcoma, Wilms tumor, Kerley B lines, Dandy-Walker malformation, Salter-Harris II, Chiari I malformation, Zenker diverticulum
dose 5/10/20mg, 1/2/15mm, TR/TE 2000/10ms, L4/5, levels T11/12, 3/5 strength
b=100 400 1000, b-values 0, 500, 1000, TR/TE 2000/12, FOV 240 x 240, Gleason 3+4=7, calcium score 1234, DLP 1234.5 mGycm
Followup in 8-12 weeks, in 4-6 more weeks, elevated CCK levels, CC: dysphagia, pain RT shoulder, 98% on room air
Post surgery, surgical clips, community acquired pneumonia, regional nodes, women, children, 89-year-old, 101 F fever of 102 F, 101 HU
左心室, CT值约20HU, 10 mm 结节, R > L, left, Lt, Rt, 5 French catheter, segment 4/5, 12/5 mm
""".strip().splitlines()


@pytest.mark.parametrize("text", CLINICAL)
def test_clinical_words_stay_where_people_and_places_are_called_so(text):
    staff = ["Parkinson^James", "Hodgkin^Thomas", "Colles^A", "Crohn^B", "Ganz^W", "Swan^H", "Graves^R", "Chiari^H"]
    places = ["Community General Hospital", "Orthopaedic Surgery", "Memorial Regional Hospital for Women and Children"]
    patient, cleaner = cleaner_for("Doe^Jane", "van der Doe^Jane", staff=staff, places=places)
    text = text.replace("101 F fever", "fever")
    assert clean_report(text, patient, cleaner, cleaner).text == text


def test_a_patient_who_is_called_like_a_disease():
    patient, cleaner = cleaner_for("Hodgkin^Dorothy")
    text = "Hodgkin lymphoma, stable. Mrs. Hodgkin came; Hodgkin was told. Dorothy H."
    assert (
        clean_report(text, patient, cleaner, cleaner).text
        == "Hodgkin lymphoma, stable. Mrs. [NAME] came; [NAME] was told. [NAME]."
    )
    with pytest.raises(LeakError):
        clean_report(text, patient, TextCleaner(KEYS, Options(), Known(), ["age"]), cleaner)
    for text in ("Wilson has cancer.", "Wilson's fracture heals."):  # what a patient has, too
        patient, cleaner = cleaner_for("Wilson^Dorothy")
        assert "Wilson" not in clean_report(text, patient, cleaner, cleaner).text


@pytest.mark.parametrize(
    "encoding, text",
    [
        ("utf-8", "Größe 5 mm"), ("utf-8-sig", "Größe"), ("utf-16", "患者 Müller"), ("latin-1", "Frau Müller, Größe 12×8 mm, élève"),
        ("cp1252", "O’Connor “stable” – 5 cm³"), ("gb18030", "姓名：张三丰 左肺上叶见结节"), ("gb18030", "患者王小东 58岁 Müller"),
    ],
)  # fmt: skip
def test_encodings_of_reports_are_told_apart(encoding, text):
    assert decode_text(text.encode(encoding)) == text


@pytest.mark.parametrize(
    "encoding, text",
    [
        ("shift_jis", "患者山田太郎 58歳 胸部CT"), ("euc_jp", "患者山田太郎 58歳"), ("euc_kr", "환자 홍길동 흉부 CT"), ("big5", "病人王小東 胸部X光"),
        ("cp1251", "Пациент Иванов"), ("cp1250", "Pacjent Paweł Łukasz"), ("cp1254", "Ayşe Yılmaz"),
    ],
)  # fmt: skip
def test_a_text_in_an_unknown_encoding_is_refused_rather_than_guessed(encoding, text):
    with pytest.raises(UnreadableError) as caught:
        decode_text(text.encode(encoding))
    assert caught.value.code == "text_encoding"


@pytest.mark.parametrize(
    "description, kept",
    [
        ("CT CHEST 03/05/21", "CT CHEST"), ("ABD 123-456-789", ""), ("S M I T H S O N chest", "chest"), ("CHEST J. Q. Quix", "CHEST"),
        ("chest 03-MAY-21", "chest"), ("CT 12 34 56", "CT"), ("Dr. J Smithson L knee", "Dr L knee"), ("C/T/L SPINE W/O", "C/T/L SPINE W/O"),
        ("L4-L5 3mm 1.5 x 1.5 x 3.0", "L4-L5 3mm 1.5 x 1.5 x 3.0"), ("R L AP 2 VIEWS", "R L AP 2 VIEWS"),
    ],
)  # fmt: skip
def test_numbers_and_letters_in_a_row_leave_a_description(description, kept):
    assert keep_clinical(description)[0] == kept


def test_parts_pairs_and_initials():
    assert name_parts("van den Berg^Jan") == ("berg", "jan", "vandenberg")
    assert set(name_parts("O'Connor-Müller^Bo")) == {"oconnor", "muller", "bo", "oconnormuller", "connor", "mueller"}
    assert pair("maria", "cruz") in name_pairs("Maria de la Cruz") and pair("de", "cruz") not in name_pairs(
        "Maria de la Cruz"
    )
    assert pair("berg", "jan") in name_pairs("van den Berg^Jan") and pair("van", "den") not in name_pairs(
        "van den Berg^Jan"
    )
    assert initials_of("Smithson^John^Quincy") == ("JQS", "JS") and initials_of("王^小明") == ()


@given(st.text(max_size=60))
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text)


@given(
    st.lists(
        st.sampled_from(
            [
                "Dr. ",
                "Aa",
                "Aa-Bb ",
                "12/",
                "3/5/2021",
                " 年",
                "MRN ",
                "王",
                "。",
                "\n",
                "(",
                "'s",
                "Ａ",
                "ｶﾞ",
                "9",
                "x y",
                "^",
                "J.",
            ]
        ),
        max_size=40,
    ).map("".join)
)
def test_in_any_text_what_is_replaced_lies_in_order_and_apart_and_the_rest_stays(text):
    patient, cleaner = cleaner_for("Aa^Bb^J")
    plain = plain_text(text)
    for whose in (patient, None):
        spans = cleaner.find(plain, whose)
        edges = [at for span in spans for at in (span.start, span.end)]
        assert edges == sorted(edges) and all(span.start < span.end <= len(plain) for span in spans)
        cleaned = cleaner.clean(text, whose)
        assert (cleaned.text == plain) == (not spans)
        kept = [plain[a:b] for a, b in zip([0, *edges[1::2]], [*edges[::2], len(plain)])]
        at = 0
        for part in kept:  # but for blanks and commas between two marks that became one
            if part.strip(" ,."):
                at = cleaned.text.index(part, at) + len(part)
