"""Specimens as converters, scanners and hospitals describe them, each with its organ or None."""

from __future__ import annotations

from specimens import header, specimen

LUNG = ("39607008", "SCT", "Lung")
BREAST = ("76752008", "SCT", "Breast")
LIVER = ("10200004", "SCT", "Liver")
PRIMARY = ("86049000", "SCT", "Neoplasm, Primary")
METASTATIC = ("14799000", "SCT", "Neoplasm, metastatic")
SECTION = ("430856003", "SCT", "Tissue section")
LOBE = "Part A: LEFT UPPER LOBE, Block 5: Mass (2 pc), Slide 1: H&E"

CASES = {
    "the converted slides of public archives: structure and modifier": (
        header(specimen(LUNG, modifier=PRIMARY, type=SECTION, short="HE tumor TS1")), "lung"),
    "normal tissue beside a tumor": (
        header(specimen(BREAST, modifier=("17621005", "SCT", "Normal"))), "breast"),
    "the example of PS3.17 NN.6.2: a part of the organ": (
        header(specimen(("44714003", "SCT", "Left Upper Lobe of Lung"), short=LOBE,
                        detailed="A wedge of soft tissue; the pleural surface is puckered.")),
        "lung"),
    "the same without its code": (header(specimen(type=SECTION, short=LOBE)), None),
    "SNOMED RT": (header(specimen(("T-28000", "SRT", "Lung"))), "lung"),
    "SNOMED RT by its old designators": (header(specimen(("T-92000", "99SDM", "Prostate"))),
                                         "prostate"),
    "SNOMED 3": (header(specimen(("T-62000", "SNM3", "Liver"))), "liver"),
    "SNOMED 2, where the code means another organ": (
        header(specimen(("T-62000", "SNM2", "Esophagus"))), "esophagus"),
    "the same under the wrong designator": (
        header(specimen(("T-62000", "SRT", "Esophagus"))), None),
    "a SNOMED CT code under the name of SNOMED RT": (
        header(specimen(("76752008", "SRT", "Breast"))), "breast"),
    "ICD-O topography": (header(specimen(("C34.1", "ICDO3", "Upper lobe, lung"))), "lung"),
    "ICD-O without a dot": (header(specimen(("C509", "ICD-O-3", "Breast, NOS"))), "breast"),
    "ICD-O, cecum": (header(specimen(("C18.0", "ICDO3", "Cecum"))), "colon"),
    "ICD-O, appendix": (header(specimen(("C18.1", "ICDO3", "Appendix"))), "appendix"),
    "ICD-O, rectosigmoid junction": (
        header(specimen(("C19.9", "ICDO3", "Rectosigmoid junction"))), "large intestine"),
    "ICD-O, what stomach and esophagus share": (
        header(specimen(("C16.0", "ICDO3", "Gastroesophageal junction"))), None),
    "ICD-10": (header(specimen(("C61", "I10", "Malignant neoplasm of prostate"))), "prostate"),
    "ICD-10, secondary": (
        header(specimen(("C77.3", "I10", "Secondary neoplasm of axillary lymph nodes"))), None),
    "an ontology that is not read here, by its own words": (
        header(specimen(("0002048", "UBERON", "lung"))), "lung"),
    "a code of the laboratory": (header(specimen(("MAM", "99LIS", "Mammagewebe"))), "breast"),
    "a code of the laboratory for two organs": (
        header(specimen(("LNB", "99LIS", "Lymph node, breast"))), None),
    "the specimen type alone": (
        header(specimen(type=("309546004", "SCT", "lumpectomy breast sample"))), "breast"),
    "a type that DICOM does not list, by its words": (
        header(specimen(type=("309132009", "SCT", "Specimen from prostate by needle biopsy"))),
        "prostate"),
    "type against structure": (
        header(specimen(LUNG, type=("309546004", "SCT", "lumpectomy breast sample"))), None),
    "the finding site of the collection": (
        header(specimen(site=("64033007", "SCT", "Kidney"))), "kidney"),
    "the finding site in SNOMED RT": (
        header(specimen(site=("T-71000", "SRT", "Kidney"),
                        site_name=("G-C0E3", "SRT", "Finding Site"))), "kidney"),
    "the region of the image": (header(specimen(), region=("T-04000", "SRT", "Breast")), "breast"),
    "a region that is no organ": (
        header(specimen(), region=("51185008", "SCT", "Chest")), None),
    "head and neck, as cohorts code it": (
        header(specimen(("774007", "SCT", "Head and Neck"), modifier=PRIMARY)), None),
    "region against structure": (header(specimen(LUNG), region=BREAST), None),
    "structure of a metastasis": (header(specimen(LIVER, modifier=METASTATIC)), None),
    "uterus and its mucosa": (
        header(specimen([("35039007", "SCT", "Uterus"), ("2739003", "SCT", "Endometrium")])),
        "endometrium"),
    "colon within the large intestine": (
        header(specimen([("14742008", "SCT", "Large intestine"), ("71854001", "SCT", "Colon")])),
        "colon"),
    "two structures": (header(specimen([LUNG, LIVER])), None),
    "an axillary lymph node of a breast case": (
        header(specimen(("68171009", "SCT", "Axillary lymph node"), short="Breast, SLN 1")),
        "lymph node"),
    "two specimens of one organ": (
        header(specimen(LUNG), specimen(("45653009", "SCT", "Upper lobe of lung"))), "lung"),
    "a tissue array of several organs": (
        header(*(specimen(one) for one in (LUNG, BREAST, LIVER))), None),
    "two specimens, of which one says nothing": (header(specimen(LUNG), specimen()), None),
    "free text alone, English": (header(specimen(short="Breast, left, core biopsy")), "breast"),
    "free text alone, German": (header(specimen(short="Mamma li., Stanzbiopsie")), "breast"),
    "German compounds": (header(specimen(short="Prostatastanze re. basal")), "prostate"),
    "German with umlauts written out": (
        header(specimen(short="Duenndarmbiopsie, Zoeliakie")), "small bowel"),
    "German with umlauts": (header(specimen(short="SCHILDDRÜSE, links")), "thyroid"),
    "Latin": (header(specimen(short="Vesica fellea")), "gallbladder and bile duct"),
    "a phrase that holds another organ's name": (
        header(specimen(short="Bone marrow trephine")), "bone marrow"),
    "renal pelvis is no kidney": (
        header(specimen(short="Renal pelvis")), "renal pelvis and ureter"),
    "non-small is no denial": (
        header(specimen(short="Lung, non-small cell carcinoma, block no. 3")), "lung"),
    "a metastasis and where it came from": (
        header(specimen(short="Liver, metastasis of colon carcinoma")), None),
    "a metastasis whose origin is not said": (
        header(specimen(short="Lebermetastase"), StudyDescription="Kolon"), None),
    "the tumor's name names its origin": (
        header(specimen(short="Leber, Mammakarzinom")), None),
    "lymph node, breast": (header(specimen(short="Lymph node, breast")), None),
    "descriptions that differ": (
        header(specimen(short="Lung", detailed="Lymph node, paratracheal")), None),
    "denied": (header(specimen(short="Tissue, not lung")), None),
    "doubted": (header(specimen(short="Ovary?")), None),
    "a choice": (header(specimen(short="Colon or rectum")), None),
    "a word within a word": (header(specimen(short="Breastfeeding; Lungworm")), None),
    "Cervix uteri": (header(specimen(short="Cervix uteri, PE")), "cervix"),
    "cervical is neck or cervix": (header(specimen(short="Cervical biopsy")), None),
    "tumor_site in the detailed description": (
        header(specimen(short="HE tumor_tissue TS1", detailed="tumor_site: Ovary, tissue_type: "
                        "tumor")), "ovary"),
    "a modifier of the laboratory": (
        header(specimen(LIVER, modifier=("MET", "99LIS", "Metastasis"))), None),
    "the modifier in SNOMED RT": (
        header(specimen(LIVER, modifier=("M-80006", "SRT", "Neoplasm, metastatic"))), None),
    "Haut, German": (header(specimen(short="Haut, Rücken li.")), "skin"),
    "haut, French": (header(specimen(short="Estomac haut")), None),
    "a tumor of unknown origin": (
        header(specimen(("C80.9", "ICDO3", "Unknown primary site"), short="Bone")), None),
    "a morphology is no site": (
        header(specimen(("8140/3", "ICDO3", "Adenocarcinoma, NOS"), short="Lung")), "lung"),
    "words against the body part": (
        header(specimen(short="Lung"), BodyPartExamined="BREAST"), None),
    "several values in one text": (header(specimen(short="Lung\\Liver")), None),
    "body part": (header(BodyPartExamined="BREAST"), "breast"),
    "body part that is none": (header(BodyPartExamined="SPECIMEN"), None),
    "the study's description, the last to be asked": (
        header(StudyDescription="Histology prostate biopsies"), "prostate"),
    "the study's description that names no organ": (
        header(StudyDescription="Histopathology"), None),
    "nothing at all": (header(), None),
}  # fmt: skip

