"""Words that are kept in descriptions, and words that are never taken for a name on their own.

Written for this package from radiological usage; incomplete on purpose: a word that is missing here is dropped from a
description, which costs little, while a name that is listed here would stay.
"""

# ruff: noqa: E501  (word lists are not folded)

import re
from functools import lru_cache

from pretrain.deidentify.dates import find_dates

_ANATOMY = """
abdomen abdominal abdominopelvic adrenal airway alveolar anal ankle antrum aorta aortic aortoiliac apex apical appendix
arch arm arterial arteries artery articular atlas atrial atrium auditory axial axilla axillary axis back basal base
bifurcation bile biliary bladder body bone bones bowel brachial brain brainstem breast breasts bronchi bronchial
bronchus calcaneus calf calvarium canal cardiac carina carotid carotids carpal cartilage caudate cavity cecum celiac
cerebellar cerebellum cerebral cervical chest chin circle clavicle coccyx colon colonic column cord cornea coronary
corpus cortex cortical costal costophrenic cranial cranium cruciate css cuff diaphragm digit digits disc disk discs
distal duct ductal duodenum ear ears elbow elbows epidural epigastric esophageal esophagus extremities extremity eye
eyes face facial fallopian femoral femur femurs fetal fetus fibula finger fingers fissure flank foot feet foramen
forearm fossa frontal gallbladder ganglia gastric genital gland glenoid groin hand hands head heart heel hemidiaphragm
hepatic hila hilar hilum hindfoot hip hips hippocampus humeral humerus hypopharynx iac ileum iliac inguinal internal
intestinal intracranial ischium jaw jejunum joint joints kidney kidneys knee knees kub labrum larynx leg legs lens
ligament liver lobe lobes lobular lower lumbar lumbosacral lung lungs lymph lymphatic malleolus mandible mastoid
mastoids maxilla maxillary maxillofacial mediastinal mediastinum medulla meninges meniscus metacarpal metatarsal
midfoot midline mitral muscle muscles myocardial myocardium nasal nasopharynx navicular neck nerve node nodes nose
obturator occipital ocular odontoid oral orbit orbital orbits oropharynx ovarian ovaries ovary palate pancreas
pancreatic paranasal parathyroid parenchyma parenchymal parietal parotid patella patellofemoral pelvic pelvis penis
pericardial pericardium perianal periventricular peritoneal peritoneum phalanges pharynx pituitary placenta plantar
pleura pleural popliteal portal prostate prostatic proximal psoas pubic pulmonary pylorus radial radius rectal rectum
renal retina retinal retroperitoneal retroperitoneum rib ribs root sacral sacroiliac sacrum salivary scalp scapula
scrotal scrotum sella sellar septum shoulder shoulders sinus sinuses skeletal skin skull soft spinal spine spines spleen
splenic sternal sternoclavicular sternum stomach subclavian supraclavicular tarsal teeth temporal temporomandibular
tendon testes testicular testis thigh thighs thoracic thoracolumbar thorax thumb thymus thyroid tibia tibial tissue tmj
toe toes tongue tonsil torso trachea tracheal tricuspid trunk tube tubes ulna ulnar umbilical upper ureter ureteral
ureters urethra urethral urinary uterine uterus vagina vaginal valve valves vascular vein veins vena cava venous
ventricle ventricles ventricular vertebra vertebrae vertebral vessel vessels wall wrist wrists zygoma ventral dorsal
c1 c2 c3 c4 c5 c6 c7 t3 t4 t5 t6 t7 t8 t9 t10 t11 t12 l1 l2 l3 l4 l5 s1 s2 lul lll rul rml rll ivc svc sma lad rca
"""

