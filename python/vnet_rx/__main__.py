"""``python -m vnet_rx``."""

import sys

from vnet_rx.cli import main

sys.exit(main())
