"""Tests of the configuration formats, one file each."""
