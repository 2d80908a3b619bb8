"""Scoring of files: reading and writing audio, and looking at a pair before it is compared."""

#: What is scored where no measure is named: quick, well known, and of one file each.
USUAL = (
    "snr",
    "si_sdr",
    "si_sdr_i",
    "sdr",
    "mrstft",
    "mel",
    "lsd",
    "mcd",
    "nmr",
    "stoi",
    "estoi",
    "pesq_nb",
    "pesq_wb",
)
