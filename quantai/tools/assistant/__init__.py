"""An assistant: a chat model that works with the tools, step by step, within limits.

| module | what it holds |
|---|---|
| `assistant` | `Assistant`, what a user calls: it asks the model, runs tools, writes all of it down |
| `research` | `Research`, one question under way: steps as they happen, for a loop, a thread or an event loop |
| `report` | `Step` and `Report`: what was said and done, and the objects that came of it |
| `budget` | `Budget`: how many steps, tokens, seconds and how much money one question may take |
| `transcript` | what was said and done as lines of JSON, read back and played again |
| `playback` | `Playback`: a chat model that says what a script says |
"""

from quantai.core.errors import MissingExtra

try:
    from quantai.tools.assistant.assistant import Assistant, replay_transcript
    from quantai.tools.assistant.budget import Budget
    from quantai.tools.assistant.playback import Playback, says
    from quantai.tools.assistant.report import Report, Step
    from quantai.tools.assistant.research import Research
    from quantai.tools.assistant.transcript import read_transcript
except ModuleNotFoundError as error:
    if (error.name or "").startswith("quantai"):
        raise
    raise MissingExtra(error.name or "langchain", "knowledge") from None

__all__ = [
    "Assistant",
    "Budget",
    "Playback",
    "Report",
    "Research",
    "Step",
    "read_transcript",
    "replay_transcript",
    "says",
]
