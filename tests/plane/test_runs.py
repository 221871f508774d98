import pytest

from flowctl_aio import _wire as wire
from flowctl_aio.plane.runs import RunExistsError, Runs, RunStatus, UnknownRunError

FINAL = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.STOPPED]


@pytest.fixture
def changes():
    return []


@pytest.fixture
def runs(clock, changes):
    return Runs(now=clock.now, changed=lambda: changes.append(clock.elapsed))


def test_a_new_run_is_starting(runs, clock):
    run = runs.create("r1", pipeline_name="p", config_yaml="a: 1", component_ids=["src", "out"])
    assert (run.status, run.start_time, run.end_time) == (RunStatus.STARTING, clock.now(), None)
    assert (run.pipeline_name, run.config_yaml, run.component_ids) == ("p", "a: 1", ("src", "out"))
    assert runs.get("r1") == run


def test_a_run_id_is_taken_once(runs, changes):
    first = runs.create("r1", pipeline_name="p")
    with pytest.raises(RunExistsError, match="pipeline run already exists: r1"):
        runs.create("r1", pipeline_name="other")
    assert runs.get("r1") == first
    assert len(changes) == 1


@pytest.mark.parametrize("status", FINAL)
def test_a_final_status_sets_the_end(runs, clock, status):
    runs.create("r1", pipeline_name="p")
    clock.advance(3)
    assert runs.update("r1", status=RunStatus.RUNNING).end_time is None
    clock.advance(3)
    run = runs.update("r1", status=status, error="because")
    assert (run.status, run.end_time, run.error) == (status, clock.now(), "because")


@pytest.mark.parametrize("late", [*FINAL, RunStatus.RUNNING, RunStatus.STARTING])
@pytest.mark.parametrize("final", FINAL)
def test_a_run_that_has_ended_stays_ended(runs, clock, final, late):
    runs.create("r1", pipeline_name="p")
    ended = runs.update("r1", status=final)
    clock.advance(3)
    run = runs.update("r1", status=late, metrics=wire.RunMetrics(events_processed=7), error="late")
    assert (run.status, run.end_time) == (final, ended.end_time)
    assert (run.metrics, run.error) == (wire.RunMetrics(events_processed=7), "late")


def test_an_update_keeps_what_it_does_not_mention(runs):
    runs.create("r1", pipeline_name="p")
    runs.update("r1", status=RunStatus.RUNNING, metrics=wire.RunMetrics(events_processed=7), error="hm")
    run = runs.update("r1")
    assert (run.status, run.metrics, run.error) == (RunStatus.RUNNING, wire.RunMetrics(events_processed=7), "hm")


def test_stop_marks_a_run_stopped_and_leaves_an_ended_one_alone(runs, clock):
    runs.create("r1", pipeline_name="p")
    runs.create("r2", pipeline_name="p")
    runs.update("r2", status=RunStatus.COMPLETED)
    assert (runs.stop("r1").status, runs.stop("r1").end_time) == (RunStatus.STOPPED, clock.now())
    assert runs.stop("r2").status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda runs: runs.get("x"), "pipeline run not found: x"),
        (lambda runs: runs.stop("x"), "pipeline run not found: x"),
        (lambda runs: runs.update("x"), "failed to update pipeline run: pipeline run not found: x"),
    ],
)
def test_an_unknown_run_is_not_found_in_the_words_of_flowctl(runs, changes, ask, text):
    with pytest.raises(UnknownRunError, match=f"^{text}$"):
        ask(runs)
    assert changes == []


def test_a_listing_has_the_newest_ten_first(runs):
    for n in range(12):
        runs.create(f"r{n}", pipeline_name="p")
    runs.update("r3", status=RunStatus.RUNNING)
    assert [run.run_id for run in runs.latest()] == [f"r{n}" for n in range(11, 1, -1)]
    assert [run.run_id for run in runs.latest(limit=2)] == ["r11", "r10"]
    assert len(runs.latest(limit=None)) == 12


def test_a_listing_filters_before_it_counts(runs):
    for n in range(12):
        runs.create(f"r{n}", pipeline_name="even" if n % 2 == 0 else "odd")
    runs.update("r0", status=RunStatus.RUNNING)
    assert [run.run_id for run in runs.latest(pipeline_name="even", limit=1)] == ["r10"]
    assert [run.run_id for run in runs.latest(status=RunStatus.RUNNING, limit=1)] == ["r0"]
    assert runs.latest(pipeline_name="odd", status=RunStatus.RUNNING) == []
