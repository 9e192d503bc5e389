"""
The service: what needs Python and a network, off the path of requests. A process of its own beside Envoy.

Now: issuers' keys. `python -m wardgate.service FILE` starts it; the supervisor does, and again when it dies.
"""
