"""Stopping: one signal asks, two end at once, and SIGTERM ends also a process that cannot listen."""

import os
import signal
import subprocess
import sys

import pytest

from study.run.stop import Stop

STUCK = """
import signal, threading, time
from study.run import stop
stop.GRACE_S = 0.5
with stop.Stop() as asked:
    print("ready", flush=True)
    if {deaf}:
        signal.pthread_sigmask(signal.SIG_BLOCK, [])
        signal.signal = None
        lock = threading.Lock()
        lock.acquire()
        while True:  # like a call that is begun again whenever a signal has interrupted it
            lock.acquire(timeout=1)
    while not asked.asked():
        time.sleep(0.01)
print("saved")
"""


def test_one_signal_asks_and_a_second_one_ends_at_once():
    with Stop() as stop:
        assert not stop.asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked() and stop.reason == "SIGTERM received"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def test_wakeup_of_an_event_loop_is_given_back():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    with Stop():
        pass
    assert signal.set_wakeup_fd(-1) == writing
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("deaf", [False, True])
def test_sigterm_ends_a_process_that_saves_and_one_that_is_stuck(deaf):
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK.format(deaf=deaf)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    out, err = process.communicate(timeout=20)
    if deaf:
        assert process.returncode == 130 and "SIGTERM: ended at once. Launch again" in err and "saved" not in out
    else:
        assert process.returncode == 0 and "saved" in out and not err