_TECHNIQUE = """
2d 3d 4d ax abbreviated acquired acquisition adc add additional adult after angio angiogram angiography anterior ap arterial
artifact asl asir attenuation auto average avg axials b0 b1 b50 b100 b400 b500 b800 b1000 b1400 barium baseline before
bilateral biopsy black blood body bolus bone boost bravo breath breathhold bright bw calcification calcium calibration
caudal cbct ce central cest cine cisternogram cks clear coil collection colour color combined comparison complete
compound compression con contiguous contrast convex cor coronal coronals correction corrected cranial cross ct cta ctpa
ctv cube cut cuts cxr cyst decubitus delay delayed density derived detail dexa diagnostic diastole diastolic diff
diffusion dixon dose doppler drain dsa dti dual duplex dwi dx dyn dynamic early echo ecg edge ekg elastography emission
enhanced enhancement enema epi equilibrium erect ep2d ep se ge est exam examination excretory exercise exhale
exiting expiration expiratory ext extension external ezr fat fast fatsat fdg fe feeding female ffe fid field filter filtered final
first flair flash flat flexion flow fluid fluoro fluoroscopy fmri fov fracture frame frames free frog from fs fse full
functional fused fusion gad gadolinium gamma gantry gated gating gradient graph grass grayscale greyscale grid gre guidance
guide guided guidewire haste helical high hires hold hr hrct hsg hysterosalpingogram ijv image images imaging in
inferior inf inhale initial injection insertion inspiration inspiratory int interstitial intra intraoperative intravenous
inv inversion iodine ir irm isotropic iso iv ivp ivu kernel kernels kub kv kvp late lateral lat lateromedial lava left
level levels lift limited line linear lines loc localiser localizer localizers long loop low lung lying m0 magnetic
magnification mammo mammogram mammography map mapping mask max maximum mbq mcug medial mediolateral medium mes mean mid
min minimum minip mip mips mlo mm mode monitoring mono motion mp mpr mprage mr mra mrcp mre mri mrs mrv multi
multiphase multiplanar myelogram myelography native nasogastric ndvi neuro ng nm no non noncontrast none normal nuclear nect
oblique obl obstetric ob occlusal off on one open opposed oral orthopantomogram opg os osem out outflow outside overlay
oxygen pa panoramic parallel parametric partial pass pd pdfs pdw pelvimetry perfusion peripheral pet petct ph phantom phase
phases photon physiologic picc pilot placement plain planar plane planes planning plasma plate plus point port portable
portal portovenous position positron post posterior postcontrast post-contrast postop postoperative pre precontrast
pre-contrast preop preoperative pressure preview prior procedure processed prone propeller protocol proton psir pulse
qsm quantitative quick radial radiograph radiographs radiography radiotherapy ranges rapid rate raw real reconstructed
reconstruction recon reduction reference reformat reformats reformatted region registration repeat replacement report
resolution respiratory rest resting result results retrograde review rf rigid right roi rot rotated rotation routine run
running sag sagittal sagittals sat saturation scan scans scanogram scout screen screening second secondary segment
segmentation segmented semi sequence sequences sequential series serial short shunt side sim simulation single sitting
skyline slab slice slices small snapshot sonogram sonography space spair spect spectral spectroscopy spgr spin spir
spiral spot standard standing star static stack stent step stereo stereotactic stir stitched strain stress study sub
subtracted subtraction sunrise superior sup supine surface surview survey swallow swi sw swan swimmers system systole
systolic t t1 t1w t2 t2w t2star target task tb tesla test thick thin third three time tirm tof tomogram tomography
tomosynthesis topogram total tra trace tracking trans transabdominal transesophageal transrectal transthoracic transvaginal
transverse trauma trauma true trufi tse tte tee turbo two ultrasound unenhanced unilateral unspecified upright us usg
uroflow urogram urography vcug vector velocity venogram venography venous vessel via vibe video view views virtual
visible vista volume volumetric voxel w water weight weighted whole wi width window with without wo wt xr xray x-ray xray
year zoom zone zte mg cr dr rf xa sc ot pt st se tr te ti fa gy
"""

