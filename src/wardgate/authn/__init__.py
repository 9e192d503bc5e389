"""
How a caller proves who they are: one file a method.

`METHODS` is the one place where a method is named, in the order in which a credential is looked for.
"""

from __future__ import annotations

from wardgate.authn import jwt

METHODS = (
    jwt,  # a bearer JWT verifies natively: nothing is asked of Python
)
