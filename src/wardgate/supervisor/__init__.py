"""
The supervisor: runs Envoy and the service as its children, and puts configurations in force.

    from wardgate.supervisor import Options, run
    sys.exit(run(Files(load, files), Options(state=state_directory(None, os.environ)), compiler))

`gateway.py` is its life, `change.py` what changes in between; the other files each know one thing: `files` `acks` `xds` how a
configuration reaches Envoy, `envoy` `child` `keeper` processes, `source` `watch` where it comes from, `home` `ports` the machine, `issuer_keys`
`service` keys, `drain`, and `figures` `metrics_server` what is counted.
"""

from collections.abc import Mapping

from wardgate.supervisor.gateway import Options, run
from wardgate.supervisor.home import state_directory
from wardgate.supervisor.source import Files

CODES: Mapping[str, str] = {
    "address-unknown": "The machine has no such address to listen on.",
    "envoy-missing": "Envoy's program is not installed, or not for this platform.",
    "envoy-refused": "Envoy refused the configuration that was made from the policy; the one before stays in force.",
    "envoy-silent": "Envoy did not take a configuration over in time; the one before stays in force.",
    "gateway-running": "Another gateway runs for the same address in the same state directory.",
    "jwks-inline": "The keys that stand in the configuration itself cannot be used.",
    "listen-failed": "The machine does not let us listen on an address.",
    "port-forbidden": "This user may not listen on a port (below 1024).",
    "port-in-use": "Another program listens on an address.",
    "state-directory": "The state directory cannot be made or written.",
}
"""Codes of the problems that are found when a gateway starts or reloads."""

__all__ = ["CODES", "Files", "Options", "run", "state_directory"]
