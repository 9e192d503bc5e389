"""The supervisor against a real Envoy, with configurations small enough to read."""
