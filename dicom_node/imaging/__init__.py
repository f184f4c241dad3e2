"""From a data set to frames: decoding to RGB, calibrated regions, frame iteration."""
