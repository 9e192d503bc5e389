"""Wardgate: an identity gateway. Who is calling, and may they do this?"""

__version__ = "0.1.0"