WORDS: dict[str | None, str] = {
    "colon": (
        "hepatic flexure (biopsy)|splenic flexure|Leberflexur|right colic flexure|"
        "Colon, hepatic flexure|Flexura lienalis"
    ),
    "heart": ("pulmonary valve|Herzklappe|heart valve"),
    "larynx": ("thyroid cartilage"),
    None: (
        "pulmonary embolus|renal artery|renal vein thrombus|mammary artery|"
        "RUL wedge, history of colon carcinoma|Z.n. Mamma-Ca, Leberherd|axilla, breast ca|"
        "DD Lunge|am ehesten Lunge|consistent with breast primary|Nierenarterie|"
        "Arterie der Niere|vein of the left kidney|splenic artery|perirenal|peri-renal fat|"
        "tissue adjacent to liver|St. p. Mamma-Ca|s/p colon cancer|bekanntes Kolonkarzinom|"
        "known lung cancer|h/o prostate ca|rule out lung|V.a. Mamma-Ca|Lunge wahrscheinlich|"
        "Lung (suspected)|kidney stone|Brustwand, Mamma-Ca|Wedge RUL, carcinoma of breast|"
        "breast cancer follow up|Tissue, not lung|kein Lungengewebe|Prostataloge|"
        "Harnblase oder Prostata|Lung near pleura|favor ovary|likely pancreas"
    ),
    "breast": (
        "Breast, left axillary tail, ca|Breast core biopsy, history of fibrocystic disease|"
        "Mamma, V.a. Karzinom|Breast, rule out malignancy|Breast, no residual tumor|Mamma-"
        "Ca li.|Breast carcinoma with nerve invasion|Mamma li. bei Z.n. BET|"
        "Breast cancer, left|Mammakarzinom|"
        "Breast, invasive ductal carcinoma, right upper outer quadrant|Mamma nach Chemotherapie"
    ),
    "lung": (
        "Lung carcinoma, right upper lobe|Lung ca RUL|Lunge, Oberlappen rechts, DD Karzinoid|"
        "Lung, c-MET IHC|Lung, artery invasion"
    ),
    "kidney": (
        "Kidney, renal vein margin|Kidney, artery and vein margins|Nierenrundherd|"
        "Kidney tumor, adjacent normal tissue"
    ),
    "bladder": ("Bladder, cold cup biopsy"),
    "lymph node": (
        "pulmonary lymph node|lymph node of the breast|Leistenlymphknoten|axillary lymph node|"
        "internal mammary lymph nodes"
    ),
    "renal pelvis and ureter": ("renal pelvis carcinoma"),
    "prostate": ("Prostate biopsies, follow-up|Prostata, bekannte BPH|Prostate, R/O carcinoma"),
    "liver": ("liver tumor, right lobe|Leberherd"),
    "gallbladder and bile duct": ("common hepatic duct|cystic duct"),
    "skin": ("Skin cancer, axilla"),
    "pancreas": ("pancreatic duct"),
}
"""Descriptions without a code, and the organ that each alone is of."""

