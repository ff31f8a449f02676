"""Names and words in one form: what merging compares and the tagger looks for.

``words("Pleural effusions, bilateral")`` is ``["pleural", "effusion", "bilateral"]``: case, accents, hyphens, British
spelling, English and Latin plurals and the commoner Roman numerals do not tell two names apart. Every Chinese character
is a word.
"""

import re
import unicodedata
from functools import lru_cache

# A Chinese character; a number; or a run of Latin or Greek letters and digits, with what an apostrophe adds.
WORD = re.compile(r"[㐀-䶿一-鿿豈-﫿]|[0-9]+(?:\.[0-9]+)?(?![A-Za-z])|[0-9A-Za-zÀ-ɏͰ-Ͽ]+(?:'[a-z])?")

# British to American, inside words of five letters and more.
_SPELLING = [
    (british, american)
    for british, _, american in (
        pair.partition(">")
        for pair in """
    aemi>emi haem>hem oedem>edem oesoph>esoph oestr>estr paed>ped gynaec>gynec anaesth>anesth caec>cec faec>fec
    aetiol>etiol rrhoea>rrhea foet>fet tumour>tumor colour>color fibre>fiber centre>center litre>liter
    sulph>sulf leucocyt>leukocyt isation>ization coeliac>celiac orthopaed>orthoped pnoea>pnea
    """.split()
    )
]
_IRREGULAR: dict[str, str] = {
    plural: singular
    for plural, _, singular in (
        pair.partition(">")
        for pair in """
    apices>apex appendices>appendix calices>calyx calyces>calyx cortices>cortex cervices>cervix varices>varix
    helices>helix indices>index matrices>matrix vertices>vertex cicatrices>cicatrix thoraces>thorax
    pneumothoraces>pneumothorax hemothoraces>hemothorax hydropneumothoraces>hydropneumothorax pharynges>pharynx
    larynges>larynx meninges>meninx phalanges>phalanx feet>foot teeth>tooth men>man women>woman children>child
    lives>life diverticula>diverticulum septa>septum atria>atrium hila>hilum ostia>ostium ova>ovum labra>labrum
    epithelia>epithelium bronchi>bronchus thrombi>thrombus emboli>embolus foci>focus nuclei>nucleus
    calculi>calculus rami>ramus sulci>sulcus gyri>gyrus hili>hilus fundi>fundus nevi>nevus radii>radius
    alveoli>alveolus glomeruli>glomerulus menisci>meniscus tori>torus uteri>uterus villi>villus bacilli>bacillus
    cocci>coccus fungi>fungus viri>virus metastases>metastasis viscera>viscus foramina>foramen lumina>lumen
    stomata>stoma carcinomata>carcinoma adenomata>adenoma fibromata>fibroma sequelae>sequela criteria>criterion
    ganglia>ganglion mitochondria>mitochondrion bases>base doses>dose noses>nose diseases>disease cases>case
    phases>phase releases>release biopsies>biopsy ii>2 iii>3 iv>4 vi>6 vii>7 viii>8 ix>9 xii>12 xiii>13 α>alpha
    β>beta γ>gamma δ>delta lenses>lens
    """.split()
    )
}
# Singulars that end like plurals.
_IRREGULAR |= {
    word: word
    for word in """
    aids always ascites atlas bias biceps caries diabetes does facies forceps gas has herpes hiatus lens measles
    media mumps pancreas perhaps plus pons quadriceps rabies rales scabies series species triceps was yes
    """.split()
}


@lru_cache(maxsize=1 << 20)
def normal_word(word: str) -> str:
    """One word in lower case, without accents, in American spelling and in the singular."""
    word = unicodedata.normalize("NFKD", word.lower())
    word = "".join(letter for letter in word if not unicodedata.combining(letter))
    if word[-2:] == "'s":
        word = word[:-2]
    elif "'" in word:
        word = word.replace("'", "")
    if len(word) >= 5:
        for british, american in _SPELLING:
            if british in word:
                word = word.replace(british, american)
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    return _singular(word)


def _singular(word: str) -> str:
    if len(word) < 4 or word[-1] not in "se" or not word.isalpha():
        return word
    if word.endswith("ae"):
        return word[:-1]  # vertebrae, bullae
    if not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y" if len(word) > 4 else word
    if word.endswith(("oses", "yses", "iases", "eses", "stases")) and len(word) > 6:
        return word[:-2] + "is"  # stenoses, dialyses, pareses
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1]


def words(text: str) -> list[str]:
    """The words of a text in their normal form."""
    return [normal_word(word) for word in WORD.findall(text)]


_QUALIFIER = re.compile(
    r"\s*[(\[](?:disease|disorder|finding|symptom|diagnosis|body structure|procedure|morphologic abnormality)[)\]]\s*$",
    re.I,
)
_POSSESSIVE = re.compile(r"[’`´]")


def name_key(name: str) -> str:
    """What two names must share to be the same name: normal words in order, without a qualifier such as ``(disorder)``.

    >>> name_key("Tumours of the Oesophagus (disorder)")
    'tumor of the esophagus'
    """
    return " ".join(words(_POSSESSIVE.sub("'", _QUALIFIER.sub("", name))))


def natural_order(name: str) -> str:
    """An inverted heading as people write it: ``Effusion, Pleural`` is ``Pleural Effusion``; others are unchanged."""
    parts = [part.strip() for part in name.split(",")]
    if len(parts) == 2 and all(parts) and not any(character.isdigit() for character in name):
        return f"{parts[1]} {parts[0]}"
    return name
