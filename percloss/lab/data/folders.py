"""Known corpora where they lie on disk, in the layout that their makers give them. Nothing is downloaded."""

import csv
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from percloss.errors import ArgumentError, AudioFileError, PairingError
from percloss.lab.data.recordings import Recording, audio_below, folder, recordings
from percloss.lab.data.tracks import SpeechInNoise, Track, Tracks
from percloss.scoring.audio import shown

__all__ = ["dns", "dns_pairs", "librimix", "librispeech", "musdb18", "urbansound8k", "voicebank_demand"]

Root = str | os.PathLike[str]

_SPLITS = ("train", "valid", "test")
_STEMS = ("drums", "bass", "other", "vocals")
_ACCOMPANIMENT = ("drums", "bass", "other")
# The tracks of the training set by which models are chosen (configs/mus.yaml of package musdb).
_MUSDB_VALID = frozenset(
    {
        "ANiMAL - Rockshow",
        "Actions - One Minute Smile",
        "Alexander Ross - Goodbye Bolero",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Fergessen - Nos Palpitants",
        "James May - On The Line",
        "Johnny Lokke - Promises & Lies",
        "Leaf - Summerghost",
        "Meaxic - Take A Step",
        "Patrick Talbot - A Reason To Leave",
        "Skelpolu - Human Mistakes",
        "Traffic Experiment - Sirens",
        "Triviul - Angelsaint",
        "Young Griffo - Pennies",
    }
)
# The two speakers of VoiceBank-DEMAND's training set by which models are usually chosen.
_VOICEBANK_VALID = ("p226", "p287")


def musdb18(
    root: Root, split: str = "train", *, sources: tuple[str, ...] = ("vocals", "accompaniment"), **settings: Any
) -> Tracks:
    """MUSDB18-HQ, or MUSDB18 decoded by ``musdbconvert``: ``{train,test}/<track>/<stem>.wav``.

    ``"valid"`` is the 14 tracks of ``train/`` that package musdb sets apart, ``"train"`` the others. The mixture is
    that of the files; in decoded MUSDB18 it went through a coder of its own and is not the sum of its stems.

    Args:
        root: The folder that holds ``train`` and ``test``.
        split: Which part.
        sources: Among drums, bass, other, vocals; and accompaniment, the sum of the first three.
        **settings: As of :class:`Tracks`: segment, sample_rate, augment, seed, skip_broken.

    Raises:
        AudioFileError: No such folder, no track in it, stems that are missing, or files that are broken.
        ArgumentError: No such split or source.

    References:
        [rafii2019]_.
    """
    _known("musdb18", "split", split, _SPLITS)
    for source in sources:
        _known("musdb18", "sources", source, (*_STEMS, "accompaniment"))
    place = folder(Path(root) / ("test" if split == "test" else "train"), needs="MUSDB18's train and test")
    names = sorted(track for track in place.iterdir() if track.is_dir())
    if not names:
        coded = any(place.glob("*.stem.mp4"))
        raise AudioFileError(
            f"{shown(place)}: holds {'only .stem.mp4' if coded else 'no track'}; needed are folders of wav files, one "
            f"a track; {'decode them: musdbconvert IN OUT (package musdb)' if coded else 'check the path'}."
        )
    if split != "test":
        names = [track for track in names if (track.name in _MUSDB_VALID) == (split == "valid")]
        _some(names, place, f"tracks of the split {split!r}")
    parts = {source: _ACCOMPANIMENT if source == "accompaniment" else (source,) for source in sources}
    wanted = ("mixture", *dict.fromkeys(stem for stems in parts.values() for stem in stems))
    _all_there({f"{track.name}/{stem}.wav": track / f"{stem}.wav" for track in names for stem in wanted}, place)
    files = [{stem: track / f"{stem}.wav" for stem in wanted} for track in names]
    return _tracks([track.name for track in names], files, parts=list(parts.values()), sources=sources, **settings)


