"""Running multi-exit models: samples leave one by one; speed, trade-off curves and calibration."""
