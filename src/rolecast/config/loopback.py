"""Which hosts are this machine and nobody else."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address. A host name other than localhost counts as public."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