def librimix(
    root: Root,
    subset: str = "train-100",
    *,
    mixture: str = "mix_clean",
    sample_rate: int = 16_000,
    mode: str = "min",
    **settings: Any,
) -> Tracks:
    """Libri2Mix or Libri3Mix: ``wav16k/min/<subset>/{mix_clean,mix_both,mix_single,s1,s2,...}/<name>.wav``.

    The order of the speakers means nothing: train with ``PermutationInvariant``. ``"mix_single"`` holds the first
    speaker in noise, and so has one source.

    Args:
        root: The folder ``Libri2Mix`` or ``Libri3Mix``.
        subset: ``"train-100"``, ``"train-360"``, ``"dev"`` or ``"test"``.
        mixture: Speakers alone, with noise, or the first with noise.
        sample_rate: Of the files wanted, 8000 or 16000 [Hz].
        mode: Cut to the shortest speaker or filled up to the longest.
        **settings: As of :class:`Tracks`: segment, augment, seed, skip_broken.

    Raises:
        AudioFileError: No such folder, or files that are broken.
        PairingError: Mixtures without a speaker, or speakers without a mixture.

    References:
        [cosentino2020]_.
    """
    _known("librimix", "mixture", mixture, ("mix_clean", "mix_both", "mix_single"))
    _known("librimix", "mode", mode, ("min", "max"))
    place = folder(
        Path(root) / f"wav{sample_rate // 1000}k" / mode / subset, needs="LibriMix's wav16k/min/train-100 or the like"
    )
    mixed = folder(place / mixture, needs=f"LibriMix's {mixture}")
    speakers = sorted(path.name for path in place.iterdir() if re.fullmatch(r"s\d", path.name))
    if mixture == "mix_single":
        speakers = speakers[:1]
    _some(speakers, place, "folders s1, s2")
    by_role = {"mixture": _by_name(mixed), **{speaker: _by_name(place / speaker) for speaker in speakers}}
    names, files = _paired(by_role, place)
    return _tracks(names, files, parts=[(speaker,) for speaker in speakers], sources=tuple(speakers), **settings)


def voicebank_demand(root: Root, split: str = "train", *, speakers: int = 28, **settings: Any) -> Tracks:
    """VoiceBank-DEMAND: ``{clean,noisy}_{trainset_28spk,testset}_wav/<name>.wav``, 48 kHz, paired by name.

    ``"valid"`` is the speakers p226 and p287 of the training set, ``"train"`` the others. The folders' names without
    ``_28spk``, as some copies have them, do as well.

    Args:
        root: The folder that holds them.
        split: Which part.
        speakers: Of the training set: the one with 28, or with 56.
        **settings: As of :class:`Tracks`: segment, sample_rate, augment, seed, skip_broken.

    Raises:
        AudioFileError: No such folder, or files that are broken.
        PairingError: Noisy files without a clean one, or the other way round.

    References:
        [valentini2016]_.
    """
    _known("voicebank_demand", "split", split, _SPLITS)
    base = folder(root, needs="VoiceBank-DEMAND's clean_testset_wav and the like")
    part = "testset" if split == "test" else f"trainset_{speakers}spk"
    if split != "test" and not (base / f"clean_{part}_wav").is_dir() and (base / "clean_trainset_wav").is_dir():
        part = "trainset"
    found = {
        role: _by_name(folder(base / f"{kind}_{part}_wav", needs="VoiceBank-DEMAND's, unpacked"))
        for role, kind in (("mixture", "noisy"), ("speech", "clean"))
    }
    if split != "test":
        found = {
            role: {name: path for name, path in files.items() if (name[:4] in _VOICEBANK_VALID) == (split == "valid")}
            for role, files in found.items()
        }
    names, files = _paired(found, base)
    _some(names, base, f"utterances of the split {split!r}")
    return _tracks(names, files, parts=[("speech",)], sources=("speech",), **settings)


