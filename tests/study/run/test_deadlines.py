"""Deadlines of packs: they follow from a pack's own times, and a sleep of the driver's does not count."""

from study.run.deadlines import LEAST_S, TICK_S, TIMES, UNKNOWN_S, Deadlines


class Clock:
    """A driver's clock, which looks at its packs every second."""

    def __init__(self):
        self.now = 0.0
        self.deadlines = Deadlines(lambda: self.now)

    def hung_after(self, seconds):
        """The packs that hang after so many seconds."""
        found = {}
        for _ in range(round(seconds)):
            self.now += 1
            found = self.deadlines.hung()
        return found


def report(deadlines, pack, ended=0):
    deadlines.report(pack, members=1, ended=ended)


def test_pack_that_reports_each_second_hangs_after_the_least_time():
    clock = Clock()
    clock.deadlines.begin(0)
    for _ in range(3):
        assert not clock.hung_after(1)
        report(clock.deadlines, 0)
    assert not clock.hung_after(LEAST_S)
    assert clock.hung_after(1) == {0: f"hangs: no report for {LEAST_S + 1:.0f} s, after at most 1.0 s before"}


def test_pack_whose_reports_take_longer_has_longer():
    clock = Clock()
    clock.deadlines.begin(0)
    assert not clock.hung_after(30)
    report(clock.deadlines, 0)
    assert not clock.hung_after(TIMES * 30)
    assert set(clock.hung_after(1)) == {0}


def test_pack_that_has_not_reported_or_measures_has_an_hour():
    clock = Clock()
    clock.deadlines.begin(0)
    clock.deadlines.begin(1)
    clock.hung_after(1)
    report(clock.deadlines, 1, ended=1)
    assert not clock.hung_after(UNKNOWN_S - 1)
    assert set(clock.hung_after(2)) == {0, 1}


def test_driver_that_sleeps_finds_nobody_late():
    clock = Clock()
    clock.deadlines.begin(0)
    clock.hung_after(1)
    report(clock.deadlines, 0)
    clock.now += 10_000
    assert not clock.deadlines.hung()
    assert not clock.hung_after(LEAST_S - TICK_S)


def test_pack_that_has_ended_or_was_kept_waiting_is_not_late():
    clock = Clock()
    for pack in (0, 1):
        clock.deadlines.begin(pack)
        clock.hung_after(1)
        report(clock.deadlines, pack)
    clock.deadlines.end(0)
    clock.hung_after(LEAST_S - 1)
    clock.deadlines.resume(1)
    assert not clock.hung_after(LEAST_S)
    assert set(clock.hung_after(1)) == {1}
