"""
The demo: a gateway before a sample application, with the development identity provider and its users.

Everything is real: the gateway is `wardgate run` with the configuration that is printed, the tokens are fetched
and verified. Only the identity provider and the application are made for the demo.
"""

from wardgate.demo.stage import Ports, play

__all__ = ["Ports", "play"]
