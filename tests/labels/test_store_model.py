"""P12: whatever is done in whatever order, the store holds what a dictionary would, and deletes nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from small_stores import lines, place, said

from workbench.labels.store import LabelStore

State = dict[tuple[int, str], tuple[int, int]]


class StoreAgainstDict(RuleBasedStateMachine):
    """P12: every action can be undone in order, labelling is idempotent, nothing deletes an event.

    The dict holds (value, session) by (place, class); a complete area is the class "*".
    """

    @initialize()
    def start(self) -> None:
        self.holder = tempfile.TemporaryDirectory()
        self.folder = Path(self.holder.name)
        self.store, self.session = LabelStore(self.folder), 0
        self.state: State = {}
        self.past: list[State] = []
        self.future: list[State] = []
        self.lines: list[bytes] = []

    def _act(self, keys: set[tuple[int, str]], value: int) -> None:
        state = {key: held for key, held in self.state.items() if key not in keys}
        state |= {key: (value, self.session) for key in keys} if value else {}
        if state != self.state:
            self.past.append(self.state)
            self.future.clear()
            self.state = state

    @rule(
        numbers=st.sets(st.integers(0, 4), min_size=1),
        name=st.sampled_from(["roof", "<b>"]),
        value=st.sampled_from([-1, 0, 1]),
    )
    def label(self, numbers: set[int], name: str, value: int) -> None:
        self.store.add(map(place, numbers), name, value)
        self._act({(number, name) for number in numbers}, value)

    @rule(number=st.integers(0, 3))
    def declare(self, number: int) -> None:
        self.store.declare_complete([place(number)])
        self._act({(number, "*")}, 1)

    @rule()
    def undo(self) -> None:
        assert (self.store.undo() is None) == (not self.past)
        if self.past:
            self.future.append(self.state)
            self.state = self.past.pop()

    @rule()
    def redo(self) -> None:
        assert (self.store.redo() is None) == (not self.future)
        if self.future:
            self.past.append(self.state)
            self.state = self.future.pop()

    @rule()
    def restart(self) -> None:
        self.store, self.session = LabelStore(self.folder), self.session + 1
        self.past, self.future = [], []

    @invariant()
    def what_holds_is_what_was_said(self) -> None:
        for store in (self.store, LabelStore(self.folder)):
            complete = {(area.geometry.bounds[0], "*"): 1 for area in store.complete()}
            assert said(store) | complete == {key: value for key, (value, _) in self.state.items()}
            assert store.problems == ()

    @invariant()
    def nothing_is_deleted(self) -> None:
        now = lines(self.folder)
        assert set(self.lines) <= set(now)
        self.lines = now

    def teardown(self) -> None:
        if hasattr(self, "holder"):
            self.holder.cleanup()


StoreAgainstDict.TestCase.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_P12_every_action_can_be_undone_and_nothing_is_deleted = StoreAgainstDict.TestCase
