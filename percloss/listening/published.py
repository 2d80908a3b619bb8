"""Listening tests in the layout in which they are published, at a path that you give after you have fetched them.

percloss downloads nothing. Each function says what to fetch, from where, and under which licence.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from scipy.stats import t as student

from percloss.errors import PairingError
from percloss.listening.rated import RatedSet, Role, Stimulus, Vote, gathered
from percloss.listening.table import joined, number, place, rated, read_rows
from percloss.scoring.audio import shown

__all__ = ["bvcc", "nisqa", "odaq", "sebass", "tcd_voip"]


def odaq(root: str | Path) -> RatedSet:
    """Open Dataset of Audio Quality: 30 items, six kinds of degradation at five levels, MUSHRA, 26 listeners.

    Fetch ``ODAQ.zip`` from https://doi.org/10.5281/zenodo.10405774, and for 16 more listeners ``ODAQ_v1_BSU.zip`` from
    https://doi.org/10.5281/zenodo.13377284, and unpack both into one folder. Licence: Creative Commons by item, some
    non-commercial; see ``_detailed_license.csv`` in it. Torcoli et al., ICASSP 2024; Dick et al., AES 157, 2024.

    Args:
        root: That folder. ``ODAQ_listening_test`` in it, at any depth, holds a folder of recordings for each trial;
            what each listener said is in an XML file.
    """
    root = Path(root)
    folder = next((path for path in sorted(root.rglob("ODAQ_listening_test")) if path.is_dir()), None)
    if root.name == "ODAQ_listening_test":
        folder = root
    if folder is None:
        raise PairingError(
            f"{shown(root)}: holds no ODAQ_listening_test; needed is where ODAQ.zip was unpacked: --root DIR."
        )
    votes, problems = [], []
    for path in sorted({*root.rglob("*.xml"), *folder.rglob("*.xml")}):
        try:
            votes += list(_mushra(path, str(path.relative_to(root))))
        except ElementTree.ParseError as error:
            problems.append(f"{shown(path)}: is no XML ({error}); it is left out")
    ratings, doubtful = gathered(votes)
    first = {vote.key: vote.where for vote in reversed(votes)}
    stimuli = []
    for key, own in ratings.items():
        trial, file = key
        stimulus = Stimulus(
            score=0.0,
            where=first[key],
            est=str(folder / trial / file),
            ref=str(folder / trial / "reference.wav"),
            system=Path(file).stem,
            content=trial,
            scale="basic audio quality",
            family=trial.partition("_")[0],
            role=_odaq_role(file),
        )
        stimuli.append(rated(stimulus, own))
    source = "Torcoli et al., ICASSP 2024"
    return _set("odaq", stimuli, folder, [*problems, *doubtful], source, "Creative Commons, by item")


def _mushra(path: Path, listener: str) -> Iterator[Vote]:
    for trial in ElementTree.parse(path).getroot().iter("trial"):
        for file in trial.iter("testFile"):
            name, key = trial.get("trialName", ""), file.get("fileName", "")
            score = number(file.get("score", ""))
            if name and key and not math.isnan(score):
                yield Vote((name, key), listener, score, f"{listener}, {name}/{key}")


def _odaq_role(file: str) -> Role:
    if "reference" in file.lower():
        return "reference"
    return "anchor" if re.search("lp35|lp70", file, re.IGNORECASE) else "stimulus"


def sebass(root: str | Path) -> RatedSet:
    """One of the SEBASS sets: separated sources of SASSEC, SiSEC 2008, SAOC or PEASS-DB, MUSHRA.

    Fetch one from https://www.audiolabs-erlangen.de/resources/2019-WASPAA-SEBASS/ and unpack it. Licence: ratings CC
    BY-NC-SA 4.0, recordings CC BY-NC-SA 2.0. Kastner and Herre, WASPAA 2019 and IWAENC 2022.

    Args:
        root: The folder it unpacks to, with tables of ratings and ``Signals/CONDITION/TRIAL.wav``.
    """
    root = Path(root)
    tables = sorted(root.glob("*.csv"))
    if not tables:
        raise PairingError(
            f"{shown(root)}: holds no table of ratings; needed is an unpacked set of SEBASS: --root DIR."
        )
    votes, problems = [], []
    for table in tables:
        # The three tests of SAOC have a folder of signals each.
        part = re.search(r"SAOC_(\d)", table.name)
        signals = f"Signals_{part[1]}" if part else "Signals"
        for where, row in read_rows(table, needed=("Testname", "Listener", "Trial", "Condition", "Ratingscore")):
            score = number(row["Ratingscore"])
            if math.isnan(score):
                problems.append(f"{where}: Ratingscore is {row['Ratingscore'] or 'empty'}; needed is a number")
            else:
                asked = (row["Testname"], signals, row["Trial"], row["Condition"])
                votes.append(Vote(asked, row["Listener"], score, where))
    ratings, doubtful = gathered(votes)
    first = {vote.key: vote.where for vote in reversed(votes)}
    stimuli = []
    several = len({key[0] for key in ratings}) > 1
    for key, own in ratings.items():
        test, signals, trial, condition = key
        folder, file = root / signals, f"{trial}.wav"
        mix = folder / "anker_mix" / file
        stimulus = Stimulus(
            score=0.0,
            where=first[key],
            est=str(folder / _SEBASS_FOLDER.get(condition, condition) / file),
            ref=str(folder / "orig" / file),
            mix=str(mix) if mix.exists() else None,
            system=condition,
            content=trial,
            scale="basic audio quality",
            part=test if several else "",
            role=_SEBASS_ROLE.get(condition, "stimulus"),
        )
        stimuli.append(rated(stimulus, own))
    source = "Kastner and Herre, WASPAA 2019"
    return _set("sebass", stimuli, root, [*problems, *doubtful], source, "CC BY-NC-SA")


_SEBASS_FOLDER = {"hidden_ref": "orig", "anchor": "anker_mix"}
_SEBASS_ROLE: dict[str, Role] = {
    "hidden_ref": "reference",
    "orig": "reference",
    "anchor": "anchor",
    "anker_mix": "anchor",
}


_NISQA_SCALES = ("mos", "noi", "col", "dis", "loud")


def nisqa(root: str | Path) -> RatedSet:
    """NISQA Corpus: telephone and video call speech, quality and four dimensions of it, ACR by crowds.

    Fetch ``NISQA_Corpus.zip`` from https://zenodo.org/record/4728081 and unpack it. Licence: terms of each source, as
    said in the folders; research. Mittag, Naderi, Chehadi and Moeller, Interspeech 2021.

    Args:
        root: The folder it unpacks to, with ``NISQA_corpus_file.csv``. The sets in it are parts; where a set gives
            references they are used.
    """
    root = place(Path(root), "NISQA_corpus_file.csv")
    stimuli, problems = [], []
    needed = ("db", "con", "file", "filepath_deg", "mos")
    for where, row in read_rows(root / "NISQA_corpus_file.csv", needed=needed):
        ref, votes = row.get("filepath_ref", ""), number(row.get("votes", ""))
        for scale in (scale for scale in _NISQA_SCALES if scale in row):
            score, spread = number(row[scale]), number(row.get(f"{scale}_std", ""))
            if math.isnan(score):
                problems.append(f"{where}: {scale} is {row[scale] or 'empty'}; needed is a number")
                continue
            known = not math.isnan(spread) and votes > 1
            half = float(student.ppf(0.975, votes - 1)) * spread / votes**0.5 if known else None
            stimuli.append(
                Stimulus(
                    score=score,
                    where=where,
                    est=str(root / row["filepath_deg"]),
                    ref=str(root / ref) if ref else None,
                    interval=half,
                    system=row["con"],
                    content=row.get("filename_ref", ""),
                    scale=scale,
                    part=row["db"],
                )
            )
    return _set("nisqa", stimuli, root, problems, "Mittag et al., Interspeech 2021", "terms of each source")


def bvcc(root: str | Path) -> RatedSet:
    """VoiceMOS Challenge 2022, main track (BVCC): synthetic and converted speech of 187 systems, ACR, 8 votes each.

    Fetch ``main.tar.gz`` from https://zenodo.org/record/6572573, unpack it and run the scripts in it, which fetch and
    level the recordings of Blizzard and Voice Conversion Challenges under their own licences. Cooper and Yamagishi, SSW
    2021. There are no references: only measures that take none can be correlated.

    Args:
        root: The folder with ``DATA/sets`` and ``DATA/wav``. Training, development and test set are parts.
    """
    root = place(Path(root), "DATA/sets", "DATA/wav")
    stimuli: list[Stimulus] = []
    problems: list[str] = []
    for name in ("TRAINSET", "DEVSET", "TESTSET"):
        path = root / "DATA" / "sets" / name
        if not path.exists():
            continue
        votes = []
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            cells, where = text.split(","), f"{name}, line {line}"
            score = number(cells[2]) if len(cells) > 4 else float("nan")
            if math.isnan(score):
                problems.append(f"{where}: {text[:60]!r}; needed are system, file, rating, a number and the listener")
            else:
                votes.append(Vote((cells[0], cells[1]), cells[4], score, where))
        ratings, doubtful = gathered(votes)
        first = {vote.key: vote.where for vote in reversed(votes)}
        problems += doubtful
        for (system, file), own in ratings.items():
            est = str(root / "DATA" / "wav" / file)
            stimulus = Stimulus(score=0.0, where=first[system, file], est=est, system=system, scale="MOS", part=name)
            stimuli += filter(None, [rated(stimulus, own)])
    return _set("bvcc", stimuli, root, problems, "Cooper and Yamagishi, SSW 2021", "of each challenge")


def tcd_voip(root: str | Path) -> RatedSet:
    """TCD-VoIP: 384 sentences with chops, clipping, competing talkers, echo and noise, ACR, 24 listeners.

    Fetch the set from https://qxlab.ucd.ie/index.php/tcd-voip-dataset/ (for research; it states no licence), and save
    the sheet ``Subjective Test Scores`` of the workbook in it as a CSV file. Harte, Gillen and Hines, QoMEX 2015.

    Args:
        root: The folder with that file and ``Test Set/KIND/C_..wav`` and ``Test Set/KIND/ref/R_..wav``.
    """
    root = place(Path(root), "Test Set")
    tables = sorted(root.glob("*.csv"))
    if len(tables) != 1:
        names = ", ".join(shown(path.name) for path in tables) or "none"
        raise PairingError(
            f"{shown(root)}: holds {names} as tables; needed is one CSV file, the sheet Subjective Test Scores of the "
            f"workbook."
        )
    stimuli, problems = [], []
    for where, row in read_rows(tables[0], needed=("Filename",)):
        file, score = row["Filename"], number(row.get("sample MOS") or row.get("MOS", ""))
        match = re.fullmatch(r"C_(\d+)_([^_]+)_([^_]+)\.wav", file)
        if not match or math.isnan(score):
            problems.append(f"{where}: {file or 'no Filename'}; needed are C_NUMBER_KIND_TALKER.wav and a sample MOS")
            continue
        folder = root / "Test Set" / match[2].lower()
        stimulus = Stimulus(
            score=score,
            where=where,
            est=str(folder / file),
            ref=str(folder / "ref" / f"R{file[1:]}"),
            system=f"{match[2]}_{match[1]}",
            content=match[3],
            scale="MOS",
            family=match[2],
        )
        votes = {name: number(value) for name, value in row.items() if name.isdigit()}
        ratings = {name: value for name, value in votes.items() if not math.isnan(value)}
        stimuli.append(rated(stimulus, ratings or None) or stimulus)
    return _set("tcd_voip", stimuli, root, problems, "Harte et al., QoMEX 2015", "research")


def _set(
    name: str,
    stimuli: Iterable[Stimulus | None],
    root: Path,
    problems: Sequence[str],
    source: str,
    licence: str,
) -> RatedSet:
    """What is there of a set; a stimulus that lost all its listeners is not."""
    kept, unjoined = joined(filter(None, stimuli), root, name)
    return RatedSet(name=name, stimuli=tuple(kept), problems=(*problems, *unjoined), source=source, licence=licence)
