#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the JSON Schema of what ``edged bench --json`` writes to docs/schemas/bench.json.

python tools/make_bench_schema.py           write it
python tools/make_bench_schema.py --check   exit with 1 when it is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from edged.bench.report import SCHEMA, Report  # noqa: E402
from tools.report_schema import main, schema_of  # noqa: E402

if __name__ == "__main__":
    sys.exit(main("tools/make_bench_schema.py", REPO / "docs" / "schemas" / "bench.json", schema_of(Report, SCHEMA)))
