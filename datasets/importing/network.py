"""Which addresses an importer may reach: SSRF is refused here, once for all sources.

A stand-in until it is written: the interface is `Network.addresses` (resolve and check a host), used by every source.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """What may be reached. `private`: networks (CIDR) that the administrator of this installation allows."""

    private: tuple[str, ...] = ()

    def addresses(self, host: str, port: int) -> list[str]:
        """The IP addresses of the host that may be reached, resolved once: connect to these and not to the name.

        Raises SourceError (code "address_refused" or "host_unknown").
        """
        raise NotImplementedError
