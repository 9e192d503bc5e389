"""
How a caller proves who they are: one file a method.

There is one so far: a bearer JWT, which verifies natively (`jwt.py`). With the second comes the ordered list.
"""
