"""percloss/references.bib, as sources that can be printed."""

import re
from dataclasses import dataclass
from pathlib import Path

BIB = Path(__file__).resolve().parent.parent / "percloss" / "references.bib"

_ENTRY = re.compile(r"^@\w+\{([^,\s]+),\n(.*?)^\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^  (\w+)\s*= \{(.*?)\},$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Source:
    """One entry.

    Args:
        key: What docstrings and Specs cite it by.
        fields: Its BibTeX fields, without braces, dashes as they are printed.
    """

    key: str
    fields: dict[str, str]

    @property
    def authors(self) -> list[tuple[str, str]]:
        """Family and given names; an organisation has no given name."""
        names = (name.partition(", ") for name in self.fields["author"].split(" and "))
        return [(family, given) for family, _, given in names]

    @property
    def short(self) -> str:
        """Authors and year as they stand in a sentence."""
        families = [family for family, _ in self.authors]
        names = " and ".join(families) if len(families) < 3 else f"{families[0]} et al."
        return f"{names} {self.fields['year']}"

    @property
    def where(self) -> str:
        """Journal, proceedings or series, with volume, number and pages."""
        get = self.fields.get
        place = get("journal") or get("booktitle") or " ".join(filter(None, (get("type"), get("number"))))
        place = place or ("arXiv" if "eprint" in self.fields else "on the web")
        volume = f" {get('volume')}" if "volume" in self.fields else ""
        issue = f" ({get('number')})" if "journal" in self.fields and "number" in self.fields else ""
        tail = [get("institution"), f"pp. {get('pages')}" if "pages" in self.fields else None, get("year")]
        return ", ".join([f"{place}{volume}{issue}", *filter(None, tail)])

    @property
    def links(self) -> dict[str, str]:
        """Where it can be read: text of the link -> address."""
        get = self.fields.get
        known = {
            f"doi:{get('doi')}": f"https://doi.org/{get('doi')}" if "doi" in self.fields else None,
            f"arXiv:{get('eprint')}": f"https://arxiv.org/abs/{get('eprint')}" if "eprint" in self.fields else None,
            str(get("url")): get("url"),
        }
        return {text: address for text, address in known.items() if address}


def sources(text: str | None = None) -> dict[str, Source]:
    """Every entry by its key, in the order of the file."""
    text = BIB.read_text(encoding="utf-8") if text is None else text
    return {
        key: Source(key, {name: _plain(value) for name, value in _FIELD.findall(body)})
        for key, body in _ENTRY.findall(text)
    }


def _plain(value: str) -> str:
    return " ".join(value.replace("{", "").replace("}", "").replace("--", "–").split())
