"""One campaign: a study launched under faults, then until it is done, then compared with an undisturbed run."""

from __future__ import annotations

import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.soak.faulty_calls import CallFault, Counter, arm
from tests.soak.processes import Command, Ended

GRID = """
name: soak
plugins: [tests.soak.data]
measurements: ["first codes"]
seeds: 2
base: {dataset: bars, latent_dim: 2, hidden_dims: [8], steps: 90, evaluations: 3, batch_size: 20}
arms:
  elu: {activation: elu}
  vae: {model: vae}
  pca: {task: pca}
"""
SEARCH = """
name: soak
plugins: [tests.soak.data]
measurements: ["first codes"]
base: {dataset: bars, latent_dim: 2, hidden_dims: [8], steps: 90, evaluations: 9, batch_size: 20}
arms: {paper: {model: vae}}
search:
  objectives: [val_neg_elbo]
  trials: 6
  scheduler: asha
  first_rung: 10
  space: {model: vae, learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}, beta: [0.5, 2.0]}
"""
SPECS = {"grid": GRID, "search": SEARCH}
CLEAN_LAUNCHES = 8
"""How many launches without a fault a study may need to be done."""
TABLES = ("results", "profiles", "images")


@dataclass
class Fault:
    """One line of the log: a fault, whether it happened, and how the launch that it befell ended."""

    campaign: int
    launch: int
    kind: str
    what: str
    landed: bool
    code: int = 0
    seconds: float = 0.0


@dataclass
class Campaign:
    """A study under faults: `faults` is its log, `outcome` how it came out in the end.

    Args:
        number: The campaign's number; with `seed` it determines every fault.
        study: "grid" or "search".
        folder: An empty folder to work in.
        whole: The run folder of the same study without faults.
        runner: "inline" or "ray".
    """

    number: int
    seed: int
    study: str
    folder: Path
    whole: Path
    runner: str = "inline"
    faults: list[Fault] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed} {self.number}")
        self.run = self.folder / "run"
        self.spec = self.folder / "soak.yaml"
        self.spec.write_text(SPECS[self.study])

    @property
    def outcome(self) -> str:
        """The word "sound", or what is wrong."""
        return "; ".join(dict.fromkeys(self.problems))[:300] or "sound"

    def go(self) -> None:
        """Disturbs 2 to 8 launches, then launches until the study is done, then compares."""
        for launch in range(self.rng.randint(2, 8)):
            self._disturbed(launch)
        self.finish()

    def finish(self) -> None:
        """Launches until the study is done, then compares with the undisturbed run."""
        if self._completes():
            self.problems += compare(self.whole, self.run)
            self.problems += unsound(self.run)

    def _disturbed(self, launch: int) -> None:
        kinds: dict[str, Callable[[int], Iterator[Fault]]] = {
            "file": self._damage,
            "call": self._failing_call,
            "signal": self._signal,
            "command": self._second_command,
            "folder": self._folder_gone,
        }
        weights = [4, 4 if self.runner == "inline" else 0, 2, 2, 1]
        (kind,) = self.rng.choices(list(kinds), weights)
        self.faults += kinds[kind](launch)

    # Each disturbs one launch and yields the faults that befell it

    def _damage(self, launch: int) -> Iterator[Fault]:
        files = sorted(path for path in self.run.rglob("*") if path.is_file() and path.name != ".lock")
        chosen = self.rng.sample(files, min(len(files), self.rng.randint(1, 3)))
        damages = [f"{damage(path, self.rng)} {path.relative_to(self.run)}" for path in chosen]
        ended = self._launch(launch)
        for what in damages:
            yield self._fault(launch, "file", what, True, ended)

    def _failing_call(self, launch: int) -> Iterator[Fault]:
        fault, counter = CallFault.draw(self.rng), Counter()
        ended = self._launch(launch, before=lambda: arm(fault, self.run, counter))
        yield self._fault(launch, "call", str(fault), counter.value > 0, ended)

    def _signal(self, launch: int) -> Iterator[Fault]:
        name = self.rng.choice(["KILL", "KILL", "TERM", "INT", "INT twice", "STOP and CONT"])
        command = self._start(launch)
        time.sleep(self.rng.uniform(0.02, 1.2) * (1 if self.runner == "inline" else 8))
        if name == "STOP and CONT":
            landed = command.send(signal.SIGSTOP)
            time.sleep(0.2)
            command.send(signal.SIGCONT)
        else:
            landed = command.send(getattr(signal, f"SIG{name.split()[0]}"))
            if name == "INT twice":
                time.sleep(0.05)
                command.send(signal.SIGINT)
        yield self._fault(launch, "signal", name, landed, self._ended(command))

    def _second_command(self, launch: int) -> Iterator[Fault]:
        command = self._start(launch)
        faults = []
        for index in range(self.rng.randint(1, 3)):
            time.sleep(self.rng.uniform(0, 0.4))
            words = self.rng.choice([["study", "status"], ["study", "table"], ["analysis", "report"], None])
            landed = command.running
            second = self._start(launch, f"second-{index}") if words is None else self._command(words, launch, index)
            ended = self._ended(second)
            faults.append(self._fault(launch, "command", "launch" if words is None else words[1], landed, ended))
        self._ended(command)
        yield from faults

    def _folder_gone(self, launch: int) -> Iterator[Fault]:
        command, elsewhere = self._start(launch), self.folder / "elsewhere"
        while command.running and "replicates, " not in command.printed:  # it has not opened the folder yet
            time.sleep(0.01)
        time.sleep(self.rng.uniform(0, 0.5))
        landed = command.running
        if landed:
            self.run.rename(elsewhere)
            ended = self._ended(command)
            if self.run.exists():
                self.problems.append("a run folder was made anew where one had gone")
                shutil.rmtree(self.run)
            elsewhere.rename(self.run)
        else:
            ended = self._ended(command)
        yield self._fault(launch, "folder", "moved away and back", landed, ended)

    # Launches

    def _completes(self) -> bool:
        output = ""
        for attempt in range(CLEAN_LAUNCHES):
            ended = self._launch(100 + attempt)
            output = ended.output
            if ended.code == 0:
                return True
            damaged = re.findall(r"(\S+) is damaged: .* if need be after it was deleted", " ".join(output.split()))
            for path in [*re.findall(r"[Dd]elete (\S+)", output), *damaged]:  # the remedy that it prints
                target = Path(path.rstrip(".,:;'\"`").strip("'\"`"))
                if self.run in target.parents and target.is_file():
                    target.unlink()
                elif self.run / "replicates" == target.parent:
                    shutil.rmtree(target)
        self.problems.append(f"not done after {CLEAN_LAUNCHES} launches: {output.strip()[-300:]!r}")
        return False

    def _start(self, launch: int, name: str = "launch", before: Callable[[], None] = lambda: None) -> Command:
        words = ["study", "launch", str(self.spec), "--run", str(self.run), "--device", "cpu"]
        words += ["--runner", self.runner, "--checkpoint-every", "0.05"]
        if (self.runner, self.study) == (
            "ray",
            "search",
        ):  # of two trials at once, the first to report decides whom ASHA stops
            words += ["--concurrency", "1"]
        return Command(words, self.folder / f"{launch}-{name}.log", before)

    def _command(self, words: list[str], launch: int, index: int) -> Command:
        more = ["-o", str(self.folder / "report")] if words[1] == "report" else []
        return Command([*words, str(self.run), *more], self.folder / f"{launch}-{words[1]}-{index}.log")

    def _launch(self, launch: int, before: Callable[[], None] = lambda: None) -> Ended:
        return self._ended(self._start(launch, before=before))

    def _ended(self, command: Command) -> Ended:
        ended = command.wait()
        shown = " ".join(command.words[:2])
        if "Traceback (most recent call last)" in ended.output:
            self.problems.append(f"a traceback of {shown}: {ended.output.strip().splitlines()[-1][:200]!r}")
        if ended.output.endswith("HANG"):
            self.problems.append(f"{shown} hung")
        return ended

    def _fault(self, launch: int, kind: str, what: str, landed: bool, ended: Ended) -> Fault:
        return Fault(self.number, launch, kind, what, landed, ended.code, round(ended.seconds, 2))


