"""Pure tensor functions: transforms, scales, banks, resampling and the floors; nothing here owns a tensor."""
