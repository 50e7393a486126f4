"""Stand-ins for AI services, on this machine: each speaks its service's protocol, counts usage and fails on demand.

`base.py` has what they share. The official SDK of a service parses what its emulator answers; the contract suite in
`tests/providers/contract.py` runs the providers against them.
"""

from tests.emulators.base import Call, Emulator, Fault

__all__ = ["Call", "Emulator", "Fault"]
