"""The measures, one family a file. This table is the catalogue: looking a name up imports one file."""

TABLE: dict[str, str] = {
    "mse": "percloss.measures.waveform:MSE",
    "mae": "percloss.measures.waveform:MAE",
    "snr": "percloss.measures.ratios:SNR",
    "si_sdr": "percloss.measures.ratios:SISDR",
    "sd_sdr": "percloss.measures.ratios:SDSDR",
    "snr_i": "percloss.wrappers:SNRImprovement",
    "si_sdr_i": "percloss.wrappers:SISDRImprovement",
    "stft": "percloss.measures.spectral:STFTDistance",
    "mrstft": "percloss.measures.spectral:MultiResolutionSTFTDistance",
    "mel": "percloss.measures.spectral:MelDistance",
    "multi_scale_mel": "percloss.measures.spectral:MultiScaleMelDistance",
    "lsd": "percloss.measures.spectral:LogSpectralDistance",
    "pesq_nb": "percloss.measures.speech:PESQNarrowBand",
    "pesq_wb": "percloss.measures.speech:PESQWideBand",
    "stoi": "percloss.measures.speech:STOI",
    "estoi": "percloss.measures.speech:ESTOI",
}
