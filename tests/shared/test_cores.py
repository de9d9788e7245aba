"""Work that is spread over the cores."""

import threading

import pytest

from shared import cores
from shared.cores import cores_here, cores_of_hospital, spread


@pytest.fixture(params=[1, 3])
def number(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(cores, "cores_of_hospital", lambda: request.param)
    threads: int = request.param
    return threads


def test_results_come_in_the_order_of_the_items_whoever_is_first(number: int) -> None:
    late = threading.Event()

    def work(item: int) -> int:
        if number > 1:
            _ = late.wait(10) if item == 0 else late.set()
        return item * item

    assert list(spread(work, range(20))) == [item * item for item in range(20)]


def test_no_item_has_no_result(number: int) -> None:
    assert list(spread(lambda item: item, [])) == []


def test_the_first_error_in_order_is_raised_and_the_rest_left(number: int) -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item in (2, 3):
            raise ArithmeticError(str(item))
        return item

    results = spread(work, range(1000))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ArithmeticError, match="2"):
        next(results)
    assert len(begun) < 1000


def test_a_hospital_has_the_cores_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(cores, "cores_here", lambda: 16)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cores_of_hospital() == 2
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cores_of_hospital() == 16
    monkeypatch.undo()
    assert cores_here() >= 1