_AGENTS = """
omnipaque iohexol isovue iopamidol iopamiro visipaque iodixanol ultravist iopromide optiray ioversol iomeron iomeprol
oxilan conray gastrografin gadavist gadovist gadobutrol dotarem clariscan gadoterate magnevist gadopentetate multihance
gadobenate prohance gadoteridol eovist primovist gadoxetate omniscan gadodiamide lumason sonovue definity optison
feraheme fludeoxyglucose florbetapir dotatate psma tc99m f18 f-18 ga68 in111 i123 i131 tl201 rb82 mdp maa dtpa mag3
sestamibi technetium thallium saline mgml
"""

_FINDINGS = """
abnormal abnormality abscess absence acute aneurysm arthritis aspiration atelectasis atrophy benign bleed bleeding
cancer carcinoma cardiomegaly chronic cirrhosis collapse consolidation cough covid dilated disease disorder dissection
dyspnea edema effusion emboli embolism emphysema evaluation evaluate fever fibrosis followup follow-up follow fibroid
foreign hematoma hemorrhage hernia history hydronephrosis infarct infarction infection inflammation injury interval
ischemia lesion lesions leukemia lymphoma malignant malignancy mass masses melanoma metastases metastasis metastatic
moderate mild multiple neoplasm nodule nodules obstruction opacity pain pneumonia pneumothorax polyp pregnancy pregnant
protocol rupture sarcoma scoliosis screening seizure sepsis severe shortness of breath sclerosis stable staging stenosis
stone stones stroke swelling syndrome tear thrombosis thrombus tia trauma tumor tumour ulcer unremarkable viability
"""

_GENERAL = """
a an and any are as at be both by each for has if in into is it its less more most new no not nos of old one only or
other over per pre routine same seen since some than that the there this to two three four five six seven eight nine ten
under unknown up using very was with within without yes years days hours minutes months weeks age level upper lower
left right lt rt bilat both mid medial lateral adult adults child pediatric paediatric infant neonatal newborn emergency
inpatient outpatient ward unit department dept radiology clinic room request requested order ordered protocol standard
default mode type name number value code version release software hardware machine scanner table station sheet page
length width height diameter diameters area perimeter circumference depth distance angle index ratio score grade size
dimension measurement measurements marker property unit units percent observer observation summary
part parts set sets group groups test testing sample trial research
"""

# Names that are also words, besides those above: never searched for on their own.
_NAMES_THAT_ARE_WORDS = """
abbott able ace adams alley amber angel april archer art ash august autumn baker banks barber barn bass bay bean bear
beck bell berry best bill birch bird bishop black blank bloom blue bond book booth bow box boy brand branch bridge bright
brook brooks brown buck bull burn burns bush butler button can carpenter carver case cash chance chase christian church
clark clay close coast cole cook cooper core corn cotton count cox crane cross crystal dale dash daisy dawn day dean
deep dell dew do does don drew drum dutch early east end english ever fall farmer fern field finch fine fisher fleming
flint flood flower flowers fly ford forest foster fountain fox frank freed french friend frost fry fuller gale garden
gardner gates gay german gill glass glover gold golden good goodman grace grant grave graves gray green greene grey
grove guy hale hall handy hardy hart harvest haven hawk hay hazel heath hill hilt hobbs hoe holly holt home honey hook
hope hopper house hunt hunter hurst ice iris iron ivy jack jade jay jewel joy judge july june just keen key king kirk
knight knot lake lamb lance land lane large lark last law lay lea leaf leaves lee light lily lime little lock locks lord
love lucky lynch main major man may mark marsh martin mason master may melody mercy mile miles mill miller mills minor
mint monk moody moon moore more moss mount nail never nice noble noon north nova nurse nut oak oaks olive page paige palm
palmer park parks pass patience peace peak pearl penny pepper perry pike pine piper plant pond pool poole pope porter
post potter power prime price prince pride pure quick rain ranger ray read reed rest rice rich ridge ring rivers robin
rock rod root rose rosemary ross rowan ruby rush rust sage saint salmon sand sanders savage scales sea seal sears serene
sharp shaw shell shepherd shield shore short silver singer skinner sky slaughter small smart snow son sorrow south
sparks speed spence spring squires star stark steel steele stern stock stocks stone storm strange street strong summer
summers swan sweet swift tanner taylor temple thin thorn tiller todd towers townsend tracy trail trainer tree trice trip
true trust tucker turner twist underwood valley van vale vance violet von wade walker wall waller ward ware waters watts
way weaver webb weeks well wells west wheeler white will willow wills winter winters wise wolf wood wooden woods worth
wren wright yard york young
siemens healthineers philips toshiba canon hitachi fuji fujifilm shimadzu samsung medison agfa carestream kodak konica
minolta hologic lorad varian elekta picker marconi elscint acuson aloka esaote mindray neusoft planmeca sectra general electric
"""

