"""Wardgate in Python against the real Envoy: both must answer alike."""
