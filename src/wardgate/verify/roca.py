"""
The fingerprint of RSA keys from Infineon's flawed library (ROCA, CVE-2017-15361).

Their primes have the form k·M + (65537^a mod M), so the modulus is a power of 65537 modulo every small prime.
By chance a sound key looks so once in 2^27. Source: Nemec et al., "The Return of Coppersmith's Attack", CCS 2017,
section 3.1.
"""

from __future__ import annotations

_PRIMES = (
    *(3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83),
    *(89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167),
)


def has_roca_fingerprint(modulus: int) -> bool:
    """Whether the modulus is a power of 65537 modulo each small prime."""
    return all(modulus % prime in _POWERS[prime] for prime in _PRIMES)


def _powers(prime: int) -> frozenset[int]:
    return frozenset(pow(65537, exponent, prime) for exponent in range(prime - 1))


_POWERS = {prime: _powers(prime) for prime in _PRIMES}
