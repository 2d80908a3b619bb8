"""Four sets by name: separated voices, speech codecs, noisy speech, and published scores of generated voices.

Each function takes the folder that its docstring describes. None of the recordings comes with percloss.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from percloss.errors import ArgumentError
from percloss.listening.published import bvcc, nisqa, odaq, sebass, tcd_voip
from percloss.listening.rated import RatedSet, Role, Stimulus, Vote, gathered
from percloss.listening.table import joined, number, place, rated, read_rows

__all__ = ["SETS", "codec_mushra", "gensvs_dcr", "open_set", "p835_reference_conditions", "svs_mushra"]

_HOUSE = ("item", "system", "scale", "path", "ref", "mean")


def svs_mushra(root: str | Path) -> RatedSet:
    """Voices separated from 12 songs by 5 systems each, on two MUSHRA scales, by some 22 listeners.

    Ward, Wierstorf, Mason, Grais and Plumbley: BSS Eval or PEASS? Predicting the perception of singing-voice
    separation, ICASSP 2018. Ratings and stimuli from ``github.com/CVSSP/perceptual-study-source-separation``; the
    recordings are of DSD100, for non-commercial research only. The anchor ``Interferer`` is the mixture at another
    level; ``accompaniment_est`` is what it holds beside the voice. So BSS Eval of images gives the published ratios.
    """
    root = place(Path(root), "ratings.csv")
    found = _house(root, "svs_mushra")
    # A stimulus is rated on two scales, and each row has the measures that were published for its scale.
    published: dict[str, dict[str, float]] = {}
    for stimulus in found.stimuli:
        own = published.setdefault(stimulus.est or "", {})
        own.update({name: value for name, value in stimulus.published.items() if not math.isnan(value)})
    stimuli = [
        replace(
            stimulus,
            interferers=(str(Path(stimulus.ref or "").with_name("accompaniment_est.flac")),),
            published=published[stimulus.est or ""],
        )
        for stimulus in found.stimuli
    ]
    kept, problems = joined(stimuli, root, "svs_mushra")
    return replace(
        found,
        stimuli=tuple(kept),
        problems=(*found.problems, *problems),
        source="Ward et al., ICASSP 2018",
        licence="recordings: DSD100 and SiSEC 2016, non-commercial; ratings: no licence stated",
    )


def codec_mushra(root: str | Path) -> RatedSet:
    """Speech of 8 talkers through 7 codecs, MUSHRA, by 9 to 11 listeners.

    Stahl, Windtner and Sontacchi: A bitrate-scalable variational recurrent mel-spectrogram coder for real-time
    resynthesis-based speech coding, IEEE Access 12, 2024. From ``github.com/BenjSta/bernoulli-var-speech-codec``,
    folder ``mushra_results_dataset``, CC BY 4.0. What Lyra decodes is 8 to 10 samples late.
    """
    root = place(Path(root), "ratings.csv")
    found = _house(root, "codec_mushra")
    kept, problems = joined(found.stimuli, root, "codec_mushra")
    return replace(
        found,
        stimuli=tuple(kept),
        problems=(*found.problems, *problems),
        source="Stahl et al., IEEE Access 2024",
        licence="CC BY 4.0",
    )


def p835_reference_conditions(root: str | Path) -> RatedSet:
    """Speech of 4 talkers with noise and modulated noise at 12 levels, rated for signal, background and overall.

    Naderi and Cutler: Subjective evaluation of noise suppression algorithms in crowdsourcing, Interspeech 2021. From
    ``github.com/microsoft/P.808``, folder ``p835_reference_conditions``, MIT and CC BY 4.0. The conditions passed a
    filter that the clean recording did not: against that, no waveform comes within 8 dB. So the reference is c05, which
    has least of both noises, and c05 and the clean recording are not judged themselves.
    """
    root = place(Path(root), "ratings.csv")
    found = _house(root, "p835_reference_conditions")
    kept, problems = joined(found.stimuli, root, "p835_reference_conditions")
    judged = [
        replace(stimulus, ref=str(Path(stimulus.est).with_name(f"c05_{stimulus.content}.flac")))
        for stimulus in kept
        if stimulus.est and stimulus.system not in ("c00", "c05")
    ]
    return replace(
        found,
        stimuli=tuple(judged),
        problems=(*found.problems, *problems),
        source="Naderi and Cutler, Interspeech 2021",
        licence="MIT; recordings CC BY 4.0",
        notes=("The reference is condition c05: the others passed a filter that the clean recording did not.",),
    )


# Of the columns of gensvs_eval_data.csv, those in which smaller is better: a loss, and distances of embeddings.
_SMALLER = ("multi_res_loss", "emb_mse", "fad_song2song")
_NO_MEASURE = ("filepath", "file_id", "trial_id", "group_id", "model_type", "model_name", "DMOS")


def gensvs_dcr(root: str | Path) -> RatedSet:
    """Voices of 50 songs by 5 systems, two of them generative: 12 votes each and 22 published measures, no recordings.

    Bereuter, Stahl, Plumbley and Sontacchi: Towards reliable objective evaluation metrics for generative singing voice
    separation, WASPAA 2025. ``gensvs_eval_data.csv`` from ``github.com/pablebe/gensvs_eval``, MIT. Votes are kept by
    place, as the panels of the three groups of listeners differ.
    """
    root = place(Path(root), "gensvs_eval_data.csv")
    rows = read_rows(root / "gensvs_eval_data.csv", needed=("file_id", "model_name", "model_type", "DMOS"))
    first = rows[0][1]
    measures = [name for name in first if name not in _NO_MEASURE and "rating_" not in name]
    places = [name for name in first if name.startswith("rating_")]
    stimuli = [
        Stimulus(
            score=number(row["DMOS"]),
            where=where,
            system=row["model_name"],
            content=row["file_id"],
            scale="DMOS",
            family=row["model_type"],
            ratings={name: number(row[name]) for name in places},
            published={name: number(row[name]) for name in measures},
        )
        for where, row in rows
    ]
    stimuli = [rated(stimulus, stimulus.ratings) or stimulus for stimulus in stimuli]
    return RatedSet(
        name="gensvs_dcr",
        stimuli=tuple(stimuli),
        better={name: "lower" if name.startswith(_SMALLER) else "higher" for name in measures},
        source="Bereuter et al., WASPAA 2025",
        licence="MIT",
        notes=("It comes without recordings: the measures are those published with it.",),
    )


def _house(root: Path, name: str) -> RatedSet:
    """Stimuli of a folder with ratings.csv, and single ratings where it has ratings_individual.csv."""
    single = root / "ratings_individual.csv"
    votes, problems = (
        gathered(
            Vote((row["item"], row["system"], row["scale"]), row["listener"], number(row["rating"]), where)
            for where, row in read_rows(single, needed=("item", "system", "scale", "listener", "rating"))
        )
        if single.exists()
        else ({}, [])
    )
    stimuli = []
    for where, row in read_rows(root / "ratings.csv", needed=_HOUSE):
        published = {column: number(value) for column, value in row.items() if column.startswith("published_")}
        half = number(row.get("ci95", ""))
        stimulus = Stimulus(
            score=number(row["mean"]),
            where=where,
            est=str(root / row["path"]),
            ref=str(root / row["ref"]),
            interval=None if math.isnan(half) else half,
            system=row["system"],
            content=row["item"],
            scale=row["scale"],
            part=row.get("band", ""),
            role=_role(row),
            published=published,
        )
        stimuli.append(rated(stimulus, votes.get((row["item"], row["system"], row["scale"]))) or stimulus)
    return RatedSet(name=name, stimuli=tuple(stimuli), problems=tuple(problems))


def _role(row: Mapping[str, str]) -> Role:
    if row.get("is_ref") == "True":
        return "reference"
    return "anchor" if row.get("is_anchor") == "True" else "stimulus"


SETS: dict[str, Callable[[str | Path], RatedSet]] = {
    "svs_mushra": svs_mushra,
    "codec_mushra": codec_mushra,
    "p835_reference_conditions": p835_reference_conditions,
    "gensvs_dcr": gensvs_dcr,
    "odaq": odaq,
    "sebass": sebass,
    "nisqa": nisqa,
    "bvcc": bvcc,
    "tcd_voip": tcd_voip,
}
"""Every set that is known by name, and what reads it."""


def open_set(name: str, root: str | Path) -> RatedSet:
    """Read a set by its name.

    Raises:
        ArgumentError: No such name.
        PairingError: The folder is not laid out as the set is.
    """
    if name not in SETS:
        raise ArgumentError(f"set: got {name!r}; known are {', '.join(SETS)}, or give a table: ratings.csv.")
    return SETS[name](root)