_FUNCTION = """
also did had have her him his she he they them we who you your our us been being but from
were what when where which while would could should must out about again after all because before below between down
during further here how i me my myself nor now off once own so such their theirs then these those through too until
why reviewed agreed agrees stated states noted notes concurs concurred called calls recommends recommended acknowledged
confirmed reports read reads dictated interpreted discussed notified informed today yesterday tomorrow morning afternoon
evening voice recognition software given done made found finding findings impression conclusion technique indication
why patient doctor dr mr mrs ms miss md prof please thanks signed reported dictated electronically attending resident
staff physician radiologist technologist hospital medical center centre health university institute date time birth
sex male female m f phone fax tel email address city state country zip
"""

# Words of names of hospitals and departments that tell nothing about which one it is.
_PLACE_WORDS = """
academic acute allergy ambulatory anaesthesia anesthesia army associates assessment cardiology cardiothoracic cardiovascular care
centers centres central charity child childhood children children's childrens city college community corporation county
critical cross crown day dental department dermatology district doctors east eastern endocrinology faculty family federal foundation
gastroenterology general geriatric government group gynaecology gynecology haematology health healthcare hematology hospice
hospitals house imaging immunology inc infirmary infectious institutes integrated intensive international kingdom klinik klinikum
krankenhaus laboratory limited maternity medicine memorial mens mental metropolitan military mission municipal national
navy neonatology nephrology neurology neuroradiology neurosurgery north northern nuclear obstetrics oncology ophthalmology
orthopaedic orthopaedics orthopedic orthopedics outpatients paediatrics palliative partners pathology pediatrics physical
physicians polyclinic practice primary private provincial psychiatric psychiatry public pulmonology radiation radiological
regional rehabilitation republic research respiratory rheumatology royal rural science sciences school service services
society south southern special specialist specialists specialized sports state surgeons surgery surgical system teaching
therapeutic therapy transplant treatment trust unit united universitaetsklinikum urban urgent urology veterans west western women
women's womens
"""

