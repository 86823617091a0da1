"""Runs code in a notebook's kernel from a test, past the page and past the server, also while a cell is running."""

from __future__ import annotations

import ast
import json
import re
import time
from pathlib import Path
from typing import Any

import zmq
from jupyter_client import KernelClient

_AS_JSON = "__import__('json').dumps(({}), default=lambda value: getattr(value, 'tolist', value.__repr__)())"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class KernelError(AssertionError):
    """Code that a test ran in the kernel raised; the message is the kernel's traceback."""


class Kernel:
    """A second client of one kernel, on its shell and control sockets only.

    Code runs in a subshell of its own (a thread of the kernel), so it does not wait for a running cell, and the page's
    comm messages do not wait for it, whether or not JupyterLab uses subshells. It leaves no output, no history and no
    execution count. ``iopub`` is left alone: the megabytes that widgets send would have to be read.

    Args:
        connection_file: written by the server when it started the kernel.
    """

    def __init__(self, connection_file: Path) -> None:
        self._context = zmq.Context()
        self._client = KernelClient(connection_file=str(connection_file), context=self._context)
        self._client.load_connection_file()
        self._control = self._client.connect_control()
        self._shell = self._client.connect_shell()
        self._subshell: str | None = None

    def __call__(self, code: str, *, main: bool = False, timeout_s: float = 60) -> Any:
        """Run code; the value of the last line, if that is an expression, comes back through JSON, else None.

        Arrays and their numbers come back as lists and numbers, what JSON cannot say as its ``repr``.

        Args:
            code: one expression, or statements; names live in the notebook's namespace.
            main: run in the main thread, after the cells that run or wait.
            timeout_s: how long to wait for the answer.

        Raises:
            KernelError: the code raised.
            TimeoutError: no answer.
        """
        lines = ast.parse(code).body
        last = lines.pop() if lines and isinstance(lines[-1], ast.Expr) else None
        value = _AS_JSON.format(ast.unparse(last.value)) if isinstance(last, ast.Expr) else "'null'"
        content = {
            "code": "\n".join(ast.unparse(line) for line in lines),
            "silent": True,
            "store_history": False,
            "allow_stdin": False,
            "user_expressions": {"value": value},
        }
        answer = self._execute(content, main, timeout_s)
        if answer.get("ename") == "UnknownSubshellError":
            self._subshell = None
            answer = self._execute(content, main, timeout_s)
        _raise_if_failed(answer)
        answered = answer["user_expressions"]["value"]
        _raise_if_failed(answered)
        return json.loads(ast.literal_eval(answered["data"]["text/plain"]))

    def close(self) -> None:
        """Leave the kernel; it goes on."""
        self._control.close(linger=0)
        self._shell.close(linger=0)
        self._context.term()

    def _execute(self, content: dict[str, Any], main: bool, timeout_s: float) -> dict[str, Any]:
        request = self._client.session.msg("execute_request", content)
        if not main:
            if self._subshell is None:
                create = self._client.session.msg("create_subshell_request")
                self._subshell = self._ask(self._control, create, timeout_s)["subshell_id"]
            request["header"]["subshell_id"] = self._subshell
        return self._ask(self._shell, request, timeout_s)

    def _ask(self, socket: zmq.Socket[bytes], request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        session = self._client.session
        session.send(socket, request)
        until = time.monotonic() + timeout_s
        while (left_s := until - time.monotonic()) > 0:
            if socket.poll(int(left_s * 1000) + 1):
                _, answer = session.recv(socket, mode=zmq.NOBLOCK)
                if answer and answer["parent_header"].get("msg_id") == request["header"]["msg_id"]:
                    return dict(answer["content"])
        raise TimeoutError(f"The kernel did not answer within {timeout_s} s: {request['content'].get('code')!r}")


def _raise_if_failed(answer: dict[str, Any]) -> None:
    if answer["status"] != "ok":
        lines = [*answer.get("traceback", []), f"{answer.get('ename')}: {answer.get('evalue')}"]
        raise KernelError(_COLOURS.sub("", "\n".join(lines)))
