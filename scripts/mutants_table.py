"""Writes the table of the known bugs into docs/testing.md, from tests/mutants.json.

What finds them depends on vnet_rx/testing/generate.py. After a change there:

vnet-rx mutants --seed 2011 --json --save tests/corpus > tests/mutants.json
vnet-rx replay --record tests/corpus/m??.json
python scripts/mutants_table.py
"""

import json
import re
from pathlib import Path

from vnet_rx.reference import MUTANTS

TOP = Path(__file__).parents[1]


def main() -> None:
    file = TOP / "tests" / "mutants.json"
    recorded = json.loads(file.read_text())
    file.write_text(json.dumps(recorded, indent=1) + "\n")
    lines = [
        f"`vnet-rx mutants --seed {recorded['seed']}`, two processes on two cores:",
        "",
        "| mutant | what it does | seconds | operations | minimised to |",
        "|---|---|---|---|---|",
    ]
    for row in recorded["mutants"]:
        lines.append(
            f"| {row['id']} | {MUTANTS[row['id']]} | {row['seconds']:.2f} | "
            f"{row['operations']:,} | {row['minimised_operations']} |"
        )
    path = TOP / "docs" / "testing.md"
    table = "\n".join(lines)
    text = re.sub(
        r"(<!-- mutants -->\n).*?(<!-- /mutants -->)",
        lambda found: f"{found[1]}{table}\n{found[2]}",
        path.read_text(),
        flags=re.DOTALL,
    )
    path.write_text(text)


if __name__ == "__main__":
    main()
