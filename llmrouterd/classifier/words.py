"""The human's words in a request, and a client's background tasks, told apart.

Not the human's: system prompts, tool results, injected documents, attachments' descriptions,
reminders that coding agents add, and the templates of Open WebUI's tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import re2

if TYPE_CHECKING:
    from llmrouterd.chat import Message

_INJECTED = re2.compile(
    r"(?s)"
    + "|".join(
        rf"<{tag}(?:\s[^>]*)?>.*?</{tag}>"
        for tag in (
            "context",
            "attached_files",
            "source",
            "documents?",
            "system-reminder",
            "environment_details",
            "file_content",
            "memory",
            "tool_result",
        )
    )
)
_USER_QUERY = re2.compile(
    r"(?s)<(?:user_query|user_message|task)>(.*?)</(?:user_query|user_message|task)>"
)
_RAG_HEAD = "### Task:\nRespond to the user query using the provided context"
# Open WebUI's templates by the line after `### Task:`, which alone is no sign: its template for
# a chat over documents begins with it too.
_TASK_LINES = (
    ("title", ("Generate a concise, 3-5 word title", "Generate a concise title")),
    ("tags", ("Generate 1-3 broad tags",)),
    ("follow_up", ("Predict 3-5 useful messages", "Suggest 3-5 relevant follow-up")),
    ("query", ("Analyze the chat history to determine the necessity of generating search",)),
    ("autocomplete", ("You are an autocompletion system",)),
    (
        "image_prompt",
        ("Generate a detailed prompt for am image", "Generate a detailed prompt for an image"),
    ),
)
_OTHER_HEADS = (
    ("emoji", "Your task is to reflect the speaker's likely facial expression"),
    ("function_calling", "Available Tools: "),
    ("moa", "You have been provided with a set of responses from various models"),
)
_HEADER_TASKS = {
    "title_generation": "title",
    "tags_generation": "tags",
    "follow_up_generation": "follow_up",
    "emoji_generation": "emoji",
    "query_generation": "query",
    "image_prompt_generation": "image_prompt",
    "autocomplete_generation": "autocomplete",
    "function_calling": "function_calling",
    "moa_response_generation": "moa",
}
TASK_NAMES = frozenset(_HEADER_TASKS.values())


def human_words(text: str) -> str:
    """A user message's text without what was injected into it."""
    if "<" in text:
        query = _USER_QUERY.search(text)
        if query is not None and query[1].strip():
            return str(query[1]).strip()
        if text.startswith(_RAG_HEAD) and "</context>" in text:
            # The template comes first, the documents next, the human's words last.
            text = text[text.rindex("</context>") + len("</context>") :]
        text = _INJECTED.sub("", text)
    return text.strip()


def human_turns(messages: tuple[Message, ...], most: int = 2) -> list[str]:
    """The human's last turns with words in them, the newest first."""
    turns: list[str] = []
    for message in reversed(messages):
        if message.role == "user" and message.text:
            words = human_words(message.text)
            if words:
                turns.append(words)
                if len(turns) == most:
                    break
    return turns


def detect_task(header: str, messages: tuple[Message, ...]) -> str:
    """The background task that a request carries out for the client, "" for a human's message.

    The header is believed; without one, a request of a single user message is compared with the
    client's own templates.
    """
    if header:
        return _HEADER_TASKS.get(header, header if header in TASK_NAMES else "")
    users = [message for message in messages if message.role != "system"]
    if len(users) != 1 or users[0].role != "user":
        return ""
    text = users[0].text
    if text.startswith("### Task:"):
        line = text[9:200].lstrip()
        for task, heads in _TASK_LINES:
            if line.startswith(heads):
                return task
        return ""
    for task, head in _OTHER_HEADS:
        if text.startswith(head):
            return task
    return ""
