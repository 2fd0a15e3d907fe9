"""Real child processes: what they say arrives, and none of them survives."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from QSMReconUI.job import Run, environment, library_command

pytestmark = pytest.mark.skipif(os.name == "nt", reason="processes are watched through /proc-like signals")

TREE = """
import signal, subprocess, sys, time
if {stubborn}: signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, file=sys.stderr, flush=True)
time.sleep(60)
"""


def run(tmp_path: Path, code: str, **more: Any) -> Run:
    started = Run([sys.executable, "-c", code], tmp_path / "job with ü", **more)
    started.start()
    return started


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_events_arrive_whole_and_in_order(tmp_path: Path) -> None:
    code = (
        "import json, sys, time\n"
        "for i in range(5):\n"
        "    text = json.dumps(dict(event='progress', stage='b', fraction=i / 4, text='ü' * 5000))\n"
        "    sys.stdout.write(text[:9]); sys.stdout.flush(); time.sleep(0.02); print(text[9:], flush=True)\n"
        "print('not json'); print(json.dumps(dict(event='done', scan='s', outputs=[])))\n"
        "print('a word', file=sys.stderr)"
    )
    seen, said = [], []
    outcome = run(tmp_path, code, stages=["a", "b"], on_progress=seen.append, on_log=said.append).wait()
    assert [round(progress.fraction, 3) for progress in seen] == [0.5, 0.625, 0.75, 0.875, 1.0]
    assert all(progress.text == "ü" * 5000 for progress in seen)
    assert outcome.kind == "done"
    assert outcome.events == ({"event": "done", "scan": "s", "outputs": []},)
    assert said == ["not json", "a word"]
    assert outcome.details == "a word"


def test_the_time_left_follows_the_progress(tmp_path: Path) -> None:
    now = [0.0]
    seen: list[Any] = []
    started = Run([], tmp_path, stages=["a", "b"], on_progress=seen.append, clock=lambda: now[0])
    started._began = 0.0
    for moment, stage, fraction in ((1, "a", 0.02), (10, "a", 0.5), (30, "b", 0.5)):
        now[0] = moment
        started._report({"stage": stage, "fraction": fraction})
    assert [progress.seconds_left for progress in seen] == [None, 30.0, 10.0]


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancel_ends_the_whole_tree_within_two_seconds(tmp_path: Path, stubborn: bool) -> None:
    pids: list[str] = []
    started = run(tmp_path, TREE.format(stubborn=stubborn), on_log=pids.append)
    while not pids:
        assert started.poll() is None
        time.sleep(0.02)
    assert alive(int(pids[0]))
    asked = time.monotonic()
    started.cancel()
    assert started.wait().kind == "cancelled"
    assert time.monotonic() - asked < 2
    deadline = time.monotonic() + 1
    while alive(int(pids[0])) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(int(pids[0]))


def test_a_child_that_was_done_first_is_done(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: None); print('{}', flush=True); time.sleep(0.3)"
    )
    started = run(tmp_path, code)
    while not started._events:
        assert started.poll() is None
        time.sleep(0.01)
    started.cancel()
    assert started.wait().kind == "done"


def test_grandchildren_of_a_child_that_died_are_ended_too(tmp_path: Path) -> None:
    pids: list[str] = []
    code = TREE.format(stubborn=False).replace("\ntime.sleep(60)", "\nsys.exit(3)")
    started = run(tmp_path, code, on_log=pids.append)
    assert started.wait().kind == "error"
    deadline = time.monotonic() + 1
    while alive(int(pids[0])) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(int(pids[0]))


def test_end_now_does_not_wait(tmp_path: Path) -> None:
    started = run(tmp_path, TREE.format(stubborn=True))
    asked = time.monotonic()
    started.end_now()
    assert time.monotonic() - asked < 1
    assert started.poll().kind == "cancelled"


def test_a_missing_program_is_an_outcome(tmp_path: Path) -> None:
    started = Run([str(tmp_path / "no such program")], tmp_path)
    started.start()
    outcome = started.poll()
    assert outcome.kind == "error"
    assert "could not be started" in outcome.sentence


def test_the_library_is_found_from_anywhere(tmp_path: Path) -> None:
    started = Run(library_command("stages", "--json"), tmp_path / "elsewhere")
    started.start()
    said: list[str] = []
    started.on_log = said.append
    outcome = started.wait()
    assert outcome.kind == "done", outcome.details
    assert any(stage["name"] == "tkd" for stage in json.loads("\n".join(said)))


def test_the_environment_keeps_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/one", "/two"]))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    assert environment()["PYTHONPATH"].split(os.pathsep)[1:] == ["/one", "/two"]
    assert environment()["HTTPS_PROXY"] == "http://proxy"
