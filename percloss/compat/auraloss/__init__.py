"""auraloss 0.4.0's modules, names, argument order, defaults and return structures.

``import percloss.compat.auraloss as auraloss`` is the whole change. The numbers are this package's: what is measurably
wrong in auraloss is right here, and ``docs/migrating-from-auraloss.md`` lists each number that moves. Every constructor
takes ``legacy=True``, with which value and gradient are auraloss's own, for a training run that must go on as it began.
For a single mono item the two differ by the floor alone, unless that page says otherwise. Where auraloss stops for a
reason that has nothing to do with the number (a tensor that is not contiguous, a model that is not in the signal's
precision) legacy goes on.

librosa is not needed. State dicts of auraloss load: all they hold are constants, which are built anew.
"""

from percloss.compat.auraloss import freq, perceptual, time, utils

__all__ = ["freq", "perceptual", "time", "utils"]
