"""How long a user waits: the import in a fresh interpreter, and from a click to hits on an archive."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_IMPORT = "import time, sys; t = time.perf_counter(); import workbench; print(time.perf_counter() - t, 'torch' in sys.modules)"


def import_seconds(runs: int = 5) -> tuple[float, bool]:
    """Median seconds of ``import workbench`` in fresh interpreters, and whether any of them loaded torch."""
    lines = [
        subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(runs)
    ]
    return statistics.median(float(seconds) for seconds, _ in lines), any(torch == "True" for _, torch in lines)


def click_ms(archive: Path, clicks: int, k: int) -> list[float]:
    """Milliseconds from a longitude and latitude to ``k`` hits, at tiles drawn at random."""
    from workbench.session import Session

    with tempfile.TemporaryDirectory() as labels:
        session = Session(archive, labels)
        drawn = np.random.default_rng(0).integers(len(session.archive), size=clicks + 1)
        waits = []
        for number in drawn:
            centre = session.archive.footprint(int(number), "EPSG:4326").centroid
            started = time.perf_counter()
            session.search(lon=centre.x, lat=centre.y, k=k)
            waits.append((time.perf_counter() - started) * 1000)
        session.close()
    return waits[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--clicks", type=int, default=200)
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    seconds, torch = import_seconds()
    waits = click_ms(options.archive, options.clicks, options.k)
    figures = {
        "import_s": round(seconds, 3),
        "import_loads_torch": torch,
        "clicks": len(waits),
        "click_to_hits_median_ms": round(float(np.median(waits)), 2),
        "click_to_hits_p95_ms": round(float(np.percentile(waits, 95)), 2),
    }
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
