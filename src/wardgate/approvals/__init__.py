"""
Requests of agents: who asks, what safety policies say, who decides, and the record of it all (S2).

`desk.py` is what happens to a request, `store.py` where it is kept, `judging.py` what policies say of it. HTTP is not here:
`wardgate.service.agents`.
"""
