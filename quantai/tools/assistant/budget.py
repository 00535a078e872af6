"""How much one question may take, and what counts it."""

from dataclasses import dataclass
from typing import Any

from langchain.agents.middleware import AgentMiddleware, hook_config
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately

from quantai.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one question may take; what reaches a limit ends with what there is.

    steps: how often the model is asked. tokens: into the model and out, all steps together. cost: in the currency of
    the prices, which stand per million tokens in the chat settings; None without them. seconds: all of it, but for the
    time that a person takes to approve something. refusals: how many calls a person turns down before it ends.

    >>> Budget(steps=0)
    Traceback (most recent call last):
    quantai.core.errors.InputError: a budget needs steps, tokens, seconds and refusals above 0
    """

    steps: int = 20
    tokens: int = 200_000
    seconds: float = 600.0
    refusals: int = 3
    cost: float | None = None

    def __post_init__(self) -> None:
        if min(self.steps, self.tokens, self.seconds, self.refusals) <= 0:
            raise InputError("a budget needs steps, tokens, seconds and refusals above 0")


class Meter(AgentMiddleware[Any, Any, Any]):
    """Counts what a question takes and ends it when a limit is reached; a call that is not JSON is asked for again."""

    def __init__(self, budget: Budget, price_in: float | None, price_out: float | None) -> None:
        super().__init__()
        self.budget = budget
        self.prices = None if price_in is None and price_out is None else (price_in or 0.0, price_out or 0.0)
        self.steps = self.refusals = 0
        self.tokens = {"input": 0, "output": 0}
        self.stopped = ""

    @property
    def cost(self) -> float | None:
        """What it has cost so far; None without prices."""
        if self.prices is None:
            return None
        return (self.tokens["input"] * self.prices[0] + self.tokens["output"] * self.prices[1]) / 1e6

    @hook_config(can_jump_to=["end"])
    async def abefore_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """End before a step that would be one too many."""
        budget, tokens = self.budget, sum(self.tokens.values())
        if self.refusals >= budget.refusals:
            self.stopped = f"{self.refusals} calls were not approved"
        elif self.steps >= budget.steps:
            self.stopped = f"the limit of {budget.steps} steps is reached"
        elif tokens >= budget.tokens:
            self.stopped = f"the limit of {budget.tokens:,} tokens is reached"
        elif budget.cost is not None and (self.cost or 0.0) >= budget.cost:
            self.stopped = f"the limit of {budget.cost:g} in cost is reached"
        self.steps += 1
        return {"jump_to": "end"} if self.stopped else None

    @hook_config(can_jump_to=["model"])
    async def aafter_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Count the tokens; where a provider does not say, they are estimated from the text."""
        *before, last = state["messages"]
        if not isinstance(last, AIMessage):
            return None
        usage = last.usage_metadata
        self.tokens["input"] += usage["input_tokens"] if usage else count_tokens_approximately(before)
        self.tokens["output"] += usage["output_tokens"] if usage else count_tokens_approximately([last])
        if not last.invalid_tool_calls:
            return None
        again = "These arguments are not JSON. Call again with a JSON object."
        told = [
            ToolMessage(again, tool_call_id=call["id"] or "", name=call["name"] or "", status="error")
            for call in last.invalid_tool_calls
        ]
        return {"messages": told} | ({} if last.tool_calls else {"jump_to": "model"})
