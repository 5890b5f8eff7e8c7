"""What ships for those who test against craft_stream: contracts of what others implement, and a message system in memory.

Each `check_` is a function that any test framework can call: it returns, or raises ContractError with the sentence of the
contract that is broken.
"""

from craft_stream.testing.contracts import ContractError, check_sink, check_source
from craft_stream.testing.rows import check_encoder, check_signal
from craft_stream.testing.transports import check_transport

__all__ = ["ContractError", "check_encoder", "check_signal", "check_sink", "check_source", "check_transport"]
