"""The two gene subspaces of the disentangled method: the tumor and its microenvironment.

The lists of the original (59 + 11 + 361 genes) were never released; these are ours. "signatures":
genes of the malignant cell states of glioblastoma (Neftel et al. 2019), of the molecular classes
(Verhaak et al. 2010, Ceccarelli et al. 2016, WHO 2021) and of proliferation, against genes of the
immune and stromal scores (Yoshihara et al. 2013), of glioma-associated myeloid cells and of their
cytokines. "groups" takes whole functional groups of the cohort's signature table instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from training.errors import TrainingError

TUMOR = (
    # mesenchymal-, astrocyte-, oligodendrocyte-progenitor- and neural-progenitor-like states
    "CHI3L1 VIM CD44 ANXA1 ANXA2 LGALS3 HILPDA ADM NDRG1 VEGFA DDIT3 ENO2 SLC2A1 CST3 S100B "
    "SLC1A3 HEPN1 MLC1 SPARCL1 GFAP AQP4 MT3 HOPX CLU S100A6 BCAN PLP1 GPR17 FIBIN OLIG1 OLIG2 "
    "NEU4 OMG APOD DLL1 DLL3 CSPG4 CSPG5 PDGFRA SOX4 SOX11 DCX CD24 STMN1 STMN2 TUBB3 ASCL1 "
    "NRXN3 DLX5 "
    # drivers, classes and copy-number targets
    "EGFR ERBB2 ERBB3 ERBB4 MET FGFR1 FGFR2 FGFR3 IDH1 IDH2 TP53 ATRX CIC FUBP1 NOTCH1 NOTCH2 "
    "PTEN PIK3CA PIK3R1 NF1 RB1 CDKN2A CDKN2B CDKN2C CDK4 CDK6 MDM2 MDM4 CCND2 CCND3 MYC MYCN "
    "TERT BRAF RAF1 AKT1 AKT3 MTOR STAG2 SETD2 KMT2A SMARCA4 PROM1 NES SOX2 KLF6 MEOX2 HMGA2 "
    "IGF1R IL13RA2 NTRK2 NTRK3 TCF12 PHF6 EPHA2 EPHA3 EPHB2 AXL TYRO3 WEE1 DDR1 PTPRZ1 "
    # proliferation
    "MKI67 TOP2A AURKA AURKB BUB1 BUB1B CDK1 CDK2 CHEK1 MELK PLK1 PLK4 TTK PBK PKMYT1 STIL NEK2 "
    "HMMR CDC7 BRCA1 BRCA2 BRIP1 FANCA FANCD2 MSH2 MSH6 BLM VRK1 "
)
MICROENVIRONMENT = (
    # microglia, macrophages and other myeloid cells
    "CD14 CD33 CD68 CD163 CD74 CD86 CD83 CD4 CD36 CD53 CD48 CD52 CD63 CD300A CD300C CD302 CSF1 "
    "CSF1R CSF2 CSF2RB CSF3 CSF3R MRC1 MSR1 SIGLEC1 SIGLEC5 SIGLEC7 SIGLEC9 SIRPA SIRPB1 FCGR1A "
    "FCGR2A FCGR2B FCGR2C FCGR3A FCAR C3 C5 C5AR1 CR1 LILRA1 LILRA2 LILRA4 LILRB1 LILRB2 LILRB3 "
    "LILRB4 LAIR1 TLR1 TLR2 TLR3 TLR4 TLR6 TLR8 ITGAM ITGAX ITGB2 ITGAD LY75 CLEC10A CD209 "
    "ADGRE2 ADGRE5 TYROBP AIF1 P2RY12 TMEM119 CX3CR1 HCK FGR LYN SYK BTK MERTK HAMP SPP1 GRN "
    "SPN CD180 "
    # lymphocytes and checkpoints
    "CD2 CD3D CD3E CD3G CD5 CD6 CD7 CD8A CD8B CD19 CD22 CD27 CD28 CD37 CD38 CD40 CD40LG CD69 "
    "CD72 CD79A CD79B CD96 CD160 CD226 CD244 CD247 CD274 CD276 CD70 CTLA4 PDCD1 PDCD1LG2 LAG3 "
    "ICOS ICOSLG BTLA IL2RA IL2RB IL2RG IL7R PRF1 GZMA GZMB KLRB1 KLRC1 KLRD1 KLRK1 NCR1 NCR3 "
    "KIR2DL4 LCK ZAP70 ITK TXK BLK PTPRC SELL SELPLG SLAMF1 SLAMF7 LY9 MS4A1 CIITA POU2AF1 "
    "FASLG FAS ITGAE ITGAL ITGA4 ENTPD1 NT5E PVR TNFRSF4 TNFRSF9 TNFRSF17 TNFRSF13B TNFRSF13C "
    # chemokines, cytokines and their receptors
    "CCL2 CCL3 CCL4 CCL5 CCL7 CCL8 CCL11 CCL13 CCL14 CCL17 CCL18 CCL19 CCL20 CCL21 CCL22 CCL23 "
    "CCR1 CCR2 CCR4 CCR5 CCR6 CCR7 CXCL1 CXCL2 CXCL3 CXCL5 CXCL6 CXCL8 CXCL9 CXCL10 CXCL11 "
    "CXCL12 CXCL13 CXCL14 CXCL16 CX3CL1 CXCR1 CXCR2 CXCR4 CXCR5 CXCR6 XCL1 XCL2 ACKR1 ACKR3 "
    "IFNG IFNB1 IFNGR1 IL1A IL1B IL1R1 IL1R2 IL1RN IL6 IL6R IL6ST IL10 IL10RA IL10RB IL12A "
    "IL12B IL12RB1 IL13RA1 IL15 IL16 IL17RA IL18 IL18R1 IL18RAP IL21R IL32 IL33 IL34 IL4R LIF "
    "LIFR OSM LTA LTB MIF TNF TNFAIP3 TNFRSF1A TNFRSF1B TNFRSF10B TNFRSF11B TNFRSF12A TNFSF4 "
    "TNFSF10 TNFSF13 TNFSF13B TNFSF14 TGFB1 TGFB2 TGFB3 TGFBR1 TGFBR2 IRF4 NFKB2 JAK1 JAK2 JAK3 "
    "SOCS1 "
    # vessels, stroma and matrix
    "PECAM1 CDH5 CD34 CD93 CD248 ENG KDR FLT1 FLT4 TEK TIE1 ANGPT2 VCAM1 ICAM1 ICAM2 ICAM3 "
    "ICAM4 SELE SELP JAM2 ESM1 THBD PROCR MCAM EDN1 PGF PDGFA PDGFB PDGFC PDGFD PDGFRB PDGFRL "
    "VEGFB VEGFC NRP1 COL1A1 COL1A2 COL3A1 COL4A1 DCN LUM FAP ACTA2 THY1 TNC ELN OGN OMD MYH11 "
    "MYLK LTBP1 LTBP2 LTBP3 GREM1 DDR2 PLAU PLAUR F3 HGF IGF1 IGF2 FGF1 FGF2 FGF7 BMP1 BMP2 "
    "BMP4 INHBA MDK PTN ITGA1 ITGA2 ITGA3 ITGA5 ITGA6 ITGB1 ITGB3 ITGB4 MME ANPEP DPP4 ENPEP "
    "TFRC STC1 STC2 CDH11 LRP1 MRC2 "
)
TUMOR_GROUPS = ("Tumor Suppressor Genes", "Oncogenes", "Protein Kinases", "Transcription Factors")
MICROENVIRONMENT_GROUPS = ("Cell Differentiation Markers", "Cytokines and Growth Factors")


def subspaces(
    columns: Sequence[str],
    groups: Sequence[tuple[str, Sequence[int]]],
    lists: str,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions in `columns` of the tumor genes and of the microenvironment genes.

    `columns` are "<GENE>_<omic>". lists: "signatures" (expression of the symbols above that the
    cohort has), or "groups" (all omics of whole functional groups, `groups` as in FittedGenes).
    Raises TrainingError where a subspace is empty.
    """
    if lists == "signatures":
        found = tuple(_expressed(columns, symbols.split()) for symbols in (TUMOR, MICROENVIRONMENT))
    elif lists == "groups":
        found = tuple(_grouped(groups, names) for names in (TUMOR_GROUPS, MICROENVIRONMENT_GROUPS))
    else:
        raise TrainingError(
            f"found gene_lists={lists!r}, expected 'signatures' or 'groups', choose one of them"
        )
    for name, positions in zip(("tumor", "microenvironment"), found, strict=True):
        if not positions:
            raise TrainingError(
                f"found no {name} gene among {len(columns)} gene columns, expected at least one, "
                "take a cohort with expression or other gene lists"
            )
    return found[0], found[1]


def _expressed(columns: Sequence[str], symbols: Sequence[str]) -> tuple[int, ...]:
    wanted = {f"{symbol}_rnaseq" for symbol in symbols}
    return tuple(i for i, column in enumerate(columns) if column in wanted)


def _grouped(groups: Sequence[tuple[str, Sequence[int]]], names: Sequence[str]) -> tuple[int, ...]:
    return tuple(sorted({i for name, positions in groups if name in names for i in positions}))
