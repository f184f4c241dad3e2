import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dicom_node.store.group_commit import BATCH_AT_MOST, GroupCommit


def test_a_lone_item_is_committed_at_once_in_its_own_thread():
    threads = []
    commits = GroupCommit(lambda items: [threads.append(threading.current_thread()) or item * 2 for item in items])
    assert commits.submit(21) == 42
    assert threads == [threading.current_thread()]


def test_who_comes_during_a_commit_shares_the_next_one_and_gets_its_own_result():
    batches, release, entered = [], threading.Event(), threading.Event()

    def commit(items):
        batches.append(list(items))
        entered.set()
        assert release.wait(10)
        return [-item for item in items]

    commits = GroupCommit(commit)
    with ThreadPoolExecutor(100) as threads:
        first = threads.submit(commits.submit, 1)
        assert entered.wait(10)
        rest = [threads.submit(commits.submit, item) for item in range(2, 101)]
        while len(commits._waiting) < 99:
            pass
        release.set()
        assert first.result(10) == -1
        assert [future.result(10) for future in rest] == [-item for item in range(2, 101)]
    assert [len(batch) for batch in batches] == [1, BATCH_AT_MOST, 99 - BATCH_AT_MOST]


def test_one_bad_item_costs_only_itself():
    release, entered = threading.Event(), threading.Event()

    def commit(items):
        entered.set()
        assert release.wait(10)
        if 13 in items:
            raise ValueError("13")
        return list(items)

    commits = GroupCommit(commit)
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(commits.submit, 1)
        assert entered.wait(10)
        futures = {item: threads.submit(commits.submit, item) for item in (12, 13, 14)}
        while len(commits._waiting) < 3:
            pass
        release.set()
        assert (first.result(10), futures[12].result(10), futures[14].result(10)) == (1, 12, 14)
        with pytest.raises(ValueError, match="13"):
            futures[13].result(10)
    assert commits.submit(5) == 5