def dns_pairs(root: Root, **settings: Any) -> Tracks:
    """Noisy and clean speech of the DNS challenges, synthesised: ``{noisy,clean}/*_fileid_<number>.wav``.

    What ``noisyspeech_synthesizer`` writes, and the test sets ``synthetic/no_reverb`` and ``synthetic/with_reverb``.

    Args:
        root: The folder that holds ``noisy`` and ``clean``.
        **settings: As of :class:`Tracks`: segment, sample_rate, augment, seed, skip_broken.

    Raises:
        AudioFileError: No such folder, or files that are broken.
        PairingError: A number that is only on one side, or twice.

    References:
        [reddy2020]_.
    """
    base = folder(root, needs="the DNS challenge's noisy and clean")
    found = {
        role: _by_name(folder(base / kind, needs="the DNS challenge's noisy and clean"), key=_file_id)
        for role, kind in (("mixture", "noisy"), ("speech", "clean"))
    }
    names, files = _paired(found, base)
    return _tracks(names, files, parts=[("speech",)], sources=("speech",), **settings)


def dns(root: Root, **settings: Any) -> SpeechInNoise:
    """The DNS challenges' training material, mixed as it is drawn: ``clean*/**`` and ``noise*/**``.

    Args:
        root: The folder ``datasets`` or ``datasets_fullband``.
        **settings: As of :class:`SpeechInNoise`: segment, snr_db, sample_rate, augment, seed, skip_broken.

    Raises:
        AudioFileError: No such folder, nothing in it, or files that are broken.

    References:
        [reddy2020]_.
    """
    base = folder(root, needs="the DNS challenge's clean and noise")
    skip = bool(settings.get("skip_broken", False))
    speech, noise = (
        _some(
            recordings(_below(base, kind), skip_broken=skip),
            base,
            f"audio in {kind} or {kind}_fullband",
        )
        for kind in ("clean", "noise")
    )
    return SpeechInNoise(speech, noise, **settings)


def librispeech(
    root: Root, subsets: Sequence[str] = ("train-clean-100",), *, skip_broken: bool = False
) -> list[Recording]:
    """LibriSpeech, for :class:`SpeechInNoise`: ``<subset>/<speaker>/<chapter>/<utterance>.flac``, 16 kHz.

    Its subsets share no speaker.

    Args:
        root: The folder ``LibriSpeech``.
        subsets: Which to take.
        skip_broken: Whether files without a header are left out, with a warning.

    Raises:
        AudioFileError: No such folder, nothing in it, or files that are broken.

    References:
        [panayotov2015]_.
    """
    found: list[Recording] = []
    for subset in subsets:
        place = folder(Path(root) / subset, needs="LibriSpeech's train-clean-100 or the like")
        found += _some(recordings(sorted(place.glob("*/*/*.flac")), skip_broken=skip_broken), place, "*/*/*.flac")
    return found


def urbansound8k(
    root: Root, folds: Collection[int] = tuple(range(1, 11)), *, skip_broken: bool = False
) -> list[Recording]:
    """UrbanSound8K, noises for :class:`SpeechInNoise`: ``metadata/UrbanSound8K.csv`` and ``audio/fold<n>/<name>.wav``.

    Up to 4 s each, of many rates, mono and stereo: give ``SpeechInNoise`` a rate. Sounds of one recording are in one
    fold, so split by folds.

    Args:
        root: The folder ``UrbanSound8K``.
        folds: Which of the ten to take.
        skip_broken: Whether files that are missing or without a header are left out, with a warning.

    Raises:
        ArgumentError: No such fold.
        AudioFileError: No such folder or table, sounds of it that are missing, or files that are broken.

    References:
        [salamon2014]_.
    """
    if not set(folds) <= set(range(1, 11)) or not folds:
        raise ArgumentError(f"urbansound8k: folds={tuple(folds)} came; there are 1 to 10; use folds=range(1, 10).")
    base = folder(root, needs="UrbanSound8K's audio and metadata")
    table = base / "metadata" / "UrbanSound8K.csv"
    try:
        with table.open(encoding="utf-8", newline="") as lines:
            rows = [(row["fold"], row["slice_file_name"]) for row in csv.DictReader(lines)]
    except (OSError, KeyError) as error:
        raise AudioFileError(
            f"{shown(table)}: cannot be read ({error}); needed is the table with the columns slice_file_name and fold, "
            f"as it was published."
        ) from error
    wanted = {str(fold) for fold in folds}
    files = {f"fold{fold}/{name}": base / "audio" / f"fold{fold}" / name for fold, name in rows if fold in wanted}
    if not skip_broken:
        _all_there(files, base / "audio")
    return _some(recordings(files.values(), skip_broken=skip_broken), base, f"sounds of the folds {sorted(folds)}")


