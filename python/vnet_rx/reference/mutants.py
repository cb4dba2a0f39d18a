"""The known bugs that can be switched on, to see whether a test finds them.

Each is one marked place in the code: look for its number.
"""

from collections.abc import Iterable
from typing import Final

from vnet_rx.errors import ConfigError

MUTANTS: Final[dict[str, str]] = {
    "M01": "first_len_unclamped: a first mergeable buffer may be longer than its page (S1)",
    "M02": "big_no_bound: a big packet may need more than F frags (S2)",
    "M03": "ring_full_is_oom: a full ring counts as out of memory, refill never rests (S3)",
    "M04": "no_drain_on_error: a bad merged packet leaves its further buffers in the ring (L1)",
    "M05": "zero_buffers_swallows: num_buffers 0 takes every completed buffer (L2)",
    "M06": "short_check_10: the short-packet test uses the 10-byte header in all modes (L3)",
    "M07": "small_len_untrimmed: an over-long small packet is delivered, unwritten bytes too (L4)",
    "M08": "count_before_validate: rx_packets and rx_bytes count bad frames as well (L12)",
    "M09": "rearm_no_recheck: what comes while re-arming is not looked for (L7)",
    "M10": "drop_incomplete: a packet whose buffers are not all completed is dropped (L14)",
    "M11": "id_truncated_u16: the high half of a used id is ignored",
    "M12": "consume_index_stuck: a bad packet is never stepped over, the queue wedges",
    "M13": "buffer_lost_on_drop: a dropped packet's buffers are not recycled",
    "M14": "double_give: the first buffer of a dropped packet is given back twice",
    "M15": "trust_desc_next: a completed chain is walked through the descriptor table",
    "M16": "header_read_twice: what was checked in the header is read again from the page",
    "M17": "csum_u16_wrap: csum_start + csum_offset + 2 is computed in 16 bits",
    "M18": "need_event_no_wrap: new >= event + 1 in place of wrapping arithmetic",
    "M19": "replay_accepted: an id that completed is accepted again",
    "M20": "pool_fifo: the pool hands out its oldest page first",
    "M21": "big_page_leak: the unused pages of a short big packet are forgotten",
    "M22": "refill_stops_early: refill gives up at the first success after running out of memory",
}


def chosen(mutants: Iterable[str]) -> frozenset[str]:
    """The mutants of a queue. Raises ``ConfigError`` for one that does not exist."""
    names = frozenset(mutants)
    for name in sorted(names - MUTANTS.keys()):
        raise ConfigError(f"unknown mutant {name!r}: choose from M01 to M22")
    return names
