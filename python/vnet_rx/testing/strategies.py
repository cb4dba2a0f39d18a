"""Hypothesis strategies for scenarios, and a state machine. Needs hypothesis (extra ``testing``).

Everything is drawn from the tables of ``vnet_rx.testing.schema``, so whatever a scenario can say
can be drawn. Hypothesis shrinks what it finds by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from vnet_rx.testing import schema
from vnet_rx.testing.compare import FIELDS, difference, shown
from vnet_rx.testing.driver import Reference
from vnet_rx.testing.faults import CATALOGUE
from vnet_rx.testing.portable import suited
from vnet_rx.testing.run import Run
from vnet_rx.testing.scenario import Config, Scenario


def configs(
    modes: Sequence[str] = schema.MODES,
    strategies: Sequence[str] = schema.STRATEGIES,
    dialects: Sequence[str] = schema.DIALECTS,
) -> st.SearchStrategy[Config]:
    """Configurations that can be, with small rings."""

    @st.composite
    def config(draw: st.DrawFn) -> Config:
        mode, dialect = draw(st.sampled_from(modes)), draw(st.sampled_from(dialects))
        frags = draw(st.sampled_from((18, 1, 2, 17)))
        made: dict[str, Any] = {
            "mode": mode,
            "dialect": dialect,
            "max_frags": frags,
            "ring_size": 64,
            "pages": 500,
        }
        least = Config(strategy="deferred", **made).descriptors_per_buffer
        sizes = [size for size in (2, 4, 8, 16, 32, 64) if size >= least]
        return Config(
            **{**made, "ring_size": draw(st.sampled_from(sizes))},
            strategy=draw(st.sampled_from(strategies)),
            event_idx=draw(st.booleans()),
            first_index=draw(st.sampled_from((0, 65_530, 65_535))),
        )

    return config()


def values(field: Any) -> st.SearchStrategy[Any]:
    """What one field of the tables may be; numbers near the ends and near what matters often."""
    if isinstance(field, schema.Whole):
        numbers = [n for n in (0, 1, 2, 14, 60, 128, 4096, 65_535) if field.low <= n <= field.high]
        some: st.SearchStrategy[Any] = st.integers(field.low, field.high)
        some = st.one_of(st.sampled_from(numbers), some) if numbers else some
        return st.none() | some if field.default is None else some
    if isinstance(field, schema.Choice):
        return st.sampled_from(field.words)
    if isinstance(field, schema.Hex):
        return st.binary(min_size=1, max_size=24)
    if isinstance(field, schema.Several):
        return st.lists(values(field.item), max_size=3).map(tuple)
    if isinstance(field, schema.Row):
        return st.tuples(*(values(item) for item in field.items))
    if isinstance(field, schema.Record):
        return objects(field.fields)
    if isinstance(field, schema.Named):
        return st.one_of(*(named(field.tag, name, kind) for name, kind in field.kinds.items()))
    raise TypeError(f"no strategy for {type(field).__name__}")


def objects(fields: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of these fields; a field with a default mostly has it."""
    return st.fixed_dictionaries(
        {
            key: values(field)
            if field.default is schema.REQUIRED
            else st.one_of(st.just(field.default), values(field))
            for key, field in fields.items()
        }
    )


def named(tag: str, name: str, fields: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of one kind: an operation, an action."""
    return objects(fields).map(lambda made: {tag: name, **made})


def actions() -> st.SearchStrategy[dict[str, Any]]:
    """Device actions, in normal form."""
    return values(schema.ACTION)


def operations() -> st.SearchStrategy[dict[str, Any]]:
    """Operations, in normal form."""
    return values(schema.OPERATION)


def scenarios(
    config: st.SearchStrategy[Config] | None = None, max_operations: int = 40
) -> st.SearchStrategy[Scenario]:
    """Whole scenarios that begin with a refill."""
    refill: dict[str, Any] = {"op": "refill"}
    return st.builds(
        lambda config, items: Scenario(config, (refill, *items)),
        config or configs(),
        st.lists(operations(), max_size=max_operations),
    )


class RxMachine(RuleBasedStateMachine):
    """A driver and the reference side by side, one operation at a time.

    Subclass it with ``make_driver = staticmethod(my_factory)`` and give ``MyMachine.TestCase`` to
    pytest.
    """

    make_driver: ClassVar[Any]
    """The factory of the driver under test, as a ``staticmethod``."""
    make_reference: ClassVar[Any] = staticmethod(Reference())
    configs: ClassVar[st.SearchStrategy[Config]] = configs()
    """Configurations to draw from."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Make both, and refill."""
        config = data.draw(type(self).configs, label="config")
        empty = Scenario(config, ())
        self.left, self.right = self._both(empty)
        suits = suited(empty, [self.left.driver, self.right.driver])
        if suits.config != config:
            self.left.finish()
            self.right.finish()
            self.left, self.right = self._both(suits)
        seen = shown(self.left.driver) & shown(self.right.driver)
        self.fields = [i for i, name in enumerate(FIELDS) if name in seen]
        self.over = False
        self.step({"op": "refill"})

    def _both(self, scenario: Scenario) -> tuple[Run, Run]:
        return Run(type(self).make_driver, scenario), Run(type(self).make_reference, scenario)

    @rule(operation=operations())
    def step(self, operation: Mapping[str, Any]) -> None:
        """One operation on both, and all there is to see compared."""
        if self.over:
            return
        # What a closed queue answers is a matter of those that show their state.
        self.over = self.content_only and operation["op"] == "close"
        scenario = self.left.scenario.with_operations([operation])
        for one in suited(scenario, [self.left.driver, self.right.driver]).operations:
            found = difference(
                self.left.step(one), self.right.step(one), self.fields, self.content_only
            )
            assert found is None, "{}: {} is not {}".format(*found)
            assert self.left.broken_law is None, self.left.broken_law
            assert self.right.broken_law is None, self.right.broken_law

    @property
    def content_only(self) -> bool:
        """Whether only what is delivered is compared, not how it lies in memory."""
        return FIELDS.index("posted") not in self.fields

    @rule(number=st.sampled_from(sorted(CATALOGUE)), data=st.data())
    def fault(self, number: str, data: st.DataObject) -> None:
        """One fault of the catalogue."""
        cases = CATALOGUE[number].cases(self.left.scenario.config)
        cases = [case for case in cases if case.config is None]
        if cases:
            case = data.draw(st.sampled_from(cases), label=number)
            for one in Scenario.of(self.left.scenario.config, case.operations).operations:
                self.step(one)

    def teardown(self) -> None:
        """Give everything back."""
        if hasattr(self, "left"):
            self.left.finish()
            self.right.finish()
