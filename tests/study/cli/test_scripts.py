"""The console scripts: what they run, and that a Ctrl-C at any moment leaves an exit code and no traceback."""

import signal
import subprocess
import sys
import time

import pytest

from study.cli import scripts


@pytest.mark.parametrize("script", ["study", "analysis"])
def test_script_runs_its_command(monkeypatch, capsys, script):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        getattr(scripts, script)()
    assert not ended.value.code and "Usage" in capsys.readouterr().out


def test_interrupt_while_a_command_is_made_is_an_exit_code(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("study.cli.app.main", interrupted)
    with pytest.raises(SystemExit) as ended:
        scripts.study()
    assert ended.value.code == scripts.INTERRUPTED


@pytest.mark.parametrize("wait_s", [0.0, 0.3])
def test_interrupt_while_modules_are_imported_leaves_no_traceback(wait_s):
    program = "import sys; print('ready', flush=True); from study.cli.scripts import study; sys.argv[1:] = ['list']; "
    program += "\ntry:\n    study()\nexcept KeyboardInterrupt:\n    sys.exit('traceback')"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    time.sleep(0.2 + wait_s)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    quiet = (0, scripts.INTERRUPTED, -signal.SIGINT)  # the last while Python itself ends, of which a shell makes 130
    assert process.returncode in quiet and "Traceback" not in errors


@pytest.mark.parametrize(("error", "reported"), [(KeyboardInterrupt, False), (ValueError, True)])
def test_interrupt_in_a_destructor_is_not_reported(monkeypatch, capsys, error, reported):
    class Dying:
        def __del__(self):
            raise error

    def main():
        Dying()

    monkeypatch.setattr("study.cli.app.main", main)
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    scripts.study()
    assert (error.__name__ in capsys.readouterr().err) is reported
