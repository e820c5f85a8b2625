"""Running multi-exit models: samples leave one by one; speed and trade-off curves."""
