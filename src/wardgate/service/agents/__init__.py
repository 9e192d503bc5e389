"""
HTTP for the requests of agents: `wardgate.approvals` in S2's words.

`api.py` is what is where, `bodies.py` what may be sent, `openapi.py` tells both to programs, `watching.py` is for those who
wait, `console.py` and `screens.py` are for browsers, `granting.py` spends grants, `keeping.py` opens the store and lets requests expire.
"""

FILE = "approvals.db"
"""In the state directory, where no other store is named."""
