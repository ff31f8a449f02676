"""Free text: who and where go, dates move together, and what a radiologist measured stays to the letter."""

# ruff: noqa: E501  (planted sentences are not folded)

import re
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.deidentify.dates import find_dates, shift_da, shift_dt
from pretrain.deidentify.known import Known, Patient
from pretrain.deidentify.options import Options
from pretrain.deidentify.reports import Places, clean_report, owner_of
from pretrain.deidentify.text import TextCleaner
from pretrain.deidentify.vocabulary import keep_clinical

CLINICAL = """
3.5 cm spiculated mass in the left upper lobe, previously 2.9 cm.
12/5 mm nodule; 3 x 4 x 5 cm; 1.2 x 0.8 cm (series 4, image 112).
T2 hyperintense lesion at L4-L5 and C5/6; T12 compression fracture, 50% height loss.
Grade 3/6 murmur, 3/5 strength, EF 55-60%, 120/80 mmHg, HR 72 bpm, SpO2 98%.
SUVmax 3.4, HU 45, b-values 0, 500 and 1000 s/mm2, TR/TE 500/20, 3 T magnet, 120 kVp, 250 mAs.
BI-RADS 4B, LI-RADS 5, TI-RADS 3, PI-RADS v2.1 score 4, Fleischner 2017 guideline, Bosniak IIF.
Right middle lobe atelectasis. No pneumothorax. Left-sided pleural effusion, unchanged.
Segment VIII liver lesion 15 mm; segments II/III spared. RECIST 1.1 sum 45 mm (-13%).
Baker cyst, Hill-Sachs deformity, Schatzker II fracture, Weber B, Crohn disease, Hodgkin lymphoma.
58-year-old man with cough for 3 weeks. 45F. 7-month-old girl. 12 weeks pregnant.
Long axis 4 cm, short axis 9 mm. White matter disease. Brown tumor. Mark the lesion in May be benign.
1,200 mL of fluid, 0.5 mg/kg, 100 mL of iohexol 350 mg/mL, creatinine 1.1 mg/dL, eGFR > 60.
左肺上叶见3.5cm结节，T2高信号，L4-L5椎间盘突出，双侧胸腔积液，较前无明显变化。患者高血压10年，建议复查。
右侧基底节区见12×8mm低密度灶，CT值约20HU。增强扫描强化不明显。患者男性，58岁。
""".strip().splitlines()

GONE = [
    ("Patient: SMITHSON, JOHN Q.", ["SMITHSON", "JOHN"]),
    ("Mr. John Smithson's wife", ["Smithson", "John"]),
    ("J. Smithson and SMITHSON^JOHN, smithson,john", ["mithson"]),
    ("MRN: 0081234, id 81234, MRN 00-812-34", ["81234", "812-34"]),
    ("Acc# X7788-99 and X778899", ["7788", "X77"]),
    ("DOB 03/04/1950; born on March 4, 1950", ["1950"]),
    ("lives at 12 Evergreen Terrace, Apt 4", ["Evergreen"]),
    ("from Portland, OR 97201", ["Portland", "97201"]),
    ("call 555-123-4567, (555) 987-6543, +44 20 7946 0958, fax: 5551234", ["4567", "6543", "0958", "5551234"]),
    (
        "john@x.org http://a.b/c?d=1 www.z.com 192.168.1.10 \\\\server\\share\\smith",
        ["@", "http", "www", "192", "server"],
    ),
    ("SSN 123-45-6789, account 88123, policy no. AB-991", ["6789", "88123", "991"]),
    ("Dr. Helen Quackenbush read it. Quackenbush agreed.", ["Quackenbush", "Helen"]),
    ("Dictated by: Ada O'Konkwo, MD", ["Konkwo", "Ada"]),
    ("Electronically signed by JANE DOE-ROE on 03/05/2021", ["JANE", "ROE", "2021"]),
    ("Technologist: jane roe", ["jane", "roe"]),
    ("Findings discussed with Maria de la Cruz at 14:35", ["Maria", "Cruz"]),
    ("Lars van den Bergström, PhD", ["Bergstr", "Lars"]),
    ("seen at Springfield General Hospital and St. Mary's Hospital", ["Springfield", "Mary"]),
    ("92-year-old, aged 101, age: 95, 93F, 97 y/o", ["92", "101", "95", "93", "97"]),
    ("UID 1.2.840.113619.2.55.3.604688119.969", ["604688119"]),
    ("device 12345678, AB1234567, 7d1f3a52-1c2d-4e5f-8a9b-0c1d2e3f4a5b", ["12345678", "AB123", "7d1f3a52"]),
    ("Mary Long came with Mark", ["Mary"]),
    ("姓名：张三 身份证号：11010519491231002X 手机号：13812345678", ["张三", "110105", "138123"]),
    ("住院号：0012345，门诊号 A7788，床号：12B", ["0012345", "A7788", "12B"]),
    ("患者李四，男，58岁，于北京协和医院就诊，由王医生会诊", ["李四", "协和", "王医生"]),
    ("报告医师：赵六 审核医师：钱七。钱七审核", ["赵六", "钱七"]),
    ("地址：北京市朝阳区建国路88号", ["建国路", "朝阳"]),
    ("年龄：92岁，1949年12月31日出生", ["92", "1949"]),
]


