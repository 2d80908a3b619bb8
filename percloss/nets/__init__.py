"""Feature nets: waveforms in, named feature maps out, for ``percloss.measures.features.FeatureDistance``.

A feature net is a module with two attributes, ``sample_rate`` (its own [Hz]) and ``layers`` (the names it can return),
that takes waveforms ``(batch, time)`` within +-1 and returns a dict of name -> ``(batch, channels, frames...)``. Each
is imported from its own file. None downloads anything: weights come with a package, or from a path.
"""
