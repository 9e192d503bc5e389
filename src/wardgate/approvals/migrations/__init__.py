"""How the tables came to be; `store.py` runs what is missing at each start."""