@pytest.fixture
def patient() -> Patient:
    return Patient(
        "0081234", {"Smithson^John^Quincy"}, {"0081234", "X7788-99"}, {date(1950, 3, 4)}, {"12 Evergreen Terrace"}
    )


@pytest.fixture
def cleaner(keys, patient) -> TextCleaner:
    known = Known(patients={patient.key: patient})
    known.add_patient(Patient("p9", {"Long^Mary"}))
    return TextCleaner(keys, Options(), known)


@pytest.mark.parametrize("text", CLINICAL)
def test_clinical_sentences_stay_to_the_letter(text, cleaner, patient):
    assert cleaner.clean(text, patient).text == text


@pytest.mark.parametrize("text, gone", GONE)
def test_what_identifies_goes_and_is_proven(text, gone, cleaner, patient):
    for padded in (text, f"FINDINGS: clear lungs.\n{text}\nIMPRESSION: 4 mm nodule."):
        cleaned = clean_report(padded, patient, cleaner, cleaner).text
        assert not [word for word in gone if word in cleaned], cleaned
        assert padded == text or cleaned.endswith("\nIMPRESSION: 4 mm nodule.")
        assert padded == text or cleaned.startswith("FINDINGS: clear lungs.\n")


FORMS = [
    "{0:%Y-%m-%d}", "{0:%m/%d/%Y}", "{0:%Y/%m/%d}", "{0:%d.%m.%Y}", "{0:%B} {0.day}, {0.year}", "{0.day} {0:%b} {0.year}",
    "{0:%d%b%Y}", "{0:%Y%m%d}", "{0.year}年{0.month}月{0.day}日", "{0.month}/{0.day}/{0:%y}", "{0:%d-%b-%Y}",
]  # fmt: skip


@given(
    st.dates(date(1970, 1, 1), date(2038, 12, 31)),
    st.sampled_from(FORMS),
    st.integers(-3650, -365),
    st.sampled_from([".", " Findings", "Findings:", ", clear"]),
)
def test_a_date_moves_in_its_own_form(day, form, days, behind):
    text = f"Compared with {form.format(day)}{behind}"
    found = next(iter(sorted(find_dates(text), key=lambda f: (f.start, -f.end))))
    assert found.day == day and found.write is not None
    moved = text[: found.start] + found.write(day + timedelta(days)) + text[found.end :]
    again = next(iter(sorted(find_dates(moved), key=lambda f: (f.start, -f.end))))
    assert again.day == day + timedelta(days)
    assert re.sub(r"\d|[A-Za-z]", "", moved) == re.sub(r"\d|[A-Za-z]", "", text)


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.integers(-3650, -365))
def test_dicom_dates_move_by_the_same_days(day, days):
    to = day + timedelta(days)
    assert shift_da(f"{day:%Y%m%d}", days) == f"{to:%Y%m%d}"
    assert shift_dt(f"{day:%Y%m%d}101112.5+0100", days) == f"{to:%Y%m%d}101112.5+0100"
    assert shift_da("2021", days) is None and shift_dt("yesterday", days) is None


def test_dates_of_a_report_move_as_those_of_the_images(cleaner, patient, keys):
    days = keys.shift_days(patient.key)
    text = "Exam 03/05/2021, prior of 2021-02-26 (7 days); in 2019; on 3/4; March 2020."
    moved = cleaner.clean(text, patient).text
    assert f"{date(2021, 3, 5) + timedelta(days):%m/%d/%Y}" in moved
    assert f"{date(2021, 2, 26) + timedelta(days):%Y-%m-%d}" in moved
    assert "03/05/2021" not in moved and "in 2019;" not in moved and "on [DATE];" in moved and "(7 days)" in moved
    unknown = cleaner.clean(text, None).text
    assert "20" not in unknown.replace("(7 days)", "") and unknown.count("[DATE]") >= 5


def test_whose_report_it_is(keys, patient):
    other = Patient("p2", {"Doe^Jane"}, {"AC-4455667"})
    known = Known(patients={patient.key: patient, "p2": other})
    for one in (patient, other):
        for value in one.ids:
            known.link(value, one.key)
    places = Places()
    places.add("a/ct/1.dcm", patient.key)
    places.add("a/ct/2.dcm", patient.key)
    places.add("b/1.dcm", "p2")
    assert owner_of("Clear.", "a/ct/report.txt", places, known) is patient
    assert owner_of("Clear.", "a/ct.txt", places, known) is patient
    assert owner_of("Clear.", "b/1.txt", places, known) is other
    assert owner_of("Accession AC-4455667.", "texts/9.txt", places, known) is other
    assert owner_of("Clear.", "texts/9.txt", places, known) is None
    with pytest.raises(Exception) as caught:
        owner_of("Accession AC-4455667.", "a/ct/report.txt", places, known)
    assert caught.value.code == "several_patients"


def test_descriptions_by_word():
    assert keep_clinical("CT CHEST W/O CONTRAST") == ("CT CHEST W/O CONTRAST", 0)
    assert keep_clinical("Thorax^ROUTINE (Smithson) L4-L5 3mm")[0] == "Thorax^ROUTINE L4-L5 3mm"
    assert keep_clinical("MR 胸部平扫张三")[0].replace(" ", "") == "MR胸部平扫"
    assert keep_clinical("Quackenbush 0081234")[0] == ""
