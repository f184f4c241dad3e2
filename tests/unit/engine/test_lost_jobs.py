from dicom_node.engine.lost_jobs import LostJobs


class Queue:
    """What the engine believes to run here, and what was given back to it."""

    def __init__(self, **believed: str) -> None:
        self.believed = believed
        self.given_back: list[tuple[str, str]] = []

    def running(self, executor_id: str) -> dict[str, str]:
        assert executor_id == "io-0"
        return self.believed

    def give_back(self, key: str, engine_queue: str) -> None:
        self.given_back.append((key, engine_queue))


def test_what_does_not_run_two_rounds_long_is_given_back_once() -> None:
    queue = Queue(gone="io", lane="io-lanes")
    jobs = LostJobs(queue, "io-0")  # type: ignore[arg-type]
    jobs.give_back()
    assert not queue.given_back
    jobs.give_back()
    assert queue.given_back == [("gone", "io"), ("lane", "io-lanes")]
    jobs.give_back()  # the engine has not begun it yet: it is looked at anew
    assert len(queue.given_back) == 2


def test_what_runs_is_never_given_back() -> None:
    queue = Queue(here="io")
    jobs = LostJobs(queue, "io-0")  # type: ignore[arg-type]
    with jobs.running("here"):
        with jobs.running("here"):
            pass
        for _ in range(3):
            jobs.give_back()
    assert not queue.given_back


def test_what_began_or_ended_between_two_rounds_is_not_given_back() -> None:
    queue = Queue(late="io", early="io")
    jobs = LostJobs(queue, "io-0")  # type: ignore[arg-type]
    jobs.give_back()
    del queue.believed["early"]
    with jobs.running("late"):
        jobs.give_back()
    assert not queue.given_back
