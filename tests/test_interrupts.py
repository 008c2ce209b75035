"""Ctrl-C and SIGTERM end a program with one line, wherever it is."""

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import hashlib, sys, time
from jaxmodels.interrupts import *
phase = sys.argv[1]
if phase == "imports":
    leave_at_interrupt()
    print("ready", flush=True)
    time.sleep(30)
with leaving_at_interrupt():
    if phase == "work":
        print("ready", flush=True)
        # No handler runs while this one call lasts.
        hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)
    with meeting_interrupt():
        print("ready", flush=True)
        for _ in range(300):
            time.sleep(0.1)
"""


def _program(phase):
    arguments = [sys.executable, "-c", PROGRAM, phase]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    program = subprocess.Popen(arguments, text=True, **pipes)
    assert program.stdout is not None and program.stdout.readline() == "ready\n"
    return program


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["imports", "work"])
def test_before_the_first_step_a_signal_ends_it_at_once(phase, kind):
    program = _program(phase)
    began = time.perf_counter()
    program.send_signal(kind)
    _, said = program.communicate(timeout=20)
    assert program.returncode == 75
    assert said.startswith("stopped before the ") and said.count("\n") == 1
    assert time.perf_counter() - began < 10


def test_what_meets_the_first_one_is_ended_by_the_second():
    program = _program("steps")
    program.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert program.poll() is None
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=20)
    assert (program.returncode, said.count("\n")) == (75, 1)
    assert "interrupted twice" in said


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no Unix")
def test_a_terminal_does_not_reach_children_of_a_thread_that_keeps_it_from_them():
    child = (
        "import threading, subprocess, sys\n"
        "from jaxmodels.interrupts import keep_from_children\n"
        "def work():\n"
        "    keep_from_children()\n"
        "    sleep = [sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(3)']\n"
        "    child = subprocess.Popen(sleep, stdout=subprocess.PIPE)\n"
        "    child.stdout.readline(); print('ready', flush=True)\n"
        "    print(child.wait(), flush=True)\n"
        "import signal; signal.signal(signal.SIGINT, lambda *_: None)\n"
        "thread = threading.Thread(target=work); thread.start()\n"
        "while thread.is_alive(): thread.join(0.1)\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", child], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert program.stdout is not None and program.stdout.readline() == "ready\n"
    os.killpg(program.pid, signal.SIGINT)
    assert program.communicate(timeout=20)[0] == "0\n"
