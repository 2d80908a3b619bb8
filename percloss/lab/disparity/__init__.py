"""One network, trained with many losses from the same start, and every measure's word on each: where they part.

``config`` says what is trained and what was expected before anything ran, ``run`` trains and scores, ``statistics``
holds models against each other, ``findings`` says what came of it, ``page`` and ``percloss disparity`` show it.
"""
