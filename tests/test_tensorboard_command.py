"""The README's `tensorboard --logdir runs` shows a run."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


def test_the_board_of_the_readme_shows_the_run(searched: dict[str, Any]):
    folder = Path(searched["run"])
    options = ["--logdir", str(folder), "--host", "127.0.0.1", "--port", "0", "--load_fast", "false"]
    command = [sys.executable, "-m", "tensorboard.main", *options]
    board = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert board.stderr is not None
        address = next(filter(None, (re.search(r"http://127\.0\.0\.1:\d+/", line) for line in board.stderr)))[0]
        end = time.monotonic() + 30
        runs: list[str] = []
        while not runs and time.monotonic() < end:
            with urllib.request.urlopen(f"{address}data/runs", timeout=10) as answer:
                runs = json.load(answer)
        assert runs == ["tb"]
    finally:
        board.kill()
        board.wait()
        assert board.stderr is not None
        board.stderr.close()