CASES |= {
    f"the words {text}": (header(specimen(short=text)), organ)
    for organ, texts in WORDS.items()
    for text in texts.split("|")
}

CASES |= {
    "a place, and the disease of the study": (
        header(specimen(short="Wedge RUL"), StudyDescription="breast cancer follow up"), None),
    "a place, and an old tumor": (
        header(specimen(short="Wedge RUL"), StudyDescription="Breast cancer"), None),
    "a lobe, and the organ in the study": (
        header(specimen(short="Wedge RUL"), StudyDescription="Lung cancer"), "lung"),
    "a place, and an organ in the study": (
        header(specimen(short="Axilla left"), StudyDescription="Breast"), None),
    "a vessel, and its organ as body part": (
        header(specimen(short="Renal vein thrombus"), BodyPartExamined="KIDNEY"), None),
    "a follow-up of the organ itself": (
        header(StudyDescription="Prostate biopsies, follow-up"), "prostate"),
    "a code whose meaning is the flexure alone": (
        header(specimen(("48338005", "SCT", "Hepatic flexure"))), "colon"),
    "the other flexure": (header(specimen(("72592005", "SCT", "Splenic flexure"))), "colon"),
    "a laboratory's code of a vessel": (
        header(specimen(("RA", "99LIS", "Renal artery"), short="x")), None),
    "a code, and a metastasis in the words": (
        header(specimen(LUNG, short="metastasis of colon carcinoma in lung")), None),
    "a code, and a metastasis in German": (
        header(specimen(LUNG, detailed="Lungenmetastase")), None),
    "a code, and a metastasis whose origin is looked for": (
        header(specimen(LIVER, short="CUP")), None),
    "a code, and no metastasis": (
        header(specimen(LUNG, short="Lung, no evidence of metastasis")), "lung"),
    "a code, and no metastasis in German": (
        header(specimen(LIVER, short="Leber, keine Metastasen")), "liver"),
    "a code, and a gene of that name": (header(specimen(LUNG, short="Lung, c-MET IHC")), "lung"),
    "a lymph node is never the origin": (
        header(specimen(("59441001", "SCT", "Lymph Node"), short="Metastasis of breast carcinoma")),
        "lymph node"),
}  # fmt: skip