# People's names that stand for a disease, sign or device, and what then follows them.
_EPONYMS = """
achilles addison albright alzheimer asherman baker bankart barlow barrett behcet bell bennett berger bochdalek boerhaave bosniak
bouchard breslow broca brodie brugada buerger burkitt caplan caroli charcot chiari colles cooley cooper coombs couinaud courvoisier
cowden crohn cushing dandy dobhoff doppler down duke duchenne dupuytren ehlers ewing fallot fleischner foley fournier freiberg galeazzi
galen ganz garland garre gaucher gleason gorlin graves greenfield guillain hampton hashimoto haversian hawkins heberden hickman
hill hirschsprung hodgkin horner hounsfield huntington hutchinson iselin jefferson jones kaposi kartagener kerley kienbock kirschner
klatskin kohler krukenberg kupffer langerhans ledderhose legg lemierre lisfranc luschka mallory marfan meckel
meigs meniere merkel mirizzi moebius mondor monro monteggia morgagni morton osgood ollier paget pancoast
parkinson perthes peyer peyronie pott potter ramsay raynaud reiter reye rokitansky sachs salter sachs schatzki scheuermann
schlatter schmorl schwann segond sever sjogren smith spigel still sudeck swan takayasu turner virchow vater warthin wegener
wernicke whipple willis wilms wilson zenker zollinger
"""
_EPONYM_HEADS = (
    "arteritis|arthropathy|bursa|catheter|classification|contracture|criteria|deformity|disease|diverticulum|drain|dysplasia"
    "|esophagus|gangrene|ganglion|granulomatosis|histiocytosis|ligament|lines?|lymphoma|malformation|metaplasia|nephroma|neuroma"
    "|oesophagus|palsy|phenomenon|pouch|procedure|rings?|sarcoma|shunt|signs?|syndrome|tetralogy|thyroiditis|triad|triangle|tumou?r"
)
# What a patient has as well ("Wilson's fracture"): behind an s these make it no eponym.
_COMMON_HEADS = (
    "abscess|artery|cancer|carcinoma|cells?|class|cysts?|defect|duct|filter|fractures?|grade|hernia|hump|infarct|joint|lesions?"
    "|lipoma|nodes?|nodules?|operation|ossification|repair|score|stage|stents?|tears?|test|tube|tumou?rs|type|ulcer|units?|wire"
)
# Behind a word of _EPONYMS: perhaps a second name (Dandy-Walker) or a letter (Kerley B), then the thing.
_MIDDLE = r"(?:-[A-Za-z]+(?:['’]s)?|[ \t](?:[AB]|I{1,3}|IV|V|type|grade))?[ \t-]+"
EPONYM_TAIL = rf"(?:(?:['’]?s)?{_MIDDLE}(?:{_EPONYM_HEADS})|{_MIDDLE}(?:{_COMMON_HEADS}))(?![A-Za-z])"

CHINESE = """
胸部 腹部 头部 头颅 颅脑 颈部 颈椎 胸椎 腰椎 腰骶椎 骶椎 骨盆 盆腔 脊柱 上腹部 下腹部 全腹部 中腹部 肺 肺部 双肺 心脏 冠状动脉 冠脉
主动脉 肝脏 肝 胆 胆囊 胰腺 脾脏 脾 肾脏 肾 双肾 输尿管 膀胱 前列腺 子宫 附件 乳腺 甲状腺 眼眶 副鼻窦 鼻窦 鼻咽 喉部 口腔 颞骨 内耳
膝关节 髋关节 肩关节 肘关节 腕关节 踝关节 手 足 上肢 下肢 大腿 小腿 前臂 上臂 左 右 左侧 右侧 双侧 平扫 增强 平扫加增强 扫描 动态
动脉期 静脉期 门脉期 延迟期 三维 重建 薄层 高分辨 低剂量 血管 成像 造影 磁共振 超声 彩超 彩色 多普勒 正位 侧位 正侧位 斜位 后前位 前后位
床旁 立位 卧位 透视 钼靶 定位像 轴位 冠状位 矢状位 弥散 灌注 波谱 水成像 复查 体检 筛查 术前 术后 普通 加 及 和 与
"""

_SMALL_NUMBER = re.compile(r"\d{1,3}(?:[.,]\d{1,3})?(?:mm|cm|ml|cc|s|sec|min|kv|kvp|hu|t|x|th|st|nd|rd|deg|%)?\Z")
_BARE_NUMBER, _LETTER = re.compile(r"\d{1,3}(?:[.,]\d{1,3})?"), re.compile("[A-Za-z]")
_WORD = re.compile(r"[\u4e00-\u9fff]+|[^\W_\u4e00-\u9fff]+(?:[.'’][^\W_\u4e00-\u9fff]+)*")
_HAN = re.compile(r"[\u4e00-\u9fff]")


@lru_cache
def clinical_words() -> frozenset[str]:
    """Words that are kept in descriptions."""
    return frozenset(f"{_ANATOMY} {_TECHNIQUE} {_AGENTS} {_FINDINGS} {_GENERAL}".split())