def damage(path: Path, rng: random.Random) -> str:
    """Damages a file: a bit flipped, cut short, zeros, deleted, something appended; returns which."""
    content = path.read_bytes()
    how = rng.choice(["flip", "flip", "truncate", "zero", "delete", "append"])
    if how == "delete" or not content:
        path.unlink()
        return "delete"
    place = rng.randrange(len(content))
    changed = {
        "flip": content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :],
        "truncate": content[:place],
        "zero": bytes(len(content)),
        "append": content + bytes(rng.randrange(256) for _ in range(8)),
    }
    path.write_bytes(changed[how])
    return how


def compare(whole: Path, run: Path) -> list[str]:
    """Names the tables that differ from those of an undisturbed run, times aside."""
    problems = []
    for name in TABLES:
        expected, actual = (_rows(folder / f"{name}.parquet") for folder in (whole, run))
        if not expected.equals(actual):
            problems.append(f"{name} differs: {len(actual)} rows for {len(expected)}")
    return problems


def _rows(path: Path) -> pa.Table:
    """A table without times; a profile of times, too, is left out."""
    table = pq.read_table(path).replace_schema_metadata(None)
    if "quantity" in table.column_names:
        table = table.filter([not name.endswith("_s") for name in table["quantity"].to_pylist()])
    return table.drop_columns([name for name in ("train_s", "evaluate_s", "git_commit") if name in table.column_names])


def unsound(run: Path) -> list[str]:
    """Names what is left over or damaged in a run folder that is done."""
    problems = [f"left over: {path.name}" for path in run.rglob(".*.tmp")]
    command = Command(["study", "verify", str(run)], run.parent / "verify.log")
    if (ended := command.wait()).code:
        problems.append(f"study verify: {ended.output.strip()[-300:]!r}")
    return problems
