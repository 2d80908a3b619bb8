"""What Sphinx lacks here: formulas without a script from the network, and the bibliography as citations."""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from docs import cards
from docs.bibliography import Source, sources

logger = logging.getLogger(__name__)

# docutils puts the index of an accented letter below it, as the limit of a sum; it belongs beside.
_INDEX_BELOW = re.compile(r"<munderover>\s*(<mi>[^<]*</mi>)(.*?)(<mo [^>]*>[^<]*</mo>)\s*</munderover>", re.DOTALL)
_INDEX_BESIDE = r'<msub><mover accent="true">\1\3</mover>\2</msub>'


class References(SphinxDirective):
    """Every source as a citation, so that ``[key]_`` in a docstring becomes a link to it."""

    def run(self) -> list[nodes.Node]:
        """The citations, in the order of references.bib."""
        self.env.note_dependency("../percloss/references.bib")
        return [self._citation(source) for source in sources().values()]

    def _citation(self, source: Source) -> nodes.citation:
        authors = ", ".join(f"{given} {family}".strip() for family, given in source.authors)
        text = nodes.paragraph("", f"{authors}. ")
        text += nodes.emphasis("", source.fields["title"])
        text += nodes.Text(f"{'' if source.fields['title'].endswith('?') else '.'} {source.where}.")
        for name, address in source.links.items():
            text += nodes.Text(" ")
            text += nodes.reference("", name, refuri=address)
        citation = nodes.citation("", nodes.label("", source.key), text)
        citation["names"].append(nodes.fully_normalize_name(source.key))
        self.set_source_info(citation)
        self.state.document.note_citation(citation)
        self.state.document.note_explicit_target(citation, citation)
        return citation


def _mathml(translator: Any, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers show by themselves."""
    block = isinstance(node, nodes.math_block)
    try:
        formula = _INDEX_BELOW.sub(_INDEX_BESIDE, tex2mathml(node.astext(), as_block=block))
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        formula = f"<code>{translator.encode(node.astext())}</code>"
    translator.body.append(f'<div style="overflow: auto hidden">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("references", References)
    app.connect("builder-inited", lambda app: cards.draw())
    app.add_html_math_renderer("mathml", (_mathml, None), (_mathml, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