@lru_cache
def common_words() -> frozenset[str]:
    """Words that are not searched for, nor removed, as a part of a name standing alone."""
    return plain_words() | frozenset(_NAMES_THAT_ARE_WORDS.split())


@lru_cache
def place_words() -> frozenset[str]:
    """Words that do not tell one hospital from another."""
    return frozenset(_PLACE_WORDS.split())


@lru_cache
def eponyms() -> frozenset[str]:
    """Names that are no person's where :data:`EPONYM_TAIL` follows: Hodgkin lymphoma, Swan-Ganz catheter."""
    return frozenset(_EPONYMS.split())


@lru_cache
def plain_words() -> frozenset[str]:
    """Words that end a name which stands before them: clinical ones and those that every sentence has."""
    return clinical_words() | frozenset(_FUNCTION.split())


@lru_cache
def _chinese() -> tuple[str, ...]:
    return tuple(sorted(CHINESE.split(), key=len, reverse=True))


def is_clinical(word: str) -> bool:
    """True for a word of the vocabulary and for a small number, alone or with a unit."""
    lower = word.casefold()
    return lower in clinical_words() or bool(_SMALL_NUMBER.match(lower)) or (len(lower) == 1 and lower.isascii())


def keep_clinical(text: str) -> tuple[str, int]:
    """A description with only its clinical words.

    Returns:
        the words that are left with what stood between neighbours that were both kept, and how many were dropped.
    """
    kept: list[str] = []
    dropped, end, before = 0, 0, False
    for found in find_dates(text):
        text = text[: found.start] + "\0" * (found.end - found.start) + text[found.end :]
    matches = list(_WORD.finditer(text))
    unsafe = _chains(text, matches) | _initials(text, matches)
    for i, match in enumerate(matches):
        word = match.group()
        parts = _chinese_parts(word) if _HAN.search(word) else [word] if i not in unsafe and is_clinical(word) else []
        gap = text[end : match.start()]
        if parts:
            kept.append(gap if before and not gap.strip(" ,;:/+-()_&^.*=#") and len(gap) <= 3 else " " if kept else "")
            kept.append("".join(parts))
        dropped += not parts or len("".join(parts)) < len(word)
        before, end = bool(parts), match.end()
    return "".join(kept).strip(), dropped


def _chains(text: str, matches: list[re.Match[str]]) -> set[int]:
    """Numbers and letters in a row that spell a date, an id or a name: 03/05/21, 123-456-789, S M I T H S O N."""
    found: set[int] = set()
    for pattern, most, digits in ((_BARE_NUMBER, 2, 5), (_LETTER, 3, 99)):
        run: list[int] = []
        for i in range(len(matches) + 1):
            fits = i < len(matches) and bool(pattern.fullmatch(matches[i].group()))
            near = bool(run) and fits and not text[matches[i - 1].end() : matches[i].start()].strip(" ./_-")
            if fits and (near or not run):
                run.append(i)
                continue
            if len(run) > most or sum(c.isdigit() for j in run for c in matches[j].group()) > digits:
                found.update(run)
            run = [i] if fits else []
    return found


def _initials(text: str, matches: list[re.Match[str]]) -> set[int]:
    """Single letters beside a word that is dropped, which may be a name; a side (L, R) and W/O stay."""
    strange = {i for i, m in enumerate(matches) if m.group().isalpha() and not is_clinical(m.group())}
    letters = {
        i
        for i, m in enumerate(matches)
        if _LETTER.fullmatch(m.group())
        and m.group() not in "LR"
        and "/" not in text[max(0, m.start() - 1) : m.end() + 1]
    }
    near = {i for i in letters if {i - 1, i + 1} & strange}
    return near | {j for i in near for j in (i - 1, i + 1) if j in letters}


def _chinese_parts(text: str) -> list[str]:
    """The listed terms of a Chinese description, longest first; the rest is dropped."""
    found, at = [], 0
    while at < len(text):
        term = next((t for t in _chinese() if text.startswith(t, at)), None)
        if term:
            found.append(term)
        at += len(term) if term else 1
    return found
