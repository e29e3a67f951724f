"""The SDK: uploads, downloads and the calls to Score and Song that they need."""
