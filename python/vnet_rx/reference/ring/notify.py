"""When the other side wants to be told (virtio 1.3, 2.7.7 and 2.7.10)."""


def need_event(event: int, new: int, old: int, mutants: frozenset[str]) -> bool:
    """Whether ``event`` lies in the batch old..new, all of them indices modulo 2^16."""
    if "M18" in mutants:
        return new >= event + 1
    return (new - event - 1) & 0xFFFF < (new - old) & 0xFFFF