def _below(base: Path, kind: str) -> list[Path]:
    return [file for place in sorted(base.glob(f"{kind}*")) for file in audio_below(place)]


def _known(what: str, argument: str, value: str, known: Iterable[str]) -> None:
    if value not in (listed := tuple(known)):
        raise ArgumentError(f"{what}: {argument}={value!r} came; there are {', '.join(listed)}; use {listed[0]!r}.")


def _some(found: list[Any], place: Path, what: str) -> list[Any]:
    if not found:
        raise AudioFileError(f"{shown(place)}: holds no {what}; check the path, and whether it was all unpacked.")
    return found


def _all_there(files: Mapping[str, Path], place: Path) -> None:
    missing = [name for name, path in files.items() if not path.is_file()]
    if missing:
        raise AudioFileError(
            f"{shown(place)}: {len(missing)} of {len(files)} files are missing: {_first(missing)}; needed are all of "
            f"them; copy or unpack them again."
        )


def _first(names: Iterable[str]) -> str:
    listed = sorted(names)
    return shown(", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else ""))


def _file_id(path: Path) -> str:
    found = re.search(r"fileid_\d+$", path.stem)
    return found[0] if found else path.stem


def _by_name(place: Path, key: Any = lambda path: path.stem) -> dict[str, Path]:
    """Audio files of a folder by what pairs them."""
    found: dict[str, Path] = {}
    for file in audio_below(place):
        if key(file) in found:
            raise PairingError(
                f"{shown(place)}: {shown(file.name)} and {shown(found[key(file)].name)} are both {shown(key(file))}; "
                f"needed is one of them."
            )
        found[key(file)] = file
    return found


def _paired(by_role: Mapping[str, Mapping[str, Path]], place: Path) -> tuple[list[str], list[dict[str, Path]]]:
    """Names that every role has, and their files; it is an error if one has what another has not."""
    every = {name for files in by_role.values() for name in files}
    lacking = {role: missing for role, files in by_role.items() if (missing := sorted(every - files.keys()))}
    if lacking:
        told = "; ".join(f"no {role} of {_first(names)}" for role, names in lacking.items())
        raise PairingError(f"{shown(place)}: {told}; needed is each name on every side; unpack it again.")
    names = _some(sorted(every), place, "audio file")
    return names, [{role: files[name] for role, files in by_role.items()} for name in names]


def _tracks(
    names: Sequence[str],
    files: Sequence[Mapping[str, Path]],
    *,
    parts: Sequence[Sequence[str]],
    sources: tuple[str, ...],
    skip_broken: bool = False,
    **settings: Any,
) -> Tracks:
    """Tracks of the files by role; one of which a file has no header is left out where broken ones are skipped."""
    tracks = []
    for name, roles in zip(names, files, strict=True):
        found = dict(zip(roles, recordings(roles.values(), skip_broken=skip_broken), strict=False))
        if len(found) == len(roles):
            grouped = tuple(tuple(found[role] for role in group) for group in parts)
            tracks.append(Track(name, found["mixture"], grouped))
    return Tracks(tracks, sources=sources, skip_broken=skip_broken, **settings)
