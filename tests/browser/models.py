"""Widget models in the page, to send messages that no button of ours would send."""

from __future__ import annotations

from typing import Any

from browser.notebook import Notebook

_MODEL = """
const renderers = [];
const walk = (widget) => {
  if (widget._manager?.promise) renderers.push(widget);
  for (const each of widget.widgets ?? widget.layout?.widgets ?? []) walk(each);
};
walk(__lab.panel().content);
const manager = await renderers[0]._manager.promise;
const model = await manager.get_model(id);
"""
_LISTEN = f"""async (id) => {{
  {_MODEL}
  window.__answers = [];
  model.on("msg:custom", (content, buffers) => window.__answers.push([content, buffers.length]));
}}"""
_SEND = f"""async ([id, messages]) => {{
  {_MODEL}
  for (const message of messages) model.send(message);
}}"""


class PageModel:
    """A widget as anybody may reach it who runs a script in the page.

    Args:
        notebook: where it is shown.
        widget: how the kernel names it, as in ``bench._map.channel``.
    """

    def __init__(self, notebook: Notebook, widget: str) -> None:
        self._notebook = notebook
        self._id = notebook.kernel(f"{widget}.model_id")
        notebook.page.evaluate(_LISTEN, self._id)

    def send(self, *messages: object) -> None:
        """Send messages to the kernel, one after another."""
        self._notebook.page.evaluate(_SEND, [self._id, list(messages)])

    def answers(self) -> list[tuple[Any, int]]:
        """What the kernel has sent to it since: the messages, and how many buffers came with each."""
        return [(content, count) for content, count in self._notebook.page.evaluate("() => window.__answers")]
