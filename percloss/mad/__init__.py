r"""Maximum differentiation: two sounds that one measure calls equal and another calls as different as they can be.

A reference is spoilt twice. Both times one measure is held at a level; another is driven as low and as high as it will
go, by its gradient. Whoever listens to the pair hears what the first does not: if they sound alike, it was right to
call them equal. Judges that took no part say what they make of it. They are models, not people; the pair is written to
files to be listened to.

References:
    [wang2008]_.
"""

from percloss.mad.files import as_dict, write
from percloss.mad.judges import JUDGES, Judged, Score, judge, mad_score
from percloss.mad.pair import STARTS, Pair, Side, Step, mad

__all__ = [
    "JUDGES",
    "STARTS",
    "Judged",
    "Pair",
    "Score",
    "Side",
    "Step",
    "as_dict",
    "judge",
    "mad",
    "mad_score",
    "write",
]
